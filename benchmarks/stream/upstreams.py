"""The upstreams: the same objects for both contenders."""

import asyncio
import itertools
import json
import pathlib
import time
from collections.abc import AsyncIterator, Iterator

from benchmarks.stream.scenarios import Scenario
from mistralwire.codec import from_json
from mistralwire.upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    ReplayUpstream,
    Upstream,
)
from mistralwire.v1 import (
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatMessage,
    CompletionChunk,
    UserMessage,
)

# A chunk as the API sends them today, with an undocumented member: 225 bytes.
_CHUNK = {
    "id": "e5cc70bb28c444948073e77776eb30ef",
    "object": "chat.completion.chunk",
    "created": 1702256327,
    "model": "mistral-small-latest",
    "choices": [{"index": 0, "delta": {"content": " streaming"}, "finish_reason": None}],
    "p": "abcdefghijklmnopqrstuvwxyz01234",
}
_GOLDEN_RATIO = 0.618034


def request_of(number: int) -> ChatCompletionStreamRequest:
    """Return the request of a stream; the number reaches the upstream in `random_seed`."""
    message = ChatMessage(user=UserMessage(content_string="Tell me about streaming."))
    return ChatCompletionStreamRequest(model="mistral-small-latest", messages=[message], random_seed=number)


def upstream_of(scenario: Scenario, folder: pathlib.Path) -> Upstream:
    """Return the upstream of a scenario; it may write a recording into the folder."""
    if scenario.kind == "saturated":
        return ReplayUpstream(_record(folder / "stream.sse", scenario.chunks))
    if scenario.kind == "paced":
        return _PacedUpstream(scenario.rate)
    return _OpenUpstream(is_endless=scenario.kind == "unread")


def _record(path: pathlib.Path, chunks: int) -> pathlib.Path:
    event = f"data: {json.dumps(_CHUNK, separators=(',', ':'))}\n\n"
    last = _CHUNK | {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]}
    path.write_text(event * (chunks - 1) + f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n")
    return path


def _chunk() -> CompletionChunk:
    return from_json(CompletionChunk, json.dumps(_CHUNK))


class _PacedUpstream:
    """Yields chunks on a schedule, each with the time it was due and the time it left, in nanoseconds."""

    def __init__(self, rate: float) -> None:
        self._period_ns = int(1e9 / rate)
        # Streams come at their own times, as callers do: spread evenly over one period.
        self._phases: Iterator[float] = (number * _GOLDEN_RATIO % 1 for number in itertools.count())

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        raise NotImplementedError

    async def stream(
        self,
        request: CompletionStreamRequest,  # noqa: ARG002 - the protocol
        context: CallContext,  # noqa: ARG002 - the protocol
    ) -> AsyncIterator[CompletionChunk]:
        template = _chunk()
        due_ns = time.monotonic_ns() + int(next(self._phases) * self._period_ns)
        while True:
            pause_ns = due_ns - time.monotonic_ns()
            if pause_ns > 0:
                await asyncio.sleep(pause_ns / 1e9)
            chunk = CompletionChunk()
            chunk.CopyFrom(template)
            chunk.id = str(due_ns)
            chunk.created = time.monotonic_ns()
            yield chunk
            due_ns += self._period_ns


class _OpenUpstream:
    """Yields one chunk and then none, or chunks without end; and records when a stream was closed."""

    def __init__(self, *, is_endless: bool) -> None:
        self._is_endless = is_endless
        self._closed: dict[int, asyncio.Future[int]] = {}

    async def complete(
        self,
        request: CompletionRequest,
        context: CallContext,  # noqa: ARG002 - the protocol
    ) -> CompletionResponse:
        """Wait until the stream with this seed is closed, and answer with that time as the id."""
        closed_ns = await self._closed[request.random_seed]
        return ChatCompletionResponse(id=str(closed_ns))

    async def stream(
        self,
        request: CompletionStreamRequest,
        context: CallContext,  # noqa: ARG002 - the protocol
    ) -> AsyncIterator[CompletionChunk]:
        chunk = _chunk()
        closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._closed[request.random_seed] = closed
        try:
            yield chunk
            while self._is_endless:
                yield chunk
            await asyncio.Event().wait()
        finally:
            closed.set_result(time.monotonic_ns())
