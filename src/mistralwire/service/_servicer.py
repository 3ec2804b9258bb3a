"""The servicer of mistralwire.v1.ChatCompletionService."""

import asyncio
import contextlib
import functools
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Never, cast

import grpc
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mistralwire import _offload, codec
from mistralwire._metadata import CONTRACT_REVISION_NAME, REQUEST_ID
from mistralwire.codec import DEFAULT_LIMITS, Limits
from mistralwire.errors import (
    DecodeError,
    MistralwireError,
    OverloadError,
    Reason,
    Violation,
)
from mistralwire.service._answers import Answers
from mistralwire.service._coalesce import CoalescedStream, StreamLimits, of_upstream, silent_error
from mistralwire.service._compression import compress_answers, wants_gzip
from mistralwire.service._config import ServerConfig
from mistralwire.service._receive import receive
from mistralwire.service._record import CallObserver, CallRecord
from mistralwire.service._refusal import refuse
from mistralwire.service._slots import UpstreamSlots
from mistralwire.service._status import failure_of, request_id_of
from mistralwire.service._watch import Watch
from mistralwire.upstream import CallContext, Upstream
from mistralwire.v1 import CONTRACT_REVISION, chat_completion_service_pb2

_SERVICE = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"]

SERVICE_NAME: str = _SERVICE.full_name
"""Full name of the service, for health checks and reflection."""

METHODS = frozenset(_SERVICE.methods_by_name)
"""Names of its methods, such as `ChatCompletionStream`."""

VALUES_MAX = 100_000
"""Messages and elements in one request, and JSON values in its JSON form."""

_LIMITS = Limits(values_max=VALUES_MAX)
_SINGLE = (Message, str, bytes, int, float)

# Beyond that, a deadline is none: a hundred years.
_DEADLINE_S_MAX = 100 * 366 * 86_400.0
# The caller's clock ends a call before ours does. So close to the deadline it was the deadline.
_LATE_S = 0.1

_OWN_REVISION = (CONTRACT_REVISION_NAME, str(CONTRACT_REVISION))

_logger = logging.getLogger(__name__)


class _NoRequestError(DecodeError):
    """The call has ended without a request."""


