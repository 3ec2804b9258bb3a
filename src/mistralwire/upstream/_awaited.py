"""Answers that come by callbacks, for those who wait for them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from mistralwire._flow import Source
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
    receiver.start(upstream, request, context)
    try:
        wire = await receiver.take()
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
        while wire := await receiver.take():
            for chunk in ChatCompletionStreamResponse.FromString(wire).chunks:
                yield chunk
    finally:
        await receiver.leave()


class _Waiting:
    """Takes an answer, and keeps it until it is asked for; a Receiver."""

    is_watched = False

    def __init__(self) -> None:
        self._wires: list[bytes] = []
        self._size = 0
        self._is_paused = self._has_ended = self._is_closed = False
        self._error: BaseException | None = None
        self._has_changed = asyncio.Event()
        self._source: Source | None = None

    def start(self, upstream: CallbackUpstream, request: Any, context: CallContext) -> None:
        wire = request.SerializeToString()
        source = upstream.start(request, wire, context, self, contract_revision=CONTRACT_REVISION)
        self._source = source
        if self._is_paused:
            source.pause()

    async def leave(self) -> None:
        """Leave the upstream, and wait until it holds nothing any more."""
        if self._source is not None:
            self._source.cancel()
        while not self._is_closed:
            self._has_changed.clear()
            await self._has_changed.wait()

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
            if self._source is not None:
                self._source.resume()
        return wire

    def headers(self, headers: Mapping[str, str]) -> None:
        pass

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
            if self._source is not None:
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
        self._is_closed = True
        self._has_changed.set()
