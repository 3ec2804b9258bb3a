"""Publishing over gRPC: acknowledgements, epochs, gaps, limits, leases."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.log import Append, MemoryLog, Opening, StoredResponse
from mistralwire.service import CallRecord, Chunks, RelayConfig, ServerConfig
from mistralwire.service._relay import _publish, _rules
from mistralwire.v1 import (
    ChatCompletionResponse,
    GetResponseRequest,
    ListResponsesRequest,
    PublishBatch,
    PublishOpen,
    PublishRequest,
    ResponseEnd,
    ResponseEvents,
    ResponseState,
)
from tests.service.relay.relays import (
    CANCELLED,
    FINISHED,
    Producer,
    batch,
    calling,
    chunk,
    ending,
    events_of,
    follow,
    opening,
    publish,
    reason_of,
    relay_stub,
    relaying,
    until,
)
from tests.service.upstreams import status_of

FAILED = ResponseState.RESPONSE_STATE_FAILED


def violations_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(request) for detail in status_of(error).details)
    return {violation.field: violation.description for violation in request.field_violations}


async def test_what_is_published_is_acknowledged_and_its_bytes_are_followed() -> None:
    async with relay_stub() as stub:
        batches = [batch(1, "a"), batch(2, "b", "c")]
        answers = await publish(stub, opening(), *batches, ending())
        messages = await follow(stub)

    assert answers[0].HasField("acknowledged_sequence")
    assert (answers[-1].acknowledged_sequence, answers[-1].ended) == (3, True)
    sequences = [answer.acknowledged_sequence for answer in answers]
    assert sequences == sorted(sequences)
    assert events_of(messages) == [chunk(text).SerializeToString() for text in "abc"]
    assert messages[-1].end.state == ResponseState.RESPONSE_STATE_FINISHED
    assert messages[-1].end.last_sequence == 3


async def test_a_producer_that_reconnects_learns_where_to_go_on_and_nothing_is_stored_twice() -> None:
    async with relay_stub() as stub:
        async with Producer(stub, opening(), batch(1, "a", "b")) as producer:
            await producer.acknowledged(2)
        async with Producer(stub, opening()) as producer:
            assert (await producer.acknowledged(0)).acknowledged_sequence == 2
            await producer.send(batch(1, "a", "b"), batch(2, "b", "c"), ending())
            answers = await producer.ended()
        again = await publish(stub, opening(), batch(1, "a", "b", "c"), ending())
        messages = await follow(stub)

    assert (answers[-1].acknowledged_sequence, answers[-1].ended) == (3, True)
    assert (again[-1].acknowledged_sequence, again[-1].ended) == (3, True)
    assert events_of(messages) == [chunk(text).SerializeToString() for text in "abc"]


@pytest.mark.parametrize("first", [3, 10**9])
async def test_a_gap_ends_the_call_with_the_number_that_is_expected(first: int) -> None:
    async with relay_stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await publish(stub, opening(), batch(1, "a"), batch(first, "c"))
        assert (await publish(stub, opening(), batch(2, "b"), ending()))[-1].ended
    assert raised.value.code() is grpc.StatusCode.OUT_OF_RANGE
    reason, metadata = reason_of(raised.value)
    assert (reason, metadata["expected_sequence"]) == ("SEQUENCE_GAP", "2")


@pytest.mark.parametrize("epoch", [0, 1], ids=["the same producer again", "a higher epoch"])
async def test_a_producer_that_opens_the_response_ends_the_call_of_the_one_before(epoch: int) -> None:
    async with (
        relay_stub() as stub,
        Producer(stub, opening(), batch(1, "a")) as first,
    ):
        await first.acknowledged(1)
        async with Producer(stub, opening(epoch=epoch)) as second:
            assert (await second.acknowledged(0)).acknowledged_sequence == 1
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await first.ended()
            await second.send(batch(2, "b"), ending())
            assert (await second.ended())[-1].ended
        assert raised.value.code() is grpc.StatusCode.ABORTED
        assert reason_of(raised.value)[1]["epoch"] == str(epoch)
        assert reason_of(raised.value)[0] == "STALE_EPOCH"
        assert len(events_of(await follow(stub))) == 2


async def test_an_old_epoch_is_refused_with_the_current_one() -> None:
    async with relay_stub() as stub, Producer(stub, opening(epoch=5)) as producer:
        await producer.acknowledged(0)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await publish(stub, opening(epoch=4))
    assert raised.value.code() is grpc.StatusCode.ABORTED
    reason, metadata = reason_of(raised.value)
    assert (reason, metadata["epoch"]) == ("STALE_EPOCH", "5")


def published(**fields: Any) -> PublishRequest:
    return PublishRequest(batch=PublishBatch(**fields))


WHOLE = ResponseEvents(response=ChatCompletionResponse(id="cmpl-1", model="m"))
MALFORMED: list[tuple[Sequence[PublishRequest], str, str]] = [
    ([batch(1, "a")], "step", "expected open as the first message"),
    ([opening(), opening()], "step", "expected a batch or the end behind the first message"),
    ([opening(), PublishRequest()], "step", "expected open, batch or end, found none of them"),
    (
        [opening("a/b")],
        "open.response_id",
        "expected 1 to 128 letters, digits and -_ characters, found 'a/b'",
    ),
    ([opening("")], "open.response_id", "expected 1 to 128"),
    ([opening(epoch=-1)], "open.epoch", "expected 0 or more, found -1"),
    ([opening(epoch=2**31 - 1)], "open.epoch", "expected at most 2000000000"),
    ([PublishRequest(open=PublishOpen(response_id="r", kind=9))], "open.kind", "found 9"),  # type: ignore[arg-type]
    (
        [opening(), published(events=ResponseEvents(chunks=[chunk("a")]))],
        "batch.first_sequence",
        "found none",
    ),
    ([opening(), batch(0, "a")], "batch.first_sequence", "expected 1 or more, found 0"),
    ([opening(), batch(2**31 - 1, "a", "b")], "batch.first_sequence", "expected events up to the number"),
    ([opening(), published(first_sequence=1)], "batch.events", "expected at least one event"),
    (
        [opening(), published(first_sequence=2, events=WHOLE)],
        "batch.first_sequence",
        "expected 1, as a whole response stands alone, found 2",
    ),
    (
        [opening(), published(first_sequence=1, events=WHOLE), batch(2, "a")],
        "step",
        "expected the end, as a whole response is the only event",
    ),
    (
        [
            opening(),
            published(
                first_sequence=1,
                events=ResponseEvents(chunks=[chunk("a")], response=ChatCompletionResponse(id="b")),
            ),
        ],
        "batch.events",
        "expected chunks or one whole response, and no other field",
    ),
    (
        [
            opening(),
            published(
                first_sequence=1,
                events=ResponseEvents.FromString(b"\x0a\x00\x7a\x01a"),
            ),
        ],
        "batch.events",
        "expected chunks or one whole response, and no other field",
    ),
    ([opening(), ending(ResponseEnd())], "end.state", "found UNSPECIFIED"),
    ([opening(), ending(ResponseEnd(state=FAILED))], "end.status", "expected a google.rpc.Status"),
    (
        [opening(), ending(ResponseEnd(state=FAILED, status=b"\xff"))],
        "end.status",
        "found other bytes",
    ),
    (
        [opening(), batch(1, "a"), ending(ResponseEnd(state=FINISHED.state, last_sequence=2))],
        "end.last_sequence",
        "expected 1, the last event sent, found 2",
    ),
]


async def test_a_malformed_message_is_named() -> None:
    async with relay_stub() as stub:
        for number, (requests, path, described) in enumerate(MALFORMED):
            for request in requests:
                if request.open.response_id == "r":
                    request.open.response_id = f"r{number}"
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await publish(stub, *requests)
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT, raised.value
            assert described in violations_of(raised.value).get(path, ""), (path, raised.value.details())


async def test_bytes_that_are_no_message_are_refused() -> None:
    async with relaying() as (_, server), grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream("/mistralwire.v1.ResponseRelayService/Publish")()
        await call.write(b"\xff")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
    assert reason_of(raised.value)[0] == "NOT_PROTOBUF"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (RelayConfig(log="memory", response_events_max=2), "TOO_MANY_EVENTS"),
        (
            RelayConfig(log="memory", response_bytes_max=batch(1, "a", "b", "c").ByteSize() - 10),
            "RESPONSE_TOO_LARGE",
        ),
    ],
)
async def test_a_response_beyond_a_limit_fails_with_an_error_of_its_own(
    config: RelayConfig, reason: str
) -> None:
    async with relay_stub(config) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await publish(stub, opening(), batch(1, "a", "b"), batch(3, "c"))
        end = (await follow(stub))[-1].end

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(raised.value)[0] == reason
    status = status_pb2.Status.FromString(end.status)
    assert (end.state, end.last_sequence) == (FAILED, 2)
    assert (status.code, status.message) == (code_pb2.RESOURCE_EXHAUSTED, raised.value.details())


async def test_what_is_sent_again_counts_once_for_the_bytes_of_a_response() -> None:
    bytes_max = batch(1, "a", "b", "c").batch.events.ByteSize()
    async with relay_stub(RelayConfig(log="memory", response_bytes_max=bytes_max)) as stub:
        async with Producer(stub, opening(), batch(1, "a"), batch(1, "a", "b")) as producer:
            await producer.acknowledged(2)
        async with Producer(stub, opening(), batch(1, "a", "b", "c"), ending()) as producer:
            answers = await producer.ended()
    assert (answers[-1].acknowledged_sequence, answers[-1].ended) == (3, True)


async def test_a_caller_has_as_many_running_responses_and_stored_bytes_as_they_may() -> None:
    config = RelayConfig(log="memory", caller_responses_max=1, caller_bytes_max=10)
    async with relay_stub(config) as stub:
        async with Producer(stub, opening()) as producer:
            await producer.acknowledged(0)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await publish(stub, opening("other"))
            assert reason_of(raised.value)[0] == "TOO_MANY_RESPONSES"
            other = await publish(
                stub, opening("other"), ending(), metadata=[("x-mistralwire-caller", "somebody")]
            )
            await producer.send(batch(1, "a long text"), ending())
            await producer.ended()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await publish(stub, opening("other"))
    assert other[-1].ended
    assert reason_of(raised.value)[0] == "TOO_MANY_STORED_BYTES"


async def test_a_burst_of_producers_has_as_many_running_responses_as_its_caller_may() -> None:
    log = SlowToOpen()
    async with relay_stub(RelayConfig(log="memory", caller_responses_max=2), log=log) as stub:
        calls = [asyncio.create_task(publish(stub, opening(str(number)), ending())) for number in range(5)]
        await until(lambda: sum(call.done() for call in calls) == 3)
        log.may_open.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
    assert [reason_of(each)[0] for each in refused] == ["TOO_MANY_RESPONSES"] * 3


async def test_a_producer_that_does_not_come_back_fails_its_response() -> None:
    async with relay_stub(RelayConfig(log="memory", lease_s=0.05)) as stub:
        async with Producer(stub, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
        messages = await follow(stub)
        async with Producer(stub, opening()) as late:
            # It has nothing to send yet.
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await late.ended()

    assert len(events_of(messages)) == 1
    status = status_pb2.Status.FromString(messages[-1].end.status)
    assert status.code == code_pb2.UNAVAILABLE
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "PRODUCER_LOST"
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(raised.value)[0] == "RESPONSE_ENDED"
    assert "PRODUCER_LOST" in raised.value.details()
    assert "publish" in raised.value.details()


async def test_a_producer_whose_node_was_not_heard_for_too_long_learns_it() -> None:
    async with (
        relaying() as (relay, server),
        calling(server) as stub,
        Producer(stub, opening(), batch(1, "a")) as producer,
    ):
        await producer.acknowledged(1)
        stored = await relay.log.describe("/r")
        assert stored is not None
        # As another node does.
        await _rules.end_now(relay.log, stored, _rules.failure(_rules.lost_error()))
        await producer.send(batch(2, "b"))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await producer.ended()
        await until(lambda: not relay.holders)
    assert reason_of(raised.value)[0] == "RESPONSE_ENDED"
    assert "PRODUCER_LOST" in raised.value.details()


async def test_a_producer_that_comes_back_in_time_keeps_its_response() -> None:
    async with relaying(RelayConfig(log="memory", lease_s=0.2)) as (relay, server), calling(server) as stub:
        async with Producer(stub, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
        async with Producer(stub, opening()) as producer:
            await producer.acknowledged(1)
            # Beyond the lease of the first call.
            started_s = time.monotonic()
            await until(lambda: time.monotonic() > started_s + 0.4)
            await producer.send(batch(2, "b"), ending())
            assert (await producer.ended())[-1].ended
        assert relay.holders == {}


async def test_a_response_that_grows_by_another_node_has_a_producer() -> None:
    async with relaying(RelayConfig(log="memory", lease_s=0.6)) as (relay, server), calling(server) as stub:
        async with Producer(stub, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)

        async def append(sequence: int) -> MistralwireError | None:
            done: asyncio.Future[MistralwireError | None] = asyncio.get_running_loop().create_future()
            data = batch(sequence, "b").batch.events.SerializeToString()
            relay.log.append(
                [
                    Append(
                        id="/r",
                        epoch=0,
                        first=sequence,
                        count=1,
                        data=data,
                        on_done=lambda _, error: done.set_result(error),
                    )
                ]
            )
            return await done

        assert await append(2) is None
        # Beyond the first lease, within the second.
        await asyncio.sleep(0.9)
        assert await append(3) is None
        messages = await follow(stub)
    assert len(events_of(messages)) == 3
    assert messages[-1].end.state == FAILED


async def test_a_whole_response_is_one_event() -> None:
    async with relay_stub() as stub:
        answers = await publish(stub, opening(), published(first_sequence=1, events=WHOLE), ending())
        (message,) = await follow(stub)
        found = await stub.GetResponse(GetResponseRequest(response_id="cmpl-1"))
    assert answers[-1].acknowledged_sequence == 1
    assert message.events == WHOLE
    assert found.response == WHOLE.response
    assert (found.info.response_id, found.info.upstream_id) == ("r", "cmpl-1")
    assert found.info.model == WHOLE.response.model


class StubbornLog(MemoryLog):
    """A log that fails, or keeps appends for itself, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.error: ResponseError | None = None
        self.kept: list[Append] | None = None

    def append(self, appends: Sequence[Append]) -> None:
        for append in appends:
            if self.error is not None:
                asyncio.get_running_loop().call_soon(append.on_done, 0, self.error)
            elif self.kept is not None:
                self.kept.append(append)
            else:
                super().append([append])


