"""What the relay takes over from processes before it, what it deletes, and what it folds."""

import asyncio
import itertools
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.errors import CallError, Reason, ResponseError
from mistralwire.log import (
    Append,
    Batch,
    End,
    MemoryLog,
    Opening,
    Query,
    SqliteLog,
    StoredResponse,
    append_and_wait,
    split,
)
from mistralwire.service import Relay, RelayConfig
from mistralwire.service._relay import _rules, _sweeper
from mistralwire.service._relay._sweeper import fold
from mistralwire.v1 import (
    CancelResponseRequest,
    CompletionChunk,
    GetResponseRequest,
    ResponseEvents,
    ResponseState,
    SubscribeRequest,
)
from tests.service.relay.calls import metadata, serving
from tests.service.relay.relays import (
    MEMORY,
    Producer,
    batch,
    calling,
    ending,
    events_of,
    follow,
    opening,
    publish,
    reason_of,
    relaying,
    until,
)
from tests.service.upstreams import STREAM_REQUEST, HeldUpstream
from tests.service.upstreams import chunk as numbered


async def left_behind(log: MemoryLog, *, is_published: bool) -> None:
    """Open a response in a log as a process that has died."""
    own, log.node = log.node, "dead"
    await log.open(Opening(id="/r", epoch=3, is_published=is_published))
    log.node = own


async def test_a_call_of_a_process_that_died_has_failed_when_the_service_starts() -> None:
    log = MemoryLog()
    await left_behind(log, is_published=False)
    async with Relay(log, MEMORY):
        stored = await log.describe("/r")
    assert stored is not None
    assert stored.end is not None
    assert (stored.epoch, stored.end.state) == (4, ResponseState.RESPONSE_STATE_FAILED)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(stored.end.status).details)
    assert info.reason == "PRODUCER_LOST"


async def test_a_node_that_was_not_heard_while_the_log_was_away_keeps_its_responses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class AwayLog(MemoryLog):
        is_back = False

        async def is_alive(self, node: str) -> bool:
            return node == self.node or self.is_back

        async def describe(self, id: str) -> StoredResponse | None:
            self.is_back = True
            return await super().describe(id)

    # However soon it answers.
    monkeypatch.setattr(_sweeper, "_AWAY_S", -1.0)
    log = AwayLog()
    await left_behind(log, is_published=False)
    async with Relay(log, MEMORY):
        assert log.is_back
        [stored] = await log.list(Query())
        assert stored.end is None


async def test_a_call_of_a_process_that_died_fails_once_the_log_has_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FullLog(MemoryLog):
        is_full = True

        def append(self, appends: Sequence[Append]) -> None:
            error = ResponseError("no space left", code="RESOURCE_EXHAUSTED", reason=Reason.LOG_FULL)
            for append in appends if self.is_full else ():
                asyncio.get_running_loop().call_soon(append.on_done, 0, error)
            super().append(() if self.is_full else appends)

    monkeypatch.setattr(_sweeper, "_SWEEP_S", 0.02)
    log = FullLog()
    await left_behind(log, is_published=False)
    async with relaying(log=log) as (_, server), calling(server) as stub:
        log.is_full = False
        (message,) = await follow(stub)
    assert message.end.state == ResponseState.RESPONSE_STATE_FAILED


async def test_a_relay_that_can_not_start_leaves_its_log_closed() -> None:
    class FailingLog(MemoryLog):
        is_closed = False

        async def list(self, query: Query) -> Sequence[StoredResponse]:
            raise ResponseError("it is gone", code="UNAVAILABLE", reason=Reason.LOG_UNAVAILABLE)

        async def close(self) -> None:
            self.is_closed = True
            await super().close()

    log = FailingLog()
    with pytest.raises(ResponseError, match="it is gone"):
        await Relay(log, MEMORY).start()
    assert log.is_closed


async def test_a_producer_whose_service_died_may_come_back() -> None:
    log = MemoryLog()
    await left_behind(log, is_published=True)
    async with relaying(log=log) as (relay, server), calling(server) as stub:
        assert [*relay.holders] == ["/r"]
        answers = await publish(stub, opening(epoch=3), batch(1, "a"), ending())
        assert relay.holders == {}
    assert answers[-1].ended


async def test_a_producer_whose_service_died_has_no_more_than_its_lease() -> None:
    log = MemoryLog()
    await left_behind(log, is_published=True)
    async with (
        relaying(RelayConfig(log="memory", lease_s=0.05), log=log) as (_, server),
        calling(server) as stub,
    ):
        (message,) = await follow(stub)
    assert message.end.state == ResponseState.RESPONSE_STATE_FAILED


