"""A call by callbacks: its buffer, its limits, its end, and what a chunk costs."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire._methods import METHODS
from mistralwire._response_stream import EventWriter
from mistralwire.errors import MistralwireError, OverloadError, UpstreamError
from mistralwire.service import CallRecord, Chunks, LocalChannel, ServerConfig
from mistralwire.service._admission import Calls
from mistralwire.service._call import Call
from mistralwire.upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    Receiver,
    Route,
    RoutedUpstream,
)
from mistralwire.upstream._coroutines import encode_chunk
from mistralwire.v1 import (
    CONTRACT_REVISION,
    ChatCompletionStreamRequest,
    ChatCompletionStreamResponse,
    CompletionChunk,
)
from tests.garbage import uncollected
from tests.service.upstreams import MESSAGES, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

CHUNKS_MAX = 256
BYTES_MAX = 1024 * 1024

Source: TypeAlias = HeldUpstream | EagerUpstream | AsyncIterator[CompletionChunk]


class Streaming:
    """An upstream whose streams are an iterator."""

    def __init__(self, chunks: AsyncIterator[CompletionChunk]) -> None:
        self._chunks = chunks

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        raise NotImplementedError

    def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        return self._chunks


class Records:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.received: list[CompletionChunk] = []
        self.records: list[CallRecord] = []

    def started(self, call: CallRecord) -> None:
        pass

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        self.received += ChatCompletionStreamResponse.FromString(chunks.wire).chunks

    def ended(self, call: CallRecord) -> None:
        self.records.append(call)


def calls_of(upstream: Any, *observers: Records, **settings: Any) -> Calls:
    bounds: dict[str, Any] = {
        "stream_message_chunks_max": CHUNKS_MAX,
        "stream_message_bytes_max": BYTES_MAX,
        "stream_buffer_bytes_max": BYTES_MAX,
    }
    return Calls(upstream, ServerConfig(**bounds | settings), observers, CONTRACT_REVISION)


class Caller:
    """A sink that takes one message at a time: it is paused until the next `take`."""

    def __init__(self, source: Source, calls: Calls | None = None, **settings: Any) -> None:
        upstream = source if hasattr(source, "stream") else Streaming(source)
        self.observer = Records()
        self.calls = calls or calls_of(upstream, self.observer, **settings)
        self._is_shared = calls is not None
        self.messages: list[bytes] = []
        self.taken: list[bytes] = []
        self.error: MistralwireError | None = None
        self.has_ended = False
        self._has_changed = asyncio.Event()
        self._has_taken = False

    async def __aenter__(self) -> Self:
        self.call = Call(self.calls, METHODS["ChatCompletionStream"], self)
        self.call.start(STREAM_REQUEST.SerializeToString())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        if not self._is_shared:
            await self.calls.wait_for_upstreams(10)

    def headers(self, headers: Mapping[str, str]) -> None:
        pass

    def batch(self, wire: bytes, count: int) -> None:
        assert len(ids(wire)) == count
        self.messages.append(wire)
        self.call.pause()
        self._has_changed.set()

    def answer(self, wire: bytes) -> None:
        raise AssertionError("a stream has no answer in one piece")

    def end(self) -> None:
        self.has_ended = True
        self._has_changed.set()

    def failed(self, error: MistralwireError) -> None:
        self.error = error
        self._has_changed.set()

    async def take(self) -> bytes | None:
        """Return the next message, None at the end; raise the error that the stream fails with."""
        if self._has_taken:
            self._has_taken = False
            self.call.resume()
        async with asyncio.timeout(10):
            while not (self.messages or self.has_ended or self.error):
                self._has_changed.clear()
                await self._has_changed.wait()
        if self.messages:
            self._has_taken = True
            return self.messages.pop(0)
        if self.error:
            raise self.error
        return None

    async def take_all(self) -> list[bytes]:
        while (message := await self.take()) is not None:
            self.taken.append(message)
        return self.taken


def ids(message: bytes | None) -> list[int]:
    assert message is not None
    return [int(item.id) for item in ChatCompletionStreamResponse.FromString(message).chunks]


async def turn(times: int) -> None:
    """Let the event loop run this many iterations."""
    for _ in range(times):
        await asyncio.sleep(0)


async def test_a_chunk_goes_out_at_once_while_the_upstream_is_held() -> None:
    upstream = HeldUpstream()
    async with Caller(upstream) as stream:
        for number in range(3):
            upstream.items.put_nowait(chunk(number))
            assert ids(await stream.take()) == [number]


async def test_what_arrives_during_a_write_goes_out_together() -> None:
    upstream = HeldUpstream()
    async with Caller(upstream) as stream:
        upstream.items.put_nowait(chunk(0))
        assert ids(await stream.take()) == [0]

        # The caller is busy with chunk 0 until `take` is called again.
        for number in (1, 2, 3):
            upstream.items.put_nowait(chunk(number))
        await upstream.items.join()

        assert ids(await stream.take()) == [1, 2, 3]


async def test_a_message_has_a_bounded_number_of_chunks() -> None:
    async with Caller(EagerUpstream(1000)) as stream:
        messages = await stream.take_all()

    assert [len(ids(message)) for message in messages] == [256, 256, 256, 232]
    assert [number for message in messages for number in ids(message)] == list(range(1000))


async def test_a_message_has_a_bounded_number_of_bytes() -> None:
    async with Caller(EagerUpstream(7, "x" * 300_000)) as stream:
        messages = await stream.take_all()

    assert max(map(len, messages)) <= BYTES_MAX
    assert [number for message in messages for number in ids(message)] == list(range(7))


async def test_a_chunk_larger_than_the_bound_travels_alone() -> None:
    async with Caller(EagerUpstream(3, "x" * (BYTES_MAX + 1))) as stream:
        messages = await stream.take_all()

    assert [ids(message) for message in messages] == [[0], [1], [2]]


async def test_the_upstream_is_read_no_further_than_the_buffer_is_long() -> None:
    upstream = EagerUpstream(None, "x" * 100)
    size = len(encode_chunk(chunk(0, "x" * 100)))
    settings: dict[str, Any] = {"stream_message_chunks_max": 10, "stream_buffer_bytes_max": 100 * size}
    async with Caller(upstream, **settings) as stream:
        await turn(100)
        # At most what was ready with the first chunk, or one message in flight and the buffer.
        first = upstream.produced
        assert 109 <= first <= 110 + CHUNKS_MAX
        while upstream.produced == first:
            assert len(ids(await stream.take())) == 10
            await turn(10)
        for _ in range(5):
            before = upstream.produced
            assert len(ids(await stream.take())) == 10
            await turn(100)
            assert before + 9 <= upstream.produced <= before + 11

    assert upstream.closed.is_set()


@st.composite
def streams(draw: st.DrawFn) -> dict[str, Any]:
    """Return a stream: how many iterations each chunk and each write takes, and the limits."""
    waits = st.integers(0, 4)
    return {
        "chunks": draw(st.lists(st.tuples(waits, st.integers(0, 300)), max_size=60)),
        "writes": draw(st.lists(waits, min_size=1, max_size=20)),
        "error_waits": draw(st.none() | waits),
        "settings": {
            "stream_message_chunks_max": draw(st.integers(1, 20)),
            "stream_message_bytes_max": draw(st.integers(1024, 4000)),
            "stream_buffer_bytes_max": draw(st.integers(1, 4000)),
        },
    }


@given(streams())
def test_order_count_and_bounds_hold_for_any_timing(stream: dict[str, Any]) -> None:
    asyncio.run(check_stream(**stream))


async def check_stream(
    chunks: list[tuple[int, int]], writes: list[int], error_waits: int | None, settings: dict[str, Any]
) -> None:
    items = [chunk(number, "x" * length) for number, (_, length) in enumerate(chunks)]

    async def source() -> AsyncIterator[CompletionChunk]:
        for item, (wait, _) in zip(items, chunks, strict=True):
            await turn(wait)
            yield item
        if error_waits is not None:
            await turn(error_waits)
            raise UpstreamError("broken")

    received: list[CompletionChunk] = []
    error = None
    async with Caller(source(), **settings) as stream:
        try:
            while (message := await stream.take()) is not None:
                batch = list(ChatCompletionStreamResponse.FromString(message).chunks)
                assert 1 <= len(batch) <= settings["stream_message_chunks_max"]
                assert len(message) <= settings["stream_message_bytes_max"] or len(batch) == 1
                received += batch
                await turn(writes[len(received) % len(writes)])
        except UpstreamError as caught:
            error = caught

    assert received == items
    assert stream.observer.received == items
    (record,) = stream.observer.records
    assert record.chunks == len(items)
    assert (record.first_chunk_s is None) == (not items)
    assert (error is None) == (error_waits is None)


async def test_an_error_comes_after_the_chunks_before_it() -> None:
    upstream = HeldUpstream()
    async with Caller(upstream) as stream:
        upstream.items.put_nowait(chunk(0))
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(UpstreamError("broken"))
        await upstream.closed.wait()

        with pytest.raises(UpstreamError, match="broken"):
            await stream.take_all()
        assert [number for message in stream.taken for number in ids(message)] == [0, 1]


async def test_an_upstream_that_falls_silent_is_left_after_the_chunks_before() -> None:
    upstream = HeldUpstream()
    async with Caller(upstream, upstream_idle_s=0.05) as stream:
        upstream.items.put_nowait(chunk(0))
        await upstream.closed.wait()

        assert ids(await stream.take()) == [0]
        with pytest.raises(UpstreamError, match=r"the upstream was silent for 0\.05 seconds") as caught:
            await stream.take()

    assert (caught.value.code, caught.value.reason) == ("DEADLINE_EXCEEDED", "UPSTREAM_SILENT")


async def test_an_upstream_that_is_not_read_because_of_its_reader_is_not_silent() -> None:
    upstream = EagerUpstream(3, "x" * 100)
    async with Caller(upstream, stream_buffer_bytes_max=1, upstream_idle_s=0.02) as stream:
        received = []
        while (message := await stream.take()) is not None:
            received += ids(message)
            await asyncio.sleep(0.06)

    assert received == [0, 1, 2]


async def test_a_caller_who_takes_nothing_loses_his_upstream() -> None:
    upstream = EagerUpstream(None, "x" * 100)
    async with Caller(upstream, caller_idle_s=0.05) as stream:
        assert ids(await stream.take())[0] == 0
        await upstream.closed.wait()
        assert stream.error is not None
        assert stream.error.message == "the caller was silent for 0.05 seconds"
        assert (stream.error.code, stream.error.reason) == ("DEADLINE_EXCEEDED", "CALLER_SILENT")


async def test_the_slot_is_taken_before_the_first_chunk_and_given_back_with_the_last() -> None:
    upstream = HeldUpstream()
    calls = calls_of(upstream, upstream_calls_max=1, upstream_queue_max=1)
    async with Caller(upstream, calls) as stream:
        await upstream.started.wait()
        upstream.started.clear()
        async with Caller(upstream, calls) as second, Caller(upstream, calls) as too_many:
            with pytest.raises(OverloadError):
                await too_many.take()
            assert len(upstream.requests) == 1

            # The reader of the first has taken nothing; the upstream is free nevertheless.
            upstream.items.put_nowait(chunk(0))
            upstream.items.put_nowait(None)
            await upstream.started.wait()
            assert ids(await stream.take()) == [0]
            assert await stream.take() is None
            upstream.items.put_nowait(chunk(7))
            assert ids(await second.take()) == [7]


async def test_an_error_of_an_upstream_that_is_left_is_not_reported() -> None:
    started = asyncio.Event()

    async def chunks() -> AsyncIterator[CompletionChunk]:
        try:
            yield chunk(0)
            started.set()
            await asyncio.Event().wait()
        finally:
            raise UpstreamError("broken")

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    async with Caller(chunks()) as stream:
        await started.wait()
    assert stream.error is None
    del stream
    gc.collect()

    assert reports == []


async def test_leaving_closes_an_upstream_that_waits_and_one_that_is_full() -> None:
    waiting, full = HeldUpstream(), EagerUpstream(None)
    async with Caller(waiting), Caller(full):
        await waiting.started.wait()
        assert not waiting.closed.is_set()
        assert not full.closed.is_set()

    assert waiting.closed.is_set()
    assert full.closed.is_set()


async def test_a_call_that_is_stopped_loses_what_waits_and_says_why() -> None:
    upstream = HeldUpstream()
    async with Caller(upstream) as stream:
        for number in range(3):
            upstream.items.put_nowait(chunk(number))
        await upstream.items.join()
        stream.calls.stop()
        assert stream.error is not None
        assert (stream.error.code, stream.error.reason) == ("UNAVAILABLE", "SERVER_STOPPING")
        await upstream.closed.wait()


@pytest.mark.parametrize("is_over_at_once", [False, True])
async def test_a_call_that_is_left_at_once_gives_its_slot_back(is_over_at_once: bool) -> None:
    upstream = HeldUpstream()
    calls = calls_of(upstream, upstream_calls_max=1, upstream_queue_max=0)
    for _ in range(3):
        async with Caller(upstream, calls):
            if not is_over_at_once:
                await asyncio.sleep(0)
        await calls.wait_for_upstreams(10)
    async with Caller(upstream, calls) as stream:
        upstream.items.put_nowait(chunk(1))
        assert ids(await stream.take()) == [1]
    await calls.wait_for_upstreams(10)


class FailingUpstream:
    """Raises when it is asked, before there is anything to await."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def complete(self, request: CompletionRequest, context: CallContext) -> Any:
        raise self._error

    def stream(self, request: CompletionStreamRequest, context: CallContext) -> Any:
        raise self._error


