"""Chunks put together to messages, as many in one as are ready when it can be written."""

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

from mistralwire.codec._varint import write_varint
from mistralwire.errors import CodecError, Reason, UpstreamError
from mistralwire.service._eager import EagerCall
from mistralwire.service._idle import IdleTimer
from mistralwire.service._receive import caller_silent_error
from mistralwire.service._slots import UpstreamSlots
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk

# The tag of the field `chunks`, the same in every stream response; its wire type is 2, with a length.
_TAG = bytes([ChatCompletionStreamResponse.DESCRIPTOR.fields_by_name["chunks"].number << 3 | 2])

# The tag and the length before a chunk of so many bytes, for the lengths that nearly all chunks have.
_HEADS = tuple(_TAG + write_varint(length) for length in range(1024))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Bounds of one stream.

    Attributes:
        message_chunks_max: Chunks in one message.
        message_bytes_max: Bytes of one message, unless a single chunk is larger.
        buffer_bytes_max: Bytes of chunks that wait to be taken. When there are so many, or one chunk more,
            the upstream is read no further.
        upstream_idle_s: How long the upstream may be silent, in seconds.
        caller_idle_s: How long a write may take, in seconds.
    """

    message_chunks_max: int
    message_bytes_max: int
    buffer_bytes_max: int
    upstream_idle_s: float
    caller_idle_s: float


class CoalescedStream:
    """Sends chunks as messages: each at once if nothing is being written, else with all that come meanwhile.

    One task reads the chunks ahead, up to a bound, and encodes each once; a message is the concatenation of
    encoded chunks. So an idle stream has a chunk a message without delay, and a loaded one has full messages.
    The write is started from where the chunk arrived, so that none waits for a turn of the event loop: only
    the first chunk does, for those that are ready with it.

    Args:
        chunks: The chunks; closed at the end if they are an async generator.
        write: Writes a message.
        limits: Its bounds.
        slots: Where the upstream's slot is taken from before the first chunk is asked for. It is given back
            as soon as the chunks have ended, however long their reader takes.
        on_chunk: Called with each chunk as it arrives; None for nobody.
        prepare: Returns a chunk as it goes out; None to send it as it is.

    Attributes:
        count: How many chunks have arrived.
        first_s: When the first one arrived, in seconds of `time.perf_counter`; None if none has.
    """

    def __init__(
        self,
        chunks: AsyncIterator[CompletionChunk],
        write: Callable[[bytes], Coroutine[Any, Any, None]],
        limits: StreamLimits,
        slots: UpstreamSlots,
        *,
        on_chunk: Callable[[CompletionChunk], None] | None = None,
        prepare: Callable[[CompletionChunk], CompletionChunk] | None = None,
    ) -> None:
        self.count = 0
        self.first_s: float | None = None
        self._chunks = chunks
        self._write = write
        self._limits = limits
        self._slots = slots
        self._on_chunk = on_chunk
        self._prepare = prepare
        # Messages that can hold no more, then the elements of the one that can.
        self._full: deque[bytes] = deque()
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._buffered_bytes = 0
        self._is_silent = False
        self._has_ended = False
        self._has_room = asyncio.Event()
        # The write in flight, and whether there is one, or one is due.
        self._writing: EagerCall | None = None
        self._is_busy = False
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._caller = IdleTimer(limits.caller_idle_s, self._give_up_caller)

    async def run(self) -> None:
        """Read and write everything.

        Raises:
            UpstreamError: If the chunks were silent for too long, with the reason UPSTREAM_SILENT.
            OverloadError: If there is no slot of the upstream for this call.
            MistralwireError: If a write took too long, with the reason CALLER_SILENT.
            Exception: What the chunks raised. This and the first two come after all messages before; or what
                `write` raised, at once.
        """
        reader = self._reader = asyncio.create_task(self._read())
        for future in (reader, self._finished):
            future.add_done_callback(_retrieve)
        try:
            with self._caller:
                await self._finished
            await reader
        finally:
            self._finished.cancel()
            if self._writing is not None:
                self._writing.cancel()
            reader.cancel()
            await asyncio.wait([reader])

    async def _read(self) -> None:
        try:
            async with self._slots:
                with IdleTimer(self._limits.upstream_idle_s, self._give_up_upstream) as idle:
                    await self._read_chunks(idle)
        except BaseException as error:  # noqa: BLE001 - it is raised as what it is for the call
            # Whatever the chunks make of being cancelled.
            self._blame_silence()
            raise of_upstream(error) from None
        else:
            self._blame_silence()
        finally:
            self._has_ended = True
            if not self._is_busy:
                self._pump()

    async def _read_chunks(self, idle: IdleTimer) -> None:
        limits = self._limits
        try:
            idle.wait()
            async for chunk in self._chunks:
                if type(chunk) is not CompletionChunk:
                    raise TypeError(f"expected a CompletionChunk, not a {type(chunk).__name__}")
                if self._on_chunk is not None:
                    self._on_chunk(chunk)
                self.count += 1
                part = encode_chunk(chunk if self._prepare is None else self._prepare(chunk))
                size = len(part)
                if self._parts and (
                    len(self._parts) >= limits.message_chunks_max
                    or self._parts_bytes + size > limits.message_bytes_max
                ):
                    self._seal()
                self._parts.append(part)
                self._parts_bytes += size
                self._buffered_bytes += size
                if not self._is_busy:
                    self._begin()
                if self._buffered_bytes >= limits.buffer_bytes_max:
                    idle.rest()
                    await self._wait_for_room()
                idle.wait()
        finally:
            idle.rest()
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()

    def _begin(self) -> None:
        """Write the chunk that has just come; the first one with those that are ready now."""
        if self.first_s is None:
            self.first_s = time.perf_counter()
            self._is_busy = True
            asyncio.get_running_loop().call_soon(self._pump)
        else:
            self._pump()

    async def _wait_for_room(self) -> None:
        while self._buffered_bytes >= self._limits.buffer_bytes_max:
            self._has_room.clear()
            await self._has_room.wait()

    def _pump(self) -> None:
        """Write the next message; if there is none, and none will come, finish."""
        while not self._finished.done():
            if not self._full:
                if not self._parts:
                    self._is_busy = False
                    if self._has_ended:
                        self._finished.set_result(None)
                    return
                self._seal()
            message = self._full.popleft()
            self._buffered_bytes -= len(message)
            self._has_room.set()
            self._is_busy = True
            self._caller.wait()
            self._writing = EagerCall(self._write(message), self._go_on)
            try:
                if not self._writing.start():
                    return
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is handed on
                self._fail(error)
            self._caller.rest()

    def _go_on(self, error: BaseException | None) -> None:
        """Go on after a write that took its time."""
        self._caller.rest()
        if error is None:
            self._pump()
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._finished.done():
            self._finished.set_exception(error)

    def _seal(self) -> None:
        """Let the message that is being filled be a full one."""
        self._full.append(b"".join(self._parts))
        self._parts.clear()
        self._parts_bytes = 0

    def _blame_silence(self) -> None:
        if self._is_silent:
            raise silent_error(self._limits.upstream_idle_s) from None

    def _give_up_upstream(self) -> None:
        self._is_silent = True
        self._reader.cancel()

    def _give_up_caller(self) -> None:
        self._fail(caller_silent_error(self._limits.caller_idle_s))


def _retrieve(future: asyncio.Future[None]) -> None:
    """Take the error of a future: one that nobody else takes, because the call is over, is nobody's."""
    if not future.cancelled():
        future.exception()


def encode_chunk(chunk: CompletionChunk) -> bytes:
    """Give the wire bytes of a chunk as one element of a stream response: its tag, its length, itself.

    Source: https://protobuf.dev/programming-guides/encoding/#length-types
    """
    data = chunk.SerializeToString()
    length = len(data)
    head = _HEADS[length] if length < len(_HEADS) else _TAG + write_varint(length)
    return head + data


def silent_error(limit_s: float) -> UpstreamError:
    """Give the error of an upstream that was silent for too long."""
    message = f"the upstream was silent for {limit_s:g} seconds"
    return UpstreamError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_SILENT)


def of_upstream(error: BaseException) -> BaseException:
    """Give what an error of an upstream is for its call.

    An answer that can't be read is the upstream's fault: as an error of the codec it would be the caller's.
    What is neither an Exception nor asyncio's or the interpreter's own would end a task, and not the call.
    """
    if isinstance(error, CodecError):
        message = "the answer of the upstream could not be read"
        return UpstreamError(message, code="INTERNAL", reason=Reason.UPSTREAM_UNREADABLE)
    if isinstance(error, Exception | asyncio.CancelledError | KeyboardInterrupt | SystemExit):
        return error
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
