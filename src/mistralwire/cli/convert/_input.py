"""Reading the input in bounded pieces."""

import io
from collections.abc import Callable
from typing import Protocol

BLOCK_BYTES = 256 * 1024
_LOOK_BYTES_MAX = 64 * 1024


class Readable(Protocol):
    """What a binary input has: files, pipes, io.BytesIO."""

    def read1(self, size: int, /) -> bytes:
        """Read what is there, at most `size` bytes; empty at the end."""


class _Watched(io.RawIOBase):
    """Passes reads on, and calls back before each."""

    def __init__(self, stream: Readable, before_read: Callable[[int], None]) -> None:
        self._stream = stream
        self._before_read = before_read
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._before_read(self._count)
        block = self._stream.read1(len(buffer))
        buffer[: len(block)] = block
        self._count += len(block)
        return len(block)


class Source:
    """An input that is read line by line or by size, never further than needed.

    Args:
        stream: The input.
        before_read: Called with the number of bytes read so far before each read that may have to wait.
        item_bytes_max: Bound on the bytes of one line, or of one message, that are held in memory.
    """

    def __init__(self, stream: Readable, before_read: Callable[[int], None], item_bytes_max: int) -> None:
        self._reader = io.BufferedReader(_Watched(stream, before_read), BLOCK_BYTES)
        self._head = io.BytesIO()
        self.item_bytes_max = item_bytes_max

    def first_line(self) -> bytes:
        """Look at the first line that is not blank, without consuming it; before anything is read.

        Returns:
            The line without white space around it; empty if the input ends before or is blank for long.
        """
        taken = bytearray()
        line = b""
        while not line.strip() and len(taken) < _LOOK_BYTES_MAX:
            line = self._reader.readline(self.item_bytes_max)
            if not line:
                break
            taken += line
        self._head = io.BytesIO(taken)
        return line.strip()

    def byte_after_first_line(self) -> bytes:
        """Look at the first byte behind that line that is no white space, without consuming it.

        Returns:
            The byte; empty if the input ends before or is blank for long.
        """
        taken = bytearray(self._head.getvalue())
        bound = len(taken) + _LOOK_BYTES_MAX
        following = self._reader.peek(1)[:1] if taken.endswith(b"\n") else b""
        while following.isspace() and len(taken) < bound:
            taken += self._reader.read(1)
            following = self._reader.peek(1)[:1]
        self._head = io.BytesIO(taken)
        return following

    def read(self, size: int) -> bytes:
        """Read `size` bytes; fewer at the end."""
        data = self._head.read(size)
        return data + self._reader.read(size - len(data)) if len(data) < size else data

    def read_some(self) -> bytes:
        """Read what is there, after waiting for something; empty at the end."""
        return self._head.read() or self._reader.read1(BLOCK_BYTES)

    def skip(self, size: int) -> bool:
        """Pass over `size` bytes without holding them; False if the input ends before."""
        while size > 0:
            block = self.read(min(size, BLOCK_BYTES))
            if not block:
                return False
            size -= len(block)
        return True

    def readline(self) -> tuple[bytes, bool]:
        """Read a line.

        Returns:
            The line with its end, empty at the end of the input; and whether it is within the bound. Of a
            line that is not, the rest is passed over.
        """
        bound = self.item_bytes_max + len(b"\r\n")
        line = self._readline(bound)
        if len(line.rstrip(b"\r\n")) <= self.item_bytes_max:
            return line, True
        while line and not line.endswith(b"\n"):
            line = self._readline(BLOCK_BYTES)
        return b"\n", False

    def _readline(self, bound: int) -> bytes:
        line = self._head.readline(bound)
        if line.endswith(b"\n") or len(line) == bound:
            return line
        return line + self._reader.readline(bound - len(line))
