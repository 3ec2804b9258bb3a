"""Reads the fields of a message from wire bytes that protobuf itself serialized.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import functools
import math
import re
import struct
from collections.abc import Container, Sequence
from typing import Any

from mistralwire._protobuf import read_varint
from mistralwire.v1 import JsonExtra

Wire = Any
"""A value on the wire: an integer for a varint, otherwise bytes."""

REMEMBERED_MAX = 4_096
"""How many results for short wire bytes a cache holds: there are few of them, so they recur."""

REMEMBERED_BYTES_MAX = 16
"""How long wire bytes may be for their result to be cached."""

MEMBERS_TAG, *_NOTES_TAGS = [field.number << 3 | 2 for field in JsonExtra.DESCRIPTOR.fields]
_INT64_MAX = 2**63 - 1
_VARINT = re.compile(rb"[\x80-\xff]*[\0-\x7f]")
# Bytes of a value, for the wire types of a fixed size.
_FIXED_BYTES = {1: 8, 5: 4}
_unpack_double = struct.Struct("<d").unpack


def split_fields(data: bytes, list_tags: Container[int] = ()) -> list[tuple[int, Wire]]:
    """Return the tag and the value of each field of a message, as protobuf itself serialized it.

    Those of `list_tags` may occur several times in a row; their values are returned together, as a list.
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
    """Return the end of a group whose start tag was read; groups occur in unknown fields only."""
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
    """Return the numbers of packed varints; where all are below 128, the bytes are the numbers."""
    return data if data.isascii() else [_varint_value(varint) for varint in _VARINT.findall(data)]


@functools.lru_cache(REMEMBERED_MAX)
def _varint_value(varint: bytes) -> int:
    return read_varint(varint, 0)[0]


def to_signed(value: int) -> int:
    return value if value <= _INT64_MAX else value - 2**64


def read_double(data: bytes) -> float:
    """Return the double in eight bytes, which may be NaN or an infinity."""
    value: float = _unpack_double(data)[0]
    return value


def read_finite(data: bytes) -> float | None:
    """Return a double; None for NaN and the infinities, which JSON does not have."""
    value = read_double(data)
    return value if math.isfinite(value) else None


class Notes:
    """What a JsonExtra notes beside its members: numbers of fields, from its wire bytes without the members.

    Attributes:
        nulls: Those that are null.
        empties: Repeated ones that are empty.
        absents: Those that are absent, and not to be filled in.
        unknown: Tags of fields that this contract's JsonExtra does not have.
    """

    def __init__(self, data: bytes) -> None:
        numbers: dict[int, Sequence[int]] = dict.fromkeys(_NOTES_TAGS, ())
        self.unknown = []
        for tag, value in split_fields(data):
            if tag in numbers:
                numbers[tag] = read_numbers(value)
            else:
                self.unknown.append(tag)
        self.nulls, self.empties, self.absents = numbers.values()


_remembered_notes = functools.lru_cache(REMEMBERED_MAX)(Notes)

NO_NOTES = Notes(b"")
"""The notes of a message without any."""


def split_extra(data: bytes) -> tuple[bytes, Notes]:
    """Return the JSON text of a JsonExtra's members, empty without any, and its notes."""
    text = b""
    if data and data[0] == MEMBERS_TAG:
        size, start = data[1], 2
        if size > 0x7F:
            size, start = read_varint(data, 1)
        text, data = data[start : start + size], data[start + size :]
    if not data:
        return text, NO_NOTES
    return text, _remembered_notes(data) if len(data) <= REMEMBERED_BYTES_MAX else Notes(data)
