"""Between errors and the google.rpc.Status of a call, or of a stored response."""

import logging
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import orjson
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mistralwire._metadata import headers_in, is_request_id
from mistralwire._protobuf import parsed
from mistralwire.errors import (
    CONTRACT_REVISION_INFO,
    ERROR_DOMAIN,
    HTTP_STATUS,
    SHOULD_RETRY,
    UPSTREAM_CODE,
    UPSTREAM_MEMBERS,
    UPSTREAM_PARAM,
    UPSTREAM_TYPE,
    CallError,
    DecodeError,
    MistralwireError,
    OverloadError,
    Reason,
    ResponseError,
    UpstreamError,
    UpstreamViolation,
    Violation,
)
from mistralwire.v1 import CONTRACT_REVISION

# The status travels in trailers, which most gRPC languages limit to 8 KiB by default. They hold the message
# twice, once percent-encoded at up to three bytes a byte, and the details in base64: with the upstream's
# headers (1.5 KiB), the id of the call, the pushback and the 32 bytes that HTTP/2 counts for each trailer,
# together less than 8 KiB.
_MESSAGE_BYTES_MAX = 512
_STATUS_BYTES_MAX = 3 * 1024
_TEXT_BYTES_MAX = 256
_REASON_BYTES_MAX = 64
_METADATA_BYTES_MAX = 1792
# Beside violations.
_METADATA_BYTES_BESIDE_MAX = 1024
# Around the violations: tags, lengths and type URL, and their count.
_FRAME_BYTES = 96

_REVISION = {CONTRACT_REVISION_INFO: str(CONTRACT_REVISION)}
# The form of a reason in google.rpc.BadRequest.
_FIELD_REASON = re.compile("[A-Z][A-Z0-9_]{0,62}")

# For a message, and for each text of a violation.
_STATUS_LINE_CHARS_MAX = 1_000
# grpc's text where the deadline ends a call; in the middle of a stream sometimes as "Stream removed (...)".
_DEADLINE = "Deadline Exceeded"

_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK}

_DETAIL_TYPES: dict[str, type[Message]] = {
    detail_type.DESCRIPTOR.full_name: detail_type
    for detail_type in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RequestInfo,
        error_details_pb2.RetryInfo,
    )
}

_logger = logging.getLogger(__name__)


def to_status(error: BaseException, request_id: str = "") -> status_pb2.Status:
    """Turn any error into the google.rpc.Status of its call, with its id as RequestInfo if that is valid.

    A MistralwireError becomes its code and message, with its violations as BadRequest, its retry delay as
    RetryInfo, and its reason as ErrorInfo. The metadata of ErrorInfo are `contract_revision`, and for an
    UpstreamError `http_status`, `upstream_code`, `upstream_type`, `upstream_param`, `should_retry` if that is
    false, its headers, and `upstream_members` as JSON. A code that is not one of gRPC's errors becomes
    INTERNAL, and so does any other exception, without its text.

    The status is small enough for trailers: long texts, violations and metadata are truncated.
    """
    request_info: list[Message] = []
    if is_request_id(request_id):
        request_info.append(error_details_pb2.RequestInfo(request_id=request_id))
    if isinstance(error, MistralwireError):
        try:
            return _status_of_error(error, request_info)
        except Exception as cause:  # noqa: BLE001 - every call needs a status
            # An error whose attributes have the wrong types; their text is not logged.
            _logger.error(
                "a %s could not be converted to a status: %s", type(error).__name__, type(cause).__name__
            )
    info = error_details_pb2.ErrorInfo(reason=Reason.INTERNAL, domain=ERROR_DOMAIN, metadata=_REVISION)
    return _status(grpc.StatusCode.INTERNAL, "internal error of the service", [info, *request_info])


