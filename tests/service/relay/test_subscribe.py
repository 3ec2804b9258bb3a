"""Following over gRPC: positions, coalescing, bounds, consumers that read nothing."""

import asyncio
from collections.abc import Sequence

import grpc
import pytest

from mistralwire.errors import MistralwireError
from mistralwire.log import Append, Batch, End, MemoryLog, Opening
from mistralwire.service import RelayConfig, ServerConfig
from mistralwire.service._relay import _subscribe
from mistralwire.service._relay._recording import Recorder
from mistralwire.service._relay._rules import RelayCounts
from mistralwire.service._relay._subscribe import Followers
from mistralwire.v1 import (
    ChatCompletionStreamResponse,
    DeleteResponseRequest,
    ResponseState,
    SubscribeRequest,
    SubscribeResponse,
)
from tests.service.relay.relays import (
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


async def test_a_consumer_that_is_first_gets_the_events_as_they_are_stored() -> None:
    async with relay_stub() as stub, Producer(stub, opening()) as producer:
        await producer.acknowledged(0)
        call = stub.Subscribe(SubscribeRequest(response_id="r"))
        for number, text in enumerate("abc", 1):
            await producer.send(batch(number, text))
            message = await call.read()
            assert (message.first_sequence, [*message.events.chunks]) == (number, [chunk(text)])
            assert not message.HasField("end")
        await producer.send(ending())
        message = await call.read()
        assert message.end.last_sequence == 3
        assert not message.HasField("first_sequence")
        assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize("after", range(5))
async def test_a_consumer_resumes_from_any_position(after: int) -> None:
    async with relay_stub() as stub:
        await publish(stub, opening(), batch(1, "a", "b", "c"), batch(4, "d"), ending())
        messages = await follow(stub, after=after)
    events = [chunk(text).SerializeToString() for text in "abcd"]
    assert events_of(messages, after) == events[after:]
    assert messages[-1].end.state == ResponseState.RESPONSE_STATE_FINISHED


async def test_a_position_beyond_the_end_is_a_loss() -> None:
    async with relay_stub() as stub:
        await publish(stub, opening(), batch(1, "a"), ending())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await follow(stub, after=2)
    assert raised.value.code() is grpc.StatusCode.DATA_LOSS
    reason, metadata = reason_of(raised.value)
    assert (reason, metadata["last_sequence"]) == ("RESPONSE_TRUNCATED", "1")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (SubscribeRequest(response_id="none"), "RESPONSE_NOT_FOUND"),
        (SubscribeRequest(), "CONTRACT_VIOLATION"),
        (SubscribeRequest(response_id="r", after_sequence=-1), "CONTRACT_VIOLATION"),
    ],
)
async def test_what_can_not_be_followed_is_refused(request_: SubscribeRequest, reason: str) -> None:
    async with relay_stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Subscribe(request_).read()
    assert reason_of(raised.value)[0] == reason


async def test_messages_have_as_many_events_and_bytes_as_the_settings_allow() -> None:
    size = len(chunk("a").SerializeToString()) + 2
    service = ServerConfig(port=0, stream_message_chunks_max=3, stream_message_bytes_max=2 * size)
    async with relay_stub(service=service) as stub:
        requests = [batch(1, *"abcde"), batch(6, "x" * 1000), batch(7, *"fg")]
        await publish(stub, opening(), *requests, ending())
        messages = await follow(stub)
    assert [len(message.events.chunks) for message in messages] == [2, 2, 1, 1, 2]
    assert len(events_of(messages)) == 8


async def test_the_deletion_of_a_response_ends_its_followers() -> None:
    async with relay_stub() as stub:
        await publish(stub, opening(), ending())
        await stub.DeleteResponse(DeleteResponseRequest(response_id="r"))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await follow(stub)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_followers_share_the_bytes_of_messages() -> None:
    log, counts = MemoryLog(), RelayCounts()
    followers = Followers(Recorder(log, RelayConfig(), {}, counts), counts)
    got: dict[int, list[bytes]] = {1: [], 2: []}

    async with (
        relaying(log=log) as (_, server),
        calling(server) as stub,
        Producer(stub, opening()) as producer,
    ):
        await producer.acknowledged(0)
        request = SubscribeRequest(response_id="r").SerializeToString()

        async def consume(number: int) -> None:
            async def write(wire: bytes) -> None:
                got[number].append(wire)

            await followers.subscribe("", request, ServerConfig(), write)

        tasks = [asyncio.create_task(consume(number)) for number in got]
        await until(lambda: counts.followers == 2)
        await producer.send(batch(1, "a"))
        await until(lambda: got[1] and got[2])
        await producer.send(ending())
        await asyncio.gather(*tasks)
    assert got[1][0] is got[2][0]
    assert got[1] == got[2]
    assert counts.followers == 0


