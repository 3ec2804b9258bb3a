"""The calls of mistralwire.v1.ResponseRelayService: what all of them share, and grpc's side of each."""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import grpc

from mistralwire import _offload
from mistralwire._metadata import AUTHORIZATION, OWN_REVISION, REQUEST_ID, Metadata, request_id_of
from mistralwire._methods import RELAY_METHODS, RELAY_SERVICE_NAME, Method
from mistralwire._timeouts import IdleTimer, Timeouts
from mistralwire.errors import (
    DecodeError,
    MistralwireError,
    OverloadError,
    Reason,
    ResponseError,
    Violation,
    log_unexpected,
)
from mistralwire.service._config import ServerConfig
from mistralwire.service._observers import CallObserver, CallRecord, Notifier
from mistralwire.service._relay import MessageStream, Relay, owner_of_call
from mistralwire.service._request import caller_silent_error, receive
from mistralwire.service._servicer import Drain, code_of_cancelled, send_initial_metadata, wants_gzip
from mistralwire.service._status import call_status, refuse

_PUBLISH, _SUBSCRIBE = "Publish", "Subscribe"
# Between the end of what a caller sends and the news that they have gone, on a busy machine.
_GONE_S = 0.1

_logger = logging.getLogger(__name__)


class RelayCall:
    """A call that runs, in a task of its own.

    Attributes:
        record: What observers are told of it.
        error: What ended it, if that was not its caller.
    """

    def __init__(self, method: Method, metadata: Metadata, peer: str) -> None:
        self.method = method
        self.record = CallRecord(
            method=method.name, request_id=request_id_of(metadata), metadata=tuple(metadata), peer=peer
        )
        self.error: MistralwireError | None = None
        self._task: asyncio.Task[Any] | None = asyncio.current_task()

    @property
    def is_stream(self) -> bool:
        """Whether it may last as long as its response runs."""
        return self.method.is_stream

    def abort(self, error: MistralwireError) -> None:
        """End it with an error."""
        if self.error is None and self._task is not None:
            self.error = error
            self._task.cancel()

    def ended_by(self, error: Exception | asyncio.CancelledError, code: str) -> Exception | None:
        """Record how it ends; return the error for its caller, or None if they have gone, with this code."""
        self._task, task = None, self._task
        if isinstance(error, asyncio.CancelledError):
            if self.error is None or task is None:
                self.record.code = code
                return None
            task.uncancel()
            error = self.error
        if not isinstance(error, MistralwireError):
            log_unexpected(_logger, f"call {self.record.request_id} ended with", error)
        self.record.code, self.record.error = call_status(error).code.name, error
        return error


class RelayCalls:
    """What the calls of the service share; None as the relay stands for a service that stores nothing."""

    def __init__(self, relay: Relay | None, config: ServerConfig, observers: Sequence[CallObserver]) -> None:
        self.config = config
        self.timeouts = Timeouts()
        self._relay = relay
        self._observers = tuple(observers)
        self._running: set[RelayCall] = set()
        self._is_stopped = False
        for observer in self._observers if relay is not None else ():
            if watch_relay := getattr(observer, "watch_relay", None):
                watch_relay(relay)

    def begin(self, method: Method, metadata: Metadata, peer: str) -> RelayCall:
        call = RelayCall(method, metadata, peer)
        self._running.add(call)
        return call

    def end(self, call: RelayCall) -> None:
        self._running.discard(call)
        call.record.ended_s = time.perf_counter()
        Notifier(call.record, self._observers).ended()

    def check(self) -> None:
        """Raise the error for a call that can't be answered, or is one too many."""
        if self._is_stopped:
            raise _stopped_error()
        if self._relay is None:
            raise ResponseError(
                "the service stores no responses; start it with --data or --log",
                code="UNIMPLEMENTED",
                reason=Reason.NO_RESPONSE_LOG,
            )
        if len(self._running) > self.config.calls_max:
            raise OverloadError(
                f"the service has {self.config.calls_max} calls for stored responses, its limit; retry later",
                reason=Reason.TOO_MANY_CALLS,
            )

    async def run(self, call: RelayCall, owner: str, stream: MessageStream, first: bytes | None) -> bytes:
        """Run a call whose first message has arrived; return the response of a unary one.

        Raises:
            MistralwireError: What ends it.
        """
        relay, name = self._relay, call.method.name
        assert relay is not None  # noqa: S101 - `check` comes first
        if name == _PUBLISH:
            await relay.publishers.publish(owner, stream, first)
            return b""
        if first is None:
            type_name = call.method.request_type.DESCRIPTOR.name
            raise DecodeError([Violation("", f"a {type_name}", "the end of the call")], type_name=type_name)
        if name == _SUBSCRIBE:
            await relay.followers.subscribe(owner, first, self.config, stream.write)
            return b""
        responses = relay.responses
        answers = {
            "GetResponse": responses.get,
            "ListResponses": responses.list,
            "CancelResponse": responses.cancel,
            "DeleteResponse": responses.delete,
        }
        return await answers[name](owner, first)

    def leave(self, error: MistralwireError) -> None:
        """End the streams, which could last for ever: their callers go on at another server."""
        for call in list(self._running):
            if call.is_stream:
                call.abort(error)

    def stop(self) -> None:
        """End all calls, and those that follow."""
        self._is_stopped = True
        for call in list(self._running):
            call.abort(_stopped_error())


def _stopped_error() -> MistralwireError:
    message = "the server stops, and the time for running calls is over"
    return MistralwireError(message, code="UNAVAILABLE", reason=Reason.SERVER_STOPPING)


