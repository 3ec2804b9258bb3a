"""Protobuf to messages, checked as JSON is."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf import text_format
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mistralwire.cli._failures import Failure, failure_of
from mistralwire.cli._wording import counted
from mistralwire.codec import Limits, check_answer, check_request, newer_content
from mistralwire.errors import DecodeError
from mistralwire.v1 import chat_completion_service_pb2

_QUOTED_MAX = 300
# The JSON form is longer than the input, whose length is bounded already.
_LIMITS = Limits(document_bytes_max=2**40)

_SERVICE = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"]
_REQUESTS = frozenset(GetMessageClass(method.input_type) for method in _SERVICE.methods)


class Parsed(NamedTuple):
    """A message, and where it holds content of a newer contract, which JSON can't hold: a line each."""

    message: Message
    newer: tuple[str, ...]


def parse_binary(
    message_type: type[Message],
    data: bytes,
    place: str,
    *,
    validate: bool,
    oldest_revision: int,
    hint: str = "",
) -> Parsed | Failure:
    """Parse wire bytes.

    A request with content of a newer contract is a failure even without validation; in any other message the
    rest counts.

    Args:
        message_type: What they are a message of.
        data: The bytes.
        place: Where they are, for the failure.
        validate: Whether to enforce the contract.
        oldest_revision: The oldest revision whose contract a request may keep.
        hint: What to say where the bytes have another form.
    """
    name = message_type.DESCRIPTOR.name
    try:
        message = message_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # the latter from protobuf in pure Python
        found = f"{counted(len(data), 'byte')} that {'is' if len(data) == 1 else 'are'} none"
        return Failure(place, (f"expected the wire bytes of a {name}, found {found}{hint}",))
    return _checked(message, place, validate, oldest_revision, hint)


def parse_text(
    message_type: type[Message], data: bytes, place: str, *, validate: bool, oldest_revision: int
) -> Parsed | Failure:
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
    return _checked(message, place, validate, oldest_revision, "")


def _checked(
    message: Message, place: str, validate: bool, oldest_revision: int, hint: str
) -> Parsed | Failure:
    is_request = type(message) in _REQUESTS
    newer = newer_content(message)
    # Bytes of another form have fields that no contract knows.
    lines = _hinted([f"{violation}; upgrade mistralwire" for violation in newer], hint)
    if newer and is_request:
        return Failure(place, lines)
    if not newer and _has_unknown_fields(message):
        # Numbers that are known, with another wire type: bytes of another message.
        found = f"others, which the output would lose{hint}"
        return Failure(place, (f"expected the fields of a {message.DESCRIPTOR.name}, found {found}",))
    try:
        if validate and is_request:
            check_request(message, limits=_LIMITS, oldest_revision=oldest_revision)
        elif validate:
            check_answer(message, limits=_LIMITS)
    except DecodeError as error:
        return Failure(place, _hinted(failure_of(place, error).problems, hint if newer else ""))
    return Parsed(message, lines)


def _hinted(lines: Sequence[str], hint: str) -> tuple[str, ...]:
    return (*lines[:-1], *(f"{line}{hint}" for line in lines[-1:]))


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
    """Check whether the message, or one in it, has fields that its type does not know."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() != message.ByteSize()
