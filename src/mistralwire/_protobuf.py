"""Protobuf's wire format: messages that may be something else, and varints.

Varints are integers: seven bits a byte, least significant first.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from typing import TypeVar

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)


def parsed(message_type: type[MessageT], data: bytes) -> MessageT | None:
    """Parse the wire bytes of a message; None if they are not one of this type."""
    try:
        return message_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        return None


def write_varint(value: int) -> bytes:
    """Encode an integer from 0 to 2^64-1."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*data, value))


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode a varint of valid protobuf at a position; return it and the position behind it."""
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
