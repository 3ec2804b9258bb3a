"""Services that store responses, and cables to them that can be pulled."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from mistralwire.client import Client
from mistralwire.service import RelayConfig, Server, ServerConfig, create_relay, create_server
from mistralwire.upstream import Upstream
from tests.listeners import accepting
from tests.service.upstreams import HeldUpstream


@contextlib.asynccontextmanager
async def relaying(
    upstream: Upstream | None = None, config: ServerConfig | None = None, **settings: Any
) -> AsyncIterator[Server]:
    """Serve with a log in memory, for half a minute at most."""
    async with (
        asyncio.timeout(30),
        create_relay(RelayConfig(log="memory", **settings)) as relay,
        create_server(upstream or HeldUpstream(), config or ServerConfig(port=0), relay=relay) as server,
    ):
        yield server


class Cable:
    """Forwards connections to an address, until it is pulled.

    Attributes:
        target: The address; it may change.
        connections: How many there have been.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._writers: set[asyncio.StreamWriter] = set()
        # Those without a transport yet.
        self._accepted: set[socket.socket] = set()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._is_pulled = False
        self.connections = 0

    @contextlib.asynccontextmanager
    async def plugged(self) -> AsyncIterator[str]:
        """Yield the address of the near end."""
        with accepting(self._take) as address:
            try:
                yield address
            finally:
                self.pull()
                for task in self._forwarding:
                    task.cancel()
                await asyncio.gather(*self._forwarding, return_exceptions=True)
                # Those of tasks that did not even begin.
                for connection in self._accepted:
                    connection.close()

    def pull(self) -> None:
        """Break all connections, and those that follow."""
        self._is_pulled = True
        self.shake()

    def shake(self) -> None:
        """Break all connections; others may follow."""
        for writer in self._writers:
            writer.transport.abort()

    def plug(self) -> None:
        self._is_pulled = False

    def _take(self, connection: socket.socket) -> None:
        self.connections += 1
        if self._is_pulled:
            connection.close()
            return
        self._accepted.add(connection)
        task = asyncio.create_task(self._forward(connection))
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)

    async def _forward(self, connection: socket.socket) -> None:
        writers = []
        host, _, port = self.target.rpartition(":")
        try:
            with contextlib.suppress(ConnectionError):
                far_reader, far_writer = await asyncio.open_connection(host, int(port))
                writers.append(far_writer)
                if self._is_pulled:
                    return
                reader, writer = await asyncio.open_connection(sock=connection)
                writers.append(writer)
                self._accepted.discard(connection)
                self._writers.update(writers)
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._writers.difference_update(writers)
            if connection in self._accepted:
                self._accepted.discard(connection)
                connection.close()
            for each in writers:
                # One that is closing may have bytes to send.
                if not each.is_closing():
                    each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def cabled(target: str, **options: Any) -> AsyncIterator[tuple[Cable, Client]]:
    """Yield a cable to a service, and a client at its near end."""
    cable = Cable(target)
    async with cable.plugged() as address, Client(address, **options) as client:
        yield cable, client
