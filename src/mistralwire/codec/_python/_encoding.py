"""The state of one conversion from a message to JSON: the path, the errors, and what is lost."""

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from mistralwire.codec._limits import DEPTH_MAX, Limits
from mistralwire.codec._python._describe import describe, join_path
from mistralwire.codec._python._parse import parse
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import CONTRACT_REVISION, Reason

_TEXT_LIMITS = Limits(document_bytes_max=2**31, depth_max=DEPTH_MAX, members_max=2**31)


class Full(Exception):  # noqa: N818 - it never leaves the codec
    """More errors were found than are collected."""


class UnknownFound(Exception):  # noqa: N818 - it never leaves the codec
    """A message has unknown fields, and their size has not been checked."""


class Encoding:
    """The state of one conversion.

    It collects up to `errors_max` errors in a list, or raises the first one without a list. With
    `infinities`, infinite doubles have a JSON form, the largest finite double.

    Attributes:
        path: Names and indexes of the current place.
        lost: Places with content of a newer contract.
        collects: Whether errors are collected.
        has_dropped: Whether unknown fields were removed from the message beforehand.
    """

    has_dropped = False
    _expects_unknown = False

    def __init__(
        self, errors: list[EncodeError] | None = None, errors_max: int = 0, *, infinities: bool = True
    ) -> None:
        self.infinities = infinities
        self.path: list[str | int] = []
        self.lost: list[tuple[str, int]] = []
        self.collects = errors is not None
        self._errors = errors if errors is not None else []
        self._errors_max = errors_max

    def restart(self) -> None:
        """Discard all findings, and accept unknown fields from now on."""
        self.path.clear()
        self.lost.clear()
        self._errors.clear()
        self._expects_unknown = True

    def _add_error(self, message: str, reason: Reason) -> None:
        if len(self._errors) > self._errors_max:
            raise Full
        self._errors.append(EncodeError(message, path=join_path(self.path), reason=reason))

    def stand_in(self, value: Any, message: str) -> Any:
        """Collect or raise the error of a value without a JSON form; return `value` in its place."""
        if not self.collects:
            raise EncodeError(message, path=join_path(self.path))
        self._add_error(message, Reason.NO_JSON_FORM)
        return value

    def note(self, message: str) -> None:
        """Collect a violation that does not prevent the conversion."""
        if self.collects:
            self._add_error(message, Reason.CONTRACT_VIOLATION)

    def lose(self, message_name: str, number: int, what: str) -> None:
        """Record content of a newer contract, which has no JSON form here."""
        if not self.collects:
            self.lost.append((message_name, number))
        else:
            expected = f"content of revision {CONTRACT_REVISION} of the contract"
            message = f"expected {expected}, found {what}, which it does not have"
            self._add_error(message, Reason.CONTRACT_NEWER)

    def lose_fields(self, message_type: type[Message], tags: Sequence[int]) -> None:
        if not self._expects_unknown:
            raise UnknownFound
        descriptor = message_type.DESCRIPTOR
        for number in sorted({tag >> 3 for tag in tags}):
            known = descriptor.fields_by_number.get(number)
            if known is not None and self.collects:
                # A field never changes its type: this is not a newer contract, but another message.
                found = "found its number with another wire type"
                self.note(f"expected the field {known.name} of {descriptor.name}, {found}")
            else:
                self.lose(descriptor.name, number, f"the field {number} of {descriptor.name}")

    def parse(self, text: bytes, *, must_be_object: bool) -> Any:
        try:
            return parse_embedded(text, self.path, must_be_object=must_be_object)
        except EncodeError as error:
            return self.stand_in({}, error.message)


def parse_embedded(text: bytes | str, path: Iterable[str | int], *, must_be_object: bool) -> Any:
    """Parse JSON text in a field of a message; an EncodeError if it is not JSON, or must be an object."""
    try:
        value = parse(text, _TEXT_LIMITS)
    except DecodeError as error:
        violation = error.violations[0]
        message = f"expected {violation.expected} in the field, found {violation.found}"
        raise EncodeError(message, path=join_path(path)) from None
    if must_be_object and type(value) is not dict:
        message = f"expected the text of an object in the field, found {describe(value)}"
        raise EncodeError(message, path=join_path(path))
    return value