@pytest.mark.parametrize("is_paced", [True, False])
async def test_events_for_many_followers_add_up(
    is_paced: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, counts = MemoryLog(), RelayCounts()
    followers = Followers(Recorder(log, RelayConfig(), {}, counts), counts)
    got: list[list[bytes]] = [[] for _ in range(_subscribe._PACED_FOLLOWERS_MIN)]
    request = SubscribeRequest(response_id="r").SerializeToString()
    if not is_paced:
        monkeypatch.setattr(_subscribe, "_PACED_FOLLOWERS_MIN", len(got) + 1)

    async def consume(messages: list[bytes]) -> None:
        async def write(wire: bytes) -> None:
            messages.append(wire)

        await followers.subscribe("", request, ServerConfig(), write)

    await log.open(Opening(id="/r"))
    tasks = [asyncio.create_task(consume(messages)) for messages in got]
    await until(lambda: counts.followers == len(got))
    data = batch(1, "a").batch.events.SerializeToString()
    for number in range(1, 101):
        end = End(ResponseState.RESPONSE_STATE_FINISHED) if number == 100 else None
        log.append([Append(id="/r", epoch=0, first=number, count=1, data=data, end=end, on_done=ignored)])
        # As many turns of the event loop as a delivery takes.
        for _ in range(3):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    for messages in got:
        assert len(events_of([SubscribeResponse.FromString(wire) for wire in messages])) == 100
    assert (len(got[0]) < 100) == is_paced


def ignored(_: int, error: MistralwireError | None) -> None:
    assert error is None


async def test_a_consumer_that_reads_nothing_holds_up_nobody_and_costs_no_memory() -> None:
    written: list[bytes] = []
    log = MemoryLog()
    counts = RelayCounts()
    followers = Followers(Recorder(log, RelayConfig(), {}, counts), counts)
    is_stuck = asyncio.Event()

    async def write(wire: bytes) -> None:
        written.append(wire)
        await is_stuck.wait()

    async with relaying(log=log) as (_, server), calling(server) as stub:
        async with Producer(stub, opening()) as producer:
            request = SubscribeRequest(response_id="r").SerializeToString()
            await producer.acknowledged(0)
            task = asyncio.create_task(followers.subscribe("", request, ServerConfig(), write))
            text = "x" * 10_000
            for number in range(1, 301):
                await producer.send(batch(number, text))
            await producer.send(ending())
            await producer.ended()
        assert len(events_of(await follow(stub))) == 300
        assert len(written) == 1
        is_stuck.set()
        await task
    messages = [SubscribeResponse.FromString(wire) for wire in written]
    assert len(events_of(messages)) == 300
    # What was stored meanwhile came together.
    assert len(messages) < 100
    assert messages[-1].end.last_sequence == 300


async def test_a_consumer_that_reads_nothing_for_too_long_is_not_waited_for() -> None:
    service = ServerConfig(port=0, caller_idle_s=0.3)
    async with relaying(service=service) as (relay, server), calling(server) as stub:
        texts = ["x" * 100_000] * 10
        await publish(stub, opening(), *[batch(1 + 10 * at, *texts) for at in range(10)], ending())
        call = stub.Subscribe(SubscribeRequest(response_id="r"))
        await call.read()
        await until(lambda: relay.counts.followers == 1)
        await until(lambda: relay.counts.followers == 0)
        call.cancel()


async def test_the_bytes_of_a_chat_stream_are_events() -> None:
    stream = ChatCompletionStreamResponse(chunks=[chunk("a"), chunk("b")]).SerializeToString()
    assert stream == batch(1, "a", "b").batch.events.SerializeToString()


def test_batches_that_equal_others_have_the_same_messages() -> None:
    followed = _subscribe._Followed()
    followed.followers = 2
    made: list[Sequence[Batch]] = []

    def make(batches: Sequence[Batch]) -> list[bytes]:
        made.append(batches)
        return [b"".join(each.data for each in batches)]

    first = [Batch(1, 1, 0, b"a")]
    assert followed.messages(first, make) is followed.messages([Batch(1, 1, 0, b"a")], make)
    assert followed.messages([Batch(1, 1, 0, b"b")], make) == [b"b"]
    assert len(made) == 2
