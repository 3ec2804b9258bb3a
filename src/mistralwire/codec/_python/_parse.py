"""JSON text to Python values and back, with exact numbers, within limits.

orjson parses. Three things that JSON text can hold are lost there: numbers that neither a 64-bit integer nor
a double holds exactly (here they become `Number`), numbers beyond a double's range, and escaped lone
surrogates. Texts with one of them are parsed by the standard library, which also parses what is not JSON but
occurs in practice: a byte order mark and, in answers, NaN and the infinities.
"""

import contextlib
import json
import math
import re
from collections.abc import Callable
from typing import Any, Never

import orjson

from mistralwire.codec._limits import Limits, check_limits, check_text, limit_error, stack_error
from mistralwire.codec._python._describe import ConstantError, describe_syntax
from mistralwire.codec._python._number import Infinite, Number, exact_float, exact_int, exact_number
from mistralwire.errors import DecodeError, Reason, Violation

# Only numbers with at least 16 significant digits, or an exponent of at least three digits, may be inexact as
# doubles. They are searched for in a copy of the text in which every character of a number is 0, and every
# exponent sign e: first anywhere, which costs next to nothing, then where a number may stand. Only the first
# few matches are examined: with more of them, the second parser is cheaper.
_FOLD = bytes.maketrans(b"123456789.+-E", b"000000000000e")
_MANY_DIGITS = b"0" * 16
_LONG_EXPONENT = b"0e000"
_SUSPECT = re.compile(rb"0(?<![^\[:, \t\n\r]0)(?:0{15}|0*e000)")
_SUSPECTS_MAX = 8
_MARK = b"\xef\xbb\xbf"
_NUMBER = re.compile(rb"-?\d[\d.]*(?:[eE][+-]?\d+)?")


def parse(
    data: bytes | bytearray | memoryview | str,
    limits: Limits,
    type_name: str = "",
    *,
    constants: bool = False,
) -> Any:
    """Parse JSON text; a number that neither int64 nor float holds exactly becomes a `Number`.

    A byte order mark in front of the text is dropped. With `constants`, NaN, Infinity and -Infinity are
    accepted, as Python's `json` writes them: NaN becomes None, the others `Infinite`.

    Raises:
        DecodeError: If it is not JSON, or beyond the limits.
    """
    text = data if data.__class__ is bytes else _as_bytes(data, type_name)
    if len(text) > limits.document_bytes_max and len(text.removeprefix(_MARK)) > limits.document_bytes_max:
        raise limit_error(f"at most {limits.document_bytes_max} bytes", f"{len(text)} bytes", type_name)
    check_text(text, limits, type_name)
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


def _as_bytes(data: bytes | bytearray | memoryview | str, type_name: str = "") -> bytes:
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
    """Check whether a JSON text may hold a number that orjson changes; without false negatives.

    Text in a string that looks like such a number counts too.
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
    """Parse what orjson refused: JSON that it does not support, or something close to JSON."""
    try:
        text = data.decode().removeprefix(_MARK.decode())
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise _not_json("UTF-8 text", found, type_name) from None
    try:
        return _parse_slowly(text, _DECODERS[_may_be_inexact(data), constants], type_name)
    except ValueError as error:
        raise _not_json("JSON", describe_syntax(text, error), type_name) from None


def _refuse_constant(name: str) -> Never:
    raise ConstantError(name)


def _parse_slowly(text: str, decoder: json.JSONDecoder, type_name: str) -> Any:
    try:
        return decoder.decode(text)
    except RecursionError:
        raise stack_error(type_name) from None


def to_text(value: Any) -> bytes:
    """Serialize a parsed value as compact JSON text."""
    try:
        return orjson.dumps(value, default=_number_fragment)
    except TypeError:
        # A lone surrogate, or nesting beyond orjson's limit.
        return _to_text_slowly(value)


def to_indented_text(value: Any, indent: int) -> bytes:
    """Serialize a parsed value as JSON text with one member or element per line."""
    if indent == 2:
        with contextlib.suppress(TypeError):
            return orjson.dumps(value, default=_number_fragment, option=orjson.OPT_INDENT_2)
    return _to_text_slowly(value, indent)


def _number_fragment(value: object) -> orjson.Fragment:
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def _to_text_slowly(value: Any, indent: int = 0) -> bytes:
    """Serialize a parsed value as JSON text, with lone surrogates as escapes."""
    return _serialized(value, indent, 1).encode(errors="backslashreplace")


_SERIALIZE_SCALAR: dict[type, Callable[[Any], str]] = {
    str: json.encoder.encode_basestring,
    int: int.__repr__,
    float: lambda number: orjson.dumps(number).decode(),
    bool: {False: "false", True: "true"}.__getitem__,
    type(None): lambda _: "null",
    Number: lambda number: number.text,
    Infinite: lambda number: number.text,
}


def _serialized(value: Any, indent: int, level: int) -> str:
    serialize = _SERIALIZE_SCALAR.get(type(value))
    if serialize is not None:
        return serialize(value)
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
                f"{json.encoder.encode_basestring(key)}{colon}{_serialized(item, indent, level + 1)}"
                for key, item in value.items()
            ]
        )
        return f"{{{start}{body}{end}}}"
    body = comma.join([_serialized(item, indent, level + 1) for item in value])
    return f"[{start}{body}{end}]"


def _not_json(expected: str, found: str, type_name: str) -> DecodeError:
    return DecodeError([Violation("", expected, found)], type_name=type_name, reason=Reason.NOT_JSON)


_CONSTANTS = {"NaN": None, "Infinity": Infinite(math.inf), "-Infinity": Infinite(-math.inf)}
# By whether numbers are kept exactly, and whether NaN and the infinities are accepted.
_DECODERS = {
    (is_exact, reads_constants): json.JSONDecoder(
        parse_float=exact_float if is_exact else None,
        parse_int=exact_int if is_exact else None,
        parse_constant=_CONSTANTS.__getitem__ if reads_constants else _refuse_constant,
    )
    for is_exact in (False, True)
    for reads_constants in (False, True)
}
