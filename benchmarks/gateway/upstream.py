"""The model API, in a process of its own: prints its ports, answers at once, and runs until it is killed.

It listens twice, in the clear and, where it is given a certificate, with TLS.
"""

import asyncio
import random
import ssl
import sys
from typing import Any, cast

import httptools
import uvloop

from benchmarks.gateway import scenarios
from benchmarks.gateway.scenarios import to_text


def _part(data: bytes) -> bytes:
    """Encode a chunk of a body, with its length (RFC 9112, 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _whole(status: str, value: Any) -> bytes:
    body = to_text(value)
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _stream() -> list[bytes]:
    """Return the writes of a stream."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    events = [_part(b"data: %s\n\n" % to_text(chunk)) for chunk in scenarios.chunks()]
    return [head + events[0], *events[1:], _part(b"data: [DONE]\n\n") + _part(b"")]


_ANSWER = _whole("200 OK", scenarios.ANSWER)
# Paths that gateways probe before they use an upstream.
_PAGES = {
    b"/health": _whole("200 OK", {}),
    b"/v1/models": _whole("200 OK", {"object": "list", "data": [{"id": scenarios.MODEL, "object": "model"}]}),
}
_NOT_FOUND = _whole("404 Not Found", {"message": "not found"})
_STREAM = _stream()


class Upstream(asyncio.Protocol):
    """One connection; it answers one request after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = self._body = b""
        self._is_paused = False
        # How much of the stream was written; all of it where none runs.
        self._written = len(_STREAM)
        self._gaps_s = (0.0, 0.0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_method() != b"POST":
            self._transport.write(_PAGES.get(self._url, _NOT_FOUND))
        elif b'"stream":true' in self._body.replace(b" ", b""):
            self._gaps_s = scenarios.gaps_of(self._body)
            self._written = 0
            self._write_event()
        else:
            self._transport.write(_ANSWER)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        # A timer that runs writes the next event.
        if not self._gaps_s[1]:
            self._write_event()

    def _write_event(self) -> None:
        """Write an event, and the next one after its gap; without one, when the others had their turn."""
        if self._written == len(_STREAM) or self._transport.is_closing():
            return
        shortest_s, longest_s = self._gaps_s
        if not self._is_paused:
            self._transport.write(_STREAM[self._written])
            self._written += 1
        if longest_s:
            self._loop.call_later(random.uniform(shortest_s, longest_s), self._write_event)
        elif not self._is_paused:
            self._loop.call_soon(self._write_event)


async def main(certificate: str | None) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Upstream, "127.0.0.1", 0, backlog=512)]
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        servers.append(await loop.create_server(Upstream, "127.0.0.1", 0, backlog=512, ssl=context))
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
