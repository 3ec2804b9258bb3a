"""The service in the process of its caller: the same calls, without a socket between."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Self, cast

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME

from mistralwire.service._config import ServerConfig
from mistralwire.service._record import CallObserver
from mistralwire.service._servicer import SERVICE_NAME, ChatCompletionServicer
from mistralwire.service._telemetry import with_telemetry
from mistralwire.upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

_PEER = "in-process"
# So many bytes wait for a caller before a write waits too. What waits is taken in one piece.
_WAITING_BYTES_MAX = 256 * 1024
# How long the end of the streams is waited for when the channel is closed.
_END_S = 3.0

_DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED

Metadata = Sequence[tuple[str, str | bytes]]


class LocalChannel:
    """Calls the service in its own process, without a socket; `Client.on` takes it.

    Messages, statuses, limits and observers are those of a service over the network. What belongs to
    connections is not there: ports, TLS, bearer tokens, retries, compression. An upstream that takes its time
    to be cancelled keeps its caller waiting.

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
        self._servicer = ChatCompletionServicer(upstream, config, with_telemetry(observers), is_local=True)
        self._handlers = self._servicer.handlers()
        self._streams: set[asyncio.Task[None]] = set()
        self._is_closed = False

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
        is_check = method == f"/{HEALTH_NAME}/Check"
        behavior = self._check if is_check else self._handler(method).stream_unary
        return lambda data, *, timeout, metadata: _UnaryCall(
            _refuse if self._is_closed else behavior, _Context(data, timeout, metadata)
        )

    def unary_stream(self, method: str) -> Callable[..., Any]:
        """Give what calls a method that is answered by a stream.

        Args:
            method: Its path.

        Returns:
            As for `unary_unary`; its call is to be iterated over for the bytes of the messages.

        Raises:
            KeyError: If there is no such method.
        """
        behavior = self._handler(method).stream_stream

        def start(data: bytes, *, timeout: float, metadata: Metadata) -> _StreamCall:
            context = _Context(data, timeout, metadata)
            call = _StreamCall(_refuse_stream if self._is_closed else behavior, context)
            self._streams.add(call.task)
            call.task.add_done_callback(self._streams.discard)
            return call

        return start

    async def close(self) -> None:
        """End running calls, and take no more: they end with UNAVAILABLE.

        An upstream that takes more than some seconds to be cancelled goes on by itself.
        """
        self._is_closed = True
        self._servicer.stop_calls()
        if self._streams:
            await asyncio.wait(self._streams, timeout=_END_S)

    def _handler(self, method: str) -> grpc.RpcMethodHandler:
        return self._handlers[method.removeprefix(f"/{SERVICE_NAME}/")]

    async def _check(self, _: object, __: object) -> bytes:
        kinds = health_pb2.HealthCheckResponse
        answer: bytes = kinds(status=kinds.SERVING).SerializeToString()
        return answer


async def _refuse(_: object, context: "_Context") -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the service in this process has stopped")


async def _refuse_stream(_: object, context: "_Context") -> AsyncIterator[bytes]:
    await _refuse(_, context)
    yield b""


def _error(code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> BaseException:
    error: BaseException = grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details
    )
    return error


class _Context:
    """What the servicer is told of a call, and tells of it: the part of grpc.aio.ServicerContext it uses."""

    def __init__(self, request: bytes, timeout_s: float, metadata: Metadata) -> None:
        self.timeout_s = timeout_s
        self.error: BaseException | None = None
        self.write: Callable[[bytes], Coroutine[Any, Any, None]] | None = None
        self._request: Any = request
        self._metadata = metadata
        self._deadline_s = time.monotonic() + timeout_s

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def peer(self) -> str:
        return _PEER

    def time_remaining(self) -> float:
        return max(0.0, self._deadline_s - time.monotonic())

    def set_trailing_metadata(self, trailing: Metadata) -> None:
        """Leave it: the id of the request is the caller's own."""

    def set_compression(self, _: grpc.Compression) -> None:
        """Leave it: nothing travels."""

    async def send_initial_metadata(self, _: Metadata) -> None:
        """Leave it: nobody reads it."""

    async def read(self) -> Any:
        request, self._request = self._request, grpc.aio.EOF
        return request

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Metadata = ()) -> None:
        self.error = _error(code, details, trailing)
        raise grpc.aio.AbortError

    def failed(self, error: BaseException) -> BaseException:
        """Give what an error is to the caller."""
        if self.error is not None:
            return self.error
        return _error(_DEADLINE, "Deadline Exceeded") if isinstance(error, TimeoutError) else error


class _UnaryCall:
    """A call with one answer. It runs in the task that awaits it."""

    def __init__(self, behavior: Callable[..., Any], context: _Context) -> None:
        self._behavior = behavior
        self._context = context
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    def __await__(self) -> Any:
        return self._run().__await__()

    def cancel(self) -> None:
        if self._task is not None:
            self._is_cancelled = True
            self._task.cancel()

    async def _run(self) -> bytes:
        self._task = task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            async with asyncio.timeout(self._context.timeout_s):
                answer: bytes = await self._behavior(None, self._context)
                return answer
        except (grpc.aio.AbortError, TimeoutError) as error:
            raise self._context.failed(error) from None
        finally:
            self._task = None
            if self._is_cancelled:
                # The call was cancelled, and not the task that waits for it.
                task.uncancel()


class _StreamCall:
    """A call that is answered by a stream.

    All messages that wait are taken as one: their bytes in a row are a message with the chunks of all.
    """

    def __init__(self, behavior: Callable[..., Any], context: _Context) -> None:
        self._behavior = behavior
        self._context = context
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._has_changed = asyncio.Event()
        self._has_room = asyncio.Event()
        context.write = self._write
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._ended)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self.task.done():
                error = self.task.exception()
                if error is None:
                    raise StopAsyncIteration
                raise self._context.failed(error) from None
            self._has_changed.clear()
            await self._has_changed.wait()
        messages, self._waiting = self._waiting, []
        self._waiting_bytes = 0
        self._has_room.set()
        return messages[0] if len(messages) == 1 else b"".join(messages)

    def cancel(self) -> None:
        self.task.cancel()

    async def _run(self) -> None:
        async with asyncio.timeout(self._context.timeout_s):
            async for _ in self._behavior(None, self._context):
                raise AssertionError("the servicer writes its messages by itself")

    async def _write(self, message: bytes) -> None:
        while self._waiting_bytes >= _WAITING_BYTES_MAX:
            self._has_room.clear()
            await self._has_room.wait()
        self._waiting.append(message)
        self._waiting_bytes += len(message)
        self._has_changed.set()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._has_changed.set()
        if not task.cancelled():
            # Nobody may be left to take it.
            task.exception()
