"""From the bytes of an event stream to the data, ids and names of its events.

Source: the event stream format of the HTML standard,
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import collections
import functools
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._native import NativeFrame, SseReader, engine
from mistralwire.codec._plan import MessagePlan, plan_for
from mistralwire.codec._python import parse
from mistralwire.errors import DecodeError, Reason, Violation
from mistralwire.v1 import ChatCompletionStreamResponse, ErrorResponse

DONE = b"[DONE]"
ERROR_EVENT = "error"
OWN_EVENTS = frozenset((None, "message", ERROR_EVENT))
"""Names of the events that are part of an answer whatever their data is."""

# The form of an event's data; from END on there is none. The native engine has the same numbers, in
# native/core/src/stream.rs.
NOTHING, DATA, MESSAGE, ERROR, ERROR_TEXT, UNFRAMED, END, AFTER_DONE, TOO_LONG, BROKEN = range(10)
CHUNKS_NUMBER = ChatCompletionStreamResponse.CHUNKS_FIELD_NUMBER
"""Number of the field that holds the chunks of a batch message."""

_FIELDS = frozenset((b"data", b"event", b"id", b"retry"))
_ERROR_FIELD = b"error:"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_COLON = ord(":")
_RETRY_DIGITS_MAX = 18
_CHOICES_MAX = 1024


class Frame(NamedTuple):
    """One event.

    Attributes:
        line: Line of the stream, from 1, where its data began.
        event: Its name, or None.
        data: Its data, which for the end of the stream is the object `DONE` itself; or the error of a bad
            event; or None for an event with only an id.
        form: DATA, or UNFRAMED for lines without a field name. END for an end of the stream outside of
            events and without `[DONE]`, whose data is the error unless all choices have ended. From the
            native engine also MESSAGE and ERROR, whose data is wire bytes, and ERROR_TEXT, whose data is not
            a JSON object.
    """

    line: int
    id: str | None
    event: str | None
    data: bytes | DecodeError | None
    form: int = DATA


# As Frame._make, without its call in Python, which would be a twentieth of the cost of a small event.
_as_frame = functools.partial(tuple.__new__, Frame)


class ChoiceEnds:
    """Whether all choices of a stream have ended, in which case it may lack its `[DONE]`.

    Choices are recorded up to a bound; beyond it, they never count as all ended.
    """

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    @property
    def all_ended(self) -> bool:
        """Whether there was a choice, and each had a finish reason."""
        return 0 < len(self._begun) <= _CHOICES_MAX and self._begun <= self._ended

    def observe(self, choices: Iterable[Any]) -> list[tuple[int, str]]:
        """Record the choices of a chunk; return the finish reasons in it, by index."""
        reasons = []
        for choice in choices:
            index = choice.index
            if index not in self._begun:
                self.record((index,), ())
            if choice.finish_reason:
                reason = _finish_reason_of(choice)
                reasons.append((index, reason))
                self.record((), (index,) if reason else ())
        return reasons

    def record(self, begun: Iterable[int], ended: Iterable[int]) -> None:
        """Record choices that have begun, and those whose finish reason is not empty, by index."""
        for known, indexes in ((self._begun, begun), (self._ended, ended)):
            for index in indexes:
                if len(known) <= _CHOICES_MAX:
                    known.add(index)


def _finish_reason_of(choice: Any) -> str:
    """Return the string of a finish reason that is set, documented or not."""
    member = plan_for(type(choice)).by_name["finish_reason"]
    string = member.fields[0].enum_strings.get(choice.finish_reason)
    if string is None:
        # A reason that the enum does not list, or not in the readers' revision.
        string = str(parse(choice.json_extra.members, DEFAULT_LIMITS)["finish_reason"])
    return string


class Framer:
    """Finds the events in the bytes of a stream; how the bytes are split makes no difference.

    Attributes:
        frames: The events found, oldest first; the owner removes them.
        retry_ms: Value of the last valid `retry` line; None before the first.
        ends: The choices of the messages, which the owner adds; those of MESSAGE are added at the end.
    """

    def __init__(self, type_name: str, limits: Limits, buffer_bytes_max: int) -> None:
        self.frames: collections.deque[Frame] = collections.deque()
        self.ends = ChoiceEnds()
        self.retry_ms: int | None = None
        self._type_name = type_name
        self._limits = limits
        self._buffer_bytes_max = buffer_bytes_max
        # The incomplete line; where its event is dropped, one byte shows that the line is not blank.
        self._partial = bytearray()
        self._after_carriage_return = False
        self._line_count = 0
        self._done = False
        self._feeding = threading.Lock()
        self._begin_event()

    def _begin_event(self) -> None:
        self._skipping = False
        self._event_bytes = 0
        self._data: bytes | bytearray | None = None
        self._data_line = 0
        # Whether the data is that of lines without a field name.
        self._is_unframed = False
        self._id: str | None = None
        self._event: str | None = None

    def _restore(self, reader: SseReader) -> None:
        """Set the state to that of the native engine's reader."""
        self.ends.record(*reader.choices)
        (
            self._partial[:],
            self._after_carriage_return,
            self._line_count,
            self._done,
            self.retry_ms,
            self._skipping,
            self._event_bytes,
            self._data,
            self._data_line,
            self._id,
            self._event,
            self._is_unframed,
        ) = reader.state()

    def feed(self, data: bytes) -> None:
        """Consume the next bytes; a RuntimeError if another thread has not returned from this method."""
        if not self._feeding.acquire(blocking=False):
            # The same error as that of the native engine's reader.
            raise RuntimeError("the decoder is in use: feed it from one thread at a time")
        try:
            self._split_lines(data)
        finally:
            self._feeding.release()

    def _split_lines(self, data: bytes) -> None:
        if self._after_carriage_return and data:
            # An LF here belongs to a CRLF that was split: the CR has ended the line.
            data = data.removeprefix(b"\n")
            self._after_carriage_return = False
        if not data:
            return
        # Like the standard, splitlines of bytes ends a line at CR, LF and CRLF only.
        lines = data.splitlines()
        rest = b"" if data.endswith((b"\n", b"\r")) else lines.pop()
        self._after_carriage_return = data.endswith(b"\r")
        if lines and self._partial:
            lines[0] = bytes(self._partial) + lines[0]
            self._partial.clear()
        for line in lines:
            self._add_line(line)
        self._add_partial(rest)

    def _add_partial(self, rest: bytes) -> None:
        size = self._event_bytes + len(self._partial) + len(rest)
        if not self._skipping and size > self._buffer_bytes_max:
            self._skip_event(self._line_count + 1)
        if self._skipping:
            self._partial = self._partial[:1] or bytearray(rest[:1])
        else:
            self._partial += rest

    def _add_line(self, line: bytes) -> None:
        self._line_count += 1
        if not line:
            self._end_event()
            return
        if self._skipping:
            return
        if self._event_bytes + len(line) > self._buffer_bytes_max:
            self._skip_event(self._line_count)
            return
        if self._line_count == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if line and line[0] != _COLON:
            self._add_field(line)
            self._event_bytes += len(line)

    def _add_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name not in _FIELDS:
            self._add_unframed(line)
            return
        if self._is_unframed:
            self._end_event()
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add_data(value)
        elif name == b"event":
            self._event = value.decode(errors="replace") or None
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif value.isdigit() and len(value) <= _RETRY_DIGITS_MAX:
            self.retry_ms = int(value)

    def _add_unframed(self, line: bytes) -> None:
        """Add a line without a field of the standard, as some servers write errors into a stream.

        These are llama.cpp's `error:` followed by a body, or only a body, which may have several lines.
        """
        text = line.removeprefix(_ERROR_FIELD).removeprefix(b" ") if line.startswith(_ERROR_FIELD) else b""
        if text:
            begins = True
        else:
            text = line
            # An object after a complete one is another; inside one, it follows a comma or a colon.
            is_inside = self._is_unframed and not (self._data or b"").endswith(b"}")
            begins = line.startswith(b"{") and not is_inside
        if begins:
            if self._data is not None:
                self._end_event()
            self._is_unframed = True
            if text is not line:
                self._event = ERROR_EVENT
        if self._is_unframed:
            self._add_data(text)

    def _add_data(self, value: bytes) -> None:
        if self._data is None:
            self._data = value
            self._data_line = self._line_count
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += b"\n"
        self._data += value

    def _end_event(self) -> None:
        """Add the event of the lines since the last blank one, if they are one."""
        if not self._skipping:
            data = None if self._data is None else self._checked(bytes(self._data))
            if data is not None or self._id is not None:
                form = UNFRAMED if self._is_unframed else DATA
                self.frames.append(Frame(self._data_line, self._id, self._event, data, form))
        self._begin_event()

    def _checked(self, data: bytes) -> bytes | DecodeError | None:
        stripped = data.strip()
        if not stripped and (self._done or self._event != ERROR_EVENT):
            return None
        if self._done:
            is_part = not self._is_unframed and self._event in OWN_EVENTS and stripped != DONE
            return self._after_done() if is_part else None
        if stripped == DONE:
            self._done = True
            return DONE
        return data

    def _skip_event(self, line: int) -> None:
        """Add the error for an event that is too long, and drop it up to the next blank line."""
        self.frames.append(Frame(self._data_line or line, None, None, self._too_long()))
        self._begin_event()
        self._skipping = True

    def end(self) -> None:
        """Consume the end: add the last event if it is complete, and an error if the stream is not."""
        partial = bytes(self._partial)
        self._partial.clear()
        line = partial.removeprefix(_BYTE_ORDER_MARK)
        if self._is_unframed and self._is_complete():
            self._end_event()
        name = line.partition(b":")[0]
        is_unframed = name not in _FIELDS and (self._is_unframed or line.startswith((b"{", _ERROR_FIELD)))
        is_data = name == b"data" or is_unframed
        is_cut = line != b"" and line[0] != _COLON and not is_data
        if is_data:
            self._add_line(partial)
        elif is_cut:
            self._line_count += 1
        began = self._data_line or max(self._line_count, 1)
        is_inside = is_cut or self._skipping or self._event_bytes > 0
        if not is_cut and self._is_complete():
            self._end_event()
            is_inside = False
        if not self._done:
            found = f"its end {'inside the event at' if is_inside else 'after'} line {began}"
            error = self._error("data: [DONE] at the end of the stream", found, Reason.STREAM_TRUNCATED)
            self.frames.append(Frame(began, None, None, error, DATA if is_inside else END))

    def _is_complete(self) -> bool:
        if self._data is None:
            return False
        data = bytes(self._data)
        if data.strip() == DONE:
            return True
        try:
            return isinstance(parse(data, self._limits, self._type_name, constants=True), dict)
        except DecodeError as error:
            # Data beyond a limit counts as complete: that error is more useful than the stream's end.
            return error.reason != Reason.NOT_JSON

    def _after_done(self) -> DecodeError:
        return self._error("nothing after data: [DONE]", "an event with data", Reason.DATA_AFTER_DONE)

    def _too_long(self) -> DecodeError:
        expected = f"an event of at most {self._buffer_bytes_max} bytes"
        return self._error(expected, "a longer one", Reason.LIMIT_EXCEEDED)

    def _error(self, expected: str, found: str, reason: str) -> DecodeError:
        return DecodeError([Violation("", expected, found)], type_name=self._type_name, reason=reason)


