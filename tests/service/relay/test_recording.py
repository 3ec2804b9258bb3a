"""The responses of calls on their way into the log."""

import asyncio
import contextlib
import pathlib
import shutil
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from mistralwire import to_json
from mistralwire._metadata import RESPONSE_ID
from mistralwire.errors import CallError, MistralwireError, Reason, ResponseError, UpstreamError
from mistralwire.log import MemoryLog, SqliteLog, StoredResponse
from mistralwire.service import AccessLog, CallRecord, Chunks, LocalChannel, Relay, RelayConfig
from mistralwire.service._call import Call
from mistralwire.service._relay import _recording
from mistralwire.service._relay._rules import CANCELLED as CANCELLED_END
from mistralwire.service._relay._rules import UNSTORED_BYTES_MAX, append_end, failure, lost_error
from mistralwire.upstream import CallContext, MistralUpstream, Receiver
from mistralwire.upstream._coroutines import encode_chunk
from mistralwire.v1 import (
    AgentsCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
    ResponseKind,
    ResponseState,
)
from tests.garbage import uncollected
from tests.service.relay.calls import HeldLog, ids_in, metadata, serving
from tests.service.upstreams import MESSAGES, REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk
from tests.upstream_server import STALL, Answer, UpstreamServer, sse_answer

FINISHED = ResponseState.RESPONSE_STATE_FINISHED
CANCELLED = ResponseState.RESPONSE_STATE_CANCELLED
FAILED = ResponseState.RESPONSE_STATE_FAILED
CHAT = "/mistralwire.v1.ChatCompletionService/ChatCompletion"

both = pytest.mark.parametrize("is_local", [True, False], ids=["in_process", "grpc"])


def state_of(stored: StoredResponse) -> int:
    assert stored.end is not None
    return stored.end.state


def reason_of(stored: StoredResponse) -> str:
    assert stored.end is not None
    for detail in status_pb2.Status.FromString(stored.end.status).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    raise AssertionError("an error has a reason")


@both
async def test_a_stream_is_stored_as_it_is_sent(is_local: bool) -> None:
    upstream, found = HeldUpstream(), []
    async with serving(upstream, is_local=is_local) as service:
        upstream.items.put_nowait(chunk(7))
        async for batch in service.batches(STREAM_REQUEST, id="a"):
            found.append(ids_in(batch))
            upstream.items.put_nowait(chunk(8) if len(found) == 1 else None)
        stored = await service.ended("a")
        assert await service.chunk_ids("a") == [7, 8]
    assert found == [(1, [7]), (2, [8])]
    assert (state_of(stored), stored.last, stored.upstream_id) == (FINISHED, 2, "7")
    assert (stored.model, stored.kind) == ("m", ResponseKind.RESPONSE_KIND_CHAT)


@pytest.mark.parametrize(
    ("request_", "answer", "kind"),
    [
        (REQUEST, ChatCompletionResponse(id="up", model="m"), ResponseKind.RESPONSE_KIND_CHAT),
        (
            FIMCompletionRequest(model="m", prompt="a"),
            FIMCompletionResponse(id="up", model="m"),
            ResponseKind.RESPONSE_KIND_FIM,
        ),
        (
            AgentsCompletionRequest(agent_id="a", messages=MESSAGES),
            ChatCompletionResponse(id="up", model="m"),
            ResponseKind.RESPONSE_KIND_AGENTS,
        ),
    ],
    ids=["chat", "fim", "agents"],
)
async def test_an_answer_in_one_piece_is_one_event(request_: Any, answer: Any, kind: ResponseKind) -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as service:
        upstream.items.put_nowait(answer)
        assert await service.client.complete(request_, metadata=metadata(id="a")) == answer
        stored = await service.ended("a")
        events = await service.events("a")
    assert (state_of(stored), stored.last, stored.upstream_id, stored.kind) == (FINISHED, 1, "up", kind)
    whole = "fim_response" if kind == ResponseKind.RESPONSE_KIND_FIM else "response"
    assert getattr(events, whole) == answer
    assert events.WhichOneof("whole") == whole


