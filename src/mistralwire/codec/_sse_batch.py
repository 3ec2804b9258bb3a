"""Server-sent events to batches of chunks in wire bytes and back, for those who pass streams on."""

from typing import Any, NamedTuple

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire._varint import write_varint
from mistralwire.codec._choice_ends import finish_reason_of
from mistralwire.codec._convert import Names, read_event
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._native import NativeBatch, engine
from mistralwire.codec._plan import checked_revision, plan_for
from mistralwire.codec._sse import SSE_BUFFER_BYTES_MAX, SseError, encode_sse, error_of
from mistralwire.codec._sse_frames import (
    BROKEN,
    CHUNKS_NUMBER,
    DONE,
    END,
    MESSAGE,
    Frame,
    NativeFramer,
    make_framer,
    stream_layout,
)
from mistralwire.errors import DecodeError, Violation
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk, Reason

_CHUNK_TAG = write_varint(CHUNKS_NUMBER << 3 | 2)
_native_events = engine.sse_events
_new_tuple = tuple.__new__


class SseBatch(NamedTuple):
    """The chunks that a piece of a stream has completed."""

    wire: bytes
    """The chunks as the wire bytes of one ChatCompletionStreamResponse; empty if there are none."""
    count: int  # type: ignore[assignment] # in place of the method of tuples
    """The number of chunks."""
    usage: bytes | None
    """The last `usage` among the chunks, as the wire bytes of a UsageInfo; None if there is none."""
    finish_reasons: tuple[tuple[int, str], ...]
    """Why choices ended, in the order in which they did: the index of each, and the string that the API has
    for the reason, documented or not."""
    is_done: bool
    """Whether `[DONE]` has come, now or before, or the stream has ended as one that needs none; see
    `SseBatchDecoder.close`."""
    failure: SseError | DecodeError | None
    """What has ended the stream after these chunks: an error event, or what is wrong with one. None while
    the stream goes on, and at its proper end."""
    events: bytes | None = None
    """The chunks as server-sent events, in the place of `wire`, which is empty then; None unless `feed` was
    asked for them, and could write them at once."""


