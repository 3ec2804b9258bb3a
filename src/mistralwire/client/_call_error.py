"""The status that a call ended with, as an error."""

from collections.abc import Iterator

import grpc
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mistralwire._metadata import REQUEST_ID, is_request_id
from mistralwire.errors import SHOULD_RETRY, CallError, Reason, UpstreamViolation, Violation

_DETAILS = "grpc-status-details-bin"
# Of a message, and of each text of a violation.
_TEXT_CHARS_MAX = 1_000
# What grpc says where the deadline ends a call; in the middle of a stream at times as "Stream removed (...)".
_DEADLINE = "Deadline Exceeded"


def call_error(error: grpc.aio.AioRpcError, request_id: str = "", *, was_retried: bool = False) -> CallError:
    """Turn the status of a call into an error.

    Args:
        error: What grpc raised.
        request_id: The id that the call was sent with.
        was_retried: Whether grpc has made the call again where it could not reach the service.

    Returns:
        The error, with what the status details say: the violations, the reason, the metadata, when to try
        again; each text is one line of at most 1,000 printable characters. A service that gives no reason has
        the name of the code for one, one that gives no id has that of the request. CANCELLED without a
        reason becomes UNAVAILABLE.
    """
    code = error.code().name
    details = _Details(error)
    info = details.info
    if code == "CANCELLED" and not info.reason:
        return cancelled_error(_trailing_id(error) or request_id)
    # A service gives a reason; without one this is what grpc says when its attempts are used up.
    is_used_up = was_retried and code == "UNAVAILABLE" and not info.reason
    is_of_upstream = info.reason == Reason.UPSTREAM_INVALID_REQUEST
    places = details.request.field_violations
    ids = (details.request_info.request_id, _trailing_id(error), request_id)
    text = _line(error.details() or "")
    return CallError(
        _DEADLINE if text == f"Stream removed ({_DEADLINE})" else text or f"the call ended with {code}",
        code=code,
        reason=info.reason,
        violations=[] if is_of_upstream else [_violation(item) for item in places],
        upstream_violations=[_upstream_violation(item) for item in places] if is_of_upstream else [],
        metadata=dict(info.metadata),
        request_id=next(filter(is_request_id, ids), ""),
        retry_after_s=details.retry_after_s(),
        should_retry=info.metadata.get(SHOULD_RETRY) != "false" and not is_used_up,
    )


def cancelled_error(request_id: str) -> CallError:
    """Return the error of a call that ended with CANCELLED although its caller had not asked for that.

    gRPC servers end calls so that come in the moment they stop, and proxies those whose server they lose.
    The client does not make the call again: the service may have answered it.

    Args:
        request_id: Id of the call.
    """
    return CallError(
        "the service, or a proxy in front of it, cancelled the call",
        code="UNAVAILABLE",
        reason=Reason.CALL_CANCELLED,
        request_id=request_id,
    )


class _Details:
    """What the details of a status say: empty messages where they say nothing that can be read."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.info = error_details_pb2.ErrorInfo()
        self.request = error_details_pb2.BadRequest()
        self.request_info = error_details_pb2.RequestInfo()
        self.retry: error_details_pb2.RetryInfo | None = None
        for detail in _unpacked(error):
            match detail:
                case error_details_pb2.ErrorInfo():
                    self.info = detail
                case error_details_pb2.BadRequest():
                    self.request = detail
                case error_details_pb2.RequestInfo():
                    self.request_info = detail
                case error_details_pb2.RetryInfo():
                    self.retry = detail

    def retry_after_s(self) -> float | None:
        if self.retry is None:
            return None
        delay = self.retry.retry_delay
        seconds: float = delay.seconds + delay.nanos / 1e9
        # A time in the past is now: who sleeps for it must not fail.
        return max(0.0, seconds)


_KINDS: dict[str, type[Message]] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RequestInfo,
        error_details_pb2.RetryInfo,
    )
}


def _unpacked(error: grpc.aio.AioRpcError) -> Iterator[Message]:
    """Give the details that are known and can be read.

    Another service may use the name for something of its own; the code and the message still say what
    happened.
    """
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS:
            continue
        try:
            details = status_pb2.Status.FromString(value).details
        except (WireError, UnicodeDecodeError):
            continue
        for detail in details:
            kind = _KINDS.get(detail.type_url.rpartition("/")[2])
            if kind is None:
                continue
            try:
                yield kind.FromString(detail.value)
            except (WireError, UnicodeDecodeError):
                continue


def _trailing_id(error: grpc.aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str):
            return value
    return ""


def _violation(item: error_details_pb2.BadRequest.FieldViolation) -> Violation:
    expected, separator, found = item.description.removeprefix("expected ").partition(", found ")
    return Violation(_line(item.field), _line(expected), _line(found) if separator else "something else")


def _upstream_violation(item: error_details_pb2.BadRequest.FieldViolation) -> UpstreamViolation:
    return UpstreamViolation(_line(item.field), _line(item.description), _line(item.reason.lower()))


def _line(text: str) -> str:
    """Return a text of the service as one bounded line that no terminal acts upon."""
    lines = filter(None, (" ".join(line.split()) for line in text.splitlines()))
    line = "; ".join(lines).replace(":; ", ": ")
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= _TEXT_CHARS_MAX else f"{line[: _TEXT_CHARS_MAX - 3]}..."