async def test_the_id_comes_with_the_first_message_and_with_every_status() -> None:
    upstream, accesses = HeldUpstream(), AccessLog()
    async with (
        serving(upstream, is_local=False, observers=[accesses]) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        make = channel.unary_stream(CHAT + "Stream")
        call = make(STREAM_REQUEST.SerializeToString())
        early = asyncio.ensure_future(call.initial_metadata())
        await upstream.started.wait()
        assert not early.done(), "early metadata commit the call, and end the retries of gRPC"
        upstream.items.put_nowait(chunk(0))
        response_id = dict(await early)[RESPONSE_ID]
        assert response_id.startswith("resp_")
        assert len(response_id) == len("resp_") + 32
        upstream.items.put_nowait(None)
        assert [message async for message in call]
        assert dict(await call.trailing_metadata())[RESPONSE_ID] == response_id

        call = make(STREAM_REQUEST.SerializeToString(), metadata=((RESPONSE_ID, "mine"),))
        upstream.items.put_nowait(UpstreamError("broken"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert dict(caught.value.trailing_metadata())[RESPONSE_ID] == "mine"

        unary = channel.unary_unary(CHAT)(REQUEST.SerializeToString())
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert await unary
        assert dict(await unary.trailing_metadata())[RESPONSE_ID] != response_id


@both
async def test_a_failure_is_stored_with_its_status(is_local: bool, caplog: pytest.LogCaptureFixture) -> None:
    upstream = HeldUpstream()
    caplog.set_level("INFO", "mistralwire.access")
    async with serving(upstream, is_local=is_local, observers=[AccessLog()]) as service:
        upstream.items.put_nowait(chunk(0))
        upstream.items.put_nowait(UpstreamError("broken", reason=Reason.UPSTREAM_BUSY))
        with pytest.raises(CallError, match="broken"):
            assert [batch async for batch in service.batches(STREAM_REQUEST, id="a")] == []
        stored = await service.ended("a")
    assert (state_of(stored), stored.last, reason_of(stored)) == (FAILED, 1, Reason.UPSTREAM_BUSY)
    assert [record.response_id for record in caplog.records if record.name == "mistralwire.access"] == ["a"]  # type: ignore[attr-defined]


@both
async def test_a_caller_who_leaves_cancels_the_response(is_local: bool) -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=is_local) as service:
        await leave(service, upstream, id="a")
        await upstream.closed.wait()
        stored = await service.ended("a")
    assert (state_of(stored), stored.last) == (CANCELLED, 1)


async def leave(
    service: Any, upstream: HeldUpstream, *, deadline_s: float | None = None, **values: str
) -> None:
    """Make a call, and leave after its first chunk."""
    upstream.items.put_nowait(chunk(0))
    async with contextlib.aclosing(
        service.client.stream(STREAM_REQUEST, metadata=metadata(**values), deadline_s=deadline_s)
    ) as chunks:
        assert (await anext(chunks)).id == "0"


@both
async def test_a_response_may_finish_without_its_caller(is_local: bool) -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=is_local, on_disconnect="finish") as service:
        await leave(service, upstream, id="a")
        for number in (1, 2):
            upstream.items.put_nowait(chunk(number))
        await upstream.items.join()
        assert not upstream.closed.is_set()
        assert upstream.contexts[0].deadline_s is None
        upstream.items.put_nowait(None)
        stored = await service.ended("a")
        assert await service.chunk_ids("a") == [0, 1, 2]
    assert state_of(stored) == FINISHED


async def test_the_deadline_of_a_caller_counts_as_leaving() -> None:
    upstream = HeldUpstream()
    async with serving(upstream, on_disconnect="finish") as service:
        upstream.items.put_nowait(chunk(0))
        with pytest.raises(CallError) as caught:
            async for _ in service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"), deadline_s=0.5):
                pass
        assert caught.value.code == "DEADLINE_EXCEEDED"
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(None)
        assert (await service.ended("a")).last == 2


async def test_a_call_says_itself_what_happens_when_its_caller_leaves() -> None:
    upstream = HeldUpstream()
    async with serving(upstream, on_disconnect="finish") as service:
        await leave(service, upstream, id="a", on_disconnect="cancel")
        assert state_of(await service.ended("a")) == CANCELLED


async def test_a_response_waits_for_a_follower_and_goes_on_while_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    upstream = HeldUpstream()
    async with serving(upstream, on_disconnect="keep 30") as service:
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def soon(delay_s: float, *arguments: Any) -> asyncio.TimerHandle:
            waits.append(delay_s)
            return call_later(0 if delay_s == 30 else delay_s, *arguments)

        upstream.items.put_nowait(chunk(0))
        followed = service.relay.recorder.follow("/a")
        async with contextlib.aclosing(
            service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"))
        ) as chunks:
            await anext(chunks)
            await anext(followed)
            monkeypatch.setattr(loop, "call_later", soon)
        assert 30 not in waits, "a follower is there already"
        upstream.items.put_nowait(chunk(1))
        assert (await anext(followed)).batches
        assert not upstream.closed.is_set()
        await followed.aclose()
        assert 30 in waits
        await upstream.closed.wait()
        stored = await service.ended("a")
    assert (state_of(stored), stored.last) == (CANCELLED, 2)


async def test_a_follower_who_comes_in_time_is_the_caller_being_back() -> None:
    upstream = HeldUpstream()
    async with serving(upstream, on_disconnect="keep 1") as service:
        await leave(service, upstream, id="a")
        # What a node says of a follower that it told of too early, or in vain, changes nothing.
        await service.log.ask(service.log.node, b"unfollowed elsewhere /a", 1.0)
        followed = service.relay.recorder.follow("/a", 1)
        following = asyncio.ensure_future(anext(followed))
        await asyncio.sleep(1.1)
        upstream.items.put_nowait(chunk(1))
        assert (await following).batches[0].first == 2
        upstream.items.put_nowait(None)
        assert (await anext(followed)).end is not None
        await followed.aclose()
        assert state_of(await service.stored("a")) == FINISHED


async def test_followers_at_a_node_that_is_gone_keep_no_response() -> None:
    upstream = HeldUpstream()
    async with serving(upstream, on_disconnect="keep 1") as service:
        upstream.items.put_nowait(chunk(0))
        async with contextlib.aclosing(
            service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"))
        ) as chunks:
            await anext(chunks)
            # A node that was killed says nothing more.
            await service.log.ask(service.log.node, b"followed killed /a", 1.0)
        await upstream.closed.wait()
        assert state_of(await service.ended("a")) == CANCELLED


@both
async def test_a_cancel_from_elsewhere_ends_the_call_and_its_upstream(is_local: bool) -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=is_local, on_disconnect="finish") as service:
        upstream.items.put_nowait(chunk(0))
        chunks = service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"))
        await anext(chunks)
        service.relay.holders["/a"].cancel_response()
        with pytest.raises(CallError) as caught:
            await anext(chunks)
        await upstream.closed.wait()
        stored = await service.ended("a")
        assert service.relay.holders == {}
    assert (caught.value.code, caught.value.reason) == ("CANCELLED", Reason.RESPONSE_CANCELLED)
    assert (state_of(stored), stored.last) == (CANCELLED, 1)


