"""JSON numbers that Python's int and float would change, kept as their text."""

import decimal
import sys

import orjson

# The most digits of a 64-bit integer.
_INTEGER_DIGITS_MAX = 19
# A float with a longer exponent, sign included, is kept as text.
_EXPONENT_CHARS_MAX = 8
# Up to so many characters, and well within the range of a double, every number is exact.
_EXACT_CHARACTERS_MAX = 10


class Number:
    """A JSON number that no 64-bit integer and no double holds exactly: its text."""

    # Not a dataclass, which orjson would write as an object.
    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text!r})"


class Infinite(Number):
    """An infinity: the double and, since JSON has no infinities, the text of the largest finite double."""

    __slots__ = ("double",)

    def __init__(self, double: float) -> None:
        super().__init__(orjson.dumps(finite(double)).decode())
        self.double = double


def finite(double: float) -> float:
    """Return the finite double that is nearest to one that is not NaN."""
    return min(max(double, -sys.float_info.max), sys.float_info.max)


def exact_int(text: str) -> int | Number:
    """Return the value of the text of an integer; a Number if 64 bits do not hold it."""
    if len(text) < 19:
        return int(text)
    if len(text) <= 20 and -(2**63) <= (value := int(text)) < 2**64:
        return value
    return Number(text)


def exact_number(text: str) -> int | float | Number:
    """Return the value of the text of a JSON number; text that is not a number is kept."""
    try:
        return exact_int(text) if text.lstrip("-").isdigit() else exact_float(text)
    except ValueError:
        return Number(text)


def exact_float(text: str) -> float | Number:
    """Return the value of the text of a float; a Number if no double has the same digits."""
    value = float(text)
    if len(text) <= _EXACT_CHARACTERS_MAX and 1e-300 < abs(value) < 1e300:
        return value
    written = repr(value)
    # With the same digits the powers of ten are the same: both texts stand for the same double.
    return value if written == text or _digits(written) == _digits(text) else Number(text)


def _digits(text: str) -> str | None:
    """Return the digits of a number without outer zeros; None if its exponent is too long."""
    mantissa, _, exponent = text.lower().partition("e")
    return mantissa.replace(".", "").strip("-0") if len(exponent) <= _EXPONENT_CHARS_MAX else None


def exact_integer(text: str) -> int | None:
    """Return the value of the text of a number if it is an integer of at most 19 digits, otherwise None."""
    if not text.lower().partition("e")[0].strip("-0."):
        return 0
    try:
        value = decimal.Decimal(text)
    except decimal.InvalidOperation:  # an exponent beyond Decimal's
        return None
    is_short = value.adjusted() < _INTEGER_DIGITS_MAX
    return int(value) if is_short and value == value.to_integral_value() else None
