"""How an answer travels by callbacks: from a source, which makes it, to a sink, which takes it.

All of it runs in one event loop. A source calls its sink from where the bytes arrived; no task, future or
timer lies between. It may call before the function that starts it has returned.
"""

from collections.abc import Mapping
from typing import Protocol

from mistralwire.errors import MistralwireError


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