class Canceller:
    """Cancels a response while its first message is being sent."""

    relay: Relay

    def started(self, call: CallRecord) -> None: ...

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        holder = self.relay.holders[f"/{call.response_id}"]
        asyncio.get_running_loop().call_soon(holder.cancel_response)

    def ended(self, call: CallRecord) -> None: ...


async def test_a_cancel_during_the_first_message_reaches_the_caller() -> None:
    canceller, upstream = Canceller(), HeldUpstream()
    async with serving(upstream, is_local=False, observers=[canceller]) as service:
        canceller.relay = service.relay
        upstream.items.put_nowait(chunk(0))
        with pytest.raises(CallError) as caught:
            async for _ in service.client.stream(STREAM_REQUEST, deadline_s=5):
                pass
    assert caught.value.reason == Reason.RESPONSE_CANCELLED


async def test_a_response_without_its_caller_can_be_cancelled() -> None:
    upstream = HeldUpstream()
    async with serving(upstream, on_disconnect="finish") as service:
        await leave(service, upstream, id="a")
        service.relay.holders["/a"].cancel_response()
        await upstream.closed.wait()
        assert state_of(await service.ended("a")) == CANCELLED


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"response_events_max": 300}, Reason.TOO_MANY_EVENTS),
        ({"response_bytes_max": 10_000}, Reason.RESPONSE_TOO_LARGE),
    ],
)
async def test_a_response_beyond_a_limit_is_answered_and_stored_no_further(
    settings: dict[str, Any], reason: str
) -> None:
    async with serving(EagerUpstream(1000), **settings) as service:
        chunks = [item async for item in service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"))]
        stored = await service.ended("a")
        assert await service.chunk_ids("a") == [*range(stored.last)]
    assert len(chunks) == 1000
    assert (state_of(stored), reason_of(stored), stored.last) == (FAILED, reason, 256)


async def test_beyond_a_limit_a_response_without_its_caller_ends() -> None:
    upstream = HeldUpstream()
    async with serving(upstream, on_disconnect="finish", response_events_max=1) as service:
        await leave(service, upstream, id="a")
        upstream.items.put_nowait(chunk(1))
        await upstream.closed.wait()
        assert reason_of(await service.ended("a")) == Reason.TOO_MANY_EVENTS


@pytest.mark.parametrize(
    ("is_local", "on_disconnect", "has_left"),
    [
        (True, "finish", True),
        (True, "finish", False),
        (False, "finish", True),
        (False, "finish", False),
        (False, "cancel", False),
    ],
)
async def test_a_server_that_stops_stores_how_its_calls_end(
    is_local: bool, on_disconnect: str, has_left: bool
) -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=is_local, on_disconnect=on_disconnect) as service:
        upstream.items.put_nowait(chunk(0))
        chunks = service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"))
        await anext(chunks)
        if has_left:
            await chunks.aclose()
        if not is_local:
            # Before the client: it would cancel its calls.
            await service.server.stop(0)
    # The memory is left.
    stored = await service.stored("a")
    assert (state_of(stored), reason_of(stored)) == (FAILED, Reason.SERVER_STOPPING)