class SseBatchDecoder:
    """Decodes a stream of server-sent events to wire bytes; as `SseDecoder`, for those who only pass it on.

    Events, error bodies and errors are those of SseDecoder; ids and names of events are dropped. The first
    error ends the stream: it is the `failure` of the batch with the chunks before it and of every later one,
    and what comes after it is ignored. How the bytes are cut changes which chunks come in one batch, and
    nothing else.

    A decoder may be handed from thread to thread, but only one at a time may feed it.

    Examples:
        >>> decoder = SseBatchDecoder(CompletionChunk)
        >>> for data in pieces:
        ...     batch = decoder.feed(data)
        ...     ...
        >>> batch = decoder.close()

    Args:
        message_type: The class of the messages, such as CompletionChunk.
        validate: Whether to enforce the contract on messages, that of the revision below.
        limits: Bounds on each event's JSON, as for `from_json`.
        buffer_bytes_max: Bytes of one event, as for SseDecoder.
        contract_revision: Revision of the oldest contract that readers of the wire bytes have, as for
            `json_to_binary`.

    Attributes:
        lacks_done: Whether the stream was complete without `[DONE]`; see `close`.
        has_handed_over: Whether the native engine has left an event to the Python engine, which takes some
            twenty times as long for it. More of the kind may follow.

    Raises:
        TypeError: If `message_type` is no message of the contract that is a JSON object.
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
        self.lacks_done = False
        self.has_handed_over = False
        layout = stream_layout(plan_for(message_type, checked_revision(contract_revision)))
        self._has_observed_fields = layout[1] > 0
        self._message_type = message_type
        self._plan = plan_for(message_type)
        self._validate = validate
        self._limits = limits
        self._revision = contract_revision
        self._framer, reader = make_framer(
            self._plan,
            validate=validate,
            limits=limits,
            buffer_bytes_max=buffer_bytes_max,
            revision=contract_revision,
        )
        # The native engine's reader, for as long as the stream is open and has not failed.
        self._reader = reader
        self._is_done = False
        self._is_closed = False
        self._failure: SseError | DecodeError | None = None

    def feed(self, data: bytes, first_id: int | None = None, *, is_chunked: bool = False) -> SseBatch:
        """Take a piece of the stream.

        Args:
            data: The bytes that came, cut anywhere; may be empty.
            first_id: The id of the first event, to get what `batch_to_sse` would make of the chunks in the
                place of their wire bytes. Where events would take the Python engine, there are wire bytes
                all the same. None for wire bytes.
            is_chunked: Whether such events, if there are any, are one chunk of HTTP's chunked coding.

        Returns:
            The chunks that are complete.

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
            return self._go_on(batch, data)
        if self._is_closed:
            raise ValueError("the decoder is closed; use a new one for another stream")
        batches = _Batches()
        if self._failure is None:
            self._framer.take(data)
            self._take_frames(batches)
        return self._joined(batches)

    def close(self) -> SseBatch:
        """Take the end of the stream.

        What is whole although no blank line ended it counts, as for SseDecoder. A stream without `[DONE]` is
        done all the same where SseDecoder gives SseDone, and `lacks_done` is true; otherwise it has the
        failure STREAM_TRUNCATED. Closing twice is closing once, without the chunks.

        Returns:
            The chunks that are left.
        """
        batches = _Batches()
        if not self._is_closed:
            self._is_closed = True
            self._reader = None
            if self._failure is None:
                self._framer.end()
                self._take_frames(batches)
        return self._joined(batches)

    def _go_on(self, batch: NativeBatch, data: bytes) -> SseBatch:
        """Take a piece that has events which are no messages for the native engine."""
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
                framer.go_on(data[at:])
            else:
                framer.take_frame(stop)
            self._take_frames(batches)
            if self._reader is None:
                break
            batch = reader.batch(data, at)
        return self._joined(batches)

    def _take_frames(self, batches: "_Batches") -> None:
        frames = self._framer.frames
        while frames and self._failure is None:
            frame = frames.popleft()
            if frame.data is None:
                continue
            try:
                self._take_frame(frame, frame.data, batches)
            except DecodeError as error:
                error.add_note(f"in the server-sent event at line {frame.line}")
                self._fail(error.with_traceback(None))

    def _take_frame(self, frame: Frame, data: bytes | DecodeError, batches: "_Batches") -> None:
        if isinstance(data, DecodeError):
            if frame.form != END or not self._framer.ends.all_ended:
                raise data
            self.lacks_done = True
            data = DONE
        if data is DONE:
            self._is_done = True
            return
        if frame.form != MESSAGE:
            error = error_of(frame, data, self._plan, self._limits)
            if not isinstance(error, bool):
                self._fail(error)
                return
            if not error:
                return
            data = read_event(
                self._message_type, data, self._revision, validate=self._validate, limits=self._limits
            )
        batches.add_message(data)
        if self._has_observed_fields:
            message: Any = self._message_type.FromString(data)
            batches.observe(message)
            self._framer.ends.observe(message.choices)

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
    """Batches that become one.

    Attributes:
        wires: The chunks.
        count: The number of chunks.
        usage: The last usage.
        finish_reasons: Why choices ended.
    """

    def __init__(self) -> None:
        self.wires: list[bytes] = []
        self.count = 0
        self.usage: bytes | None = None
        self.finish_reasons: list[tuple[int, str]] = []

    def add(self, batch: NativeBatch) -> None:
        """Add a batch of the native engine's."""
        wire, count, usage, finish_reasons, *_ = batch
        self.wires.append(wire)
        self.count += count
        self.usage = self.usage if usage is None else usage
        self.finish_reasons += finish_reasons

    def add_message(self, wire: bytes) -> None:
        """Add a message."""
        self.wires += (_CHUNK_TAG, write_varint(len(wire)), wire)
        self.count += 1

    def observe(self, message: Any) -> None:
        """Note the usage and the finish reasons of a message."""
        if message.HasField("usage"):
            self.usage = message.usage.SerializeToString()
        for choice in message.choices:
            if choice.finish_reason:
                self.finish_reasons.append((choice.index, finish_reason_of(choice)))


def batch_to_sse(wire: bytes, first_id: int | None = None, names: Names = "snake") -> bytes:
    """Encode the chunks of a batch as server-sent events; as `encode_sse`, for those who only pass data on.

    Args:
        wire: The wire bytes of a ChatCompletionStreamResponse, or of one for FIM. Only its chunks count.
        first_id: The id of the first event, 0 or more; each following one is greater by 1. None for events
            without ids.
        names: As for `to_json`.

    Returns:
        The events, with the blank line that ends each.

    Raises:
        DecodeError: If the bytes are no such message.
        EncodeError: If a chunk has no JSON form; no event is given then.
        ValueError: If `names` is neither.
    """
    if names not in {"snake", "camel"}:
        raise ValueError(f'names must be "snake" or "camel", not {names!r}')
    events = _native_events(CompletionChunk, CHUNKS_NUMBER, wire, first_id, names == "camel")
    if events is not None:
        return events
    try:
        chunks = ChatCompletionStreamResponse.FromString(wire).chunks
    except (WireError, UnicodeDecodeError):  # the latter from protobuf in pure Python
        type_name = ChatCompletionStreamResponse.DESCRIPTOR.name
        violation = Violation("", f"the wire bytes of a {type_name}", f"{len(wire)} bytes that are none")
        raise DecodeError([violation], type_name=type_name, reason=Reason.NOT_PROTOBUF) from None
    if first_id is None:
        return b"".join([encode_sse(chunk, names=names) for chunk in chunks])
    return b"".join([encode_sse(chunk, id=at, names=names) for at, chunk in enumerate(chunks, first_id)])
