"""The interfaces of upstreams: with coroutines, and with callbacks that pass wire bytes."""

import asyncio
import dataclasses
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from mistralwire._methods import METHODS_BY_REQUEST
from mistralwire._response_stream import EventWriter, Source, WireQueue
from mistralwire.v1 import (
    CONTRACT_REVISION,
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatCompletionStreamResponse,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)

CompletionRequest: TypeAlias = ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest
"""A unary request."""

CompletionResponse: TypeAlias = ChatCompletionResponse | FIMCompletionResponse
"""The response to a unary request: of the same kind, or a chat response to a request for an agent."""

CompletionStreamRequest: TypeAlias = (
    ChatCompletionStreamRequest | FIMCompletionStreamRequest | AgentsCompletionStreamRequest
)
"""A request for a stream of chunks."""


# Frozen by agreement alone: enforcing it costs each call a function for each field.
@dataclasses.dataclass(slots=True, kw_only=True, unsafe_hash=True)
class CallContext:
    """What an upstream knows of a call besides its request; treat it as immutable.

    Attributes:
        request_id: Id of the call, for logs and for the upstream's own request; a token of printable ASCII.
        deadline_s: Deadline of the caller, in seconds of `time.monotonic`; None for no deadline. The call is
            cancelled at the deadline in any case.
        has_alternative: Whether another upstream follows if this one fails; this one then makes no retries.
        retry_by_s: When a retry must have begun, in seconds of `time.monotonic`, because the caller needs the
            status of an error by then; None for the deadline.
        events: Writes chunks directly to the caller while it is open; None if that is not possible.
    """

    request_id: str = ""
    deadline_s: float | None = None
    has_alternative: bool = False
    retry_by_s: float | None = None
    events: EventWriter | None = dataclasses.field(default=None, repr=False, compare=False)

    def remaining_s(self) -> float | None:
        """Return the time until the deadline in seconds, 0 or more; None if there is no deadline."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.monotonic())

    def pause_s_max(self) -> float:
        """Return the longest possible pause before a retry in seconds, 0 or more."""
        times_s = [time_s for time_s in (self.deadline_s, self.retry_by_s) if time_s is not None]
        return max(0.0, min(times_s, default=math.inf) - time.monotonic())


class Receiver(Protocol):
    """Receives a response by callbacks, as wire bytes.

    The calls are batches of chunks and then `end`, or one `answer`; `headers` precedes either, if there are
    any; `failed` replaces `end` or `answer`. `closed` is the last call, also after the source was cancelled.

    Attributes:
        is_watched: Whether usage and finish reasons are wanted.
    """

    is_watched: bool

    def headers(self, headers: Mapping[str, str]) -> None:
        """Receive the headers of the upstream's response that are forwarded, ids and rate limits, if any.

        Their names are in lower case.
        """

    def batch(
        self,
        wire: bytes,
        count: int,
        usage: bytes | None = None,
        finish_reasons: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Receive chunks.

        Args:
            wire: Wire bytes of a stream response with the chunks in its field `chunks`.
            count: Number of chunks, 1 or more.
            usage: The last usage among them, as wire bytes of a UsageInfo; None if there is none.
            finish_reasons: Finish reasons, each as the index of the choice and the API's string.
        """

    def answer(self, wire: bytes) -> None:
        """Receive a unary response."""

    def end(self) -> None:
        """Receive the end of a complete stream."""

    def failed(self, error: BaseException) -> None:
        """Receive the error that replaces the response, or that broke the stream after its first chunks."""

    def closed(self) -> None:
        """Learn that the upstream is no longer busy with this call: another can take its slot."""


class Upstream(Protocol):
    """A source of completions for chat, fill-in-the-middle and agents.

    The caller may cancel at any point: the task of `complete`, or the iteration of `stream`. Failures are
    UpstreamErrors, with the code UNIMPLEMENTED for a kind of request that is not supported. An unreadable
    response is one too, never a DecodeError, which blames the request.

    The service checks requests and responses, and logs what SDKs may reject. An upstream that forwards what
    an API returned sets `relays_answers` to True: its responses are not checked. One that also validates
    requests itself, as an API does, sets `judges_requests` to True: its requests are forwarded unchanged.
    """

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        """Return the response to a request that keeps the contract.

        Returns:
            A FIMCompletionResponse to a FIMCompletionRequest, a ChatCompletionResponse to any other.

        Raises:
            UpstreamError: If there is no response.
        """
        ...

    def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        """Return the response as a stream of chunks, each as soon as it is produced.

        Nothing happens before the first chunk is requested. An async generator is closed when the stream is
        abandoned. The iteration raises UpstreamError where the stream breaks, after the chunks before.
        """
        ...


class CallbackUpstream(Upstream, Protocol):
    """An upstream that can respond by callbacks, as wire bytes: without a message and a task for each."""

    judges_requests: bool

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Source:
        """Start a call.

        Args:
            request: The request; its type decides whether the response is a stream.
            wire: Its wire bytes.
            context: What else is known of the call.
            receiver: Receives the response; perhaps before this method returns.
            contract_revision: Oldest contract revision among the readers of the response.

        Returns:
            The source of the response.

        Raises:
            UpstreamError: If the call can't be started; the receiver then gets no calls.
        """
        ...


class BaseCallbackUpstream(CallbackUpstream):
    """Implements `complete` and `stream` of a CallbackUpstream by its `start`."""

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        receiver = _QueueReceiver(self, request, context)
        try:
            wire = await receiver.queue.take()
            assert wire is not None  # noqa: S101 - a response or an error comes before the end
        finally:
            await receiver.leave()
        response_type: Any = METHODS_BY_REQUEST[type(request)].response_type
        response: CompletionResponse = response_type.FromString(wire)
        return response

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        receiver = _QueueReceiver(self, request, context)
        try:
            while wire := await receiver.queue.take():
                for chunk in ChatCompletionStreamResponse.FromString(wire).chunks:
                    yield chunk
        finally:
            await receiver.leave()


class _QueueReceiver:
    """Starts a call and queues its response for a coroutine; a Receiver."""

    is_watched = False

    def __init__(self, upstream: BaseCallbackUpstream, request: Any, context: CallContext) -> None:
        self.queue = WireQueue()
        self.failed = self.end = self.queue.end
        self._is_closed = asyncio.Event()
        self.closed = self._is_closed.set
        wire = request.SerializeToString()
        self.queue.attach(upstream.start(request, wire, context, self, contract_revision=CONTRACT_REVISION))

    async def leave(self) -> None:
        """Cancel the call, and wait until the upstream has released everything it holds."""
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
        self.queue.end()
