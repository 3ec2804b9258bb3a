"""What could not be read, in words and with its place."""

import dataclasses
import re

from mistralwire.errors import DecodeError, Reason

# How the JSON parser names a place, at the end of what it found.
_POSITION = re.compile(r": line (\d+) column (\d+) \(char \d+\)$")


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Something that could not be read.

    Attributes:
        place: Where in the file it is, to put behind the file's name: `:12` or `: message 3`; may be empty.
        problems: What is wrong, one line each.
        final: Whether nothing behind it can be read.
    """

    place: str
    problems: tuple[str, ...]
    final: bool = False


def failure_of(place: str, error: DecodeError, *, part: str = "", final: bool = False) -> Failure:
    """Make a failure of an error of the codec, one line for each violation.

    Args:
        place: Where the document begins; empty if it is the whole file. A syntax error then has its line.
        error: The error.
        part: What its columns are counted in, if not the line.
        final: As for a failure.
    """
    violations = error.violations
    if error.reason == Reason.NOT_JSON and (position := _POSITION.search(violations[0].found)):
        place = place or f":{position[1]}"
        found = f"{violations[0].found[: position.start()]} at column {position[2]}{part}"
        violations = [violations[0]._replace(found=found)]
    problems = [
        f"{f'{path}: ' if path else ''}expected {expected}, found {found}"
        for path, expected, found in violations
    ]
    if error.truncated:
        problems.append("and more violations")
    return Failure(place, tuple(problems), final)
