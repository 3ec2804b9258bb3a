"""Chunks are put together to messages, as many as are ready, within bounds."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.errors import MistralwireError, OverloadError, UpstreamError
from mistralwire.service._coalesce import CoalescedStream, StreamLimits, encode_chunk
from mistralwire.service._slots import UpstreamSlots
from mistralwire.upstream import CallContext
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk, FIMCompletionStreamResponse
from tests.service.upstreams import STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

CHUNKS_MAX = 256
BYTES_MAX = 1024 * 1024


def limits(
    chunks: int = CHUNKS_MAX,
    message: int = BYTES_MAX,
    buffer: int = BYTES_MAX,
    idle_s: float = 30,
    caller_idle_s: float = 30,
) -> StreamLimits:
    return StreamLimits(
        message_chunks_max=chunks,
        message_bytes_max=message,
        buffer_bytes_max=buffer,
        upstream_idle_s=idle_s,
        caller_idle_s=caller_idle_s,
    )


class Caller:
    """Takes messages one after the other, as the test takes them: a write lasts until the next `take`."""

    def __init__(
        self,
        source: HeldUpstream | EagerUpstream | AsyncIterator[CompletionChunk],
        limits_: StreamLimits | None = None,
        slots: UpstreamSlots | None = None,
        **arguments: Any,
    ) -> None:
        chunks = source.stream(STREAM_REQUEST, CallContext()) if hasattr(source, "stream") else source
        self.stream = CoalescedStream(
            chunks, self._write, limits_ or limits(), slots or UpstreamSlots(10, 0), **arguments
        )
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._wants_more = asyncio.Semaphore(0)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.stream.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _write(self, message: bytes) -> None:
        self._messages.put_nowait(message)
        await self._wants_more.acquire()

    async def take(self) -> bytes | None:
        """Give the next message; None at the end; raise what the stream raises."""
        if self._has_taken:
            self._wants_more.release()
        self._has_taken = True
        getting = asyncio.create_task(self._messages.get())
        await asyncio.wait([getting, self._task], return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        getting.cancel()
        self._has_taken = False
        await self._task
        return None

    async def end(self) -> None:
        """Wait for the end, without taking anything more."""
        await self._task

    _has_taken = False


def ids(message: bytes | None) -> list[int]:
    assert message is not None
    return [int(item.id) for item in ChatCompletionStreamResponse.FromString(message).chunks]


async def take_all(upstream: EagerUpstream) -> list[bytes]:
    messages = []
    async with Caller(upstream) as stream:
        while (message := await stream.take()) is not None:
            messages.append(message)
    return messages


async def turn(times: int) -> None:
    """Let everything else go on so many times."""
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.mark.parametrize("length", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_an_encoded_chunk_is_an_element_of_a_stream_response(length: int) -> None:
    item = chunk(7, "x" * length)

    assert encode_chunk(item) == ChatCompletionStreamResponse(chunks=[item]).SerializeToString()
    assert encode_chunk(item) == FIMCompletionStreamResponse(chunks=[item]).SerializeToString()


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

        # The writer is busy with chunk 0 until `take` is called again.
        for number in (1, 2, 3):
            upstream.items.put_nowait(chunk(number))
        await upstream.items.join()

        assert ids(await stream.take()) == [1, 2, 3]


async def test_a_message_has_a_bounded_number_of_chunks() -> None:
    messages = await take_all(EagerUpstream(1000))

    assert [len(ids(message)) for message in messages] == [256, 256, 256, 232]
    assert [number for message in messages for number in ids(message)] == list(range(1000))


async def test_a_message_has_a_bounded_number_of_bytes() -> None:
    messages = await take_all(EagerUpstream(7, "x" * 300_000))

    assert max(map(len, messages)) <= BYTES_MAX
    assert [number for message in messages for number in ids(message)] == list(range(7))


async def test_a_chunk_larger_than_the_bound_travels_alone() -> None:
    messages = await take_all(EagerUpstream(3, "x" * (BYTES_MAX + 1)))

    assert [ids(message) for message in messages] == [[0], [1], [2]]


async def test_the_upstream_is_read_no_further_than_the_buffer_is_long() -> None:
    upstream = EagerUpstream(None, "x" * 100)
    size = len(encode_chunk(chunk(0, "x" * 100)))
    async with Caller(upstream, limits(chunks=10, buffer=100 * size)) as stream:
        await turn(100)
        # One message in flight, and the buffer.
        assert 109 <= upstream.produced <= 111

        assert len(ids(await stream.take())) == 10
        await turn(100)
        assert 109 <= upstream.produced <= 111

        assert len(ids(await stream.take())) == 10
        await turn(100)
        assert 119 <= upstream.produced <= 121

    assert upstream.closed.is_set()


@st.composite
def streams(draw: st.DrawFn) -> dict[str, Any]:
    """Give a stream: how long each chunk and each write takes, in turns of the event loop, and the bounds."""
    waits = st.integers(0, 4)
    return {
        "chunks": draw(st.lists(st.tuples(waits, st.integers(0, 300)), max_size=60)),
        "writes": draw(st.lists(waits, min_size=1, max_size=20)),
        "error_waits": draw(st.none() | waits),
        "limits": limits(
            chunks=draw(st.integers(1, 20)),
            message=draw(st.integers(1, 2000)),
            buffer=draw(st.integers(1, 4000)),
        ),
    }


@given(streams())
def test_order_count_and_bounds_hold_for_any_timing(stream: dict[str, Any]) -> None:
    asyncio.run(check_stream(**stream))


async def check_stream(
    chunks: list[tuple[int, int]], writes: list[int], error_waits: int | None, limits: StreamLimits
) -> None:
    items = [chunk(number, "x" * length) for number, (_, length) in enumerate(chunks)]
    sizes = [len(encode_chunk(item)) for item in items]
    asked_for = taken = 0

    async def source() -> AsyncIterator[CompletionChunk]:
        nonlocal asked_for
        for item, (wait, _) in zip(items, chunks, strict=True):
            await turn(wait)
            asked_for += 1
            yield item
        if error_waits is not None:
            await turn(error_waits)
            raise UpstreamError("broken")

    received: list[CompletionChunk] = []
    error = None
    seen: list[CompletionChunk] = []
    async with Caller(source(), limits, on_chunk=seen.append) as messages:
        stream = messages.stream
        try:
            while (message := await messages.take()) is not None:
                batch = list(ChatCompletionStreamResponse.FromString(message).chunks)
                assert 1 <= len(batch) <= limits.message_chunks_max
                assert len(message) <= limits.message_bytes_max or len(batch) == 1
                received += batch
                taken += len(message)
                # Ahead: a message in flight, the buffer, the chunk that filled it, one that was asked for.
                ahead = sum(sizes[:asked_for]) - taken
                in_flight = max(limits.message_bytes_max, *sizes)
                assert ahead <= in_flight + limits.buffer_bytes_max + 2 * max(sizes)
                await turn(writes[len(received) % len(writes)])
        except UpstreamError as caught:
            error = caught

    assert received == items
    assert seen == items
    assert stream.count == len(items)
    assert (stream.first_s is None) == (not items)
    assert (error is None) == (error_waits is None)


async def test_an_error_comes_after_the_chunks_before_it() -> None:
    upstream = HeldUpstream()
    async with Caller(upstream) as stream:
        upstream.items.put_nowait(chunk(0))
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(UpstreamError("broken"))
        await upstream.closed.wait()

        assert ids(await stream.take()) == [0, 1]
        with pytest.raises(UpstreamError, match="broken"):
            await stream.take()


async def test_an_upstream_that_falls_silent_is_closed_after_the_chunks_before() -> None:
    upstream = HeldUpstream()
    async with Caller(upstream, limits(idle_s=0.05)) as stream:
        upstream.items.put_nowait(chunk(0))
        await upstream.closed.wait()

        assert ids(await stream.take()) == [0]
        with pytest.raises(UpstreamError, match=r"the upstream was silent for 0\.05 seconds") as caught:
            await stream.take()

    assert (caught.value.code, caught.value.reason) == ("DEADLINE_EXCEEDED", "UPSTREAM_SILENT")


async def test_an_upstream_that_is_not_read_because_of_its_reader_is_not_silent() -> None:
    upstream = EagerUpstream(3, "x" * 100)
    async with Caller(upstream, limits(buffer=1, idle_s=0.02)) as stream:
        received = []
        while (message := await stream.take()) is not None:
            received += ids(message)
            await asyncio.sleep(0.06)

    assert received == [0, 1, 2]


async def test_a_caller_who_takes_nothing_loses_his_upstream() -> None:
    upstream = EagerUpstream(None, "x" * 100)
    async with Caller(upstream, limits(caller_idle_s=0.05)) as stream:
        assert ids(await stream.take())[0] == 0
        await upstream.closed.wait()

        with pytest.raises(MistralwireError, match=r"the caller was silent for 0\.05 seconds") as caught:
            await stream.end()

    assert (caught.value.code, caught.value.reason) == ("DEADLINE_EXCEEDED", "CALLER_SILENT")


async def test_a_write_that_fails_ends_the_stream_at_once() -> None:
    upstream = EagerUpstream(None)

    async def write(message: bytes) -> None:
        await asyncio.sleep(0)
        raise ConnectionError("gone")

    stream = CoalescedStream(
        upstream.stream(STREAM_REQUEST, CallContext()), write, limits(), UpstreamSlots(1, 0)
    )
    with pytest.raises(ConnectionError, match="gone"):
        await stream.run()
    assert upstream.closed.is_set()


async def test_writes_that_never_wait_are_as_good_as_others() -> None:
    received: list[int] = []

    async def write(message: bytes) -> None:
        received.extend(ids(message))

    chunks = EagerUpstream(5000).stream(STREAM_REQUEST, CallContext())
    await CoalescedStream(chunks, write, limits(chunks=1), UpstreamSlots(1, 0)).run()

    assert received == list(range(5000))


async def test_the_slot_is_taken_before_the_first_chunk_and_given_back_with_the_last() -> None:
    slots = UpstreamSlots(1, 1)
    first, second, third = HeldUpstream(), HeldUpstream(), HeldUpstream()
    async with Caller(first, slots=slots) as stream:
        await first.started.wait()
        async with Caller(second, slots=slots), Caller(third, slots=slots) as too_many:
            with pytest.raises(OverloadError):
                await too_many.take()
            assert not second.started.is_set()

            # The reader of the first has not taken anything; its upstream is free all the same.
            first.items.put_nowait(chunk(0))
            first.items.put_nowait(None)
            await second.started.wait()
            assert ids(await stream.take()) == [0]
            assert await stream.take() is None

    assert not third.started.is_set()


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
    del stream
    gc.collect()

    assert reports == []


async def test_an_error_of_an_upstream_is_not_reported_though_leaving_it_was_cancelled() -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def chunks() -> AsyncIterator[CompletionChunk]:
        try:
            yield chunk(0)
            started.set()
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            raise UpstreamError("broken")

    async def write(message: bytes) -> None:
        pass

    async def send() -> None:
        await CoalescedStream(chunks(), write, limits(), UpstreamSlots(1, 0)).run()

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    sending = asyncio.create_task(send())
    await started.wait()
    for _ in range(2):
        sending.cancel()
        await turn(3)
    assert sending.cancelled()
    may_end.set()
    await turn(10)
    # It holds what it was in, the stream with its reader.
    del sending
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


async def test_an_upstream_that_takes_time_to_close_does_not_lose_the_end() -> None:
    class SlowToClose:
        """An async generator by its methods, whose end comes before its closing is done."""

        def __init__(self) -> None:
            self.numbers = iter(range(2))
            self.may_close = asyncio.Event()

        def __aiter__(self) -> AsyncIterator[CompletionChunk]:
            return self

        async def __anext__(self) -> CompletionChunk:
            for number in self.numbers:
                return chunk(number)
            raise StopAsyncIteration

        async def asend(self, value: None) -> CompletionChunk:
            raise NotImplementedError

        async def athrow(self, *error: object) -> CompletionChunk:
            raise NotImplementedError

        async def aclose(self) -> None:
            await self.may_close.wait()

    upstream = SlowToClose()
    async with Caller(upstream) as stream:
        assert ids(await stream.take()) == [0, 1]
        end = asyncio.create_task(stream.take())
        await asyncio.sleep(0)
        upstream.may_close.set()
        assert await end is None
