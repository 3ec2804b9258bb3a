"""The fields of a message on the wire, as protobuf itself wrote them.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import functools
import math
import re
import struct
from collections.abc import Container, Sequence
from typing import Any

from mistralwire._varint import read_varint
from mistralwire.codec._plan import INT64_MAX

Wire = Any
"""A value on the wire: an integer of a varint, otherwise bytes."""

_VARINT = re.compile(rb"[\x80-\xff]*[\0-\x7f]")
_REMEMBERED_MAX = 4_096
# Bytes of a value by its wire type, where that is fixed.
_FIXED_BYTES = {1: 8, 5: 4}
_unpack_double = struct.Struct("<d").unpack


def split_fields(data: bytes, list_tags: Container[int] = ()) -> list[tuple[int, Wire]]:
    """Return the fields of a message that protobuf wrote: the tag of each, and what is behind it.

    Args:
        data: The message.
        list_tags: Tags that may come several times in a row, whose values are returned together, as a list.
    """
    fields: list[tuple[int, Wire]] = []
    values: list[bytes] = []
    last = 0
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = read_varint(data, at - 1)
        wire_type = tag & 7
        value: Wire
        if wire_type == 2:
            size, start = data[at], at + 1
            if size > 0x7F:
                size, start = read_varint(data, at)
            at = start + size
            value = data[start:at]
            if tag == last:
                values.append(value)
                continue
            if tag in list_tags:
                last = tag
                value = values = [value]
        elif wire_type == 0:
            value = data[at]
            at += 1
            if value > 0x7F:
                value, at = read_varint(data, at - 1)
        elif wire_type in _FIXED_BYTES:
            start, at = at, at + _FIXED_BYTES[wire_type]
            value = data[start:at]
        else:
            at = _end_of_group(data, at)
            value = b""
        fields.append((tag, value))
    return fields


def _end_of_group(data: bytes, at: int) -> int:
    """Return where a group ends whose first tag was read; groups occur in unknown fields alone."""
    depth = 1
    while depth:
        tag, at = read_varint(data, at)
        wire_type = tag & 7
        if wire_type in (3, 4):
            depth += 1 if wire_type == 3 else -1
        elif wire_type in _FIXED_BYTES:
            at += _FIXED_BYTES[wire_type]
        else:
            value, at = read_varint(data, at)
            at += value if wire_type == 2 else 0
    return at


def read_numbers(data: bytes) -> Sequence[int]:
    """Return packed varints; those below 128 are bytes."""
    return data if data.isascii() else [_number(varint) for varint in _VARINT.findall(data)]


@functools.lru_cache(_REMEMBERED_MAX)
def _number(varint: bytes) -> int:
    return read_varint(varint, 0)[0]


def to_signed(value: int) -> int:
    """Return the signed integer that a varint stands for."""
    return value if value <= INT64_MAX else value - 2**64


def read_double(data: bytes) -> float:
    """Return the double in eight bytes."""
    value: float = _unpack_double(data)[0]
    return value


def read_finite(data: bytes) -> float | None:
    """Return a double; None for NaN and the infinities, which JSON does not have."""
    value = read_double(data)
    return value if math.isfinite(value) else None
