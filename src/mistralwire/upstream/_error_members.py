"""What an error body has beside its text: members for programs, and the places of violations."""

import math
import re
from collections.abc import Iterable
from typing import Any

import orjson

from mistralwire.errors import UpstreamViolation
from mistralwire.upstream._error_text import is_secret, line_of, path_of

MEMBERS_BYTES_MAX = 640
"""Bound on the members of an error body, as JSON text in bytes."""

_MEMBERS_MAX = 16
_ITEMS_MAX = 8
_DEPTH_MAX = 4
_NAME_CHARS_MAX = 64
_STRING_CHARS_MAX = 256
_VIOLATIONS_MAX = 32
_INTEGER_BITS_MAX = 63

_FOR_PROGRAMS = ("code", "type", "param")
# What is said elsewhere (texts, the shape), what quotes the request (values of violations), and `choices`,
# which would make a chunk of the error: clients skip one that is empty.
_LEFT_OUT = {*("message", "msg", "detail", "error", "object", "loc", "input", "ctx", "choices")}
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_.-]*")
# An id looks like a key, and is what its reader is to send to the upstream's support.
_ID_NAME = re.compile("(?:[a-z0-9_.-]*[_.-])?id", re.IGNORECASE)
_ID = re.compile("[A-Za-z0-9_.:-]{1,64}")
_TYPE = re.compile("[a-z][a-z0-9_.]{0,62}")


def members_of(holders: Iterable[dict[str, Any]], *, is_quoted: bool) -> dict[str, Any]:
    """Return the members of an error body that go to the caller, as JSON values.

    Args:
        holders: The objects that have members, the inner one first.
        is_quoted: Whether all may go out; otherwise only code, type and param, since the rest may quote the
            service's credentials.

    Returns:
        At most 16 members, whose JSON text has at most 640 bytes: code, type and param first, then the others
        in their order. Strings are bounded and without anything that looks like a credential.
    """
    found: dict[str, Any] = {}
    for holder in holders:
        for name, value in holder.items():
            found.setdefault(name, value)
    names = [name for name in _FOR_PROGRAMS if name in found]
    if is_quoted:
        names += [name for name in found if name not in (*_FOR_PROGRAMS, *_LEFT_OUT)]
    members: dict[str, Any] = {}
    room = MEMBERS_BYTES_MAX
    for name in names:
        is_kept, value = _cleaned(name, found[name], _DEPTH_MAX)
        if not is_kept:
            continue
        room -= len(orjson.dumps({name: value}))
        if room < 0 or len(members) == _MEMBERS_MAX:
            break
        members[name] = value
    return members


def violations_of(document: dict[str, Any]) -> list[UpstreamViolation]:
    """Return the violations that an error body lists, as a FastAPI server has them: without the values.

    Args:
        document: The body.

    Returns:
        The first 32, each with its place, its text, and its type where that is a word.
    """
    for holder in (document, document.get("message"), document.get("error")):
        if isinstance(holder, dict) and isinstance(holder.get("detail"), list):
            items = holder["detail"][:_VIOLATIONS_MAX]
            return [_violation(item) for item in items if _is_violation(item)]
    return []


def _is_violation(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("msg"), str) and isinstance(item.get("loc"), list)


def _violation(item: dict[str, Any]) -> UpstreamViolation:
    kind = item.get("type")
    is_word = isinstance(kind, str) and _TYPE.fullmatch(kind) is not None
    text = line_of(item["msg"], _STRING_CHARS_MAX) or "a violation without a text"
    return UpstreamViolation(path_of(item["loc"]), text, str(kind) if is_word else "")


def _cleaned(name: str, value: Any, depth: int) -> tuple[bool, Any]:
    """Return whether a value is kept, and what is kept of it."""
    if len(name) > _NAME_CHARS_MAX or not _NAME.fullmatch(name) or is_secret(name):
        return False, None
    match value:
        case bool() | None:
            return True, value
        case str():
            is_id = _ID_NAME.fullmatch(name) is not None and _ID.fullmatch(value) is not None
            return True, value if is_id else line_of(value, _STRING_CHARS_MAX)
        case int():
            return value.bit_length() <= _INTEGER_BITS_MAX, value
        case float():
            return math.isfinite(value), value
        case list() if depth:
            cleaned = [_cleaned(name, item, depth - 1) for item in value[:_ITEMS_MAX]]
            return True, [item for is_kept, item in cleaned if is_kept]
        case dict() if depth:
            pairs = [
                (key, _cleaned(key, item, depth - 1)) for key, item in list(value.items())[:_MEMBERS_MAX]
            ]
            return True, {key: item for key, (is_kept, item) in pairs if is_kept and key not in _LEFT_OUT}
    return False, None
