"""The formats of files, and an input that is looked at first and then read in bounded pieces."""

import codecs
import contextlib
import enum
import io
import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

BLOCK_BYTES = 256 * 1024
_BLANK_BYTES_MAX = 64 * 1024
_SSE_LINE = re.compile(rb'(data|event|retry)\s*:|id: ?(?!\s*")|:')


class Format(enum.StrEnum):
    """A file format, by the name that the options use."""

    JSON = "json"
    JSONL = "jsonl"
    SSE = "sse"
    BINPB = "binpb"
    TXTPB = "txtpb"

    @property
    def is_json(self) -> bool:
        """Whether its messages are JSON text."""
        return self in (Format.JSON, Format.JSONL, Format.SSE)

    @property
    def is_sequence(self) -> bool:
        """Whether it always holds a sequence of messages; of the others, only binpb can hold one."""
        return self in (Format.JSONL, Format.SSE)


_BY_EXTENSION = {f".{format_}": format_ for format_ in Format} | {".ndjson": Format.JSONL}


def format_of_name(name: str) -> Format | None:
    """Return the format by the file's extension, or None if the extension is not known."""
    return _BY_EXTENSION.get(pathlib.PurePath(name).suffix.lower())


def format_of_content(content: BinaryIO, line_bytes_max: int, *, to_sequence: bool) -> Format | None:
    """Return the format by how the content begins, or None if several are possible.

    The second line is read only if the first one leaves it open: that may block.

    Args:
        content: The content, from its beginning.
        line_bytes_max: Most bytes of the first line to look at.
        to_sequence: Whether the output is a sequence: then one document is a sequence of one.
    """
    text = _next_text(content, line_bytes_max).removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"{"):
        if to_sequence and _is_json(text):
            return Format.JSONL
        # The second line of a single object begins with a member name or a closing brace.
        return Format.JSONL if _next_text(content, _BLANK_BYTES_MAX).startswith(b"{") else Format.JSON
    if text.startswith(b"["):
        return Format.JSON
    if text.startswith((b"# proto-file:", b"# proto-message:")):
        return Format.TXTPB
    return Format.SSE if _SSE_LINE.match(text) else None


def _next_text(content: BinaryIO, line_bytes_max: int) -> bytes:
    """Read a line that is not blank, without the white space around it; empty if none comes soon."""
    blank_bytes = 0
    while blank_bytes < _BLANK_BYTES_MAX and (line := content.readline(line_bytes_max)):
        if text := line.strip():
            return text
        blank_bytes += len(line)
    return b""


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


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
