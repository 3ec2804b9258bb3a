"""The logs that are measured, each with the two methods that a load needs."""

import asyncio
import contextlib
import pathlib
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import aiohttp
import grpc
import redis.asyncio
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from benchmarks.relay.server import PLAIN, RAKAIA
from mistralwire.codec import from_json
from mistralwire.log import (
    Append,
    MemoryLog,
    NatsLog,
    Opening,
    ResponseLog,
    SqliteLog,
    append_and_wait,
    framed,
)
from mistralwire.v1 import (
    CompletionChunk,
    PublishBatch,
    PublishOpen,
    PublishRequest,
    PublishResponse,
    ResponseEvents,
    SubscribeRequest,
    response_relay_service_pb2_grpc,
)
from tests.log.nats_servers import NatsServer, cluster, running

MEMORY, SQLITE = "memory", "sqlite"
CONTENT = bytes(range(217))
EVENT = framed(CONTENT)
# Streams that an XREAD waits for, in milliseconds, before it is sent again.
_BLOCK_MS = 1000


class Contender(Protocol):
    """A log with running responses.

    Attributes:
        pids: Processes beside this one that work for it.
    """

    pids: Sequence[int]

    async def append(self, response: str, first: int, count: int) -> None:
        """Append events, and wait until they are acknowledged."""

    def follow(self, response: str) -> AsyncIterator[int]:
        """Yield the number of the last event each time that events arrive; they are in order."""


class LogContender:
    """A log of this package."""

    def __init__(self, log: ResponseLog, batch: int, pids: Sequence[int] = ()) -> None:
        self.pids = pids
        self._log = log
        self._data = EVENT * batch

    async def append(self, response: str, first: int, count: int) -> None:
        append = Append(id=response, epoch=0, first=first, count=count, data=self._data)
        await append_and_wait(self._log, append)

    async def follow(self, response: str) -> AsyncIterator[int]:
        last = 0
        async with contextlib.aclosing(self._log.follow(response)) as deliveries:
            async for delivery in deliveries:
                for batch in delivery.batches:
                    assert batch.first == last + 1
                    last = batch.last
                yield last


class RedisContender:
    """Redis Streams: each producer waits for its own command, or pipeline."""

    def __init__(self, client: "redis.asyncio.Redis", pid: int) -> None:
        self.pids: Sequence[int] = (pid,)
        self._client = client

    async def append(self, response: str, first: int, count: int) -> None:
        if count == 1:
            await self._client.xadd(response, {"d": CONTENT}, id=f"0-{first}")
            return
        pipeline = self._client.pipeline(transaction=False)
        for number in range(first, first + count):
            pipeline.xadd(response, {"d": CONTENT}, id=f"0-{number}")
        await pipeline.execute()

    async def follow(self, response: str) -> AsyncIterator[int]:
        last = 0
        async with self._client.client() as connection:
            while True:
                answer: Any = await connection.xread({response: f"0-{last}"}, block=_BLOCK_MS)
                for _, entries in answer:
                    for entry, _ in entries:
                        assert entry == b"0-%d" % (last + 1)
                        last += 1
                yield last


class PipelinedRedis(RedisContender):
    """Redis Streams: what all producers append during a round trip goes out in one pipeline."""

    def __init__(self, client: "redis.asyncio.Redis", pid: int) -> None:
        super().__init__(client, pid)
        self._pipeline: Pipeline = client.pipeline(transaction=False)
        self._waiting: list[asyncio.Future[None]] = []
        self._sending: asyncio.Task[None] | None = None

    async def append(self, response: str, first: int, count: int) -> None:
        for number in range(first, first + count):
            self._pipeline.xadd(response, {"d": CONTENT}, id=f"0-{number}")
        acknowledged = asyncio.get_running_loop().create_future()
        self._waiting.append(acknowledged)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        await acknowledged

    async def _send(self) -> None:
        while self._waiting:
            pipeline, self._pipeline = self._pipeline, self._client.pipeline(transaction=False)
            waiting, self._waiting = self._waiting, []
            await pipeline.execute()
            for acknowledged in waiting:
                if not acknowledged.done():  # the load is over
                    acknowledged.set_result(None)


