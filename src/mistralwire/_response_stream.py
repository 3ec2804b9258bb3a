"""Responses by callbacks: a source makes a response, and calls the sink that takes it.

All of it runs in one event loop. A source calls its sink from where the bytes arrived, with no task, future
or timer between them. It may call before the function that starts it has returned.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from mistralwire._protobuf import write_varint
from mistralwire.errors import MistralwireError

# Of the field `first_sequence` of every stream response.
_SEQUENCE_TAG = b"\x10"


class EventWriter:
    """Writes chunks to a caller as server-sent events, bypassing the sinks between the source and the caller.

    A sink that sends nothing but events offers one. It is open while the source may use it: all earlier
    chunks have been sent, the caller keeps up, and no observer wants to see chunks. A chunk that travels
    alone skips most function calls this way.

    `write` takes the bytes of events; it may close the writer.

    Attributes:
        is_chunked: Whether the events need HTTP's chunked transfer coding.
        is_open: Whether a source may use it now; the call decides.
        chunks: Chunks sent so far, here or by the sink: the id of the next event.
        sent_bytes: Bytes sent here.
        sent_s: When something was last sent here, in seconds of `time.monotonic`; minus infinity before.
    """

    __slots__ = ("_time", "_write", "chunks", "is_chunked", "is_open", "sent_bytes", "sent_s")

    def __init__(self, write: Callable[[bytes], object], *, is_chunked: bool) -> None:
        self._write = write
        self._time = time.monotonic
        self.is_chunked = is_chunked
        self.is_open = False
        self.chunks = self.sent_bytes = 0
        self.sent_s = -math.inf

    def send(self, events: bytes, count: int) -> None:
        """Send the events of chunks, the first with the id `chunks`, and chunked if that is needed."""
        self.sent_s = self._time()
        self.chunks += count
        self.sent_bytes += len(events)
        self._write(events)


class Source(Protocol):
    """The origin of a response, as its sink sees it."""

    def pause(self) -> None:
        """Stop reading until `resume`; what is under way still arrives."""

    def resume(self) -> None: ...

    def cancel(self) -> None:
        """End, without another call to the sink. No effect on a source that has ended."""


class CallSource(Source, Protocol):
    """A call of the service, as the sink of its response sees it."""

    def abort(self, error: MistralwireError) -> None:
        """Fail with an error of the sink's own, which `failed` gets too: the caller has not cancelled it.

        No effect on a call that has ended.
        """


class Sink(Protocol):
    """The receiver of a response: of batches of chunks and then `end`, or of one `answer`.

    `headers` comes before either, if there are any; one of `end`, `answer` and `failed` is the last call.
    """

    def headers(self, headers: Mapping[str, str]) -> None:
        """Receive the upstream's headers that go to the caller, by names in lower case: one or more."""

    def batch(self, wire: bytes, count: int) -> None:
        """Receive chunks, one or more: the field `chunks` of a stream response, as wire bytes."""

    def answer(self, wire: bytes) -> None:
        """Receive a unary response, as the wire bytes of its message."""

    def end(self) -> None: ...

    def failed(self, error: MistralwireError) -> None:
        """Receive the error that ends the response, behind the batches before it."""


def with_sequence(wire: bytes, first: int) -> bytes:
    """Return a message of a stream with its `first_sequence`: the position of its first chunk, from 1."""
    return b"".join((wire, _SEQUENCE_TAG, write_varint(first)))


class WireQueue:
    """Buffers wire bytes between callbacks and a task; the source is paused while the buffer is full.

    All buffered bytes are taken at once: those of consecutive messages are one message with all their chunks.
    """

    _BUFFER_BYTES_MAX = 256 * 1024

    def __init__(self) -> None:
        self._wires: list[bytes] = []
        self._size = 0
        self._is_paused = self._has_ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._source: Source | None = None

    def attach(self, source: Source) -> None:
        """Set the source, which may have called before."""
        if self._has_ended:
            return
        self._source = source
        if self._is_paused:
            source.pause()

    def put(self, wire: bytes) -> None:
        self._wires.append(wire)
        self._size += len(wire)
        self._wake()
        if self._size >= self._BUFFER_BYTES_MAX and not self._is_paused:
            self._is_paused = True
            if self._source is not None:
                self._source.pause()

    def end(self, error: BaseException | None = None) -> None:
        """End behind the buffered bytes, with an error that `take` then raises; the first end counts."""
        if not self._has_ended:
            self._has_ended, self._error = True, error
            # No reference cycle is left: calls are freed without the garbage collector.
            self._source = None
            self._wake()

    def cancel(self) -> None:
        """Cancel the source, and whoever waits in `take`, unless the end has come."""
        if self._source is not None:
            self._source.cancel()
        self.end(asyncio.CancelledError())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> bytes | None:
        """Return the buffered bytes as soon as there are any; None at the end. Only one task may wait."""
        while not self._wires:
            if self._error is not None:
                raise self._error
            if self._has_ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        wires, self._wires = self._wires, []
        self._size = 0
        if self._is_paused:
            self._is_paused = False
            if self._source is not None:
                self._source.resume()
        return wires[0] if len(wires) == 1 else b"".join(wires)
