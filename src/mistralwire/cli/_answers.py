"""How commands call a service, and print what it answers, or why it does not."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias, TypeVar

import click

from mistralwire.cli._wording import printable
from mistralwire.client import Client
from mistralwire.codec import text_of, tool_calls_of
from mistralwire.errors import CallError, MistralwireError, Reason
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse, FinishReason

if TYPE_CHECKING:
    from mistralwire.codec import Accumulator

UsedT = TypeVar("UsedT")

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


def new_printer(stream: TextIO, *, as_json: bool) -> Printer:
    """Return what prints an answer to a stream."""
    return JsonPrinter(stream) if as_json else TextPrinter(stream)


def call_service(target: str, options: Mapping[str, Any], use: Callable[[Client], Awaitable[UsedT]]) -> UsedT:
    """Call a service with a client of these options; return what `use` does.

    Raises:
        click.UsageError: If the target or the options are invalid.
        click.ClickException: If a call, or the model, failed.
    """
    try:
        client = Client(target, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    async def run() -> UsedT:
        async with client:
            return await use(client)

    try:
        return asyncio.run(run())
    except MistralwireError as error:
        raise click.ClickException(
            _failure_text(error, target, has_deadline="deadline_s" in options)
        ) from error


def has_failed(part: Response | CompletionChunk) -> bool:
    """Check whether the model says that it failed."""
    return any(choice.finish_reason == FinishReason.FINISH_REASON_ERROR for choice in part.choices)


def model_failure() -> click.ClickException:
    """Return the error for an answer whose model failed."""
    return click.ClickException('the model failed (finish_reason "error"): the answer above is incomplete')


# By reason. If gRPC itself ended the call, the code stands for the reason.
_REMEDIES = {
    "DEADLINE_EXCEEDED": "allow more with --deadline, or check that the service at {target} answers others",
    Reason.TOKEN_INVALID: "name the file with a token of this service with --token-file",
    Reason.TOKEN_MISSING: "name the file with a token of this service with --token-file",
    "UNAVAILABLE": "check that a service runs at {target}, and that both ends use TLS, or both plaintext "
    "(--tls-ca, --insecure); a service may require a client certificate (--tls-certificate)",
}


def _failure_text(error: MistralwireError, target: str, *, has_deadline: bool) -> str:
    """Return code and reason, the message, each violation, a remedy, and the id for the service's logs."""
    is_late = error.reason == "DEADLINE_EXCEEDED"
    reason = "" if error.reason == error.code else f" ({printable(error.reason)})"
    lines = [f"{error.code}{reason}: {printable(error.message)}"]
    notes = getattr(error, "__notes__", ())
    if not isinstance(error, CallError):
        lines += notes
    else:
        violations = map(str, (*error.violations, *error.upstream_violations))
        # The message of a single one is its text.
        lines += [printable(violation) for violation in violations if violation != error.message]
        if error.retry_after_s is not None:
            lines.append(f"retry after {error.retry_after_s:g} s")
        if notes:
            lines += notes
            if is_late and has_deadline:
                lines.append("allow more with --deadline")
        elif (remedy := _REMEDIES.get(error.reason)) and (has_deadline or not is_late):
            lines.append(remedy.format(target=printable(target)))
        if error.request_id:
            lines.append(f"request id: {printable(error.request_id)}")
    return "\n  ".join(lines)
