"""Server-sent events to batches of chunks in wire bytes and back, for programs that only forward streams."""

import itertools
from typing import NamedTuple

from google.protobuf.message import Message

from mistralwire._protobuf import write_varint
from mistralwire.codec._convert import Names, is_camel, message_of
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._native import NativeBatch, engine
from mistralwire.codec._plan import checked_revision
from mistralwire.codec._sse._decoder import SSE_BUFFER_BYTES_MAX, EventDecoder, encode_sse
from mistralwire.codec._sse._error_body import SseError
from mistralwire.codec._sse._framer import BROKEN, CHUNKS_NUMBER, Frame, NativeFramer
from mistralwire.errors import DecodeError
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk

_CHUNK_TAG = write_varint(CHUNKS_NUMBER << 3 | 2)
_native_events = engine.sse_events
_new_tuple = tuple.__new__


class SseBatch(NamedTuple):
    """The chunks that a piece of a stream completed."""

    wire: bytes
    """The chunks as the wire bytes of one ChatCompletionStreamResponse; empty if there are none."""
    count: int  # type: ignore[assignment] # in place of the method of tuples
    """The number of chunks."""
    usage: bytes | None
    """The last `usage` among the chunks, as the wire bytes of a UsageInfo; None if there is none."""
    finish_reasons: tuple[tuple[int, str], ...]
    """Why choices ended, in the order in which they did: the index of each, and the API's string for the
    reason, documented or not."""
    is_done: bool
    """Whether `[DONE]` was received, now or before, or the stream ended as one that needs none; see
    `SseBatchDecoder.close`."""
    failure: SseError | DecodeError | None
    """What ended the stream after these chunks: an error event, or the error of a bad event. None while the
    stream goes on, and at its regular end."""
    events: bytes | None = None
    """The chunks as server-sent events, in place of `wire`, which is then empty; None unless `feed` was asked
    for events and could encode them."""


class SseBatchDecoder(EventDecoder):
    """Decodes a stream of server-sent events to wire bytes: `SseDecoder` for programs that only forward it.

    Events, error bodies and errors are those of SseDecoder; ids and names of events are dropped. The first
    error ends the stream: it is the `failure` of the batch with the chunks before it and of every later one,
    and the rest of the stream is ignored. How the bytes are split affects only which chunks share a batch.

    A decoder may move between threads, but only one at a time may feed it.

    Examples:
        >>> decoder = SseBatchDecoder(CompletionChunk)
        >>> for data in pieces:
        ...     batch = decoder.feed(data)
        ...     ...
        >>> batch = decoder.close()

    Args:
        message_type: The class of the messages, such as CompletionChunk.
        validate: Whether to enforce the contract on messages, that of the revision below.
        limits: See SseDecoder.
        buffer_bytes_max: See SseDecoder.
        contract_revision: Revision of the oldest contract among the readers of the wire bytes, 1 or more; see
            `json_to_binary`.

    Attributes:
        lacks_done: Whether the stream was complete without `[DONE]`; see `close`.
        has_handed_over: Whether an event fell back from the native engine to the Python engine, which takes
            some twenty times as long. More of the kind may follow.

    Raises:
        TypeError: See SseDecoder.
        ValueError: If `buffer_bytes_max` or `contract_revision` is less than 1.
    """

    def __init__(
        self,
        message_type: type[Message],
        *,
        validate: bool = True,
        limits: Limits = DEFAULT_LIMITS,
        buffer_bytes_max: int = SSE_BUFFER_BYTES_MAX,
        contract_revision: int = 1,
    ) -> None:
        revision = checked_revision(contract_revision)
        super().__init__(message_type, validate, limits, buffer_bytes_max, revision)
        self.has_handed_over = False
        self._is_done = False
        self._failure: SseError | DecodeError | None = None

    def feed(self, data: bytes, first_id: int | None = None, *, is_chunked: bool = False) -> SseBatch:
        """Feed a piece of the stream, and return the complete chunks.

        Args:
            data: The bytes received, split anywhere; may be empty.
            first_id: The id of the first event, to get the events of `batch_to_sse` in place of wire bytes.
                Where these would need the Python engine, there are wire bytes anyway. None for wire bytes.
            is_chunked: Whether to frame such events as one chunk of HTTP's chunked coding.

        Raises:
            TypeError: If `data` is not bytes.
            ValueError: If the decoder is closed.
            RuntimeError: If another thread is feeding the decoder.
        """
        if not isinstance(data, bytes):
            data = bytes(memoryview(data))
        if self._reader is not None:
            batch = self._reader.batch(data, 0, first_id, is_chunked)
            if batch[5] is None:
                self._is_done = batch[4]
                # Its fields, without a call of Python code.
                return _new_tuple(SseBatch, batch)
            return self._continue(batch, data)
        self._check_open()
        batches = _Batches()
        if self._failure is None:
            self._framer.feed(data)
            self._decode_frames(batches)
        return self._joined(batches)

    def close(self) -> SseBatch:
        """Decode what is left at the end of the stream, and return its chunks.

        An event that is complete although no blank line ended it counts; see SseDecoder. A stream without
        `[DONE]` is done anyway where SseDecoder returns SseDone, and `lacks_done` is true; otherwise it has
        the failure STREAM_TRUNCATED. Further calls return no chunks.
        """
        batches = _Batches()
        if not self._is_closed:
            self._is_closed = True
            self._reader = None
            if self._failure is None:
                self._framer.end()
                self._decode_frames(batches)
        return self._joined(batches)

    def _continue(self, batch: NativeBatch, data: bytes) -> SseBatch:
        """Decode a piece with events that the native engine does not convert to messages."""
        self.has_handed_over = True
        batches = _Batches()
        framer, reader = self._framer, self._reader
        assert isinstance(framer, NativeFramer) and reader is not None  # noqa: S101, PT018 - as `feed` found
        at = 0
        while True:
            batches.add(batch)
            self._is_done = batch[4]
            stop = batch[5]
            if stop is None:
                break
            at += reader.taken
            if stop[4] == BROKEN:
                self._reader = None
                framer.resume_without_engine(data[at:])
            else:
                framer.add_native(stop)
            self._decode_frames(batches)
            if self._reader is None:
                break
            batch = reader.batch(data, at)
        return self._joined(batches)

    def _decode_frames(self, batches: "_Batches") -> None:
        frames = self._framer.frames
        while frames and self._failure is None:
            frame = frames.popleft()
            if frame.data is None:
                continue
            try:
                self._add_frame(frame, frame.data, batches)
            except DecodeError as error:
                error.add_note(f"in the server-sent event at line {frame.line}")
                self._fail(error.with_traceback(None))

    def _add_frame(self, frame: Frame, data: bytes | DecodeError, batches: "_Batches") -> None:
        content = self._decode_frame(frame, data)
        if isinstance(content, bytes):
            batches.wires += (_CHUNK_TAG, write_varint(len(content)), content)
            batches.count += 1
            if self._has_choices:
                message = self._message_type.FromString(content)
                if message.HasField("usage"):
                    batches.usage = message.usage.SerializeToString()
                batches.finish_reasons += self._framer.ends.observe(message.choices)
        elif isinstance(content, SseError):
            self._fail(content)
        elif content is not None:  # SseDone
            self._is_done = True

    def _fail(self, failure: SseError | DecodeError) -> None:
        self._failure = failure
        self._reader = None
        self._framer.frames.clear()

    def _joined(self, batches: "_Batches") -> SseBatch:
        wire = b"".join(batches.wires)
        return SseBatch(
            wire, batches.count, batches.usage, tuple(batches.finish_reasons), self._is_done, self._failure
        )


