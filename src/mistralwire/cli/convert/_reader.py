"""Reads the messages of an input, one at a time; what can't be read is reported and skipped."""

import contextlib
import dataclasses
import functools
import io
import re
import sys
from collections.abc import Callable, Iterator
from typing import IO, TypeAlias, cast

import click
from google.protobuf import text_format
from google.protobuf.message import Message

from mistralwire._methods import METHODS_BY_REQUEST
from mistralwire._protobuf import parsed, read_varint
from mistralwire.cli._wording import counted
from mistralwire.cli.convert._input import BLOCK_BYTES, Format, Input, format_of_content, format_of_name
from mistralwire.cli.convert._message_types import MESSAGE_TYPES, confusion_hint, type_in_json, type_in_text
from mistralwire.cli.convert._report import Report, show_progress
from mistralwire.codec import (
    DOCUMENT_BYTES_MAX,
    Limits,
    SseDecoder,
    SseError,
    SseMessage,
    check_answer,
    check_request,
    from_json,
    newer_content,
    read_request,
    to_json,
)
from mistralwire.errors import DecodeError

Item: TypeAlias = tuple[str, SseMessage[Message]]
"""The place of a message in its file, to follow the file's name, and the message."""

_VARINT_BYTES_MAX = 10
_QUOTED_CHARS_MAX = 300
# The JSON form of a message is longer than its wire bytes, whose number is bounded already.
_CHECK_LIMITS = Limits(document_bytes_max=2**40)


