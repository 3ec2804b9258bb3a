"""SIGTERM while callers make call after call: none is told CANCELLED, and retries find another server."""

import asyncio
import collections
import contextlib
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import aiohttp
import grpc
import pytest

from mistralwire.client import Client
from mistralwire.errors import CallError
from tests.cli.serving import COMMAND, serving
from tests.error_bodies import flat_error
from tests.service.upstreams import REQUEST, STREAM_REQUEST

pytestmark = pytest.mark.process

SERVICE = "/mistralwire.v1.ChatCompletionService"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
# What a caller who goes on without a pause is told of servers that have gone, before it gives up.
FAILURES_MAX = 3


class Pressure(NamedTuple):
    """How hard the callers work.

    Attributes:
        callers: How many there are.
        pause_s: Seconds that each waits after a call.
        rounds: How often the case is repeated: one stop may come at a harmless moment.
    """

    callers: int
    pause_s: float
    rounds: int


# Alone: a caller that does not run for as long as the service holds its calls before it stops may lose one.
FULL, LIGHT = Pressure(40, 0.0, 3), Pressure(3, 0.02, 1)

Ask = Callable[[int], Awaitable[str]]
"""Makes a call, the caller's number being given; returns how it ended, `OK` if well."""


@contextlib.asynccontextmanager
async def raw_grpc(address: str) -> AsyncIterator[Ask]:
    """Call with nothing that our own client adds, on two connections: answers in one piece, and streams."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    async with (
        grpc.aio.insecure_channel(address, options) as first,
        grpc.aio.insecure_channel(address, options) as second,
    ):

        async def ask(number: int) -> str:
            channel = (first, second)[number // 2 % 2]
            try:
                if number % 2:
                    complete = channel.unary_unary(f"{SERVICE}/ChatCompletion")
                    await complete(REQUEST.SerializeToString(), timeout=60)
                else:
                    stream = channel.unary_stream(f"{SERVICE}/ChatCompletionStream")
                    async for _ in stream(STREAM_REQUEST.SerializeToString(), timeout=60):
                        pass
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return "OK"

        yield ask


@contextlib.asynccontextmanager
async def our_client(address: str) -> AsyncIterator[Ask]:
    async with Client(address, connections=2) as client:

        async def ask(number: int) -> str:
            try:
                if number % 2:
                    await client.complete(REQUEST)
                else:
                    assert [chunk async for chunk in client.stream(STREAM_REQUEST)]
            except CallError as error:
                return error.code
            return "OK"

        yield ask


@contextlib.asynccontextmanager
async def gateway(address: str) -> AsyncIterator[Ask]:
    arguments = ("--service", address, "--service-connections", "2")
    async with (
        serving(*arguments, command=(*COMMAND[:-1], "gateway")) as (_, url, _),
        aiohttp.ClientSession() as session,
    ):

        async def ask(number: int) -> str:
            question = {**QUESTION, "stream": not number % 2}
            async with session.post(f"{url}/v1/chat/completions", json=question) as response:
                text = await response.text()
                if response.status == 200:
                    return "OK" if "error" not in text else text
                return f"{response.status} {flat_error(await response.json())['type']}"

        yield ask


class Load:
    """Callers who make one call after another until they are told to stop, or nobody answers any more.

    Attributes:
        endings: How many calls ended how.
    """

    def __init__(self, ask: Ask, pressure: Pressure) -> None:
        self.endings: collections.Counter[str] = collections.Counter()
        self._is_over = False
        self._answered = asyncio.Event()
        self._pause_s = pressure.pause_s
        self._least = 3 * pressure.callers
        self._tasks = [asyncio.create_task(self._call(ask, number)) for number in range(pressure.callers)]

    async def _call(self, ask: Ask, number: int) -> None:
        failures = 0
        while not self._is_over and failures < FAILURES_MAX:
            ending = await ask(number)
            self.endings[ending] += 1
            failures += ending != "OK"
            if self.endings["OK"] >= self._least:
                self._answered.set()
            await asyncio.sleep(self._pause_s)

    async def running(self) -> None:
        """Wait until all are at work."""
        async with asyncio.timeout(60):
            await self._answered.wait()

    async def stop(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)


async def stop_under(load: Load, process: Process) -> None:
    await load.running()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("pressure", "workers"),
    [
        pytest.param(FULL, "1", id="full", marks=pytest.mark.alone),
        pytest.param(FULL, "2", id="two", marks=pytest.mark.alone),
        pytest.param(LIGHT, "1", id="light"),
    ],
)
@pytest.mark.parametrize(
    ("calling", "failures"),
    [
        (raw_grpc, {"UNAVAILABLE"}),
        (our_client, {"UNAVAILABLE"}),
        (gateway, {"503 draining", "503 unavailable"}),
    ],
    ids=["grpc", "client", "gateway"],
)
async def test_a_service_that_stops_cancels_nobody(
    calling: Callable[[str], contextlib.AbstractAsyncContextManager[Ask]],
    failures: set[str],
    pressure: Pressure,
    workers: str,
) -> None:
    for _ in range(pressure.rounds):
        async with serving("--workers", workers) as (process, address, _), calling(address) as ask:
            load = Load(ask, pressure)
            await stop_under(load, process)
            await load.stop()
        assert set(load.endings) - {"OK"} <= failures


@pytest.mark.parametrize(
    "pressure",
    [pytest.param(FULL, id="full", marks=pytest.mark.alone), pytest.param(LIGHT, id="light")],
)
async def test_no_call_of_our_client_fails_where_another_server_is_left(pressure: Pressure) -> None:
    for _ in range(pressure.rounds):
        async with (
            serving() as (process, first, _),
            serving() as (_, second, _),
            our_client(f"ipv4:{first},{second}") as ask,
        ):
            load = Load(ask, pressure)
            await stop_under(load, process)
            await load.stop()
        assert set(load.endings) == {"OK"}
