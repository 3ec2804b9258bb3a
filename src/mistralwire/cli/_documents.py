"""JSON documents that commands read: their members, and what is wrong with them."""

import re
from typing import Any

from mistralwire.codec import from_json, to_dict
from mistralwire.errors import DecodeError, Reason
from mistralwire.v1 import ErrorResponse

# The position that the JSON parser appends to what it found.
_POSITION = re.compile(r": line (\d+) column (\d+) \(char \d+\)$")


def members_in(document: bytes) -> dict[str, Any]:
    """Return the members of a JSON object, whatever they are.

    Raises:
        DecodeError: If the document is not a JSON object.
    """
    # Without validation, a message of any type holds any JSON object without loss.
    return to_dict(from_json(ErrorResponse, document, validate=False))


def describe_violations(error: DecodeError, place: str = "", *, part: str = "") -> tuple[str, list[str]]:
    """Describe what is wrong with a document, one line for each violation.

    Args:
        error: The error of the codec.
        place: Where the document begins in its file, to follow the file's name, such as `:12`; empty if it
            is the whole file.
        part: What the columns of a syntax error count in, if not in the line.

    Returns:
        The place, which is the line of a syntax error if it was empty; and the lines.
    """
    violations = error.violations
    if error.reason == Reason.NOT_JSON and (position := _POSITION.search(violations[0].found)):
        place = place or f":{position[1]}"
        found = f"{violations[0].found[: position.start()]} at column {position[2]}{part}"
        violations = [violations[0]._replace(found=found)]
    lines = [f"{violation.path}: {violation.description}".removeprefix(": ") for violation in violations]
    return place, [*lines, "and more violations"] if error.truncated else lines
