"""Following a response, batch by batch: whatever a service sends, and over connections that break."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from mistralwire._methods import RELAY_SERVICE_NAME
from mistralwire.client import Client, EventBatch, response_failure
from mistralwire.errors import CallError, Reason, ResponseError
from mistralwire.service import to_status
from mistralwire.v1 import (
    ResponseEnd,
    ResponseEvents,
    ResponseInfo,
    ResponseState,
    SubscribeRequest,
    SubscribeResponse,
)
from tests.client.peers import started
from tests.service.upstreams import chunk

FINISHED = ResponseEnd(state=ResponseState.RESPONSE_STATE_FINISHED, last_sequence=3)

Answer = Callable[[int, Any], AsyncIterator[bytes]]


def delivery(first: int, *numbers: int, end: ResponseEnd | None = None) -> bytes:
    events = ResponseEvents(chunks=[chunk(number) for number in numbers]) if numbers else None
    message = SubscribeResponse(first_sequence=first if numbers else None, events=events, end=end)
    return message.SerializeToString()


@contextlib.asynccontextmanager
async def relay_of(*answers: Answer) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve Subscribe with one answer a call, then with the last one; yield the positions asked for too."""
    asked: list[int] = []

    async def subscribe(request: bytes, context: Any) -> AsyncIterator[bytes]:
        after = SubscribeRequest.FromString(request).after_sequence
        asked.append(after)
        async for message in answers[min(len(asked), len(answers)) - 1](after, context):
            yield message

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers = {"Subscribe": grpc.unary_stream_rpc_method_handler(subscribe)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(RELAY_SERVICE_NAME, handlers),))
    async with asyncio.timeout(30), started(server) as target:
        yield target, asked


def answer(*messages: bytes, code: grpc.StatusCode | None = None) -> Answer:
    async def send(_: int, context: Any) -> AsyncIterator[bytes]:
        for message in messages:
            yield message
        if code is not None:
            await context.abort(code, "broken")

    return send


async def test_batches_come_as_they_are_stored_and_the_end_last() -> None:
    newer = b"\x20\x01\x2a\x01x"
    messages = answer(delivery(1, 0), delivery(2, 1, 2) + newer, delivery(0, end=FINISHED))
    async with relay_of(messages) as (target, _), Client(target) as client:
        batches = [batch async for batch in client.subscribe_batches("r")]

    stored = [ResponseEvents(chunks=[chunk(0)]), ResponseEvents(chunks=[chunk(1), chunk(2)])]
    assert batches == [
        EventBatch(1, 1, stored[0].SerializeToString(), None),
        EventBatch(2, 3, stored[1].SerializeToString(), None),
        EventBatch(4, 3, b"", FINISHED),
    ]


@pytest.mark.parametrize("state", set(ResponseState.values()) - {0, ResponseState.RESPONSE_STATE_RUNNING})
async def test_a_call_is_not_left_before_its_status(state: ResponseState) -> None:
    has_ended = asyncio.Event()

    async def send(_: int, __: Any) -> AsyncIterator[bytes]:
        yield delivery(1, 0, end=ResponseEnd(state=state, last_sequence=1))
        # Cancelled here if the client leaves.
        await asyncio.sleep(0.1)
        has_ended.set()

    async with relay_of(send) as (target, _), Client(target) as client:
        with contextlib.suppress(CallError):
            async for sequence, _ in client.subscribe("r"):
                assert sequence == 1
        assert has_ended.is_set()


async def test_a_status_that_does_not_come_is_not_waited_for_for_long() -> None:
    async def send(_: int, __: Any) -> AsyncIterator[bytes]:
        yield delivery(1, 0, end=FINISHED)
        await asyncio.Event().wait()

    async with relay_of(send) as (target, _), Client(target) as client:
        assert len([batch async for batch in client.subscribe_batches("r")]) == 1


@pytest.mark.parametrize(
    "broken",
    [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED, None],
    ids=str,
)
async def test_a_call_that_breaks_is_made_again_behind_the_last_event(broken: Any) -> None:
    first = answer(delivery(6, 5), delivery(7, 6), code=broken)
    async with (
        relay_of(first, answer(code=broken), answer(delivery(8, 7, end=FINISHED))) as (target, asked),
        Client(target) as client,
    ):
        batches = [batch async for batch in client.subscribe_batches("r", after=5)]

    assert asked == [5, 7, 7]
    assert [(batch.first_sequence, batch.last_sequence) for batch in batches] == [(6, 6), (7, 7), (8, 8)]


async def test_it_goes_on_at_another_server() -> None:
    async def send(after: int, _: Any) -> AsyncIterator[bytes]:
        yield delivery(after + 1, after)
        if after:
            yield delivery(0, end=FINISHED)
        else:
            await asyncio.Event().wait()

    async with contextlib.AsyncExitStack() as one, contextlib.AsyncExitStack() as other:
        servers = (one, other)
        relays = [await stack.enter_async_context(relay_of(send)) for stack in servers]
        async with Client(f"ipv4:{','.join(target for target, _ in relays)}") as client:
            batches = client.subscribe_batches("r")
            found = [await anext(batches)]
            first = 0 if relays[0][1] else 1
            await servers[first].aclose()
            found += [batch async for batch in batches]

    assert (relays[first][1], relays[1 - first][1]) == ([0], [1])
    assert [batch.last_sequence for batch in found] == [1, 2, 2]


