"""How an answer travels by callbacks: from a source, which makes it, to a sink, which takes it.

All of it runs in one event loop. A source calls its sink from where the bytes arrived; no task, future or
timer lies between. It may call before the function that starts it has returned.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from mistralwire.errors import MistralwireError


class EventWriter:
    """Writes chunks to a caller as server-sent events, past the sinks between the source and the caller.

    A sink that sends nothing but events offers one. It is open while the source may use it: all chunks before
    have been sent, the caller keeps up, and nobody else wants to see chunks. It spares a chunk that travels
    alone most of its functions.

    Args:
        write: Takes the bytes of events; it may close the writer.
        is_chunked: Whether they are to be chunks of HTTP's chunked coding.

    Attributes:
        is_chunked: As above.
        is_open: Whether a source may use it now; the call decides.
        chunks: How many chunks were sent, here or by the sink: the id of the next event.
        sent_bytes: How many bytes were sent here.
        sent_s: When something was sent here last, in seconds of `time.monotonic`; minus infinity before.
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
        """Send chunks.

        Args:
            events: Their events, of which the first has the id `chunks`; chunked if that is wanted.
            count: How many there are.
        """
        self.sent_s = self._time()
        self.chunks += count
        self.sent_bytes += len(events)
        self._write(events)


class Source(Protocol):
    """What an answer comes from."""

    def pause(self) -> None:
        """Make no more until `resume`; what is on its way still comes."""

    def resume(self) -> None:
        """Go on."""

    def cancel(self) -> None:
        """End, without another call to the sink. Has no effect on a source that has ended."""


class Sink(Protocol):
    """What takes an answer: batches of chunks and then `end`, or one `answer`.

    `headers` comes before either, if there are any; `end`, `answer` and `failed` come once, as the last call.
    """

    def headers(self, headers: Mapping[str, str]) -> None:
        """Take the headers of the upstream's answer that go to the caller: ids and rate limits.

        Args:
            headers: The headers, by names in lower case; one or more.
        """

    def batch(self, wire: bytes, count: int) -> None:
        """Take chunks.

        Args:
            wire: Wire bytes of a stream response whose field `chunks` holds them.
            count: How many there are, 1 or more.
        """

    def answer(self, wire: bytes) -> None:
        """Take an answer in one piece, as the wire bytes of its message."""

    def end(self) -> None:
        """The stream is complete."""

    def failed(self, error: MistralwireError) -> None:
        """The answer failed, after the batches before."""


class WireQueue:
    """Wire bytes that come by callbacks, and wait for a task; the source is paused while too many wait.

    All bytes that wait are taken at once: those of messages in a row are a message with the chunks of all.
    """

    # In bytes.
    _WAITING_MAX = 256 * 1024

    def __init__(self) -> None:
        self._wires: list[bytes] = []
        self._size = 0
        self._is_paused = self._has_ended = False
        self._error: BaseException | None = None
        self._has_changed = asyncio.Event()
        self._source: Source | None = None

    def attach(self, source: Source) -> None:
        """Note the source, once it is there; it may have called before."""
        self._source = source
        if self._is_paused:
            source.pause()

    def put(self, wire: bytes) -> None:
        """Let bytes wait."""
        self._wires.append(wire)
        self._size += len(wire)
        self._has_changed.set()
        if self._size >= self._WAITING_MAX and not self._is_paused:
            self._is_paused = True
            if self._source is not None:
                self._source.pause()

    def end(self, error: BaseException | None = None) -> None:
        """End behind what waits; the first end counts.

        Args:
            error: What `take` raises then; None for a proper end.
        """
        if not self._has_ended:
            self._has_ended, self._error = True, error
            self._has_changed.set()

    def cancel(self) -> None:
        """Leave the source. Whoever waits is cancelled, unless the end has come."""
        if self._source is not None:
            self._source.cancel()
        self.end(asyncio.CancelledError())

    async def take(self) -> bytes | None:
        """Return what waits, as soon as anything does; None at the end."""
        while not self._wires:
            if self._error is not None:
                raise self._error
            if self._has_ended:
                return None
            self._has_changed.clear()
            await self._has_changed.wait()
        wires, self._wires = self._wires, []
        self._size = 0
        if self._is_paused:
            self._is_paused = False
            if self._source is not None:
                self._source.resume()
        return wires[0] if len(wires) == 1 else b"".join(wires)
