"""Writing messages to a stream, one at a time."""

from typing import BinaryIO, Literal

from google.protobuf import text_format
from google.protobuf.message import Message

from mistralwire._varint import write_varint
from mistralwire.cli.convert._formats import Format
from mistralwire.cli.convert._message_types import PACKAGE
from mistralwire.cli.convert._reader import Record
from mistralwire.codec import SseDone, SseMessage, encode_sse, lift, lower, to_json


class Writer:
    """Writes messages in one format.

    Args:
        stream: Where to.
        format_: The format.
        delimited: For binpb: whether to write a sequence of messages, the length of each before it.
        names: For JSON: the spelling of member names.
        indent: For json: spaces a level, or None for one line.
        contract_revision: For protobuf: revision of the oldest contract that its readers have.

    Attributes:
        format: The format.
        count: How many messages were written.
    """

    def __init__(
        self,
        stream: BinaryIO,
        format_: Format,
        *,
        delimited: bool,
        names: Literal["snake", "camel"],
        indent: int | None,
        contract_revision: int,
    ) -> None:
        self._stream = stream
        self.format = format_
        self._delimited = delimited
        self._names = names
        self._indent = indent
        self._contract_revision = contract_revision
        self._held = b""
        self._single = format_ in (Format.JSON, Format.TXTPB) or (format_ is Format.BINPB and not delimited)
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether the format holds one message and has it."""
        return self._single and self.count == 1

    @property
    def is_lacking(self) -> bool:
        """Whether the format holds one message and has none."""
        return self._single and self.count == 0

    def write(self, record: Record) -> None:
        """Write a message; the one of a format that holds one when the end shows that there are no others.

        Raises:
            EncodeError: If it has no JSON form; nothing is written then.
        """
        data = self._encode(record)
        if self._single:
            self._held = data
        else:
            self._stream.write(data)
        self.count += 1

    def end(self, *, is_whole: bool) -> None:
        """Write what is left to write after the last message.

        Args:
            is_whole: Whether nothing was left out. A stream of events says so at its end.
        """
        self._stream.write(self._held)
        self._held = b""
        if self.format is Format.SSE and is_whole:
            self._stream.write(encode_sse(SseDone()))

    def _encode(self, record: Record) -> bytes:
        message = record.message
        match self.format:
            case Format.JSON:
                return to_json(message, names=self._names, indent=self._indent) + b"\n"
            case Format.JSONL:
                return to_json(message, names=self._names) + b"\n"
            case Format.SSE:
                return encode_sse(SseMessage(message, record.id, record.event), names=self._names)
        message = lower(lift(message), self._contract_revision)
        if self.format is Format.TXTPB:
            return _text(message)
        data = message.SerializeToString()
        return write_varint(len(data)) + data if self._delimited else data


def _text(message: Message) -> bytes:
    # The two comments say what the text is: https://protobuf.dev/reference/protobuf/textformat-spec/#header
    descriptor = message.DESCRIPTOR
    header = f"# proto-file: {descriptor.file.name}\n# proto-message: {PACKAGE}.{descriptor.name}\n\n"
    return (header + text_format.MessageToString(message, as_utf8=True)).encode()
