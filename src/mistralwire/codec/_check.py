"""Checking that a message that a program made keeps the contract."""

from google.protobuf.message import Message

from mistralwire.codec._convert import from_json, to_json
from mistralwire.codec._limits import Limits
from mistralwire.codec._parse import to_text
from mistralwire.codec._plan import plan_for
from mistralwire.codec._write import write_what_can_be
from mistralwire.errors import DecodeError, EncodeError, Violation


def check_message(message: Message, limits: Limits) -> None:
    """Check that a message keeps the contract.

    Protobuf itself knows no required fields, no JSON text and no fixed strings; the JSON form of the message
    does, so that it gets the same violations as the JSON would.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        limits: Bounds of its JSON form, and of the violations that are reported.

    Raises:
        DecodeError: If it breaks the contract, with all violations: NO_JSON_FORM is the reason if a value has
            none, such as NaN.
    """
    try:
        text = to_json(message)
    except EncodeError:
        raise _all_violations(message, limits) from None
    from_json(type(message), text, limits=limits)


def _all_violations(message: Message, limits: Limits) -> DecodeError:
    """Find what has no JSON form, and what else is wrong."""
    plan = plan_for(type(message))
    try:
        document, errors = write_what_can_be(plan, message)
    except EncodeError as error:
        return DecodeError([_violation(error)], type_name=plan.name, reason=error.reason)
    violations = [_violation(error) for error in errors]
    truncated = False
    try:
        from_json(type(message), to_text(document), limits=limits)
    except DecodeError as error:
        violations += [other for other in error.violations if not _is_below(other.path, errors)]
        truncated = error.truncated
    most = limits.violations_max
    return DecodeError(
        violations[:most],
        type_name=plan.name,
        truncated=truncated or len(violations) > most,
        reason=errors[0].reason,
    )


def _is_below(path: str, errors: list[EncodeError]) -> bool:
    """Say whether a place has no JSON form, or is inside one: what stands there is not the message's."""
    return any(
        path == error.path or path.startswith((f"{error.path}.", f"{error.path}[")) for error in errors
    )


def _violation(error: EncodeError) -> Violation:
    """Say in the error's own words what is wrong with a place."""
    expected, separator, found = error.message.removeprefix("expected ").partition(", found ")
    if separator and error.message.startswith("expected "):
        return Violation(error.path, expected, found)
    return Violation(error.path, "a value that has a JSON form", error.message)
