"""Bounds on what reading accepts."""

import dataclasses

DOCUMENT_BYTES_MAX = 64 * 1024 * 1024
"""Default bound on the UTF-8 bytes of one JSON document: 64 MiB."""

DEPTH_MAX = 200
"""Bound on the nesting of arrays and objects; also the most that a caller can ask for."""

MEMBERS_MAX = 100_000
"""Default bound on the members of one JSON object."""

VALUES_MAX = 1_000_000
"""Default bound on the values of one document: the elements of its arrays and the members of its objects."""

VIOLATIONS_MAX = 32
"""Default bound on the violations that one error lists."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what reading accepts; a document beyond them is a DecodeError.

    Attributes:
        document_bytes_max: UTF-8 bytes of one document, 1 or more.
        depth_max: Nesting of arrays and objects, 1 to 200: the document itself is the first level.
        members_max: Members of one object, 1 or more.
        values_max: Elements of all arrays and members of all objects together, 1 or more.
        violations_max: Violations that one error lists, 1 or more.

    Raises:
        TypeError: If a bound is no integer.
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
