"""The one place that turns an error into a google.rpc.Status."""

import logging

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mistralwire.errors import CallError, DecodeError, MistralwireError, UpstreamError, Violation

ERROR_DOMAIN = "mistralwire"
"""Domain of the reasons in ErrorInfo."""

# The status travels in trailers, whose default bound is 8 KiB in most gRPC languages. The message is there
# twice, once percent-encoded at up to three bytes a byte, and the details in base64: together 7 KiB at most.
MESSAGE_BYTES_MAX = 512
STATUS_BYTES_MAX = 3 * 1024
_TEXT_BYTES_MAX = 256
_REASON_BYTES_MAX = 64
_METADATA_BYTES_MAX = 1024
# Beside the details themselves: the tags, lengths and type URLs around the two, and the count of violations.
_FRAME_BYTES = 192

_logger = logging.getLogger(__name__)


def to_status(error: BaseException, request_id: str = "") -> status_pb2.Status:
    """Turn an error into the status that a call ends with; there is one for every error.

    Args:
        error: A MistralwireError becomes its code and message, with its violations as BadRequest and its
            reason as ErrorInfo; a code that is none of gRPC's errors becomes INTERNAL. Anything else becomes
            INTERNAL, and nothing of its text goes out.
        request_id: Id of the call, which becomes RequestInfo; none if empty.

    Returns:
        The status; small enough for trailers, so that long texts, violations and metadata are cut.
    """
    if isinstance(error, MistralwireError):
        try:
            return _describe(error)
        except Exception as cause:  # noqa: BLE001 - a call can't go without a status
            # An error whose attributes are not what they should be; their text stays inside.
            _logger.error("a %s has no status of its own: %s", type(error).__name__, type(cause).__name__)
    status = _status(grpc.StatusCode.INTERNAL, "internal error of the service")
    status.details.append(_pack(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=ERROR_DOMAIN)))
    return status


def _describe(error: MistralwireError) -> status_pb2.Status:
    code = grpc.StatusCode.__members__.get(error.code, grpc.StatusCode.OK)
    if code is grpc.StatusCode.OK:
        # An error that says it is none, or names no code, is a mistake of the service's own.
        code = grpc.StatusCode.INTERNAL
    status = _status(code, str(error))
    info = error_details_pb2.ErrorInfo(
        reason=_cut(error.reason, _REASON_BYTES_MAX),
        domain=ERROR_DOMAIN,
        metadata=_within(_metadata(error), _METADATA_BYTES_MAX),
    )
    if isinstance(error, DecodeError | CallError) and error.violations:
        room = STATUS_BYTES_MAX - _FRAME_BYTES - status.ByteSize() - info.ByteSize()
        bad_request = _bad_request(error.violations, room)
        if len(bad_request.field_violations) < len(error.violations):
            info.metadata["violations"] = str(len(error.violations))
        status.details.append(_pack(bad_request))
    status.details.append(_pack(info))
    return status


def _status(code: grpc.StatusCode, message: str) -> status_pb2.Status:
    return status_pb2.Status(code=code.value[0], message=_cut(message, MESSAGE_BYTES_MAX))


def _pack(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _metadata(error: MistralwireError) -> dict[str, str]:
    if isinstance(error, UpstreamError) and error.status is not None:
        return {"http_status": str(error.status)}
    if isinstance(error, DecodeError) and error.truncated:
        return {"truncated": "true"}
    if isinstance(error, CallError):
        return error.metadata
    return {}


def _within(metadata: dict[str, str], room: int) -> dict[str, str]:
    """Give as many entries as there is room for, in bytes."""
    result = {}
    for name, value in metadata.items():
        name_cut, value_cut = _cut(name, _TEXT_BYTES_MAX), _cut(value, _TEXT_BYTES_MAX)
        # Three tags, three lengths of up to two bytes.
        room -= len(name_cut.encode()) + len(value_cut.encode()) + 9
        if room < 0:
            break
        result[name_cut] = value_cut
    return result


def _bad_request(violations: list[Violation], room: int) -> error_details_pb2.BadRequest:
    """List as many violations as there is room for, in bytes."""
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        expected, found = (_cut(text, _TEXT_BYTES_MAX) for text in (violation.expected, violation.found))
        item = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.path, _TEXT_BYTES_MAX), description=f"expected {expected}, found {found}"
        )
        room -= item.ByteSize() + 3
        if room < 0:
            break
        bad_request.field_violations.append(item)
    return bad_request


def _cut(text: str, bytes_max: int) -> str:
    """Give text that protobuf takes: without lone surrogates, in so many bytes of UTF-8."""
    # A character has a byte at least: what is behind these is cut in any case.
    data = text[: bytes_max + 1].encode(errors="replace")
    if len(data) <= bytes_max:
        return data.decode()
    return f"{data[: bytes_max - 3].decode(errors='ignore')}..."