async def test_a_full_log_ends_the_call_and_the_producer_goes_on_when_there_is_room() -> None:
    log = StubbornLog()
    async with relaying(log=log) as (relay, server), calling(server) as stub:
        async with Producer(stub, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
            log.error = ResponseError("no space left", code="RESOURCE_EXHAUSTED", reason=Reason.LOG_FULL)
            await producer.send(batch(2, "b"))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await producer.ended()
        log.error = None
        answers = await publish(stub, opening(), batch(2, "b"), ending())
        messages = await follow(stub)

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(raised.value)[0] == "NOT_STORED"
    assert relay.counts.not_stored == 1
    assert (answers[0].acknowledged_sequence, answers[-1].acknowledged_sequence) == (1, 2)
    assert len(events_of(messages)) == 2


class NarrowLog(MemoryLog):
    """A log that can't store large events."""

    def append(self, appends: Sequence[Append]) -> None:
        for append in appends:
            if len(append.data) > 1000:
                error = ResponseError("too large", code="INVALID_ARGUMENT", reason=Reason.EVENT_TOO_LARGE)
                asyncio.get_running_loop().call_soon(append.on_done, 0, error)
            else:
                super().append([append])


async def test_an_event_that_no_log_of_this_kind_can_store_fails_the_response() -> None:
    async with relaying(log=NarrowLog()) as (relay, server), calling(server) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await publish(stub, opening(), batch(1, "a"), batch(2, "x" * 2000), batch(3, "b"), ending())
        messages = await follow(stub)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value)[0] == "EVENT_TOO_LARGE"
    assert len(events_of(messages)) == 1
    end = messages[-1].end
    assert (end.state, status_pb2.Status.FromString(end.status).message) == (FAILED, "too large")
    assert (relay.counts.not_stored, relay.holders) == (0, {})


