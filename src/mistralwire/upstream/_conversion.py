"""Conversion between the JSON of an API and wire bytes, with the errors for what can't be converted."""

from typing import Any

from mistralwire.codec import (
    SseError,
    explode,
    is_error_body,
    json_to_binary,
    read_error_body,
    request_to_json,
)
from mistralwire.errors import CodecError, DecodeError, EncodeError, Reason, UpstreamError
from mistralwire.upstream._error_body import error_from_body
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk

LACKS_DONE = "the stream ended without [DONE], but each choice had a finish_reason; treated as complete"
"""Message for the log about a stream whose decoder `lacks_done`."""

_JSON_EXTRA_TAG = bytes([ChatCompletionResponse.DESCRIPTOR.fields_by_name["json_extra"].number << 3 | 2])


def request_as_json(request: Any, wire: bytes, *, is_stream: bool) -> bytes:
    """Convert a request to JSON, with `stream` as the call needs it.

    Args:
        request: The request.
        wire: Its wire bytes.
        is_stream: Whether a stream is requested.

    Raises:
        UpstreamError: If it has no JSON form, with the code INVALID_ARGUMENT.
    """
    if request.stream != is_stream:
        copy = type(request).FromString(wire)
        copy.stream = is_stream
        wire = copy.SerializeToString()
    try:
        return request_to_json(type(request), wire)
    except EncodeError as error:
        raise UpstreamError(str(error), code="INVALID_ARGUMENT", reason=error.reason) from None


def response_from_json(response_type: type[Any], data: bytes, contract_revision: int, status: int) -> bytes:
    """Convert a unary response to wire bytes, without validation.

    Args:
        response_type: Type of the response.
        data: JSON text.
        contract_revision: Oldest contract revision among the readers.
        status: HTTP status of the response, for the error.

    Raises:
        UpstreamError: If it is an error body, or can't be read.
    """
    try:
        wire = json_to_binary(response_type, data, validate=False, contract_revision=contract_revision)
        # Members of an error body are undocumented for a response, and thus in the first field, json_extra.
        if (wire.startswith(_JSON_EXTRA_TAG) or b'"error"' in data) and is_error_body(data):
            raise error_from_body(read_error_body(data))
    except DecodeError as error:
        if error.reason == Reason.LIMIT_EXCEEDED:
            raise too_large_error("the limits of a document") from None
        raise unreadable_error("something that is not a JSON object", status) from None
    return wire


def chunks_from_json(data: bytes, contract_revision: int, status: int) -> list[CompletionChunk]:
    """Convert a unary response to the chunks of a stream; see `response_from_json`."""
    wire = response_from_json(ChatCompletionResponse, data, contract_revision, status)
    try:
        return explode(ChatCompletionResponse.FromString(wire), exact=False)
    except CodecError:
        raise unreadable_error("a unary answer that can't be streamed", status) from None


def stream_error(failure: SseError | DecodeError) -> UpstreamError:
    """Map what ended a stream to an error, which quotes nothing of the stream but an error body."""
    if isinstance(failure, SseError):
        return error_from_body(failure.error)
    if failure.reason == Reason.STREAM_TRUNCATED:
        return truncated_error("its end without it")
    if failure.reason == Reason.LIMIT_EXCEEDED:
        return too_large_error("the limits of an event")
    return unreadable_error("an event in its stream that is no chunk")


def truncated_error(found: str) -> UpstreamError:
    """Return the error for a stream that ends too early."""
    message = f"expected the stream to end with [DONE], found {found}"
    return UpstreamError(message, reason=Reason.STREAM_TRUNCATED)


def unreadable_error(
    found: str, status: int | None = None, *, expected: str = "a completion"
) -> UpstreamError:
    """Return the error for a response that can't be read."""
    message = f"expected {expected} from the upstream, found {found}"
    return UpstreamError(message, status=status, reason=Reason.UPSTREAM_UNREADABLE, should_retry=False)


def too_large_error(bound: str) -> UpstreamError:
    """Return the error for a response that exceeds a bound."""
    message = f"expected an answer of the upstream within {bound}, found a larger one"
    return UpstreamError(message, reason=Reason.UPSTREAM_ANSWER_TOO_LARGE, should_retry=False)
