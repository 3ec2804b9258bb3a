"""From any error to the google.rpc.Status that ends its call."""

import asyncio
import logging
import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Never

import grpc
import orjson
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mistralwire._metadata import (
    OWN_REVISION,
    REQUEST_ID,
    RETRY_PUSHBACK,
    RETRY_TIME_LEFT,
    STATUS_DETAILS,
    headers_in,
    is_request_id,
    request_id_of,
)
from mistralwire.errors import (
    CONTRACT_REVISION_INFO,
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
    UpstreamError,
    UpstreamViolation,
    Violation,
)
from mistralwire.v1 import CONTRACT_REVISION

ERROR_DOMAIN = "mistralwire"
"""Domain of the reasons in ErrorInfo."""

RETRY_WAIT_S_MAX = 30.0
"""The longest delay in seconds that a client's gRPC library is given before its own retry."""

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
# The codes that a client may retry after a delay.
_RETRIABLE = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)

_REVISION = {CONTRACT_REVISION_INFO: str(CONTRACT_REVISION)}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MILLISECONDS_PATTERN = re.compile("[0-9]{1,12}")
# The form of a reason in google.rpc.BadRequest.
_FIELD_REASON = re.compile("[A-Z][A-Z0-9_]{0,62}")

_logger = logging.getLogger(__name__)


class CallStatus(NamedTuple):
    """The status of a failed call: the arguments of `ServicerContext.abort`.

    The trailing metadata are all that the call has: the status with its details, the revision, the id of the
    call, and the pushback for gRPC's own retries.
    """

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def retry_time_s(metadata: Iterable[tuple[str, str | bytes]], remaining_s: float | None) -> float | None:
    """Return how many seconds a call may still wait for another attempt; None if it has no deadline."""
    if remaining_s is None:
        return None
    for name, value in metadata:
        if name == RETRY_TIME_LEFT and isinstance(value, str) and _MILLISECONDS_PATTERN.fullmatch(value):
            return remaining_s - int(value) / 1000
    return remaining_s


def call_status(error: BaseException, request_id: str = "", remaining_s: float | None = None) -> CallStatus:
    """Turn an error into the status of its call, with its id if that is valid.

    The pushback (`grpc-retry-pushback-ms`, gRFC A6) controls the retries of the client's gRPC library. If the
    error says when to retry, the library waits that long; if that is more than 30 seconds, or than the call
    has left (`retry_time_s`), it does not retry: it would wait until the deadline, and the caller would learn
    of nothing but that. If the upstream failed without saying when, it does not retry: the completion may
    have been generated, and billed, and then lost; nor if the service itself has retried already.
    """
    status = to_status(error, request_id)
    code = _CODES[status.code]
    trailers: list[tuple[str, str | bytes]] = [(STATUS_DETAILS, status.SerializeToString()), OWN_REVISION]
    if is_request_id(request_id):
        trailers.append((REQUEST_ID, request_id))
    delay_s = _delay_of(error)
    if isinstance(error, UpstreamError):
        trailers.extend(headers_in(error.headers.items()).items())
        delay_s = delay_s if error.should_retry else None
    if code in _RETRIABLE and (delay_s is not None or isinstance(error, UpstreamError)):
        trailers.append((RETRY_PUSHBACK, str(_pushback_ms(delay_s, remaining_s))))
    return CallStatus(code, status.message, tuple(trailers))


async def refuse(
    context: grpc.aio.ServicerContext, error: BaseException, request_id: str | None = None
) -> Never:
    """End a call with the status of an error.

    Without a `request_id` the call has the caller's own, or a new one.

    Raises:
        grpc.aio.AbortError: Always; grpc expects it.
        asyncio.CancelledError: If the call is over already, for example because its caller has gone: grpc
            would log anything else with its traceback.
    """
    metadata = context.invocation_metadata() or ()
    if request_id is None:
        request_id = request_id_of(metadata)
    try:
        await context.abort(*call_status(error, request_id, retry_time_s(metadata, context.time_remaining())))
    except grpc.aio.AbortError as abort:
        # Without the original error: grpc may print the chain, and its text may be private.
        raise abort from None
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
    raise AssertionError("abort always raises")


def _pushback_ms(delay_s: float | None, remaining_s: float | None) -> int:
    """Return the milliseconds before the client may retry; -1 if it must not."""
    wait_s_max = RETRY_WAIT_S_MAX if remaining_s is None else min(RETRY_WAIT_S_MAX, remaining_s)
    if delay_s is None or delay_s > wait_s_max:
        return -1
    # Not 0: gRPC's C core, which Python uses, then waits forever (seen with 1.73 and 1.85).
    return max(1, math.ceil(delay_s * 1000))


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


def _delay_of(error: BaseException) -> float | None:
    return error.retry_after_s if isinstance(error, UpstreamError | OverloadError | CallError) else None


def _retry_info(error: MistralwireError) -> list[Message]:
    delay_s = _delay_of(error)
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
    if isinstance(error, CallError):
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