async def test_a_slow_log_stops_the_reading_and_then_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_publish, "LOG_WAIT_S_MAX", 0.1)
    log = StubbornLog()
    async with (
        relaying(log=log) as (_, server),
        calling(server) as stub,
        Producer(stub, opening()) as producer,
    ):
        await producer.acknowledged(0)
        log.kept = []
        text = "x" * 300_000
        await producer.send(*[batch(number, text) for number in range(1, 7)])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await producer.ended()
    assert reason_of(raised.value)[0] == "NOT_STORED"
    # It was read until 1 MiB was not acknowledged, and no further.
    assert len(log.kept) == 4
    assert sum(len(append.data) for append in log.kept) > _rules.UNSTORED_BYTES_MAX


async def test_a_silent_producer_is_not_waited_for() -> None:
    service = ServerConfig(port=0, request_s=0.1, caller_idle_s=0.2)
    async with relay_stub(service=service) as stub:
        for requests in ([], [opening()]):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await publish(stub, *requests)
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert reason_of(raised.value)[0] == "CALLER_SILENT"


async def test_a_cancelled_end_is_an_end() -> None:
    async with relay_stub() as stub:
        await publish(stub, opening(), ending(CANCELLED))
        (message,) = await follow(stub)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await publish(stub, opening())
        page = await stub.ListResponses(ListResponsesRequest())
    assert message.end.state == ResponseState.RESPONSE_STATE_CANCELLED
    assert raised.value.code() is grpc.StatusCode.CANCELLED
    assert [info.state for info in page.responses] == [ResponseState.RESPONSE_STATE_CANCELLED]


