"""`mistralwire follow`: a stored response, printed as it is produced."""

import sys
from typing import TYPE_CHECKING, Any

import click

from mistralwire._settings import INT32_MAX, Setting
from mistralwire.cli._options import check_environment, connection_options, number_type, target_option

if TYPE_CHECKING:
    from mistralwire.client import Client

_FOLLOW_HELP = """Print a response that a service stores, as it is produced.

ID is the id of the response, such as "mistralwire publish" prints it. The response is printed from its
beginning, or after the event that --after names, to its end, as "mistralwire call" prints an answer.

A lost connection is opened again, and nothing is printed twice. An error that is not the end of the response
names the --after to resume with.

\b
Examples:
  mistralwire follow greeting
  mistralwire follow greeting --after 1 --json
  mistralwire follow --target llm.example.com:443 --token-file token greeting

\b
Exit codes:
  0    the response is finished
  1    the response failed, was cancelled, or can't be followed: standard error says why
  2    the command line was invalid
  130  interrupted by Ctrl-C; the response continues
  141  the output was closed by its reader, as by | head
"""


@click.command(help=_FOLLOW_HELP)
@click.argument("response_id", metavar="ID")
@target_option("follow", default="127.0.0.1:50051", show_default=True)
@click.option(
    "--after",
    type=number_type(int, Setting(least=0, most=INT32_MAX)),
    default=0,
    metavar="N",
    help="Print only the events after this one; they are numbered from 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@connection_options("follow")
@click.pass_context
def follow(
    ctx: click.Context, /, *, response_id: str, target: str, after: int, as_json: bool, **client_options: Any
) -> None:
    """Follow a response, and print it."""
    check_environment(ctx)
    from mistralwire.cli._answers import call_service, has_failed, model_failure, new_printer  # noqa: PLC0415
    from mistralwire.errors import CallError  # noqa: PLC0415

    if sys.stdout is None:
        raise click.ClickException("standard output is closed; there is nowhere to print the response to")
    printer = new_printer(sys.stdout, as_json=as_json)

    async def print_events(client: "Client") -> bool:
        last = after
        is_complete = is_failed = False
        try:
            async for event in client.subscribe(response_id, after=after):
                printer.add(event.message)
                is_failed |= has_failed(event.message)
                sys.stdout.flush()
                last = event.sequence
            is_complete = True
        except CallError as error:
            # Without the note of a response that has ended with the error.
            if last > after and not hasattr(error, "__notes__"):
                error.add_note(
                    f"the response above is incomplete; if it continues, --after {last} prints the rest"
                )
            raise
        finally:
            printer.end(is_complete=is_complete)
            sys.stdout.flush()
        return is_failed

    if call_service(target, client_options, print_events):
        raise model_failure()
