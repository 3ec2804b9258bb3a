"""Ending a call with an error."""

import asyncio
from typing import Never

import grpc

from mistralwire.service._status import failure_of, request_id_of, retry_time_s


async def refuse(
    context: grpc.aio.ServicerContext, error: BaseException, request_id: str | None = None
) -> Never:
    """End a call with the status of an error, whatever it is.

    Args:
        context: The call.
        error: The error.
        request_id: Id of the call; None to take the caller's own, or a new one.

    Raises:
        grpc.aio.AbortError: Always; grpc waits for it.
        asyncio.CancelledError: If the call is over already, its caller gone, say: grpc would log it as a
            failure, stack and all.
    """
    metadata = context.invocation_metadata() or ()
    if request_id is None:
        request_id = request_id_of(metadata)
    try:
        await context.abort(*failure_of(error, request_id, retry_time_s(metadata, context.time_remaining())))
    except grpc.aio.AbortError as abort:
        # Without the error it came from: grpc prints that chain in places, and its text may be private.
        raise abort from None
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
    raise AssertionError("abort always raises")
