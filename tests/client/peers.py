"""Services that misbehave, over real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from mistralwire.service import SERVICE_NAME
from mistralwire.v1 import ChatCompletionResponse, ChatCompletionStreamResponse
from tests.listeners import accepting
from tests.service.upstreams import chunk

ANSWER = ChatCompletionResponse(id="answer", model="m").SerializeToString()
MESSAGE = ChatCompletionStreamResponse(chunks=[chunk(0)]).SerializeToString()

Handler = Callable[[Any], Awaitable[None]]


@contextlib.asynccontextmanager
async def started(server: grpc.aio.Server, port: int = 0) -> AsyncIterator[str]:
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def server_of(handle: Handler) -> grpc.aio.Server:
    """Create a server whose methods are all the same function of the call's context."""

    async def behave(_: object, context: Any) -> None:
        await context.read()
        await handle(context)

    handler = grpc.stream_stream_rpc_method_handler(behave)
    handlers = dict.fromkeys(
        ("ChatCompletion", "ChatCompletionStream", "FIMCompletion", "FIMCompletionStream"), handler
    )
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))
    return server


@contextlib.asynccontextmanager
async def service_of(handle: Handler) -> AsyncIterator[str]:
    async with started(server_of(handle)) as target:
        yield target


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return an HTTP/2 frame. Source: https://www.rfc-editor.org/rfc/rfc9113#section-4.1"""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def header(name: bytes, value: bytes) -> bytes:
    """Return an uncompressed header field. Source: https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2"""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
ACK, END_STREAM, END_HEADERS = 1, 1, 4
# `:status: 200` from the table of HPACK, then what gRPC requires.
RESPONSE_HEADERS = b"\x88" + header(b"content-type", b"application/grpc")


async def _read(connection: socket.socket, size: int) -> bytes:
    """Read this many bytes; none at the end."""
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(connection, size - len(data))
        if not piece:
            return b""
        data += piece
    return data


class RawPeer:
    """An HTTP/2 server that answers each call with given frames, and then is silent.

    Args:
        answer: Gives the frames for a stream id; None to say nothing at all, as a process that hangs.
        pings_max: How many pings it answers, before it is as silent as a line that was cut.

    Attributes:
        calls: How many calls it got.
    """

    def __init__(self, answer: Callable[[int], bytes] | None, *, pings_max: int = 0) -> None:
        self.calls = 0
        self._answer = answer
        self._pings_left = pings_max
        self._conversations: dict[socket.socket, asyncio.Task[None]] = {}

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        with accepting(self._take) as address:
            try:
                yield address
            finally:
                for task in self._conversations.values():
                    task.cancel()
                await asyncio.gather(*self._conversations.values(), return_exceptions=True)
                for connection in self._conversations:
                    connection.close()

    def _take(self, connection: socket.socket) -> None:
        self._conversations[connection] = asyncio.create_task(self._converse(connection))

    async def _converse(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        data = await _read(connection, len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        if data and self._answer is not None:
            await loop.sock_sendall(connection, frame(SETTINGS, 0, 0))
        while head := await _read(connection, 9):
            payload = await _read(connection, int.from_bytes(head[:3], "big"))
            if self._answer is not None:
                reply = self._reply(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
                await loop.sock_sendall(connection, reply)

    def _reply(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if kind == SETTINGS and not flags & ACK:
            return frame(SETTINGS, ACK, 0)
        if kind == PING and not flags & ACK and self._pings_left:
            self._pings_left -= 1
            return frame(PING, ACK, 0, payload)
        if kind == HEADERS:
            assert self._answer is not None
            self.calls += 1
            return self._answer(stream)
        return b""


def message(data: bytes) -> bytes:
    """Return a gRPC message with its prefix."""
    return b"\x00" + len(data).to_bytes(4, "big") + data


def answer_of(*parts: bytes, trailers: bytes | None = None) -> Callable[[int], bytes]:
    """Return response headers, these pieces of data, and trailers, which may be missing."""

    def answer(stream: int) -> bytes:
        frames = [frame(HEADERS, END_HEADERS, stream, RESPONSE_HEADERS)]
        frames += [frame(DATA, 0, stream, part) for part in parts]
        if trailers is not None:
            frames.append(frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers))
        return b"".join(frames)

    return answer
