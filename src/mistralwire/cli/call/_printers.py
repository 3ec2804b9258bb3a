"""How `mistralwire call` prints an answer: as text while it comes, or as JSON."""

import re
from typing import Protocol, TextIO, TypeAlias

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

# What a terminal acts upon, but for the end of a line and the tabulator.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Answer(Protocol):
    """Prints one answer."""

    def chunk(self, chunk: CompletionChunk) -> None:
        """Take the next chunk of a stream."""

    def flush(self) -> None:
        """Let what was taken be seen."""

    def response(self, response: Response) -> None:
        """Take an answer in one piece."""

    def end(self) -> None:
        """Print what comes behind it all."""

    def break_off(self) -> None:
        """End the line, as something went wrong."""


class JsonAnswer:
    """Prints each chunk, or the response, as a line of JSON.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer

    def chunk(self, chunk: CompletionChunk) -> None:
        """Print a chunk."""
        self._stream.write(to_json(chunk) + b"\n")

    def flush(self) -> None:
        """Let what was taken be seen."""
        self._stream.flush()

    def response(self, response: Response) -> None:
        """Print the response."""
        self._stream.write(to_json(response) + b"\n")

    def end(self) -> None:
        """Let it be seen."""
        self.flush()

    def break_off(self) -> None:
        """Let it be seen: a line is always whole."""
        self.flush()


class TextAnswer:
    r"""Prints the text of the first choice as it comes, then its tool calls, then the other choices.

    A terminal gets control characters in a form that it does not act upon, `\x1b` for instance: an answer
    must not be able to rewrite what else is on the screen.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer
        self._is_terminal = stream.isatty()
        self._encoding = stream.encoding if self._is_terminal else "utf-8"
        self._line_is_open = False
        self._streamed: Accumulator[ChatCompletionResponse] | None = None
        self._response: Response | None = None

    def chunk(self, chunk: CompletionChunk) -> None:
        """Print the text of a chunk; keep the rest for the end."""
        if self._streamed is None:
            self._streamed = Accumulator()
        self._streamed.add(chunk)
        for choice in chunk.choices:
            if choice.index == 0:
                self._write(_text_of(choice.delta))

    def flush(self) -> None:
        """Let what was taken be seen."""
        self._stream.flush()

    def response(self, response: Response) -> None:
        """Print the text of an answer in one piece."""
        self._response = response
        for choice in response.choices[:1]:
            self._write(_text_of(choice.message))

    def end(self) -> None:
        """Print the tool calls and the other choices."""
        response = self._response
        if self._streamed is not None:
            response = self._streamed.result()
        for position, choice in enumerate(response.choices if response else ()):
            if position:
                self._write_line(f"--- choice {choice.index} ---")
                self._write(_text_of(choice.message))
            for tool_call in choice.message.tool_calls:
                self._write_line(_describe(tool_call))
        self.break_off()

    def break_off(self) -> None:
        """End the line that is open, and let it be seen."""
        if self._line_is_open:
            self._write("\n")
        self.flush()

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


def _text_of(message: AssistantMessage | DeltaMessage) -> str:
    """Give the text; of a list of content, that of its text pieces."""
    pieces = [item.text.text for item in message.content_array.items if item.HasField("text")]
    return message.content_string + "".join(pieces)


def _describe(tool_call: ToolCall) -> str:
    function = tool_call.function
    arguments = function.arguments_object or function.arguments_string
    return f"tool call: {function.name}({arguments})"
