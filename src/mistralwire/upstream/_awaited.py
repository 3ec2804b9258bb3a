"""Answers that come by callbacks, for those who wait for them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from mistralwire.upstream._upstream import RESPONSE_TYPES, CallbackUpstream, CallContext, CompletionResponse
from mistralwire.v1 import CONTRACT_REVISION, ChatCompletionStreamResponse, CompletionChunk

# So many bytes wait for whoever iterates before the source is paused.
_WAITING_BYTES_MAX = 256 * 1024


async def complete(upstream: CallbackUpstream, request: Any, context: CallContext) -> CompletionResponse:
    """Ask for an answer in one piece, and wait for it.

    Raises:
        UpstreamError: If there is none.
    """
    receiver = _Waiting()
    source = receiver.start(upstream, request, context)
    try:
        wire = await receiver.take()
    finally:
        source.cancel()
    return RESPONSE_TYPES[type(request)].FromString(wire)


async def stream(
    upstream: CallbackUpstream, request: Any, context: CallContext
) -> AsyncGenerator[CompletionChunk, None]:
    """Ask for an answer as a stream, and yield its chunks.

    Raises:
        UpstreamError: Where the stream breaks, after the chunks before.
    """
    receiver = _Waiting()
    source = receiver.start(upstream, request, context)
    try:
        while wire := await receiver.take():
            for chunk in ChatCompletionStreamResponse.FromString(wire).chunks:
                yield chunk
    finally:
        source.cancel()


class _Waiting:
    """Takes an answer, and keeps it until it is asked for; a Receiver."""

    is_watched = False

    def __init__(self) -> None:
        self._wires: list[bytes] = []
        self._size = 0
        self._is_paused = self._has_ended = False
        self._error: BaseException | None = None
        self._has_changed = asyncio.Event()

    def start(self, upstream: CallbackUpstream, request: Any, context: CallContext) -> Any:
        wire = request.SerializeToString()
        self._source = upstream.start(request, wire, context, self, contract_revision=CONTRACT_REVISION)
        return self._source

    async def take(self) -> bytes:
        """Return what has come, as soon as something has; no bytes at the end."""
        while not self._wires:
            if self._error is not None:
                raise self._error
            if self._has_ended:
                return b""
            self._has_changed.clear()
            await self._has_changed.wait()
        wire = b"".join(self._wires)
        self._wires.clear()
        self._size = 0
        if self._is_paused:
            self._is_paused = False
            self._source.resume()
        return wire

    def batch(
        self,
        wire: bytes,
        count: int,  # noqa: ARG002 - a Receiver
        usage: bytes | None = None,  # noqa: ARG002
        finish_reasons: Sequence[tuple[int, str]] = (),  # noqa: ARG002
    ) -> None:
        self._wires.append(wire)
        self._size += len(wire)
        self._has_changed.set()
        if self._size >= _WAITING_BYTES_MAX and not self._is_paused:
            self._is_paused = True
            self._source.pause()

    def answer(self, wire: bytes) -> None:
        self._wires.append(wire)
        self.end()

    def end(self) -> None:
        self._has_ended = True
        self._has_changed.set()

    def failed(self, error: BaseException) -> None:
        self._error = error
        self._has_changed.set()

    def closed(self) -> None:
        pass
