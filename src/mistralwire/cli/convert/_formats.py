"""The file formats that `convert` knows, and how to tell them apart."""

import enum
import json
import pathlib
import re
from collections.abc import Callable

_SSE_LINE = re.compile(rb'(data|event|retry)\s*:|id: ?(?!\s*")|:')


class Format(enum.StrEnum):
    """A file format, under the name that the options use."""

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
    """Tell the format by the file's extension; None if that says nothing."""
    return _BY_EXTENSION.get(pathlib.PurePath(name).suffix.lower())


def format_of_content(
    first_line: bytes, next_byte: Callable[[], bytes], *, to_sequence: bool
) -> Format | None:
    """Tell the format by how the content begins.

    Args:
        first_line: The first line that is not blank.
        next_byte: Gives the first byte behind it that is no white space, empty at the end. It may have to
            wait for more input, so it is called only if the line alone does not tell.
        to_sequence: Whether the output is a sequence: then one document is a sequence of one.

    Returns:
        The format, or None if several are possible.
    """
    text = first_line.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        if to_sequence and _is_json(text):
            return Format.JSONL
        # Of one object spread over lines, the second line begins with a name or a brace that closes.
        return Format.JSONL if next_byte() == b"{" else Format.JSON
    if text.startswith(b"["):
        return Format.JSON
    if text.startswith((b"# proto-file:", b"# proto-message:")):
        return Format.TXTPB
    return Format.SSE if _SSE_LINE.match(text) else None


def default_output(source: Format) -> Format:
    """Give the format to convert to if nothing says which: the other side's."""
    return Format.BINPB if source.is_json else Format.JSON


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