async def test_a_server_that_drains_waits_for_responses_without_their_caller() -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=False, on_disconnect="finish") as service:
        await leave(service, upstream, id="a")
        stopping = asyncio.create_task(service.server.stop(60))
        await asyncio.sleep(0.3)
        assert not stopping.done()
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(None)
        await stopping
        assert (state_of(await service.stored("a")), (await service.stored("a")).last) == (FINISHED, 2)


# What the log may do to a call.


async def test_the_caller_does_not_wait_for_the_log() -> None:
    log, upstream = HeldLog(), HeldUpstream()
    async with serving(upstream, log=log) as service:
        log.is_held = True
        upstream.items.put_nowait(chunk(0))
        upstream.items.put_nowait(None)
        assert [
            item.id async for item in service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"))
        ] == ["0"]
        assert (await service.stored("a")).last == 0
        log.release()
        assert state_of(await service.ended("a")) == FINISHED


async def test_events_of_one_turn_and_the_end_are_one_append() -> None:
    log = HeldLog()
    async with serving(EagerUpstream(10), log=log) as service:
        log.is_held = True
        assert [batch async for batch in service.batches(STREAM_REQUEST, id="a")]
        (append,) = log.appends
        assert (append.first, append.count, append.end is not None) == (1, 10, True)
        log.release()


async def test_a_log_that_is_behind_pauses_the_upstream_until_it_has_caught_up() -> None:
    log, upstream = HeldLog(), EagerUpstream(3000, "x" * 1000)
    async with serving(upstream, log=log) as service:
        log.is_held = True
        received = asyncio.create_task(collect(service.batches(STREAM_REQUEST, id="a")))
        for _ in range(3000):
            await asyncio.sleep(0)
        assert upstream.produced * 1000 >= UNSTORED_BYTES_MAX
        assert upstream.produced * 1000 < 2 * UNSTORED_BYTES_MAX
        assert not received.done()
        log.release()
        assert await received == [*range(3000)]
        assert (state_of(await service.ended("a")), service.relay.counts.not_stored) == (FINISHED, 0)


async def collect_chunks(chunks: AsyncIterator[CompletionChunk]) -> list[str]:
    return [item.id async for item in chunks]


async def collect(batches: Any) -> list[int]:
    return [number async for batch in batches for number in ids_in(batch)[1]]


async def test_a_log_that_stays_behind_loses_the_response_and_not_the_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mistralwire.service._relay._opening.LOG_WAIT_S_MAX", 0.5)
    monkeypatch.setattr(_recording, "_END_RETRY_S", 0.01)
    log = HeldLog()
    async with serving(EagerUpstream(3000, "x" * 1000), log=log) as service:
        log.is_held = True
        assert await collect(service.batches(STREAM_REQUEST, id="a")) == [*range(3000)]
        assert service.relay.counts.not_stored == 1
        log.release()
        stored = await service.ended("a")
        assert await service.chunk_ids("a") == [*range(stored.last)]
    assert (state_of(stored), reason_of(stored)) == (FAILED, Reason.NOT_STORED)
    assert 0 < stored.last < 3000
    assert "the response a is stored no further: the log is too slow" in caplog.messages


