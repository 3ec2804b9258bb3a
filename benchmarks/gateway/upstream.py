"""The model API, in a process of its own: prints its port, answers at once, runs until it is ended."""

import asyncio
import json
from typing import Any, cast

import httptools
import uvloop

from benchmarks.gateway import scenarios


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _part(data: bytes) -> bytes:
    """Give a part of a body that says how long it is (RFC 9112, 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _answer() -> bytes:
    body = _text(scenarios.ANSWER)
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


def _stream() -> list[bytes]:
    """Give what is written for a stream, a write each."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    events = [_part(b"data: %s\n\n" % _text(chunk)) for chunk in scenarios.chunks()]
    return [head + events[0], *events[1:], _part(b"data: [DONE]\n\n") + _part(b"")]


_ANSWER = _answer()
_STREAM = _stream()


class Upstream(asyncio.Protocol):
    """One connection; it answers one request after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._body = b""
        self._is_paused = False
        # How much of the stream was written; all of it where none runs.
        self._written = len(_STREAM)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if json.loads(self._body).get("stream"):
            self._written = 0
            self._write_event()
        else:
            self._transport.write(_ANSWER)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._write_event()

    def _write_event(self) -> None:
        """Write an event, and the next one when the loop has come round: the others had their turn then."""
        if self._is_paused or self._written == len(_STREAM) or self._transport.is_closing():
            return
        self._transport.write(_STREAM[self._written])
        self._written += 1
        self._loop.call_soon(self._write_event)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
