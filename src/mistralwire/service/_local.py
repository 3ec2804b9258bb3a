"""The service in the process of its caller: the same calls, without a socket between."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME

from mistralwire._response_stream import EventWriter, Sink, Source, WireQueue
from mistralwire.errors import MistralwireError, Reason
from mistralwire.service._call import Call, Calls
from mistralwire.service._config import ServerConfig
from mistralwire.service._methods import METHODS, SERVICE_NAME
from mistralwire.service._record import CallObserver
from mistralwire.service._status import failure_of
from mistralwire.service._telemetry import with_telemetry
from mistralwire.service._upstream_probe import UpstreamProbe
from mistralwire.upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

_PEER = "in-process"
# How long the end of the upstreams is waited for when the channel is closed.
_END_S = 3.0

_BY_REQUEST = {method.request_type: method for method in METHODS.values()}

Metadata = Sequence[tuple[str, str | bytes]]


class LocalChannel:
    """Calls the service in its own process, without a socket; `Client.on` takes it.

    Messages, statuses, limits and observers are those of a service over the network. What belongs to
    connections is not there: ports, TLS, bearer tokens, retries, compression.

    Args:
        upstream: Where the completions come from.
        config: The limits of calls, of the upstream and of streams; what it says of connections is not used.
        observers: Who watches the calls. If OpenTelemetry is set up by now, it is told too.

    Attributes:
        contract_revision: The newest: both ends have one contract, so that nothing is rewritten.
    """

    contract_revision = CONTRACT_REVISION

    def __init__(
        self, upstream: Upstream, config: ServerConfig | None = None, observers: Sequence[CallObserver] = ()
    ) -> None:
        self._upstream = UpstreamProbe(getattr(upstream, "probe", None))
        self._calls = Calls(upstream, config or ServerConfig(), with_telemetry(observers), CONTRACT_REVISION)
        self._is_closed = False

    def start(
        self,
        request_type: type[Message],
        data: bytes,
        sink: Sink,
        *,
        timeout: float,
        metadata: Metadata,
        message: Message | None = None,
        events: EventWriter | None = None,
        is_caller_timed: bool = False,
    ) -> Source:
        """Start a call whose answer goes to a sink.

        Args:
            request_type: The type of the request.
            data: The request as wire bytes.
            sink: What takes the answer; perhaps before this function returns.
            timeout: How long the call may take, in seconds.
            metadata: What to send with it.
            message: The message of the wire bytes, if it is there already; nobody changes it.
            events: What chunks may be written to instead of going to the sink, once it has had some.
            is_caller_timed: Whether the call ends when the sink takes nothing for as long as a caller may.

        Returns:
            The source of the answer.
        """
        call = Call(
            self._calls,
            _BY_REQUEST[request_type],
            sink,
            metadata=metadata,
            peer=_PEER,
            timeout_s=timeout,
            is_caller_timed=is_caller_timed,
            events=events,
        )
        refusal = self._refusal() or self._calls.overload()
        if refusal is None:
            call.start(data, message)
        else:
            call.abort(refusal)
        return call

    def _refusal(self) -> MistralwireError | None:
        if not self._is_closed:
            return None
        message = "the service in this process has stopped"
        return MistralwireError(message, code="UNAVAILABLE", reason=Reason.SERVER_STOPPING)

    async def _why_not_serving(self) -> MistralwireError | None:
        refusal = self._refusal()
        if refusal is None and (cause := await self._upstream.why_not()):
            message = f"no upstream answers: {cause}"
            return MistralwireError(message, code="UNAVAILABLE", reason=Reason.UPSTREAM_UNREACHABLE)
        return refusal

    def unary_unary(self, method: str) -> Callable[..., Any]:
        """Give what calls a method that has one answer.

        Args:
            method: Its path, such as `/mistralwire.v1.ChatCompletionService/ChatCompletion`.

        Returns:
            A function of the request's bytes, `timeout` in seconds and `metadata`, which gives a call: to
            await for the answer's bytes, and to cancel.

        Raises:
            KeyError: If there is no such method.
        """
        if method == f"/{HEALTH_NAME}/Check":
            return lambda *_, **__: _Health(self._why_not_serving())
        return self._caller(_UnaryCall, method)

    def unary_stream(self, method: str) -> Callable[..., Any]:
        """Give what calls a method that is answered by a stream.

        Args:
            method: Its path.

        Returns:
            As for `unary_unary`; its call is to be iterated over for the bytes of the messages.

        Raises:
            KeyError: If there is no such method.
        """
        return self._caller(_StreamCall, method)

    def _caller(self, kind: Callable[[Callable[[Sink], Source]], Any], path: str) -> Callable[..., Any]:
        request_type = METHODS[path.removeprefix(f"/{SERVICE_NAME}/")].request_type

        def make(data: bytes, *, timeout: float, metadata: Metadata) -> Any:
            return kind(
                lambda sink: self.start(
                    request_type, data, sink, timeout=timeout, metadata=metadata, is_caller_timed=True
                )
            )

        return make

    async def close(self) -> None:
        """End running calls, and take no more: they end with UNAVAILABLE.

        An upstream that takes more than some seconds to be cancelled goes on by itself.
        """
        self._is_closed = True
        self._calls.stop()
        await self._calls.wait_for_upstreams(_END_S)


class _Health:
    """The answer to a health check.

    Args:
        refusal: Finds out why there is none; None if it serves.
    """

    def __init__(self, refusal: Coroutine[Any, Any, MistralwireError | None]) -> None:
        self._refusal = refusal

    def __await__(self) -> Any:
        return self._run().__await__()

    def cancel(self) -> None:
        """Leave it: whoever awaits it is cancelled."""
        self._refusal.close()

    async def _run(self) -> bytes:
        refusal = await self._refusal
        if refusal is not None:
            raise _grpc_error(refusal)
        kinds = health_pb2.HealthCheckResponse
        answer: bytes = kinds(status=kinds.SERVING).SerializeToString()
        return answer


class _UnaryCall:
    """A call with one answer, which begins when it is awaited; a Sink.

    Args:
        start: Starts the call for a sink.
    """

    def __init__(self, start: Callable[[Sink], Source]) -> None:
        self._start = start
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def __await__(self) -> Any:
        return self._run().__await__()

    def cancel(self) -> None:
        """Leave the call."""
        self._answer.cancel()

    async def _run(self) -> bytes:
        source = self._start(self)
        try:
            return await self._answer
        finally:
            source.cancel()

    def answer(self, wire: bytes) -> None:
        """Take the answer."""
        if not self._answer.done():
            self._answer.set_result(wire)

    def failed(self, error: MistralwireError) -> None:
        """Take the error."""
        if not self._answer.done():
            self._answer.set_exception(_grpc_error(error))

    def headers(self, headers: Mapping[str, str]) -> None:
        """Leave them: who awaits the answer does not ask for metadata."""

    def batch(self, wire: bytes, count: int) -> None:
        """Leave it: there are no chunks."""

    def end(self) -> None:
        """Leave it: there is no stream."""


class _StreamCall:
    """A call that is answered by a stream; a Sink.

    Args:
        start: Starts the call for a sink.
    """

    def __init__(self, start: Callable[[Sink], Source]) -> None:
        self._queue = WireQueue()
        self._queue.attach(start(self))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        wire = await self._queue.take()
        if wire is None:
            raise StopAsyncIteration
        return wire

    def cancel(self) -> None:
        """Leave the call."""
        self._queue.cancel()

    def headers(self, headers: Mapping[str, str]) -> None:
        """Leave them: who iterates does not ask for metadata."""

    def batch(self, wire: bytes, count: int) -> None:  # noqa: ARG002 - the protocol
        """Let a message wait for whoever iterates."""
        self._queue.put(wire)

    def end(self) -> None:
        """Let the iteration end."""
        self._queue.end()

    def failed(self, error: MistralwireError) -> None:
        """Let the iteration end with an error."""
        self._queue.end(_grpc_error(error))

    def answer(self, wire: bytes) -> None:
        """Leave it: there is no answer in one piece."""


def _grpc_error(error: MistralwireError) -> BaseException:
    """Give what grpc would raise for the status of a call."""
    code, details, trailing = failure_of(error)
    raised: BaseException = grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details
    )
    return raised