def _status_of_error(error: MistralwireError, request_info: list[Message]) -> status_pb2.Status:
    code = grpc.StatusCode.__members__.get(error.code, grpc.StatusCode.OK)
    if code is grpc.StatusCode.OK:
        # An error with the code OK, or with no code of gRPC's, is a bug in the service.
        code = grpc.StatusCode.INTERNAL
    violations: Sequence[Violation | UpstreamViolation] = ()
    if isinstance(error, DecodeError | CallError | UpstreamError):
        violations = error.violations
    metadata_room = _METADATA_BYTES_BESIDE_MAX if violations else _METADATA_BYTES_MAX
    info = error_details_pb2.ErrorInfo(
        reason=_text_within(error.reason, _REASON_BYTES_MAX),
        domain=ERROR_DOMAIN,
        # The service's own revision, first, instead of one in an error that is passed on.
        metadata=_within(_REVISION | _metadata(error) | _REVISION, metadata_room),
    )
    details: list[Message] = [info, *_retry_info(error), *request_info]
    if violations:
        room = _STATUS_BYTES_MAX - _FRAME_BYTES - _status(code, str(error), details).ByteSize()
        bad_request = _bad_request(violations, room)
        if len(bad_request.field_violations) < len(violations):
            info.metadata["violations"] = str(len(violations))
        details.insert(0, bad_request)
    return _status(code, str(error), details)


def delay_of(error: BaseException) -> float | None:
    """Return the seconds after which an error may be retried, if it has them."""
    return error.retry_after_s if isinstance(error, UpstreamError | OverloadError | CallError) else None


def _retry_info(error: MistralwireError) -> list[Message]:
    delay_s = delay_of(error)
    if delay_s is None:
        return []
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(math.ceil(delay_s * 1000))
    return [info]


