"""The one place that turns an error into an HTTP answer."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from mistralwire.codec import to_json
from mistralwire.errors import (
    CallError,
    DecodeError,
    MistralwireError,
    OverloadError,
    Reason,
    UpstreamError,
    Violation,
)
from mistralwire.upstream import http_status
from mistralwire.v1 import (
    ErrorResponse,
    HTTPValidationError,
    IntegerOrString,
    JsonExtra,
    ValidationError,
)

Headers = list[tuple[bytes, bytes]]

UNAUTHORIZED = 401
UNPROCESSABLE = 422

_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,18})\]")
_OF_LIBRARY = {
    "UNAVAILABLE": "the service behind the gateway can't be reached",
    "DEADLINE_EXCEEDED": "the answer took longer than the gateway waits for one",
}
_NULL_FIELDS = [
    ErrorResponse.DESCRIPTOR.fields_by_name["param"].number,
    ErrorResponse.DESCRIPTOR.fields_by_name["code_string"].number,
]


class EdgeError(MistralwireError):
    """A request that the edge itself refuses.

    Attributes:
        status: HTTP status of the answer.
    """

    def __init__(self, status: int, message: str, *, reason: str) -> None:
        super().__init__(message, code="INVALID_ARGUMENT", reason=reason)
        self.status = status


class Answer(NamedTuple):
    """An answer in one piece.

    Attributes:
        status: HTTP status.
        body: JSON text.
        headers: What else to say, beside type and length.
    """

    status: int
    body: bytes
    headers: Headers


def answer_of(error: MistralwireError) -> Answer:
    """Turn an error into an answer.

    Args:
        error: A DecodeError, or a CallError with violations, becomes 422 with the documented body. All others
            become the API's own error body: the code and type of the upstream where it gave some, and the
            status that the one table has for the gRPC code.

    Returns:
        The answer, with Retry-After if the error says when a new try makes sense.
    """
    headers: Headers = []
    delay_s = error.retry_after_s if isinstance(error, CallError | OverloadError | UpstreamError) else None
    if delay_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(delay_s)))
    if isinstance(error, DecodeError | CallError) and error.violations:
        return Answer(UNPROCESSABLE, to_json(_validation_error(error.violations, error.reason)), headers)
    status = error.status if isinstance(error, EdgeError) else http_status(error.code)
    if status == UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(status, to_json(error_body(error)), headers)


def error_body(error: MistralwireError) -> ErrorResponse:
    """Give the error body of the API for an error.

    Args:
        error: The error. What a gRPC library says by itself, with addresses in it, stays inside.
    """
    body = ErrorResponse(object="error", message_string=_clean(_text_of(error)))
    nulls = list(_NULL_FIELDS)
    body.type = error.reason.lower()
    if isinstance(error, CallError | UpstreamError):
        body.type = error.upstream_type or body.type
        if error.upstream_code:
            body.code_string = error.upstream_code
            nulls.pop()
    body.json_extra.CopyFrom(JsonExtra(null_fields=nulls))
    return body


def error_event(error: MistralwireError) -> ErrorResponse:
    """Give the error body for an event in a stream.

    It has the error once more as a member `error`: OpenAI's SDK raises for that, and takes any other event
    for a chunk.

    Args:
        error: The error.
    """
    body = error_body(error)
    body.json_extra.members = f'{{"error":{to_json(body).decode()}}}'
    return body


def _text_of(error: MistralwireError) -> str:
    # A service that means what it says gives a reason beside the code.
    is_of_library = isinstance(error, CallError) and error.reason == error.code
    text: str = error.message
    return _OF_LIBRARY.get(error.code, text) if is_of_library else text


def unwritable() -> MistralwireError:
    """Give the error of an answer that has no JSON form, which is not the caller's fault."""
    message = "the answer of the upstream could not be written as JSON"
    return MistralwireError(message, code="INTERNAL", reason=Reason.UPSTREAM_UNREADABLE)


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()


def _validation_error(violations: Iterable[Violation], reason: str) -> HTTPValidationError:
    return HTTPValidationError(
        detail=[
            ValidationError(
                loc=[IntegerOrString(string="body"), *_loc(violation.path)],
                msg=_clean(f"expected {violation.expected}, found {violation.found}"),
                type=reason.lower(),
            )
            for violation in violations
        ]
    )


def _loc(path: str) -> list[IntegerOrString]:
    """Take a JSON path apart: `messages[0].role` becomes `messages`, 0, `role`."""
    return [
        IntegerOrString(string=_clean(name)) if name else IntegerOrString(integer=int(index))
        for name, index in _STEP.findall(path)
    ]
