"""The servicer of mistralwire.v1.ChatCompletionService."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Never, cast

import grpc

from mistralwire import _offload
from mistralwire._metadata import AUTHORIZATION, CONTRACT_REVISION_NAME, REQUEST_ID
from mistralwire.errors import DecodeError, MistralwireError, Violation
from mistralwire.service._call import Call, Calls
from mistralwire.service._compression import send_initial_metadata, wants_gzip
from mistralwire.service._config import ServerConfig
from mistralwire.service._drain import Drain
from mistralwire.service._eager import EagerCall
from mistralwire.service._methods import METHODS, SERVICE_NAME, Method
from mistralwire.service._receive import receive
from mistralwire.service._record import CallObserver
from mistralwire.service._status import refuse
from mistralwire.upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

# Beyond that, a deadline is none: a hundred years.
_DEADLINE_S_MAX = 100 * 366 * 86_400.0
# The caller's clock ends a call before ours does. So close to the deadline it was the deadline.
_LATE_S = 0.1

_OWN_REVISION = (CONTRACT_REVISION_NAME, str(CONTRACT_REVISION))


class _NoRequestError(DecodeError):
    """The call has ended without a request."""


class ChatCompletionServicer:
    """Answers the methods of ChatCompletionService from an upstream.

    A request that breaks the contract ends with INVALID_ARGUMENT before the upstream hears of it, unless the
    upstream judges requests itself. A call that is cancelled, or that runs out of time, cancels the upstream.
    A stream that breaks delivers the chunks before the break, then the status. Each call has an id, the
    caller's `x-request-id` or a new one, which goes out in the trailing metadata.

    Args:
        upstream: Where the completions come from.
        config: Its limits: those of calls, of the upstream and of streams.
        observers: Who watches the calls.
    """

    def __init__(
        self,
        upstream: Upstream,
        config: ServerConfig | None = None,
        observers: Sequence[CallObserver] = (),
    ) -> None:
        config = config or ServerConfig()
        self._calls = Calls(upstream, config, observers, config.contract_revision)
        self._drain = Drain()
        self._request_s = config.request_s
        self._has_tokens = config.token_file is not None

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Give the handlers of its methods, by their names.

        They take and give wire bytes: the generated registration would decode a broken request out of our
        hands, and encode each chunk of a stream once more. They read the one request themselves, as if there
        could be more, because grpc would wait for it without end.
        """
        return {
            name: grpc.stream_stream_rpc_method_handler(functools.partial(self._stream, method))
            if method.is_stream
            else grpc.stream_unary_rpc_method_handler(functools.partial(self._complete, method))
            for name, method in METHODS.items()
        }

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service with a server that was not started yet.

        Args:
            server: The server.
        """
        handlers = grpc.method_handlers_generic_handler(SERVICE_NAME, self.handlers())
        server.add_generic_rpc_handlers((handlers,))

    def stop_calls(self) -> None:
        """End all running calls, with UNAVAILABLE and the reason SERVER_STOPPING, and their upstreams."""
        self._calls.stop()

    def hold_calls(self) -> Drain:
        """Let calls neither begin nor end from now on; return what releases them."""
        self._drain.hold()
        return self._drain

    async def wait_for_upstreams(self, limit_s: float) -> None:
        """Wait until the upstreams of ended calls have ended, too.

        Args:
            limit_s: How long to wait, in seconds.
        """
        await self._calls.wait_for_upstreams(limit_s)

    async def refuse(self, method: str, context: grpc.aio.ServicerContext, error: MistralwireError) -> None:
        """End a call with an error before its request is read; the observers hear of its end.

        Args:
            method: Name of the method, without the service.
            context: The call.
            error: The error.
        """
        await _refuse(self._begin(METHODS[method], context), context, error)

    async def _complete(self, method: Method, _: object, context: grpc.aio.ServicerContext) -> bytes:
        return await self._answer(method, context)

    async def _stream(
        self, method: Method, _: object, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """Answer with a stream, as a generator that gives nothing: the messages are written by themselves.

        Interceptors of other packages, OpenTelemetry's for one, iterate over the answer to a stream. Giving
        the messages here would not do: a cancelled generator is closed later, and in another task.
        """
        await self._answer(method, context)
        return
        yield b""

    def _begin(self, method: Method, context: grpc.aio.ServicerContext) -> Call:
        sink = _GrpcSink(context)
        metadata = tuple(context.invocation_metadata() or ())
        tokens = [str(value) for name, value in metadata if self._has_tokens and name == AUTHORIZATION]
        # `ipv4:127.0.0.1:50051`: each connection of a caller has a port of its own.
        _offload.set_caller(context.peer().rpartition(":")[0], *tokens[:1])
        remaining_s: float | None = context.time_remaining()
        # grpc says that there is no deadline by a time that is far beyond.
        is_limited = remaining_s is not None and remaining_s <= _DEADLINE_S_MAX
        sink.call = call = Call(
            self._calls,
            method,
            sink,
            metadata=metadata,
            peer=context.peer(),
            deadline_s=time.monotonic() + (remaining_s or 0.0) if is_limited else None,
        )
        context.set_trailing_metadata(((REQUEST_ID, call.record.request_id), _OWN_REVISION))
        return call

    async def _answer(self, method: Method, context: grpc.aio.ServicerContext) -> bytes:
        """Answer a call; return the wire bytes of an answer in one piece."""
        call = self._begin(method, context)
        sink = cast("_GrpcSink", call.sink)
        try:
            sink.is_reading = True
            data = await self._receive(call, method, context)
            sink.is_reading = False
            call.start(data)
            await sink.done
        except asyncio.CancelledError:
            if sink.error is None:
                call.cancel(_code_of_cancelled(context))
                raise
            # The service stops while the request is being read.
            sink.task.uncancel()
        except Exception as error:  # noqa: BLE001 - it ends the call with a status
            sink.is_reading = False
            if self._drain.is_holding:
                await self._drain.wait()
            await _refuse(call, context, error)
        finally:
            sink.close()
        if sink.is_lost:
            raise asyncio.CancelledError
        if self._drain.is_holding:
            await self._drain.wait()
        if sink.error is not None:
            await refuse(context, sink.error, call.record.request_id)
        if not method.is_stream:
            await send_initial_metadata(context, call.record.metadata)
        return sink.wire

    async def _receive(self, call: Call, method: Method, context: grpc.aio.ServicerContext) -> bytes:
        """Receive the request of a call."""
        if self._drain.is_holding:
            raise await self._drain.refusal()
        calls = self._calls
        if overload := calls.overload():
            raise overload
        calls.arriving.begin(call, call.abort, call.record.peer)
        try:
            data = await receive(context, self._request_s)
        finally:
            calls.arriving.end(call)
        if overload := calls.overload():
            raise overload
        if data is None:
            name = method.request_type.DESCRIPTOR.name
            raise _NoRequestError([Violation("", f"a {name}", "the end of the call")], type_name=name)
        return data


class _GrpcSink:
    """Takes the answer of a call for grpc; each message is written from where it came.

    Args:
        context: The call.

    Attributes:
        call: The call.
        task: The task of the call.
        done: Done when the answer is complete, failed, or can't be told.
        wire: The answer in one piece.
        error: What ended the call.
        is_lost: Whether the caller has gone.
        is_reading: Whether the request is being read.
    """

    call: Call

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wire = b""
        self.error: MistralwireError | None = None
        self.is_lost = self.is_reading = False
        self._context = context
        self._writing: EagerCall | None = None
        # Of the upstream's answer, for the caller.
        self._headers: tuple[tuple[str, str], ...] = ()
        # Whether something is to be sent before the first message; None until that comes.
        self._has_preface: bool | None = None

    def headers(self, headers: Mapping[str, str]) -> None:
        """Let them go out before the messages of a stream, and in the trailing metadata of any call."""
        self._headers = tuple(headers.items())
        self._context.set_trailing_metadata(
            ((REQUEST_ID, self.call.record.request_id), _OWN_REVISION, *self._headers)
        )

    def batch(self, wire: bytes, count: int) -> None:  # noqa: ARG002 - the protocol
        """Write a message; the call waits until grpc has taken it."""
        if self._has_preface is None:
            self._has_preface = bool(self._headers) or wants_gzip(self.call.record.metadata)
        write = self._write_first(wire) if self._has_preface else self._context.write(wire)
        self._writing = EagerCall(write, self._written)
        try:
            if not self._writing.start():
                self.call.pause()
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - grpc fails to write to who is gone
            self._lose()

    async def _write_first(self, wire: bytes) -> None:
        self._has_preface = False
        await send_initial_metadata(self._context, self.call.record.metadata, self._headers)
        await self._context.write(wire)

    def answer(self, wire: bytes) -> None:
        """Take the answer."""
        self.wire = wire
        self._end()

    def end(self) -> None:
        """Let the call end."""
        self._end()

    def failed(self, error: MistralwireError) -> None:
        """Let the call end with an error."""
        self.error = error
        if self.done.done():
            return
        if self.is_reading:
            # What reads the request does not wait for the answer yet.
            self.task.cancel()
        self._end()

    def close(self) -> None:
        """Write no more."""
        if self._writing is not None:
            self._writing.cancel()

    def _written(self, error: BaseException | None) -> None:
        """Go on after a write that took its time."""
        if error is None:
            self.call.resume()
        else:
            self._lose()

    def _lose(self) -> None:
        self.is_lost = True
        self.call.cancel(_code_of_cancelled(self._context))
        self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _refuse(call: Call, context: grpc.aio.ServicerContext, error: Exception) -> Never:
    """End a call with the status of an error, before its answer has begun."""
    is_doubtful = isinstance(error, _NoRequestError | grpc.aio.InternalError)
    if not is_doubtful:
        # Before the status goes out: what happens then, the end of the server for one, is not the call's end.
        call.abort(error)
    try:
        await refuse(context, error, call.record.request_id)
    except asyncio.CancelledError:
        if is_doubtful:
            # A caller who is gone looks like one who sends no request, and grpc fails to write to them.
            call.cancel(_code_of_cancelled(context))
        raise
    finally:
        call.abort(error)


def _code_of_cancelled(context: grpc.aio.ServicerContext) -> str:
    """Say why a call was cancelled: by its deadline, or by its caller."""
    remaining_s: float | None = context.time_remaining()
    return "DEADLINE_EXCEEDED" if remaining_s is not None and remaining_s < _LATE_S else "CANCELLED"
