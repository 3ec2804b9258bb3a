"""What `mistralwire demo` shows: losses, a stream next to what it accumulates to, and measured figures."""

import asyncio
import functools
import importlib.resources
import json
import os
import pathlib
import shutil
import statistics
import sys
import time
import timeit
from collections.abc import Callable, Sequence
from importlib.resources.abc import Traversable

import click

import mistralwire
from mistralwire import Accumulator, from_json, text_of, to_json, tool_calls_of
from mistralwire.cli.demo._comparison import changes, outline, usual_from_json, usual_response, usual_to_json
from mistralwire.client import Client
from mistralwire.codec import ENGINE
from mistralwire.service import ServerConfig, create_server
from mistralwire.upstream import ReplayUpstream
from mistralwire.v1 import AssistantMessage, ChatCompletionResponse, CompletionChunk, DeltaMessage

_FOLDER = importlib.resources.files("mistralwire.cli.demo")
_JSON_WIDTH, _MARK_WIDTH = 48, 20
_NEXT_COMMANDS = {
    "serve": "serves recorded answers over gRPC",
    'call "Hello"': "calls it, from another terminal",
    "gateway": "serves the HTTP API, with /docs",
}
# Of 80 columns, beside the longest of these.
_PROGRAM_WIDTH = 80 - 19 - max(map(len, _NEXT_COMMANDS.values()))
_CHUNKS_PER_SECOND = 8
_REQUEST = {
    "model": "magistral-medium-latest",
    "messages": [{"role": "user", "content": "Where is my parcel, 9007199254740993?"}],
}
_LEFT_WIDTH, _RIGHT_WIDTH, _ROWS = 42, 36, 4


def show_demo() -> None:
    """Run the demonstration."""
    documented = _FOLDER.joinpath("documented.json").read_bytes()
    realistic = _FOLDER.joinpath("realistic.json").read_bytes()
    click.secho(
        f"mistralwire {mistralwire.__version__}: chat completions as Protobuf, without loss", bold=True
    )

    title = _fit("1  From JSON to Protobuf and back", _JSON_WIDTH)
    _show_title(f"{title} {_fit('json_format *', _MARK_WIDTH)}mistralwire")
    is_whole = _show_changes("the documented response", documented)
    is_whole &= _show_changes("a realistic response", realistic)
    click.echo("  * with a typical hand-written schema; members that it lacks are ignored")

    _show_title("2  The realistic response as a stream over gRPC, and the answer so far")
    response = asyncio.run(_show_stream(_FOLDER.joinpath("realistic.sse")))
    is_equal = not list(changes(json.loads(realistic), json.loads(to_json(response))))
    _show_row("  the accumulated response and the one above", "", "equal" if is_equal else "NOT EQUAL")

    _show_title(f"3  Sizes in bytes; microseconds per conversion on this machine, {ENGINE} engine")
    _show_figures({"documented": documented, "realistic": realistic})

    _show_title("Next steps")
    # A program in an environment may have a long path.
    has_room = len(_program()) <= _PROGRAM_WIDTH
    for words, purpose in _NEXT_COMMANDS.items():
        click.echo(f"  {_program()} {words:13} # {purpose}" if has_room else f"  {_program()} {words}")
    if not (is_whole and is_equal):
        raise click.ClickException("mistralwire lost something, as shown above; please report it")


def _show_title(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _show_changes(name: str, text: bytes) -> bool:
    """Show which values change on the way to protobuf and back; return whether mistralwire keeps all."""
    wire = from_json(ChatCompletionResponse, text).SerializeToString()
    usual_wire = usual_from_json(text).SerializeToString()
    document = json.loads(text)
    theirs = dict(changes(document, json.loads(usual_to_json(usual_response().FromString(usual_wire)))))
    ours = dict(changes(document, json.loads(to_json(ChatCompletionResponse.FromString(wire)))))
    _show_row(f"  {name}", f"{len(theirs)} changed", f"{len(ours)} changed")
    for line, place in outline(document, theirs | ours):
        unchanged = "kept" if place in theirs | ours else ""
        _show_row(f"    {line}", theirs.get(place, unchanged), ours.get(place, unchanged))
    return not ours


def _show_row(text: str, theirs: str, ours: str) -> None:
    marks = _styled(_fit(theirs, _MARK_WIDTH)) + _styled(ours)
    click.echo(f"{_fit(text, _JSON_WIDTH)} {marks}".rstrip())


def _styled(mark: str) -> str:
    is_good = mark.strip() in ("0 changed", "kept", "equal")
    return click.style(mark, fg="green" if is_good else "red") if mark.strip() else mark


def _show_figures(documents: dict[str, bytes]) -> None:
    names = f"{'json_format':>14}{'mistralwire':>12}"
    click.echo(f"{'from JSON':>52}{'to JSON':>26}")
    click.echo(f"{'JSON':>18}{'protobuf':>10}{names}{names}")
    for name, text in documents.items():
        message, usual = from_json(ChatCompletionResponse, text), usual_from_json(text)
        times_us = (
            _median_us(functools.partial(usual_from_json, text)),
            _median_us(functools.partial(from_json, ChatCompletionResponse, text)),
            _median_us(functools.partial(usual_to_json, usual)),
            _median_us(functools.partial(to_json, message)),
        )
        sizes = f"{len(to_json(message)):4}{message.ByteSize():10}"
        click.echo(f"  {name:12}{sizes}{{:14.1f}}{{:12.1f}}{{:14.1f}}{{:12.1f}}".format(*times_us))


def _median_us(run: Callable[[], object]) -> float:
    """Return the median time of a call in microseconds; the few calls before it is warm don't matter."""
    return statistics.median(timeit.repeat(run, number=50, repeat=9)) / 50 * 1e6


def _program() -> str:
    """Return the command that runs this environment's mistralwire from the current folder."""
    path = pathlib.Path(sys.executable).with_name("mistralwire")
    if not path.exists() or shutil.which("mistralwire") == str(path):
        return "mistralwire"
    folder = pathlib.Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


async def _show_stream(recording: Traversable) -> ChatCompletionResponse:
    """Stream a recording from a service on a free port, and show it; return what it accumulates to."""
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
        click.echo(f"{_fit(left, _LEFT_WIDTH)} {click.style(_fit_end(right), fg='cyan')}")


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 3]}..."


def _fit_end(text: str) -> str:
    return text.ljust(_RIGHT_WIDTH) if len(text) <= _RIGHT_WIDTH else f"...{text[3 - _RIGHT_WIDTH :]}"