class _GrpcStream:
    """The messages of a call over gRPC, each of which must be sent, or taken, in time."""

    def __init__(self, context: grpc.aio.ServicerContext, call: RelayCall, calls: RelayCalls) -> None:
        self._context = context
        self._call = call
        self._idle_s = calls.config.caller_idle_s
        self._timeouts = calls.timeouts
        self._reading, self._writing = IdleTimer(), IdleTimer()
        self._has_begun = False

    async def read(self) -> bytes | None:
        self._reading.start(self._idle_s, self._expired, self._timeouts)
        wire = await self._context.read()
        self._reading.stop()
        if wire is grpc.aio.EOF:
            # For a moment a caller who has gone looks like one who sends no more.
            await asyncio.sleep(_GONE_S)
            wire = None
        return cast("bytes | None", wire)

    async def write(self, wire: bytes) -> None:
        self._writing.start(self._idle_s, self._expired, self._timeouts)
        try:
            if not self._has_begun:
                await self.begin()
            await self._context.write(wire)
        except Exception:  # noqa: BLE001 - what grpc raises if the caller has gone
            raise asyncio.CancelledError from None
        self._writing.stop()

    async def begin(self, *, at_once: bool = False) -> None:
        """Send the initial metadata, if that is needed or to be done at once, before anything else."""
        self._has_begun = True
        metadata = self._call.record.metadata
        if not at_once and not wants_gzip(metadata):
            return
        sending = asyncio.create_task(send_initial_metadata(self._context, metadata, at_once=at_once))
        try:
            await asyncio.wait([sending])
        except asyncio.CancelledError:
            # A status meanwhile would send them a second time, and be lost.
            await asyncio.wait([sending])
            sending.exception()
            raise
        sending.result()

    def close(self) -> None:
        self._reading.close()
        self._writing.close()

    def _expired(self) -> None:
        self._call.abort(caller_silent_error(self._idle_s))


class ResponseRelayServicer:
    """Implements ResponseRelayService on a relay; without one, all methods end with UNIMPLEMENTED.

    Args:
        relay: Stores the responses; it is open while there are calls.
        config: The limits of calls and of streams.
        observers: Observers of the calls, which are told of their ends.
        drain: Holds the ends of calls while the server stops.
    """

    def __init__(
        self, relay: Relay | None, config: ServerConfig, observers: Sequence[CallObserver], drain: Drain
    ) -> None:
        self._calls = RelayCalls(relay, config, observers)
        self._request_s = config.request_s
        self._has_tokens = config.token_file is not None
        self._drain = drain

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service with a server that was not started yet.

        The handlers take and return wire bytes, and are client-streaming, as those of ChatCompletionServicer.
        """
        handlers = {
            name: grpc.stream_stream_rpc_method_handler(functools.partial(self._stream, method))
            if method.is_stream
            else grpc.stream_unary_rpc_method_handler(functools.partial(self._answer, method))
            for name, method in RELAY_METHODS.items()
        }
        handler = grpc.method_handlers_generic_handler(RELAY_SERVICE_NAME, handlers)
        server.add_generic_rpc_handlers((handler,))

    def leave(self) -> None:
        """End the streams, whose connections are about to be closed."""
        self._calls.leave(self._drain.error())

    def stop_calls(self) -> None:
        self._calls.stop()

    async def refuse(self, method: str, context: grpc.aio.ServicerContext, error: MistralwireError) -> None:
        """End a call of a method, named without its service, before its request is received."""
        call = self._begin(RELAY_METHODS[method], context)
        call.ended_by(error, "CANCELLED")
        self._calls.end(call)
        await refuse(context, error, call.record.request_id)

    async def _stream(
        self, method: Method, _: object, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """Respond with a stream, as a generator that yields nothing: see ChatCompletionServicer."""
        await self._answer(method, None, context)
        return
        yield b""

    def _begin(self, method: Method, context: grpc.aio.ServicerContext) -> RelayCall:
        metadata = tuple(context.invocation_metadata() or ())
        tokens = [str(value) for name, value in metadata if self._has_tokens and name == AUTHORIZATION]
        _offload.set_caller(context.peer().rpartition(":")[0], *tokens[:1])
        call = self._calls.begin(method, metadata, context.peer())
        context.set_trailing_metadata(((REQUEST_ID, call.record.request_id), OWN_REVISION))
        return call

    async def _answer(self, method: Method, _: object, context: grpc.aio.ServicerContext) -> bytes:
        """Run a call; return the wire bytes of a unary response."""
        call = self._begin(method, context)
        stream = _GrpcStream(context, call, self._calls)
        wire, error = b"", None
        try:
            wire = await self._run(call, stream, context)
            await self._drain.wait()
            if not method.is_stream:
                await stream.begin()
        except (Exception, asyncio.CancelledError) as raised:
            error = call.ended_by(raised, code_of_cancelled(context))
            if error is None:
                raise
        finally:
            stream.close()
            self._calls.end(call)
        if error is not None:
            await self._drain.wait()
            await refuse(context, error, call.record.request_id)
        return wire

    async def _run(self, call: RelayCall, stream: _GrpcStream, context: grpc.aio.ServicerContext) -> bytes:
        if self._drain.is_holding:
            raise await self._drain.refusal()
        self._calls.check()
        first = await receive(context, self._request_s)
        if first is None and context.cancelled():
            raise asyncio.CancelledError
        if call.method.name == _SUBSCRIBE:
            # A consumer can wait for long, and learns now that there is a service, whose loss it may survive.
            await stream.begin(at_once=True)
        owner = owner_of_call(context, call.record.metadata, has_tokens=self._has_tokens)
        return await self._calls.run(call, owner, stream, first)
