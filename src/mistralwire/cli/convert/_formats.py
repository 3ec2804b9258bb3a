"""The formats of files, and the format of a file: by name, and by content."""

import codecs
import enum
import json
import pathlib
import re
from typing import BinaryIO

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
    """Return the format by how the content begins.

    The second line is read only if the first one leaves it open: that may block.

    Args:
        content: The content, from its beginning.
        line_bytes_max: Most bytes of the first line to look at.
        to_sequence: Whether the output is a sequence: then one document is a sequence of one.

    Returns:
        The format, or None if several are possible.
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
