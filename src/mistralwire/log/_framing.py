"""Events in a row: each is one length-delimited protobuf field, whose number does not matter."""

from mistralwire._protobuf import read_varint, write_varint

_LENGTH_DELIMITED = 2
_TAG = b"\x0a"


def skip(data: bytes, count: int) -> bytes:
    """Return valid events without the first ones."""
    at = 0
    for _ in range(count):
        at = end_of_event(data, at)
    return data[at:]


def count_events(data: bytes) -> int:
    """Count events.

    Raises:
        ValueError: If these are no events.
    """
    at = count = 0
    try:
        while at < len(data):
            if data[at] & 7 != _LENGTH_DELIMITED:
                raise ValueError(f"expected an event at byte {at}, found a field of another type")
            at = end_of_event(data, at)
            count += 1
    except IndexError:
        at = len(data) + 1
    if at != len(data):
        raise ValueError("expected whole events, found a part of one at the end")
    return count


def split(data: bytes) -> list[bytes]:
    """Return the content of each of valid events."""
    contents = []
    at = 0
    while at < len(data):
        _, at = read_varint(data, at)
        length, at = read_varint(data, at)
        contents.append(data[at : at + length])
        at += length
    return contents


def framed(content: bytes) -> bytes:
    """Return an event with a content."""
    return b"".join((_TAG, write_varint(len(content)), content))


def end_of_event(data: bytes, at: int) -> int:
    """Return where an event ends that begins at a position."""
    _, at = read_varint(data, at)
    length, at = read_varint(data, at)
    return at + length
