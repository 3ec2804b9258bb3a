"""JSON paths as text."""

import json
import re
from collections.abc import Iterable

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


def join_path(path: Iterable[str | int]) -> str:
    """Write a path as `choices[0].message["odd name"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _IDENTIFIER.match(step):
            text += f".{step}" if text else step
        else:
            # Names of free-form JSON are somebody's text: as much as it takes to find the place.
            text += f"[{_quoted(step if len(step) <= 40 else step[:40] + '...')}]"
    return text


def _quoted(name: str) -> str:
    """Return a JSON string, lone surrogates as escapes."""
    return json.encoder.encode_basestring(name).encode(errors="backslashreplace").decode()
