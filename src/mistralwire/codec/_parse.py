"""JSON text to Python values and back, with numbers and limits kept.

orjson does the work. It loses three things that JSON text can hold, so a second parser, the standard
library's, reads the texts that have one of them: numbers that neither a 64-bit integer nor a double holds
exactly (they become `Number`), numbers beyond a double's range, and escaped lone surrogates. The second one
also reads what is not JSON but comes all the same: a byte order mark, and in answers NaN and the infinities.
"""

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Never

import orjson

from mistralwire.codec._limits import Limits
from mistralwire.codec._syntax import ConstantError, describe_syntax
from mistralwire.errors import DecodeError, Reason, Violation

# A number may be inexact as a double only with 16 significant digits or more, or an exponent of three
# digits or more. They are looked for in text whose number characters are all 0, exponent signs all e: first
# anywhere, which costs next to nothing, then where a number may stand. Only the first few are looked at
# closely: with more of them, the second parser is cheaper.
_FOLD = bytes.maketrans(b"123456789.+-E", b"000000000000e")
_MANY_DIGITS = b"0" * 16
_LONG_EXPONENT = b"0e000"
_SUSPECT = re.compile(rb"0(?<![^\[:, \t\n\r]0)(?:0{15}|0*e000)")
_SUSPECTS_MAX = 8
_MARK = b"\xef\xbb\xbf"
_NUMBER = re.compile(rb"-?\d[\d.]*(?:[eE][+-]?\d+)?")
# As many digits as an integer of 64 bits has at most, and as the exponent of one in any sensible text.
_INTEGER_DIGITS_MAX = 19
_POWER_DIGITS_MAX = 8
# Up to so many characters, and well within the range of a double, every number is exact.
_EXACT_CHARACTERS_MAX = 10


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


class Infinite(Number):
    """An infinity: the double, and as its text the largest finite one, since JSON has no other."""

    __slots__ = ("double",)

    def __init__(self, double: float) -> None:
        super().__init__(to_text(finite(double)).decode())
        self.double = double


def finite(double: float) -> float:
    """Return the finite double that is nearest to one that is not NaN."""
    return min(max(double, -sys.float_info.max), sys.float_info.max)


def parse(
    data: bytes | bytearray | memoryview | str,
    limits: Limits,
    type_name: str = "",
    *,
    constants: bool = False,
) -> Any:
    """Parse JSON text; numbers that Python's int64 and float would change come as `Number`.

    Args:
        data: The text. A byte order mark in front of it is dropped.
        limits: Bounds on it.
        type_name: What is read, for the error.
        constants: Whether NaN, Infinity and -Infinity are read, as Python's `json` writes them: NaN becomes
            None, the others `Infinite`.

    Raises:
        DecodeError: If it is not JSON, or beyond the limits.
    """
    text = data if data.__class__ is bytes else as_bytes(data, type_name)
    if len(text) > limits.document_bytes_max and len(text.removeprefix(_MARK)) > limits.document_bytes_max:
        raise _too_much("", f"at most {limits.document_bytes_max} bytes", f"{len(text)} bytes", type_name)
    value = parse_any(text, type_name, constants=constants)
    check_limits(value, text, limits, type_name)
    return value


