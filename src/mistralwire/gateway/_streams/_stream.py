"""Durable streams as they are stored: their state, their offsets, and what may be appended to them.

ForkSource: https://github.com/durable-streams/durable-streams/blob/main/PROTOCOL.md
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from mistralwire.errors import Reason
from mistralwire.gateway._errors import HttpError
from mistralwire.log import StoredResponse
from mistralwire.v1 import ResponseState

JSON = "application/json"
"""The media type of streams of JSON messages."""

OFFSET_START = "-1"
"""The offset before the first message."""

# The first half is for servers that keep a stream in several files.
_OFFSET = re.compile("0{16}_([0-9]{16})")
_PRODUCERS_MAX = 1000
# Seconds after which a producer makes room for others.
_PRODUCER_IDLE_S = 7 * 24 * 3600
# Reads renew a stream's time to live, but its last use is stored only so many times in that time.
_RENEWALS = 20


class StreamError(HttpError):
    """A request for a stream that is refused, with headers of the protocol that say more."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        reason: str = "INVALID_ARGUMENT",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, reason=reason)
        self.headers = headers or {}


class Producer(NamedTuple):
    """A request of an idempotent producer: its number in the epoch, from 0."""

    id: str
    epoch: int
    seq: int


class ProducerState(NamedTuple):
    """The last request of a producer that was stored."""

    epoch: int
    seq: int
    used_s: int


class Segment(NamedTuple):
    """Messages that a fork has in common with its source, in the log of that stream.

    Attributes:
        id: The stream, in the log.
        base: The stream's messages before the first one of its log.
        last: The last message that the fork inherits.
    """

    id: str
    base: int
    last: int


class ForkSource(NamedTuple):
    """What a stream was forked from: a stream in the log, and the position."""

    id: str
    offset: int
    sub_offset: int


class Fork(NamedTuple):
    """A fork as its source knows it: the stream in the log, its token, and when its creation began."""

    id: str
    token: str
    began_s: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """What the log stores for a stream beside its messages.

    Attributes:
        content_type: The type of its messages.
        token: Tells it from earlier streams of the same name.
        used_s: When it was last read or written, as far as that is stored, in seconds since 1970.
        ttl_s: Seconds without use after which it expires.
        expires_at: When it expires, as its creator wrote it.
        deadline_s: The same, in seconds since 1970.
        is_ready: Whether its first messages are stored.
        is_gone: Whether it was deleted, and is kept for its forks.
        source: What it was forked from.
        segments: The messages that it inherits.
        forks: Its forks; one whose creation a crash has ended may be among them.
        producers: The idempotent producers.
        closed_by: The request that closed it.
        writer_seq: The last Stream-Seq.
    """

    content_type: str
    token: str
    used_s: float
    ttl_s: int | None = None
    expires_at: str | None = None
    deadline_s: float | None = None
    is_ready: bool = True
    is_gone: bool = False
    source: ForkSource | None = None
    segments: tuple[Segment, ...] = ()
    forks: tuple[Fork, ...] = ()
    producers: Mapping[str, ProducerState] = dataclasses.field(default_factory=dict)
    closed_by: Producer | None = None
    writer_seq: str | None = None

    def encode(self) -> bytes:
        # orjson leaves named tuples to `default`.
        return orjson.dumps(self, default=tuple)

    @classmethod
    def decode(cls, state: bytes) -> "StreamState":
        found = orjson.loads(state)
        found["segments"] = tuple(Segment(*each) for each in found["segments"])
        found["forks"] = tuple(Fork(*each) for each in found["forks"])
        found["producers"] = {id_: ProducerState(*each) for id_, each in found["producers"].items()}
        found["source"] = found["source"] and ForkSource(*found["source"])
        found["closed_by"] = found["closed_by"] and Producer(*found["closed_by"])
        return cls(**found)

    @property
    def base(self) -> int:
        """The messages that it inherits."""
        return self.segments[-1].last if self.segments else 0

    def is_expired(self, now_s: float) -> bool:
        """Check whether it has expired; by its time to live never too early, and up to a twentieth late."""
        if self.deadline_s is not None and now_s >= self.deadline_s:
            return True
        return self.ttl_s is not None and now_s > self.used_s + self.ttl_s * (1 + 1 / _RENEWALS)

    def wants_renewal(self, now_s: float) -> bool:
        """Check whether a read now is worth storing."""
        return self.ttl_s is not None and now_s > self.used_s + self.ttl_s / _RENEWALS


