"""A stream of chunks as server-sent events."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Self

from mistralwire import _offload
from mistralwire.client import ChunkBatch
from mistralwire.codec import SseDone, encode_sse
from mistralwire.errors import CodecError
from mistralwire.gateway._errors import unwritable
from mistralwire.gateway._exchange import Exchange
from mistralwire.v1 import CompletionChunk

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    # For nginx, and those who took it over: what comes is passed on at once.
    (b"x-accel-buffering", b"no"),
)
_HEARTBEAT = b": keep-alive\n\n"
_DONE = encode_sse(SseDone())


async def send_stream(
    exchange: Exchange, batches: AsyncGenerator[ChunkBatch, None], heartbeat_s: float
) -> None:
    """Send chunks as events, each with a number as its id; those of a batch in one piece.

    Status and headers wait for the first chunk, so that an error before it is an answer of its own; but for
    no longer than a heartbeat does.

    Args:
        exchange: The request.
        batches: The chunks.
        heartbeat_s: After how much silence a comment is sent, in seconds.

    Raises:
        MistralwireError: What broke it, after the chunks before. If `exchange.status` is set, it is to be
            told as an event.
        CallerGoneError: If the caller takes nothing for too long.
    """
    async with contextlib.aclosing(batches), _Writer(exchange, heartbeat_s) as writer:
        async for batch in batches:
            exchange.first_chunk_s = exchange.first_chunk_s or exchange.elapsed_s()
            events: list[bytes] = []
            try:
                await _encode(batch, events, exchange)
            except CodecError:
                await writer.write(b"".join(events))
                raise unwritable() from None
            await writer.write(b"".join(events))
        await writer.write(_DONE, is_last=True)


async def _encode(batch: ChunkBatch, events: list[bytes], exchange: Exchange) -> None:
    """Append the events of a batch, those of a large one in several turns of the event loop."""
    is_small = len(batch.data) <= _offload.LOOP_EVENT_BYTES_MAX
    turn_bytes = 0
    for chunk in batch:
        if is_small or chunk.ByteSize() <= _offload.LOOP_EVENT_BYTES_MAX:
            event = _event(chunk, exchange.chunks)
        else:
            event = await _offload.in_thread(_event, chunk, exchange.chunks)
        events.append(event)
        exchange.chunks += 1
        turn_bytes += len(event)
        if turn_bytes > _offload.LOOP_EVENT_BYTES_MAX and not is_small:
            turn_bytes = 0
            await asyncio.sleep(0)


def _event(chunk: CompletionChunk, number: int) -> bytes:
    return encode_sse(chunk, id=number)


class _Writer:
    """Writes the stream, with a comment whenever nothing was written for some time."""

    def __init__(self, exchange: Exchange, heartbeat_s: float) -> None:
        self._exchange = exchange
        self._heartbeat_s = heartbeat_s
        self._written = self._seen = 0
        self._is_writing = False
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._heartbeat_s, self._beat)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._beating is not None:
            # Whatever comes next must not come between its bytes. It waits before it writes, not in between.
            self._beating.cancel()
            await asyncio.wait([self._beating])

    async def write(self, events: bytes, *, is_last: bool = False) -> None:
        while self._beating is not None:
            await asyncio.wait([self._beating])
        await self._send(events, is_last=is_last)
        self._written += 1

    async def _send(self, data: bytes, *, is_last: bool = False) -> None:
        self._is_writing = True
        try:
            if not self._exchange.status:
                await self._exchange.begin(200, list(_HEADERS))
            if data:
                await self._exchange.write(data, is_last=is_last)
        finally:
            self._is_writing = False

    def _beat(self) -> None:
        if self._written == self._seen and not self._is_writing:
            self._beating = self._loop.create_task(self._send(_HEARTBEAT))
            self._beating.add_done_callback(self._beaten)
        self._seen = self._written
        self._timer = self._loop.call_later(self._heartbeat_s, self._beat)

    def _beaten(self, task: "asyncio.Task[None]") -> None:
        self._beating = None
        if not task.cancelled():
            # A caller who takes nothing is cut off, which ends the stream by itself.
            task.exception()
