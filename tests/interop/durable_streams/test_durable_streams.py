"""The durable-streams protocol as others understand it: its conformance tests, its client, the AI SDK."""

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.interop.processes import run, serving
from tests.log.nats_servers import NatsServer, running

FOLDER = pathlib.Path(__file__).parent
MODULES = FOLDER / "node_modules"
WAIT_S = 500
# Of version 0.3.6 of the tests; 6 more are for subscriptions, and off by default.
PASSED = 332

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    if not MODULES.is_dir():
        reason = "the packages of Node.js are missing: `make interop` installs them where there is npm"
        if os.environ.get("CI") and shutil.which("npm") is None:
            pytest.fail(f"{reason}, and CI needs every language")
        pytest.skip(reason)


@contextlib.asynccontextmanager
async def gateway(log: str, folder: pathlib.Path) -> AsyncIterator[str]:
    """Run a gateway whose log is `memory`, `sqlite` or `nats`, and yield its URL."""
    flags = ["--cors-origins", "https://example.com", "--heartbeat-s", "3", "--log-level", "warning"]
    with contextlib.ExitStack() as stack:
        if log == "sqlite":
            flags += ["--data", str(folder / "data")]
        elif log == "nats":
            server = stack.enter_context(running(NatsServer(folder)))
            flags += ["--log", server.url, "--log-monitors", server.monitor_url]
        else:
            flags += ["--log", log]
        async with serving(*flags, command="gateway") as (_, url):
            yield url


@pytest.mark.parametrize("log", ["memory", "sqlite", "nats"])
async def test_the_protocol_is_kept(log: str, tmp_path: pathlib.Path) -> None:
    report = tmp_path / "report.json"
    async with gateway(log, tmp_path) as url:
        code, output, errors = await run(
            *(MODULES / ".bin" / "vitest", "run", "--testTimeout", "60000"),
            *("--reporter", "json", "--outputFile", report, "conformance.test.js"),
            cwd=FOLDER,
            env={**os.environ, "DS_URL": url},
            wait_s=WAIT_S,
        )
    assert report.exists(), (code, output, errors)
    found = json.loads(report.read_text())
    tests = [test for file in found["testResults"] for test in file["assertionResults"]]
    assert [test["fullName"] for test in tests if test["status"] == "failed"] == []
    assert (code, found["numPassedTests"], found["numFailedTests"]) == (0, PASSED, 0)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the programs of others got, as ask.mjs says."""

    async def ask() -> Any:
        async with gateway("memory", tmp_path_factory.mktemp("log")) as url:
            code, output, errors = await run("node", "ask.mjs", url, cwd=FOLDER)
        assert (code, errors) == (0, "")
        return json.loads(output)

    return asyncio.run(ask())


def test_its_client_reads_what_it_wrote(answers: Any) -> None:
    expected = {
        "json": [{"number": number, "text": " é\n"} for number in range(50)],
        "text": " one\ntwo\né",
        "binary": [0, 255, 10, 13, 10, 32],
    }
    assert answers["copies"] == {kind: {"long-poll": each, "sse": each} for kind, each in expected.items()}


def test_the_ai_sdk_gets_its_chunks_and_gets_them_again(answers: Any) -> None:
    chat = answers["chat"]
    assert chat["sent"] == chat["again"] == chat["expected"]
