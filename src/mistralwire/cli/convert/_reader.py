"""Reading messages from a source, one at a time; what can't be read comes as a failure."""

import dataclasses
from collections.abc import Callable, Iterator

from google.protobuf.message import Message

from mistralwire.cli._failures import Failure, failure_of
from mistralwire.cli._wording import counted
from mistralwire.cli.convert._formats import Format
from mistralwire.cli.convert._input import Source
from mistralwire.cli.convert._message_types import TypeChoice
from mistralwire.cli.convert._protobuf import Parsed, parse_binary, parse_text
from mistralwire.codec import (
    Limits,
    SseDecoder,
    SseError,
    SseMessage,
    from_json,
    read_request,
    to_json,
)
from mistralwire.errors import DecodeError, Reason
from mistralwire.v1 import ErrorResponse

_VARINT_BYTES_MAX = 10
_FRAMING_HINT = "; if these are messages with a length before each, choose --to jsonl"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A message that was read.

    Attributes:
        place: As for a failure.
        message: The message.
        id: Of a server-sent event: its id, or None.
        event: Of a server-sent event: its name, or None.
        newer: Where the message holds content of a newer contract, a line each.
    """

    place: str
    message: Message
    id: str | None = None
    event: str | None = None
    newer: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Remark:
    """Something about the input that is no failure.

    Attributes:
        place: As for a failure.
        text: What it is.
    """

    place: str
    text: str


Item = Record | Failure | Remark


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """Reads one source.

    Attributes:
        source: The input.
        types: Gives the type of its messages.
        validate: Whether to enforce the contract.
        oldest_revision: The oldest revision of the contract that a document may keep.
    """

    source: Source
    types: TypeChoice
    validate: bool
    oldest_revision: int

    def read(self, format_: Format, *, delimited: bool) -> Iterator[Item]:
        """Read the messages.

        Args:
            format_: Format of the source.
            delimited: For binpb: whether it is a sequence of messages, the length of each before it.

        Yields:
            What was read, in order. A failure is no reason to stop, except for a final one.
        """
        match format_:
            case Format.JSON:
                return self._read_whole(self._parse_json)
            case Format.TXTPB:
                return self._read_whole(self._parse_text)
            case Format.JSONL:
                return self._read_lines()
            case Format.SSE:
                return self._read_events()
        return self._read_delimited() if delimited else self._read_whole(self._parse_only_binary)

    @property
    def _limits(self) -> Limits:
        return Limits(document_bytes_max=self.source.item_bytes_max)

    def _too_long(self, what: str) -> str:
        return f"expected {what} of at most {self.source.item_bytes_max} bytes, found a longer one"

    def _read_whole(self, parse: Callable[[str, bytes], Item]) -> Iterator[Item]:
        data = self.source.read(self.source.item_bytes_max + 1)
        if len(data) > self.source.item_bytes_max:
            yield Failure("", (self._too_long("a document"),), final=True)
        else:
            yield parse("", data)

    def _read_lines(self) -> Iterator[Item]:
        number = 0
        while True:
            line, within_bound = self.source.readline()
            if not line:
                return
            number += 1
            place = f":{number}"
            if not within_bound:
                yield Failure(place, (self._too_long("a line"),))
            elif line.strip():
                yield self._parse_json(place, line.rstrip())

    def _read_delimited(self) -> Iterator[Item]:
        number = 0
        while first := self.source.read(1):
            number += 1
            place = f": message {number}"
            size = self._read_varint(first)
            if size is None:
                yield Failure(place, ("expected its length as a varint, found none",), final=True)
                return
            if size > self.source.item_bytes_max:
                whole = self.source.skip(size)
                yield Failure(place, (self._too_long("a message"),), final=not whole)
                continue
            data = self.source.read(size)
            if len(data) < size:
                problem = f"expected {counted(size, 'byte')}, found the end of the file after {len(data)}"
                yield Failure(place, (problem,), final=True)
                return
            yield self._parse_binary(place, data)

    def _read_varint(self, byte: bytes) -> int | None:
        value = 0
        for index in range(_VARINT_BYTES_MAX):
            if not byte:
                return None
            value |= (byte[0] & 0x7F) << (7 * index)
            if byte[0] < 0x80:
                return value
            byte = self.source.read(1)
        return None

    def _read_events(self) -> Iterator[Item]:
        decoder = SseDecoder(
            self.types.of_stream(),
            validate=self.validate,
            limits=self._limits,
            buffer_bytes_max=self.source.item_bytes_max,
        )
        while data := self.source.read_some():
            decoder.feed(data)
            yield from _drain(decoder)
        try:
            decoder.close()
        except DecodeError as error:
            yield _bad_event(decoder, error)
        yield from _drain(decoder)
        if decoder.lacks_done:
            text = "the stream ended without [DONE], but each choice had a finish_reason; taken as complete"
            yield Remark(f":{decoder.line}", text)

    def _parse_json(self, place: str, data: bytes) -> Item:
        try:
            return Record(place, self._read_json(self.types.of_json(data), data))
        except DecodeError as error:
            return failure_of(place, error)

    def _read_json(self, message_type: type[Message], data: bytes) -> Message:
        if not self.validate:
            return from_json(message_type, data, validate=False, limits=self._limits)
        return read_request(message_type, data, oldest_revision=self.oldest_revision, limits=self._limits)

    def _parse_binary(self, place: str, data: bytes, hint: str = "") -> Item:
        message_type = self.types.of_binary()
        found = parse_binary(
            message_type,
            data,
            place,
            validate=self.validate,
            oldest_revision=self.oldest_revision,
            hint=hint,
        )
        return _record(place, found)

    def _parse_only_binary(self, place: str, data: bytes) -> Item:
        return self._parse_binary(place, data, _FRAMING_HINT)

    def _parse_text(self, place: str, data: bytes) -> Item:
        message_type = self.types.of_text(data)
        found = parse_text(
            message_type, data, place, validate=self.validate, oldest_revision=self.oldest_revision
        )
        return _record(place, found)


def _record(place: str, found: Parsed | Failure) -> Item:
    return found if isinstance(found, Failure) else Record(place, found.message, newer=found.newer)


def _drain(decoder: SseDecoder[Message]) -> Iterator[Item]:
    """Give the events that are complete; a bad one is a failure in its place."""
    while True:
        try:
            event = next(decoder, None)
        except DecodeError as error:
            yield _bad_event(decoder, error)
            continue
        if event is None:
            return
        if isinstance(event, SseMessage):
            yield Record(f":{decoder.line}", event.message, event.id, event.event)
        elif isinstance(event, SseError):
            yield Failure(f":{decoder.line}", (f"the upstream sent an error: {_error_text(event.error)}",))


def _bad_event(decoder: SseDecoder[Message], error: DecodeError) -> Failure:
    return failure_of(
        f":{decoder.line}", error, part=" of the data", final=error.reason == Reason.STREAM_TRUNCATED
    )


def _error_text(error: ErrorResponse) -> str:
    return error.message_string or error.detail_string or to_json(error).decode()
