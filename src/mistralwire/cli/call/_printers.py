"""How `mistralwire call` prints an answer: as text while it arrives, or as JSON."""

import re
from typing import TYPE_CHECKING, TextIO, TypeAlias

from mistralwire.codec import text_of, tool_calls_of
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionResponse,
)

if TYPE_CHECKING:
    from mistralwire.codec import Accumulator

Response: TypeAlias = ChatCompletionResponse | FIMCompletionResponse

# Control characters that a terminal interprets, other than line feeds and tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class JsonPrinter:
    """Prints each chunk, or the response, as a line of JSON.

    Args:
        stream: The output.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer

    def add(self, part: CompletionChunk | Response) -> None:
        """Print a chunk, or the response."""
        from mistralwire.codec import to_json  # noqa: PLC0415 - not before an answer arrives

        self._stream.write(to_json(part) + b"\n")

    def flush(self) -> None:
        """Make visible what was printed."""
        self._stream.flush()

    def end(self, *, is_complete: bool) -> None:  # noqa: ARG002 - as for TextPrinter; lines are always whole
        """Make visible what was printed."""
        self.flush()


class TextPrinter:
    r"""Prints the text of the first choice as it arrives, then its tool calls, then the other choices.

    On a terminal, control characters are escaped, such as `\x1b`: an answer must not be able to overwrite
    what else is on the screen.

    Args:
        stream: The output.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer
        self._is_terminal = stream.isatty()
        self._encoding = stream.encoding if self._is_terminal else "utf-8"
        self._line_is_open = False
        self._accumulator: Accumulator[ChatCompletionResponse] | None = None
        self._response: Response | None = None

    def add(self, part: CompletionChunk | Response) -> None:
        """Print the text of the first choice of a chunk, or of the response; keep the rest for the end."""
        if isinstance(part, CompletionChunk):
            if self._accumulator is None:
                from mistralwire.codec import Accumulator  # noqa: PLC0415 - not before an answer arrives

                self._accumulator = Accumulator()
            self._accumulator.add(part)
            self._write(text_of(part))
        else:
            self._response = part
            for first in part.choices[:1]:
                self._write(text_of(part, index=first.index))

    def flush(self) -> None:
        """Make visible what was printed."""
        self._stream.flush()

    def end(self, *, is_complete: bool) -> None:
        """Print the tool calls and the other choices, unless the answer broke off; end the open line."""
        response = self._accumulator.result() if self._accumulator and is_complete else self._response
        if response is not None and is_complete:
            self._print_rest(response)
        if self._line_is_open:
            self._write("\n")
        self.flush()

    def _print_rest(self, response: Response) -> None:
        for position, choice in enumerate(response.choices):
            if position:
                self._write_line(f"--- choice {choice.index} ---")
                self._write(text_of(response, index=choice.index))
            for tool_call in tool_calls_of(response, index=choice.index):
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
