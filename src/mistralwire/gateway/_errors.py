"""The one place that turns an error into an HTTP answer."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from mistralwire._metadata import headers_in, without_limits
from mistralwire.codec import to_json
from mistralwire.errors import (
    CallError,
    DecodeError,
    MistralwireError,
    OverloadError,
    Reason,
    UpstreamError,
    UpstreamViolation,
    Violation,
)
from mistralwire.upstream import http_status, is_hopeless
from mistralwire.v1 import (
    ErrorResponse,
    IntegerOrString,
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
# Written as null where there is neither.
_PARAM = ErrorResponse.DESCRIPTOR.fields_by_name["param"].number
_CODE = ErrorResponse.DESCRIPTOR.fields_by_name["code_string"].number


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


def answer_of(error: MistralwireError, *, is_key_shared: bool = False) -> Answer:
    """Turn an error into an answer.

    Args:
        error: A DecodeError, or a CallError with violations of the contract, becomes 422; any other has the
            status of the upstream if that is about the request, or else the one that the one table has for
            its gRPC code.
        is_key_shared: Whether callers share the key for the upstream, so that its rate limits are not theirs.

    Returns:
        The answer, with the upstream's ids and rate limits, with Retry-After if the error says when a new try
        makes sense, and with `x-should-retry: false` where none does.
    """
    upstream_headers = upstream_headers_of(error)
    if is_key_shared:
        upstream_headers = without_limits(upstream_headers)
    headers = encoded(upstream_headers)
    delay_s = error.retry_after_s if isinstance(error, CallError | OverloadError | UpstreamError) else None
    if delay_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(delay_s)))
    if _is_hopeless(error):
        headers.append((b"x-should-retry", b"false"))
    status = _status_of(error)
    if status == UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(status, to_json(error_body(error)), headers)


def error_body(error: MistralwireError) -> ErrorResponse:
    """Return the error body, of an answer or of an event in a stream, with what each family of clients reads.

    | read by | members |
    |---|---|
    | Mistral's SDKs and LangChain's | `object`, `message`, `type`, `param`, `code` |
    | those that know Mistral's 401 and 422 alone | `detail`: the text, or with 422 a list of violations |
    | OpenAI's SDKs and those built on them | `error`, an object with the members of the first row |

    Args:
        error: The error. What a gRPC library says by itself, with addresses in it, stays inside.
    """
    violations = _violations_of(error)
    text = _clean(_cut("; ".join(map(str, violations))) if violations else _text_of(error))
    body = ErrorResponse(object="error", message_string=text, type=error.reason.lower())
    members = _set_upstream_members(body, error)
    nulls = [] if body.HasField("param") else [_PARAM]
    nulls += [] if body.WhichOneof("code") else [_CODE]
    body.json_extra.null_fields.extend(nulls)
    body.json_extra.members = orjson.dumps(members).decode()
    members["error"] = orjson.Fragment(to_json(body))
    if not violations and _status_of(error) == UNPROCESSABLE:
        # Mistral's SDKs take nothing but a list there.
        violations = [UpstreamViolation("", text)]
    if violations:
        body.detail_array.items.extend(_validation_error(each, error.reason) for each in violations)
    else:
        body.detail_string = text
    body.json_extra.members = orjson.dumps(members).decode()
    return body


def upstream_headers_of(error: MistralwireError) -> Mapping[str, str]:
    """Return the headers of the upstream's answer that an error has."""
    if isinstance(error, CallError):
        return headers_in(error.metadata.items())
    # Those of a program's own upstream may be any.
    return headers_in(error.headers.items()) if isinstance(error, UpstreamError) else {}


def encoded(headers: Mapping[str, str]) -> Headers:
    """Return headers as a server takes them."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _set_upstream_members(body: ErrorResponse, error: MistralwireError) -> dict[str, Any]:
    """Put what the upstream's error body said into another; return the members that have no field there."""
    if isinstance(error, CallError):
        members = error.upstream_members
    elif isinstance(error, UpstreamError):
        members = dict(error.members)
    else:
        return {}
    code, kind, param = (members.pop(name, None) for name in ("code", "type", "param"))
    if isinstance(code, int) and not isinstance(code, bool):
        body.code_integer = code
    elif code := code if isinstance(code, str) else error.upstream_code:
        body.code_string = code
    if kind := kind if isinstance(kind, str) else error.upstream_type:
        body.type = kind
    if param := param if isinstance(param, str) else error.upstream_param:
        body.param = param
    # What is a field of the body, and no word for programs, is said by the answer itself.
    return {
        name: value for name, value in members.items() if name not in ErrorResponse.DESCRIPTOR.fields_by_name
    }


def _is_hopeless(error: MistralwireError) -> bool:
    if isinstance(error, CallError | UpstreamError) and not error.should_retry:
        return True
    return not isinstance(error, EdgeError) and is_hopeless(error.code)


def _status_of(error: MistralwireError) -> int:
    if isinstance(error, EdgeError):
        return error.status
    upstream_status = upstream_status_of(error)
    if upstream_status is None and _violations_of(error):
        return UNPROCESSABLE
    return http_status(error.code, upstream_status)


def upstream_status_of(error: MistralwireError) -> int | None:
    """Return the HTTP status of the upstream's answer; None if there was none."""
    if isinstance(error, CallError):
        return error.upstream_status
    return error.status if isinstance(error, UpstreamError) else None


def _violations_of(error: MistralwireError) -> Sequence[Violation | UpstreamViolation]:
    if isinstance(error, CallError):
        return error.violations or error.upstream_violations
    return error.violations if isinstance(error, DecodeError | UpstreamError) else ()


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


def _validation_error(violation: Violation | UpstreamViolation, reason: str) -> ValidationError:
    return ValidationError(
        loc=[IntegerOrString(string="body"), *_loc(violation.path)],
        msg=_clean(violation.description),
        type=(violation.type if isinstance(violation, UpstreamViolation) else "") or reason.lower(),
    )


def _loc(path: str) -> list[IntegerOrString]:
    """Take a JSON path apart: `messages[0].role` becomes `messages`, 0, `role`."""
    return [
        IntegerOrString(string=_clean(name)) if name else IntegerOrString(integer=int(index))
        for name, index in _STEP.findall(path)
    ]
