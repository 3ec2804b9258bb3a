"""Server-sent events to messages and back, without I/O.

Source: the event stream format of the HTML standard,
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import dataclasses
from collections.abc import Container, Iterator
from typing import Any, Generic, Self, TypeAlias, TypeVar

from google.protobuf.message import Message

from mistralwire.codec._convert import Names, from_json, read_event, to_json
from mistralwire.codec._dropped_events import count_dropped_event
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._parse import parse
from mistralwire.codec._plan import MessagePlan, plan_for
from mistralwire.codec._read import read_document
from mistralwire.codec._sse_frames import (
    DONE,
    END,
    ERROR,
    ERROR_EVENT,
    ERROR_TEXT,
    MESSAGE,
    OWN_EVENTS,
    UNFRAMED,
    Frame,
    make_framer,
    stream_layout,
)
from mistralwire.errors import DecodeError, Reason
from mistralwire.v1 import CONTRACT_REVISION
from mistralwire.v1.error_pb2 import ErrorResponse

SSE_BUFFER_BYTES_MAX = 16 * 1024 * 1024
"""Default bound on the bytes of one server-sent event: 16 MiB."""

M = TypeVar("M", bound=Message)


@dataclasses.dataclass(frozen=True, slots=True)
class SseMessage(Generic[M]):
    """An event whose data is a message.

    Attributes:
        message: The data.
        id: The event's own `id`, which may be empty; None if it has none.
        event: The event's name; None if it has none, or an empty one.
    """

    message: M
    id: str | None = None
    event: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SseError:
    """An event whose data is an error body: the stream failed after it began.

    Attributes:
        error: The error body. What ErrorResponse has no field for is in its `json_extra`.
        id: As for SseMessage.
        event: As for SseMessage.
    """

    error: ErrorResponse
    id: str | None = None
    event: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SseDone:
    """The event `data: [DONE]`, or the end of a stream that is complete without it: see SseDecoder."""


SseEvent: TypeAlias = SseMessage[M] | SseError | SseDone

# What `object` says of an error body: vLLM begins it with a capital.
_ERROR_OBJECTS = ("error", "Error")
# Data of an event without a name has one of these if it is an error body.
_SIGNS = (b'"error"', b'"Error"', b'"message"', b'"detail"', b"\\u00")
# The members that tell an error body, each with the JSON types it has there.
_ERROR_SIGNS: dict[str, tuple[type, ...]] = {
    "error": (str, dict),
    "detail": (str, list),
    "message": (str, dict),
}


class SseDecoder(Generic[M]):
    """Decodes a stream of server-sent events, however its bytes are cut into pieces.

    An event is an **error body**, and not a message, if

    - its name is `error`; or
    - its data is an object without `choices` (absent or null), where `object` is "error" or "Error", or
      `error` is a string or an object, or `detail` a string or an array, or `message` a string or an object.
      A member that the message type has itself says nothing; or
    - its data is an object whose `choices` is an empty array, and `object` is "error" or "Error", or `error`
      a string or an object with something in it. A chunk with choices and an `error` is a message, and its
      `error` is kept with it.

    Two forms of error bodies are no events of the standard, but servers write them into streams: llama.cpp's
    line `error: ` with the body behind it, and lines that are the body itself, as a proxy in front of a
    server sends it. They become an SseError too. An error body may be the only element of an array, as
    Google's APIs send it in `data:`. Error bodies are read without validation, whatever `validate` says.

    An event with **another name** than `message` and `error` (`ping`, say) is read only if its data is an
    object with `choices`, or with the signs of an error beside an empty array. It is dropped otherwise, be
    it JSON or text, counted by `dropped_events`, and logged once for each name. Where the message type has
    no `choices` itself, any object is read.

    NaN, Infinity and -Infinity in messages are read as `from_json` reads them without validation, whatever
    `validate` says.

    The decoder is itself the iterator that `feed` and `close` give. A bad event is a DecodeError in its
    place: the events before it come first, and iterating on gives those after it. A note on the error names
    the event's line.

    - An event whose lines have more than `buffer_bytes_max` bytes is LIMIT_EXCEEDED. What was held of it is
      given up at once, and everything up to the next blank line is dropped without being held.
    - After `[DONE]`, another one, comments, events without data and those with other names are ignored;
      data of any other event is DATA_AFTER_DONE.

    Data of nothing but whitespace, which some servers send to keep a connection alive, is ignored, unless
    the event's name is `error`. Bytes that are not UTF-8 become U+FFFD in an id or a name, as the standard
    has it; in data they are an error, because there they would change what was said.

    A decoder may be handed from thread to thread, but only one at a time may feed it.

    Examples:
        >>> decoder = SseDecoder(CompletionChunk)
        >>> for data in pieces:
        ...     for event in decoder.feed(data):
        ...         ...
        >>> for event in decoder.close():
        ...     ...

    Args:
        message_type: The class of the messages, such as CompletionChunk.
        validate: Whether to enforce the contract on messages, as for `from_json`.
        limits: Bounds on each event's JSON, as for `from_json`.
        buffer_bytes_max: Bytes of one event, 1 or more: all of its lines without their ends, comments left
            out; a comment counts for itself while it is read. Events not iterated over do not count.

    Attributes:
        done: Whether SseDone was given.
        lacks_done: Whether it was given for the end of a stream without `[DONE]`; see `close`.
        last_event_id: The `id` of the last event given that had one: what to send as `Last-Event-ID` in
            order to resume; the empty string at first. An event that is bad, or has no data, counts; one that
            is too long does not.
        line: Line of the stream, from 1, where the data of the last event or error began; 0 at first.

    Raises:
        TypeError: If `message_type` is no message of the contract that is a JSON object.
        ValueError: If `buffer_bytes_max` is less than 1.
    """

    def __init__(
        self,
        message_type: type[M],
        *,
        validate: bool = True,
        limits: Limits = DEFAULT_LIMITS,
        buffer_bytes_max: int = SSE_BUFFER_BYTES_MAX,
    ) -> None:
        self.done = False
        self.lacks_done = False
        self.last_event_id = ""
        self.line = 0
        self._message_type = message_type
        self._plan = plan_for(message_type)
        self._validate = validate
        self._limits = limits
        self._framer, _ = make_framer(
            self._plan,
            validate=validate,
            limits=limits,
            buffer_bytes_max=buffer_bytes_max,
            revision=CONTRACT_REVISION,
        )
        self._closed = False
        self._has_choices = stream_layout(self._plan)[2] > 0

    @property
    def retry_ms(self) -> int | None:
        """The reconnection time that the server asked for, in milliseconds; None if it did not."""
        return self._framer.retry_ms

    def feed(self, data: bytes) -> Iterator[SseEvent[M]]:
        """Take a piece of the stream.

        The bytes are taken at once. The events are decoded one by one as they are asked for; those that
        nobody asked for come first in the iterator that the next `feed` or `close` gives.

        Args:
            data: The bytes that came, cut anywhere; may be empty.

        Returns:
            An iterator over the events that are complete. Raises DecodeError in the place of an event that is
            no message: not JSON, against the contract, beyond a limit, or with data after `[DONE]`.

        Raises:
            TypeError: If `data` is not bytes.
            ValueError: If the decoder is closed.
            RuntimeError: If another thread is feeding the decoder.
        """
        if self._closed:
            raise ValueError("the decoder is closed; use a new one for another stream")
        self._framer.take(data if isinstance(data, bytes) else bytes(memoryview(data)))
        return self

    def close(self) -> Iterator[SseEvent[M]]:
        """Take the end of the stream.

        The standard drops an event that no blank line ended. Here one that is whole all the same is given:
        `[DONE]`, or a JSON object, with its line's end or without; an object can't be the beginning of a
        longer one. It is dropped if its last line is cut and may be an id or a name.

        A stream without `[DONE]` is complete all the same if it ends outside of an event, and each of its
        choices had a finish reason: that end is SseDone, and `lacks_done` is true. Otherwise it is a
        DecodeError with the reason STREAM_TRUNCATED, which says whether the stream ended inside an event.
        Either comes after the events that are left; the error from the iterator, or from this call if there
        are none. Closing twice is closing once.

        Returns:
            An iterator over the events that are left, as from `feed`.

        Raises:
            DecodeError: If nothing is left but an error.
        """
        if not self._closed:
            self._closed = True
            self._framer.end()
        frames = self._framer.frames
        if len(frames) == 1 and self._is_error(frames[0]):
            next(self)
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> SseEvent[M]:
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

    def _decode(self, frame: Frame, data: bytes | DecodeError) -> SseEvent[M] | None:
        if isinstance(data, DecodeError):
            if self._is_error(frame):
                raise data
            self.lacks_done = True
        if data is DONE or isinstance(data, DecodeError):
            self.done = True
            return SseDone()
        error = error_of(frame, data, self._plan, self._limits)
        if not isinstance(error, bool):
            return error
        if not error:
            return None
        wire = read_event(
            self._message_type, data, CONTRACT_REVISION, validate=self._validate, limits=self._limits
        )
        message = self._message_type.FromString(wire)
        if self._has_choices:
            self._framer.ends.observe(message.choices)  # type: ignore[attr-defined]
        return SseMessage(message, frame.id, frame.event)

    def _is_error(self, frame: Frame) -> bool:
        """Check whether a frame is an error, and not the end of a stream that needs no `[DONE]`."""
        return isinstance(frame.data, DecodeError) and not (frame.form == END and self._framer.ends.all_ended)


def error_of(frame: Frame, data: bytes, plan: MessagePlan, limits: Limits) -> SseError | bool:
    """Return the error that an event is by the rule of SseDecoder, or whether it is a message.

    An event that is neither is counted, unless it has no name.

    Args:
        frame: The event.
        data: Its data, which is neither the end of the stream nor the wire bytes of a message.
        plan: Plan of the messages.
        limits: Bounds on the data.

    Raises:
        DecodeError: If the data is not JSON or beyond the limits; not for all such data.
    """
    if frame.form == ERROR:
        return SseError(ErrorResponse.FromString(data), frame.id, frame.event)
    if frame.form == ERROR_TEXT:
        return SseError(_read_error(data, limits), frame.id, frame.event)
    is_error = frame.event == ERROR_EVENT
    is_message = True
    if not is_error and (frame.form == UNFRAMED or frame.event not in OWN_EVENTS):
        is_error, is_message = _kind_of(frame, data, plan, limits)
    elif not is_error and any(sign in data for sign in _SIGNS):
        # Most data is read once only: without one of the signs, spelt out or as \u00.., it is no error.
        value = parse(data, limits, plan.name, constants=True)
        is_error = _is_error_body(value, plan.by_name)
    if is_error:
        return SseError(_read_error(data, limits), frame.id, frame.event)
    if not is_message and frame.event is not None:
        count_dropped_event(frame.event)
    return is_message


def _kind_of(frame: Frame, data: bytes, plan: MessagePlan, limits: Limits) -> tuple[bool, bool]:
    """Return whether data that may be no part of the answer is an error, and whether it is a message."""
    try:
        value = parse(data, limits, plan.name, constants=True)
    except DecodeError as error:
        if error.reason == Reason.LIMIT_EXCEEDED:
            raise
        return False, False
    is_named = frame.event not in OWN_EVENTS
    is_chunk = type(value) is dict and ("choices" in value or "choices" not in plan.by_name)
    is_error = _is_error_body(value, plan.by_name, is_named=is_named)
    return is_error, is_chunk and frame.form != UNFRAMED


def encode_sse(
    item: Message | SseMessage[Any] | SseError | SseDone,
    *,
    id: str | int | None = None,  # noqa: A002 - the field's own name
    names: Names = "snake",
) -> bytes:
    """Encode one server-sent event; SseDecoder gives the same event back.

    An error body that SseDecoder would not take for one gets the event name `error`. A message that looks
    like an error body, such as a chunk without choices but with an unknown member `error`, is decoded as one;
    a chunk whose JSON has no `choices` is dropped if it has an event name.

    Args:
        item: The event. A message alone is one without id and name; an ErrorResponse alone is an SseError.
        id: The event's id, in the place of the item's own.
        names: As for `to_json`.

    Returns:
        The event's lines, the blank one that ends it included.

    Raises:
        EncodeError: If the message has no JSON form.
        TypeError: If the item is no event and no message that is a JSON object.
        ValueError: If an id has a newline or NUL, a name a newline, or either a lone surrogate; or if a
            message that is no error has the event name `error`.
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
        event = item.event if _is_told_by_shape(data, is_named=is_named) else ERROR_EVENT
    elif isinstance(item, SseDone):
        data = DONE
    else:
        raise TypeError(f"expected a message or an event, not {type(item).__name__}")
    if id is None:
        id = own_id  # noqa: A001 - the field's own name
    head = b"" if id is None else b"id: %b\n" % _field_value("id", str(id), "\r\n\0")
    if event:
        head += b"event: %b\n" % _field_value("event", event, "\r\n")
    return b"%bdata: %b\n\n" % (head, data)