@dataclasses.dataclass(frozen=True, slots=True)
class StoredStream:
    """A stream as it is in the log."""

    record: StoredResponse
    state: StreamState

    @property
    def tail(self) -> int:
        """Number of its last message."""
        return self.state.base + self.record.last

    @property
    def is_closed(self) -> bool:
        return self.record.response_state == ResponseState.RESPONSE_STATE_FINISHED

    def segments(self) -> tuple[Segment, ...]:
        """Return where all its messages are."""
        return (*self.state.segments, Segment(self.record.id, self.state.base, self.tail))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Appending:
    """A request to append to a stream, or to close it.

    Attributes:
        media_type: The type of the messages; empty if there are none.
        contents: The messages.
        is_closing: Whether they are the last ones.
        writer_seq: The Stream-Seq.
        producer: The idempotent producer.
    """

    media_type: str
    contents: list[bytes]
    is_closing: bool
    writer_seq: str | None
    producer: Producer | None


def media_type_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def offset_of(position: int) -> str:
    """Return the offset behind a message: 16 digits, an underscore, and its number in 16 digits."""
    return f"{0:016d}_{position:016d}"


def parse_offset(text: str, name: str) -> int:
    """Parse an offset that is not `now`; the name is for the error.

    Raises:
        StreamError: If it is malformed (400).
    """
    if text == OFFSET_START:
        return 0
    if match := _OFFSET.fullmatch(text):
        return int(match[1])
    raise StreamError(400, f"expected an offset of this server, or {OFFSET_START}, as {name}, found another")


def state_after(found: StoredStream, request: Appending, now_s: float) -> StreamState | None:
    """Return the state after an append; None if the stream has all of it already.

    Raises:
        StreamError: If the stream does not take it: it is closed (409), of another type (409), or ahead of
            the request (409); the producer's epoch is over (403), or a new one does not begin with 0 (400).
    """
    state, producer = found.state, request.producer
    if found.is_closed:
        is_repeated = producer is not None and producer == state.closed_by
        if is_repeated or (request.is_closing and producer is None and not request.contents):
            return None
        headers = {"stream-closed": "true", "stream-next-offset": offset_of(found.tail)}
        message = "expected an open stream, found a closed one: it takes no further messages"
        raise StreamError(409, message, reason=Reason.RESPONSE_ENDED, headers=headers)
    if request.contents and request.media_type != media_type_of(state.content_type):
        message = f"expected messages of the type of the stream, {media_type_of(state.content_type)}"
        raise StreamError(409, f"{message}, found another type")
    producers = state.producers
    if producer is not None:
        if _is_known(producer, producers.get(producer.id)):
            return None
        producers = _with_producer(producers, producer, now_s)
    if (
        request.writer_seq is not None
        and state.writer_seq is not None
        and request.writer_seq.encode("latin-1") <= state.writer_seq.encode("latin-1")
    ):
        message = "expected a Stream-Seq above the last one of the stream, in the order of bytes"
        raise StreamError(409, f"{message}, found one that is not", reason=Reason.SEQUENCE_GAP)
    return dataclasses.replace(
        state,
        used_s=now_s,
        producers=producers,
        closed_by=producer if request.is_closing else None,
        writer_seq=state.writer_seq if request.writer_seq is None else request.writer_seq,
    )


def _is_known(producer: Producer, known: ProducerState | None) -> bool:
    """Check whether a request of a producer was stored; see `state_after` for the errors."""
    epoch, last = (producer.epoch, -1) if known is None else (known.epoch, known.seq)
    if producer.epoch < epoch:
        raise StreamError(
            403,
            f"expected the producer's epoch {epoch} or a later one, found {producer.epoch}",
            reason=Reason.STALE_EPOCH,
            headers={"producer-epoch": str(epoch)},
        )
    if producer.epoch > epoch:
        if producer.seq:
            raise StreamError(400, f"expected Producer-Seq 0 in a new epoch, found {producer.seq}")
        return False
    if producer.seq > last + 1:
        headers = {"producer-expected-seq": str(last + 1), "producer-received-seq": str(producer.seq)}
        message = f"expected Producer-Seq {last + 1} next, found {producer.seq}; send what is missing first"
        raise StreamError(409, message, reason=Reason.SEQUENCE_GAP, headers=headers)
    return producer.seq <= last


def _with_producer(
    producers: Mapping[str, ProducerState], producer: Producer, now_s: float
) -> Mapping[str, ProducerState]:
    if producer.id not in producers and len(producers) >= _PRODUCERS_MAX:
        producers = {id_: each for id_, each in producers.items() if now_s - each.used_s <= _PRODUCER_IDLE_S}
        if len(producers) >= _PRODUCERS_MAX:
            message = f"expected at most {_PRODUCERS_MAX} producers of a stream within 7 days, found another"
            raise StreamError(429, f"{message}; reuse a Producer-Id with a new epoch")
    return {**producers, producer.id: ProducerState(producer.epoch, producer.seq, int(now_s))}
