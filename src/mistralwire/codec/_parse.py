"""JSON text to Python values and back, with numbers and limits kept.

orjson does the work. It loses three things that JSON text can hold, so a second parser, the standard
library's, reads the texts that have one of them: numbers that neither a 64-bit integer nor a double holds
exactly (they become `Number`), numbers beyond a double's range, and escaped lone surrogates.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Never

import orjson

from mistralwire.codec._limits import Limits
from mistralwire.errors import DecodeError, Reason, Violation

# A number may be inexact as a double only with 16 significant digits or more, or an exponent of three
# digits or more. They are looked for in text whose number characters are all 0, exponent signs all e.
_FOLD = bytes.maketrans(b"123456789.+-E", b"000000000000e")
_SUSPECTS = (b"0" * 16, b"0e000")
_NUMBER_TEXT = re.compile(rb"-?\d[\d.]*(?:[eE][+-]?\d+)?")
_RUN = re.compile(rb"[\d.+\-eE]+")
# Nothing is said of longer numbers: the second parser sees to them.
_NUMBER_LENGTH_MAX = 400
_NUMBER_BYTES = frozenset(b"0123456789.+-eE")
_BEFORE_NUMBER = frozenset(b"[:, \t\n\r")


SMALL_BYTES = 1_024
"""Texts up to this size are looked at for their nesting only where free-form JSON holds a container."""


class Number:
    """A JSON number that no 64-bit integer and no double holds exactly: its text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        """Compare the texts."""
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        """Hash the text."""
        return hash(self.text)

    def __repr__(self) -> str:
        """Show the text."""
        return f"Number({self.text!r})"


def parse(data: bytes | bytearray | memoryview | str, limits: Limits, type_name: str = "") -> Any:
    """Parse JSON text; numbers that Python's int64 and float would change come as `Number`.

    Raises:
        DecodeError: If it is not JSON, or beyond the limits.
    """
    text = as_bytes(data, type_name)
    if len(text) > limits.document_bytes_max:
        raise _too_much("", f"at most {limits.document_bytes_max} bytes", f"{len(text)} bytes", type_name)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        value = _parse_leniently(text, error, type_name)
    else:
        if has_inexact_number(text):
            value = _parse_exactly(text.decode(), type_name)
    check_limits(value, text, limits, type_name)
    return value


def as_bytes(data: bytes | bytearray | memoryview | str, type_name: str = "") -> bytes:
    """Give the document as UTF-8 bytes.

    Raises:
        DecodeError: If it is text that UTF-8 can't hold.
        TypeError: If it is neither bytes nor str.
    """
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError as error:
            found = f"a lone surrogate at character {error.start}"
            raise _not_json("Unicode text", found, type_name) from None
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"expected JSON as bytes or str, not {type(data).__name__}")


def has_inexact_number(text: bytes) -> bool:
    """Say whether the JSON text holds a number that orjson changes; never a wrong no.

    Something in a string that looks like such a number counts too.
    """
    folded = text.translate(_FOLD)
    return any(_has_inexact(text, folded, suspect) for suspect in _SUSPECTS if suspect in folded)


def _has_inexact(text: bytes, folded: bytes, suspect: bytes) -> bool:
    at = folded.find(suspect)
    while at >= 0:
        start = at
        while start and text[start - 1] in _NUMBER_BYTES:
            start -= 1
            if at - start > _NUMBER_LENGTH_MAX:
                return True
        if not start or text[start - 1] in _BEFORE_NUMBER:
            match = _NUMBER_TEXT.match(text, start)
            if match is not None and type(exact_number(match[0].decode())) is Number:
                return True
        # Each run of such characters is looked at once, or a long one would take for ever.
        run = _RUN.match(text, at)
        at = folded.find(suspect, run.end() if run else at + 1)
    return False


def _parse_leniently(text: bytes, error: orjson.JSONDecodeError, type_name: str) -> Any:
    """Parse what orjson refused: JSON after all if it is a matter of surrogates or of a number's range."""
    try:
        return _parse_exactly(text.decode(), type_name)
    except UnicodeDecodeError as unicode_error:
        found = f"byte 0x{text[unicode_error.start]:02x} at offset {unicode_error.start}"
        raise _not_json("UTF-8 text", found, type_name) from None
    except ValueError:
        if text.startswith(b"\xef\xbb\xbf"):
            raise _not_json("JSON without a byte order mark", "a byte order mark", type_name) from None
        found = str(error) if text.strip() else "nothing"
        raise _not_json("JSON", found, type_name) from None


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _exact_int(text: str) -> int | Number:
    if len(text) < 19:
        return int(text)
    if len(text) <= 20 and -(2**63) <= (value := int(text)) < 2**64:
        return value
    return Number(text)


def exact_number(text: str) -> int | float | Number:
    """Give the number that a JSON text stands for; what is no number after all is kept as it is."""
    try:
        return _exact_int(text) if text.lstrip("-").isdigit() else _exact_float(text)
    except ValueError:
        return Number(text)


def _exact_float(text: str) -> float | Number:
    value = float(text)
    written = repr(value)
    if written == text or (math.isfinite(value) and _digits(text) == _digits(written)):
        return value
    return Number(text)


