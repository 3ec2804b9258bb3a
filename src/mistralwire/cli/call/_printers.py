"""How `mistralwire call` prints an answer: as text while it arrives, or as JSON."""

import re
from typing import TextIO, TypeAlias

from mistralwire.codec import Accumulator, to_json
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionResponse,
    CompletionChunk,
    DeltaMessage,
    FIMCompletionResponse,
    ToolCall,
)

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
            self._accumulator = self._accumulator or Accumulator()
            self._accumulator.add(part)
            for choice in part.choices:
                if choice.index == 0:
                    self._write(_content_text(choice.delta))
        else:
            self._response = part
            for whole in part.choices[:1]:
                self._write(_content_text(whole.message))

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
                self._write(_content_text(choice.message))
            for tool_call in choice.message.tool_calls:
                self._write_line(_tool_call_text(tool_call))

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


def _content_text(message: AssistantMessage | DeltaMessage) -> str:
    """Return the text of a message; of a list of content, that of its text pieces."""
    pieces = [item.text.text for item in message.content_array.items if item.HasField("text")]
    return message.content_string + "".join(pieces)


def _tool_call_text(tool_call: ToolCall) -> str:
    function = tool_call.function
    return f"tool call: {function.name}({function.arguments_object or function.arguments_string})"
