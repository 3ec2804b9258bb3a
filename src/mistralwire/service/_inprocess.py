"""The service in the process of its client: the same calls without a socket."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME

from mistralwire._metadata import Metadata
from mistralwire._methods import METHODS, METHODS_BY_REQUEST, SERVICE_NAME
from mistralwire._response_stream import EventWriter, Sink, Source, WireQueue
from mistralwire.errors import MistralwireError, Reason
from mistralwire.service._admission import Calls
from mistralwire.service._call import Call
from mistralwire.service._config import ServerConfig
from mistralwire.service._observers import CallObserver, with_telemetry
from mistralwire.service._status import call_status
from mistralwire.upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

# Seconds for which the result of a probe is used, if the upstream answered, and if it did not.
_PROBE_GOOD_S, _PROBE_BAD_S = 30.0, 2.0
_IN_PROCESS = "in-process"
# Seconds to wait for the upstreams when the channel is closed.
_CANCEL_S = 3.0


class LocalChannel:
    """Calls the service in the same process, without a socket; for `Client.on`.

    Messages, statuses, limits and observers are those of a service over the network. It has nothing that
    belongs to connections: ports, TLS, bearer tokens, retries, compression.

    Args:
        upstream: The source of completions.
        config: The limits of calls, of the upstream and of streams; its settings of connections are ignored.
        observers: Observers of the calls. If OpenTelemetry is set up by now, calls are reported there too.

    Attributes:
        contract_revision: The newest: both ends have the same contract, so nothing is rewritten.
    """

    contract_revision = CONTRACT_REVISION

    def __init__(
        self, upstream: Upstream, config: ServerConfig | None = None, observers: Sequence[CallObserver] = ()
    ) -> None:
        self._probe = _UpstreamProbe(getattr(upstream, "probe", None))
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
        """Start a call whose response goes to a sink, perhaps before this function returns its source.

        The arguments are those of `Client.start`, with the timeout in seconds. With `is_caller_timed`,
        `caller_idle_s` bounds how long the sink may be paused.
        """
        call = Call(
            self._calls,
            METHODS_BY_REQUEST[request_type],
            sink,
            metadata=metadata,
            peer=_IN_PROCESS,
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

    async def _check_health(self) -> bytes:
        refusal = self._refusal()
        if refusal is None and (cause := await self._probe.why_not()):
            message = f"no upstream answers: {cause}"
            refusal = MistralwireError(message, code="UNAVAILABLE", reason=Reason.UPSTREAM_UNREACHABLE)
        if refusal is not None:
            raise _grpc_error(refusal)
        response = health_pb2.HealthCheckResponse
        wire: bytes = response(status=response.SERVING).SerializeToString()
        return wire

    def unary_unary(self, method: str) -> Callable[..., Any]:
        """Return the callable of a unary method by its path, as grpc.aio.Channel does.

        It takes the request's bytes, `timeout` in seconds and `metadata`; the call that it returns can be
        awaited for the response's bytes, and cancelled. Raises KeyError if the method does not exist.
        """
        if method == f"/{HEALTH_NAME}/Check":
            return lambda *_, **__: asyncio.ensure_future(self._check_health())
        return self.unary_stream(method)

    def unary_stream(self, method: str) -> Callable[..., Any]:
        """Return the callable of a server-streaming method, whose call yields the bytes of the messages."""
        request_type = METHODS[method.removeprefix(f"/{SERVICE_NAME}/")].request_type

        def make(data: bytes, *, timeout: float, metadata: Metadata) -> _LocalCall:
            return _LocalCall(
                lambda sink: self.start(
                    request_type, data, sink, timeout=timeout, metadata=metadata, is_caller_timed=True
                )
            )

        return make

    async def close(self) -> None:
        """End running calls, and those that follow, with UNAVAILABLE.

        An upstream that takes more than a few seconds to be cancelled is not waited for.
        """
        self._is_closed = True
        self._calls.stop()
        await self._calls.wait_for_upstreams(_CANCEL_S)


class _UpstreamProbe:
    """Probes an upstream at most once in a while; one without a `probe` counts as reachable."""

    def __init__(self, ask: Callable[[], Awaitable[str | None]] | None) -> None:
        self._ask = ask
        self._cause: str | None = None
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def why_not(self) -> str | None:
        if self._ask is None:
            return None
        async with self._lock:
            if time.monotonic() >= self._until_s:
                self._cause = await self._ask()
                self._until_s = time.monotonic() + (_PROBE_GOOD_S if self._cause is None else _PROBE_BAD_S)
            return self._cause


class _LocalCall:
    """A Sink that is awaited for its unary response, or iterated over for the messages of its stream."""

    def __init__(self, start: Callable[[Sink], Source]) -> None:
        self._queue = WireQueue()
        self._queue.attach(start(self))

    def __await__(self) -> Generator[Any, Any, bytes | None]:
        return self._queue.take().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        wire = await self._queue.take()
        if wire is None:
            raise StopAsyncIteration
        return wire

    def cancel(self) -> None:
        self._queue.cancel()

    def headers(self, headers: Mapping[str, str]) -> None:
        """Ignore them: the client does not ask for the metadata of a call in this process."""

    def batch(self, wire: bytes, count: int) -> None:  # noqa: ARG002 - the protocol
        self._queue.put(wire)

    def answer(self, wire: bytes) -> None:
        self._queue.put(wire)
        self._queue.end()

    def end(self) -> None:
        self._queue.end()

    def failed(self, error: MistralwireError) -> None:
        self._queue.end(_grpc_error(error))


def _grpc_error(error: MistralwireError) -> BaseException:
    """Return the exception that grpc would raise for the status of a call."""
    code, details, trailing = call_status(error)
    raised: BaseException = grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details
    )
    return raised