async def test_responses_are_deleted_when_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    async with relaying(log=log) as (_, server), calling(server) as stub:
        await publish(stub, opening("old"), ending())
        async with Producer(stub, opening("running")) as producer:
            await producer.acknowledged(0)
            now_s = time.time() + 7 * 86_400 + 1
            monkeypatch.setattr(time, "time", lambda: now_s)
            await publish(stub, opening("new"), ending())
            sweeper = _sweeper.Sweeper(log, MEMORY, None, None, {})  # type: ignore[arg-type]
            await sweeper.delete_expired()
            found = {id_: await log.describe(id_) for id_ in ("/old", "/running", "/new")}
    assert [id_ for id_, stored in found.items() if stored is None] == ["/old"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_response_that_becomes_too_old_while_it_is_read_ends_with_an_error(
    kind: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog() if kind == "memory" else SqliteLog(tmp_path / "data")
    texts = ["x" * 100_000] * 10
    async with relaying(log=log) as (_, server), calling(server) as stub:
        await publish(stub, opening(), *[batch(1 + 10 * at, *texts) for at in range(10)], ending())
        follower = stub.Subscribe(SubscribeRequest(response_id="r"), timeout=30)
        messages: list[Any] = []

        async def read(count: int) -> None:
            while len(messages) < count:
                messages.append(await follower.read())

        await read(1)
        now_s = time.time() + 7 * 86_400 + 1
        monkeypatch.setattr(time, "time", lambda: now_s)
        await _sweeper.Sweeper(log, MEMORY, None, None, {}).delete_expired()  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await read(100)
    assert reason_of(raised.value)[0] == "RESPONSE_NOT_FOUND"
    assert len(events_of(messages)) < 100


async def end_elsewhere(log: MemoryLog, id_: str, end: End) -> None:
    """End a response as another node does, which this one could not hear."""
    stored = await log.describe(id_)
    assert stored is not None
    await _rules.end_now(log, stored, end)


async def test_a_producer_that_sends_nothing_learns_that_another_node_has_ended_its_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sweeper, "_SWEEP_S", 0.02)
    log = MemoryLog()
    async with relaying(log=log) as (relay, server), calling(server) as stub:
        async with Producer(stub, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
            await end_elsewhere(log, "/r", _rules.failure(_rules.lost_error()))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await producer.ended()
        assert relay.holders == {}
    assert reason_of(raised.value)[0] == "RESPONSE_ENDED"


async def test_a_call_without_chunks_learns_that_another_node_has_cancelled_its_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sweeper, "_SWEEP_S", 0.02)
    upstream = HeldUpstream()
    async with serving(upstream) as service:
        upstream.items.put_nowait(numbered(0))
        chunks = service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"), deadline_s=20)
        await anext(chunks)
        await until(lambda: service.relay.counts.events == 1)
        assert isinstance(service.log, MemoryLog)
        await end_elsewhere(service.log, "/a", _rules.CANCELLED)
        with pytest.raises(CallError) as raised:
            await anext(chunks)
        await upstream.closed.wait()
        assert service.relay.holders == {}
    assert raised.value.reason == Reason.RESPONSE_CANCELLED


async def test_a_response_is_folded_after_its_end_and_every_position_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sweeper, "_FOLD_S", 0.0)
    monkeypatch.setattr(_sweeper, "_SWEEP_S", 0.02)
    log = MemoryLog()
    async with relaying(log=log) as (_, server), calling(server) as stub:
        texts = [str(number) for number in range(1, 21)]
        requests = [batch(number, text) for number, text in enumerate(texts, 1)]
        await publish(stub, opening(), *requests, ending())
        before = [await follow(stub, after=after) for after in range(21)]
        found = await stub.GetResponse(GetResponseRequest(response_id="r"))
        batches: list[Batch] = []

        async def is_folded() -> bool:
            batches[:] = await log.read("/r")
            return len(batches) == 1

        while not await is_folded():
            await until(lambda: True)
        after_fold = [await follow(stub, after=after) for after in range(21)]
        assert await stub.GetResponse(GetResponseRequest(response_id="r")) == found
    assert (batches[0].first, batches[0].last) == (1, 20)
    for after, messages in enumerate(before):
        assert events_of(after_fold[after], after) == events_of(messages, after)


async def test_a_response_that_a_canceller_ends_for_its_holder_is_folded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sweeper, "_FOLD_S", 0.0)
    monkeypatch.setattr(_sweeper, "_SWEEP_S", 0.02)
    log = MemoryLog()
    async with relaying(log=log) as (_, server), calling(server) as stub:
        # Nobody holds it.
        await log.open(Opening(id="/r", is_published=True))
        for number in range(1, 4):
            data = ResponseEvents(chunks=[CompletionChunk(id=str(number))]).SerializeToString()
            await append_and_wait(log, Append(id="/r", epoch=0, first=number, count=1, data=data))
        await stub.CancelResponse(CancelResponseRequest(response_id="r"))
        async with asyncio.timeout(10):
            while len(await log.read("/r")) > 1:  # noqa: ASYNC110 - nothing reports it
                await asyncio.sleep(0.005)


def stored_batches(parts: Sequence[tuple[int, int, int]]) -> list[Batch]:
    batches: list[Batch] = []
    first = 1
    for count, size, epoch in parts:
        data = b"".join(b"\x0a" + bytes([size]) + bytes(size) for _ in range(count))
        batches.append(Batch(first, first + count - 1, epoch, data))
        first += count
    return batches


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 100), st.integers(0, 1))),
    st.integers(1, 500),
)
def test_a_fold_has_the_same_events_in_fewer_batches(parts: list[tuple[int, int, int]], most: int) -> None:
    batches = stored_batches(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sweeper, "_FOLD_BYTES_MAX", most)
        folded = fold(batches)

    assert b"".join(each.data for each in folded) == b"".join(each.data for each in batches)
    assert [each.first for each in folded[:1]] == [each.first for each in batches[:1]]
    assert [each.last for each in folded[-1:]] == [each.last for each in batches[-1:]]
    originals = {each.first: each for each in batches}
    for each, following in itertools.pairwise(folded):
        assert following.first == each.last + 1
        # No batch would have fitted into the one before.
        is_full = len(each.data) + len(originals[following.first].data) > most
        assert is_full or each.epoch != following.epoch
    assert all(len(split(each.data)) == each.last - each.first + 1 for each in folded)