@dataclasses.dataclass(slots=True)
class Reader:
    """Reads the messages of one input.

    Attributes:
        input: The input.
        report: Where failures and warnings are printed.
        message_type: Type of the messages; None until the first one shows it.
        validate: Whether to enforce the contract.
        oldest_revision: The oldest revision of the contract that a document may keep.
        delimited_options: The options for length-delimited messages, for the error of a single one.
    """

    input: Input
    report: Report
    message_type: type[Message] | None
    validate: bool
    oldest_revision: int
    delimited_options: str

    def infer_format(self, given: Format | None, *, to_sequence: bool) -> Format:
        """Return the given format, or the one that the input's name or content shows: `format_of_content`.

        Raises:
            click.UsageError: If neither shows it.
        """
        found = given or format_of_name(self.report.file)
        if found is None:
            with self.input.look() as content:
                found = format_of_content(content, self.input.item_bytes_max, to_sequence=to_sequence)
        if found is None:
            name = self.report.file
            raise click.UsageError(
                f"cannot infer the input format from {name} or its content; specify it with --from"
            )
        return found

    def read(self, format_: Format, *, delimited: bool) -> Iterator[Item]:
        """Read the messages in order.

        Args:
            format_: Format of the input.
            delimited: For binpb: whether it is a sequence of length-delimited messages.

        Raises:
            click.exceptions.Exit: If the report ends the run.
            click.UsageError: If the type of the messages is not clear.
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
            case Format.BINPB if delimited:
                return self._read_delimited()
        hint = f"; if these are length-delimited messages, use {self.delimited_options}"
        return self._read_whole(functools.partial(self._parse_binary, hint=hint))

    def _type(self, infer_name: Callable[[], str] = str) -> type[Message]:
        """Return the type of the messages; `infer_name` returns its name if it is not known yet, or ""."""
        if self.message_type is None:
            self.message_type = MESSAGE_TYPES.get(infer_name())
        if self.message_type is None:
            raise click.UsageError(
                f"cannot infer the message type from {self.report.file}; "
                "specify it with --type, as in --type ChatCompletionResponse"
            )
        return self.message_type

    @property
    def _limits(self) -> Limits:
        return Limits(document_bytes_max=self.input.item_bytes_max)

    def _fail_as_too_long(self, place: str, what: str) -> None:
        bound = self.input.item_bytes_max
        self.report.fail(place, f"expected {what} of at most {bound} bytes, found a longer one")

    def _read_whole(self, parse: Callable[[str, bytes], Iterator[Item]]) -> Iterator[Item]:
        data = self.input.read(self.input.item_bytes_max + 1)
        if len(data) > self.input.item_bytes_max:
            self._fail_as_too_long("", "a document")
        else:
            yield from parse("", data)

    def _read_lines(self) -> Iterator[Item]:
        for number, line in enumerate(iter(self.input.read_line, b""), 1):
            place = f":{number}"
            if line is None:
                self._fail_as_too_long(place, "a line")
            elif line.strip():
                yield from self._parse_json(place, line.rstrip())

    def _read_delimited(self) -> Iterator[Item]:
        for number, first in enumerate(iter(lambda: self.input.read(1), b""), 1):
            place = f": message {number}"
            prefix = first
            while prefix[-1] >= 0x80 and len(prefix) < _VARINT_BYTES_MAX and (byte := self.input.read(1)):
                prefix += byte
            if prefix[-1] >= 0x80:
                self.report.fail(place, "expected its length as a varint, found none")
                return
            size, _ = read_varint(prefix, 0)
            if size > self.input.item_bytes_max:
                is_whole = self.input.skip(size)
                self._fail_as_too_long(place, "a message")
                if not is_whole:
                    return
                continue
            data = self.input.read(size)
            if len(data) < size:
                found = f"found the end of the file after {len(data)}"
                self.report.fail(place, f"expected {counted(size, 'byte')}, {found}")
                return
            yield from self._parse_binary(place, data)

    def _read_events(self) -> Iterator[Item]:
        decoder = SseDecoder(
            self._type(lambda: "CompletionChunk"),
            validate=self.validate,
            limits=self._limits,
            buffer_bytes_max=self.input.item_bytes_max,
        )
        while data := self.input.read1(BLOCK_BYTES):
            decoder.feed(data)
            yield from self._drain(decoder)
        try:
            decoder.close()
        except DecodeError as error:
            self._fail_event(decoder, error)
        yield from self._drain(decoder)
        if decoder.lacks_done:
            text = "the stream ended without [DONE], but each choice had a finish_reason; treated as complete"
            self.report.warn(f":{decoder.line}", text)

    def _drain(self, decoder: SseDecoder[Message]) -> Iterator[Item]:
        """Yield the events that are complete; report the bad ones in their place."""
        while True:
            try:
                event = next(decoder, None)
            except DecodeError as error:
                self._fail_event(decoder, error)
                continue
            place = f":{decoder.line}"
            match event:
                case None:
                    return
                case SseMessage():
                    yield place, event
                case SseError(error=sent):
                    text = sent.message_string or sent.detail_string or to_json(sent).decode()
                    self.report.fail(place, f"the upstream sent an error: {text}")

    def _fail_event(self, decoder: SseDecoder[Message], error: DecodeError) -> None:
        hint = confusion_hint(self._type())
        self.report.fail_decoding(f":{decoder.line}", error, part=" of the data", hint=hint)

    def _parse_json(self, place: str, data: bytes) -> Iterator[Item]:
        try:
            message_type = self._type(lambda: type_in_json(data))
            if self.validate:
                message = read_request(
                    message_type, data, oldest_revision=self.oldest_revision, limits=self._limits
                )
            else:
                message = from_json(message_type, data, validate=False, limits=self._limits)
        except DecodeError as error:
            self.report.fail_decoding(place, error, hint=confusion_hint(self.message_type, data))
        else:
            yield place, SseMessage(message)

    def _parse_text(self, place: str, data: bytes) -> Iterator[Item]:
        message = self._type(lambda: type_in_text(data))()
        try:
            text = data.decode()
            text_format.Parse(text, message)
        except UnicodeDecodeError as error:
            self.report.fail(place, f"expected UTF-8 text, found byte 0x{data[error.start]:02x}")
        except text_format.ParseError as error:
            place = f":{error.GetLine()}" if error.GetLine() else place
            expected = f"expected the protobuf text of a {message.DESCRIPTOR.name}"
            self.report.fail(place, f"{expected}, {_syntax_error(error, text)}")
        else:
            yield from self._check(place, message)

    def _parse_binary(self, place: str, data: bytes, hint: str = "") -> Iterator[Item]:
        message_type = self._type()
        message = parsed(message_type, data)
        if message is None:
            found = f"{counted(len(data), 'byte')} of something else{hint}"
            expected = f"expected the wire bytes of a {message_type.DESCRIPTOR.name}"
            self.report.fail(place, f"{expected}, found {found}")
        else:
            yield from self._check(place, message, hint)

    def _check(self, place: str, message: Message, hint: str = "") -> Iterator[Item]:
        """Check a protobuf message as JSON is checked.

        A request with content of a newer contract fails even without validation. Any other message loses
        that content, with a warning.
        """
        is_request = type(message) in METHODS_BY_REQUEST
        newer = [f"{violation}; upgrade mistralwire" for violation in newer_content(message)]
        if newer:
            # Bytes in another framing have fields that no contract knows.
            newer[-1] += hint
        elif _has_unknown_fields(message):
            # Known field numbers with another wire type: bytes of another message.
            found = f"others, which the output would lose{hint}"
            self.report.fail(place, f"expected the fields of a {message.DESCRIPTOR.name}, found {found}")
            return
        if newer and is_request:
            self.report.fail(place, *newer)
            return
        try:
            if self.validate and is_request:
                check_request(message, limits=_CHECK_LIMITS, oldest_revision=self.oldest_revision)
            elif self.validate:
                check_answer(message, limits=_CHECK_LIMITS)
        except DecodeError as error:
            self.report.fail_decoding(place, error, hint=hint if newer else "")
            return
        for text in newer:
            self.report.warn(place, text)
        yield place, SseMessage(message)


def _syntax_error(error: text_format.ParseError, text: str) -> str:
    """Describe what the parser found, without the line's number and text that it begins with."""
    line, column = error.GetLine(), error.GetColumn()
    if line is None:
        return f"found {str(error)[:_QUOTED_CHARS_MAX]}"
    problem = re.sub(r"^\d+(:\d+)? : ", "", str(error))
    problem = problem.removeprefix(f"'{text.split(chr(10))[line - 1]}': ")
    where = f" at column {column}" if column else ""
    return f"found{where}: {problem[:_QUOTED_CHARS_MAX]}"


