"""The one place that maps an error to an HTTP answer."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response

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
from mistralwire.v1 import ErrorResponse, IntegerOrString, ValidationError

Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
UNAUTHORIZED = 401
UNPROCESSABLE = 422

# Where gRPC's code alone does not tell.
_STATUSES: Mapping[str, int] = {
    Reason.EVENT_TOO_LARGE: 413,
    Reason.IDEMPOTENCY_KEY_REUSED: UNPROCESSABLE,
    Reason.NO_RESPONSE_LOG: 404,
    Reason.RESPONSE_ENDED: 409,
    Reason.RESPONSE_RUNNING: 409,
}
# Of a message that lists violations; `detail` has all of them.
_VIOLATIONS_CHARS_MAX = 1_000
_LOC_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,18})\]")
_LIBRARY_MESSAGES = {
    "UNAVAILABLE": "the service behind the gateway can't be reached",
    "DEADLINE_EXCEEDED": "the answer took longer than the gateway's deadline",
}
# Written as null where they have no value.
_PARAM = ErrorResponse.DESCRIPTOR.fields_by_name["param"].number
_CODE = ErrorResponse.DESCRIPTOR.fields_by_name["code_string"].number


class HttpError(MistralwireError):
    """A request that the gateway itself refuses, with an HTTP status."""

    def __init__(self, status: int, message: str, *, reason: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message, code="INVALID_ARGUMENT", reason=reason)
        self.status = status


class HttpAnswer(NamedTuple):
    """A JSON answer that is not a stream; its headers are without type and length."""

    status: int
    body: bytes
    headers: Headers


def answer_of(error: MistralwireError, *, is_key_shared: bool = False) -> HttpAnswer:
    """Map an error to an answer.

    Args:
        error: A DecodeError, or a CallError with violations of the contract, becomes 422. Any other error has
            the upstream's status if that is about the request, or else the status of its gRPC code.
        is_key_shared: Whether callers share the key for the upstream, so that its rate limits are not theirs.

    Returns:
        The answer, with the upstream's ids and rate limits, with Retry-After if the error says when to retry,
        and with `x-should-retry: false` if a retry is hopeless.
    """
    upstream_headers = upstream_headers_of(error)
    if is_key_shared:
        upstream_headers = without_limits(upstream_headers)
    headers = encoded_headers(upstream_headers)
    delay_s = error.retry_after_s if isinstance(error, CallError | OverloadError | UpstreamError) else None
    if delay_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(delay_s)))
    if _is_retry_hopeless(error):
        headers.append((b"x-should-retry", b"false"))
    status = _http_status_of(error)
    if status == UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return HttpAnswer(status, to_json(error_body(error)), headers)


def response_of(answer: HttpAnswer, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer as a response of Starlette, with further headers."""
    named = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, {**named, **(headers or {})}, "application/json")


def error_body(error: MistralwireError) -> ErrorResponse:
    """Return the body of an error answer or event, with the members that each family of clients reads.

    | read by | members |
    |---|---|
    | Mistral's SDKs and LangChain's | `object`, `message`, `type`, `param`, `code` |
    | clients that know only Mistral's 401 and 422 | `detail`: the text, or with 422 a list of violations |
    | OpenAI's SDKs and those built on them | `error`, an object with the members of the first row |

    Messages of the gRPC library itself are replaced: they contain addresses.
    """
    violations = _violations_of(error)
    text = _valid_text(_shorten("; ".join(map(str, violations))) if violations else _message_of(error))
    body = ErrorResponse(object="error", message_string=text, type=error.reason.lower())
    members = _set_upstream_members(body, error)
    nulls = [] if body.HasField("param") else [_PARAM]
    nulls += [] if body.WhichOneof("code") else [_CODE]
    body.json_extra.null_fields.extend(nulls)
    body.json_extra.members = orjson.dumps(members).decode()
    members["error"] = orjson.Fragment(to_json(body))
    if not violations and _http_status_of(error) == UNPROCESSABLE:
        # Mistral's SDKs accept only a list there.
        violations = [UpstreamViolation("", text)]
    if violations:
        body.detail_array.items.extend(_validation_error(each, error.reason) for each in violations)
    else:
        body.detail_string = text
    body.json_extra.members = orjson.dumps(members).decode()
    return body


