"""What a call returned: the messages of its response, or a CallError from its status."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mistralwire._metadata import REQUEST_ID, STATUS_DETAILS, is_request_id
from mistralwire._protobuf import MessageT, parsed
from mistralwire.errors import SHOULD_RETRY, CallError, CodecError, Reason, UpstreamViolation, Violation
from mistralwire.v1 import CONTRACT_REVISION, ChatCompletionStreamResponse, CompletionChunk

# For a message, and for each text of a violation.
_STATUS_LINE_CHARS_MAX = 1_000
# grpc's text where the deadline ends a call; in the middle of a stream sometimes as "Stream removed (...)".
_DEADLINE = "Deadline Exceeded"

_DETAIL_TYPES: dict[str, type[Message]] = {
    detail_type.DESCRIPTOR.full_name: detail_type
    for detail_type in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RequestInfo,
        error_details_pb2.RetryInfo,
    )
}


def call_error(error: grpc.aio.AioRpcError, request_id: str = "", *, was_retried: bool = False) -> CallError:
    """Turn the status of a call that was sent with an id into an error.

    The error has the content of the status details. Each text is one line of at most 1,000 printable
    characters. Without a reason from the service, the name of the code is the reason; without an id from it,
    the id of the request is used. CANCELLED without a reason becomes UNAVAILABLE.

    With `was_retried`, grpc retries calls that could not reach the service.
    """
    code = error.code().name
    details = _details_of(error)
    info = details.get(error_details_pb2.ErrorInfo, error_details_pb2.ErrorInfo())
    if code == "CANCELLED" and not info.reason:
        return cancelled_error(_trailing_id(error) or request_id)
    # The service gives a reason; a status without one is grpc's own, after its last attempt.
    is_used_up = was_retried and code == "UNAVAILABLE" and not info.reason
    is_of_upstream = info.reason == Reason.UPSTREAM_INVALID_REQUEST
    places = details.get(error_details_pb2.BadRequest, error_details_pb2.BadRequest()).field_violations
    request_info = details.get(error_details_pb2.RequestInfo, error_details_pb2.RequestInfo())
    ids = (request_info.request_id, _trailing_id(error), request_id)
    retry = details.get(error_details_pb2.RetryInfo)
    text = _printable_line(error.details() or "")
    return CallError(
        _DEADLINE if text == f"Stream removed ({_DEADLINE})" else text or f"the call ended with {code}",
        code=code,
        reason=info.reason,
        violations=[] if is_of_upstream else [_contract_violation(item) for item in places],
        upstream_violations=[_upstream_violation(item) for item in places] if is_of_upstream else [],
        metadata=dict(info.metadata),
        request_id=next(filter(is_request_id, ids), ""),
        # A negative delay means now: callers may sleep for it.
        retry_after_s=None if retry is None else max(0.0, retry.retry_delay.ToNanoseconds() / 1e9),
        should_retry=info.metadata.get(SHOULD_RETRY) != "false" and not is_used_up,
    )


def cancelled_error(request_id: str) -> CallError:
    """Return the error for a call that ended with CANCELLED although its caller did not cancel it.

    A gRPC server ends the calls that arrive while it stops with CANCELLED, and so does a proxy that loses
    its server. The client does not retry them: the service may have answered.
    """
    return CallError(
        "the service, or a proxy in front of it, cancelled the call",
        code="UNAVAILABLE",
        reason=Reason.CALL_CANCELLED,
        request_id=request_id,
    )


def is_refusing_caller(error: CallError) -> bool:
    """Check whether the service, or a proxy in front of it, rejected the client's credentials.

    An error of the service's upstream is not that: it has the upstream's status, or a reason that begins
    with `UPSTREAM_`. PERMISSION_DENIED with a reason is the service's answer to the request itself.
    """
    if error.upstream_status is not None or error.reason.startswith("UPSTREAM_"):
        return False
    if error.code == "PERMISSION_DENIED":
        return error.reason == error.code
    return error.code == "UNAUTHENTICATED"


def _details_of(error: grpc.aio.AioRpcError) -> dict[type[Message], Any]:
    """Return the details of a status that are known and can be parsed, by their types.

    Another service may use the key for something else; the code and the message are still valid.
    """
    details: dict[type[Message], Any] = {}
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS:
            for detail in getattr(parsed(status_pb2.Status, value), "details", ()):
                detail_type = _DETAIL_TYPES.get(detail.type_url.rpartition("/")[2])
                if detail_type is not None and (message := parsed(detail_type, detail.value)) is not None:
                    details[detail_type] = message
    return details


def _trailing_id(error: grpc.aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str):
            return value
    return ""


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


class ChunkBatch(Sequence[CompletionChunk]):
    """The chunks of one message, in order: a sequence that is decoded when it is first read.

    To forward the chunks, take `data`: nothing is decoded. To read them, iterate: they have everything that
    this contract knows in their fields. Both stream responses of the contract have the same wire form, so
    the bytes fit either. Reading anything but `data` raises a CallError with the reason NOT_PROTOBUF and the
    `request_id` if the bytes are not a message.

    Attributes:
        data: The wire bytes of the whole message, a ChatCompletionStreamResponse.
    """

    __slots__ = ("_chunks", "_request_id", "data")

    def __init__(self, data: bytes, request_id: str = "") -> None:
        self.data = data
        self._request_id = request_id
        self._chunks: Sequence[CompletionChunk] | None = None

    def __iter__(self) -> Iterator[CompletionChunk]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    @overload
    def __getitem__(self, index: int) -> CompletionChunk: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[CompletionChunk]: ...

    def __getitem__(self, index: int | slice) -> CompletionChunk | Sequence[CompletionChunk]:
        return self._decoded()[index]

    def __repr__(self) -> str:
        """Show the size, and nothing of the content."""
        return f"ChunkBatch({len(self.data)} bytes)"

    def _decoded(self) -> Sequence[CompletionChunk]:
        if self._chunks is None:
            batch = parse_response(ChatCompletionStreamResponse, self.data, self._request_id)
            self._chunks = [lifted(chunk) for chunk in batch.chunks]
        return self._chunks


def lifted(message: MessageT) -> MessageT:
    """Return a response with what this contract knows in its fields, or unchanged if it has no JSON form."""
    # Nothing can be newer than the first revision.
    if CONTRACT_REVISION == 1:
        return message
    from mistralwire.codec import lift  # noqa: PLC0415 - with the plans of all messages

    try:
        return lift(message)
    except CodecError:
        return message


def parse_response(message_type: type[MessageT], data: bytes, request_id: str) -> MessageT:
    """Parse a response of the service; bytes that can't be parsed are a CallError with NOT_PROTOBUF."""
    response = parsed(message_type, data)
    if response is None:
        name = message_type.DESCRIPTOR.name
        found = f"{len(data)} bytes that can't be parsed"
        message = f"expected the wire bytes of a {name} from the service, found {found}"
        raise CallError(message, code="INTERNAL", reason=Reason.NOT_PROTOBUF, request_id=request_id)
    return response
