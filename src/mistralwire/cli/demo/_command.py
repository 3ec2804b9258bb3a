"""The command `mistralwire demo`: its help."""

import click

_HELP = """Show on one screen what this package is for.

Two responses go through protobuf's json_format and through mistralwire, with a mark wherever something does
not come back as it was. One of them then arrives as a stream over gRPC, from a service on a free port of this
machine. Sizes and times are measured. It takes a few seconds, and needs no network.

\b
Examples:
  mistralwire demo

\b
Exit codes:
  0    everything came back with mistralwire
  1    something did not, which is a bug; or a system error
  130  interrupted by Ctrl-C
"""


@click.command(help=_HELP)
def demo() -> None:
    """Run the demonstration."""
    from mistralwire.cli.demo._screen import show_demo

    show_demo()
