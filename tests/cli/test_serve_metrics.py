"""The pages for Prometheus of `mistralwire serve`."""

import asyncio
import os
import pathlib
import re
import socket
import subprocess
import urllib.request

import pytest

from mistralwire.client import Client
from tests.prometheus_names import labels_by_metric
from tests.service.upstreams import REQUEST, STREAM_REQUEST

from .serving import COMMAND, run, serving

pytestmark = pytest.mark.process


async def page(port: int) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(read)


async def test_calls_are_on_the_page(free_ports: int) -> None:
    arguments = ("--prometheus-port", str(free_ports))
    async with serving(*arguments) as (_, address, _line), Client(address) as client:
        await client.complete(REQUEST)
        assert [chunk async for chunk in client.stream(STREAM_REQUEST)]
        text = await page(free_ports)
    assert "ChatCompletion" in text
    labels: dict[str, set[str]] = {}
    for name, pairs in re.findall(r"^((?:rpc|gen_ai)_\w+)\{(.*)\} ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', pairs))
    listed = {
        name: known for name, known in labels_by_metric().items() if name.startswith(("rpc_", "gen_ai_"))
    }
    assert labels.keys() == listed.keys()
    for name, found in labels.items():
        assert {label for label in found if not label.startswith("otel_scope_")} <= listed[name], name


async def test_each_worker_has_a_page_of_its_own(free_ports: int) -> None:
    async with (
        serving("--prometheus-port", str(free_ports), "--workers", "2") as (_, address, _line),
        Client(address) as client,
    ):
        await client.complete(REQUEST)
        pages = [await page(free_ports), await page(free_ports + 1)]

    assert ["ChatCompletion" in text for text in pages].count(True) == 1
    assert all("process_resident_memory_bytes" in text for text in pages)


def test_a_port_of_the_page_that_is_taken_is_said_in_one_line(free_ports: int) -> None:
    port = free_ports + 1
    with socket.create_server(("127.0.0.1", port)):
        results = [
            run("--port", "0", "--prometheus-port", str(port)),
            run("--port", "0", "--prometheus-port", str(port), "--workers", "2"),
            # That of the second worker.
            run("--port", "0", "--prometheus-port", str(free_ports), "--workers", "2"),
        ]

    address = f"the address of the metrics, port {port} of 127.0.0.1,"
    for result in results:
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == (
            f"Error: {address} is in use; stop what listens there, or take another port\n"
        )


def test_packages_that_are_missing_are_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ModuleNotFoundError(name='opentelemetry')")
    result = subprocess.run(
        [*COMMAND, "--port", "0", "--prometheus-port", "9464"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )

    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert "pip install '.[otel]'" in result.stderr
