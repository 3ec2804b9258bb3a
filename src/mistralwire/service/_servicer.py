"""The servicer of mistralwire.v1.ChatCompletionService."""

import asyncio
import concurrent.futures
import functools
import logging
import traceback
from typing import Any, Never

import grpc
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mistralwire.codec import from_json, to_json
from mistralwire.errors import DecodeError, EncodeError, MistralwireError, Violation
from mistralwire.service._coalesce import CoalescedStream
from mistralwire.service._status import to_status
from mistralwire.upstream import Upstream
from mistralwire.v1 import chat_completion_service_pb2

_SERVICE = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"]

SERVICE_NAME: str = _SERVICE.full_name
"""Full name of the service, for health checks and reflection."""

LOOP_BYTES_MAX = 64 * 1024
"""Bytes of a request up to which it is checked in the event loop: 64 KiB, mostly a millisecond's work."""

CHECKS_MAX = 2
"""Requests beyond that size which are checked at one time: each is a thread that competes with the loop."""

_logger = logging.getLogger(__name__)


class ChatCompletionServicer:
    """Answers the four methods of ChatCompletionService from an upstream.

    A request that breaks the contract ends with INVALID_ARGUMENT before the upstream hears of it. A call that
    is cancelled, or that runs out of time, cancels the upstream. A stream that breaks delivers the chunks
    before the break, then the status.

    Args:
        upstream: Where the completions come from.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        # Threads of its own: the loop's are for what waits, and these would keep it from them.
        self._checks = concurrent.futures.ThreadPoolExecutor(CHECKS_MAX, "mistralwire-check")

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service with a server that was not started yet.

        The handlers take and give wire bytes: the generated registration would decode a broken request
        out of our hands, and encode each chunk of a stream once more.

        Args:
            server: The server.
        """
        handlers = {}
        for method in _SERVICE.methods:
            request_type = GetMessageClass(method.input_type)
            if method.server_streaming:
                stream = functools.partial(self._stream, request_type)
                handlers[method.name] = grpc.unary_stream_rpc_method_handler(stream)
            else:
                complete = functools.partial(self._complete, request_type)
                handlers[method.name] = grpc.unary_unary_rpc_method_handler(complete)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    async def _complete(
        self, request_type: type[Any], data: bytes, context: grpc.aio.ServicerContext
    ) -> bytes:
        try:
            response = await self._upstream.complete(await self._read(request_type, data))
            return response.SerializeToString()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it ends the call with a status
            await _abort(context, error)

    async def _stream(self, request_type: type[Any], data: bytes, context: grpc.aio.ServicerContext) -> None:
        try:
            request = await self._read(request_type, data)
            async with CoalescedStream(self._upstream.stream(request)) as messages:
                while (message := await messages.take()) is not None:
                    await context.write(message)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it ends the call with a status
            await _abort(context, error)

    async def _read(self, request_type: type[Message], data: bytes) -> Any:
        """Read a request; a large one in a thread, so that all other calls go on.

        A call that is cancelled stops waiting. A check that has begun then comes to its own end, which the
        codec's limits bound; one that has not never begins.
        """
        if len(data) <= LOOP_BYTES_MAX:
            return read_request(request_type, data)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._checks, read_request, request_type, data)


def read_request(request_type: type[Message], data: bytes) -> Any:
    """Read a request and check that it keeps the contract.

    Protobuf itself knows no required fields, no JSON text and no fixed strings; the JSON form of the request
    does, so that a gRPC caller gets the same violations as one who sends JSON.

    Args:
        request_type: Type of the request.
        data: Its wire bytes.

    Returns:
        The request.

    Raises:
        DecodeError: If the bytes are no such message, or it breaks the contract.
    """
    name = request_type.DESCRIPTOR.name
    try:
        request = request_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        violation = Violation("", f"the wire bytes of a {name}", f"{len(data)} bytes that are none")
        raise DecodeError([violation], type_name=name, reason="NOT_PROTOBUF") from None
    try:
        from_json(request_type, to_json(request))
    except EncodeError as error:
        raise DecodeError([_violation(error)], type_name=name, reason=error.reason) from None
    return request


def _violation(error: EncodeError) -> Violation:
    """Say in the error's own words what is wrong with a place."""
    expected, separator, found = error.message.removeprefix("expected ").partition(", found ")
    if separator and error.message.startswith("expected "):
        return Violation(error.path, expected, found)
    return Violation(error.path, "a value that has a JSON form", error.message)


async def _abort(context: grpc.aio.ServicerContext, error: BaseException) -> Never:
    """End a call with the status of an error, whatever it is."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        # The call itself was cancelled. An upstream that cancels itself would leave its caller waiting.
        raise error
    if not isinstance(error, MistralwireError):
        # The stack without the error's text, which may quote the request.
        stack = "".join(traceback.format_tb(error.__traceback__))
        _logger.error("a call ended with an unexpected %s\n%s", type(error).__name__, stack)
    status = to_status(error)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    await context.abort(code, status.message, trailers)
    raise AssertionError("abort always raises")