class ChatCompletionServicer:
    """Answers the methods of ChatCompletionService from an upstream.

    A request that breaks the contract ends with INVALID_ARGUMENT before the upstream hears of it. A call that
    is cancelled, or that runs out of time, cancels the upstream. A stream that breaks delivers the chunks
    before the break, then the status. Each call has an id, the caller's `x-request-id` or a new one, which
    goes out in the trailing metadata.

    Args:
        upstream: Where the completions come from.
        config: Its limits: those of calls, of the upstream and of streams.
        observers: Who watches the calls.
        is_local: Whether its callers are in this process, and so have this contract.
    """

    def __init__(
        self,
        upstream: Upstream,
        config: ServerConfig | None = None,
        observers: Sequence[CallObserver] = (),
        *,
        is_local: bool = False,
    ) -> None:
        config = config or ServerConfig()
        self._upstream = upstream
        self._oldest_revision = config.contract_revision
        self._answers = Answers(upstream, CONTRACT_REVISION if is_local else config.contract_revision)
        self._observers = tuple(observers)
        self._running: set[asyncio.Task[Any]] = set()
        self._stopped: set[asyncio.Task[Any]] = set()
        self._calls_max = config.calls_max
        self._request_s = config.request_s
        self._slots = UpstreamSlots(config.upstream_calls_max, config.upstream_queue_max)
        self._limits = StreamLimits(
            message_chunks_max=config.stream_message_chunks_max,
            message_bytes_max=config.stream_message_bytes_max,
            buffer_bytes_max=config.stream_buffer_bytes_max,
            upstream_idle_s=config.upstream_idle_s,
            caller_idle_s=config.caller_idle_s,
        )
        self._is_local = is_local
        self._has_tokens = config.token_file is not None

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Give the handlers of its methods, by their names.

        They take and give wire bytes: the generated registration would decode a broken request out of our
        hands, and encode each chunk of a stream once more. They read the one request themselves, as if there
        could be more, because grpc would wait for it without end.
        """
        handlers = {}
        for method in _SERVICE.methods:
            request_type = GetMessageClass(method.input_type)
            if method.server_streaming:
                stream = functools.partial(self._stream_in_form, method.name, request_type)
                handlers[method.name] = grpc.stream_stream_rpc_method_handler(stream)
            else:
                response_type = GetMessageClass(method.output_type)
                complete = functools.partial(self._complete, method.name, request_type, response_type)
                handlers[method.name] = grpc.stream_unary_rpc_method_handler(complete)
        return handlers

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service with a server that was not started yet.

        Args:
            server: The server.
        """
        handlers = grpc.method_handlers_generic_handler(SERVICE_NAME, self.handlers())
        server.add_generic_rpc_handlers((handlers,))

    def stop_calls(self) -> None:
        """End all running calls, with UNAVAILABLE and the reason SERVER_STOPPING, and their upstreams.

        Those that are being cancelled already stay cancelled.
        """
        for task in self._running - self._stopped:
            if not task.cancelling():
                self._stopped.add(task)
                task.cancel()

    async def refuse(self, method: str, context: grpc.aio.ServicerContext, error: MistralwireError) -> None:
        """End a call with an error before its request is read; the observers hear of its end.

        Args:
            method: Name of the method, without the service.
            context: The call.
            error: The error.
        """
        async with self._calling(method, context):
            raise error

    async def _complete(
        self,
        method: str,
        request_type: type[Any],
        response_type: type[Message],
        _: object,
        context: grpc.aio.ServicerContext,
    ) -> bytes:
        async with self._calling(method, context) as (call, watch):
            request = await self._start(call, watch, request_type, context)
            async with self._slots:
                try:
                    async with asyncio.timeout(self._limits.upstream_idle_s) as idle:
                        response = await self._upstream.complete(request, _context_of(call, context))
                except BaseException as error:  # noqa: BLE001 - it is raised as what it is for the call
                    # Whatever it makes of being cancelled.
                    if idle.expired():
                        raise silent_error(self._limits.upstream_idle_s) from None
                    raise of_upstream(error) from None
            if type(response) is not response_type:
                raise TypeError(f"expected a {response_type.__name__}, not a {type(response).__name__}")
            call.response = response
            await compress_answers(context, call.metadata)
            wire = response.SerializeToString()
            return await _offload.convert(wire, self._prepared, response) if self._answers.is_needed else wire
        raise AssertionError("a call that failed does not come here")

    async def _stream_in_form(
        self, method: str, request_type: type[Any], _: object, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """Answer with a stream, as a generator that gives nothing: the messages are written by themselves.

        Interceptors of other packages, OpenTelemetry's for one, iterate over the answer to a stream. Giving
        the messages here would not do: a cancelled generator is closed later, and in another task.
        """
        await self._stream(method, request_type, context)
        return
        yield b""

    async def _stream(self, method: str, request_type: type[Any], context: grpc.aio.ServicerContext) -> None:
        async with self._calling(method, context) as (call, watch):
            request = await self._start(call, watch, request_type, context)
            chunks = self._upstream.stream(request, _context_of(call, context))
            on_chunk = watch.chunk if self._observers else None
            prepare = self._answers.prepare if self._answers.is_needed else None
            write = self._writer(call, context)
            stream = CoalescedStream(
                chunks, write, self._limits, self._slots, on_chunk=on_chunk, prepare=prepare
            )
            try:
                await stream.run()
            finally:
                call.chunks, call.first_chunk_s = stream.count, stream.first_s

    def _writer(
        self, call: CallRecord, context: grpc.aio.ServicerContext
    ) -> Callable[[bytes], Coroutine[Any, Any, None]]:
        """Give what writes a message."""
        if not wants_gzip(call.metadata):
            write: Callable[[bytes], Coroutine[Any, Any, None]] = context.write
            return write
        is_first = True

        async def write_compressed(message: bytes) -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                await compress_answers(context, call.metadata)
            await context.write(message)

        return write_compressed

    def _prepared(self, response: Message) -> bytes:
        return self._answers.prepare(response).SerializeToString()

    @contextlib.asynccontextmanager
    async def _calling(
        self, method: str, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[tuple[CallRecord, Watch]]:
        """Keep the record of a call; what it raises becomes its status."""
        metadata = tuple(context.invocation_metadata() or ())
        call = CallRecord(
            method=method, request_id=request_id_of(metadata), metadata=metadata, peer=context.peer()
        )
        watch = Watch(call, self._observers)
        if not self._is_local:
            self._set_caller(call)
        context.set_trailing_metadata(((REQUEST_ID, call.request_id), _OWN_REVISION))
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._running.add(task)
        try:
            yield call, watch
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it ends the call with a status
            if task in self._stopped and isinstance(error, asyncio.CancelledError):
                task.uncancel()
                message = "the server stops, and the time for running calls is over"
                error = MistralwireError(message, code="UNAVAILABLE", reason=Reason.SERVER_STOPPING)
            await _fail(call, context, error)
        except BaseException:
            # What ends the process.
            call.code = "INTERNAL"
            raise
        finally:
            self._running.discard(task)
            self._stopped.discard(task)
            call.ended_s = time.perf_counter()
            watch.ended()

    def _set_caller(self, call: CallRecord) -> None:
        tokens = [str(value) for name, value in call.metadata if self._has_tokens and name == "authorization"]
        # `ipv4:127.0.0.1:50051`: each connection of a caller has a port of its own.
        _offload.set_caller(call.peer.rpartition(":")[0], *tokens[:1])

    async def _start(
        self, call: CallRecord, watch: Watch, request_type: type[Any], context: grpc.aio.ServicerContext
    ) -> Any:
        """Read the request and tell the observers."""
        if len(self._running) > self._calls_max:
            raise OverloadError(
                f"the service has {self._calls_max} calls, as many as it takes; try again later",
                reason=Reason.TOO_MANY_CALLS,
            )
        data = await receive(context, self._request_s)
        if data is None:
            name = request_type.DESCRIPTOR.name
            raise _NoRequestError([Violation("", f"a {name}", "the end of the call")], type_name=name)
        call.request = await self._read(request_type, data)
        watch.started()
        return call.request

    async def _read(self, request_type: type[Message], data: bytes) -> Any:
        """Read a request; a large one in a thread, so that all other calls go on.

        A call that is cancelled stops waiting. A check that has begun then comes to its own end, which the
        codec's limits bound; one that has not never begins.
        """
        # It is checked through its JSON form, which the Python engine makes in any case.
        limit = _offload.PYTHON_WEIGHT_MAX
        revision = self._oldest_revision
        return await _offload.convert(data, read_request, request_type, data, revision, weight_max=limit)


def read_request(request_type: type[Message], data: bytes, oldest_revision: int = CONTRACT_REVISION) -> Any:
    """Read a request and check that it keeps the contract.

    Args:
        request_type: Type of the request.
        data: Its wire bytes.
        oldest_revision: Revision of the oldest contract in the fleet.

    Returns:
        The request.

    Raises:
        DecodeError: If the bytes are no such message, it breaks the contract, or it has more than VALUES_MAX
            values.
        MistralwireError: If it has content of a newer contract; FAILED_PRECONDITION, CONTRACT_NEWER.
    """
    try:
        request = request_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        name = request_type.DESCRIPTOR.name
        violation = Violation("", f"the wire bytes of a {name}", f"{len(data)} bytes that are none")
        raise DecodeError([violation], type_name=name, reason=Reason.NOT_PROTOBUF) from None
    return _checked_request(request, oldest_revision)


def _checked_request(request: Message, oldest_revision: int) -> Any:
    """Check that a request keeps the contract: a gRPC caller gets the same violations as one of JSON."""
    if _has_more_than(VALUES_MAX, request):
        # Four bytes on the wire can be one: its JSON form would take a hundred times the memory.
        violation = Violation("", f"at most {VALUES_MAX} values", "more")
        name = request.DESCRIPTOR.name
        raise DecodeError([violation], type_name=name, reason=Reason.LIMIT_EXCEEDED)
    # A small one can't have so many, and needs no counting.
    limits = DEFAULT_LIMITS if request.ByteSize() < VALUES_MAX else _LIMITS
    return codec.check_request(request, limits=limits, oldest_revision=oldest_revision)


def _has_more_than(count: int, message: Message) -> bool:
    """Say whether a message has more than so many messages and elements in it, at any depth."""
    rest = [message]
    while rest:
        for field, value in rest.pop().ListFields():
            is_list = not isinstance(value, _SINGLE)
            if is_list:
                count -= len(value)
            elif field.message_type is not None:
                count -= 1
            if count < 0:
                return True
            if field.message_type is not None:
                rest.extend(value if is_list else (value,))
    return False


def _context_of(call: CallRecord, context: grpc.aio.ServicerContext) -> CallContext:
    remaining_s = _remaining_s(context)
    deadline_s = None if remaining_s is None else time.monotonic() + remaining_s
    return CallContext(request_id=call.request_id, deadline_s=deadline_s)


def _remaining_s(context: grpc.aio.ServicerContext) -> float | None:
    """Give the time until the caller's deadline, in seconds; None if there is none."""
    remaining_s: float | None = context.time_remaining()
    # grpc says none by a time that is far beyond.
    return None if remaining_s is None or remaining_s > _DEADLINE_S_MAX else remaining_s


async def _fail(call: CallRecord, context: grpc.aio.ServicerContext, error: BaseException) -> Never:
    """End a call with the status of an error, whatever it is."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        # The call itself was cancelled. An upstream that cancels itself would leave its caller waiting.
        call.code = _code_of_cancelled(context)
        raise error
    call.code, call.error = failure_of(error).code.name, error
    try:
        await refuse(context, error, call.request_id)
    except asyncio.CancelledError:
        if isinstance(error, _NoRequestError | grpc.aio.InternalError):
            # A caller who is gone looks like one who sends no request, and grpc fails to write to him.
            call.code, call.error = _code_of_cancelled(context), None
        raise
    finally:
        if call.error is not None and not isinstance(call.error, MistralwireError):
            # The stack without the error's text, which may quote the request.
            stack = "".join(traceback.format_tb(error.__traceback__))
            name = type(error).__name__
            _logger.error("call %s ended with an unexpected %s\n%s", call.request_id, name, stack)


def _code_of_cancelled(context: grpc.aio.ServicerContext) -> str:
    """Say why a call was cancelled: by its deadline, or by its caller."""
    remaining_s = _remaining_s(context)
    is_late = remaining_s is not None and remaining_s < _LATE_S
    return "DEADLINE_EXCEEDED" if is_late else "CANCELLED"
