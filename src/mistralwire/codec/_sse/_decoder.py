"""Server-sent events to messages and back, without I/O.

Source: the event stream format of the HTML standard,
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Generic, Self, TypeAlias

from google.protobuf.message import Message

from mistralwire._protobuf import MessageT
from mistralwire.codec._convert import Names, json_to_binary_in_python, to_json
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._plan import plan_for
from mistralwire.codec._sse._error_body import SseError, error_of, is_recognized
from mistralwire.codec._sse._framer import DONE, END, ERROR_EVENT, MESSAGE, OWN_EVENTS, Frame, make_framer
from mistralwire.errors import DecodeError
from mistralwire.v1 import CONTRACT_REVISION, ErrorResponse

SSE_BUFFER_BYTES_MAX = 16 * 1024 * 1024
"""Default bound on the bytes of one server-sent event: 16 MiB."""


@dataclasses.dataclass(frozen=True, slots=True)
class SseMessage(Generic[MessageT]):
    """An event whose data is a message.

    Its id is None without one, and may be empty. Its name (`event`) is None if it has none, or an empty one.
    """

    message: MessageT
    id: str | None = None
    event: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SseDone:
    """The event `data: [DONE]`, or the end of a stream that is complete without it: see SseDecoder."""


SseEvent: TypeAlias = SseMessage[MessageT] | SseError | SseDone


class EventDecoder:
    """What the decoders of a stream have in common: from the frames of its events to their content.

    Attributes:
        lacks_done: Whether the stream was complete without `[DONE]`; see `close` of the decoders.
    """

    def __init__(
        self,
        message_type: type[Message],
        validate: bool,
        limits: Limits,
        buffer_bytes_max: int,
        revision: int,
    ) -> None:
        self.lacks_done = False
        self._message_type: type[Any] = message_type
        self._plan = plan_for(message_type)
        self._validate = validate
        self._limits = limits
        self._revision = revision
        # The native engine's reader, for as long as it is in use; and whether messages have choices.
        self._framer, self._reader, self._has_choices = make_framer(
            self._plan, validate, limits, buffer_bytes_max, revision
        )
        self._is_closed = False

    def _decode_frame(self, frame: Frame, data: bytes | DecodeError) -> bytes | SseError | SseDone | None:
        """Return the wire bytes of a message, an error, the end, or None for an event that is dropped."""
        if isinstance(data, DecodeError):
            if self._is_error(frame):
                raise data
            self.lacks_done = True
            return SseDone()
        if frame.form == MESSAGE:
            return data
        if data is DONE:
            return SseDone()
        error = error_of(frame, data, self._plan, self._limits)
        if isinstance(error, SseError):
            return error
        if not error:
            return None
        return json_to_binary_in_python(
            self._message_type, data, self._revision, self._validate, self._limits, constants=True
        )

    def _is_error(self, frame: Frame) -> bool:
        """Check whether a frame is an error, and not the end of a stream that needs no `[DONE]`."""
        return isinstance(frame.data, DecodeError) and not (frame.form == END and self._framer.ends.all_ended)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ValueError("the decoder is closed; use a new one for another stream")


class SseDecoder(EventDecoder, Generic[MessageT]):
    """Decodes a stream of server-sent events; how its bytes are split into pieces makes no difference.

    An event is an **error body**, and not a message, if

    - its name is `error`; or
    - its data is an object without `choices` (absent or null), where `object` is "error" or "Error", or
      `error` is a string or an object, or `detail` a string or an array, or `message` a string or an object.
      A member that the message type has itself does not count; or
    - its data is an object whose `choices` is an empty array, and `object` is "error" or "Error", or `error`
      a string or an object with something in it. A chunk with choices and an `error` is a message, and its
      `error` is kept with it.

    Two forms of error bodies that are not events of the standard become an SseError too, because servers
    write them into streams: llama.cpp's line `error: ` followed by the body, and lines that are the body
    itself, as a proxy sends it. An error body may be the only element of an array, as Google's APIs send it
    in `data:`. Error bodies are never validated.

    An event with **a name other** than `message` and `error`, such as `ping`, counts only if its data is an
    object with `choices`, or with the signs of an error that count beside an empty array; where the message
    type has no `choices`, any object counts. Otherwise it is dropped, whether JSON or text, counted by
    `dropped_events`, and logged once per name.

    NaN, Infinity and -Infinity in messages are accepted, as by `from_json` without validation.

    The decoder is itself the iterator that `feed` and `close` return. A bad event raises a DecodeError in its
    place: after the events before it, and iteration continues with those after it. A note on the error names
    the event's line.

    - An event whose lines have more than `buffer_bytes_max` bytes is LIMIT_EXCEEDED. Its buffer is released
      at once, and everything up to the next blank line is dropped without buffering.
    - After `[DONE]`, another `[DONE]`, comments, events without data and those with other names are ignored;
      data of any other event is DATA_AFTER_DONE.

    Data of only whitespace, which some servers send as a keepalive, is ignored, unless the event's name is
    `error`. Bytes that are not UTF-8 become U+FFFD in an id or a name, as in the standard; in data they are
    an error, because a replacement would change the data.

    A decoder may move between threads, but only one at a time may feed it.

    Examples:
        >>> decoder = SseDecoder(CompletionChunk)
        >>> for data in pieces:
        ...     for event in decoder.feed(data):
        ...         ...
        >>> for event in decoder.close():
        ...     ...

    Args:
        message_type: The class of the messages, such as CompletionChunk.
        validate: Whether to enforce the contract on messages; see `from_json`.
        limits: Bounds on each event's JSON; see `from_json`.
        buffer_bytes_max: Bytes of one event, 1 or more: all of its lines without their ends and without
            comments; an incomplete comment counts by itself. Events not yet iterated over do not count.

    Attributes:
        done: Whether SseDone was returned.
        lacks_done: Whether it was returned for the end of a stream without `[DONE]`; see `close`.
        last_event_id: The `id` of the last event that had one, to be sent as `Last-Event-ID` to resume;
            empty at first. An event that is bad, or has no data, counts; one that is too long does not.
        line: Line of the stream, from 1, where the data of the last event or error began; 0 at first.

    Raises:
        TypeError: If `message_type` is not a message of the contract that is a JSON object.
        ValueError: If `buffer_bytes_max` is less than 1.
    """

    def __init__(
        self,
        message_type: type[MessageT],
        *,
        validate: bool = True,
        limits: Limits = DEFAULT_LIMITS,
        buffer_bytes_max: int = SSE_BUFFER_BYTES_MAX,
    ) -> None:
        super().__init__(message_type, validate, limits, buffer_bytes_max, CONTRACT_REVISION)
        self.done = False
        self.last_event_id = ""
        self.line = 0

    @property
    def retry_ms(self) -> int | None:
        """The reconnection time that the server asked for, in milliseconds; None if it did not."""
        return self._framer.retry_ms

    def feed(self, data: bytes) -> Iterator[SseEvent[MessageT]]:
        """Feed a piece of the stream, and return an iterator over the complete events.

        The bytes are consumed at once. The events are decoded one by one, on iteration; those not yet
        iterated over come first in the iterator that the next `feed` or `close` returns. It raises
        DecodeError in place of an event that is not a message: not JSON, against the contract, beyond a
        limit, or with data after `[DONE]`.

        Args:
            data: The bytes received, split anywhere; may be empty.

        Raises:
            TypeError: If `data` is not bytes.
            ValueError: If the decoder is closed.
            RuntimeError: If another thread is feeding the decoder.
        """
        self._check_open()
        self._framer.feed(data if isinstance(data, bytes) else bytes(memoryview(data)))
        return self

    def close(self) -> Iterator[SseEvent[MessageT]]:
        """Decode what is left at the end of the stream, and return an iterator over it, as `feed` does.

        The standard drops an event that no blank line ended. Here one that is complete anyway counts:
        `[DONE]`, or a JSON object, with or without the end of its line; an object can't be the beginning of a
        longer one. It is dropped if its last line is incomplete and may be an id or a name.

        A stream without `[DONE]` is complete anyway if it ends outside of an event, and each of its choices
        had a finish reason: that end is SseDone, and `lacks_done` is true. Otherwise it is a DecodeError with
        the reason STREAM_TRUNCATED, which says whether the stream ended inside an event. Either follows the
        events that are left; the error is raised by the iterator, or by this call if nothing else is left.
        Further calls have no effect.
        """
        if not self._is_closed:
            self._is_closed = True
            self._framer.end()
        frames = self._framer.frames
        if len(frames) == 1 and self._is_error(frames[0]):
            next(self)
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> SseEvent[MessageT]:
        frames = self._framer.frames
        while frames:
            frame = frames.popleft()
            line, event_id, name, data, form = frame
            if event_id is not None:
                self.last_event_id = event_id
            if data is None:
                continue
            if form == MESSAGE and isinstance(data, bytes):
                self.line = line
                return SseMessage(self._message_type.FromString(data), event_id, name)
            try:
                event = self._decode(frame, data)
            except DecodeError as error:
                self.line = line
                error.add_note(f"in the server-sent event at line {line}")
                raise
            if event is not None:
                self.line = line
                return event
        raise StopIteration

    def _decode(self, frame: Frame, data: bytes | DecodeError) -> SseEvent[MessageT] | None:
        content = self._decode_frame(frame, data)
        if isinstance(content, bytes):
            message = self._message_type.FromString(content)
            if self._has_choices:
                self._framer.ends.observe(message.choices)
            return SseMessage(message, frame.id, frame.event)
        self.done = self.done or isinstance(content, SseDone)
        return content


def encode_sse(
    item: Message | SseMessage[Any] | SseError | SseDone,
    *,
    id: str | int | None = None,
    names: Names = "snake",
) -> bytes:
    """Encode one server-sent event, with its blank line at the end; SseDecoder decodes it to an equal event.

    An error body that SseDecoder would not recognize gets the event name `error`. A message that looks like
    an error body, such as a chunk without choices but with an unknown member `error`, is decoded as one; a
    chunk whose JSON has no `choices` is dropped if it has an event name.

    Args:
        item: The event. A message stands for an event without id and name, an ErrorResponse for an SseError.
        id: The event's id, in place of the item's own.
        names: See `to_json`.

    Raises:
        EncodeError: If the message has no JSON form.
        TypeError: If the item is neither an event nor a message that is a JSON object.
        ValueError: If an id has a newline or NUL, a name a newline, or either a lone surrogate; or if a
            message that is not an error has the event name `error`.
    """
    if isinstance(item, ErrorResponse):
        item = SseError(item)
    own_id = event = None
    if isinstance(item, Message):
        data = to_json(item, names=names)
    elif isinstance(item, SseMessage):
        data = to_json(item.message, names=names)
        own_id, event = item.id, item.event
        if event == ERROR_EVENT:
            raise ValueError(f"the event name {event!r} is for an SseError, not for an SseMessage")
    elif isinstance(item, SseError):
        data = to_json(item.error, names=names)
        own_id, is_named = item.id, bool(item.event) and item.event not in OWN_EVENTS
        event = item.event if is_recognized(data, is_named=is_named) else ERROR_EVENT
    elif isinstance(item, SseDone):
        data = DONE
    else:
        raise TypeError(f"expected a message or an event, not {type(item).__name__}")
    if id is None:
        id = own_id
    head = b"" if id is None else b"id: %b\n" % _field_value("id", str(id), "\r\n\0")
    if event:
        head += b"event: %b\n" % _field_value("event", event, "\r\n")
    return b"%bdata: %b\n\n" % (head, data)


def _field_value(name: str, value: str, forbidden: str) -> bytes:
    if any(character in value for character in forbidden):
        raise ValueError(f"expected an {name} without any of {forbidden!r}, found {value[:40]!r}")
    return value.encode()
