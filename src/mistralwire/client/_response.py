"""What a call returned: the messages of its response, or a CallError from its status."""

from collections.abc import Iterator, Sequence
from typing import overload

import grpc
from google.rpc import error_details_pb2

from mistralwire._metadata import REQUEST_ID, STATUS_DETAILS
from mistralwire._protobuf import MessageT, parsed
from mistralwire._status import details_in, error_of_status, error_with
from mistralwire.errors import CallError, CodecError, Reason
from mistralwire.v1 import (
    CONTRACT_REVISION,
    ChatCompletionStreamResponse,
    CompletionChunk,
    ResponseEnd,
    ResponseInfo,
    ResponseState,
)


def call_error(error: grpc.aio.AioRpcError, request_id: str = "", *, was_retried: bool = False) -> CallError:
    """Turn the status of a call that was sent with an id into an error.

    The error has the content of the status details. Each text is one line of at most 1,000 printable
    characters. Without a reason from the service, the name of the code is the reason; without an id from it,
    the id of the request is used. CANCELLED without a reason becomes UNAVAILABLE.

    With `was_retried`, grpc retries calls that could not reach the service.
    """
    code = error.code().name
    trailing = error.trailing_metadata() or ()
    details = details_in(value for key, value in trailing if key == STATUS_DETAILS)
    info = details.get(error_details_pb2.ErrorInfo, error_details_pb2.ErrorInfo())
    own_id = next((value for key, value in trailing if key == REQUEST_ID and isinstance(value, str)), "")
    if code == "CANCELLED" and not info.reason:
        return cancelled_error(own_id or request_id)
    # The service gives a reason; a status without one is grpc's own, after its last attempt.
    is_used_up = was_retried and code == "UNAVAILABLE" and not info.reason
    return error_with(code, error.details() or "", details, (own_id, request_id), is_used_up=is_used_up)


def response_failure(end: ResponseEnd | ResponseInfo, request_id: str = "") -> CallError | None:
    """Return the error that a stored response ended with; None if it is finished, or still runs.

    Args:
        end: The end of the response, as a subscriber gets it; or the response as it was described.
        request_id: Id of the call that asked, for an error that has none.
    """
    if end.state == ResponseState.RESPONSE_STATE_CANCELLED:
        message = "somebody has cancelled the response"
        return CallError(message, code="CANCELLED", reason=Reason.RESPONSE_CANCELLED, request_id=request_id)
    if end.state != ResponseState.RESPONSE_STATE_FAILED:
        return None
    return error_of_status(end.status, request_id)


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


class ChunkBatch(Sequence[CompletionChunk]):
    """The chunks of one message, in order: a sequence that is decoded when it is first read.

    To forward the chunks, take `data`: nothing is decoded. To read them, iterate: they have everything that
    this contract knows in their fields. Both stream responses of the contract have the same wire form, so
    the bytes fit either. Reading anything but `data` raises a CallError with the reason NOT_PROTOBUF and the
    `request_id` if the bytes are not a message.

    Attributes:
        data: The wire bytes of the whole message, a ChatCompletionStreamResponse.
        response_id: Id of the stored response, to follow it; empty if it is not stored.
    """

    __slots__ = ("_chunks", "_first_sequence", "_request_id", "data", "response_id")

    def __init__(self, data: bytes, request_id: str = "", response_id: str = "") -> None:
        self.data = data
        self.response_id = response_id
        self._request_id = request_id
        self._chunks: Sequence[CompletionChunk] | None = None
        self._first_sequence: int | None = None

    @property
    def first_sequence(self) -> int | None:
        """Position of the first chunk in the response, from 1; None if the service does not count them."""
        self._decoded()
        return self._first_sequence

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
            self._first_sequence = batch.first_sequence if batch.HasField("first_sequence") else None
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
