"""Large requests to a real gateway: callers take turns, and one that has gone leaves nothing behind."""

import asyncio
import json
import pathlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from mistralwire import _offload, codec
from mistralwire._offload import THREADS_MAX
from mistralwire.gateway import GatewayConfig
from mistralwire.gateway import _routes as routes_module
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from tests.gateway_stack import running_gateway

KEYS = {name: f"{name}-0123456789abcdef" for name in ("greedy", "other")}
# The content begins with the name of the request.
FILLER = " " * 768 * 1024


class HeldReads:
    """Blocks the reading of each large request until the test releases it; small ones pass.

    Attributes:
        begun: The names of the large requests whose reading began, in order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self._changed = asyncio.Condition()
        self._loop = asyncio.get_running_loop()
        self._gates: dict[str, threading.Event] = {}
        monkeypatch.setattr(routes_module, "json_to_binary", self._read)

    def _read(self, request_type: type[Any], data: bytes, **options: Any) -> bytes:
        if len(data) > len(FILLER):
            name = json.loads(data)["messages"][0]["content"].strip()
            gate = self._gates.setdefault(name, threading.Event())
            asyncio.run_coroutine_threadsafe(self._note(name), self._loop)
            # In the event loop nobody could let it go on: the bound is there for a failing test alone.
            assert gate.wait(30)
        return codec.json_to_binary(request_type, data, **options)

    async def _note(self, name: str) -> None:
        async with self._changed:
            self.begun.append(name)
            self._changed.notify_all()

    async def until_begun(self, *names: str) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: set(names) <= set(self.begun))

    def let_go_on(self, *names: str) -> None:
        for name in names:
            self._gates.setdefault(name, threading.Event()).set()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


def _asked(http: aiohttp.ClientSession, url: str, caller: str, content: str) -> "asyncio.Task[int]":
    async def ask() -> int:
        headers = {"authorization": f"Bearer {KEYS[caller]}"}
        body = {"model": "m", "messages": [{"role": "user", "content": content}]}
        async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
            await response.read()
            return response.status

    return asyncio.create_task(ask())


async def _until_waiting(count: int) -> None:
    """Wait until a number of conversions wait for a thread."""
    queue = _offload._queues[asyncio.get_running_loop()]
    async with asyncio.timeout(30):
        while sum(map(len, queue._waiting.values())) != count:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.alone
@pytest.mark.parametrize("is_embedded", [False, True], ids=["network", "embedded"])
async def test_who_abandons_large_requests_holds_up_nobody_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, http: aiohttp.ClientSession, is_embedded: bool
) -> None:
    (tmp_path / "keys").touch(0o600)
    (tmp_path / "keys").write_text("\n".join(KEYS.values()))
    config = GatewayConfig(port=0, token_file=tmp_path / "keys")
    upstream = ReplayUpstream(DEMONSTRATION / "answer.json")
    async with running_gateway(upstream, config, is_embedded=is_embedded) as url:
        reads = HeldReads(monkeypatch)
        # As many as one caller may have at one time, and more that wait.
        running = [f"greedy {number}" for number in range(THREADS_MAX - 1)]
        waiting = [f"greedy {number}" for number in range(100, 110)]
        try:
            abandoned = [_asked(http, url, "greedy", name + FILLER) for name in running]
            await reads.until_begun(*running)
            abandoned += [_asked(http, url, "greedy", name + FILLER) for name in waiting]
            # Another caller has a thread, and small requests need none.
            reads.let_go_on("other 1")
            assert await _asked(http, url, "other", "other 1" + FILLER) == 200
            assert await _asked(http, url, "greedy", "small") == 200
            await _until_waiting(len(waiting))
            for task in abandoned:
                task.cancel()
            await asyncio.gather(*abandoned, return_exceptions=True)
            await _until_waiting(0)
            last = _asked(http, url, "greedy", "greedy last" + FILLER)
        finally:
            reads.let_go_on(*running, *waiting, "greedy last")
        assert await last == 200

    # Those that waited when their caller left were never read.
    assert reads.begun == [*sorted(running), "other 1", "greedy last"]