@pytest.mark.parametrize("code", [Reason.LOG_FULL, Reason.LOG_UNAVAILABLE])
async def test_a_log_that_fails_loses_the_response_until_it_recovers(
    code: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_recording, "_END_RETRY_S", 0.01)
    log, upstream = HeldLog(), HeldUpstream()
    async with serving(upstream, log=log) as service:
        batches = service.batches(STREAM_REQUEST, id="a")
        upstream.items.put_nowait(chunk(0))
        assert ids_in(await anext(batches))[1] == [0]
        followed = service.relay.recorder.follow("/a")
        assert (await anext(followed)).batches
        log.is_held, log.error = True, ResponseError("no room", code="UNAVAILABLE", reason=code)
        upstream.items.put_nowait(chunk(1))
        assert ids_in(await anext(batches))[1] == [1]
        log.release()
        upstream.items.put_nowait(chunk(2))
        upstream.items.put_nowait(None)
        assert await collect(batches) == [2]
        with pytest.raises(ResponseError) as caught:
            await anext(followed)
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", Reason.NOT_STORED)
        assert (await service.stored("a")).end is None
        assert service.relay.counts.not_stored == 1
        log.error = None
        stored = await service.ended("a")
    assert (state_of(stored), reason_of(stored), stored.last) == (FAILED, Reason.NOT_STORED, 1)


async def test_nobody_waits_for_a_response_that_is_neither_read_nor_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_recording, "_END_RETRY_S", 0.01)
    log, upstream = HeldLog(), HeldUpstream()
    async with serving(upstream, log=log, on_disconnect="finish") as service:
        await leave(service, upstream, id="a")
        log.error = ResponseError("no room", code="RESOURCE_EXHAUSTED", reason=Reason.LOG_FULL)
        log.is_held = True
        upstream.items.put_nowait(chunk(1))
        await upstream.items.join()
        log.release()
        await upstream.closed.wait()
        log.error = None
        assert reason_of(await service.ended("a")) == Reason.NOT_STORED


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_response_that_somebody_else_has_ended_ends_its_call_if_it_was_cancelled(
    is_cancelled: bool,
) -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as service:
        chunks = service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"))
        upstream.items.put_nowait(chunk(0))
        await anext(chunks)
        # As another node does if this one does not answer.
        end = CANCELLED_END if is_cancelled else failure(lost_error())
        await append_end(service.log, "/a", end, epoch=1, first=2)
        upstream.items.put_nowait(chunk(1))
        assert (await anext(chunks)).id == "1"
        upstream.items.put_nowait(chunk(2) if is_cancelled else None)
        if is_cancelled:
            with pytest.raises(CallError) as caught:
                await collect_chunks(chunks)
            assert caught.value.reason == Reason.RESPONSE_CANCELLED
            await upstream.closed.wait()
        else:
            assert await collect_chunks(chunks) == []
        assert (await service.stored("a")).last == 1
        assert service.relay.holders == {}


@pytest.mark.slow
async def test_a_call_that_is_stored_is_freed_without_the_garbage_collector() -> None:
    async with serving(EagerUpstream(3)) as service:
        with uncollected(Call, _recording.Recording) as left:
            assert await collect(service.batches(STREAM_REQUEST, id="a"))
            await service.ended("a")
            await asyncio.sleep(0)
            assert not left()


# What a chunk costs.


class PushedUpstream:
    """A callback upstream, like one over HTTP, whose chunks the test pushes."""

    judges_requests = True

    def __init__(self) -> None:
        self.started = asyncio.Event()

    async def complete(self, request: Any, context: CallContext) -> Any:
        raise NotImplementedError

    def stream(self, request: Any, context: CallContext) -> Any:
        raise NotImplementedError

    def start(self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, **_: Any) -> Self:
        self.receiver = receiver
        self.started.set()
        return self

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def cancel(self) -> None: ...


class Taken:
    """A sink that takes everything."""

    def __init__(self) -> None:
        self.headers_: list[Mapping[str, str]] = []
        self.count = 0

    def headers(self, headers: Mapping[str, str]) -> None:
        self.headers_.append(headers)

    def batch(self, wire: bytes, count: int) -> None:
        self.count += count

    def answer(self, wire: bytes) -> None: ...

    def end(self) -> None: ...

    def failed(self, error: MistralwireError) -> None:
        raise error


