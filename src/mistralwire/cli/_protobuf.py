"""Protobuf to messages, checked as JSON is."""

import re

from google.protobuf import text_format
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire.cli._failures import Failure, failure_of
from mistralwire.cli._wording import counted
from mistralwire.codec import Limits, from_json, to_json
from mistralwire.errors import DecodeError, EncodeError

_QUOTED_MAX = 300


def parse_binary(
    message_type: type[Message], data: bytes, place: str, *, validate: bool, hint: str = ""
) -> Message | Failure:
    """Parse wire bytes.

    Fields that the type does not know are a failure even without validation: no output could keep them.

    Args:
        message_type: What they are a message of.
        data: The bytes.
        place: Where they are, for the failure.
        validate: Whether to enforce the contract.
        hint: What to say where the bytes have another form.
    """
    name = message_type.DESCRIPTOR.name
    try:
        message = message_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # the latter from protobuf in pure Python
        found = f"{counted(len(data), 'byte')} that {'is' if len(data) == 1 else 'are'} none"
        return Failure(place, (f"expected the wire bytes of a {name}, found {found}{hint}",))
    if _has_unknown_fields(message):
        found = f"others, which the output would lose{hint}"
        return Failure(place, (f"expected the fields of a {name}, found {found}",))
    return _check(message, place) if validate else message


def parse_text(message_type: type[Message], data: bytes, place: str, *, validate: bool) -> Message | Failure:
    """Parse protobuf's text format; the arguments are those of `parse_binary`."""
    message = message_type()
    try:
        text = data.decode()
        text_format.Parse(text, message)
    except UnicodeDecodeError as error:
        return Failure(place, (f"expected UTF-8 text, found byte 0x{data[error.start]:02x}",))
    except text_format.ParseError as error:
        problem = f"expected the protobuf text of a {message_type.DESCRIPTOR.name}, {_found(error, text)}"
        line = error.GetLine()
        return Failure(f":{line}" if line else place, (problem,))
    return _check(message, place) if validate else message


def _check(message: Message, place: str) -> Message | Failure:
    """Enforce the contract on a message that no JSON was read into: by way of its JSON."""
    try:
        data = to_json(message)
        # JSON is longer than wire bytes, whose length is bounded already.
        from_json(type(message), data, limits=Limits(document_bytes_max=max(1, len(data))))
    except DecodeError as error:
        return failure_of(place, error)
    except EncodeError as error:
        return Failure(place, (str(error),))
    return message


def _found(error: text_format.ParseError, text: str) -> str:
    """Say what the parser found, without the line's number and text, which it puts before it."""
    line, column = error.GetLine(), error.GetColumn()
    if line is None:
        return f"found {str(error)[:_QUOTED_MAX]}"
    problem = re.sub(r"^\d+(:\d+)? : ", "", str(error))
    problem = problem.removeprefix(f"'{text.split(chr(10))[line - 1]}': ")
    where = f" at column {column}" if column else ""
    return f"found{where}: {problem[:_QUOTED_MAX]}"


def _has_unknown_fields(message: Message) -> bool:
    """Say whether the message, or one in it, has fields that its type does not know."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() != message.ByteSize()
