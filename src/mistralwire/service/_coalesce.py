"""Chunks put together to messages, as many in one as are ready when it can be written."""

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Self

from mistralwire.codec._varint import write_varint
from mistralwire.errors import UpstreamError
from mistralwire.service._idle import IdleTimer
from mistralwire.service._slots import UpstreamSlots
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk

UPSTREAM_SILENT = "UPSTREAM_SILENT"

# The tag of the field `chunks`, the same in every stream response; its wire type is 2, with a length.
_TAG = bytes([ChatCompletionStreamResponse.DESCRIPTOR.fields_by_name["chunks"].number << 3 | 2])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Bounds of one stream.

    Attributes:
        message_chunks_max: Chunks in one message.
        message_bytes_max: Bytes of one message, unless a single chunk is larger.
        buffer_bytes_max: Bytes of chunks that wait to be taken. When there are so many, or one chunk more,
            the upstream is read no further.
        upstream_idle_s: How long the upstream may be silent, in seconds.
    """

    message_chunks_max: int
    message_bytes_max: int
    buffer_bytes_max: int
    upstream_idle_s: float


class CoalescedStream:
    """Reads chunks ahead while a message is being written, up to a bound.

    One task reads the chunks, and encodes each once; `take` gives away what is there, as soon as there is a
    chunk: the concatenation of encoded chunks. So an idle stream has a chunk a message without delay, and a
    loaded one has full messages.

    As a context manager it stops reading, and closes the chunks if they are an async generator.

    Args:
        chunks: The chunks.
        limits: Its bounds.
        slots: Where the upstream's slot is taken from before the first chunk is asked for. It is given back
            as soon as the chunks have ended, however long their reader takes.
        on_chunk: Called with each chunk as it arrives; None for nobody.

    Attributes:
        count: How many chunks have arrived.
        first_s: When the first one arrived, in seconds of `time.perf_counter`; None if none has.
    """

    def __init__(
        self,
        chunks: AsyncIterator[CompletionChunk],
        limits: StreamLimits,
        slots: UpstreamSlots,
        on_chunk: Callable[[CompletionChunk], None] | None = None,
    ) -> None:
        self.count = 0
        self.first_s: float | None = None
        self._chunks = chunks
        self._limits = limits
        self._slots = slots
        self._on_chunk = on_chunk
        # Messages that can hold no more, then the elements of the one that can.
        self._full: deque[bytes] = deque()
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._buffered_bytes = 0
        self._is_silent = False
        self._has_ended = False
        self._has_more = asyncio.Event()
        self._has_room = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start to read."""
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(_retrieve)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop to read."""
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def take(self) -> bytes | None:
        """Wait for the next message.

        Returns:
            Its wire bytes, or None at the end.

        Raises:
            UpstreamError: If the chunks were silent for too long, with the reason UPSTREAM_SILENT.
            OverloadError: If there is no slot of the upstream for this call.
            Exception: What the chunks raised. Each of these comes after all messages before it.
        """
        await self._has_more.wait()
        if not self._full:
            if not self._parts:
                await self._reader
                return None
            self._seal()
        message = self._full.popleft()
        self._buffered_bytes -= len(message)
        self._has_room.set()
        if not self._buffered_bytes and not self._has_ended:
            self._has_more.clear()
        return message

    async def _read(self) -> None:
        try:
            async with self._slots:
                with IdleTimer(self._limits.upstream_idle_s, self._give_up) as idle:
                    await self._read_chunks(idle)
        except (Exception, asyncio.CancelledError):
            # Whatever the chunks make of being cancelled.
            if self._is_silent:
                raise silent_error(self._limits.upstream_idle_s) from None
            raise
        finally:
            self._has_ended = True
            self._has_more.set()

    async def _read_chunks(self, idle: IdleTimer) -> None:
        limits = self._limits
        try:
            idle.wait()
            async for chunk in self._chunks:
                if self._on_chunk is not None:
                    self._on_chunk(chunk)
                if not self.count:
                    self.first_s = time.perf_counter()
                self.count += 1
                part = encode_chunk(chunk)
                size = len(part)
                if self._parts and (
                    len(self._parts) >= limits.message_chunks_max
                    or self._parts_bytes + size > limits.message_bytes_max
                ):
                    self._seal()
                self._parts.append(part)
                self._parts_bytes += size
                self._buffered_bytes += size
                self._has_more.set()
                if self._buffered_bytes >= limits.buffer_bytes_max:
                    idle.rest()
                    await self._wait_for_room()
                idle.wait()
        finally:
            idle.rest()
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()

    async def _wait_for_room(self) -> None:
        while self._buffered_bytes >= self._limits.buffer_bytes_max:
            self._has_room.clear()
            await self._has_room.wait()

    def _seal(self) -> None:
        """Let the message that is being filled be a full one."""
        self._full.append(b"".join(self._parts))
        self._parts.clear()
        self._parts_bytes = 0

    def _give_up(self) -> None:
        self._is_silent = True
        self._reader.cancel()


def _retrieve(reader: asyncio.Task[None]) -> None:
    """Take the error of a reader: one that nobody else takes, because the call is over, is nobody's."""
    if not reader.cancelled():
        reader.exception()


def encode_chunk(chunk: CompletionChunk) -> bytes:
    """Give the wire bytes of a chunk as one element of a stream response: its tag, its length, itself.

    Source: https://protobuf.dev/programming-guides/encoding/#length-types
    """
    data = chunk.SerializeToString()
    return _TAG + write_varint(len(data)) + data


def silent_error(limit_s: float) -> UpstreamError:
    """Give the error of an upstream that was silent for too long."""
    return UpstreamError(
        f"the upstream was silent for {limit_s:g} seconds", code="DEADLINE_EXCEEDED", reason=UPSTREAM_SILENT
    )
