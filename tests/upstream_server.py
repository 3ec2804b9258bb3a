"""A model API on a socket that answers what it is told, misbehaviour included."""

import asyncio
import collections
import contextlib
import dataclasses
import enum
import itertools
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from tests.listeners import stop_listening


class Misbehaviour(enum.Enum):
    """What a server can do in the middle of an answer."""

    CUT = enum.auto()
    STALL = enum.auto()


CUT = Misbehaviour.CUT
"""Cut the connection at once, without an end of the body."""

STALL = Misbehaviour.STALL
"""Say nothing more until the peer has gone."""

Piece: TypeAlias = bytes | float | Misbehaviour
"""Bytes to send at once, a pause in seconds, CUT or STALL."""


class Received(NamedTuple):
    """A request as it came; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass
class Answer:
    """What to answer.

    The body is chunked, unless the headers say `content-length`. `pieces` may be an iterator, for a body that
    is never held as a whole; the answer can be given once then. One that has no head, but only CUT or STALL,
    is `is_headless`.
    """

    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    pieces: Iterable[Piece] = ()
    is_headless: bool = False


def json_answer(body: bytes, status: int = 200, **headers: str) -> Answer:
    """Return an answer of one JSON text; `retry_after="1"` is the header `retry-after`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(
        status, {"content-type": "application/json", "content-length": str(len(body))} | named, [body]
    )


def sse_answer(*pieces: Piece) -> Answer:
    """Return an answer of server-sent events, one chunk of HTTP a piece."""
    return Answer(200, {"content-type": "text/event-stream"}, pieces)


class UpstreamServer:
    """Serves any path on 127.0.0.1; keeps connections alive.

    Attributes:
        url: Where it listens, without a slash at the end; known once it runs.
        answers: What to answer next. The last one is repeated.
        received: The requests so far.
        connections: How many connections there were.
        gone: Set when a peer left while it was being answered.
        head_arrived: Set when the head of a request is there.
        arrived: Set when a request is there.
    """

    def __init__(self, *answers: Answer) -> None:
        self.url = ""
        self.answers: collections.deque[Answer] = collections.deque(answers)
        self.received: list[Received] = []
        self.connections = 0
        self.gone = asyncio.Event()
        self.head_arrived = asyncio.Event()
        self.arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            await stop_listening(self._server)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def answer_to(self, request: Received) -> Answer:
        """Choose the answer to a request."""
        return self.answers[0] if len(self.answers) == 1 else self.answers.popleft()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, which is closed even if the server ends before it begins."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        # The streams of asyncio log a handler that was cancelled, so that it ends here.
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            begun: bytes | None = b""
            while begun is not None:
                begun = await self._exchange(reader, writer, begun)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: bytes
    ) -> bytes | None:
        """Answer one request; return what was read of the next one, or None if there is none to come."""
        head = begun + await reader.readuntil(b"\r\n\r\n")
        self.head_arrived.set()
        request = await _read_request(reader, head.decode("latin-1"))
        self.received.append(request)
        self.arrived.set()
        answer = self.answer_to(request)
        # No peer sends anything before it has its answer: what comes is the end of the connection.
        leaving = asyncio.create_task(reader.read(1))
        sending = asyncio.create_task(_send(answer, writer))
        try:
            await asyncio.wait([leaving, sending], return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.cancelled() and sending.exception() is None:
                next_begun = leaving.result() if leaving.done() else b""
                return next_begun if sending.result() else None
            self.gone.set()
            return None
        finally:
            for task in (leaving, sending):
                task.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)


async def _read_request(reader: asyncio.StreamReader, head: str) -> Received:
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join([chunk async for chunk in _read_chunks(reader)])
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()


async def _send(answer: Answer, writer: asyncio.StreamWriter) -> bool:
    is_chunked = "content-length" not in answer.headers
    headers = answer.headers | ({"transfer-encoding": "chunked"} if is_chunked else {})
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if not answer.is_headless:
        writer.write(f"HTTP/1.1 {answer.status} Answer\r\n{head}\r\n".encode())
    for piece in itertools.chain(answer.pieces, [b""] if is_chunked else []):
        if piece is CUT:
            # What was written before goes out first: abort() drops what is still in the buffer.
            await _flushed(writer)
            writer.transport.abort()
            return False
        if piece is STALL:
            await asyncio.Event().wait()
        elif isinstance(piece, bytes):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            await writer.drain()
        elif isinstance(piece, float | int):
            await asyncio.sleep(piece)
    return answer.headers.get("connection") != "close"


async def _flushed(writer: asyncio.StreamWriter) -> None:
    while writer.transport.get_write_buffer_size():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)
