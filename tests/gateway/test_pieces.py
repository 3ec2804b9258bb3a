"""Requests to the gateway's protocol, cut into pieces at any place: without a socket, and with one answer."""

import asyncio
import functools
import json

import pytest
import uvicorn
from uvicorn.server import ServerState

from mistralwire.gateway import GatewayConfig, create_app
from mistralwire.gateway._app import Gateway
from mistralwire.gateway._protocol import HttpProtocol
from mistralwire.v1 import ChatCompletionResponse
from tests.gateway.clients import DrivenCall, DrivenClient, batch
from tests.gateway.test_protocol import CHAT, QUESTION, request_of

CONFIG = GatewayConfig(body_bytes_max=300)
BODY = json.dumps(QUESTION).encode()
CHUNKED = b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % CHAT.encode()
REQUESTS = {
    "plain": request_of(),
    "stream": request_of({**QUESTION, "stream": True}),
    "chunked": CHUNKED + b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:]),
    "trailers": CHUNKED + b"%x\r\n%b\r\n0\r\nx-request-id: y\r\n\r\n" % (len(BODY), BODY),
    "1.0": b"POST %b HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (CHAT.encode(), len(BODY), BODY),
    "no JSON": request_of([]),
    "too large": request_of({**QUESTION, "more": "x" * 300}),
    "encoded": request_of(headers="content-encoding: gzip\r\n"),
    "no host": request_of().replace(b"host: localhost\r\n", b""),
    "two codings": CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n",
    "no HTTP": b"GET / FTP/1.1\r\n\r\n",
}


class MemoryTransport(asyncio.Transport):
    """Records the bytes written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._has_ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._has_ended
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._has_ended

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self._has_ended = True

    abort = close


def _answer(call: DrivenCall) -> None:
    if call.request_type.DESCRIPTOR.name.endswith("StreamRequest"):
        call.sink.batch(*batch(0, 1))
        call.sink.end()
    else:
        call.sink.answer(ChatCompletionResponse(id="0", model="m").SerializeToString())


@functools.cache
def _app() -> tuple[Gateway, uvicorn.Config]:
    app = create_app(DrivenClient(_answer).as_client(), CONFIG)
    return app, uvicorn.Config(app, ws="none", log_config=None)


def _answers(pieces: list[bytes]) -> bytes:
    """Return the response to a request sent in pieces, without dates and ids."""
    app, config = _app()
    protocol, transport = HttpProtocol(app.direct_state, CONFIG, config, ServerState()), MemoryTransport()
    protocol.connection_made(transport)
    for piece in pieces:
        protocol.data_received(piece)
    protocol.connection_lost(None)
    head, _, body = transport.written.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith((b"date: ", b"x-request-id: "))]
    return b"\n".join([*lines, body])


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_answer_is_the_same_however_a_request_is_cut(name: str) -> None:
    request = REQUESTS[name]
    whole = _answers([request])
    assert whole.startswith(b"HTTP/1.1 ")
    assert _answers([request[at : at + 1] for at in range(len(request))]) == whole
    for at in range(1, len(request)):
        assert _answers([request[:at], request[at:]]) == whole


async def test_two_requests_that_are_answered_at_once_may_come_in_one_piece() -> None:
    status = b"HTTP/1.1 200 OK"
    assert _answers([REQUESTS["plain"] + REQUESTS["chunked"]]).count(status) == 2
    assert _answers([REQUESTS["chunked"] + REQUESTS["plain"][:30], REQUESTS["plain"][30:]]).count(status) == 2
