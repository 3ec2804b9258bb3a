"""Conversion of what is sent and received over HTTP: JSON to wire bytes and back, and failures to errors.

The errors quote nothing of an upstream but its error bodies.
"""

import datetime
import email.utils
import re
from collections.abc import Mapping
from typing import Any

from mistralwire.codec import explode, is_error_body, json_to_binary, read_error_body, request_to_json
from mistralwire.errors import CodecError, DecodeError, EncodeError, Reason, UpstreamError
from mistralwire.upstream._error_body import error_from_body, too_large_error, unreadable_error
from mistralwire.upstream._http1 import HttpClientError, UnreachableError
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, ErrorResponse

_JSON_EXTRA_TAG = bytes([ChatCompletionResponse.DESCRIPTOR.fields_by_name["json_extra"].number << 3 | 2])
_DECIMAL = re.compile("[0-9]{1,15}([.][0-9]{1,9})?", re.ASCII)


def request_as_json(request: Any, wire: bytes, *, is_stream: bool) -> bytes:
    """Convert a request, whose wire bytes are `wire`, to JSON with `stream` as the call needs it.

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


def exchange_error(
    error: Exception, status: int | None = None, *, expected: str = "a completion"
) -> UpstreamError:
    """Map the error that ended an exchange.

    It is an HttpClientError, whose text is safe to forward, or a bug in this program, whose text is not.
    `status` is None if the head of the response has not arrived.
    """
    if isinstance(error, UnreachableError):
        message = f"the upstream can't be reached: {error}"
        return UpstreamError(message, reason=Reason.UPSTREAM_UNREACHABLE)
    found = str(error) if isinstance(error, HttpClientError) else "none"
    return unreadable_error(found, status, expected=expected)


def late_error(limit_s: float) -> UpstreamError:
    """Return the error for a response that has not begun within a limit in seconds."""
    message = f"expected an answer from the upstream within {limit_s:g} s, found none"
    return UpstreamError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_TIMEOUT)


def stalled_error(limit_s: float) -> UpstreamError:
    """Return the error for a response that stalled for longer than a limit in seconds."""
    message = f"expected more of the upstream's answer within {limit_s:g} s, found none"
    return UpstreamError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_SILENT)


def redirect_error(status: int) -> UpstreamError:
    """Return the error for a redirect, which is not followed: the key is for one host alone."""
    message = f"expected an answer from the upstream, found a redirect ({status}); correct base_url"
    return UpstreamError(
        message, status=status, code="FAILED_PRECONDITION", reason=Reason.UPSTREAM_REDIRECTED
    )


def status_error(status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamError:
    """Return the error for a response with a status of 400 or more.

    Its body, perhaps cut, is ignored if it is neither a JSON object nor an array of one.
    """
    try:
        error = read_error_body(body)
    except DecodeError:
        error = ErrorResponse()
    return error_from_body(error, status=status, retry_after_s=_retry_after_header_s(headers))


def _retry_after_header_s(headers: Mapping[str, str]) -> float | None:
    """Parse Retry-After in seconds or as a date (RFC 9110), or retry-after-ms."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _DECIMAL.fullmatch(milliseconds):
        return float(milliseconds) / 1000
    text = headers.get("retry-after", "").strip()
    if _DECIMAL.fullmatch(text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        # OverflowError: for numbers that no date has.
        return None
    # A date without a zone is in UTC, as all dates of HTTP are.
    date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())
