"""What `mistralwire demo` shows: its sections, and the figures that it measures."""

import asyncio
import functools
import importlib.resources
import json
import pathlib
import shutil
import statistics
import sys
import timeit
from collections.abc import Callable

import click

import mistralwire
from mistralwire import from_json, to_json
from mistralwire.cli.demo._comparison import changes, outline
from mistralwire.cli.demo._stream import fit, show_stream
from mistralwire.cli.demo._usual_schema import usual_from_json, usual_response, usual_to_json
from mistralwire.codec import ENGINE
from mistralwire.v1 import ChatCompletionResponse

_FOLDER = importlib.resources.files("mistralwire.cli.demo")
_JSON_WIDTH, _MARK_WIDTH = 48, 20
_COMMANDS = {
    "serve": "serves recorded answers over gRPC",
    'call "Hello"': "calls it, from another terminal",
    "gateway": "serves the HTTP API and a page, /docs",
}


def show_demo() -> None:
    """Run the demonstration."""
    documented = _FOLDER.joinpath("documented.json").read_bytes()
    realistic = _FOLDER.joinpath("realistic.json").read_bytes()
    click.secho(
        f"mistralwire {mistralwire.__version__}: chat completions as Protobuf, without loss", bold=True
    )

    title = fit("1  From JSON to Protobuf and back", _JSON_WIDTH)
    _show_title(f"{title} {fit('json_format *', _MARK_WIDTH)}mistralwire")
    is_whole = _show_changes("the documented response", documented)
    is_whole &= _show_changes("a realistic response", realistic)
    click.echo("  * with a typical hand-written schema; members that it lacks are ignored")

    _show_title("2  The realistic response as a stream over gRPC, and the answer so far")
    response = asyncio.run(show_stream(_FOLDER.joinpath("realistic.sse")))
    is_equal = not list(changes(json.loads(realistic), json.loads(to_json(response))))
    _show_row("  the accumulated response and the one above", "", "equal" if is_equal else "NOT EQUAL")

    _show_title(f"3  Sizes in bytes; microseconds per conversion on this machine, {ENGINE} engine")
    _show_figures({"documented": documented, "realistic": realistic})

    _show_title("Next steps")
    for words, purpose in _COMMANDS.items():
        click.echo(f"  {_program()} {words:13} # {purpose}")
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
    marks = _styled(fit(theirs, _MARK_WIDTH)) + _styled(ours)
    click.echo(f"{fit(text, _JSON_WIDTH)} {marks}".rstrip())


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
