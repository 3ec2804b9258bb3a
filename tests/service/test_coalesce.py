"""Chunks are put together to messages, as many as are ready, within bounds."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mistralwire.errors import UpstreamError
from mistralwire.service import _coalesce
from mistralwire.service._coalesce import StreamLimits, encode_chunk
from mistralwire.service._slots import UpstreamSlots
from mistralwire.upstream import CallContext
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk, FIMCompletionStreamResponse
from tests.service.upstreams import STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

CONTEXT = CallContext()
MESSAGE_CHUNKS_MAX = 256
MESSAGE_BYTES_MAX = 1024 * 1024


def CoalescedStream(chunks: AsyncIterator[CompletionChunk]) -> _coalesce.CoalescedStream:
    limits = StreamLimits(
        message_chunks_max=MESSAGE_CHUNKS_MAX,
        message_bytes_max=MESSAGE_BYTES_MAX,
        buffer_bytes_max=MESSAGE_BYTES_MAX,
        upstream_idle_s=30,
    )
    return _coalesce.CoalescedStream(chunks, limits, UpstreamSlots(10, 0))


def ids(message: bytes | None) -> list[int]:
    assert message is not None
    return [int(item.id) for item in ChatCompletionStreamResponse.FromString(message).chunks]


async def take_all(upstream: EagerUpstream) -> list[bytes]:
    messages = []
    async with CoalescedStream(upstream.stream(STREAM_REQUEST, CONTEXT)) as stream:
        while (message := await stream.take()) is not None:
            messages.append(message)
    return messages


@pytest.mark.parametrize("length", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_an_encoded_chunk_is_an_element_of_a_stream_response(length: int) -> None:
    item = chunk(7, "x" * length)

    assert encode_chunk(item) == ChatCompletionStreamResponse(chunks=[item]).SerializeToString()
    assert encode_chunk(item) == FIMCompletionStreamResponse(chunks=[item]).SerializeToString()


async def test_a_chunk_goes_out_at_once_while_the_upstream_is_held() -> None:
    upstream = HeldUpstream()
    async with CoalescedStream(upstream.stream(STREAM_REQUEST, CONTEXT)) as stream:
        for number in range(3):
            upstream.items.put_nowait(chunk(number))
            assert ids(await stream.take()) == [number]


async def test_what_arrives_during_a_write_goes_out_together() -> None:
    upstream = HeldUpstream()
    async with CoalescedStream(upstream.stream(STREAM_REQUEST, CONTEXT)) as stream:
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

    assert [len(ids(message)) for message in messages] == [3, 3, 1]
    assert max(map(len, messages)) <= MESSAGE_BYTES_MAX


async def test_a_chunk_larger_than_the_bound_travels_alone() -> None:
    messages = await take_all(EagerUpstream(3, "x" * (MESSAGE_BYTES_MAX + 1)))

    assert [ids(message) for message in messages] == [[0], [1], [2]]


async def test_the_upstream_is_read_no_further_than_one_message_ahead() -> None:
    upstream = EagerUpstream(None)
    async with CoalescedStream(upstream.stream(STREAM_REQUEST, CONTEXT)) as stream:
        for _ in range(100):
            await asyncio.sleep(0)
        assert upstream.produced == MESSAGE_CHUNKS_MAX + 1

        assert len(ids(await stream.take())) == MESSAGE_CHUNKS_MAX
        for _ in range(100):
            await asyncio.sleep(0)
        assert upstream.produced == 2 * MESSAGE_CHUNKS_MAX + 1

    assert upstream.closed.is_set()


async def test_an_error_comes_after_the_chunks_before_it() -> None:
    upstream = HeldUpstream()
    async with CoalescedStream(upstream.stream(STREAM_REQUEST, CONTEXT)) as stream:
        upstream.items.put_nowait(chunk(0))
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(UpstreamError("broken"))
        await upstream.closed.wait()

        assert ids(await stream.take()) == [0, 1]
        with pytest.raises(UpstreamError, match="broken"):
            await stream.take()


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
    async with CoalescedStream(chunks()) as stream:
        await started.wait()
    del stream
    gc.collect()

    assert reports == []


async def test_leaving_closes_an_upstream_that_waits_and_one_that_is_full() -> None:
    waiting, full = HeldUpstream(), EagerUpstream(None)
    async with (
        CoalescedStream(waiting.stream(STREAM_REQUEST, CONTEXT)),
        CoalescedStream(full.stream(STREAM_REQUEST, CONTEXT)),
    ):
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
    async with CoalescedStream(upstream) as stream:
        assert ids(await stream.take()) == [0, 1]
        end = asyncio.create_task(stream.take())
        await asyncio.sleep(0)
        upstream.may_close.set()
        assert await end is None
