"""The one place that turns an error into a google.rpc.Status, and ends calls with it."""

import asyncio
import logging
import math
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Never

import grpc
import orjson
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mistralwire._metadata import CONTRACT_REVISION_NAME, REQUEST_ID, RETRY_TIME_LEFT, headers_in
from mistralwire.errors import (
    CONTRACT_REVISION_INFO,
    HTTP_STATUS,
    REQUEST_ID_PATTERN,
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
"""The longest time in seconds that a client's gRPC library is asked to wait by itself before a retry."""

# The status travels in trailers, whose default bound is 8 KiB in most gRPC languages. The message is there
# twice, once percent-encoded at up to three bytes a byte, and the details in base64: with the upstream's
# headers (1.5 KiB), the id of the call, the time to wait and the 32 bytes that HTTP/2 counts for each
# trailer, together less than 8 KiB.
MESSAGE_BYTES_MAX = 512
STATUS_BYTES_MAX = 3 * 1024
_TEXT_BYTES_MAX = 256
_REASON_BYTES_MAX = 64
_METADATA_BYTES_MAX = 1792
# Where violations need room.
_METADATA_BYTES_BESIDE_MAX = 1024
# Beside the violations themselves: the tags, lengths and type URL around them, and their count.
_FRAME_BYTES = 96
# What a client may try again after a while; other codes end a call for good.
_RETRIABLE = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)

_REVISION = {CONTRACT_REVISION_INFO: str(CONTRACT_REVISION)}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MILLISECONDS = re.compile("[0-9]{1,12}")
# google.rpc.BadRequest's form of a reason.
_REASON = re.compile("[A-Z][A-Z0-9_]{0,62}")

_logger = logging.getLogger(__name__)


