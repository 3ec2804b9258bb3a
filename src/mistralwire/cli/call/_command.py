"""`mistralwire call`: asks a service for a completion."""

import asyncio
import contextlib
import sys

import click
from click.core import ParameterSource

from mistralwire._metadata import checked_request_id
from mistralwire.cli._environment import check_environment
from mistralwire.cli._wording import printable
from mistralwire.cli.call._printers import Answer, JsonAnswer, TextAnswer
from mistralwire.cli.call._request import (
    Request,
    StreamRequest,
    agents_request,
    chat_request,
    fim_request,
    read_prompt,
    read_request,
)
from mistralwire.client import DEADLINE_S, DEADLINE_S_MAX, Client
from mistralwire.errors import CallError, MistralwireError, Reason
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse, FinishReason

_FILE = click.Path(exists=True, dir_okay=False)


def _check_deadline(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Check a deadline before anything is read or sent: a click callback. NaN is none."""
    if not 0 < value <= DEADLINE_S_MAX:
        message = f"expected seconds above 0, at most {DEADLINE_S_MAX:.0f}, found {value:g}"
        raise click.BadParameter(message, ctx=ctx, param=param)
    return value


def _check_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check an id before anything is read or sent: a click callback."""
    try:
        return None if value is None else checked_request_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from error


@click.command()
@click.argument("prompt", required=False)
@click.option(
    "--target",
    metavar="TARGET",
    default="127.0.0.1:50051",
    show_default=True,
    envvar="MISTRALWIRE_CALL_TARGET",
    show_envvar=True,
    help="The service: host:port, dns:///host:port, unix:path. Without a port it is 443.",
)
@click.option(
    "--model",
    metavar="NAME",
    show_default="mistral-small-latest; codestral-latest with --fim",
    envvar="MISTRALWIRE_CALL_MODEL",
    show_envvar=True,
    help="Name of the model.",
)
@click.option("--agent", metavar="ID", help="Id of the agent that answers, in the place of a model.")
@click.option("--system", metavar="TEXT", help="What the model is told before the prompt.")
@click.option("--fim", is_flag=True, help="Fill in the middle: the prompt is the code before the gap.")
@click.option("--suffix", metavar="CODE", help="The code behind the gap, for --fim.")
@click.option(
    "--request",
    "request_file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="JSON document with the whole request, in the place of a prompt; - is standard input.",
)
@click.option("--no-stream", is_flag=True, help="Ask for the answer in one piece.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, a line for each chunk.")
@click.option(
    "--deadline",
    type=float,
    callback=_check_deadline,
    default=DEADLINE_S,
    metavar="SECONDS",
    help=f"How long the whole call may take.  [default: {DEADLINE_S:g}]",
)
@click.option(
    "--request-id",
    callback=_check_id,
    metavar="ID",
    help="Id of the call in the logs of the service; a new one by default.",
)
@click.option(
    "--token-file",
    type=_FILE,
    envvar="MISTRALWIRE_CALL_TOKEN_FILE",
    show_envvar=True,
    metavar="FILE",
    help="File with the bearer token, the first in it; # begins a comment.",
)
@click.option(
    "--tls-ca",
    type=_FILE,
    envvar="MISTRALWIRE_CALL_TLS_CA",
    show_envvar=True,
    metavar="FILE",
    help="PEM file with the authorities that the service's certificate must come from.",
)
@click.option(
    "--tls-certificate",
    type=_FILE,
    envvar="MISTRALWIRE_CALL_TLS_CERTIFICATE",
    show_envvar=True,
    metavar="FILE",
    help="PEM file with a certificate of your own, for mutual TLS.",
)
@click.option(
    "--tls-key",
    type=_FILE,
    envvar="MISTRALWIRE_CALL_TLS_KEY",
    show_envvar=True,
    metavar="FILE",
    help="PEM file with its private key.",
)
@click.option("--insecure", is_flag=True, help="Talk plain text to another machine too.")
@click.option(
    "--contract-revision",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    envvar="MISTRALWIRE_CALL_CONTRACT_REVISION",
    show_envvar=True,
    metavar="N",
    help="Revision of the service's contract, for which the request is written.",
)
def call(
    *,
    prompt: str | None,
    target: str,
    model: str | None,
    agent: str | None,
    system: str | None,
    fim: bool,
    suffix: str | None,
    request_file: str | None,
    no_stream: bool,
    as_json: bool,
    deadline: float,
    request_id: str | None,
    token_file: str | None,
    tls_ca: str | None,
    tls_certificate: str | None,
    tls_key: str | None,
    insecure: bool,
    contract_revision: int,
) -> None:
    """Ask a service for a completion, and print the answer as it comes.

    PROMPT is the question; without one, or for -, it is read from standard input. Tool calls are printed
    behind the text, one a line. Of anything else in an answer, such as reasoning, --json has all: each line
    is a chunk of the stream, or, with --no-stream, the response, as `mistralwire convert` reads them.

    On a loopback address the call is plain text, elsewhere TLS. A token is never sent in plain text to
    another machine. A service that is not there is tried four times.

    Ctrl-C ends the call, and with it the model's work. Control characters in an answer are shown as such on
    a terminal, \\x1b for instance, and left alone in a file or a pipe.

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
      1    the call failed; the text before is printed, standard error says why
      2    the command line was wrong
      130  interrupted by Ctrl-C
      141  whatever read the output closed it
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    ctx = click.get_current_context()
    check_environment(ctx)
    given = {
        name: ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        for name in ("model", "agent", "system", "suffix", "fim")
    }
    if request_file is not None:
        _refuse_beside_request(prompt, given)
        request = read_request(request_file, may_stream=not no_stream, oldest_revision=contract_revision)
    else:
        _refuse_contradictions(given)
        request = _request_of(prompt, model, agent, system, suffix, is_fim=fim, is_stream=not no_stream)
    if sys.stdout is None:
        raise click.ClickException("standard output is closed; there is nowhere to print the answer to")
    answer: Answer = JsonAnswer(sys.stdout) if as_json else TextAnswer(sys.stdout)
    try:
        client = Client(
            target,
            insecure=insecure or None,
            tls_ca=tls_ca,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            token_file=token_file,
            deadline_s=deadline,
            contract_revision=contract_revision,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        asyncio.run(_call(client, request, answer, request_id))
    except KeyboardInterrupt:
        answer.break_off()
        raise
    except MistralwireError as error:
        answer.break_off()
        raise click.ClickException(_describe(error, target)) from error


def _refuse_beside_request(prompt: str | None, given: dict[str, bool]) -> None:
    names = ["PROMPT"] if prompt is not None else []
    names += [f"--{name}" for name, is_given in given.items() if is_given]
    if names:
        raise click.UsageError(f"--request holds the whole request; leave out {', '.join(names)}")


# Options that exclude each other.
_CONTRADICTIONS = {
    ("fim", "system"): "--system is for chat; --fim has no messages",
    ("fim", "agent"): "--agent answers messages; --fim has none",
    ("model", "agent"): "--agent has a model of its own; leave out --model",
}


def _refuse_contradictions(given: dict[str, bool]) -> None:
    for names, why in _CONTRADICTIONS.items():
        if all(given[name] for name in names):
            raise click.UsageError(why)
    if given["suffix"] and not given["fim"]:
        raise click.UsageError("--suffix is the code behind a gap; it needs --fim")


def _request_of(
    prompt: str | None,
    model: str | None,
    agent: str | None,
    system: str | None,
    suffix: str | None,
    *,
    is_fim: bool,
    is_stream: bool,
) -> Request:
    if prompt in (None, "-"):
        prompt = read_prompt()
    if agent is not None:
        return agents_request(agent, prompt, system, is_stream=is_stream)
    if is_fim:
        return fim_request(model or "codestral-latest", prompt, suffix, is_stream=is_stream)
    return chat_request(model or "mistral-small-latest", prompt, system, is_stream=is_stream)


async def _call(client: Client, request: Request, answer: Answer, request_id: str | None) -> None:
    async with client:
        if isinstance(request, StreamRequest):
            has_failed = await _print_stream(client, request, answer, request_id)
        else:
            response = await client.complete(request, request_id=request_id)
            answer.response(response)
            has_failed = _has_failed(response)
    answer.end()
    if has_failed:
        raise click.ClickException(
            'the model gave up (finish_reason "error"): the answer above is not complete'
        )


def _has_failed(answer: ChatCompletionResponse | FIMCompletionResponse | CompletionChunk) -> bool:
    return any(choice.finish_reason == FinishReason.FINISH_REASON_ERROR for choice in answer.choices)


async def _print_stream(
    client: Client,
    request: StreamRequest,
    answer: Answer,
    request_id: str | None,
) -> bool:
    """Print a stream; return whether its model gave up."""
    has_begun = has_failed = False
    stream = client.stream_batches(request, request_id=request_id)
    try:
        async with contextlib.aclosing(stream) as batches:
            async for batch in batches:
                for chunk in batch:
                    answer.chunk(chunk)
                    has_failed |= _has_failed(chunk)
                answer.flush()
                has_begun = True
    except CallError as error:
        if has_begun:
            error.add_note("the answer above is not complete")
        raise
    return has_failed


# What can be done here, by reason. Where gRPC itself ended the call, the code stands for the reason.
_REMEDIES = {
    "DEADLINE_EXCEEDED": "allow more with --deadline, or look whether the service at {target} answers others",
    Reason.TOKEN_INVALID: "name the file with a token of this service with --token-file",
    Reason.TOKEN_MISSING: "name the file with a token of this service with --token-file",
    "UNAVAILABLE": "check that a service runs at {target}, and that both ends speak TLS, or both plain text "
    "(--tls-ca, --insecure); a service may want a certificate of yours (--tls-certificate)",
}


def _describe(error: MistralwireError, target: str) -> str:
    """Say what went wrong: code and reason, the message, each violation, what to do, the id for the logs."""
    reason = "" if error.reason == error.code else f" ({printable(error.reason)})"
    lines = [f"{error.code}{reason}: {printable(error.message)}"]
    if isinstance(error, CallError):
        lines += [
            f"  {printable(str(violation))}" for violation in (*error.violations, *error.upstream_violations)
        ]
        if error.retry_after_s is not None:
            lines.append(f"  try again after {error.retry_after_s:g} s")
        if notes := getattr(error, "__notes__", None):
            lines += [f"  {note}" for note in notes]
            if error.reason == "DEADLINE_EXCEEDED":
                lines.append("  allow more with --deadline")
        elif remedy := _REMEDIES.get(error.reason):
            lines.append(f"  {remedy.format(target=printable(target))}")
        if error.request_id:
            lines.append(f"  request id: {printable(error.request_id)}")
    return "\n".join(lines)