class NativeFramer(Framer):
    """Finds events with the native engine's reader, which also converts the data of most of them."""

    def __init__(self, reader: SseReader, type_name: str, limits: Limits, buffer_bytes_max: int) -> None:
        super().__init__(type_name, limits, buffer_bytes_max)
        self._reader: SseReader | None = reader

    def feed(self, data: bytes) -> None:
        if self._reader is None:
            super().feed(data)
            return
        for frame in self._reader.frames(data):
            if frame[4] < END:
                self.frames.append(_as_frame(frame))
            elif frame[4] == BROKEN:
                self.resume_without_engine(data[self._reader.taken :])
                return
            else:
                self.add_native(frame)
        self.retry_ms = self._reader.retry_ms

    def add_native(self, found: NativeFrame) -> None:
        """Add an event that the native engine found, unless it is BROKEN."""
        frame = Frame._make(found)
        if frame.form == END:
            frame = frame._replace(data=DONE)
        elif frame.form == AFTER_DONE:
            frame = frame._replace(data=self._after_done())
        elif frame.form == TOO_LONG:
            frame = frame._replace(data=self._too_long())
        self.frames.append(frame)

    def resume_without_engine(self, data: bytes) -> None:
        """Continue without the native engine from its state, with the bytes that it has not consumed."""
        if self._reader is not None:
            self._restore(self._reader)
            self._reader = None
        super().feed(data)

    def end(self) -> None:
        self.resume_without_engine(b"")
        super().end()