class Failure(NamedTuple):
    """How a call ends that failed: the arguments of `ServicerContext.abort`.

    Attributes:
        code: The status code.
        details: The message.
        trailing_metadata: All trailing metadata: the status with its details, the id of the call, and how
            long a client that retries by itself shall wait.
    """

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Give the caller's id of a call, if it can go into a log as it is, or else a new one.

    Args:
        metadata: What the caller sent beside the request.
    """
    for name, value in metadata:
        if name == REQUEST_ID and isinstance(value, str) and REQUEST_ID_PATTERN.fullmatch(value):
            return value
    return uuid.uuid4().hex


def retry_time_s(metadata: Iterable[tuple[str, str | bytes]], remaining_s: float | None) -> float | None:
    """Return for how long a call may still wait for another attempt, in seconds; None if there is no bound.

    Args:
        metadata: What the caller sent beside the request.
        remaining_s: How long the call has left until its deadline, in seconds; None if it has none.
    """
    if remaining_s is None:
        return None
    for name, value in metadata:
        if name == RETRY_TIME_LEFT and isinstance(value, str) and _MILLISECONDS.fullmatch(value):
            return remaining_s - int(value) / 1000
    return remaining_s


def failure_of(error: BaseException, request_id: str = "", remaining_s: float | None = None) -> Failure:
    """Turn an error into what ends its call.

    A client's gRPC library that retries by itself is told what it shall do (`grpc-retry-pushback-ms`, gRFC
    A6). Where the error says when a new try makes sense: to wait that long, or, if that is longer than 30
    seconds or than the call has left, not to retry; it would wait until the deadline, and the caller would
    learn nothing but that one. Where the upstream failed and did not say: not to retry, since it has been
    asked, and may have made, and billed, what was lost on the way; nor where it has been asked again already.

    Args:
        error: What ended the call.
        request_id: Id of the call; one that can't be metadata is left out.
        remaining_s: For how long the call may still wait, in seconds; None if there is no bound.

    Returns:
        The arguments for `abort`.
    """
    status = to_status(error, request_id)
    code = _CODES[status.code]
    trailers: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", status.SerializeToString()),
        (CONTRACT_REVISION_NAME, str(CONTRACT_REVISION)),
    ]
    if REQUEST_ID_PATTERN.fullmatch(request_id):
        trailers.append((REQUEST_ID, request_id))
    delay_s = _retry_after_s(error)
    if isinstance(error, UpstreamError):
        trailers.extend(headers_in(error.headers.items()).items())
        delay_s = delay_s if error.should_retry else None
    if code in _RETRIABLE and (delay_s is not None or isinstance(error, UpstreamError)):
        trailers.append(("grpc-retry-pushback-ms", str(_pushback_ms(delay_s, remaining_s))))
    return Failure(code, status.message, tuple(trailers))


async def refuse(
    context: grpc.aio.ServicerContext, error: BaseException, request_id: str | None = None
) -> Never:
    """End a call with the status of an error, whatever it is.

    Args:
        context: The call.
        error: The error.
        request_id: Id of the call; None to take the caller's own, or a new one.

    Raises:
        grpc.aio.AbortError: Always; grpc waits for it.
        asyncio.CancelledError: If the call is over already, its caller gone, say: grpc would log it as a
            failure, stack and all.
    """
    metadata = context.invocation_metadata() or ()
    if request_id is None:
        request_id = request_id_of(metadata)
    try:
        await context.abort(*failure_of(error, request_id, retry_time_s(metadata, context.time_remaining())))
    except grpc.aio.AbortError as abort:
        # Without the error it came from: grpc prints that chain in places, and its text may be private.
        raise abort from None
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
    raise AssertionError("abort always raises")


def _pushback_ms(delay_s: float | None, remaining_s: float | None) -> int:
    """Give how long a client shall wait before its next try, in milliseconds; -1 if there shall be none."""
    wait_s_max = RETRY_WAIT_S_MAX if remaining_s is None else min(RETRY_WAIT_S_MAX, remaining_s)
    if delay_s is None or delay_s > wait_s_max:
        return -1
    # Not 0: gRPC's C core, Python's own client, then waits for ever (seen with 1.73 and 1.85).
    return max(1, math.ceil(delay_s * 1000))


def to_status(error: BaseException, request_id: str = "") -> status_pb2.Status:
    """Turn an error into the status that a call ends with; there is one for every error.

    Args:
        error: A MistralwireError becomes its code and message, with its violations as BadRequest, the time
            until a new try as RetryInfo, and its reason as ErrorInfo, whose metadata are `contract_revision`,
            and of an UpstreamError `http_status`, `upstream_code`, `upstream_type`, `upstream_param`,
            `should_retry` where that is false, its headers, and as JSON `upstream_members`; a code that is
            none of gRPC's errors becomes INTERNAL. Anything else becomes INTERNAL, and nothing of its text
            goes out.
        request_id: Id of the call, which becomes RequestInfo; none if it is empty, or more than 128
            characters of printable ASCII.

    Returns:
        The status; small enough for trailers, so that long texts, violations and metadata are cut.
    """
    request_info: list[Message] = []
    if REQUEST_ID_PATTERN.fullmatch(request_id):
        request_info.append(error_details_pb2.RequestInfo(request_id=request_id))
    if isinstance(error, MistralwireError):
        try:
            return _describe(error, request_info)
        except Exception as cause:  # noqa: BLE001 - a call can't go without a status
            # An error whose attributes are not what they should be; their text stays inside.
            _logger.error("a %s has no status of its own: %s", type(error).__name__, type(cause).__name__)
    info = error_details_pb2.ErrorInfo(reason=Reason.INTERNAL, domain=ERROR_DOMAIN, metadata=_REVISION)
    return _status(grpc.StatusCode.INTERNAL, "internal error of the service", [info, *request_info])


def _describe(error: MistralwireError, request_info: list[Message]) -> status_pb2.Status:
    code = grpc.StatusCode.__members__.get(error.code, grpc.StatusCode.OK)
    if code is grpc.StatusCode.OK:
        # An error that says it is none, or names no code, is a mistake of the service's own.
        code = grpc.StatusCode.INTERNAL
    violations: Sequence[Violation | UpstreamViolation] = ()
    if isinstance(error, DecodeError | CallError | UpstreamError):
        violations = error.violations
    metadata_room = _METADATA_BYTES_BESIDE_MAX if violations else _METADATA_BYTES_MAX
    info = error_details_pb2.ErrorInfo(
        reason=_cut(error.reason, _REASON_BYTES_MAX),
        domain=ERROR_DOMAIN,
        metadata=_within(_REVISION | _metadata(error) | _REVISION, metadata_room),
    )
    details: list[Message] = [info, *_retry_info(error), *request_info]
    if violations:
        room = STATUS_BYTES_MAX - _FRAME_BYTES - _status(code, str(error), details).ByteSize()
        bad_request = _bad_request(violations, room)
        if len(bad_request.field_violations) < len(violations):
            info.metadata["violations"] = str(len(violations))
        details.insert(0, bad_request)
    return _status(code, str(error), details)


def _retry_after_s(error: BaseException) -> float | None:
    return error.retry_after_s if isinstance(error, UpstreamError | OverloadError | CallError) else None


def _retry_info(error: MistralwireError) -> list[Message]:
    delay_s = _retry_after_s(error)
    if delay_s is None:
        return []
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(math.ceil(delay_s * 1000))
    return [info]


def _status(code: grpc.StatusCode, message: str, details: Iterable[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=_cut(message, MESSAGE_BYTES_MAX))
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
    """Return as many entries as there is room for, in bytes; JSON is not cut."""
    result = {}
    for name, value in metadata.items():
        name_cut = _cut(name, _TEXT_BYTES_MAX)
        value_cut = value if name == UPSTREAM_MEMBERS else _cut(value, _TEXT_BYTES_MAX)
        # Three tags, three lengths of up to two bytes.
        room -= len(name_cut.encode()) + len(value_cut.encode()) + 9
        if room < 0:
            break
        result[name_cut] = value_cut
    return result


def _bad_request(
    violations: Iterable[Violation | UpstreamViolation], room: int
) -> error_details_pb2.BadRequest:
    """List as many violations as there is room for, in bytes."""
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        item = _field_violation(violation)
        room -= item.ByteSize() + 3
        if room < 0:
            break
        bad_request.field_violations.append(item)
    return bad_request


def _field_violation(
    violation: Violation | UpstreamViolation,
) -> error_details_pb2.BadRequest.FieldViolation:
    """Return a violation as google.rpc has it, each text cut for itself."""
    path, *texts = (_cut(text, _TEXT_BYTES_MAX) for text in violation)
    if isinstance(violation, UpstreamViolation):
        description, kind = texts
        reason = kind.upper()
        return error_details_pb2.BadRequest.FieldViolation(
            field=path, description=description, reason=reason if _REASON.fullmatch(reason) else ""
        )
    description = Violation(path, *texts).description
    return error_details_pb2.BadRequest.FieldViolation(field=path, description=description)


def _cut(text: str, bytes_max: int) -> str:
    """Give text that protobuf takes: without lone surrogates, in so many bytes of UTF-8."""
    # A character has a byte at least: what is behind these is cut in any case.
    data = text[: bytes_max + 1].encode(errors="replace")
    if len(data) <= bytes_max:
        return data.decode()
    return f"{data[: bytes_max - 3].decode(errors='ignore')}..."