class _Batches:
    """The parts of a batch that is being put together; see SseBatch."""

    def __init__(self) -> None:
        self.wires: list[bytes] = []
        self.count = 0
        self.usage: bytes | None = None
        self.finish_reasons: list[tuple[int, str]] = []

    def add(self, batch: NativeBatch) -> None:
        """Add a batch of the native engine."""
        wire, count, usage, finish_reasons, *_ = batch
        self.wires.append(wire)
        self.count += count
        self.usage = self.usage if usage is None else usage
        self.finish_reasons += finish_reasons


def batch_to_sse(
    wire: bytes, first_id: int | None = None, names: Names = "snake", *, id_prefix: str = ""
) -> bytes:
    """Encode the chunks of a batch as server-sent events: `encode_sse` for programs that only forward data.

    Args:
        wire: The wire bytes of a ChatCompletionStreamResponse, or of the one for FIM. Only its chunks count.
        first_id: The id of the first event, 0 or more; each following one is greater by 1. None for events
            without ids.
        names: See `to_json`.
        id_prefix: What each id begins with, before its number.

    Raises:
        DecodeError: If the bytes are not such a message.
        EncodeError: If a chunk has no JSON form; then no event is returned.
        ValueError: If `names` is neither `snake` nor `camel`, or the prefix has a newline, NUL or a lone
            surrogate.
    """
    native_id = None if first_id is None else (id_prefix, first_id)
    events = _native_events(CompletionChunk, CHUNKS_NUMBER, wire, native_id, is_camel(names))
    if events is not None:
        return events
    chunks = message_of(ChatCompletionStreamResponse, wire).chunks
    if first_id is None:
        return b"".join([encode_sse(chunk, names=names) for chunk in chunks])
    ids = (f"{id_prefix}{at}" for at in itertools.count(first_id))
    return b"".join([encode_sse(chunk, id=id_, names=names) for chunk, id_ in zip(chunks, ids, strict=False)])
