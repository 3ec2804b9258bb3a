"""A stream that arrives over gRPC, next to the response that it accumulates to."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from importlib.resources.abc import Traversable

import click

from mistralwire import Accumulator, text_of, tool_calls_of
from mistralwire.client import Client
from mistralwire.service import ServerConfig, create_server
from mistralwire.upstream import ReplayUpstream
from mistralwire.v1 import AssistantMessage, ChatCompletionResponse, CompletionChunk, DeltaMessage

_CHUNKS_PER_SECOND = 8
_REQUEST = {
    "model": "magistral-medium-latest",
    "messages": [{"role": "user", "content": "Where is my parcel, 9007199254740993?"}],
}
_LEFT_WIDTH, _RIGHT_WIDTH, _ROWS = 42, 36, 4


async def show_stream(recording: Traversable) -> ChatCompletionResponse:
    """Serve a recorded stream at a model's pace, on a free port; call the service, and show what arrives.

    Args:
        recording: The server-sent events of the stream.

    Returns:
        The response that the stream accumulates to.
    """
    upstream = ReplayUpstream(recording, chunks_per_second=_CHUNKS_PER_SECOND)
    accumulator: Accumulator[ChatCompletionResponse] = Accumulator()
    view = _View()
    async with create_server(upstream, ServerConfig(port=0)) as server, Client(server.address) as client:
        start = time.monotonic()
        async for chunk in client.stream(_REQUEST):
            elapsed_s = time.monotonic() - start
            accumulator.add(chunk)
            piece = " ".join(_parts(chunk, chunk.choices[0].delta)) or "(no content)"
            response = accumulator.result()
            accumulated = _parts(response, response.choices[0].message)
            view.show(f"  {elapsed_s:.2f} s {chunk.ByteSize():4} bytes  {piece}", accumulated)
    return accumulator.result()


def _parts(
    answer: ChatCompletionResponse | CompletionChunk, message: AssistantMessage | DeltaMessage
) -> list[str]:
    """Return the thinking, the text and the tool calls in an answer, as far as there are any."""
    thoughts = [part.thinking for part in message.content_array.items if part.HasField("thinking")]
    thinking = "".join(piece.text.text for thought in thoughts for piece in thought.thinking)
    calls = [f"{call.function.name}({call.function.arguments_string})" for call in tool_calls_of(answer)]
    parts = [f"thinking: {thinking}" if thoughts else "", text_of(answer), *calls]
    return [part for part in parts if part]


class _View:
    """Two columns: on a terminal a few rows that are redrawn, otherwise a line for each chunk."""

    def __init__(self) -> None:
        is_wide = shutil.get_terminal_size().columns > _LEFT_WIDTH + _RIGHT_WIDTH
        self._is_live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and is_wide
        self._arrived: list[str] = []

    def show(self, arrived: str, accumulated: Sequence[str]) -> None:
        """Show what has just arrived, and what everything so far accumulates to."""
        if not self._is_live:
            self._write_row(arrived, accumulated[-1])
            return
        if self._arrived:
            # Back to the first row. All rows have the same width, so each covers what it overwrites.
            click.echo(f"\x1b[{_ROWS}A", nl=False, color=True)
        self._arrived.append(arrived)
        filling = [""] * _ROWS
        left, right = [*self._arrived[-_ROWS:], *filling], [*accumulated, *filling]
        for row in range(_ROWS):
            self._write_row(left[row], right[row])

    def _write_row(self, left: str, right: str) -> None:
        click.echo(f"{fit(left, _LEFT_WIDTH)} {click.style(_fit_end(right), fg='cyan')}")


def fit(text: str, width: int) -> str:
    """Return the beginning of a text, cut or padded to a width."""
    return text.ljust(width) if len(text) <= width else f"{text[: width - 3]}..."


def _fit_end(text: str) -> str:
    return text.ljust(_RIGHT_WIDTH) if len(text) <= _RIGHT_WIDTH else f"...{text[3 - _RIGHT_WIDTH :]}"
