"""`mistralwire responses`: the command; `_actions` does what it says."""

import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mistralwire._settings import INT32_MAX, Setting
from mistralwire.cli._options import (
    check_environment,
    connection_options,
    number_type,
    seconds_option,
    target_option,
)

if TYPE_CHECKING:
    from mistralwire.client import Client

_RESPONSES_HELP = """List, show, cancel or delete the responses that a service stores.

They are those of the caller: of the token or the client certificate. If a gateway checks the keys of its
callers, their responses are theirs alone, and are read over HTTP. The action is "list" by default; the others
need one ID or more. "show" prints what there is of a response so far, "cancel" ends a running one, "delete"
removes one that has ended. The first one that is refused ends the command.

The model is the one that the request named; of a published response, the one in its first event. Times are
UTC.

With --json, each response is an object on a line of its own, with id, kind, state, events, epoch, created,
ended, upstream_id, model, and error if it failed; its times are seconds since 1970. Of "show", the member
response is the response in the API's form.

\b
Examples:
  mistralwire responses
  mistralwire responses list --state running --json
  mistralwire responses show greeting
  mistralwire responses cancel --target llm.example.com:443 --token-file token resp_1 resp_2
  mistralwire responses delete greeting

\b
Exit codes:
  0  done
  1  the service refused it, or can't be reached: standard error says why
  2  the command line was invalid
"""

# Options that select what is listed, by their parameters.
_OF_LIST = {"state": "--state", "model": "--model", "oldest_first": "--oldest-first", "limit": "--limit"}
_STATES = ("running", "finished", "cancelled", "failed")


@click.command(help=_RESPONSES_HELP)
@click.argument("action", type=click.Choice(["list", "show", "cancel", "delete"]), default="list")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@target_option("responses", default="127.0.0.1:50051", show_default=True)
@click.option("--state", type=click.Choice(_STATES), help="List only those in this state.")
@click.option("--model", metavar="NAME", help="List only those of this model.")
@click.option("--oldest-first", is_flag=True, help="List the oldest first, instead of the newest.")
@click.option(
    "--limit",
    type=number_type(int, Setting(least=1, most=INT32_MAX)),
    default=20,
    show_default=True,
    metavar="N",
    help="List at most so many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per response.")
@seconds_option("deadline", 10.0, "Deadline of each call.")
@connection_options("responses")
@click.pass_context
def responses(
    ctx: click.Context,
    /,
    *,
    action: str,
    ids: tuple[str, ...],
    target: str,
    state: str | None,
    model: str | None,
    oldest_first: bool,
    limit: int,
    as_json: bool,
    **client_options: Any,
) -> None:
    """Do what the action says."""
    check_environment(ctx)
    if action == "list" and ids:
        raise click.UsageError("list takes no ID; show prints single responses")
    if action != "list" and not ids:
        raise click.UsageError(f"expected an ID to {action}, found none")
    if action != "list":
        for name, option in _OF_LIST.items():
            if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise click.UsageError(f"{option} is for list; {action} takes the responses by their IDs")
    if sys.stdout is None and action in ("list", "show"):
        raise click.ClickException("standard output is closed; there is nowhere to print the responses to")
    from mistralwire.cli._answers import call_service
    from mistralwire.cli.responses._actions import act, list_responses

    async def run(client: "Client") -> None:
        if action == "list":
            query: dict[str, Any] = {"state": state, "model": model, "oldest_first": oldest_first}
            await list_responses(client, limit, as_json=as_json, **query)
        else:
            await act(client, action, ids, as_json=as_json)

    call_service(target, client_options, run)
