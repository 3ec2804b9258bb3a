"""The one table of statuses: what an upstream's error means, and which HTTP status a gRPC code is."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from mistralwire.errors import Reason


class Fault(NamedTuple):
    """What can be wrong with an upstream's answer.

    Attributes:
        reason: For programs.
        text: For people, where the upstream gave no text or its own must not be passed on.
        statuses: The HTTP statuses that say it.
        words: What the members `code` and `type` of an error body say then. A word stands with the status
            that it is sent with, so that an error event in a stream is the error that an answer is.
        is_quoted: False if the upstream's own text must not be passed on, since it may quote the service's
            credentials.
    """

    reason: Reason
    text: str
    statuses: tuple[int, ...]
    words: tuple[str, ...] = ()
    is_quoted: bool = True


class Row(NamedTuple):
    """A gRPC status code with its meanings in HTTP.

    Attributes:
        code: Name of the code.
        http_status: Status of the answer that a gateway gives its own caller.
        faults: What an upstream says that becomes this code.
    """

    code: str
    http_status: int
    faults: tuple[Fault, ...] = ()


TABLE = (
    Row("OK", 200),
    Row("CANCELLED", 499),
    Row("UNKNOWN", 500),
    Row(
        "INVALID_ARGUMENT",
        400,
        (
            Fault(
                Reason.UPSTREAM_INVALID_REQUEST,
                "the upstream refused the request as invalid",
                (400, 415, 422, 424, 451),
                ("invalid_request_error", "bad_request", "unprocessable_entity", "context_length_exceeded"),
            ),
            Fault(
                Reason.UPSTREAM_REQUEST_TOO_LARGE,
                "the upstream refused the request as too large",
                (413,),
                ("request_too_large", "payload_too_large"),
            ),
        ),
    ),
    Row(
        "DEADLINE_EXCEEDED",
        504,
        (
            Fault(
                Reason.UPSTREAM_TIMEOUT,
                "the upstream took too long",
                (408, 504, 524),
                ("timeout", "request_timeout", "gateway_timeout", "deadline_exceeded"),
            ),
        ),
    ),
    Row(
        "NOT_FOUND",
        404,
        (
            Fault(
                Reason.UPSTREAM_NOT_FOUND,
                "the upstream does not have what was asked for, such as the model",
                (404, 410),
                ("not_found", "model_not_found"),
            ),
        ),
    ),
    Row("ALREADY_EXISTS", 409),
    Row("PERMISSION_DENIED", 403),
    Row(
        "RESOURCE_EXHAUSTED",
        429,
        (
            Fault(
                Reason.UPSTREAM_RATE_LIMITED,
                "the upstream takes no more requests from the service for now; try again later",
                (429,),
                (
                    *("rate_limited", "rate_limit_exceeded", "rate_limit_error", "1300"),
                    *("service_tier_capacity_exceeded", "3505"),
                    *("insufficient_quota", "too_many_requests", "resource_exhausted"),
                ),
            ),
        ),
    ),
    Row(
        # What the upstream refuses here is the service, not its caller: the caller can do nothing about it,
        # and an answer 401 or 403 would send them looking for a fault in their own credentials.
        "FAILED_PRECONDITION",
        500,
        (
            Fault(
                Reason.UPSTREAM_UNAUTHENTICATED,
                "the upstream refused the credentials of the service",
                (401, 407),
                ("authentication_error", "unauthenticated", "unauthorized", "invalid_api_key"),
                is_quoted=False,
            ),
            Fault(
                Reason.UPSTREAM_PAYMENT_REQUIRED,
                "the upstream wants the account of the service to be paid",
                (402,),
                ("billing_error", "payment_required", "insufficient_credits"),
                is_quoted=False,
            ),
            Fault(
                Reason.UPSTREAM_PERMISSION_DENIED,
                "the upstream does not permit this to the service",
                (403,),
                ("permission_error", "permission_denied", "forbidden"),
                is_quoted=False,
            ),
        ),
    ),
    Row(
        "ABORTED",
        409,
        (Fault(Reason.UPSTREAM_CONFLICT, "the upstream found a conflict", (409,), ("conflict",)),),
    ),
    Row("OUT_OF_RANGE", 400),
    Row(
        "UNIMPLEMENTED",
        501,
        (
            Fault(
                Reason.UPSTREAM_UNSUPPORTED,
                "the upstream does not support the call",
                (405, 501),
                ("method_not_allowed", "not_implemented", "unimplemented"),
            ),
        ),
    ),
    Row("INTERNAL", 500),
    Row(
        "UNAVAILABLE",
        503,
        (
            Fault(
                Reason.UPSTREAM_FAILED,
                "the upstream failed",
                (500, 502),
                ("internal_server_error", "server_error", "api_error", "internal", "bad_gateway"),
            ),
            Fault(
                Reason.UPSTREAM_OVERLOADED,
                "the upstream is overloaded or out of service; try again later",
                (503, 529),
                ("overloaded_error", "service_unavailable", "unavailable", "unreachable_backend"),
            ),
        ),
    ),
    Row("DATA_LOSS", 500),
    Row("UNAUTHENTICATED", 401),
)
"""Every gRPC code, each with its faults."""

ERROR_STATUSES = range(400, 600)
"""The HTTP statuses of errors."""

KEPT_STATUSES = frozenset({400, 404, 408, 409, 413, 415, 422, 424, 429, 451})
"""The statuses of upstreams with which a gateway answers its own caller, whose request they are about."""

_HOPELESS_CODES = ("FAILED_PRECONDITION", "UNIMPLEMENTED")
_HOPELESS_WORDS = ("insufficient_quota",)


def _plain(word: str) -> str:
    """Give the one form of a word: `RateLimitError`, `rate_limit_error` and `Rate limit` are the same."""
    return re.sub("[^a-z0-9]", "", word.lower()).removesuffix("error")


_PLAIN_HOPELESS_WORDS = frozenset(map(_plain, _HOPELESS_WORDS))
_HTTP_STATUSES = {row.code: row.http_status for row in TABLE}
_FAULTS = [(row.code, fault) for row in TABLE for fault in row.faults]
_BY_STATUS = {status: (code, fault) for code, fault in _FAULTS for status in fault.statuses}
_BY_WORD = {_plain(word): (code, fault) for code, fault in _FAULTS for word in fault.words}


def fault_of(status: int | None, words: Iterable[str] = ()) -> tuple[str, Fault]:
    """Find what an upstream's error means.

    The status decides. One that the table does not have counts like the 400 or 500 of its class (RFC 9110,
    section 15); without one the words decide, and among those unheard of `invalid_...` is an invalid request.

    Args:
        status: HTTP status of the error; None, or one that is no error, if there is none.
        words: What the error body says as code and as type, the more exact one first.

    Returns:
        Name of the gRPC status code, and the fault; UNAVAILABLE with UPSTREAM_FAILED if nothing is known.
    """
    if status is not None and status in ERROR_STATUSES:
        return _BY_STATUS.get(status) or _BY_STATUS[status // 100 * 100]
    plain_words = [_plain(word) for word in words]
    for word in plain_words:
        if word in _BY_WORD:
            return _BY_WORD[word]
    return _BY_STATUS[400 if any(word.startswith("invalid") for word in plain_words) else 500]


def is_hopeless(code: str, words: Iterable[str] = ()) -> bool:
    """Check whether another attempt is hopeless: the error stays until somebody has repaired its cause.

    Args:
        code: Name of the gRPC status code.
        words: What the upstream's error body says as code and as type.
    """
    return code in _HOPELESS_CODES or any(_plain(word) in _PLAIN_HOPELESS_WORDS for word in words)


def http_status(code: str, upstream_status: int | None = None) -> int:
    """Give the HTTP status with which a gateway answers for a gRPC status code.

    Args:
        code: Name of the code, such as `NOT_FOUND`.
        upstream_status: HTTP status of the upstream's answer; None if there was none.

    Returns:
        The upstream's status, if it is about the caller's request (400, 404, 408, 409, 413, 415, 422, 424,
        429, 451); else that of the code, 500 for a name that is no code of gRPC. FAILED_PRECONDITION is 500
        too: in this package it says that the service is not in order, such as its credentials, and never that
        the request is not.
    """
    if upstream_status in KEPT_STATUSES:
        return upstream_status
    return _HTTP_STATUSES.get(code, 500)
