"""Calls whose responses are stored: over gRPC, and in the process of their client."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from mistralwire._metadata import IDEMPOTENCY_KEY, ON_DISCONNECT, RESPONSE_ID
from mistralwire.client import ChunkBatch, Client
from mistralwire.errors import ResponseError
from mistralwire.log import Append, Delivery, MemoryLog, ResponseLog, StoredResponse
from mistralwire.service import (
    CallObserver,
    LocalChannel,
    Relay,
    RelayConfig,
    Server,
    ServerConfig,
    create_server,
)
from mistralwire.upstream import Upstream
from mistralwire.v1 import ChatCompletionStreamResponse, ResponseEvents

_NAMES = {"id": RESPONSE_ID, "on_disconnect": ON_DISCONNECT, "key": IDEMPOTENCY_KEY}


def metadata(**values: str) -> dict[str, str]:
    """Return what a call asks for: `id`, `on_disconnect` and `key`."""
    return {_NAMES[name]: value for name, value in values.items()}


class Service:
    """A service that stores responses, and its client."""

    def __init__(self, relay: Relay, client: Client, server: Server | None) -> None:
        self.relay = relay
        self.client = client
        self._server = server

    @property
    def server(self) -> Server:
        assert self._server is not None
        return self._server

    @property
    def address(self) -> str:
        return self.server.address

    @property
    def log(self) -> ResponseLog:
        return self.relay.log

    async def stored(self, response_id: str) -> StoredResponse:
        found = await self.log.describe(f"/{response_id}")
        assert found is not None
        return found

    async def ended(self, response_id: str) -> StoredResponse:
        """Wait for the end of a response, also while the log does not take it."""
        async with asyncio.timeout(10):
            while (stored := await self.stored(response_id)).end is None:
                with contextlib.suppress(ResponseError):
                    async with contextlib.aclosing(self.log.follow(f"/{response_id}")) as deliveries:
                        async for _ in deliveries:
                            pass
                await asyncio.sleep(0)
        return stored

    async def events(self, response_id: str) -> ResponseEvents:
        data = b"".join([batch.data for batch in await self.log.read(f"/{response_id}", bytes_max=2**30)])
        return ResponseEvents.FromString(data)

    async def chunk_ids(self, response_id: str) -> list[int]:
        return [int(chunk.id) for chunk in (await self.events(response_id)).chunks]

    def batches(self, request: Any, **values: str) -> AsyncGenerator[ChunkBatch, None]:
        return self.client.stream_batches(request, metadata=metadata(**values))


@contextlib.asynccontextmanager
async def serving(
    upstream: Upstream,
    *,
    is_local: bool = True,
    log: ResponseLog | None = None,
    observers: Sequence[CallObserver] = (),
    config: ServerConfig | None = None,
    **settings: Any,
) -> AsyncIterator[Service]:
    """Serve an upstream; `settings` are those of RelayConfig."""
    config = config or ServerConfig(port=0)
    async with Relay(log or MemoryLog(), RelayConfig(log="memory", **settings)) as relay:
        if is_local:
            channel = LocalChannel(upstream, config, observers, relay=relay)
            async with Client.on(channel) as client:
                yield Service(relay, client, None)
        else:
            server = create_server(upstream, config, observers, relay=relay)
            async with server, Client(server.address, attempts_max=1) as client:
                yield Service(relay, client, server)


def ids_in(batch: ChunkBatch) -> tuple[int | None, list[int]]:
    """Return the first sequence of a message, and the ids of its chunks."""
    message = ChatCompletionStreamResponse.FromString(batch.data)
    first = message.first_sequence if message.HasField("first_sequence") else None
    return first, [int(chunk.id) for chunk in message.chunks]


class HeldLog(MemoryLog):
    """Reports on appends when the test lets it.

    Attributes:
        is_held: Whether it is slow.
        error: What it fails with; None to store.
        followed: Set when somebody follows a response.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_held = False
        self.error: ResponseError | None = None
        self.appends: list[Append] = []
        self.followed = asyncio.Event()

    def follow(self, id: str, after: int = 0) -> AsyncGenerator[Delivery, None]:
        self.followed.set()
        return super().follow(id, after)

    def append(self, appends: Sequence[Append]) -> None:
        self.appends += appends
        if not self.is_held:
            self.release()

    def release(self) -> None:
        """Store what has waited, or fail."""
        self.is_held = False
        appends, self.appends = self.appends, []
        if self.error is None:
            super().append(appends)
            return
        for append in appends:
            asyncio.get_running_loop().call_soon(functools.partial(append.on_done, 0, self.error))
