"""Python values as parsed JSON: what `from_dict` takes."""

import decimal
import math
from typing import Any

from mistralwire.codec._limits import Limits
from mistralwire.codec._parse import Number, exact_number, too_deep
from mistralwire.codec._path import join_path
from mistralwire.errors import DecodeError, Reason, Violation

# Writing an integer in decimal takes time with the square of its length.
_INTEGER_BITS_MAX = 100_000


def to_parsed(value: Any, limits: Limits, type_name: str) -> Any:
    """Copy a value of dicts, lists, strings, numbers, bools and None into what the JSON parser gives.

    Raises:
        DecodeError: If it holds anything else, or goes beyond the limits.
    """
    try:
        return _Converter(limits, type_name).convert(value, ())
    except RecursionError:
        raise too_deep(type_name) from None


class _Converter:
    """Copies one value."""

    def __init__(self, limits: Limits, type_name: str) -> None:
        self._limits = limits
        self._type_name = type_name
        self._values = 0

    def convert(self, value: Any, path: tuple[str | int, ...]) -> Any:
        match value:
            case None | bool() | str():
                return str.__str__(value) if isinstance(value, str) else value
            case int():
                if value.bit_length() > _INTEGER_BITS_MAX:
                    expected = f"an integer of at most {_INTEGER_BITS_MAX} bits"
                    found = f"one of {value.bit_length()} bits"
                    raise self._error(path, expected, found, Reason.LIMIT_EXCEEDED)
                return int(value) if -(2**63) <= value < 2**64 else Number(_int_text(value))
            case float() if math.isfinite(value):
                return float(value)
            case decimal.Decimal() if value.is_finite():
                return exact_number(str(value).replace("E+", "e"))
            case dict() | list() | tuple():
                return self._convert_container(value, path)
        raise self._error(path, "a JSON value", _kind(value))

    def _convert_container(self, value: Any, path: tuple[str | int, ...]) -> Any:
        limits = self._limits
        if len(path) >= limits.depth_max:
            raise self._error(
                path, f"nesting of at most {limits.depth_max} levels", "more levels", Reason.LIMIT_EXCEEDED
            )
        self._values += len(value)
        if self._values > limits.values_max:
            expected = f"at most {limits.values_max} values in all"
            raise self._error((), expected, f"{self._values} values or more", Reason.LIMIT_EXCEEDED)
        if not isinstance(value, dict):
            return [self.convert(item, (*path, index)) for index, item in enumerate(value)]
        if len(value) > limits.members_max:
            found = f"one with {len(value)} members"
            raise self._error(
                path, f"an object of at most {limits.members_max} members", found, Reason.LIMIT_EXCEEDED
            )
        copy = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise self._error(
                    path, "member names that are strings", f"a name of type {type(key).__name__}"
                )
            copy[str.__str__(key)] = self.convert(item, (*path, key))
        return copy

    def _error(
        self, path: tuple[str | int, ...], expected: str, found: str, reason: str | None = None
    ) -> DecodeError:
        violation = Violation(join_path(path), expected, found)
        return DecodeError([violation], type_name=self._type_name, reason=reason)


def _int_text(value: int) -> str:
    # str() refuses integers of more than 4,300 digits, for their cost.
    return str(value) if value.bit_length() < 14_000 else f"{decimal.Decimal(value):f}"


def _kind(value: Any) -> str:
    if isinstance(value, float | decimal.Decimal):
        return f"{value}, which JSON does not have"
    return f"a value of type {type(value).__name__}"
