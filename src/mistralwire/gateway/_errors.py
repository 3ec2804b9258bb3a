"""The one place that turns an error into an HTTP answer."""

import math
import re
from collections.abc import Sequence
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
    IntegerOrString,
    JsonExtra,
    ValidationError,
)

Headers = list[tuple[bytes, bytes]]

UNAUTHORIZED = 401
UNPROCESSABLE = 422

# Of a message that lists violations; `detail` has all of them.
_TEXT_CHARS_MAX = 1_000
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

    def __init__(self, status: int, message: str, *, reason: str = "INVALID_ARGUMENT") -> None:
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
        error: A DecodeError, or a CallError with violations, becomes 422; any other has the status that the
            one table has for its gRPC code.

    Returns:
        The answer, with Retry-After if the error says when a new try makes sense.
    """
    headers: Headers = []
    delay_s = error.retry_after_s if isinstance(error, CallError | OverloadError | UpstreamError) else None
    if delay_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(delay_s)))
    status = _status_of(error)
    if status == UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(status, to_json(error_body(error)), headers)


def error_body(error: MistralwireError) -> ErrorResponse:
    """Return the error body, of an answer or of an event in a stream, with what each family of clients reads.

    | read by | members |
    |---|---|
    | Mistral's SDKs and LangChain's | `object`, `message`, `type`, `param`, `code` |
    | those that know Mistral's 401 and 422 alone | `detail`: the text, or with 422 the violations |
    | OpenAI's SDKs and those built on them | `error`, an object with the members of the first row |

    Args:
        error: The error. What a gRPC library says by itself, with addresses in it, stays inside.
    """
    violations = _violations_of(error)
    text = _clean(_cut("; ".join(map(str, violations))) if violations else _text_of(error))
    body = ErrorResponse(object="error", message_string=text, type=error.reason.lower())
    nulls = list(_NULL_FIELDS)
    if isinstance(error, CallError | UpstreamError):
        body.type = error.upstream_type or body.type
        if error.upstream_code:
            body.code_string = error.upstream_code
            nulls.pop()
    body.json_extra.CopyFrom(JsonExtra(null_fields=nulls))
    members = f'{{"error":{to_json(body).decode()}}}'
    if violations:
        body.detail_array.items.extend(_validation_error(each, error.reason) for each in violations)
    else:
        body.detail_string = text
    body.json_extra.members = members
    return body


def _status_of(error: MistralwireError) -> int:
    if _violations_of(error):
        return UNPROCESSABLE
    return error.status if isinstance(error, EdgeError) else http_status(error.code)


def _violations_of(error: MistralwireError) -> Sequence[Violation]:
    return error.violations if isinstance(error, DecodeError | CallError) else ()


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


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_CHARS_MAX else f"{text[: _TEXT_CHARS_MAX - 3]}..."


def _validation_error(violation: Violation, reason: str) -> ValidationError:
    return ValidationError(
        loc=[IntegerOrString(string="body"), *_loc(violation.path)],
        msg=_clean(f"expected {violation.expected}, found {violation.found}"),
        type=reason.lower(),
    )


def _loc(path: str) -> list[IntegerOrString]:
    """Take a JSON path apart: `messages[0].role` becomes `messages`, 0, `role`."""
    return [
        IntegerOrString(string=_clean(name)) if name else IntegerOrString(integer=int(index))
        for name, index in _STEP.findall(path)
    ]