def upstream_headers_of(error: MistralwireError) -> Mapping[str, str]:
    """Return the upstream's headers that came with an error."""
    if isinstance(error, CallError):
        return headers_in(error.metadata.items())
    # A program's own upstream may have put anything there.
    return headers_in(error.headers.items()) if isinstance(error, UpstreamError) else {}


def upstream_status_of(error: MistralwireError) -> int | None:
    """Return the HTTP status of the upstream's answer; None if there was none."""
    if isinstance(error, CallError):
        return error.upstream_status
    return error.status if isinstance(error, UpstreamError) else None


def encoded_headers(headers: Mapping[str, str]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def unencodable_answer() -> MistralwireError:
    """Return the error for an answer without a JSON form, which is not the caller's fault."""
    message = "the answer of the upstream could not be written as JSON"
    return MistralwireError(message, code="INTERNAL", reason=Reason.UPSTREAM_UNREADABLE)


def unknown_response_error() -> HttpError:
    """Return the error for a path whose id no response can have: there is none, or it is too long."""
    message = "expected the id of a response in the path, of at most 128 characters, found another"
    return HttpError(404, message, reason=Reason.RESPONSE_NOT_FOUND)


def _set_upstream_members(body: ErrorResponse, error: MistralwireError) -> dict[str, Any]:
    """Set the members of the upstream's error body in ours; return those without a field."""
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
    # All other fields of the body are the answer's own.
    return {
        name: value for name, value in members.items() if name not in ErrorResponse.DESCRIPTOR.fields_by_name
    }


def _is_retry_hopeless(error: MistralwireError) -> bool:
    if isinstance(error, CallError | UpstreamError) and not error.should_retry:
        return True
    return not isinstance(error, HttpError) and is_hopeless(error.code)


def _http_status_of(error: MistralwireError) -> int:
    if isinstance(error, HttpError):
        return error.status
    upstream_status = upstream_status_of(error)
    if upstream_status is None and _violations_of(error):
        return UNPROCESSABLE
    return _STATUSES.get(error.reason) or http_status(error.code, upstream_status)


def _violations_of(error: MistralwireError) -> Sequence[Violation | UpstreamViolation]:
    if isinstance(error, CallError):
        return error.violations or error.upstream_violations
    return error.violations if isinstance(error, DecodeError | UpstreamError) else ()


def _message_of(error: MistralwireError) -> str:
    # A service's own errors have a reason; those of the gRPC library have the code in its place.
    is_of_library = isinstance(error, CallError) and error.reason == error.code
    text: str = error.message
    return _LIBRARY_MESSAGES.get(error.code, text) if is_of_library else text


def _valid_text(text: str) -> str:
    return text.encode(errors="replace").decode()


def _shorten(text: str) -> str:
    return text if len(text) <= _VIOLATIONS_CHARS_MAX else f"{text[: _VIOLATIONS_CHARS_MAX - 3]}..."


def _validation_error(violation: Violation | UpstreamViolation, reason: str) -> ValidationError:
    return ValidationError(
        loc=[IntegerOrString(string="body"), *_loc(violation.path)],
        msg=_valid_text(violation.description),
        type=(violation.type if isinstance(violation, UpstreamViolation) else "") or reason.lower(),
    )


def _loc(path: str) -> list[IntegerOrString]:
    """Split a JSON path: `messages[0].role` becomes `messages`, 0, `role`."""
    return [
        IntegerOrString(string=_valid_text(name)) if name else IntegerOrString(integer=int(index))
        for name, index in _LOC_STEP.findall(path)
    ]
