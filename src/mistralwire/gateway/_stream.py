"""A stream of chunks as server-sent events."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from mistralwire.client import ChunkBatch
from mistralwire.codec import SseDone, encode_sse
from mistralwire.errors import CodecError, MistralwireError
from mistralwire.gateway._errors import error_event
from mistralwire.gateway._exchange import Exchange

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    # For nginx, and those who took it over: what comes is passed on at once.
    (b"x-accel-buffering", b"no"),
)
_HEARTBEAT = b": keep-alive\n\n"
_DONE = encode_sse(SseDone())


async def send_stream(
    exchange: Exchange, batches: AsyncGenerator[ChunkBatch, None], heartbeat_s: float
) -> MistralwireError | None:
    """Send chunks as events, each with a number as its id; those of a batch in one piece.

    Status and headers wait for the first chunk, so that an error before it is an answer of its own. One after
    it is an event, and there is no `[DONE]` then.

    Args:
        exchange: The request.
        batches: The chunks.
        heartbeat_s: After how much silence a comment is sent, in seconds.

    Returns:
        What broke the stream after its first chunk; None if it ended well.

    Raises:
        MistralwireError: What broke it before.
        CallerGoneError: If the caller takes nothing for too long.
    """
    async with contextlib.aclosing(batches):
        first = await anext(batches, None)
        events = b"" if first is None else _events(exchange, first)
        await exchange.begin(200, list(_HEADERS))
        if first is None:
            await exchange.write(_DONE, is_last=True)
            return None
        await exchange.write(events)
        try:
            async with _heartbeats(exchange, heartbeat_s):
                async for batch in batches:
                    await exchange.write(_events(exchange, batch))
        except MistralwireError as error:
            await exchange.write(encode_sse(error_event(_shown(error))), is_last=True)
            return error
        await exchange.write(_DONE, is_last=True)
        return None


def _events(exchange: Exchange, batch: ChunkBatch) -> bytes:
    """Give the events of a batch, numbered on from those before."""
    first_id = exchange.chunks
    try:
        events = [encode_sse(chunk, id=first_id + index) for index, chunk in enumerate(batch)]
    except CodecError as error:
        raise _shown(error) from None
    exchange.chunks += len(events)
    return b"".join(events)


def _shown(error: MistralwireError) -> MistralwireError:
    """Give what a caller gets to see: an answer that has no JSON form is not his fault."""
    if isinstance(error, CodecError):
        message = "the answer of the upstream could not be written as JSON"
        return MistralwireError(message, code="INTERNAL", reason="UPSTREAM_UNREADABLE")
    return error


@contextlib.asynccontextmanager
async def _heartbeats(exchange: Exchange, heartbeat_s: float) -> AsyncIterator[None]:
    """Send a comment whenever nothing was sent for some time."""

    async def beat() -> None:
        sent = exchange.chunks
        while True:
            await asyncio.sleep(heartbeat_s)
            if exchange.chunks == sent:
                await exchange.write(_HEARTBEAT)
            sent = exchange.chunks

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
