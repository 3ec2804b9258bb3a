"""Receiving the one request of a call, within a bound on its time."""

import asyncio

import grpc

from mistralwire.service._silence import caller_silent_error


async def receive(context: grpc.aio.ServicerContext, limit_s: float) -> bytes | None:
    """Wait for the request of a call.

    grpc itself would wait for it without end; so our handlers are registered as if a call had several.

    Args:
        context: The call.
        limit_s: How long to wait, in seconds.

    Returns:
        Its wire bytes; None if the call has ended without one.

    Raises:
        MistralwireError: If it has not come by then, with the reason CALLER_SILENT.
    """
    try:
        async with asyncio.timeout(limit_s):
            data = await context.read()
    except TimeoutError:
        raise caller_silent_error(limit_s) from None
    return None if data is grpc.aio.EOF else data
