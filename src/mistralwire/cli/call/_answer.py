"""What `mistralwire call` prints: the answer as it arrives, as text or as JSON, or why there is none."""

import asyncio
import contextlib
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import click

from mistralwire.cli._wording import printable
from mistralwire.cli.call._request import Request, StreamedRequest
from mistralwire.client import Client
from mistralwire.codec import text_of, tool_calls_of
from mistralwire.errors import CallError, MistralwireError, Reason
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse, FinishReason

if TYPE_CHECKING:
    from mistralwire.codec import Accumulator

Response: TypeAlias = ChatCompletionResponse | FIMCompletionResponse

# Control characters that a terminal interprets, other than line feeds and tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class JsonPrinter:
    """Prints each chunk, or the response, as a line of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer

    def add(self, part: CompletionChunk | Response) -> None:
        """Print a chunk, or the response."""
        from mistralwire.codec import to_json  # noqa: PLC0415 - not before an answer arrives

        self._stream.write(to_json(part) + b"\n")

    def end(self, *, is_complete: bool) -> None:
        """Print nothing more: lines are always whole."""


class TextPrinter:
    r"""Prints the text of the first choice as it arrives, then its tool calls, then the other choices.

    On a terminal, control characters are escaped, such as `\x1b`: an answer must not be able to overwrite
    what else is on the screen.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer
        self._is_terminal = stream.isatty()
        self._encoding = stream.encoding if self._is_terminal else "utf-8"
        self._line_is_open = False
        # Of the choice whose text is printed as it arrives.
        self._first_index: int | None = None
        self._accumulator: Accumulator[ChatCompletionResponse] | None = None
        self._response: Response | None = None

    def add(self, part: CompletionChunk | Response) -> None:
        """Print the text of the first choice of a chunk, or of the response; keep the rest for the end."""
        if self._first_index is None:
            self._first_index = next((choice.index for choice in part.choices), None)
        if not isinstance(part, CompletionChunk):
            self._response = part
        elif any(choice.index != self._first_index or choice.delta.tool_calls for choice in part.choices):
            if self._accumulator is None:
                from mistralwire.codec import Accumulator  # noqa: PLC0415 - most answers are text alone

                self._accumulator = Accumulator()
            self._accumulator.add(part)
        if self._first_index is not None:
            self._write(text_of(part, index=self._first_index))

    def end(self, *, is_complete: bool) -> None:
        """Print the tool calls and the other choices, unless the answer broke off; end the open line."""
        response = self._accumulator.result() if self._accumulator and is_complete else self._response
        if response is not None and is_complete:
            self._print_rest(response)
        if self._line_is_open:
            self._write("\n")

    def _print_rest(self, response: Response) -> None:
        indexes = dict.fromkeys(choice.index for choice in response.choices)
        for index in sorted(indexes, key=lambda index: index != self._first_index):
            if index != self._first_index:
                self._write_line(f"--- choice {index} ---")
                self._write(text_of(response, index=index))
            for tool_call in tool_calls_of(response, index=index):
                function = tool_call.function
                self._write_line(f"tool call: {function.name}({function.arguments_string})")

    def _write_line(self, text: str) -> None:
        if self._line_is_open:
            self._write("\n")
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        if not text:
            return
        self._line_is_open = not text.endswith("\n")
        if self._is_terminal:
            text = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
        self._stream.write(text.encode(self._encoding, "backslashreplace"))


Printer: TypeAlias = JsonPrinter | TextPrinter


def print_answer(
    target: str, options: Mapping[str, Any], request: Request, request_id: str | None, *, as_json: bool
) -> None:
    """Call a service with a client of these options, and print the answer to standard output.

    Raises:
        click.UsageError: If the target or the options are invalid.
        click.ClickException: If the call, or the model, failed.
    """
    printer = JsonPrinter(sys.stdout) if as_json else TextPrinter(sys.stdout)
    try:
        client = Client(target, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        asyncio.run(_print_response(client, request, printer, request_id))
    except MistralwireError as error:
        raise click.ClickException(_failure_text(error, target)) from error


async def _print_response(client: Client, request: Request, printer: Printer, request_id: str | None) -> None:
    is_complete = has_failed = False
    try:
        async with client:
            if isinstance(request, StreamedRequest):
                has_failed = await _print_stream(client, request, printer, request_id)
            else:
                response = await client.complete(request, request_id=request_id)
                printer.add(response)
                has_failed = _has_failed(response)
        is_complete = True
    finally:
        printer.end(is_complete=is_complete)
        sys.stdout.flush()
    if has_failed:
        raise click.ClickException('the model failed (finish_reason "error"): the answer above is incomplete')


def _has_failed(part: Response | CompletionChunk) -> bool:
    return any(choice.finish_reason == FinishReason.FINISH_REASON_ERROR for choice in part.choices)


async def _print_stream(
    client: Client, request: StreamedRequest, printer: Printer, request_id: str | None
) -> bool:
    """Print a stream; return whether its model failed."""
    has_begun = has_failed = False
    try:
        async with contextlib.aclosing(client.stream_batches(request, request_id=request_id)) as batches:
            async for batch in batches:
                for chunk in batch:
                    printer.add(chunk)
                    has_failed |= _has_failed(chunk)
                sys.stdout.flush()
                has_begun = True
    except CallError as error:
        if has_begun:
            error.add_note("the answer above is incomplete")
        raise
    return has_failed


# By reason. If gRPC itself ended the call, the code stands for the reason.
_REMEDIES = {
    "DEADLINE_EXCEEDED": "allow more with --deadline, or check that the service at {target} answers others",
    Reason.TOKEN_INVALID: "name the file with a token of this service with --token-file",
    Reason.TOKEN_MISSING: "name the file with a token of this service with --token-file",
    "UNAVAILABLE": "check that a service runs at {target}, and that both ends use TLS, or both plaintext "
    "(--tls-ca, --insecure); a service may require a client certificate (--tls-certificate)",
}


def _failure_text(error: MistralwireError, target: str) -> str:
    """Return code and reason, the message, each violation, a remedy, and the id for the service's logs."""
    reason = "" if error.reason == error.code else f" ({printable(error.reason)})"
    lines = [f"{error.code}{reason}: {printable(error.message)}"]
    if isinstance(error, CallError):
        lines += [printable(str(violation)) for violation in (*error.violations, *error.upstream_violations)]
        if error.retry_after_s is not None:
            lines.append(f"retry after {error.retry_after_s:g} s")
        if notes := getattr(error, "__notes__", None):
            lines += notes
            if error.reason == "DEADLINE_EXCEEDED":
                lines.append("allow more with --deadline")
        elif remedy := _REMEDIES.get(error.reason):
            lines.append(remedy.format(target=printable(target)))
        if error.request_id:
            lines.append(f"request id: {printable(error.request_id)}")
    return "\n  ".join(lines)
