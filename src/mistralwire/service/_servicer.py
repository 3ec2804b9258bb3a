"""grpc's side of a call: the servicer of mistralwire.v1.ChatCompletionService, and the sink of each call."""

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Never, cast

import grpc

from mistralwire import _offload
from mistralwire._metadata import ACCEPT_ENCODING, AUTHORIZATION, OWN_REVISION, REQUEST_ID, RESPONSE_ID
from mistralwire._methods import METHODS, SERVICE_NAME, Method
from mistralwire._response_stream import with_sequence
from mistralwire.errors import DecodeError, MistralwireError, OverloadError, Reason, Violation
from mistralwire.service._admission import Calls
from mistralwire.service._call import Call
from mistralwire.service._coalesce import EagerCall
from mistralwire.service._config import ServerConfig
from mistralwire.service._observers import CallObserver
from mistralwire.service._relay import Relay, owner_of_call
from mistralwire.service._request import receive
from mistralwire.service._status import refuse
from mistralwire.upstream import Upstream

# grpc reports a call without a deadline by a time far beyond this: a hundred years.
_NO_DEADLINE_S = 100 * 366 * 86_400.0
# A client's clock may end a call this much before ours: then it was the deadline.
_CLOCK_TOLERANCE_S = 0.1
# A call that is refused during a drain may be retried after this many seconds, on another server: less than
# the client's first backoff.
_DRAIN_RETRY_S = 0.15


class _NoRequestError(DecodeError):
    """The call has ended without a request."""


class Drain:
    """Holds new calls, and the ends of running ones, until their connections have been sent a GOAWAY.

    A caller whose call ends makes the next one. On the same connection it would arrive just as gRPC stops,
    which ends such calls with CANCELLED, and no client may retry those.

    Attributes:
        is_holding: Whether starts and ends are held.
        arrived: How many new calls were held or refused.
    """

    def __init__(self) -> None:
        self.is_holding = False
        self.arrived = 0
        self._is_over = asyncio.Event()

    def release(self) -> None:
        """Let calls end, and refuse new ones."""
        self._is_over.set()

    async def wait(self) -> None:
        """Wait until calls may end."""
        if self.is_holding:
            await self._is_over.wait()

    async def refusal(self) -> OverloadError:
        """Hold a new call; return the error to refuse it with."""
        self.arrived += 1
        await self.wait()
        return self.error()

    def error(self) -> OverloadError:
        """Return the error for a call that is to be made again, on another connection."""
        return OverloadError(
            "the server stops and accepts no new calls; retry on a new connection",
            code="UNAVAILABLE",
            reason=Reason.DRAINING,
            retry_after_s=_DRAIN_RETRY_S,
        )