def make_framer(
    plan: MessagePlan, validate: bool, limits: Limits, buffer_bytes_max: int, revision: int
) -> tuple[Framer, SseReader | None, bool]:
    """Return a framer for a stream, the native engine's reader or None, and whether messages have choices.

    The arguments and errors are those of the decoders.
    """
    if buffer_bytes_max < 1:
        raise ValueError(f"buffer_bytes_max must be 1 or more, not {buffer_bytes_max}")
    options = (validate, limits, buffer_bytes_max, revision)
    layout = stream_layout(plan_for(plan.message_class, revision))
    has_choices = layout[2] > 0
    reader = engine.sse_reader(plan.message_class, ErrorResponse, options, layout)
    if reader is None:
        return Framer(plan.name, limits, buffer_bytes_max), None, has_choices
    return NativeFramer(reader, plan.name, limits, buffer_bytes_max), reader, has_choices


@functools.cache
def stream_layout(plan: MessagePlan) -> tuple[int, int, int, int, int]:
    """Return the numbers of the fields that the native engine reads for observers; 0 for missing ones.

    These are the messages in a batch message, the usage and the choices in a message, and the index and the
    finish reason in a choice.
    """
    usage, choices = plan.by_name.get("usage"), plan.by_name.get("choices")
    choice = None if choices is None else choices.fields[0].message
    if usage is None or choices is None or choice is None:
        return (CHUNKS_NUMBER, 0, 0, 0, 0)
    index, reason = choice.by_name["index"], choice.by_name["finish_reason"]
    return (CHUNKS_NUMBER, usage.number, choices.number, index.number, reason.number)