def _digits(text: str) -> tuple[bool, str, int] | None:
    """Normalise a number: its sign, its digits without outer zeros, its exponent; None if that is far out."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(exponent) > 8:
        return None
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = whole + fraction
    scale = int(exponent or 0) - len(fraction) + len(digits) - len(digits.rstrip("0"))
    significant = digits.strip("0")
    return mantissa.startswith("-"), significant, scale if significant else 0


_exact_decoder = json.JSONDecoder(
    parse_float=_exact_float, parse_int=_exact_int, parse_constant=_refuse_constant
)


def _parse_exactly(text: str, type_name: str) -> Any:
    try:
        return _exact_decoder.decode(text)
    except RecursionError:
        raise too_deep(type_name) from None


def too_deep(type_name: str, path: str = "") -> DecodeError:
    """Give the error for a document that the stack has no room for."""
    return _too_much(path, "nesting that the stack has room for", "more levels", type_name)


def check_limits(value: Any, text: bytes, limits: Limits, type_name: str = "") -> None:
    """Check the nesting, the number of values and the members of the objects of a parsed document.

    Args:
        value: The parsed document.
        text: Its text, which tells at once of most documents that they are within the limits.
        limits: The bounds.
        type_name: What was read, for the error.

    Raises:
        DecodeError: If a bound is exceeded.
    """
    size = len(text)
    # A level of nesting takes 2 bytes, a member 5, and a comma stands between any two values.
    may_be_deep = size >= 2 * limits.depth_max and count_brackets(text) > limits.depth_max
    if may_be_deep and is_deeper(value, limits.depth_max):
        raise _too_much("", f"nesting of at most {limits.depth_max} levels", "more levels", type_name)
    if size >= 5 * limits.members_max:
        for container in _containers(value):
            if len(container) > limits.members_max and type(container) is dict:
                found = f"one with {len(container)} members"
                raise _too_much("", f"objects of at most {limits.members_max} members", found, type_name)
    if size >= limits.values_max and text.count(b",") + count_brackets(text) > limits.values_max:
        values = sum(map(len, _containers(value)))
        if values > limits.values_max:
            raise _too_much("", f"at most {limits.values_max} values in all", f"{values} values", type_name)


def count_brackets(text: bytes) -> int:
    """Give a bound on the nesting of a JSON text."""
    return text.count(b"{") + text.count(b"[")


def is_deeper(value: Any, levels: int) -> bool:
    """Say whether a value nests arrays and objects deeper than so many levels."""
    level = _containers_in((value,))
    for _ in range(levels):
        if not level:
            return False
        level = _containers_of(level)
    return bool(level)


_CONTAINERS = frozenset((dict, list))


def _containers_in(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if type(value) in _CONTAINERS]


def _containers_of(level: list[Any]) -> list[Any]:
    return [
        child
        for container in level
        for child in (container.values() if type(container) is dict else container)
        if type(child) in _CONTAINERS
    ]


def _containers(value: Any) -> Iterator[Any]:
    level = _containers_in((value,))
    while level:
        yield from level
        level = _containers_of(level)


def to_text(value: Any) -> bytes:
    """Write a parsed value as compact JSON text."""
    try:
        return orjson.dumps(value, default=_number_fragment)
    except TypeError:
        # A lone surrogate, or a depth that orjson does not write.
        return write_slowly(value).encode()


def to_indented_text(value: Any, indent: int) -> bytes:
    """Write a parsed value as JSON text with a line a member."""
    if indent == 2:
        try:
            return orjson.dumps(value, default=_number_fragment, option=orjson.OPT_INDENT_2)
        except TypeError:
            return write_slowly(value, indent).encode()
    return write_slowly(value, indent).encode()


def is_unicode(text: str) -> bool:
    """Say whether UTF-8 can hold the text: whether it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number_fragment(value: object) -> orjson.Fragment:
    if type(value) is Number:
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def write_slowly(value: Any, indent: int = 0, level: int = 1) -> str:
    """Write a parsed value as JSON text, lone surrogates as escapes."""
    if type(value) is Number:
        return value.text
    if not value or type(value) not in _CONTAINERS:
        return orjson.dumps(value).decode() if type(value) is not str else _quote(value)
    colon, comma, outer = ":", ",", ""
    if indent:
        colon, comma, outer = ": ", ",\n" + " " * indent * level, "\n" + " " * indent * (level - 1)
    if type(value) is dict:
        pairs = (
            f"{_quote(key)}{colon}{write_slowly(item, indent, level + 1)}" for key, item in value.items()
        )
        opening, body, closing = "{", comma.join(pairs), "}"
    else:
        opening, body, closing = "[", comma.join(write_slowly(item, indent, level + 1) for item in value), "]"
    return f"{opening}{comma[1:]}{body}{outer}{closing}"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=not is_unicode(text))


def _not_json(expected: str, found: str, type_name: str) -> DecodeError:
    return DecodeError([Violation("", expected, found)], type_name=type_name, reason=Reason.NOT_JSON)


def _too_much(path: str, expected: str, found: str, type_name: str) -> DecodeError:
    return DecodeError([Violation(path, expected, found)], type_name=type_name, reason=Reason.LIMIT_EXCEEDED)