async def test_a_chunk_makes_no_task_no_future_and_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream, sink, made = PushedUpstream(), Taken(), list[str]()
    # It is not started: what it does each second is no part of this.
    relay = Relay(MemoryLog(), RelayConfig(log="memory"))
    channel = LocalChannel(upstream, relay=relay)
    wanted = tuple(metadata(id="a").items())
    wire = STREAM_REQUEST.SerializeToString()
    channel.start(ChatCompletionStreamRequest, wire, sink, timeout=60, metadata=wanted)
    await upstream.started.wait()
    upstream.receiver.batch(encode_chunk(chunk(0)), 1)
    assert sink.headers_ == [{RESPONSE_ID: "a"}]
    await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    for name in ("create_task", "create_future", "call_at", "call_later"):
        monkeypatch.setattr(loop, name, lambda *_, name=name, **__: made.append(name))
    for number in range(1, 100):
        upstream.receiver.batch(encode_chunk(chunk(number)), 1)
        await asyncio.sleep(0)
    upstream.receiver.end()
    await asyncio.sleep(0)
    monkeypatch.undo()
    assert made == []
    upstream.receiver.closed()
    await asyncio.sleep(0.01)
    stored = await relay.log.describe("/a")
    assert stored is not None
    assert (stored.last, sink.count, relay.holders) == (100, 100, {})
    await channel.close()


@both
async def test_a_cancel_closes_the_connection_to_the_model_api(is_local: bool) -> None:
    event = b"data: " + to_json(chunk(0)) + b"\n\n"
    async with (
        UpstreamServer(sse_answer(event, STALL)) as api,
        serving(MistralUpstream(api.url), is_local=is_local, on_disconnect="finish") as service,
    ):
        chunks = service.client.stream(STREAM_REQUEST, metadata=metadata(id="a"))
        await anext(chunks)
        info = await service.client.cancel_response("a")
        assert info.info.state == CANCELLED
        async with asyncio.timeout(10):
            await api.gone.wait()
        with pytest.raises(CallError) as caught:
            await anext(chunks)
        assert caught.value.reason == Reason.RESPONSE_CANCELLED


async def test_the_id_comes_with_the_headers_of_the_upstream() -> None:
    event = b"data: " + to_json(chunk(0)) + b"\n\ndata: [DONE]\n\n"
    answer = Answer(200, {"content-type": "text/event-stream", "mistral-correlation-id": "c"}, [event])
    async with (
        UpstreamServer(answer) as api,
        serving(MistralUpstream(api.url), is_local=False) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        wanted = tuple(metadata(id="a").items())
        call = channel.unary_stream(CHAT + "Stream")(STREAM_REQUEST.SerializeToString(), metadata=wanted)
        assert len([message async for message in call]) == 1
        for found in (dict(await call.initial_metadata()), dict(await call.trailing_metadata())):
            assert (found[RESPONSE_ID], found["mistral-correlation-id"]) == ("a", "c")


async def test_what_a_crash_left_ends_when_the_log_is_opened_again(tmp_path: pathlib.Path) -> None:
    upstream = HeldUpstream()
    log = SqliteLog(tmp_path)
    async with serving(upstream, log=log) as service:
        upstream.items.put_nowait(chunk(0))
        chunks = service.client.stream(STREAM_REQUEST, metadata=metadata(id="a", key="k"))
        await anext(chunks)
        async with contextlib.aclosing(log.follow("/a")) as deliveries:
            assert (await anext(deliveries)).batches
        # As a process that is killed: without the end of anything.
        shutil.copytree(tmp_path, tmp_path / "left", ignore=shutil.ignore_patterns("left", "*lock*"))
        await chunks.aclose()
    async with serving(upstream, log=SqliteLog(tmp_path / "left")) as service:
        stored = await service.ended("a")
        assert (state_of(stored), reason_of(stored), stored.last) == (FAILED, Reason.PRODUCER_LOST, 1)
        batches = service.batches(STREAM_REQUEST, key="k")
        assert ids_in(await anext(batches)) == (1, [0])
        with pytest.raises(CallError) as caught:
            await anext(batches)
        assert caught.value.reason == Reason.PRODUCER_LOST
        with pytest.raises(ResponseError) as truncated:
            await anext(service.relay.recorder.follow("/a", 2))
        assert truncated.value.reason == Reason.RESPONSE_TRUNCATED
    assert len(upstream.requests) == 1
