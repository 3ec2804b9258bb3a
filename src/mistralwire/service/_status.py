"""From any error to the status that ends its call, with its trailing metadata."""

import asyncio
import math
import re
from collections.abc import Iterable
from typing import NamedTuple, Never

import grpc

from mistralwire._metadata import (
    OWN_REVISION,
    REQUEST_ID,
    RESPONSE_ID,
    RETRY_PUSHBACK,
    RETRY_TIME_LEFT,
    STATUS_DETAILS,
    headers_in,
    is_request_id,
    request_id_of,
)
from mistralwire._status import delay_of, to_status
from mistralwire.errors import UpstreamError

RETRY_WAIT_S_MAX = 30.0
"""The longest delay in seconds that a client's gRPC library is given before its own retry."""

# The codes that a client may retry after a delay.
_RETRIABLE = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MILLISECONDS_PATTERN = re.compile("[0-9]{1,12}")


class CallStatus(NamedTuple):
    """The status of a failed call: the arguments of `ServicerContext.abort`.

    The trailing metadata are all that the call has: the status with its details, the revision, the id of the
    call, and the pushback for gRPC's own retries.
    """

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def retry_time_s(metadata: Iterable[tuple[str, str | bytes]], remaining_s: float | None) -> float | None:
    """Return how many seconds a call may still wait for another attempt; None if it has no deadline."""
    if remaining_s is None:
        return None
    for name, value in metadata:
        if name == RETRY_TIME_LEFT and isinstance(value, str) and _MILLISECONDS_PATTERN.fullmatch(value):
            return remaining_s - int(value) / 1000
    return remaining_s


def call_status(error: BaseException, request_id: str = "", remaining_s: float | None = None) -> CallStatus:
    """Turn an error into the status of its call, with its id if that is valid.

    The pushback (`grpc-retry-pushback-ms`, gRFC A6) controls the retries of the client's gRPC library. If the
    error says when to retry, the library waits that long; if that is more than 30 seconds, or than the call
    has left (`retry_time_s`), it does not retry: it would wait until the deadline, and the caller would learn
    of nothing but that. If the upstream failed without saying when, it does not retry: the completion may
    have been generated, and billed, and then lost; nor if the service itself has retried already.
    """
    status = to_status(error, request_id)
    code = _CODES[status.code]
    trailers: list[tuple[str, str | bytes]] = [(STATUS_DETAILS, status.SerializeToString()), OWN_REVISION]
    if is_request_id(request_id):
        trailers.append((REQUEST_ID, request_id))
    delay_s = delay_of(error)
    if isinstance(error, UpstreamError):
        trailers.extend(headers_in(error.headers.items()).items())
        delay_s = delay_s if error.should_retry else None
    if code in _RETRIABLE and (delay_s is not None or isinstance(error, UpstreamError)):
        trailers.append((RETRY_PUSHBACK, str(_pushback_ms(delay_s, remaining_s))))
    return CallStatus(code, status.message, tuple(trailers))


async def refuse(
    context: grpc.aio.ServicerContext,
    error: BaseException,
    request_id: str | None = None,
    response_id: str = "",
) -> Never:
    """End a call with the status of an error.

    Without a `request_id` the call has the caller's own, or a new one. The `response_id` is that of its
    response, if that is stored.

    Raises:
        grpc.aio.AbortError: Always; grpc expects it.
        asyncio.CancelledError: If the call is over already, for example because its caller has gone: grpc
            would log anything else with its traceback.
    """
    metadata = context.invocation_metadata() or ()
    if request_id is None:
        request_id = request_id_of(metadata)
    status = call_status(error, request_id, retry_time_s(metadata, context.time_remaining()))
    ids = ((RESPONSE_ID, response_id),) if response_id else ()
    try:
        await context.abort(status.code, status.details, (*status.trailing_metadata, *ids))
    except grpc.aio.AbortError as abort:
        # Without the original error: grpc may print the chain, and its text may be private.
        raise abort from None
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
    raise AssertionError("abort always raises")


def _pushback_ms(delay_s: float | None, remaining_s: float | None) -> int:
    """Return the milliseconds before the client may retry; -1 if it must not."""
    wait_s_max = RETRY_WAIT_S_MAX if remaining_s is None else min(RETRY_WAIT_S_MAX, remaining_s)
    if delay_s is None or delay_s > wait_s_max:
        return -1
    # Not 0: gRPC's C core, which Python uses, then waits forever (seen with 1.73 and 1.85).
    return max(1, math.ceil(delay_s * 1000))
