"""Peers that violate the protocol, stall or disconnect: each call ends with a CallError, none hangs."""

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from mistralwire.client import Client
from mistralwire.errors import CallError
from tests.client.peers import (
    ANSWER,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MESSAGE,
    RawPeer,
    answer_of,
    frame,
    header,
    message,
    service_of,
)
from tests.service.upstreams import REQUEST, STREAM_REQUEST

OK = header(b"grpc-status", b"0")
NOT_FOUND = header(b"grpc-status", b"5")

BROKEN = {
    "a status that is none": answer_of(trailers=header(b"grpc-status", b"99")),
    "a status that is no number": answer_of(trailers=header(b"grpc-status", b"x")),
    "an end without a status": answer_of(message(MESSAGE), trailers=b""),
    "an HTTP error": lambda stream: frame(
        HEADERS, END_HEADERS | END_STREAM, stream, header(b":status", b"502")
    ),
    "no gRPC": lambda stream: frame(
        HEADERS, END_HEADERS | END_STREAM, stream, b"\x88" + header(b"content-type", b"text/html")
    ),
    "no HTTP/2": lambda stream: b"\xff" * 100,
    "compression that was not asked for": lambda stream: (
        frame(
            HEADERS,
            END_HEADERS,
            stream,
            b"\x88" + header(b"content-type", b"application/grpc") + header(b"grpc-encoding", b"gzip"),
        )
        + frame(0, 0, stream, b"\x01" + message(b"\x1f\x8b" + MESSAGE)[1:])
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, OK)
    ),
}


async def failure_of(client: Client, *, is_stream: bool) -> CallError:
    async def stream() -> None:
        async for _ in client.stream(STREAM_REQUEST):
            pass

    with pytest.raises(CallError) as caught:
        await (stream() if is_stream else client.complete(REQUEST))
    return caught.value


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_against_the_protocol_is_an_error(name: str, is_stream: bool) -> None:
    async with (
        asyncio.timeout(30),
        RawPeer(BROKEN[name]).listening() as target,
        Client(target, attempts_max=1) as client,
    ):
        error = await failure_of(client, is_stream=is_stream)

    assert error.code in ("INTERNAL", "UNAVAILABLE", "UNKNOWN", "UNIMPLEMENTED")
    assert len(error.request_id) == 32


async def test_an_ok_without_an_answer_is_an_error() -> None:
    async with (
        asyncio.timeout(30),
        RawPeer(answer_of(trailers=OK)).listening() as target,
        Client(target) as client,
    ):
        error = await failure_of(client, is_stream=False)

    assert (error.code, error.reason) == ("INTERNAL", "NO_ANSWER")


async def test_an_id_that_can_not_go_into_a_log_is_replaced_by_the_one_that_was_sent() -> None:
    trailers = NOT_FOUND + header(b"x-request-id", b"two words")
    async with (
        asyncio.timeout(30),
        RawPeer(answer_of(trailers=trailers)).listening() as target,
        Client(target) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST, request_id="mine")

    assert (caught.value.code, caught.value.request_id) == ("NOT_FOUND", "mine")


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_peer_that_never_answers_ends_by_the_deadline(is_stream: bool) -> None:
    async with (
        asyncio.timeout(30),
        RawPeer(None).listening() as target,
        Client(target, deadline_s=0.2) as client,
    ):
        error = await failure_of(client, is_stream=is_stream)

    assert error.code == "DEADLINE_EXCEEDED"


@pytest.mark.slow
async def test_a_peer_that_stops_in_a_stream_ends_by_the_deadline_behind_the_chunks_before() -> None:
    peer = RawPeer(answer_of(message(MESSAGE)), pings_max=1000)
    async with asyncio.timeout(30), peer.listening() as target, Client(target, deadline_s=1) as client:
        chunks = client.stream(STREAM_REQUEST)
        assert (await anext(chunks)).id == "0"
        with pytest.raises(CallError) as caught:
            await anext(chunks)

    assert caught.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.slow
@pytest.mark.parametrize("pings_max", [0, 1])
async def test_a_line_that_was_cut_in_a_stream_is_found_out_long_before_the_deadline(pings_max: int) -> None:
    # The first ping comes with data, the others without.
    peer = RawPeer(answer_of(message(MESSAGE)), pings_max=pings_max)
    async with (
        asyncio.timeout(30),
        peer.listening() as target,
        Client(target, deadline_s=600, keepalive_s=1, keepalive_timeout_s=0.2) as client,
    ):
        chunks = client.stream(STREAM_REQUEST)
        assert (await anext(chunks)).id == "0"
        with pytest.raises(CallError, match="ping timeout") as caught:
            await anext(chunks)

    assert caught.value.code == "UNAVAILABLE"
    assert peer.calls == 1


async def test_half_a_message_and_then_the_end_is_an_error() -> None:
    half = message(ANSWER)[:-2]
    async with (
        asyncio.timeout(30),
        RawPeer(answer_of(half, trailers=OK)).listening() as target,
        Client(target) as client,
    ):
        error = await failure_of(client, is_stream=False)

    assert (error.code, error.reason) == ("INTERNAL", "NO_ANSWER")


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_text_of_an_error_is_one_bounded_line_of_printable_characters(*, is_stream: bool) -> None:
    async def fail(context: Any) -> None:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field="a\nb", description="expected \x1b[2J, found \u202ea\r\n")
        details = status_pb2.Status(code=3)
        details.details.add().Pack(bad)
        text = "2 problems:\n  first\x1b[31m one\r\n\u202esecond\u2028third" + "x" * 2_000
        context.set_trailing_metadata((("grpc-status-details-bin", details.SerializeToString()),))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)

    async with service_of(fail) as target, Client(target) as client:
        error = await failure_of(client, is_stream=is_stream)

    assert str(error).startswith(r"2 problems: first\x1b[31m one; \u202esecond; thirdxxx")
    assert str(error).isprintable()
    assert len(str(error)) == 1_000
    assert error.violations == [("a; b", r"\x1b[2J", r"\u202ea")]
