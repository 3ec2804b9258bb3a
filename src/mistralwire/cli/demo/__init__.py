"""`mistralwire demo`: what json_format loses, a stream over gRPC, and sizes and times, on one screen."""

import click

_DEMO_HELP = """Show on one screen what mistralwire does.

Two responses are converted to protobuf and back, with json_format and with mistralwire; each value that does
not come back unchanged is marked. One of them is then streamed over gRPC, from a service on a free port of
this machine. Sizes and times are measured. It takes a few seconds, and needs no network.

\b
Examples:
  mistralwire demo

\b
Exit codes:
  0    mistralwire kept everything
  1    it lost something, which is a bug, or a system error occurred
  130  interrupted by Ctrl-C
"""


@click.command(help=_DEMO_HELP)
def demo() -> None:
    """Run the demonstration."""
    from mistralwire.cli.demo._screen import show_demo

    show_demo()
