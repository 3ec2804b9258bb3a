"""What goes wrong with an upstream over HTTP, as errors that quote nothing of it but its own error bodies."""

import datetime
import email.utils
import re
from collections.abc import Mapping

from mistralwire.codec import read_error_body
from mistralwire.errors import DecodeError, Reason, UpstreamError
from mistralwire.upstream._http1 import HttpClientError, TruncatedError, UnreachableError
from mistralwire.upstream._upstream import error_from_body
from mistralwire.v1 import ErrorResponse

_DECIMAL = re.compile("[0-9]{1,15}([.][0-9]{1,9})?", re.ASCII)


def unanswered(error: HttpClientError) -> UpstreamError:
    """Return the error for a request that got no head of a response; the client's own quotes nothing."""
    if isinstance(error, UnreachableError):
        message = f"the upstream can't be reached: {error}"
        return UpstreamError(message, reason=Reason.UPSTREAM_UNREACHABLE)
    return unreadable("a part of one" if isinstance(error, TruncatedError) else str(error))


def late(limit_s: float) -> UpstreamError:
    """Give the error for an answer that took longer than a limit in seconds to begin."""
    message = f"expected an answer from the upstream within {limit_s:g} s, found none"
    return UpstreamError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_TIMEOUT)


def silent(limit_s: float) -> UpstreamError:
    """Give the error for an answer that stopped in its middle for longer than a limit in seconds."""
    message = f"expected the upstream to go on with its answer within {limit_s:g} s, found silence"
    return UpstreamError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_SILENT)


def unreadable(found: str, status: int | None = None) -> UpstreamError:
    """Give the error for an answer that is none."""
    message = f"expected a completion from the upstream, found {found}"
    return UpstreamError(message, status=status, reason=Reason.UPSTREAM_UNREADABLE, should_retry=False)


def truncated(found: str) -> UpstreamError:
    """Give the error for a stream that ends too early."""
    message = f"expected the stream to end with [DONE], found {found}"
    return UpstreamError(message, reason=Reason.STREAM_TRUNCATED)


def too_large(bound: str) -> UpstreamError:
    """Give the error for an answer beyond a bound."""
    message = f"expected an answer of the upstream within {bound}, found a larger one"
    return UpstreamError(message, reason=Reason.UPSTREAM_ANSWER_TOO_LARGE, should_retry=False)


def redirected(status: int) -> UpstreamError:
    """Give the error for a redirect, which is not followed: the key is for one host alone."""
    message = f"expected an answer from the upstream, found a redirect ({status}); correct base_url"
    return UpstreamError(
        message, status=status, code="FAILED_PRECONDITION", reason=Reason.UPSTREAM_REDIRECTED
    )


def refused(status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamError:
    """Give the error that an answer with an error status is.

    Args:
        status: The status, 400 or more.
        body: The body; one that is neither a JSON object nor an array of one says nothing.
        headers: The headers of the answer, whose names are found whatever their case.
    """
    try:
        error = read_error_body(body)
    except DecodeError:
        error = ErrorResponse()
    return error_from_body(error, status=status, retry_after_s=_retry_after_s(headers))


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read when to try again: Retry-After in seconds or as a date (RFC 9110), or retry-after-ms."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _DECIMAL.fullmatch(milliseconds):
        return float(milliseconds) / 1000
    text = headers.get("retry-after", "").strip()
    if _DECIMAL.fullmatch(text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        # The latter for numbers in a date that no date has.
        return None
    # A date without a zone is in UTC, as all dates of HTTP are.
    date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())