class FailingAtOnce(FailingUpstream):
    """Raises when it is asked, in the callback form."""

    judges_requests = True

    def start(self, *_arguments: Any, **_more: Any) -> Any:
        raise self._error


@pytest.mark.parametrize("upstream_type", [FailingUpstream, FailingAtOnce])
async def test_an_upstream_that_fails_where_it_is_asked_ends_its_call_alone(
    upstream_type: type[FailingUpstream],
) -> None:
    calls = calls_of(upstream_type(ValueError("secret")), upstream_calls_max=1, upstream_queue_max=0)
    for _ in range(3):
        async with Caller(HeldUpstream(), calls) as stream:
            with pytest.raises(MistralwireError, match="internal error of the service") as caught:
                await stream.take()
        assert "secret" not in str(caught.value)
        await calls.wait_for_upstreams(10)
    assert not calls.running


@pytest.mark.slow
async def test_any_number_of_calls_that_wait_may_fail_one_after_the_other() -> None:
    upstream = HeldUpstream()
    routes = RoutedUpstream([Route("held", upstream, ("m",))])
    calls = calls_of(routes, upstream_calls_max=1, upstream_queue_max=1000)
    unknown = ChatCompletionStreamRequest(model="unknown", messages=MESSAGES).SerializeToString()
    async with Caller(upstream, calls) as first:
        await upstream.started.wait()
        waiting = [Caller(upstream, calls) for _ in range(1000)]
        for caller in waiting:
            caller.call = Call(calls, METHODS["ChatCompletionStream"], caller)
            caller.call.start(unknown)
        upstream.items.put_nowait(None)
        assert await first.take() is None
        await calls.wait_for_upstreams(10)
    assert {caller.error and caller.error.reason for caller in waiting} == {"MODEL_NOT_FOUND"}
    assert not calls.running