def _has_unknown_fields(message: Message) -> bool:
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() != message.ByteSize()


@contextlib.contextmanager
def open_input(
    file: str | None, label: str, *, keep_going: bool, output: IO[bytes] | None = None
) -> Iterator[tuple[Input, Report]]:
    """Open a file, or standard input for `-` or None, and show the progress.

    Args:
        file: The file.
        label: What is done, such as `converting`.
        keep_going: Whether to continue after a failure.
        output: Flushed before each read that may block, so that its readers get everything that is done.

    Raises:
        click.UsageError: If standard input is closed, or is a terminal that nobody asked for.
        OSError: If the file can't be read.
    """
    is_standard = file is None or file == "-"
    if is_standard and sys.stdin is None:
        raise click.UsageError("standard input is closed; name a FILE to read")
    if file is None and sys.stdin.isatty():
        raise click.UsageError(
            "expected a FILE, or standard input that is not a terminal; name a FILE, or - to type it"
        )
    with click.open_file(file or "-", "rb") as stream, show_progress(stream, label, output) as show:

        def before_read(count: int) -> None:
            if output is not None:
                output.flush()
            if show is not None:
                show(count)

        source = Input(cast("io.BufferedIOBase", stream), before_read, DOCUMENT_BYTES_MAX)
        name = "<stdin>" if is_standard else str(file)
        yield source, Report(name, keep_going=keep_going, has_progress=show is not None)
