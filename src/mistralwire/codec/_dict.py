"""The public functions between messages and Python values: dicts, lists, strings and numbers."""

import decimal
import math
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message

from mistralwire._protobuf import MessageT
from mistralwire.codec._convert import Names, to_document
from mistralwire.codec._limits import CONTAINERS, DEFAULT_LIMITS, Limits, limit_error, stack_error
from mistralwire.codec._plan import plan_for
from mistralwire.codec._python import Number, document_to_binary, exact_number, join_path, nesting_error
from mistralwire.errors import DecodeError, EncodeError, Violation

# Writing an integer in decimal takes time quadratic in its length.
_INT_BITS_MAX = 100_000


def from_dict(
    message_type: type[MessageT],
    value: dict[str, Any],
    *,
    validate: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> MessageT:
    """Convert a JSON document that is already parsed to a message.

    Args:
        message_type: A message class of `mistralwire.v1` that is a JSON object.
        value: Dicts with string keys, lists, strings, bools, None, integers of any size, finite floats and
            Decimals; not changed.
        validate: See `from_json`.
        limits: See `from_json`; the bound on bytes does not apply.

    Raises:
        DecodeError: See `from_json`; also for values that JSON does not have.
        TypeError: If `message_type` is not such a class.
    """
    plan = plan_for(message_type)
    try:
        document = _Copier(limits, plan.name).copy(value, ())
    except RecursionError:
        raise stack_error(plan.name) from None
    return message_type.FromString(document_to_binary(plan, document, validate=validate, limits=limits))


class _Copier:
    """Copies a Python value as what the JSON parser returns, within limits."""

    def __init__(self, limits: Limits, type_name: str) -> None:
        self._limits = limits
        self._type_name = type_name
        self._values = 0

    def copy(self, value: Any, path: tuple[str | int, ...]) -> Any:
        match value:
            case None | bool() | str():
                return str.__str__(value) if isinstance(value, str) else value
            case int():
                if value.bit_length() > _INT_BITS_MAX:
                    expected = f"an integer of at most {_INT_BITS_MAX} bits"
                    raise self._limit_error(path, expected, f"one of {value.bit_length()} bits")
                if -(2**63) <= value < 2**64:
                    return int(value)
                # str() refuses integers of more than 4,300 digits, because of their cost.
                return Number(str(value) if value.bit_length() < 14_000 else f"{decimal.Decimal(value):f}")
            case float() if math.isfinite(value):
                return float(value)
            case decimal.Decimal() if value.is_finite():
                return exact_number(str(value).replace("E+", "e"))
            case dict() | list() | tuple():
                return self._copy_container(value, path)
        is_number = isinstance(value, float | decimal.Decimal)
        found = (
            f"{value}, which JSON does not have" if is_number else f"a value of type {type(value).__name__}"
        )
        raise self._error(path, "a JSON value", found)

    def _copy_container(self, value: Any, path: tuple[str | int, ...]) -> Any:
        limits = self._limits
        if len(path) >= limits.depth_max:
            raise self._limit_error(path, f"nesting of at most {limits.depth_max} levels", "more levels")
        self._values += len(value)
        if self._values > limits.values_max:
            expected = f"at most {limits.values_max} values in all"
            raise self._limit_error((), expected, f"{self._values} values or more")
        if not isinstance(value, dict):
            return [self.copy(item, (*path, index)) for index, item in enumerate(value)]
        if len(value) > limits.members_max:
            expected = f"an object of at most {limits.members_max} members"
            raise self._limit_error(path, expected, f"one with {len(value)} members")
        copy = {}
        for key, item in value.items():
            if not isinstance(key, str):
                found = f"a name of type {type(key).__name__}"
                raise self._error(path, "member names that are strings", found)
            copy[str.__str__(key)] = self.copy(item, (*path, key))
        return copy

    def _error(self, path: tuple[str | int, ...], expected: str, found: str) -> DecodeError:
        return DecodeError([Violation(join_path(path), expected, found)], type_name=self._type_name)

    def _limit_error(self, path: tuple[str | int, ...], expected: str, found: str) -> DecodeError:
        return limit_error(expected, found, self._type_name, join_path(path))


def to_dict(message: Message, *, names: Names = "snake") -> dict[str, Any]:
    """Convert a message to dicts, lists, strings, bools, None, ints and floats.

    Numbers that a float would change are Decimals.

    Raises:
        EncodeError: See `to_json`; also for a number whose exponent exceeds Decimal's.
        TypeError: See `to_json`.
        ValueError: If `names` is neither `snake` nor `camel`.
    """
    document = to_document(plan_for(type(message)), message.SerializeToString(), names)
    try:
        _replace_numbers(document)
    except RecursionError:
        raise nesting_error() from None
    return document


def _replace_numbers(value: Any) -> None:
    """Replace each `Number` in a parsed value by an int or a Decimal."""
    items: Iterable[tuple[Any, Any]] = value.items() if type(value) is dict else enumerate(value)
    for key, item in items:
        if type(item) in CONTAINERS:
            _replace_numbers(item)
        elif type(item) is Number:
            value[key] = _to_python(item)


def _to_python(number: Number) -> int | decimal.Decimal:
    text = number.text
    if len(text) < 4_300 and text.lstrip("-").isdigit():
        return int(text)
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise EncodeError(f"the number {text[:40]} is beyond Python's Decimal; use to_json") from None
