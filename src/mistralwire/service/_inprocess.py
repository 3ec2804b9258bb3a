"""The service in the process of its client: the same calls without a socket."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME

from mistralwire._metadata import RESPONSE_ID, Metadata
from mistralwire._methods import (
    METHODS,
    METHODS_BY_REQUEST,
    RELAY_METHODS,
    RELAY_SERVICE_NAME,
    SERVICE_NAME,
    Method,
)
from mistralwire._response_stream import CallSource, EventWriter, Sink, Source, WireQueue, with_sequence
from mistralwire.errors import CallError, MistralwireError, Reason
from mistralwire.service._admission import Calls
from mistralwire.service._call import Call
from mistralwire.service._config import ServerConfig
from mistralwire.service._observers import CallObserver, with_telemetry
from mistralwire.service._relay import Relay, owner_of
from mistralwire.service._relay_calls import RelayCalls
from mistralwire.service._status import call_status
from mistralwire.upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

# Seconds for which the result of a probe is used, if the upstream answered, and if it did not.
_PROBE_GOOD_S, _PROBE_BAD_S = 30.0, 2.0
_IN_PROCESS = "in-process"
# Seconds to wait for the upstreams when the channel is closed.
_CANCEL_S = 3.0
# Bytes of a stream of the relay that nobody has taken.
_BUFFER_BYTES_MAX = 256 * 1024


class LocalChannel:
    """Calls the service in the same process, without a socket; for `Client.on`.

    Messages, statuses, limits and observers are those of a service over the network. It has nothing that
    belongs to connections: ports, TLS, bearer tokens, retries, compression.

    Args:
        upstream: The source of completions.
        config: The limits of calls, of the upstream and of streams; its settings of connections are ignored.
        observers: Observers of the calls. If OpenTelemetry is set up by now, calls are reported there too.
        relay: Stores the responses; open it before the first call, and close it after `close`. None to
            store nothing.

    Attributes:
        contract_revision: The newest: both ends have the same contract, so nothing is rewritten.
    """

    contract_revision = CONTRACT_REVISION

    def __init__(
        self,
        upstream: Upstream,
        config: ServerConfig | None = None,
        observers: Sequence[CallObserver] = (),
        *,
        relay: Relay | None = None,
    ) -> None:
        self._probe = _UpstreamProbe(getattr(upstream, "probe", None))
        self._calls = Calls(
            upstream, config or ServerConfig(), with_telemetry(observers), CONTRACT_REVISION, relay
        )
        self._relay_calls = RelayCalls(relay, config or ServerConfig(), with_telemetry(observers))
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
    ) -> CallSource:
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
            owner="" if self._calls.relay is None else owner_of(metadata),
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

    def stream_stream(self, method: str) -> Callable[..., Any]:
        """Return the callable of a method that streams in both directions; its requests are iterated over."""
        relay_method = RELAY_METHODS[method.removeprefix(f"/{RELAY_SERVICE_NAME}/")]

        def make(requests: AsyncIterable[bytes], *, timeout: float, metadata: Metadata) -> _LocalRelayCall:
            return _LocalRelayCall(self._relay_calls, relay_method, aiter(requests), timeout, metadata)

        return make

    def unary_stream(self, method: str) -> Callable[..., Any]:
        """Return the callable of a server-streaming method, whose call yields the bytes of the messages."""
        if method.startswith(f"/{RELAY_SERVICE_NAME}/"):
            make_stream = self.stream_stream(method)
            return lambda data, **options: make_stream(_once(data), **options)
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
        self._relay_calls.stop()
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
        # Position of the next chunk in a stored response, 0 if it is not stored; and the chunks in the queue.
        self._sequence = self._count = 0
        self._headers: Mapping[str, str] = {}
        self._queue.attach(start(self))

    def __await__(self) -> Generator[Any, Any, bytes | None]:
        return self._queue.take().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        wire = await self._queue.take()
        if wire is None:
            raise StopAsyncIteration
        if self._sequence:
            wire = with_sequence(wire, self._sequence)
            self._sequence += self._count
            self._count = 0
        return wire

    def cancel(self) -> None:
        self._queue.cancel()

    def headers(self, headers: Mapping[str, str]) -> None:
        """Learn what the initial metadata have, and whether the chunks are counted."""
        self._headers = headers
        self._sequence = int(RESPONSE_ID in headers)

    async def initial_metadata(self) -> Metadata:
        """Return the metadata that come with the first message."""
        return tuple(self._headers.items())

    def batch(self, wire: bytes, count: int) -> None:
        self._count += count
        self._queue.put(wire)

    def answer(self, wire: bytes) -> None:
        self._queue.put(wire)
        self._queue.end()

    def end(self) -> None:
        self._queue.end()

    def failed(self, error: MistralwireError) -> None:
        self._queue.end(_grpc_error(error))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


class _LocalRelayCall:
    """A call of ResponseRelayService, in a task: it is awaited for its response, or iterated over.

    It is the MessageStream of the service: messages that are not taken are buffered, up to a limit.

    Attributes:
        buffered_bytes: Their bytes.
    """

    def __init__(
        self,
        calls: RelayCalls,
        method: Method,
        requests: AsyncIterator[bytes],
        timeout_s: float,
        metadata: Metadata,
    ) -> None:
        self._calls = calls
        self._method = method
        self._requests = requests
        self._timeout_s = timeout_s
        self._metadata = metadata
        self._messages: deque[bytes] = deque()
        self.buffered_bytes = 0
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def _run(self) -> bytes:
        call = self._calls.begin(self._method, self._metadata, _IN_PROCESS)
        try:
            self._calls.check()
            async with asyncio.timeout(self._timeout_s) as timeout:
                first = await self.read()
                return await self._calls.run(call, owner_of(self._metadata), self, first)
        except (Exception, asyncio.CancelledError) as raised:
            if isinstance(raised, TimeoutError) and timeout.expired():
                raised = CallError("Deadline Exceeded", code="DEADLINE_EXCEEDED")
            error = call.ended_by(raised, "CANCELLED")
            if error is None:
                raise
            raise _grpc_error(error) from None
        finally:
            self._calls.end(call)

    def _ended(self, task: asyncio.Task[bytes]) -> None:
        if not task.cancelled():
            # Retrieved, even if nobody waits for it.
            task.exception()
        self._changed.set()

    async def read(self) -> bytes | None:
        return await anext(self._requests, None)

    async def write(self, wire: bytes) -> None:
        self._messages.append(wire)
        self.buffered_bytes += len(wire)
        self._changed.set()
        while self.buffered_bytes >= _BUFFER_BYTES_MAX:
            self._has_room.clear()
            await self._has_room.wait()

    def __await__(self) -> Generator[Any, Any, bytes]:
        return self._task.__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._messages:
            if self._task.done():
                self._task.result()
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        wire = self._messages.popleft()
        self.buffered_bytes -= len(wire)
        self._has_room.set()
        return wire

    def cancel(self) -> None:
        self._task.cancel()


def _grpc_error(error: BaseException) -> BaseException:
    """Return the exception that grpc would raise for the status of a call."""
    code, details, trailing = call_status(error)
    raised: BaseException = grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details
    )
    return raised