def _chunk() -> CompletionChunk:
    """Return a chunk of as many bytes as the events of the others."""
    text = b'{"id":"","object":"chat.completion.chunk","created":1800000000,"model":"mistral-large-latest",'
    text += b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}'
    chunk = from_json(CompletionChunk, text)
    while (size := len(CONTENT) - chunk.ByteSize()) > 0:
        chunk.id += "i" * (size - len("id") // 2 if size > 1 else 1)
    return chunk


class _GrpcProducer:
    """One call of Publish, with any number of batches in flight."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._turn = asyncio.Lock()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._reading = asyncio.create_task(self._read())

    async def append(self, batch: PublishBatch, last: int) -> None:
        acknowledged = asyncio.get_running_loop().create_future()
        self._waiting.append((last, acknowledged))
        async with self._turn:
            await self._call.write(PublishRequest(batch=batch))
        await acknowledged

    async def _read(self) -> None:
        while (answer := await self._call.read()) is not grpc.aio.EOF:
            while self._waiting and self._waiting[0][0] <= answer.acknowledged_sequence:
                _, acknowledged = self._waiting.popleft()
                if not acknowledged.done():  # the load is over
                    acknowledged.set_result(None)


class GrpcContender:
    """ResponseRelayService, by the generated types: one call a producer, and one a follower."""

    def __init__(self, port: int, pid: int, batch: int) -> None:
        self.pids: Sequence[int] = (pid,)
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._stub = response_relay_service_pb2_grpc.ResponseRelayServiceAsyncStub(self._channel)
        self._events = ResponseEvents(chunks=[_chunk()] * batch)
        self._producers: dict[str, _GrpcProducer] = {}

    async def open(self, response: str) -> None:
        call = self._stub.Publish()
        await call.write(PublishRequest(open=PublishOpen(response_id=response)))
        assert await call.read() == PublishResponse(acknowledged_sequence=0)
        self._producers[response] = _GrpcProducer(call)

    async def append(self, response: str, first: int, count: int) -> None:
        batch = PublishBatch(first_sequence=first, events=self._events)
        await self._producers[response].append(batch, first + count - 1)

    async def follow(self, response: str) -> AsyncIterator[int]:
        last = 0
        async for message in self._stub.Subscribe(SubscribeRequest(response_id=response)):
            assert message.first_sequence == last + 1
            last += len(message.events.chunks)
            yield last

    async def close(self) -> None:
        await self._channel.close()


class RakaiaContender:
    """A server of the Durable Streams protocol: a request an append, and an event stream a follower."""

    def __init__(self, port: int, pid: int) -> None:
        self.pids: Sequence[int] = (pid,)
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{port}",
            connector=aiohttp.TCPConnector(limit=0),
            headers={"content-type": "application/json"},
            timeout=aiohttp.ClientTimeout(),
        )
        self._event = "x" * (len(CONTENT) - len('""'))

    async def open(self, response: str) -> None:
        async with self._session.put(f"/{response}") as answer:
            answer.raise_for_status()

    async def append(self, response: str, first: int, count: int) -> None:
        # The protocol has it as text, and no gap in it is an error.
        headers = {"Stream-Seq": f"{first:020}"}
        async with self._session.post(f"/{response}", json=[self._event] * count, headers=headers) as answer:
            answer.raise_for_status()

    async def follow(self, response: str) -> AsyncIterator[int]:
        last = 0
        async with self._session.get(f"/{response}", params={"offset": "-1", "live": "sse"}) as answer:
            async for data, _ in answer.content.iter_chunks():
                last += data.count(b"event: data\n")
                yield last

    async def close(self) -> None:
        await self._session.close()


REDIS = {
    "redis always": (RedisContender, "always"),
    "redis everysec": (RedisContender, "everysec"),
    "redis pipelined": (PipelinedRedis, "always"),
}
# Names of the logs on NATS, and how many servers each has.
NATS = {"nats": 1, "nats of three": 3}
AT_THE_LOG = (MEMORY, SQLITE, *NATS, *REDIS, RAKAIA)
# Names of what is called over gRPC, and of the server's log.
GRPC = {"memory over gRPC": MEMORY, "sqlite over gRPC": SQLITE, PLAIN: PLAIN}
OVER_GRPC = (*GRPC, *REDIS, RAKAIA)
# Without an fsync that a preloaded library could slow down: NATS' servers make system calls of their own.
NEVER_SLOWED = (MEMORY, *NATS, "memory over gRPC", PLAIN)
# Commands of one producer travel on several connections of the pool, and would overtake each other.
ONE_IN_FLIGHT = ("redis always", "redis everysec", RAKAIA)


@contextlib.asynccontextmanager
async def opened(name: str, folder: pathlib.Path, streams: int, batch: int) -> AsyncIterator[Contender]:
    """Open a contender with running responses `0` to `streams` - 1."""
    if name in REDIS:
        async with _redis(*REDIS[name], folder) as contender:
            yield contender
        return
    if name in GRPC or name == RAKAIA:
        async with _server(GRPC.get(name, name), folder, streams, batch) as contender:
            yield contender
        return
    with contextlib.ExitStack() as stack:
        servers: Sequence[NatsServer] = ()
        if name in NATS:
            servers = cluster(folder) if NATS[name] > 1 else [NatsServer(folder / "server")]
            stack.enter_context(running(*servers))
        log = _log(name, folder, servers)
        await log.start()
        try:
            for response in range(streams):
                await log.open(Opening(id=str(response)))
            yield LogContender(log, batch, [server.pid for server in servers])
        finally:
            await log.close()


@contextlib.asynccontextmanager
async def _server(
    name: str, folder: pathlib.Path, streams: int, batch: int
) -> AsyncIterator[GrpcContender | RakaiaContender]:
    command = [sys.executable, "-m", "benchmarks.relay.server", name, str(folder)]
    server = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        contender = (
            RakaiaContender(port, server.pid) if name == RAKAIA else GrpcContender(port, server.pid, batch)
        )
        for response in range(streams):
            await contender.open(str(response))
        yield contender
        await contender.close()
    finally:
        server.kill()
        await server.wait()


def _log(name: str, folder: pathlib.Path, servers: Sequence[NatsServer]) -> ResponseLog:
    if servers:
        monitor_urls = [server.monitor_url for server in servers]
        url = ",".join(server.url for server in servers)
        return NatsLog(url, replicas=len(servers), monitor_urls=monitor_urls)
    return MemoryLog() if name == MEMORY else SqliteLog(folder)


@contextlib.asynccontextmanager
async def _redis(
    kind: type[RedisContender], appendfsync: str, folder: pathlib.Path
) -> AsyncIterator[Contender]:
    socket = folder / "socket"
    options = {"port": 0, "unixsocket": socket, "dir": folder, "save": "", "appendonly": "yes"}
    options |= {"appendfsync": appendfsync, "maxclients": 20_000, "loglevel": "warning"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    server = await asyncio.create_subprocess_exec("redis-server", *arguments, stdout=subprocess.DEVNULL)
    client = redis.asyncio.Redis(
        unix_socket_path=str(socket), max_connections=10_000, retry=Retry(ConstantBackoff(0.05), 200)
    )
    try:
        await client.ping()
        yield kind(client, server.pid)
    finally:
        await client.aclose()
        server.kill()
        await server.wait()
