"""Upstreams that a test controls, and small messages."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import grpc
from google.rpc import status_pb2

from mistralwire._metadata import STATUS_DETAILS
from mistralwire.upstream import CallContext, CompletionRequest, CompletionResponse, CompletionStreamRequest
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionStreamRequest,
    ChatMessage,
    CompletionChunk,
    CompletionResponseStreamChoice,
    DeltaMessage,
    UserMessage,
)

MESSAGES = [ChatMessage(user=UserMessage(role="user", content_string="hello"))]
REQUEST = ChatCompletionRequest(model="m", messages=MESSAGES)
STREAM_REQUEST = ChatCompletionStreamRequest(model="m", messages=MESSAGES)


def chunk(number: int, content: str = "word") -> CompletionChunk:
    """Make a chunk whose id is the number."""
    choice = CompletionResponseStreamChoice(index=0, delta=DeltaMessage(content_string=content))
    return CompletionChunk(id=str(number), model="m", choices=[choice])


class HeldUpstream:
    """Responds with what the test puts into it, when it does: a response, chunks, an error, None for the end.

    Attributes:
        items: What to answer with.
        requests: The requests that it received.
        contexts: The context of each request.
        closed: Set when a call of it is over, however it ended.
    """

    def __init__(self) -> None:
        self.items: asyncio.Queue[CompletionResponse | CompletionChunk | BaseException | None] = (
            asyncio.Queue()
        )
        self.requests: list[CompletionRequest | CompletionStreamRequest] = []
        self.contexts: list[CallContext] = []
        self.started = asyncio.Event()
        self.closed = asyncio.Event()

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        self.requests.append(request)
        self.contexts.append(context)
        self.started.set()
        try:
            item = await self.items.get()
        finally:
            self.closed.set()
        if isinstance(item, BaseException):
            raise item
        assert item is not None
        assert not isinstance(item, CompletionChunk)
        return item

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        self.requests.append(request)
        self.contexts.append(context)
        self.started.set()
        try:
            while (item := await self.items.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                assert isinstance(item, CompletionChunk)
                yield item
                # Reached when the reader asks for more: it has processed this one.
                self.items.task_done()
        finally:
            self.closed.set()


class EagerUpstream:
    """Has all chunks ready at any time.

    Args:
        count: How many chunks; None for no end.
        content: Text of each chunk.

    Attributes:
        produced: How many chunks were taken so far.
        closed: Set when a stream is over, however it ended.
    """

    def __init__(self, count: int | None, content: str = "word") -> None:
        self.produced = 0
        self.closed = asyncio.Event()
        self._count = count
        self._content = content

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        raise NotImplementedError

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        try:
            for number in itertools.count() if self._count is None else range(self._count):
                self.produced += 1
                yield chunk(number, self._content)
        finally:
            self.closed.set()


def status_of(error: grpc.Call) -> status_pb2.Status:
    """Return the google.rpc.Status in the trailing metadata of a call, which must have exactly one."""
    (details,) = [value for key, value in error.trailing_metadata() if key == STATUS_DETAILS]
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return status
