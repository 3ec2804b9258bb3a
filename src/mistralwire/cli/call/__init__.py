"""`mistralwire call`: the command, the request that it sends, and how the answer is printed."""

import sys
from typing import Any

import click
from click.core import ParameterSource

from mistralwire._metadata import checked_request_id
from mistralwire._settings import INT32_MAX, Setting
from mistralwire.cli._options import (
    check_environment,
    connection_options,
    number_type,
    seconds_option,
    setting,
    target_option,
)
from mistralwire.client import DEADLINE_S

_CALL_HELP = """Ask a service for a completion, and print the answer as it arrives.

PROMPT is the question; if it is absent or -, it is read from standard input. Tool calls are printed after the
text, one per line. Everything else in an answer, such as reasoning, is printed by --json alone: each line is
a chunk of the stream, or the response with --no-stream, in the form that `mistralwire convert` reads.

The connection is plaintext on a loopback address and TLS elsewhere. A token is never sent in plaintext to
another machine. Up to four attempts are made to reach a service.

Ctrl-C cancels the call, and with it the model's work. Control characters in an answer are escaped on a
terminal, such as \\x1b, and left unchanged in a file or a pipe.

\b
Examples:
  mistralwire call "What is the weather in Paris?"
  git diff | mistralwire call --system "Write a commit message for this diff."
  mistralwire call --fim "def add(a, b):" --suffix "return result"
  mistralwire call --agent ag_0123456789abcdef "What is new?"
  mistralwire call --request request.json --json > chunks.jsonl
  mistralwire call --target llm.example.com:443 --token-file token "Hello"

\b
Exit codes:
  0    the answer is complete
  1    the call failed: standard error says why; the text so far is printed
  2    the command line was invalid
  130  interrupted by Ctrl-C
  141  the output was closed by its reader, as by | head
"""


def _check_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else checked_request_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from error


@click.command(help=_CALL_HELP)
@click.argument("prompt", required=False)
@target_option("call", default="127.0.0.1:50051", show_default=True)
@setting(
    "call",
    "model",
    metavar="NAME",
    help="Name of the model; mistral-small-latest by default, codestral-latest with --fim.",
)
@click.option("--agent", metavar="ID", help="Id of the agent that answers, instead of a model.")
@click.option("--system", metavar="TEXT", help="System message before the prompt.")
@click.option("--fim", is_flag=True, help="Fill in the middle: the prompt is the code before the gap.")
@click.option("--suffix", metavar="CODE", help="The code after the gap, for --fim.")
@click.option(
    "--request",
    "request_file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="JSON document with the whole request, instead of a prompt; - is standard input.",
)
@click.option("--no-stream", is_flag=True, help="Ask for the whole answer in one response.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, one line per chunk.")
@seconds_option("deadline", DEADLINE_S, "Deadline of the whole call.")
@click.option(
    "--request-id",
    callback=_check_id,
    metavar="ID",
    help="Id of the call in the service's logs; a new one by default.",
)
@connection_options("call")
@setting(
    "call",
    "contract-revision",
    type=number_type(int, Setting(least=1, most=INT32_MAX)),
    default=1,
    show_default=True,
    metavar="N",
    help="Revision, from 1 up, of the service's contract, for which the request is written.",
)
@click.pass_context
def call(
    ctx: click.Context,
    /,
    *,
    target: str,
    prompt: str | None,
    model: str | None,
    agent: str | None,
    system: str | None,
    fim: bool,
    suffix: str | None,
    request_file: str | None,
    no_stream: bool,
    as_json: bool,
    request_id: str | None,
    **client_options: Any,
) -> None:
    """Call a service, and print the answer."""
    check_environment(ctx)
    _check_combination(ctx)
    from mistralwire.cli.call._answer import print_answer
    from mistralwire.cli.call._request import make_request, read_request_file

    if request_file is not None:
        revision = client_options["contract_revision"]
        request = read_request_file(request_file, is_stream=not no_stream, oldest_revision=revision)
    else:
        request = make_request(
            prompt, model=model, agent=agent, system=system, fim=fim, suffix=suffix, is_stream=not no_stream
        )
    if sys.stdout is None:
        raise click.ClickException("standard output is closed; there is nowhere to print the answer to")
    print_answer(target, client_options, request, request_id, as_json=as_json)


# Options that exclude each other.
_CONTRADICTIONS = {
    ("fim", "system"): "--system is for chat; --fim has no messages",
    ("fim", "agent"): "--agent answers messages; --fim has none",
    ("model", "agent"): "the agent determines the model; leave out --agent or --model",
}


def _check_combination(ctx: click.Context) -> None:
    names = ("model", "agent", "system", "suffix", "fim")
    given = [name for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if ctx.params["request_file"] is not None:
        beside = [*["PROMPT"] * (ctx.params["prompt"] is not None), *(f"--{name}" for name in given)]
        if beside:
            raise click.UsageError(f"--request holds the whole request; leave out {', '.join(beside)}")
    elif "suffix" in given and "fim" not in given:
        raise click.UsageError("--suffix is the code after a gap; it needs --fim")
    for options, problem in _CONTRADICTIONS.items():
        if set(options) <= set(given):
            raise click.UsageError(problem)
