"""The input of `convert`: looked at first, then read in bounded pieces."""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

BLOCK_BYTES = 256 * 1024


class _RawInput(io.RawIOBase):
    """Calls back before each read from a stream, and can replay the bytes that were looked at."""

    def __init__(self, stream: io.BufferedIOBase, before_read: Callable[[int], None]) -> None:
        self._stream = stream
        self._before_read = before_read
        self._count = 0
        self.looked_at = io.BytesIO()
        self.is_looked_at = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self.looked_at.read(len(buffer))
        if not block:
            self._before_read(self._count)
            block = self._stream.read1(len(buffer))
            self._count += len(block)
            if self.is_looked_at:
                self.looked_at.write(block)
        buffer[: len(block)] = block
        return len(block)


class Input(io.BufferedReader):
    """An input that is read no further than needed, with a bound on what is held in memory.

    Args:
        stream: The bytes.
        before_read: Called before each read that may block, with the number of bytes read so far.
        item_bytes_max: Most bytes of one line or one message.
    """

    def __init__(
        self, stream: io.BufferedIOBase, before_read: Callable[[int], None], item_bytes_max: int
    ) -> None:
        self._source = _RawInput(stream, before_read)
        super().__init__(self._source, BLOCK_BYTES)
        self.item_bytes_max = item_bytes_max

    @contextlib.contextmanager
    def look(self) -> Iterator[BinaryIO]:
        """Yield a reader for a look at the beginning, which is read again after the `with` block."""
        self._source.is_looked_at = True
        reader = io.BufferedReader(self._source, BLOCK_BYTES)
        yield reader
        reader.detach()
        self._source.is_looked_at = False
        self._source.looked_at.seek(0)

    def read_line(self) -> bytes | None:
        """Read a line with its end; empty at the end of the input, None for a line beyond the bound."""
        line = self.readline(self.item_bytes_max + len(b"\r\n"))
        if len(line.rstrip(b"\r\n")) <= self.item_bytes_max:
            return line
        while line and not line.endswith(b"\n"):
            line = self.readline(BLOCK_BYTES)
        return None

    def skip(self, size: int) -> bool:
        """Discard `size` bytes without holding them; return False if the input ends before."""
        while size > 0 and (block := self.read(min(size, BLOCK_BYTES))):
            size -= len(block)
        return size == 0