class GrpcSink:
    """Takes the response of a call for grpc; each message is written from where it arrived.

    Attributes:
        done: Done when the response is complete, has failed, or can't be delivered.
        error: The error that ended the call.
        is_lost: Whether the caller has gone.
        is_reading: Whether the request is being received.
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
        # Headers of the upstream's response, for the caller.
        self._headers: tuple[tuple[str, str], ...] = ()
        # Whether initial metadata must be sent before the first message; None until that arrives.
        self._has_preface: bool | None = None
        # While it is being sent, the call must not end: a status would send it a second time, and be lost.
        self._is_in_preface = self._has_ended = False
        # Position of the next chunk in a stored response; 0 if it is not stored.
        self._sequence = 0

    def headers(self, headers: Mapping[str, str]) -> None:
        """Send the headers as initial metadata of a stream, and as trailing metadata of any call."""
        self._headers = tuple(headers.items())
        self._sequence = int(RESPONSE_ID in headers)
        self._context.set_trailing_metadata(
            ((REQUEST_ID, self.call.record.request_id), OWN_REVISION, *self._headers)
        )

    def batch(self, wire: bytes, count: int) -> None:
        """Write a message; the call is paused until grpc has taken it."""
        if self._sequence:
            wire = with_sequence(wire, self._sequence)
            self._sequence += count
        if self._has_preface is None:
            self._has_preface = bool(self._headers) or wants_gzip(self.call.record.metadata)
        write = self._write_first(wire) if self._has_preface else self._context.write(wire)
        self._writing = EagerCall(write, self._written)
        try:
            if not self._writing.start():
                self.call.pause()
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - what grpc raises if the caller has gone
            self._lose()

    async def _write_first(self, wire: bytes) -> None:
        self._has_preface = False
        self._is_in_preface = True
        await send_initial_metadata(self._context, self.call.record.metadata, self._headers)
        self._is_in_preface = False
        if self._has_ended:
            self.end()
        else:
            await self._context.write(wire)

    def answer(self, wire: bytes) -> None:
        self.wire = wire
        self.end()

    def end(self) -> None:
        if self._is_in_preface:
            self._has_ended = True
        elif not self.done.done():
            self.done.set_result(None)

    def failed(self, error: MistralwireError) -> None:
        self.error = error
        if self.done.done():
            return
        if self.is_reading:
            # The task is not waiting for `done` yet.
            self.task.cancel()
        self.end()

    def close(self) -> None:
        if self._writing is not None:
            self._writing.cancel()

    def _written(self, error: BaseException | None) -> None:
        if error is None:
            self.call.resume()
        else:
            self._lose()

    def _lose(self) -> None:
        self.is_lost = True
        self._is_in_preface = False
        self.call.cancel(code_of_cancelled(self._context))
        self.end()


def code_of_cancelled(context: grpc.aio.ServicerContext) -> str:
    """Return the name of the code of a cancelled call: its deadline, or its caller."""
    remaining_s: float | None = context.time_remaining()
    is_late = remaining_s is not None and remaining_s < _CLOCK_TOLERANCE_S
    return "DEADLINE_EXCEEDED" if is_late else "CANCELLED"


def wants_gzip(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Check whether a caller asks for compressed responses, perhaps as one of several encodings."""
    return any(
        name == ACCEPT_ENCODING and isinstance(value, str) and "gzip" in re.split(r"[ ,]+", value.lower())
        for name, value in metadata
    )


async def send_initial_metadata(
    context: grpc.aio.ServicerContext,
    metadata: Iterable[tuple[str, str | bytes]],
    headers: Sequence[tuple[str, str]] = (),
    *,
    at_once: bool = False,
) -> None:
    """Send the initial metadata of a call, and enable compression if the caller asks for it.

    Call it before the first message is written, or the response returned. Without `headers`, nothing is sent
    unless responses are compressed, or `at_once` is set: grpc sends them along with the message. It sends a
    message uncompressed if compression would not shrink it.
    """
    is_compressed = wants_gzip(metadata)
    if is_compressed:
        context.set_compression(grpc.Compression.Gzip)
    # For compression too: grpc ignores it if it sends the metadata along with a unary response.
    if is_compressed or headers or at_once:
        await context.send_initial_metadata(tuple(headers))


