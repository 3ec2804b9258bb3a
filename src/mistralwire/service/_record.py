"""What is known of one call, for those who watch: the log, telemetry."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from google.protobuf.message import Message


@dataclasses.dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks that came from the upstream together.

    Attributes:
        wire: Wire bytes of a ChatCompletionStreamResponse that has them.
        count: How many there are, 1 or more.
        usage: The last usage among them, as the wire bytes of a UsageInfo; None if none has one.
        finish_reasons: Why the model stopped, as index of the choice and the API's string.
    """

    wire: bytes
    count: int
    usage: bytes | None = None
    finish_reasons: Sequence[tuple[int, str]] = ()


@dataclasses.dataclass(slots=True, kw_only=True)
class CallRecord:
    """One call of the service; what is known of it grows while it runs.

    Attributes:
        method: Name of the method, such as `ChatCompletionStream`.
        request_id: Id of the call: the caller's own, or one that was made for it. Printable ASCII
            without spaces.
        metadata: What the caller sent beside the request, as pairs of name and value. May hold secrets.
        peer: Who calls, as gRPC names it, such as `ipv4:127.0.0.1:41234`.
        started_s: When it began, in seconds of `time.perf_counter`.
        first_chunk_s: When its first chunk came from the upstream; None if there was none.
        ended_s: When it ended; None while it runs.
        request: The request, once it was read and found to keep the contract.
        response: The response of a call in one piece.
        chunks: How many chunks came from the upstream.
        code: Name of its gRPC status code.
        error: What ended it; None if it ended well, or was cancelled.
        upstream_headers: Headers of the upstream's answer that go to the caller, by names in lower case: ids
            and rate limits.
    """

    method: str
    request_id: str
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    peer: str = ""
    started_s: float = dataclasses.field(default_factory=time.perf_counter)
    first_chunk_s: float | None = None
    ended_s: float | None = None
    request: Any = None
    response: Message | None = None
    chunks: int = 0
    code: str = "OK"
    error: BaseException | None = None
    upstream_headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class CallObserver(Protocol):
    """Watches calls. All of it runs in the event loop, so it must not wait.

    What it raises is logged without its text, and goes no further: the call goes on, and of that call the
    observer then hears the end alone.
    """

    def started(self, call: CallRecord) -> None:
        """A request was read and is about to go to the upstream; runs in the context of the call.

        Context variables that are set here are there for the upstream, and in the other methods. A call whose
        request is refused has no start, only an end.
        """

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        """Chunks came from the upstream; on the hot path, in the context of the call."""

    def ended(self, call: CallRecord) -> None:
        """The call is over, however it ended; runs in the context of the call."""