@pytest.mark.slow
async def test_a_server_that_answers_and_breaks_each_time_is_an_error_in_the_end() -> None:
    async def send(_: int, context: Any) -> AsyncIterator[bytes]:
        await context.send_initial_metadata(())
        await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        yield b""

    async with asyncio.timeout(15), relay_of(send) as (target, asked), Client(target) as client:
        with pytest.raises(CallError, match="broken"):
            await anext(client.subscribe_batches("r", reconnect_s=2.5))

    assert len(asked) > 1


async def test_a_connection_that_stays_lost_is_an_error_in_the_end() -> None:
    lost = answer(delivery(1, 0), code=grpc.StatusCode.UNAVAILABLE)
    async with relay_of(lost) as (target, asked), Client(target) as client:
        batches = client.subscribe_batches("r", reconnect_s=0)
        await anext(batches)
        with pytest.raises(CallError, match="broken"):
            await anext(batches)

    assert asked == [0]


@pytest.mark.parametrize("options", [{"attempts_max": 1}, {}], ids=["no retries", "a deadline"])
async def test_a_service_that_is_not_there_is_an_error_sooner(options: Any, closed_port: int) -> None:
    async with asyncio.timeout(30), Client(f"127.0.0.1:{closed_port}", **options) as client:
        deadline_s = None if options else 0.2
        with pytest.raises(CallError) as caught:
            await anext(client.subscribe_batches("r", deadline_s=deadline_s))

    assert caught.value.code == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("code", "reason"),
    [("NOT_FOUND", Reason.RESPONSE_NOT_FOUND), ("UNAVAILABLE", Reason.NOT_STORED)],
)
async def test_what_the_service_says_for_good_is_not_asked_again(code: str, reason: str) -> None:
    status = to_status(ResponseError("gone", code=code, reason=reason))

    async def refuse(_: int, context: Any) -> AsyncIterator[bytes]:
        trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode[code], "gone", trailers)
        yield b""

    async with relay_of(refuse) as (target, asked), Client(target) as client:
        with pytest.raises(CallError) as caught:
            await anext(client.subscribe_batches("r"))

    assert (caught.value.code, caught.value.reason, asked) == (code, reason, [0])


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x09\x01", "bytes that are none"),
        (b"\x12\x05ab", "a part of one"),
        (b"\x12\x03ab\x01", "found a"),
        (b"\x08", "index out of range"),
        (delivery(3, 2), "found event 3 next"),
        (delivery(1, 0), "found event 1 next"),
    ],
)
async def test_what_is_no_delivery_or_does_not_follow_is_an_error(message: bytes, problem: str) -> None:
    async with relay_of(answer(delivery(1, 0), message)) as (target, _), Client(target) as client:
        batches = client.subscribe_batches("r")
        await anext(batches)
        with pytest.raises(CallError, match=problem) as caught:
            await anext(batches)

    assert (caught.value.code, caught.value.reason) == ("INTERNAL", Reason.NOT_PROTOBUF)


async def test_arguments_are_checked_and_reach_the_service() -> None:
    seen: dict[str, Any] = {}

    async def look(_: int, context: Any) -> AsyncIterator[bytes]:
        seen.update(context.invocation_metadata())
        seen["left"] = context.time_remaining()
        yield delivery(0, end=FINISHED)

    async with relay_of(look) as (target, _), Client(target) as client:
        wrong: Any
        for wrong, problem in (({"reconnect_s": -1}, "reconnect_s"), ({"deadline_s": 0}, "deadline_s")):
            with pytest.raises(ValueError, match=problem):
                await anext(client.subscribe_batches("r", **wrong))
        options: Any = {"request_id": "mine", "metadata": {"x-mistralwire-caller": "c"}, "deadline_s": 9}
        await anext(client.subscribe_batches("r", **options))
        assert (seen["x-request-id"], seen["x-mistralwire-caller"]) == ("mine", "c")
        assert 8 < seen["left"] < 10
        await anext(client.subscribe_batches("r"))
        assert seen["left"] > 300 * 24 * 3600


def test_the_end_of_a_response_is_its_error() -> None:
    lost = ResponseError("gone", code="UNAVAILABLE", reason=Reason.PRODUCER_LOST)
    failed = {
        "state": ResponseState.RESPONSE_STATE_FAILED,
        "status": to_status(lost, "theirs").SerializeToString(),
    }
    for end in (ResponseEnd(**failed), ResponseInfo(**failed)):
        error = response_failure(end, "mine")
        assert error is not None
        assert (error.code, error.reason, error.message) == ("UNAVAILABLE", Reason.PRODUCER_LOST, "gone")
        assert error.request_id == "theirs"

    unknown = response_failure(ResponseEnd(state=failed["state"], status=b"\xff"), "mine")
    assert unknown is not None
    assert (unknown.code, unknown.reason, unknown.request_id) == ("UNKNOWN", "UNKNOWN", "mine")
    status = status_pb2.Status(code=13, message="x").SerializeToString()
    assert str(response_failure(ResponseEnd(state=failed["state"], status=status))) == "x"
    cancelled = response_failure(ResponseEnd(state=ResponseState.RESPONSE_STATE_CANCELLED))
    assert cancelled is not None
    assert (cancelled.code, cancelled.reason) == ("CANCELLED", Reason.RESPONSE_CANCELLED)
    assert response_failure(FINISHED) is None
    assert response_failure(ResponseInfo(state=ResponseState.RESPONSE_STATE_RUNNING)) is None
