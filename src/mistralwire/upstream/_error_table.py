"""The tables of errors: from an upstream's HTTP status to a gRPC code, and from a code to an HTTP status."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from mistralwire.errors import Reason


class Fault(NamedTuple):
    """A kind of upstream error.

    Attributes:
        code: Name of its gRPC status code.
        reason: Its reason.
        text: The message where the upstream sent none, or its own must not be forwarded.
        statuses: HTTP statuses that mean this error.
        words: Values of `code` and `type` in an error body that mean it. Each is listed with the status it
            is sent with, so that an error event in a stream maps like an error response.
        is_quoted: Whether the upstream's own message may be forwarded; False if it may quote the service's
            credentials.
    """

    code: str
    reason: Reason
    text: str
    statuses: tuple[int, ...]
    words: tuple[str, ...] = ()
    is_quoted: bool = True


FAULTS = (
    Fault(
        "INVALID_ARGUMENT",
        Reason.UPSTREAM_INVALID_REQUEST,
        "the upstream refused the request as invalid",
        (400, 415, 422, 424, 451),
        ("invalid_request_error", "bad_request", "unprocessable_entity", "context_length_exceeded"),
    ),
    Fault(
        "INVALID_ARGUMENT",
        Reason.UPSTREAM_REQUEST_TOO_LARGE,
        "the upstream refused the request as too large",
        (413,),
        ("request_too_large", "payload_too_large"),
    ),
    Fault(
        "DEADLINE_EXCEEDED",
        Reason.UPSTREAM_TIMEOUT,
        "the upstream took too long",
        (408, 504, 524),
        ("timeout", "request_timeout", "gateway_timeout", "deadline_exceeded"),
    ),
    Fault(
        "NOT_FOUND",
        Reason.UPSTREAM_NOT_FOUND,
        "the upstream does not have what was requested, such as the model",
        (404, 410),
        ("not_found", "model_not_found"),
    ),
    Fault(
        "RESOURCE_EXHAUSTED",
        Reason.UPSTREAM_RATE_LIMITED,
        "the upstream accepts no more requests from the service for now; try again later",
        (429,),
        (
            *("rate_limited", "rate_limit_exceeded", "rate_limit_error", "1300"),
            *("service_tier_capacity_exceeded", "3505"),
            *("insufficient_quota", "too_many_requests", "resource_exhausted"),
        ),
    ),
    # The upstream refused the service, not its caller: the caller can't fix it, and a 401 or 403 would make
    # them look for a mistake in their own credentials.
    Fault(
        "FAILED_PRECONDITION",
        Reason.UPSTREAM_UNAUTHENTICATED,
        "the upstream refused the credentials of the service",
        (401, 407),
        ("authentication_error", "unauthenticated", "unauthorized", "invalid_api_key"),
        is_quoted=False,
    ),
    Fault(
        "FAILED_PRECONDITION",
        Reason.UPSTREAM_PAYMENT_REQUIRED,
        "the upstream requires the account of the service to be paid",
        (402,),
        ("billing_error", "payment_required", "insufficient_credits"),
        is_quoted=False,
    ),
    Fault(
        "FAILED_PRECONDITION",
        Reason.UPSTREAM_PERMISSION_DENIED,
        "the upstream denied the service permission",
        (403,),
        ("permission_error", "permission_denied", "forbidden"),
        is_quoted=False,
    ),
    Fault("ABORTED", Reason.UPSTREAM_CONFLICT, "the upstream reported a conflict", (409,), ("conflict",)),
    Fault(
        "UNIMPLEMENTED",
        Reason.UPSTREAM_UNSUPPORTED,
        "the upstream does not support the call",
        (405, 501),
        ("method_not_allowed", "not_implemented", "unimplemented"),
    ),
    Fault(
        "UNAVAILABLE",
        Reason.UPSTREAM_FAILED,
        "the upstream failed",
        (500, 502),
        ("internal_server_error", "server_error", "api_error", "internal", "bad_gateway"),
    ),
    Fault(
        "UNAVAILABLE",
        Reason.UPSTREAM_OVERLOADED,
        "the upstream is overloaded or out of service; try again later",
        (503, 529),
        ("overloaded_error", "service_unavailable", "unavailable", "unreachable_backend"),
    ),
)
"""Every upstream error."""

HTTP_STATUSES = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 500,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""The HTTP status with which a gateway responds, for every gRPC status code."""

ERROR_STATUSES = range(400, 600)
"""HTTP statuses that are errors."""

KEPT_STATUSES = frozenset({400, 404, 408, 409, 413, 415, 422, 424, 429, 451})
"""Upstream statuses that a gateway forwards unchanged, since they concern the caller's request."""

_HOPELESS_CODES = ("FAILED_PRECONDITION", "UNIMPLEMENTED")


def _normalized(word: str) -> str:
    """Return the common form of `RateLimitError`, `rate_limit_error` and `Rate limit`."""
    return re.sub("[^a-z0-9]", "", word.lower()).removesuffix("error")


_HOPELESS_WORDS = frozenset({_normalized("insufficient_quota")})
_BY_STATUS = {status: fault for fault in FAULTS for status in fault.statuses}
_BY_WORD = {_normalized(word): fault for fault in FAULTS for word in fault.words}


def fault_of(status: int | None, words: Iterable[str] = ()) -> Fault:
    """Look up what an upstream's error means, by default UPSTREAM_FAILED.

    The status decides; one that is not in the table counts as the 400 or 500 of its class (RFC 9110,
    section 15). Without a status of an error the words decide; an unknown word that begins with `invalid`
    means an invalid request.

    Args:
        status: HTTP status of the response; None if it has none.
        words: `code` and `type` of the error body, the more specific one first.
    """
    if status is not None and status in ERROR_STATUSES:
        return _BY_STATUS.get(status) or _BY_STATUS[status // 100 * 100]
    normalized = [_normalized(word) for word in words]
    for word in normalized:
        if word in _BY_WORD:
            return _BY_WORD[word]
    return _BY_STATUS[400 if any(word.startswith("invalid") for word in normalized) else 500]


def is_hopeless(code: str, words: Iterable[str] = ()) -> bool:
    """Check whether a retry can't succeed until an operator has fixed the cause.

    Args:
        code: Name of the gRPC status code.
        words: `code` and `type` of the upstream's error body.
    """
    return code in _HOPELESS_CODES or any(_normalized(word) in _HOPELESS_WORDS for word in words)


def http_status(code: str, upstream_status: int | None = None) -> int:
    """Return the HTTP status with which a gateway responds for a gRPC status code.

    Args:
        code: Name of the code, such as `NOT_FOUND`.
        upstream_status: HTTP status of the upstream's response; None if there was none.

    Returns:
        The upstream's status if it concerns the caller's request (400, 404, 408, 409, 413, 415, 422, 424,
        429, 451), else the status of the code; 500 for an unknown name. FAILED_PRECONDITION is 500 too: in
        this package it means a misconfigured service, such as wrong credentials, never an invalid request.
    """
    return upstream_status if upstream_status in KEPT_STATUSES else HTTP_STATUSES.get(code, 500)
