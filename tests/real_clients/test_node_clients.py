"""Clients for Node.js, unmodified; and all clients with the settings that a gateway has by itself."""

import asyncio
import os
import pathlib
import shutil
from collections.abc import Sequence

import pytest

from mistralwire.gateway import GatewayConfig
from tests.real_clients.matrix import (
    CASES,
    NODE,
    NODE_COMMAND,
    NODE_MODULES,
    PYTHON,
    PYTHON_COMMAND,
    Call,
    Client,
    Ended,
    ask,
    calls_of,
    check,
    write_keys,
)

CALLS = calls_of(NODE)

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    if not NODE_MODULES.is_dir():
        reason = "the clients for Node.js are missing: `make interop` installs them where there is npm"
        if os.environ.get("CI") and shutil.which("npm") is None:
            pytest.fail(f"{reason}, and CI needs every language")
        pytest.skip(reason)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[Call, Ended]:
    """What came of all calls: one process makes them all at one time, and each test looks at its own."""
    return asyncio.run(ask(NODE_COMMAND, CALLS, write_keys(tmp_path_factory.mktemp("keys"))))


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_client_gets_what_it_needs(ended: dict[Call, Ended], call: Call) -> None:
    check(call, ended[call])


async def test_no_client_minds_the_heartbeat_that_a_gateway_has_by_itself(tmp_path: pathlib.Path) -> None:
    """Twice more than 30 seconds of silence: two heartbeats before the first chunk, and two after it."""
    [silence] = (case for case in CASES if case.name == "silence")
    heartbeat_s = GatewayConfig().heartbeat_s
    keys = write_keys(tmp_path)
    both_languages: list[tuple[Sequence[str | pathlib.Path], Sequence[Client]]] = [
        (PYTHON_COMMAND, PYTHON),
        (NODE_COMMAND, NODE),
    ]
    both = await asyncio.gather(
        *(
            ask(
                command,
                [Call(client, silence) for client in clients],
                keys,
                heartbeat_s=heartbeat_s,
                silence_s=2 * heartbeat_s + 1,
            )
            for command, clients in both_languages
        )
    )
    for call, ended in (pair for each in both for pair in each.items()):
        check(call, ended)