class Ends:
    """Keeps the calls that have ended."""

    def __init__(self) -> None:
        self.ends: list[CallRecord] = []

    def started(self, call: CallRecord) -> None: ...

    def chunks(self, call: CallRecord, chunks: Chunks) -> None: ...

    def ended(self, call: CallRecord) -> None:
        self.ends.append(call)


class SlowToOpen(MemoryLog):
    """A log that opens responses after a while, or fails once one is open."""

    def __init__(self) -> None:
        super().__init__()
        self.opening, self.may_open = asyncio.Event(), asyncio.Event()
        self.error: ResponseError | None = None

    async def open(self, opening: Opening) -> StoredResponse:
        self.opening.set()
        await self.may_open.wait()
        stored = await super().open(opening)
        if self.error is not None:
            raise self.error
        return stored


async def test_a_producer_that_leaves_while_its_response_is_opened_fails_it() -> None:
    log = SlowToOpen()
    config = RelayConfig(log="memory", lease_s=0.05)
    seen = Ends()
    async with relaying(config, log=log, observers=[seen]) as (relay, server), calling(server) as stub:
        async with Producer(stub, opening()):
            await log.opening.wait()
        await until(lambda: seen.ends)
        log.may_open.set()
        await until(lambda: relay.holders)
        (message,) = await follow(stub)
    assert message.end.state == FAILED
    assert relay.holders == {}


