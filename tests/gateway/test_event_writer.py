"""Chunks that a source writes as events itself: the caller gets what they would get through every sink."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from mistralwire._timeouts import Timeouts
from mistralwire.client import Client
from mistralwire.gateway import GatewayConfig, create_app
from mistralwire.gateway._protocol import HttpProtocol
from mistralwire.service import CallRecord, Chunks, LocalChannel, ServerConfig
from mistralwire.upstream import CallContext, HttpSettings, Receiver, Upstream
from mistralwire.upstream._http._call import CallRequest, HttpCall
from mistralwire.upstream._http._target import HttpLog
from mistralwire.upstream._http1 import Exchange
from mistralwire.upstream._http1._request import Origin
from tests.codec.engines import native_sse
from tests.codec.sse_streams import chunk, cuts, event_of, pieces_of, streams
from tests.gateway.test_pieces import MemoryTransport
from tests.gateway.test_protocol import QUESTION, request_of

CONFIG = GatewayConfig(port=0)
REQUEST = request_of({**QUESTION, "stream": True})
DONE = b"data: [DONE]\n\n"
BUFFER_BYTES_MAX = 300


class DrivenUpstream:
    """An upstream over HTTP without a connection: the test is the server.

    Attributes:
        call: The call.
        exchange: Its request, which takes the response.
        context: What is known of the call.
    """

    judges_requests = relays_answers = True
    probe_url = ""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self.timeouts = Timeouts()
        self.exchange: Exchange
        self.context: CallContext

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> HttpCall:
        self.context = context
        client: Any = self
        call = HttpCall(
            client,
            self,
            self._settings,
            HttpLog("api", ""),
            request=CallRequest(request, wire, context, contract_revision),
            receiver=receiver,
        )
        call.start()
        return call

    def request(
        self,
        _method: str,
        _url: str,
        _headers: Mapping[str, str],
        body: bytes,
        receiver: Any,
        *,
        own_headers: object,
    ) -> Exchange:
        self.exchange = Exchange(Origin(False, "localhost", 1), b"", body, receiver, is_head=False)
        return self.exchange

    def authorize(self) -> None: ...

    def address(self, _request: Any, *, is_stream: bool) -> tuple[str, Mapping[str, str]]:
        assert is_stream
        return "", {}

    def body_of(self, request: Any) -> Any:
        return request


class Watcher:
    """An observer of all chunks, so that none bypasses the sinks."""

    def started(self, call: CallRecord) -> None: ...

    def chunks(self, call: CallRecord, chunks: Chunks) -> None: ...

    def ended(self, call: CallRecord) -> None: ...


@contextlib.asynccontextmanager
async def _asking(
    settings: HttpSettings, *observers: Any, request: bytes = REQUEST
) -> AsyncIterator[tuple[DrivenUpstream, HttpProtocol, MemoryTransport]]:
    """Request a stream, and yield once its head has arrived."""
    upstream = DrivenUpstream(settings)
    service = ServerConfig(stream_buffer_bytes_max=BUFFER_BYTES_MAX, upstream_idle_s=86_400)
    async with Client.on(LocalChannel(cast("Upstream", upstream), service, observers)) as client:
        app = create_app(client, CONFIG)
        config = uvicorn.Config(app, ws="none", log_config=None)
        protocol, transport = HttpProtocol(app.direct_state, CONFIG, config, ServerState()), MemoryTransport()
        protocol.connection_made(transport)
        protocol.data_received(request)
        upstream.exchange.begin(200, {"content-type": "text/event-stream"})
        yield upstream, protocol, transport
        protocol.connection_lost(None)


async def _answer(
    pieces: list[bytes], turns: list[bool], *observers: Any, request: bytes = REQUEST
) -> tuple[list[bytes], bytes, int]:
    """Stream pieces to a caller that alternately falls behind and keeps up, a piece each.

    Returns:
        The lines of the head without date and id, the body, and how many bytes of it the source has written.
    """
    async with _asking(HttpSettings(), *observers, request=request) as (upstream, protocol, transport):
        is_behind = False
        for piece, turns_to in itertools.zip_longest(pieces, turns[: len(pieces)], fillvalue=False):
            if turns_to is not is_behind:
                is_behind = bool(turns_to)
                (protocol.pause_writing if is_behind else protocol.resume_writing)()
            if not upstream.exchange.is_over:
                upstream.exchange.data(cast("bytes", piece))
        if is_behind:
            protocol.resume_writing()
        if not upstream.exchange.is_over:
            upstream.exchange.end()
        writer = upstream.context.events
    head, _, body = transport.written.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith((b"date: ", b"x-request-id: "))]
    return lines, body, 0 if writer is None else writer.sent_bytes


@given(streams(), cuts, st.lists(st.booleans()), st.booleans())
def test_the_answer_is_the_same_however_it_is_cut_and_taken(
    stream: bytes, at: list[int], turns: list[bool], is_chunked: bool
) -> None:
    request = REQUEST if is_chunked else REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0")

    async def check() -> None:
        pieces = pieces_of(stream, at)
        *seen, sent_bytes = await _answer(pieces, turns, Watcher(), request=request)
        assert sent_bytes == 0
        assert (await _answer(pieces, turns, request=request))[:2] == tuple(seen)

    with native_sse():
        asyncio.run(check())


async def test_the_source_writes_all_but_the_first_chunk_while_the_caller_keeps_up() -> None:
    pieces = [event_of(chunk(str(number))) for number in range(10)] + [DONE]
    with native_sse():
        _, answer, sent_bytes = await _answer(pieces, [])
        _, behind, sent_behind = await _answer(pieces, [False] * 3 + [True] * 2 + [False] * 5)
    frames = _frames(answer)
    assert [frame.count(b"\ndata: {") for frame in frames] == [1] * 10 + [0, 0]
    assert sent_bytes == sum(map(len, frames[1:10]))
    # What arrives while the caller is behind, and the piece after that, goes through the sinks.
    assert sent_behind == sum(map(len, [*frames[1:3], *frames[6:10]]))
    assert b"".join(map(_content, _frames(behind))) == b"".join(map(_content, frames))


async def test_an_upstream_is_silent_when_it_has_sent_nothing_to_the_writer_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, later_s = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + later_s[0])
    with native_sse():
        async with _asking(HttpSettings(silence_s=10)) as (upstream, _, transport):
            writer = upstream.context.events
            for number in range(4):
                upstream.exchange.data(event_of(chunk(str(number))))
                assert transport.written.count(b"\ndata: ") == number + 1
                later_s[0] += 8
                # The timer of the first ten seconds, and those that follow it, look at the times.
                await _turn(5)
            assert not upstream.exchange.is_over
            assert writer is not None
            assert writer.sent_bytes > 0
            later_s[0] += 3
            await _turn(5)
            assert upstream.exchange.is_over
            assert b"upstream_silent" in transport.written


async def _turn(times: int) -> None:
    """Run one iteration of the event loop."""
    for _ in range(times):
        await asyncio.sleep(0)


def _content(frame: bytes) -> bytes:
    return frame.partition(b"\r\n")[2][:-2]


def _frames(body: bytes) -> list[bytes]:
    """Split a chunked body into its chunks, with their framing."""
    frames = []
    while body:
        size = body.partition(b"\r\n")[0]
        end = len(size) + 2 + int(size, 16) + 2
        frames.append(body[:end])
        body = body[end:]
    return frames