class Taking:
    """A sink that takes everything at once."""

    def __init__(self) -> None:
        self.count = 0
        self.has_ended = asyncio.Event()

    def headers(self, headers: Mapping[str, str]) -> None:
        pass

    def batch(self, wire: bytes, count: int) -> None:
        self.count += count

    def answer(self, wire: bytes) -> None:
        raise AssertionError("a stream has no answer in one piece")

    def end(self) -> None:
        self.has_ended.set()

    def failed(self, error: MistralwireError) -> None:
        raise error


async def test_an_upstream_that_never_waits_lets_others_have_their_turn() -> None:
    calls, sink = calls_of(EagerUpstream(20_000)), Taking()
    Call(calls, METHODS["ChatCompletionStream"], sink).start(STREAM_REQUEST.SerializeToString())
    turns = 0
    while not sink.has_ended.is_set():
        await asyncio.sleep(0)
        turns += 1
    assert sink.count == 20_000
    assert turns >= 20_000 // 256


async def test_an_upstream_that_does_not_mind_being_cancelled_is_iterated_no_further() -> None:
    taken, may_end = 0, asyncio.Event()

    async def chunks() -> AsyncIterator[CompletionChunk]:
        nonlocal taken
        while True:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                may_end.set()
            taken += 1
            yield chunk(taken)

    async with Caller(chunks()) as stream:
        assert await stream.take() is not None
    await may_end.wait()
    before = taken
    await asyncio.sleep(0.1)
    assert taken <= before + 1


