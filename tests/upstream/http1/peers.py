"""Both ends of an exchange: a server whose handler a test writes, and a receiver that notes what it hears."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from tests.listeners import stop_listening

WAIT_S = 30

Handler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Serves one handler on a free port.

    Attributes:
        port: Where it listens.
        connections: How many connections there were.
        ended: How many handlers have ended, each with its connection.
    """

    def __init__(self, handler: Handler) -> None:
        self.port = 0
        self.connections = 0
        self.ended = 0
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[Exception] = []
        self._change = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self, *, tls: ssl.SSLContext | None = None) -> AsyncIterator["RawServer"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await stop_listening(server)
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks)
        assert not self._errors

    async def all_ended(self) -> None:
        """Wait until no connection is left."""
        async with asyncio.timeout(WAIT_S), self._change:
            await self._change.wait_for(lambda: self.ended == self.connections > 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            # The streams of asyncio log a handler that was cancelled, so that it ends here.
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
                await self._handler(reader, writer)
        except Exception as error:  # noqa: BLE001 - for the test
            self._errors.append(error)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self.ended += 1
            with contextlib.suppress(asyncio.CancelledError):
                async with self._change:
                    self._change.notify_all()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(*answers: bytes) -> Handler:
    """Answer each request of a connection, none of which has a body, with the next of these; then leave."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_head(reader)
            writer.write(answer)
            await writer.drain()
        await reader.read()

    return handle


def answer(body: bytes = b"hi", status: int = 200, **headers: str) -> bytes:
    """Return the bytes of a response; `content_type="text/plain"` is the header `content-type`."""
    fields = {"content-length": str(len(body))} | {n.replace("_", "-"): v for n, v in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + body


class Recorder:
    """Notes what a receiver hears.

    Attributes:
        heard: The names of the calls; `data` once for those in a row.
        pieces: The pieces of the body.
        error: What it failed with.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.error: Exception | None = None
        self.on_head: Callable[[], None] = lambda: None
        self.on_data: Callable[[], None] = lambda: None
        self._change = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers = status, headers
        self._hear("head")
        self.on_head()

    def data(self, piece: bytes) -> None:
        assert piece
        self.pieces.append(piece)
        if self.heard[-1] != "data":
            self.heard.append("data")
        self._change.set()
        self.on_data()

    def end(self) -> None:
        self._hear("end")

    def failed(self, error: Exception) -> None:
        self.error = error
        self._hear("failed")

    async def until(self, condition: Callable[["Recorder"], object]) -> None:
        """Wait until something has been heard."""
        async with asyncio.timeout(WAIT_S):
            while not condition(self):
                self._change.clear()
                await self._change.wait()

    async def over(self) -> "Recorder":
        """Wait for the end, or the error."""
        await self.until(lambda this: {"end", "failed"} & set(this.heard))
        return self

    def _hear(self, name: str) -> None:
        assert not {"end", "failed"} & set(self.heard), f"{name} behind {self.heard}"
        self.heard.append(name)
        self._change.set()