class ChatCompletionServicer:
    """Implements ChatCompletionService on an upstream.

    A request that breaks the contract ends with INVALID_ARGUMENT before the upstream is asked, unless the
    upstream judges requests itself. A call that is cancelled, or exceeds its deadline, cancels the upstream.
    A stream that fails delivers the chunks before the failure, then the status. Each call has an id, the
    caller's `x-request-id` or a new one, which the trailing metadata return.

    Args:
        upstream: The source of completions.
        config: The limits of calls, of the upstream and of streams.
        observers: Observers of the calls.
        relay: Stores the responses; it is open while there are calls. None to store nothing.

    Attributes:
        drain: Holds calls while the server stops.
    """

    def __init__(
        self,
        upstream: Upstream,
        config: ServerConfig | None = None,
        observers: Sequence[CallObserver] = (),
        relay: Relay | None = None,
    ) -> None:
        config = config or ServerConfig()
        self._calls = Calls(upstream, config, observers, config.contract_revision, relay)
        self.drain = Drain()
        self._request_s = config.request_s
        self._has_tokens = config.token_file is not None

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return the handlers of the methods, by name.

        They take and return wire bytes: the generated registration would hide a request that can't be parsed,
        and encode each chunk of a stream again. They are client-streaming, to bound the time in which the one
        request must arrive; see `receive`.
        """
        return {
            name: grpc.stream_stream_rpc_method_handler(functools.partial(self._stream, method))
            if method.is_stream
            else grpc.stream_unary_rpc_method_handler(functools.partial(self._answer, method))
            for name, method in METHODS.items()
        }

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service with a server that was not started yet."""
        handlers = grpc.method_handlers_generic_handler(SERVICE_NAME, self.handlers())
        server.add_generic_rpc_handlers((handlers,))

    def stop_calls(self) -> None:
        self._calls.stop()

    async def wait_for_calls(self) -> None:
        """Wait until all calls are over, those without their caller included."""
        await self._calls.wait_for_calls()

    def hold_calls(self) -> Drain:
        """Hold new calls, and the ends of running ones, from now on."""
        self.drain.is_holding = True
        return self.drain

    async def refuse(self, method: str, context: grpc.aio.ServicerContext, error: MistralwireError) -> None:
        """End a call of a method, named without its service, before its request is received."""
        await _abort(self._begin(METHODS[method], context), context, error)

    async def _stream(
        self, method: Method, _: object, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """Respond with a stream, as a generator that yields nothing: the sink writes the messages.

        Interceptors of other packages, such as OpenTelemetry's, iterate over the response. Yielding the
        messages is no option: a cancelled generator is closed later, and in another task.
        """
        await self._answer(method, None, context)
        return
        yield b""

    def _begin(self, method: Method, context: grpc.aio.ServicerContext) -> Call:
        sink = GrpcSink(context)
        metadata = tuple(context.invocation_metadata() or ())
        tokens = [str(value) for name, value in metadata if self._has_tokens and name == AUTHORIZATION]
        # Without the port of `ipv4:127.0.0.1:50051`, which differs between a caller's connections.
        _offload.set_caller(context.peer().rpartition(":")[0], *tokens[:1])
        owner = ""
        if self._calls.relay is not None:
            owner = owner_of_call(context, metadata, has_tokens=self._has_tokens)
        remaining_s: float | None = context.time_remaining()
        is_limited = remaining_s is not None and remaining_s <= _NO_DEADLINE_S
        sink.call = call = Call(
            self._calls,
            method,
            sink,
            metadata=metadata,
            peer=context.peer(),
            deadline_s=time.monotonic() + (remaining_s or 0.0) if is_limited else None,
            owner=owner,
        )
        context.set_trailing_metadata(((REQUEST_ID, call.record.request_id), OWN_REVISION))
        return call

    async def _answer(self, method: Method, _: object, context: grpc.aio.ServicerContext) -> bytes:
        """Run a call; return the wire bytes of a unary response."""
        call = self._begin(method, context)
        sink = cast("GrpcSink", call.sink)
        try:
            sink.is_reading = True
            data = await self._receive(call, method, context)
            sink.is_reading = False
            call.start(data)
            await sink.done
        except asyncio.CancelledError:
            if sink.error is None:
                call.cancel(code_of_cancelled(context))
                raise
            # The service stopped while the request was being received.
            sink.task.uncancel()
        except Exception as error:  # noqa: BLE001 - it ends the call with a status
            sink.is_reading = False
            await self.drain.wait()
            await _abort(call, context, error)
        finally:
            sink.close()
        if sink.is_lost:
            raise asyncio.CancelledError
        await self.drain.wait()
        if sink.error is not None:
            await refuse(context, sink.error, call.record.request_id, call.record.response_id)
        if not method.is_stream:
            await send_initial_metadata(context, call.record.metadata)
        return sink.wire

    async def _receive(self, call: Call, method: Method, context: grpc.aio.ServicerContext) -> bytes:
        if self.drain.is_holding:
            raise await self.drain.refusal()
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


async def _abort(call: Call, context: grpc.aio.ServicerContext, error: Exception) -> Never:
    """End a call with the status of an error, before its response has begun."""
    may_be_gone = isinstance(error, _NoRequestError | grpc.aio.InternalError)
    if not may_be_gone:
        # Before the status is sent: what happens meanwhile, such as the server's stop, must not end the call.
        call.abort(error)
    try:
        await refuse(context, error, call.record.request_id)
    except asyncio.CancelledError:
        if may_be_gone:
            # A caller who has gone looks like one who sends no request, and grpc fails to write to them.
            call.cancel(code_of_cancelled(context))
        raise
    finally:
        call.abort(error)
