"""The request that `mistralwire call` sends: from its arguments, or from a file."""

import sys
from typing import Any, TypeAlias

import click

from mistralwire._methods import method_for
from mistralwire.cli._wording import printable
from mistralwire.errors import DecodeError
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionStreamRequest,
    ChatMessage,
    FIMCompletionRequest,
    FIMCompletionStreamRequest,
    SystemMessage,
    UserMessage,
)

UnaryRequest: TypeAlias = ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest
StreamedRequest: TypeAlias = (
    ChatCompletionStreamRequest | FIMCompletionStreamRequest | AgentsCompletionStreamRequest
)
Request: TypeAlias = UnaryRequest | StreamedRequest

# A service accepts no more by default.
_INPUT_BYTES_MAX = 16 * 1024 * 1024


def make_request(
    prompt: str | None,
    *,
    model: str | None,
    agent: str | None,
    system: str | None,
    fim: bool,
    suffix: str | None,
    is_stream: bool,
) -> Request:
    """Return a request for an answer to a prompt; None or `-` reads it from standard input.

    Raises:
        click.UsageError: If standard input has to be read and is a terminal.
        click.ClickException: If standard input is not text, blank, or too long.
    """
    text = _read_prompt() if prompt is None or prompt == "-" else prompt
    if fim:
        fields: dict[str, Any] = {"model": model or "codestral-latest", "prompt": text, "suffix": suffix}
    else:
        messages = [ChatMessage(user=UserMessage(role="user", content_string=text))]
        if system is not None:
            messages.insert(0, ChatMessage(system=SystemMessage(role="system", content_string=system)))
        answerer = {"model": model or "mistral-small-latest"} if agent is None else {"agent_id": agent}
        fields = {**answerer, "messages": messages}
    request_type: type[Any] = method_for(fields, is_stream=is_stream).request_type
    request: Request = request_type(**fields, stream=True if is_stream else None)
    return request


def _read_prompt() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("expected a PROMPT, or one on standard input, found neither")
    try:
        prompt = _read_bounded("-").decode()
    except UnicodeDecodeError as error:
        raise click.ClickException("standard input: expected text in UTF-8, found other bytes") from error
    if not prompt.strip():
        raise click.ClickException("standard input: expected a prompt, found nothing")
    return prompt


def read_request_file(file: str, *, is_stream: bool, oldest_revision: int) -> Request:
    """Read a request from a JSON document, whose members determine its type; `-` is standard input.

    `"stream": false` in the document overrides `is_stream`.

    Raises:
        click.ClickException: If it breaks the contract, with all violations; or is too long.
        OSError: If it can't be read.
    """
    from mistralwire.cli._documents import describe_violations, members_in  # noqa: PLC0415 - with the codec
    from mistralwire.codec import read_request  # noqa: PLC0415

    data = _read_bounded(file)
    try:
        members = members_in(data)
        is_stream = is_stream and members.get("stream") is not False
        request_type: type[Any] = method_for(members, is_stream=is_stream).request_type
        request: Request = read_request(request_type, data, oldest_revision=oldest_revision)
    except DecodeError as error:
        place, problems = describe_violations(error)
        lines = [f"{_shown_name(file)}{place}: {printable(problem)}" for problem in problems]
        raise click.ClickException("\n".join(lines)) from error
    if not is_stream and request.stream:
        request.stream = False
    return request


def _read_bounded(file: str) -> bytes:
    with click.open_file(file, "rb") as stream:
        data: bytes = stream.read(_INPUT_BYTES_MAX + 1)
    if len(data) > _INPUT_BYTES_MAX:
        raise click.ClickException(
            f"{_shown_name(file)}: expected at most {_INPUT_BYTES_MAX} bytes, found more"
        )
    return data


def _shown_name(file: str) -> str:
    return "standard input" if file == "-" else file
