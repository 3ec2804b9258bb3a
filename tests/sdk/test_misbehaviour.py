"""A model API that misbehaves: both sides get a clear error, and lose nothing of what came before."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio

from mistralwire.upstream import HttpSettings
from tests.sdk.both_ways import WAIT_S, gateway_to
from tests.sdk.endings import (
    CHAT,
    QUESTION,
    REQUEST,
    STREAM_QUESTION,
    STREAM_REQUEST,
    Sides,
    both_sides,
    documents_of,
    service_client,
)
from tests.upstream_server import CUT, STALL, Answer, Piece, UpstreamServer, json_answer, sse_answer

pytestmark = [pytest.mark.sdk, pytest.mark.asyncio(loop_scope="module")]

SIDES = pytest.mark.parametrize("side", ["edge", "embedded", "grpc"])
WAYS = pytest.mark.parametrize("is_embedded", [False, True], ids=["network", "embedded"])
STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
SETTINGS = HttpSettings(attempts_max=1, silence_s=0.5, answer_bytes_max=2_000_000)

ONE = b'data: {"id":"1","model":"m","choices":[],"p":"\xc3\xa9"}\n\n'
TWO = b'data: {"id":"2","model":"m","choices":[],"of_tomorrow":[18446744073709551617,null]}\n\n'
DONE = b"data: [DONE]\n\n"
JSON, SSE, HTML = (
    {"content-type": content_type}
    for content_type in ("application/json", "text/event-stream", "text/html; charset=utf-8")
)
GZIP = {"content-encoding": "gzip"}
BOMB = gzip.compress(b" " * 20_000_000)
PAGE = b"<!DOCTYPE html><title>502 Bad Gateway</title>"
SLOWER = {"object": "error", "message": "slower", "type": "rate_limited", "param": None, "code": "1300"}
BUG = {"object": "error", "message": "a bug", "type": "internal_server_error", "param": None, "code": "3000"}


class Megabytes:
    """Pieces of a body of 100 MB, made as they are sent.

    Attributes:
        sent: How many of them were taken.
    """

    def __init__(self, first: bytes) -> None:
        self.sent = 0
        self._first = first

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        for _ in range(100):
            self.sent += 1
            yield b" " * 1_000_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sides() -> AsyncIterator[Sides]:
    async with UpstreamServer() as server, both_sides(server, SETTINGS) as both:
        yield both


@SIDES
@pytest.mark.parametrize("before", [(ONE, TWO), (ONE + TWO,)], ids=["apart", "together"])
@pytest.mark.parametrize(
    ("pieces", "code", "reason"),
    [
        ((CUT,), "UNAVAILABLE", "STREAM_TRUNCATED"),
        ((ONE[:20], CUT), "UNAVAILABLE", "STREAM_TRUNCATED"),
        ((b'data: {"id":"\xc3', CUT), "UNAVAILABLE", "STREAM_TRUNCATED"),
        ((b'data: {"id":"\xc3"}\n\n', DONE), "UNAVAILABLE", "UPSTREAM_UNREADABLE"),
        ((b"data: {not json\n\n", DONE), "UNAVAILABLE", "UPSTREAM_UNREADABLE"),
        ((), "UNAVAILABLE", "STREAM_TRUNCATED"),
        ((ONE[:20],), "UNAVAILABLE", "STREAM_TRUNCATED"),
        ((STALL,), "DEADLINE_EXCEEDED", "UPSTREAM_SILENT"),
        ((ONE[:20], STALL), "DEADLINE_EXCEEDED", "UPSTREAM_SILENT"),
    ],
    ids=[
        *("cut", "cut-in-a-chunk", "cut-in-a-character", "half-a-character", "no-json"),
        *("no-done", "no-end", "stall", "stall-in-a-chunk"),
    ],
)
async def test_chunks_before_a_fault_are_delivered_and_the_fault_is_said(
    sides: Sides,
    side: str,
    before: tuple[bytes, ...],
    pieces: tuple[Piece, ...],
    *,
    code: str,
    reason: str,
) -> None:
    found = await sides.ending(side, sse_answer(*before, *pieces), stream=True)
    assert found.chunks == documents_of(b"".join(before))
    expected = (code, reason) if side == "grpc" else (200, reason.lower())
    assert (found.status, found.kind) == expected


@SIDES
@pytest.mark.parametrize("last", [CUT, b"data: {not json\n\n"], ids=["cut", "no-json"])
async def test_a_fault_behind_many_chunks_loses_none(sides: Sides, side: str, last: Piece) -> None:
    events = [b'data: {"id":"%d","choices":[],"p":"%b"}\n\n' % (number, b"p" * 500) for number in range(5000)]
    found = await sides.ending(side, sse_answer(*events, last), stream=True)
    assert found.chunks == documents_of(b"".join(events))


@SIDES
async def test_a_connection_cut_in_a_chunk_of_http_is_a_cut(sides: Sides, side: str) -> None:
    answer = Answer(200, SSE | {"content-length": "1000"}, [ONE, TWO[:20], CUT])
    found = await sides.ending(side, answer, stream=True)
    assert found.chunks == documents_of(ONE)
    assert found.kind.upper() == "STREAM_TRUNCATED"


@SIDES
async def test_an_error_event_after_chunks_keeps_its_text(sides: Sides, side: str) -> None:
    event = b"data: %b\n\n" % json.dumps(SLOWER).encode()
    found = await sides.ending(side, sse_answer(ONE, event, DONE), stream=True)
    assert (found.chunks, found.message) == (documents_of(ONE), "slower")
    expected = ("RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED") if side == "grpc" else (200, "rate_limited")
    assert (found.status, found.kind) == expected


@SIDES
@STREAMS
@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (Answer(500, HTML, [PAGE]), "503 UNAVAILABLE", "UPSTREAM_FAILED"),
        (Answer(429, HTML, [PAGE]), "429 RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        (Answer(500, {}, []), "503 UNAVAILABLE", "UPSTREAM_FAILED"),
        (Answer(500, JSON, [b"{", CUT]), "503 UNAVAILABLE", "UPSTREAM_FAILED"),
        (Answer(200, HTML, [PAGE]), "503 UNAVAILABLE", "UPSTREAM_UNREADABLE"),
        (Answer(pieces=[CUT], is_headless=True), "503 UNAVAILABLE", "UPSTREAM_UNREACHABLE"),
        (json_answer(b'{"id":"\xc3"}'), "503 UNAVAILABLE", "UPSTREAM_UNREADABLE"),
        (Answer(200, JSON, [b'{"id":', STALL]), "504 DEADLINE_EXCEEDED", "UPSTREAM_SILENT"),
        (Answer(200, JSON | GZIP, [BOMB]), "503 UNAVAILABLE", "UPSTREAM_ANSWER_TOO_LARGE"),
    ],
    ids=[
        *("500-page", "429-page", "500-empty", "500-cut", "page", "cut", "half-a-character", "stall"),
        "20-MB-compressed",
    ],
)
async def test_what_fails_before_a_chunk_is_a_status(
    sides: Sides, side: str, answer: Answer, *, stream: bool, status: str, reason: str
) -> None:
    found = await sides.ending(side, answer, stream=stream)
    http_status, code = status.split()
    expected = (code, reason) if side == "grpc" else (int(http_status), reason.lower())
    assert (found.chunks, found.status, found.kind) == ([], *expected)
    assert "html" not in found.message
    assert "127.0.0.1" not in found.message


@SIDES
@STREAMS
async def test_a_rate_limit_keeps_its_text_and_when_to_try_again(
    sides: Sides, side: str, stream: bool
) -> None:
    answer = json_answer(json.dumps(SLOWER).encode(), 429, retry_after="7")
    found = await sides.ending(side, answer, stream=stream)
    expected = ("RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED") if side == "grpc" else (429, "rate_limited")
    assert found == ([], *expected, "slower", 7)


@SIDES
@STREAMS
async def test_a_failure_of_the_api_keeps_its_text(sides: Sides, side: str, stream: bool) -> None:
    found = await sides.ending(side, json_answer(json.dumps(BUG).encode(), 500), stream=stream)
    expected = ("UNAVAILABLE", "UPSTREAM_FAILED") if side == "grpc" else (503, "internal_server_error")
    assert found == ([], *expected, "a bug", None)


@SIDES
@pytest.mark.parametrize(
    ("reply", "stream", "sent_max"),
    [((JSON, b"{"), False, 40), ((JSON, b"{"), True, 40), ((SSE, ONE + b"data: "), True, 60)],
    ids=["whole", "whole-for-a-stream", "event"],
)
async def test_a_body_of_100_megabytes_is_given_up_and_not_held(
    side: str, reply: tuple[dict[str, str], bytes], stream: bool, sent_max: int
) -> None:
    headers, first = reply
    pieces = Megabytes(first)
    async with UpstreamServer() as server, both_sides(server, SETTINGS) as own_sides:
        found = await own_sides.ending(side, Answer(200, headers, pieces), stream=stream)
        await asyncio.wait_for(server.gone.wait(), WAIT_S)
    assert found.kind.upper() == "UPSTREAM_ANSWER_TOO_LARGE"
    assert found.chunks == (documents_of(ONE) if headers is SSE else [])
    # What is on its way in the buffers of sockets comes to the limits: 2 MB of an answer, 16 MB of an event.
    assert pieces.sent < sent_max


@WAYS
@STREAMS
async def test_a_caller_of_the_edge_who_hangs_up_frees_the_upstream(stream: bool, is_embedded: bool) -> None:
    question = STREAM_QUESTION if stream else QUESTION
    async with (
        UpstreamServer(Answer(pieces=[STALL], is_headless=True)) as server,
        gateway_to(server, is_embedded=is_embedded) as url,
        aiohttp.ClientSession() as session,
    ):
        post = asyncio.create_task(session.post(url + CHAT, json=question).__aenter__())
        await asyncio.wait_for(server.arrived.wait(), WAIT_S)
        assert not server.gone.is_set()
        post.cancel()
        await asyncio.wait_for(server.gone.wait(), WAIT_S)


@WAYS
async def test_a_caller_of_the_edge_who_leaves_a_stream_frees_the_upstream(is_embedded: bool) -> None:
    async with (
        UpstreamServer(sse_answer(ONE, STALL)) as server,
        gateway_to(server, is_embedded=is_embedded) as url,
        aiohttp.ClientSession() as session,
    ):
        response = await session.post(url + CHAT, json=STREAM_QUESTION)
        await asyncio.wait_for(response.content.readuntil(b"\n\n"), WAIT_S)
        assert not server.gone.is_set()
        response.close()
        await asyncio.wait_for(server.gone.wait(), WAIT_S)


async def test_a_caller_by_grpc_who_cancels_frees_the_upstream() -> None:
    async with (
        UpstreamServer(Answer(pieces=[STALL], is_headless=True)) as server,
        service_client(server) as client,
    ):
        call = asyncio.create_task(client.complete(REQUEST))
        await asyncio.wait_for(server.arrived.wait(), WAIT_S)
        assert not server.gone.is_set()
        call.cancel()
        await asyncio.wait_for(server.gone.wait(), WAIT_S)


async def test_a_caller_by_grpc_who_leaves_a_stream_frees_the_upstream() -> None:
    async with UpstreamServer(sse_answer(ONE, STALL)) as server, service_client(server) as client:
        chunks = client.stream(STREAM_REQUEST)
        await asyncio.wait_for(anext(chunks), WAIT_S)
        assert not server.gone.is_set()
        await chunks.aclose()
        await asyncio.wait_for(server.gone.wait(), WAIT_S)