async def test_calls_that_wait_are_stopped_before_places_become_free() -> None:
    upstream = HeldUpstream()
    calls = calls_of(upstream, upstream_calls_max=1, upstream_queue_max=10)
    async with contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(upstream, calls)) for _ in range(5)]
        await upstream.started.wait()
        calls.stop()
        await calls.wait_for_upstreams(10)
    assert len(upstream.requests) == 1
    assert {caller.error and caller.error.reason for caller in callers} == {"SERVER_STOPPING"}


class PushedUpstream:
    """A callback upstream, like one over HTTP; the test controls what arrives."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        raise NotImplementedError

    def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        raise NotImplementedError

    def start(
        self,
        request: CompletionStreamRequest,
        wire: bytes,
        context: CallContext,
        receiver: Receiver,
        *,
        contract_revision: int,
    ) -> Self:
        assert type(request).FromString(wire) == request
        assert contract_revision == CONTRACT_REVISION
        self.receiver, self.context = receiver, context
        return self

    def push(self, numbers: Sequence[int], content: str = "word") -> None:
        parts = [encode_chunk(chunk(number, content)) for number in numbers]
        self.receiver.batch(b"".join(parts), len(parts))

    def pause(self) -> None:
        self.events.append("pause")

    def resume(self) -> None:
        self.events.append("resume")

    def cancel(self) -> None:
        self.events.append("cancel")


async def test_batches_larger_than_a_message_are_cut() -> None:
    upstream = PushedUpstream()
    async with Caller(upstream, stream_message_chunks_max=3, stream_message_bytes_max=1024) as stream:  # type: ignore[arg-type]
        upstream.push(range(8))
        upstream.push([8], "x" * 2000)
        upstream.push([9, 10, 11], "x" * 500)
        upstream.receiver.end()
        found = [ids(message) for message in await stream.take_all()]
        upstream.receiver.closed()

    assert found == [[0, 1, 2], [3, 4, 5], [6, 7], [8], [9], [10], [11]]


async def test_a_full_buffer_pauses_the_source_until_there_is_room() -> None:
    upstream = PushedUpstream()
    async with Caller(upstream, stream_buffer_bytes_max=1000, stream_message_chunks_max=10) as stream:  # type: ignore[arg-type]
        upstream.push([0])
        assert ids(await stream.take()) == [0]
        upstream.push(range(1, 11), "x" * 60)
        assert upstream.events == []
        upstream.push(range(11, 21), "x" * 60)
        assert upstream.events == ["pause"]
        assert len(ids(await stream.take())) == 10
        assert upstream.events == ["pause", "resume"]
        upstream.receiver.closed()


async def test_chunks_that_the_source_writes_itself_count_for_the_idle_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, later_s = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + later_s[0])
    upstream, sink, sent = PushedUpstream(), Kept(), list[bytes]()
    writer = EventWriter(sent.append, is_chunked=False)
    channel = LocalChannel(upstream, ServerConfig(upstream_idle_s=1000))
    channel.start(
        ChatCompletionStreamRequest,
        STREAM_REQUEST.SerializeToString(),
        sink,
        timeout=10_000,
        metadata=(),
        events=writer,
    )
    assert upstream.context.events is writer
    assert not writer.is_open
    upstream.push([0])
    assert writer.is_open
    for number in range(1, 4):
        later_s[0] += 800
        writer.send(b"%d" % number, 1)
        # The timer of the first 1000 seconds, and those that follow it, compare the times.
        await turn(5)
        assert not sink.errors
    assert (sent, writer.chunks, writer.sent_bytes) == ([b"1", b"2", b"3"], 3, 3)
    later_s[0] += 1001
    await turn(5)
    assert [error.reason for error in sink.errors] == ["UPSTREAM_SILENT"]
    assert not writer.is_open
    upstream.receiver.closed()
    await channel.close()


class Kept:
    """Keeps the errors of a response."""

    def __init__(self) -> None:
        self.errors: list[MistralwireError] = []

    def headers(self, headers: Mapping[str, str]) -> None: ...

    def batch(self, wire: bytes, count: int) -> None: ...

    def answer(self, wire: bytes) -> None: ...

    def end(self) -> None: ...

    def failed(self, error: MistralwireError) -> None:
        self.errors.append(error)


class Nobody:
    """A sink that ignores everything."""

    def headers(self, headers: Mapping[str, str]) -> None:
        pass

    def batch(self, wire: bytes, count: int) -> None:
        pass

    def answer(self, wire: bytes) -> None:
        pass

    def end(self) -> None:
        pass

    def failed(self, error: MistralwireError) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    [
        lambda upstream: upstream.receiver.end(),
        lambda upstream: upstream.receiver.failed(UpstreamError("broken")),
        lambda upstream: upstream.receiver.cancel(),
    ],
    ids=["end", "failed", "cancelled"],
)
async def test_a_call_that_is_over_is_freed_without_the_garbage_collector(
    end: Callable[[PushedUpstream], None],
) -> None:
    upstream = PushedUpstream()
    calls = calls_of(upstream)
    with uncollected(Call) as left:
        Call(calls, METHODS["ChatCompletionStream"], Nobody()).start(STREAM_REQUEST.SerializeToString())
        upstream.push([0])
        end(upstream)
        upstream.receiver.closed()
        assert left() == [upstream.receiver]
        del upstream.receiver
        assert not left()


async def test_a_chunk_costs_no_turn_of_the_loop_no_task_and_no_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A chunk of a callback upstream reaches the caller before the callback returns."""
    loop = asyncio.get_running_loop()
    scheduled: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        original = getattr(loop, name)

        def note(*arguments: Any, **more: Any) -> Any:
            scheduled.append(name)
            return original(*arguments, **more)

        return note

    upstream = PushedUpstream()
    async with Caller(upstream) as stream:  # type: ignore[arg-type]
        for name in ("call_soon", "call_later", "call_at", "create_task", "create_future"):
            monkeypatch.setattr(loop, name, noting(name))
        for number in range(100):
            upstream.push([number])
            assert ids(stream.messages.pop()) == [number]
            stream.call.resume()
        monkeypatch.undo()
        upstream.receiver.end()
        upstream.receiver.closed()

    assert scheduled == []