def parse_any(text: bytes, type_name: str = "", *, constants: bool = False) -> Any:
    """Parse JSON text of any size; otherwise as `parse`."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _parse_leniently(text, constants, type_name)
    return _parse_slowly(text.decode(), _DECODERS[True, False], type_name) if _may_be_inexact(text) else value


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


def _may_be_inexact(text: bytes) -> bool:
    """Return whether a JSON text may hold a number that orjson changes; never False where it does.

    Something in a string that looks like such a number counts too.
    """
    folded = text.translate(_FOLD)
    if _MANY_DIGITS not in folded and _LONG_EXPONENT not in folded:
        return False
    for count, suspect in enumerate(_SUSPECT.finditer(folded)):
        number = _NUMBER.match(text, suspect.start())
        if count == _SUSPECTS_MAX or (number and type(exact_number(number[0].decode())) is Number):
            return True
    return False


def _parse_leniently(data: bytes, constants: bool, type_name: str) -> Any:
    """Parse what orjson refused: JSON after all, or something close to it."""
    try:
        text = data.decode().removeprefix(_MARK.decode())
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise _not_json("UTF-8 text", found, type_name) from None
    try:
        return _parse_slowly(text, _DECODERS[_may_be_inexact(data), constants], type_name)
    except ValueError as error:
        raise _not_json("JSON", describe_syntax(text, error), type_name) from None


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
    if len(text) <= _EXACT_CHARACTERS_MAX and 1e-300 < abs(value) < 1e300:
        return value
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


def exact_integer(text: str) -> int | None:
    """Return the integer of 19 digits at most that the text of a number stands for; None for any other."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = whole + fraction
    significant = digits.strip("0")
    if not significant:
        return 0
    power = exponent.lstrip("+-0")
    if len(power) > _POWER_DIGITS_MAX:
        return None
    scale = int(power or 0) * (-1 if exponent.startswith("-") else 1)
    # What is behind the last significant digit, less what is behind the point.
    scale += len(digits) - len(digits.rstrip("0")) - len(fraction)
    if scale < 0 or len(significant) + scale > _INTEGER_DIGITS_MAX:
        return None
    value = int(significant + "0" * scale)
    return -value if mantissa.startswith("-") else value


def _refuse_constant(name: str) -> Never:
    raise ConstantError(name)


def _parse_slowly(text: str, decoder: json.JSONDecoder, type_name: str) -> Any:
    try:
        return decoder.decode(text)
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
    """Return whether a value nests arrays and objects deeper than so many levels."""
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
        return write_slowly(value)


def to_indented_text(value: Any, indent: int) -> bytes:
    """Write a parsed value as JSON text with a line a member."""
    if indent == 2:
        try:
            return orjson.dumps(value, default=_number_fragment, option=orjson.OPT_INDENT_2)
        except TypeError:
            return write_slowly(value, indent)
    return write_slowly(value, indent)


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold the text: whether it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number_fragment(value: object) -> orjson.Fragment:
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def write_slowly(value: Any, indent: int = 0) -> bytes:
    """Write a parsed value as JSON text, lone surrogates as escapes."""
    return _written(value, indent, 1).encode(errors="backslashreplace")


_WRITE_SCALAR: dict[type, Callable[[Any], str]] = {
    str: json.encoder.encode_basestring,
    int: int.__repr__,
    float: lambda number: orjson.dumps(number).decode(),
    bool: {False: "false", True: "true"}.__getitem__,
    type(None): lambda _: "null",
    Number: lambda number: number.text,
    Infinite: lambda number: number.text,
}


def _written(value: Any, indent: int, level: int) -> str:
    write = _WRITE_SCALAR.get(type(value))
    if write is not None:
        return write(value)
    is_object = type(value) is dict
    if not value:
        return "{}" if is_object else "[]"
    colon, comma, start, end = ":", ",", "", ""
    if indent:
        colon, start, end = ": ", "\n" + " " * indent * level, "\n" + " " * indent * (level - 1)
        comma += start
    if is_object:
        body = comma.join(
            [
                f"{json.encoder.encode_basestring(key)}{colon}{_written(item, indent, level + 1)}"
                for key, item in value.items()
            ]
        )
        return f"{{{start}{body}{end}}}"
    body = comma.join([_written(item, indent, level + 1) for item in value])
    return f"[{start}{body}{end}]"


def _not_json(expected: str, found: str, type_name: str) -> DecodeError:
    return DecodeError([Violation("", expected, found)], type_name=type_name, reason=Reason.NOT_JSON)


def _too_much(path: str, expected: str, found: str, type_name: str) -> DecodeError:
    return DecodeError([Violation(path, expected, found)], type_name=type_name, reason=Reason.LIMIT_EXCEEDED)


_CONSTANTS = {"NaN": None, "Infinity": Infinite(math.inf), "-Infinity": Infinite(-math.inf)}
# By whether numbers are kept exactly, and whether NaN and the infinities are read.
_DECODERS = {
    (is_exact, reads_constants): json.JSONDecoder(
        parse_float=_exact_float if is_exact else None,
        parse_int=_exact_int if is_exact else None,
        parse_constant=_CONSTANTS.__getitem__ if reads_constants else _refuse_constant,
    )
    for is_exact in (False, True)
    for reads_constants in (False, True)
}
