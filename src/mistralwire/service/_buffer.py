"""Chunks that wait for their caller, put together to messages within bounds."""

from collections import deque


class ChunkBuffer:
    """A queue of chunks, as the wire bytes that stream responses are made of.

    Args:
        chunks_max: Chunks in one message.
        bytes_max: Bytes of one message, unless a single chunk is larger.

    Attributes:
        size: Bytes that wait.
    """

    __slots__ = ("_bytes_max", "_chunks_max", "_parts", "size")

    def __init__(self, chunks_max: int, bytes_max: int) -> None:
        self.size = 0
        self._chunks_max = chunks_max
        self._bytes_max = bytes_max
        self._parts: deque[tuple[bytes, int]] = deque()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._parts)

    def fits(self, wire: bytes, count: int) -> bool:
        """Say whether chunks can be one message."""
        return count == 1 or (count <= self._chunks_max and len(wire) <= self._bytes_max)

    def add(self, wire: bytes, count: int) -> None:
        """Let chunks wait."""
        self._parts.append((wire, count))
        self.size += len(wire)

    def take(self) -> tuple[bytes, int]:
        """Take as many chunks as one message may have; one must wait.

        Returns:
            The wire bytes of the message, and how many chunks it has.
        """
        parts = self._parts
        wire, count = parts.popleft()
        if not self.fits(wire, count):
            end, taken = self._end_of_message(wire)
            parts.appendleft((wire[end:], count - taken))
            wire, count = wire[:end], taken
        elif parts:
            taken_parts, size = [wire], len(wire)
            while parts:
                next_wire, next_count = parts[0]
                size += len(next_wire)
                if count + next_count > self._chunks_max or size > self._bytes_max:
                    break
                taken_parts.append(next_wire)
                count += next_count
                parts.popleft()
            wire = b"".join(taken_parts)
        self.size -= len(wire)
        return wire, count

    def _end_of_message(self, wire: bytes) -> tuple[int, int]:
        """Return where the first message of many chunks ends, and how many it has."""
        end = count = 0
        while count < self._chunks_max:
            # A tag of one byte, the length, and the chunk.
            length, at = _read_varint(wire, end + 1)
            if count and at + length > self._bytes_max:
                break
            end = at + length
            count += 1
        return end, count


def _read_varint(wire: bytes, at: int) -> tuple[int, int]:
    """Read a length; return it, and where it ends."""
    length = shift = 0
    while wire[at] > 0x7F:
        length |= (wire[at] & 0x7F) << shift
        shift += 7
        at += 1
    return length | wire[at] << shift, at + 1
