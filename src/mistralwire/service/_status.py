"""The one place that turns an error into a google.rpc.Status."""

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
_TEXT_LENGTH_MAX = 256


def to_status(error: BaseException) -> status_pb2.Status:
    """Turn an error into the status that a call ends with.

    Args:
        error: A MistralwireError becomes its code and message, with its violations as BadRequest and its
            reason as ErrorInfo. Anything else becomes INTERNAL, and nothing of its text goes out.

    Returns:
        The status; small enough for trailers, so that a long list of violations is cut.
    """
    if not isinstance(error, MistralwireError):
        status = _status(grpc.StatusCode.INTERNAL, "internal error of the service")
        _add(status, error_details_pb2.ErrorInfo(reason="INTERNAL", domain=ERROR_DOMAIN))
        return status
    code = getattr(grpc.StatusCode, error.code, grpc.StatusCode.INTERNAL)
    status = _status(code, str(error))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=_metadata(error))
    if isinstance(error, DecodeError | CallError) and error.violations:
        room = STATUS_BYTES_MAX - status.ByteSize() - info.ByteSize()
        bad_request = _bad_request(error.violations, room)
        if len(bad_request.field_violations) < len(error.violations):
            info.metadata["violations"] = str(len(error.violations))
        _add(status, bad_request)
    _add(status, info)
    return status


def _status(code: grpc.StatusCode, message: str) -> status_pb2.Status:
    message = message.encode(errors="replace")[:MESSAGE_BYTES_MAX].decode(errors="ignore")
    return status_pb2.Status(code=code.value[0], message=message)


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _metadata(error: MistralwireError) -> dict[str, str]:
    if isinstance(error, UpstreamError) and error.status is not None:
        return {"http_status": str(error.status)}
    if isinstance(error, DecodeError) and error.truncated:
        return {"truncated": "true"}
    if isinstance(error, CallError):
        return error.metadata
    return {}


def _bad_request(violations: list[Violation], room: int) -> error_details_pb2.BadRequest:
    """List as many violations as there is room for, in bytes."""
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        item = error_details_pb2.BadRequest.FieldViolation(
            field=violation.path[:_TEXT_LENGTH_MAX],
            description=f"expected {_cut(violation.expected)}, found {_cut(violation.found)}",
        )
        room -= item.ByteSize() + 3
        if room < 0:
            break
        bad_request.field_violations.append(item)
    return bad_request


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH_MAX else f"{text[: _TEXT_LENGTH_MAX - 3]}..."
