"""Answers that come by callbacks, for those who wait for them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from mistralwire._flow import WireQueue
from mistralwire.upstream._upstream import RESPONSE_TYPES, CallbackUpstream, CallContext, CompletionResponse
from mistralwire.v1 import CONTRACT_REVISION, ChatCompletionStreamResponse, CompletionChunk


async def complete(upstream: CallbackUpstream, request: Any, context: CallContext) -> CompletionResponse:
    """Ask for an answer in one piece, and wait for it.

    Raises:
        UpstreamError: If there is none.
    """
    receiver = _Waiting()
    receiver.start(upstream, request, context)
    try:
        wire = await receiver.queue.take()
        assert wire is not None  # noqa: S101 - an answer or an error comes before the end
    finally:
        await receiver.leave()
    return RESPONSE_TYPES[type(request)].FromString(wire)


async def stream(
    upstream: CallbackUpstream, request: Any, context: CallContext
) -> AsyncGenerator[CompletionChunk, None]:
    """Ask for an answer as a stream, and yield its chunks.

    Raises:
        UpstreamError: Where the stream breaks, after the chunks before.
    """
    receiver = _Waiting()
    receiver.start(upstream, request, context)
    try:
        while wire := await receiver.queue.take():
            for chunk in ChatCompletionStreamResponse.FromString(wire).chunks:
                yield chunk
    finally:
        await receiver.leave()


class _Waiting:
    """Takes an answer, and keeps it until it is asked for; a Receiver.

    Attributes:
        queue: What has come.
    """

    is_watched = False

    def __init__(self) -> None:
        self.queue = WireQueue()
        self._is_closed = asyncio.Event()

    def start(self, upstream: CallbackUpstream, request: Any, context: CallContext) -> None:
        wire = request.SerializeToString()
        self.queue.attach(upstream.start(request, wire, context, self, contract_revision=CONTRACT_REVISION))

    async def leave(self) -> None:
        """Leave the upstream, and wait until it holds nothing any more."""
        self.queue.cancel()
        await self._is_closed.wait()

    def headers(self, headers: Mapping[str, str]) -> None:
        pass

    def batch(
        self,
        wire: bytes,
        count: int,  # noqa: ARG002 - a Receiver
        usage: bytes | None = None,  # noqa: ARG002
        finish_reasons: Sequence[tuple[int, str]] = (),  # noqa: ARG002
    ) -> None:
        self.queue.put(wire)

    def answer(self, wire: bytes) -> None:
        self.queue.put(wire)
        self.end()

    def end(self) -> None:
        self.queue.end()

    def failed(self, error: BaseException) -> None:
        self.queue.end(error)

    def closed(self) -> None:
        self._is_closed.set()
