"""Checking whether a message that a program made keeps the contract.

Protobuf itself knows no required fields, no JSON text and no fixed strings; the JSON form of the message
does, so that it gets the same violations as the JSON would.
"""

from typing import TypeVar

from google.protobuf.message import Message

from mistralwire.codec._convert import binary_to_json, message_of, read_message
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._native import engine
from mistralwire.codec._parse import parse, to_text, too_deep
from mistralwire.codec._plan import MessagePlan, plan_for
from mistralwire.codec._read import read_document
from mistralwire.codec._revision import read_request
from mistralwire.codec._write import write_what_can_be
from mistralwire.errors import DecodeError, EncodeError, MistralwireError, Violation
from mistralwire.v1 import CONTRACT_REVISION, Reason

_PLACES_SHOWN = 3

M = TypeVar("M", bound=Message)


def check(message: Message, *, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Return what keeps a message from being a valid document of the API.

    Beyond what `from_json` requires, it names the members that Vertex AI may leave out of an answer but the
    API's SDKs require: `created` and `choices` of a ChatCompletionResponse. No content of a message makes it
    raise.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        limits: Bounds of its JSON form, and of the violations that are listed.

    Returns:
        The violations, each with its JSON path; empty if there are none.

    Raises:
        TypeError: If it is not such a message.
    """
    plan = plan_for(type(message))
    document, errors = _written(plan, message, limits)
    error = _find(plan, document, errors, limits, complete=True)
    return [] if error is None else error.violations


def check_request(
    message: M, *, limits: Limits = DEFAULT_LIMITS, oldest_revision: int = CONTRACT_REVISION
) -> M:
    """Check that a request keeps the contract, and move what it knows to its fields.

    A member that has a field may stand in `json_extra` or `unknown_json` all the same: a sender with an older
    contract puts it there, and so may one who wants it overlooked.

    Args:
        message: A request of `mistralwire.v1`.
        limits: Bounds of its JSON form, and of the violations that are listed.
        oldest_revision: The oldest revision whose contract counts, 1 or more: what it accepts is valid.

    Returns:
        A request that is the same document, with everything that this contract knows in its fields.

    Raises:
        DecodeError: If it breaks the contract, with all violations: NO_JSON_FORM is the reason if a value has
            none, such as NaN.
        MistralwireError: If it holds content of a newer contract: FAILED_PRECONDITION, CONTRACT_NEWER.
    """
    plan = plan_for(type(message))
    document, errors = _written(plan, message, limits)
    if document is None or errors:
        _refuse_newer(errors)
        error = _find(plan, document, errors, limits, complete=False)
        assert error is not None  # noqa: S101 - what can't be written is a violation
        raise error
    text = _text(plan, document)
    return read_request(type(message), text, oldest_revision=oldest_revision, limits=limits)


def request_to_json(request_type: type[Message], wire: bytes, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Convert a request to JSON text for somebody who judges it, whatever it holds.

    Args:
        request_type: The type of a request of `mistralwire.v1`.
        wire: Its wire bytes.
        limits: Only the bound on violations counts here.

    Raises:
        DecodeError: If the bytes are no such message.
        EncodeError: If a value has no JSON form, such as NaN or an infinity.
        MistralwireError: If it holds content of a newer contract: FAILED_PRECONDITION, CONTRACT_NEWER.
        TypeError: If it is no type of a message that is a JSON object.
    """
    text = engine.binary_to_json(request_type, wire, "snake", None)
    if text is None:
        _, errors = _written(plan_for(request_type), message_of(request_type, wire), limits)
        _refuse_newer(errors)
        for error in errors:
            if error.reason == Reason.NO_JSON_FORM:
                raise error
        text = binary_to_json(request_type, wire)
    return text


def check_answer(message: Message, *, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Check that an answer keeps the contract, as far as this process has it.

    Infinite doubles are accepted, which servers send: they are written as the largest finite one.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        limits: Bounds of its JSON form, and of the violations that are listed.

    Returns:
        The places with content of a newer contract, as of `newer_content`: no reason to refuse the rest.

    Raises:
        DecodeError: If it breaks the contract elsewhere, with all violations.
        TypeError: If it is not such a message.
    """
    plan = plan_for(type(message))
    document, errors = _written(plan, message, limits, infinities=True)
    if document is not None and not errors:
        read_message(type(message), _text(plan, document), CONTRACT_REVISION, validate=True, limits=limits)
        return []
    newer = [_violation(error) for error in errors if error.reason == Reason.CONTRACT_NEWER]
    error = _find(plan, document, errors, limits, complete=False)
    violations = [] if error is None else [other for other in error.violations if other not in newer]
    if error is not None and violations:
        raise DecodeError(violations, type_name=plan.name, truncated=error.truncated, reason=error.reason)
    return newer


def newer_content(message: Message, *, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Return what a message holds of a newer contract, which its JSON form lacks.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        limits: Only the bound on violations counts here.

    Returns:
        Each field, enum value and alternative that this contract does not have, with its JSON path.

    Raises:
        TypeError: If it is not such a message.
    """
    _, errors = _written(plan_for(type(message)), message, limits)
    return [_violation(error) for error in errors if error.reason == Reason.CONTRACT_NEWER]


def _text(plan: MessagePlan, document: dict[str, object]) -> bytes:
    try:
        return to_text(document)
    except RecursionError:
        raise too_deep(plan.name) from None


def _refuse_newer(errors: list[EncodeError]) -> None:
    newer = [error for error in errors if error.reason == Reason.CONTRACT_NEWER]
    if newer:
        places = "; ".join(map(str, newer[:_PLACES_SHOWN]))
        message = (
            "expected a request of this service's contract, found content of a newer one; upgrade the service"
        )
        raise MistralwireError(
            f"{message} ({places})",
            path=newer[0].path,
            code="FAILED_PRECONDITION",
            reason=Reason.CONTRACT_NEWER,
        )


def _written(
    plan: MessagePlan, message: Message, limits: Limits, *, infinities: bool = False
) -> tuple[dict[str, object] | None, list[EncodeError]]:
    try:
        wire = message.SerializeToString()
        return write_what_can_be(plan, wire, limits.violations_max, infinities=infinities)
    except EncodeError as error:
        return None, [error]


def _find(
    plan: MessagePlan,
    document: dict[str, object] | None,
    errors: list[EncodeError],
    limits: Limits,
    *,
    complete: bool,
) -> DecodeError | None:
    """Return the error with what is wrong with a message, what has no JSON form first.

    Args:
        plan: Plan of the message.
        document: Its JSON, with stand-ins for what has none; None if there is no JSON.
        errors: What has no JSON form.
        limits: Bounds of the JSON, and of the violations.
        complete: Whether members that a program is expected to set count as required.
    """
    violations = [_violation(error) for error in errors]
    truncated, reason = False, str(Reason.CONTRACT_VIOLATION)
    if document is not None:
        try:
            value = parse(_text(plan, document), limits, plan.name)
            read_document(plan, value, validate=True, limits=limits, complete=complete)
        except DecodeError as error:
            violations += [other for other in error.violations if not _is_below(other.path, errors)]
            truncated, reason = error.truncated, error.reason
    if not violations:
        return None
    if any(error.reason == Reason.NO_JSON_FORM for error in errors):
        reason = Reason.NO_JSON_FORM
    return DecodeError(
        violations[: limits.violations_max],
        type_name=plan.name,
        truncated=truncated or len(violations) > limits.violations_max,
        reason=reason,
    )


def _is_below(path: str, errors: list[EncodeError]) -> bool:
    """Check whether a place has no JSON form, or is inside one: what stands there is not the message's."""
    return any(
        path == error.path or path.startswith((f"{error.path}.", f"{error.path}[")) for error in errors
    )


def _violation(error: EncodeError) -> Violation:
    """Return an error as a violation, in its own words."""
    expected, separator, found = error.message.removeprefix("expected ").partition(", found ")
    if separator and error.message.startswith("expected "):
        return Violation(error.path, expected, found)
    return Violation(error.path, "a value that has a JSON form", error.message)
