"""Errors of requests over HTTP; they quote nothing of an upstream but its error bodies."""

import datetime
import email.utils
import re
from collections.abc import Mapping

from mistralwire.codec import read_error_body
from mistralwire.errors import DecodeError, Reason, UpstreamError
from mistralwire.upstream._conversion import unreadable_error
from mistralwire.upstream._error_body import error_from_body
from mistralwire.upstream._http1 import HttpClientError, UnreachableError
from mistralwire.v1 import ErrorResponse

_DECIMAL = re.compile("[0-9]{1,15}([.][0-9]{1,9})?", re.ASCII)


def exchange_error(
    error: Exception, status: int | None = None, *, expected: str = "a completion"
) -> UpstreamError:
    """Map the error that ended an exchange.

    Args:
        error: An HttpClientError, whose text is safe to forward, or a bug in this program, whose text is not.
        status: HTTP status of the response; None if its head has not arrived.
        expected: What was requested.
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
    """Return the error for a response with an error status.

    Args:
        status: The status, 400 or more.
        body: The body, perhaps cut; one that is neither a JSON object nor an array of one is ignored.
        headers: The headers, by name in lower case.
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