def _field_value(name: str, value: str, forbidden: str) -> bytes:
    if any(character in value for character in forbidden):
        raise ValueError(f"expected an {name} without any of {forbidden!r}, found {value[:40]!r}")
    return value.encode()


def is_error_body(data: bytes) -> bool:
    """Check whether a JSON text is an error body rather than a message: by the rule of `SseDecoder`.

    Raises:
        DecodeError: If it is no JSON, or beyond the default limits.
    """
    value = parse(data, DEFAULT_LIMITS, ErrorResponse.DESCRIPTOR.name, constants=True)
    return _is_error_body(value, ())


def read_error_body(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> ErrorResponse:
    """Read an error body without validation.

    It may be the only element of an array, as Google's APIs send it.

    Args:
        data: The body.
        limits: Bounds on it, as for `from_json`.

    Raises:
        DecodeError: If it is neither a JSON object nor an array of one, or beyond the limits.
    """
    try:
        return from_json(ErrorResponse, data, validate=False, limits=limits)
    except DecodeError as error:
        if error.reason != Reason.CONTRACT_VIOLATION:
            raise
        plan = plan_for(ErrorResponse)
        value = _unwrapped(parse(data, limits, plan.name, constants=True))
        return ErrorResponse.FromString(read_document(plan, value, validate=False, limits=limits))


def _read_error(data: bytes, limits: Limits) -> ErrorResponse:
    """Read the data of an error event; what is no error body is the message itself."""
    try:
        return read_error_body(data, limits=limits)
    except DecodeError as error:
        if error.reason == Reason.LIMIT_EXCEEDED:
            raise
        text = data.decode(errors="replace").removeprefix("\ufeff")
        return ErrorResponse(message_string=text)


def _unwrapped(value: Any) -> Any:
    """Return the error body that is the only element of an array; anything else as it is."""
    return value[0] if type(value) is list and len(value) == 1 else value


def _is_error_body(value: Any, own_names: Container[str], *, is_named: bool = False) -> bool:
    """Check whether parsed data is an error body: the rule that SseDecoder documents."""
    value = _unwrapped(value)
    if not isinstance(value, dict):
        return False
    choices = value.get("choices")
    if choices is not None and choices != []:
        return False
    if value.get("object") in _ERROR_OBJECTS:
        return True
    if choices is not None or is_named:
        error = value.get("error")
        return isinstance(error, str | dict) and len(error) > 0 and "error" not in own_names
    return any(
        isinstance(value.get(name), types) for name, types in _ERROR_SIGNS.items() if name not in own_names
    )


def _is_told_by_shape(data: bytes, *, is_named: bool) -> bool:
    try:
        return _is_error_body(parse(data, DEFAULT_LIMITS), (), is_named=is_named)
    except DecodeError:
        # Beyond the limits of most readers: the name tells it to those whose limits are higher.
        return False
