"""Bounds on the documents that are accepted, and the checks of a document against them."""

import dataclasses
import itertools
import re
import sys
from collections.abc import Iterator
from typing import Any

from mistralwire.errors import DecodeError, Reason, Violation

DOCUMENT_BYTES_MAX = 64 * 1024 * 1024
"""Default bound on the UTF-8 bytes of one JSON document: 64 MiB."""

DEPTH_MAX = 200
"""Default bound on the nesting of arrays and objects; also the largest bound allowed."""

MEMBERS_MAX = 100_000
"""Default bound on the members of one JSON object."""

VALUES_MAX = 1_000_000
"""Default bound on the values of one document: the elements of its arrays and the members of its objects."""

VIOLATIONS_MAX = 32
"""Default bound on the violations that one error lists."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on the documents that are accepted; a document beyond them is a DecodeError.

    Attributes:
        document_bytes_max: UTF-8 bytes of one document, 1 or more.
        depth_max: Nesting of arrays and objects, 1 to 200: the document itself is the first level.
        members_max: Members of one object, 1 or more.
        values_max: Elements of all arrays and members of all objects together, 1 or more.
        violations_max: Violations that one error lists, 1 or more.

    Raises:
        TypeError: If a bound is not an integer.
        ValueError: If a bound is out of its range.
    """

    document_bytes_max: int = DOCUMENT_BYTES_MAX
    depth_max: int = DEPTH_MAX
    members_max: int = MEMBERS_MAX
    values_max: int = VALUES_MAX
    violations_max: int = VIOLATIONS_MAX

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is not int:
                raise TypeError(f"{field.name} must be an integer, not {value!r}")
            if value < 1:
                raise ValueError(f"{field.name} must be 1 or more, not {value}")
        if self.depth_max > DEPTH_MAX:
            raise ValueError(f"depth_max must be {DEPTH_MAX} or less, not {self.depth_max}")


DEFAULT_LIMITS = Limits()

CONTAINERS = frozenset((dict, list))
"""Types of parsed arrays and objects."""

_STRING = re.compile(rb'"[^"]*"?')


def limit_error(expected: str, found: str, type_name: str, path: str = "") -> DecodeError:
    """Return the error for a document that is beyond a bound."""
    return DecodeError([Violation(path, expected, found)], type_name=type_name, reason=Reason.LIMIT_EXCEEDED)


def stack_error(type_name: str) -> DecodeError:
    """Return the error for a document that is nested too deeply for what is left of the stack."""
    return limit_error("nesting that the stack has room for", "more levels", type_name)


def check_text(text: bytes, limits: Limits, type_name: str = "") -> None:
    """Refuse a text of far too many values before it is parsed, which holds the GIL for seconds.

    A document of up to twice as many may pass; `check_limits` counts exactly.
    """
    values_max = limits.values_max
    if len(text) <= values_max or max(text.count(b","), _count_brackets(text)) <= values_max:
        return
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    commas = brackets = end = 0
    spans = itertools.chain((string.span() for string in _STRING.finditer(text)), [(len(text), 0)])
    for strings, (start, end_of_string) in enumerate(spans):
        commas += text.count(b",", end, start)
        brackets += _count_brackets(text, end, start)
        end = end_of_string
        # Of each value there are at most one comma, one bracket and two strings: its name and itself.
        if max(commas, brackets - 1, strings // 2) > values_max:
            raise limit_error(f"at most {values_max} values in all", "more", type_name)


def check_limits(document: Any, text: bytes, limits: Limits, type_name: str = "") -> None:
    """Check the nesting, the number of values and the members of the objects of a parsed document."""
    # The size of the text shows at once for most documents that they are within the bounds.
    size = len(text)
    # A level of nesting takes 2 bytes, a member 5, and a comma stands between any two values.
    may_be_deep = size >= 2 * limits.depth_max and _count_brackets(text) > limits.depth_max
    if may_be_deep and any(depth == limits.depth_max for depth, _ in enumerate(_levels(document))):
        raise limit_error(f"nesting of at most {limits.depth_max} levels", "more levels", type_name)
    if size >= 5 * limits.members_max:
        for container in itertools.chain.from_iterable(_levels(document)):
            if len(container) > limits.members_max and type(container) is dict:
                found = f"one with {len(container)} members"
                raise limit_error(f"objects of at most {limits.members_max} members", found, type_name)
    if size >= limits.values_max and text.count(b",") + _count_brackets(text) > limits.values_max:
        values = sum(map(len, itertools.chain.from_iterable(_levels(document))))
        if values > limits.values_max:
            raise limit_error(f"at most {limits.values_max} values in all", f"{values} values", type_name)


def _count_brackets(text: bytes, start: int = 0, end: int = sys.maxsize) -> int:
    return text.count(b"{", start, end) + text.count(b"[", start, end)


def _levels(document: Any) -> Iterator[list[Any]]:
    """Yield the arrays and objects of each level of nesting, the outermost first."""
    level = [document] if type(document) in CONTAINERS else []
    while level:
        yield level
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) in CONTAINERS
        ]
