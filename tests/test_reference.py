"""docs/reference.md lists what the code has: settings, limits, reasons, metrics, attributes, exit codes."""

import ast
import json
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import aiohttp
import click
import pytest

import mistralwire
from mistralwire.client import Client
from mistralwire.errors import MistralwireError
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.log import MemoryLog
from mistralwire.service import LocalChannel, Relay, RelayConfig
from mistralwire.upstream import DEMONSTRATION, HttpSettings, ReplayUpstream, check_upstream_tables
from tools.reference import PAGE, with_tables

SOURCE = pathlib.Path(mistralwire.__file__).parent
TEXT = PAGE.read_text()
_ATTRIBUTE = re.compile(r"(?:error|gen_ai|mistralwire|network|rpc)(?:\.[a-z][a-z0-9_]*)+")
# A key of ASGI's scope, which looks like an attribute.
_NO_ATTRIBUTES = {"mistralwire.had_slash", "mistralwire.query"}


def _rows(heading: str, first_cell: str) -> list[list[str]]:
    """Return the cells of the table of a section whose first head is this."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = section.partition(f"| {first_cell} |")[2].partition("\n\n")[0]
    return [line[2:-2].split(" | ") for line in table.splitlines()[2:] if line.startswith("|")]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.slow
def test_the_generated_tables_are_current() -> None:
    assert with_tables(TEXT) == TEXT, "docs/reference.md is not current: run python -m tools.reference"


def _exit_codes_in_the_source() -> Iterator[int]:
    """Yield the exit codes of the command line's source, and click's own."""
    yield from (0, click.ClickException.exit_code, click.UsageError.exit_code)
    for path in (SOURCE / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Assign([ast.Name(name)], ast.Constant(int(code))) if re.match("_?EXIT_", name):
                    # The last one is what shells add to the number of a signal.
                    signals = (signal.SIGHUP, signal.SIGTERM) if name.endswith("SIGNAL") else (0,)
                    yield from (code + number for number in signals)
                case ast.Assign([ast.Name("exit_code")], ast.Constant(int(code))):
                    yield code
                case ast.Call(ast.Attribute(attr="exit" | "Exit"), [ast.Constant(int(code))]):
                    yield code


def test_each_exit_code_is_listed() -> None:
    listed = {int(code) for code, _ in _rows("Exit codes", "exit code")}
    assert listed == set(_exit_codes_in_the_source())


def _upstream_keys(kind: str) -> list[str]:
    """Return the keys of a table in `[[upstreams]]`, as the error for an unknown one lists them."""
    with pytest.raises(MistralwireError) as caught:
        check_upstream_tables([{"kind": kind, "unknown": 1}])
    return caught.value.message.partition(" (")[2].partition(")")[0].split(", ")


@pytest.mark.parametrize("kind", ["mistral", "vertex", "replay"])
def test_each_key_of_an_upstream_is_listed(kind: str) -> None:
    documented = [
        name
        for keys, kinds, *_ in _rows("Keys of `[[upstreams]]`", "key")
        if kinds == "all" or kind in kinds.split(", ")
        for name in _names(keys)
    ]
    assert sorted(documented) == sorted(_upstream_keys(kind))


def test_the_bounds_of_an_upstream_have_their_defaults() -> None:
    defaults = {key: default for key, _, default, *_ in _rows("Keys of `[[upstreams]]`", "key")}
    for name in ("connect_s", "first_byte_s", "silence_s", "attempts_max"):
        assert float(defaults[f"`{name}`"]) == getattr(HttpSettings(), name)


# Prints the instruments that a server creates, as a provider of OpenTelemetry's API sees them.
_INSTRUMENTS = """
import inspect
import json

from opentelemetry import metrics

from mistralwire.service import create_server
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream

created = []


class RecordingMeter(metrics.NoOpMeter):
    pass


def recording(create, kind):
    def record(self, *args, **kwargs):
        given = inspect.signature(create).bind(self, *args, **kwargs).arguments
        created.append((given["name"], kind, given.get("unit", "")))
        return create(self, *args, **kwargs)

    return record


for name, method in inspect.getmembers(metrics.NoOpMeter, inspect.isfunction):
    if name.startswith("create_"):
        kind = name.removeprefix("create_").removeprefix("observable_")
        setattr(RecordingMeter, name, recording(method, kind))


class RecordingProvider(metrics.MeterProvider):
    def get_meter(self, name, *_, **__):
        return RecordingMeter(name)


metrics.set_meter_provider(RecordingProvider())
create_server(ReplayUpstream([DEMONSTRATION]))
print(json.dumps(created))
"""


@pytest.mark.process
def test_each_metric_of_the_service_is_listed() -> None:
    run = subprocess.run([sys.executable, "-c", _INSTRUMENTS], capture_output=True, text=True, check=True)
    listed = sorted([_names(name)[0], kind, unit] for name, kind, unit, *_ in _rows("Metrics", "metric"))
    assert listed == sorted(json.loads(run.stdout))


async def test_each_metric_of_the_gateway_is_listed() -> None:
    config = GatewayConfig(port=0, metrics=True)
    async with (
        Relay(MemoryLog(), RelayConfig(log="memory")) as relay,
        Client.on(LocalChannel(ReplayUpstream([DEMONSTRATION]), relay=relay)) as client,
        GatewayServer(create_app(client, config, relay_figures=relay.figures), config) as server,
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}/metrics") as response,
    ):
        page = await response.text()
    made = re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE)
    rows = _rows("Metrics", "metric at the gateway")
    assert sorted((_names(name)[0], kind) for name, kind, *_ in rows) == sorted(
        (name, kind) for name, kind in made if not name.endswith("_created")
    )


def _attributes_in_the_source() -> Iterator[str]:
    """Yield the strings of the source that have the form of an attribute's name."""
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        loggers = {
            id(argument)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger"
            for argument in node.args
        }
        texts = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and id(node) not in loggers
        ]
        yield from (
            text
            for text in texts
            if isinstance(text, str) and _ATTRIBUTE.fullmatch(text) and not _is_in_a_package(text)
        )


def _is_in_a_package(name: str) -> bool:
    package, _, rest = name.partition(".")
    return package == "mistralwire" and (SOURCE / rest.partition(".")[0]).is_dir()


@pytest.mark.slow
def test_each_span_attribute_is_listed() -> None:
    listed = [name for row in _rows("Span attributes", "attribute") for name in _names(row[0])]
    metrics = {name for row in _rows("Metrics", "metric") for name in _names(row[0])}
    assert sorted(listed) == sorted(set(_attributes_in_the_source()) - metrics - _NO_ATTRIBUTES)