async def test_a_response_that_a_failing_log_has_opened_all_the_same_fails() -> None:
    log = SlowToOpen()
    log.may_open.set()
    log.error = ResponseError("no answer", code="UNAVAILABLE", reason=Reason.LOG_UNAVAILABLE)
    config = RelayConfig(log="memory", lease_s=0.05)
    async with relaying(config, log=log) as (relay, server), calling(server) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await publish(stub, opening())
        (message,) = await follow(stub)
    assert reason_of(raised.value)[0] == "LOG_UNAVAILABLE"
    assert message.end.state == FAILED
    assert relay.holders == {}


async def test_a_takeover_that_a_failing_log_has_stored_all_the_same_has_a_lease() -> None:
    log = SlowToOpen()
    log.may_open.set()
    config = RelayConfig(log="memory", lease_s=0.05)
    async with relaying(config, log=log) as (relay, server), calling(server) as stub:
        async with Producer(stub, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
            log.error = ResponseError("no answer", code="UNAVAILABLE", reason=Reason.LOG_UNAVAILABLE)
            with pytest.raises(grpc.aio.AioRpcError):
                await publish(stub, opening(epoch=1))
            await producer.send(batch(2, "b"))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await producer.ended()
        messages = await follow(stub)
    assert reason_of(raised.value)[0] == "STALE_EPOCH"
    assert len(events_of(messages)) == 1
    assert messages[-1].end.state == FAILED
    assert relay.holders == {}
