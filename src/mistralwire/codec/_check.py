"""Checks whether a message that a program made keeps the contract.

Protobuf has no required fields, no JSON text and no fixed strings. The JSON form of the message has, so the
message is converted to JSON, which is then validated: the violations are the same.
"""

from google.protobuf.message import Message

from mistralwire._protobuf import MessageT
from mistralwire.codec._convert import binary_to_json, from_json_at, message_of
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits, stack_error
from mistralwire.codec._native import engine
from mistralwire.codec._plan import MessagePlan, plan_for
from mistralwire.codec._python import binary_to_document_and_errors, document_to_binary, parse, to_text
from mistralwire.codec._revision import read_request
from mistralwire.errors import DecodeError, EncodeError, MistralwireError, Violation
from mistralwire.v1 import CONTRACT_REVISION, Reason

_PLACES_SHOWN_MAX = 3


def check(message: Message, *, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Return the violations that keep a message from being a valid document of the API, with their paths.

    Beyond what `from_json` requires, this reports the members that Vertex AI may leave out of an answer but
    the API's SDKs require: `created` and `choices` of a ChatCompletionResponse. It raises for no content.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        limits: Bounds on its JSON form, and on the violations that are listed.

    Raises:
        TypeError: If it is not such a message.
    """
    plan = plan_for(type(message))
    document, errors = _to_document(plan, message, limits)
    error = _validate(plan, document, errors, limits, complete=True)
    return [] if error is None else error.violations


def check_request(
    message: MessageT, *, limits: Limits = DEFAULT_LIMITS, oldest_revision: int = CONTRACT_REVISION
) -> MessageT:
    """Check that a request keeps the contract, and move everything that has a field to its field.

    A member with a field may also be in `json_extra` or `unknown_json`: a sender with an older contract puts
    it there, and so may one that wants it overlooked. The request that is returned is the same document.

    Args:
        message: A request of `mistralwire.v1`.
        limits: Bounds on its JSON form, and on the violations that are listed.
        oldest_revision: The oldest revision whose contract applies, 1 or more: what it accepts is valid.

    Raises:
        DecodeError: If it breaks the contract, with all violations. The reason is NO_JSON_FORM if a value has
            none, such as NaN.
        MistralwireError: If it holds content of a newer contract: FAILED_PRECONDITION, CONTRACT_NEWER.
    """
    plan = plan_for(type(message))
    document, errors = _to_document(plan, message, limits)
    if document is None or errors:
        _refuse_newer(errors)
        error = _validate(plan, document, errors, limits, complete=False)
        assert error is not None  # noqa: S101 - what has no JSON form is a violation
        raise error
    text = _to_checked_text(plan, document)
    return read_request(type(message), text, oldest_revision=oldest_revision, limits=limits)


def request_to_json(request_type: type[Message], wire: bytes, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Convert the wire bytes of a request to JSON text without validation, for a server that validates it.

    Of `limits`, only the bound on violations applies here.

    Raises:
        DecodeError: If the bytes are not a message of the type.
        EncodeError: If a value has no JSON form, such as NaN or an infinity.
        MistralwireError: See `check_request`.
        TypeError: If it is not the type of a message that is a JSON object.
    """
    text = engine.binary_to_json(request_type, wire, "snake", None)
    if text is None:
        _, errors = _to_document(plan_for(request_type), message_of(request_type, wire), limits)
        _refuse_newer(errors)
        for error in errors:
            if error.reason == Reason.NO_JSON_FORM:
                raise error
        text = binary_to_json(request_type, wire)
    return text


def check_answer(message: Message, *, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Check that an answer keeps the contract, as far as this process has it.

    Infinite doubles, which servers send, are accepted: their JSON form is the largest finite double.
    Arguments are those of `check`.

    Returns:
        The places with content of a newer contract, as from `newer_content`: no reason to refuse the rest.

    Raises:
        DecodeError: If it breaks the contract elsewhere, with all violations.
        TypeError: See `check`.
    """
    plan = plan_for(type(message))
    document, errors = _to_document(plan, message, limits, infinities=True)
    if document is not None and not errors:
        text = _to_checked_text(plan, document)
        from_json_at(type(message), text, CONTRACT_REVISION, validate=True, limits=limits)
        return []
    newer = [_as_violation(error) for error in errors if error.reason == Reason.CONTRACT_NEWER]
    error = _validate(plan, document, errors, limits, complete=False)
    violations = [] if error is None else [other for other in error.violations if other not in newer]
    if error is not None and violations:
        raise DecodeError(violations, type_name=plan.name, truncated=error.truncated, reason=error.reason)
    return newer


def newer_content(message: Message, *, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Return the content of a newer contract in a message, which its JSON form lacks.

    This is each field, enum value and alternative that this contract does not have, with its JSON path. Of
    `limits`, only the bound on violations applies.

    Raises:
        TypeError: If it is not a message of `mistralwire.v1` that is a JSON object.
    """
    _, errors = _to_document(plan_for(type(message)), message, limits)
    return [_as_violation(error) for error in errors if error.reason == Reason.CONTRACT_NEWER]


def _to_checked_text(plan: MessagePlan, document: dict[str, object]) -> bytes:
    """Return the JSON text of a document that is checked: too deep for the stack is a violation."""
    try:
        return to_text(document)
    except RecursionError:
        raise stack_error(plan.name) from None


def _refuse_newer(errors: list[EncodeError]) -> None:
    newer = [error for error in errors if error.reason == Reason.CONTRACT_NEWER]
    if newer:
        places = "; ".join(map(str, newer[:_PLACES_SHOWN_MAX]))
        message = (
            "expected a request of this service's contract, found content of a newer one; upgrade the service"
        )
        raise MistralwireError(
            f"{message} ({places})",
            path=newer[0].path,
            code="FAILED_PRECONDITION",
            reason=Reason.CONTRACT_NEWER,
        )


def _to_document(
    plan: MessagePlan, message: Message, limits: Limits, *, infinities: bool = False
) -> tuple[dict[str, object] | None, list[EncodeError]]:
    try:
        wire = message.SerializeToString()
        return binary_to_document_and_errors(plan, wire, limits.violations_max, infinities=infinities)
    except EncodeError as error:
        return None, [error]


def _validate(
    plan: MessagePlan,
    document: dict[str, object] | None,
    errors: list[EncodeError],
    limits: Limits,
    *,
    complete: bool,
) -> DecodeError | None:
    """Return the error with all violations of a message, those without a JSON form first, or None.

    The document has stand-ins for what has no JSON form; it is None if there is no JSON. With `complete`,
    members that a program is expected to set are required.
    """
    violations = [_as_violation(error) for error in errors]
    truncated, reason = False, str(Reason.CONTRACT_VIOLATION)
    if document is not None:
        try:
            value = parse(_to_checked_text(plan, document), limits, plan.name)
            document_to_binary(plan, value, validate=True, limits=limits, complete=complete)
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
    """Check whether a path is that of an error or below it, where there is a stand-in."""
    return any(
        path == error.path or path.startswith((f"{error.path}.", f"{error.path}[")) for error in errors
    )


def _as_violation(error: EncodeError) -> Violation:
    """Return an error as a violation, in the same words."""
    expected, separator, found = error.message.removeprefix("expected ").partition(", found ")
    if separator and error.message.startswith("expected "):
        return Violation(error.path, expected, found)
    return Violation(error.path, "a value that has a JSON form", error.message)
