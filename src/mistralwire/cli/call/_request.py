"""The request that `mistralwire call` sends: from its arguments, or from a file."""

import sys
from typing import TypeAlias

import click

from mistralwire import codec
from mistralwire.cli._failures import failure_of
from mistralwire.cli._wording import printable
from mistralwire.codec import from_json, to_dict
from mistralwire.errors import DecodeError
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionStreamRequest,
    ChatMessage,
    ErrorResponse,
    FIMCompletionRequest,
    FIMCompletionStreamRequest,
    SystemMessage,
    UserMessage,
)

StreamRequest: TypeAlias = (
    ChatCompletionStreamRequest | FIMCompletionStreamRequest | AgentsCompletionStreamRequest
)
Request: TypeAlias = ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest | StreamRequest

INPUT_BYTES_MAX = 16 * 1024 * 1024
"""Bound on the bytes of a prompt or of a request document, as a service takes them by default: 16 MiB."""


def chat_request(model: str, prompt: str, system: str | None, *, is_stream: bool) -> Request:
    """Make a chat request of a question.

    Args:
        model: Name of the model.
        prompt: The question.
        system: What the model is told before; None for nothing.
        is_stream: Whether the answer is to be a stream.
    """
    messages = _messages(prompt, system)
    if is_stream:
        return ChatCompletionStreamRequest(model=model, messages=messages, stream=True)
    return ChatCompletionRequest(model=model, messages=messages)


def agents_request(agent_id: str, prompt: str, system: str | None, *, is_stream: bool) -> Request:
    """Make a request for an agent of a question.

    Args:
        agent_id: Id of the agent.
        prompt: The question.
        system: What the agent is told before; None for nothing.
        is_stream: Whether the answer is to be a stream.
    """
    messages = _messages(prompt, system)
    if is_stream:
        return AgentsCompletionStreamRequest(agent_id=agent_id, messages=messages, stream=True)
    return AgentsCompletionRequest(agent_id=agent_id, messages=messages)


def _messages(prompt: str, system: str | None) -> list[ChatMessage]:
    messages = [ChatMessage(user=UserMessage(role="user", content_string=prompt))]
    if system is not None:
        messages.insert(0, ChatMessage(system=SystemMessage(role="system", content_string=system)))
    return messages


def fim_request(model: str, prompt: str, suffix: str | None, *, is_stream: bool) -> Request:
    """Make a fill-in-the-middle request.

    Args:
        model: Name of the model.
        prompt: The code before the gap.
        suffix: The code behind it; None for none.
        is_stream: Whether the answer is to be a stream.
    """
    if is_stream:
        return FIMCompletionStreamRequest(model=model, prompt=prompt, suffix=suffix, stream=True)
    return FIMCompletionRequest(model=model, prompt=prompt, suffix=suffix)


def read_prompt() -> str:
    """Read the prompt from standard input.

    Raises:
        click.UsageError: If that is a terminal: nobody knows that something is waited for.
        click.ClickException: If it is no text, none at all, or too long.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("expected a PROMPT, or one on standard input, found neither")
    try:
        prompt = _read("-", "standard input").decode()
    except UnicodeDecodeError as error:
        raise click.ClickException("standard input: expected text in UTF-8, found other bytes") from error
    if not prompt.strip():
        raise click.ClickException("standard input: expected a prompt, found nothing")
    return prompt


def read_request(file: str, *, may_stream: bool, oldest_revision: int) -> Request:
    """Read a request from a JSON document; its members say of which kind it is.

    Args:
        file: Name of the file; `-` for standard input.
        may_stream: Whether it is a stream if the document does not say otherwise.
        oldest_revision: The oldest revision of the contract that it may keep.

    Raises:
        click.ClickException: If it breaks the contract, with each place; or is too long.
        OSError: If it can't be read.
    """
    name = "standard input" if file == "-" else file
    data = _read(file, name)
    try:
        # Without validation every JSON object can be read as a message of any type.
        members = to_dict(from_json(ErrorResponse, data, validate=False))
        is_stream = may_stream and members.get("stream") is not False
        request_type = _type_of(members, is_stream=is_stream)
        request: Request = codec.read_request(request_type, data, oldest_revision=oldest_revision)
    except DecodeError as error:
        failure = failure_of("", error)
        lines = [f"{name}{failure.place}: {printable(problem)}" for problem in failure.problems]
        raise click.ClickException("\n".join(lines)) from error
    if not is_stream and request.stream:
        request.stream = False
    return request


def _type_of(members: dict[str, object], *, is_stream: bool) -> type[Request]:
    if "prompt" in members and "messages" not in members:
        return FIMCompletionStreamRequest if is_stream else FIMCompletionRequest
    if "agent_id" in members and "model" not in members:
        return AgentsCompletionStreamRequest if is_stream else AgentsCompletionRequest
    return ChatCompletionStreamRequest if is_stream else ChatCompletionRequest


def _read(file: str, name: str) -> bytes:
    with click.open_file(file, "rb") as stream:
        data: bytes = stream.read(INPUT_BYTES_MAX + 1)
    if len(data) > INPUT_BYTES_MAX:
        raise click.ClickException(f"{name}: expected at most {INPUT_BYTES_MAX} bytes, found more")
    return data
