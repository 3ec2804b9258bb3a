"""Writes messages to a stream, one at a time."""

from typing import BinaryIO, Literal

from google.protobuf import text_format
from google.protobuf.message import Message

from mistralwire._protobuf import write_varint
from mistralwire.cli.convert._formats import Format
from mistralwire.codec import SseDone, SseMessage, encode_sse, lift, lower, to_json


class Writer:
    """Writes messages in one format.

    Args:
        stream: The output.
        format_: The format.
        delimited: For binpb: whether to write a sequence of length-delimited messages.
        names: For JSON: the spelling of member names.
        indent: For json: spaces per level, or None for one line.
        contract_revision: For protobuf: revision of the oldest contract among the readers.

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
        self._is_single = not (format_.is_sequence or (format_ is Format.BINPB and delimited))
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether the format holds a single message and has it."""
        return self._is_single and self.count == 1

    @property
    def is_lacking(self) -> bool:
        """Whether the format holds a single message and has none."""
        return self._is_single and self.count == 0

    def write(self, item: SseMessage[Message]) -> None:
        """Write a message; a single one is held until `end`, since another may follow.

        Raises:
            EncodeError: If it has no JSON form; nothing is written then.
        """
        data = self._encode(item)
        if self._is_single:
            self._held = data
        else:
            self._stream.write(data)
        self.count += 1

    def end(self, *, is_whole: bool) -> None:
        """Write what follows the last message.

        Args:
            is_whole: Whether nothing was left out; a stream of events then ends with [DONE].
        """
        self._stream.write(self._held)
        if self.format is Format.SSE and is_whole:
            self._stream.write(encode_sse(SseDone()))

    def _encode(self, item: SseMessage[Message]) -> bytes:
        match self.format:
            case Format.JSON | Format.JSONL:
                return to_json(item.message, names=self._names, indent=self._indent) + b"\n"
            case Format.SSE:
                return encode_sse(item, names=self._names)
        message = lower(lift(item.message), self._contract_revision)
        if self.format is Format.TXTPB:
            return _to_text(message)
        data = message.SerializeToString()
        return write_varint(len(data)) + data if self._delimited else data


def _to_text(message: Message) -> bytes:
    # The header names the type: https://protobuf.dev/reference/protobuf/textformat-spec/#header
    descriptor = message.DESCRIPTOR
    header = f"# proto-file: {descriptor.file.name}\n# proto-message: {descriptor.full_name}\n\n"
    return (header + text_format.MessageToString(message, as_utf8=True)).encode()
