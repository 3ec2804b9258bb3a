"""How an answer travels by callbacks: from a source, which makes it, to a sink, which takes it.

All of it runs in one event loop. A source calls its sink from where the bytes arrived; no task, future or
timer lies between. It may call before the function that starts it has returned.
"""

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