def _status(code: grpc.StatusCode, message: str, details: Iterable[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=_text_within(message, _MESSAGE_BYTES_MAX))
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _metadata(error: MistralwireError) -> dict[str, str]:
    if isinstance(error, UpstreamError):
        members = (
            (HTTP_STATUS, error.status),
            (UPSTREAM_CODE, error.upstream_code),
            (UPSTREAM_TYPE, error.upstream_type),
            (UPSTREAM_PARAM, error.upstream_param),
            (SHOULD_RETRY, None if error.should_retry else "false"),
            *headers_in(error.headers.items()).items(),
            (UPSTREAM_MEMBERS, orjson.dumps(error.members).decode() if error.members else None),
        )
        return {name: str(value) for name, value in members if value is not None}
    if isinstance(error, DecodeError) and error.truncated:
        return {"truncated": "true"}
    if isinstance(error, CallError | ResponseError):
        return error.metadata
    return {}


def _within(metadata: dict[str, str], room: int) -> dict[str, str]:
    """Return as many entries as fit into this many bytes; JSON is not truncated."""
    result = {}
    for name, value in metadata.items():
        name_text = _text_within(name, _TEXT_BYTES_MAX)
        value_text = value if name == UPSTREAM_MEMBERS else _text_within(value, _TEXT_BYTES_MAX)
        # Three tags, three lengths of up to two bytes.
        room -= len(name_text.encode()) + len(value_text.encode()) + 9
        if room < 0:
            break
        result[name_text] = value_text
    return result


def _bad_request(
    violations: Iterable[Violation | UpstreamViolation], room: int
) -> error_details_pb2.BadRequest:
    """List as many violations as fit into this many bytes."""
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        item = _field_violation(violation)
        room -= item.ByteSize() + 3
        if room < 0:
            break
        bad_request.field_violations.append(item)
    return bad_request


def _field_violation(violation: Violation | UpstreamViolation) -> error_details_pb2.BadRequest.FieldViolation:
    path, *texts = (_text_within(text, _TEXT_BYTES_MAX) for text in violation)
    if isinstance(violation, UpstreamViolation):
        description, kind = texts
        reason = kind.upper()
        return error_details_pb2.BadRequest.FieldViolation(
            field=path, description=description, reason=reason if _FIELD_REASON.fullmatch(reason) else ""
        )
    description = Violation(path, *texts).description
    return error_details_pb2.BadRequest.FieldViolation(field=path, description=description)


def _text_within(text: str, bytes_max: int) -> str:
    """Return a text that protobuf takes: without lone surrogates, in at most this many bytes of UTF-8."""
    # A character has at least one byte: the rest is dropped in any case.
    data = text[: bytes_max + 1].encode(errors="replace")
    if len(data) <= bytes_max:
        return data.decode()
    return f"{data[: bytes_max - 3].decode(errors='ignore')}..."


def error_of_status(wire: bytes, request_id: str = "") -> CallError:
    """Turn the wire bytes of a status into an error; see `error_with`."""
    status = parsed(status_pb2.Status, wire) or status_pb2.Status()
    code = _CODE_NAMES.get(status.code, "UNKNOWN")
    return error_with(code, status.message, details_in([wire]), (request_id,))


def error_with(
    code: str, text: str, details: dict[type[Message], Any], ids: Iterable[str], *, is_used_up: bool = False
) -> CallError:
    """Return the error of a status with these details; `ids` may be that of its call, if they have none."""
    info = details.get(error_details_pb2.ErrorInfo, error_details_pb2.ErrorInfo())
    is_of_upstream = info.reason == Reason.UPSTREAM_INVALID_REQUEST
    places = details.get(error_details_pb2.BadRequest, error_details_pb2.BadRequest()).field_violations
    request_info = details.get(error_details_pb2.RequestInfo, error_details_pb2.RequestInfo())
    retry = details.get(error_details_pb2.RetryInfo)
    text = _printable_line(text)
    return CallError(
        _DEADLINE if text == f"Stream removed ({_DEADLINE})" else text or f"the call ended with {code}",
        code=code,
        reason=info.reason,
        violations=[] if is_of_upstream else [_contract_violation(item) for item in places],
        upstream_violations=[_upstream_violation(item) for item in places] if is_of_upstream else [],
        metadata=dict(info.metadata),
        request_id=next(filter(is_request_id, (request_info.request_id, *ids)), ""),
        # A negative delay means now: callers may sleep for it.
        retry_after_s=None if retry is None else max(0.0, retry.retry_delay.ToNanoseconds() / 1e9),
        should_retry=info.metadata.get(SHOULD_RETRY) != "false" and not is_used_up,
    )


def details_in(statuses: Iterable[Any]) -> dict[type[Message], Any]:
    """Return the details of statuses that are known and can be parsed, by their types.

    Another service may use their key for something else; the code and the message are still valid.
    """
    details: dict[type[Message], Any] = {}
    for wire in statuses:
        for detail in getattr(parsed(status_pb2.Status, wire), "details", ()):
            detail_type = _DETAIL_TYPES.get(detail.type_url.rpartition("/")[2])
            if detail_type is not None and (message := parsed(detail_type, detail.value)) is not None:
                details[detail_type] = message
    return details


def _contract_violation(item: error_details_pb2.BadRequest.FieldViolation) -> Violation:
    expected, separator, found = item.description.removeprefix("expected ").partition(", found ")
    found = _printable_line(found) if separator else "something else"
    return Violation(_printable_line(item.field), _printable_line(expected), found)


def _upstream_violation(item: error_details_pb2.BadRequest.FieldViolation) -> UpstreamViolation:
    texts = (item.field, item.description, item.reason.lower())
    return UpstreamViolation(*map(_printable_line, texts))


def _printable_line(text: str) -> str:
    """Return a text of the service as one bounded line, without control characters for a terminal."""
    lines = filter(None, (" ".join(line.split()) for line in text.splitlines()))
    line = "; ".join(lines).replace(":; ", ": ")
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= _STATUS_LINE_CHARS_MAX else f"{line[: _STATUS_LINE_CHARS_MAX - 3]}..."
