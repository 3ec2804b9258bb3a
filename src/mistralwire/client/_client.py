"""A client whose calls take and give the messages of the contract."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Never, Self, TypeVar, overload

import grpc
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from mistralwire._loopback import is_loopback_target
from mistralwire.errors import CallError, Violation
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
    chat_completion_service_pb2,
)

DEADLINE_S = 60.0
"""Default deadline of a call, in seconds from its start to its last chunk."""

DEADLINE_S_MAX = 366 * 24 * 3600.0
"""Bound on a deadline, in seconds: a year. grpc takes one that is far beyond for one that is over."""

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Default bound on the bytes of one message from the service: 64 MiB."""

CLIENT_CLOSED = "CLIENT_CLOSED"
NOT_PROTOBUF = "NOT_PROTOBUF"

_SERVICE = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"]
# grpc's own bound on numbers.
_INT32_MAX = 2**31 - 1

M = TypeVar("M", bound=Message)


class Client:
    """Calls a ChatCompletionService.

        async with Client("localhost:50051") as client:
            response = await client.complete(request)
            async for chunk in client.stream(stream_request):
                ...

    Args:
        target: The service, as gRPC takes it: `host:port`, `dns:///host:port`, `unix:path`.
        insecure: Whether to talk plain text. None: on a loopback address yes, elsewhere TLS.
        credentials: Of the channel, instead of TLS with the public certificate authorities.
        deadline_s: Deadline of each call, in seconds, above 0, at most a year; a call can set its own.
        message_bytes_max: Bound on the bytes of one message from the service, 1 to 2147483647.

    Raises:
        TypeError: If the target is no string, or a number none.
        ValueError: If the target is empty, a number out of its range, or `insecure` comes with credentials.
    """

    def __init__(
        self,
        target: str,
        *,
        insecure: bool | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        deadline_s: float = DEADLINE_S,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        if not isinstance(target, str):
            raise TypeError(f"target must be a string such as 'localhost:50051', not {target!r}")
        if not target:
            raise ValueError("target must not be empty, but such as 'localhost:50051'")
        if insecure and credentials is not None:
            raise ValueError("expected insecure or credentials, found both")
        if type(message_bytes_max) is not int:
            raise TypeError(f"message_bytes_max must be an integer, not {message_bytes_max!r}")
        if not 1 <= message_bytes_max <= _INT32_MAX:
            raise ValueError(f"message_bytes_max must be 1 to {_INT32_MAX}, not {message_bytes_max}")
        self._deadline_s = _checked_deadline(deadline_s)
        options = [("grpc.max_receive_message_length", message_bytes_max)]
        is_local = is_loopback_target(target)
        if is_local:
            options.append(("grpc.enable_http_proxy", 0))
        if insecure or (insecure is None and credentials is None and is_local):
            self._channel = grpc.aio.insecure_channel(target, options=options)
        else:
            credentials = credentials or grpc.ssl_channel_credentials()
            self._channel = grpc.aio.secure_channel(target, credentials, options=options)
        self._methods = _methods_of(self._channel)
        self._calls: set[grpc.aio.Call] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Give the client; it connects with the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls that still run, and later ones, end with CANCELLED, CLIENT_CLOSED."""
        self._is_closed = True
        for call in list(self._calls):
            call.cancel()
        await self._channel.close()

    @overload
    async def complete(
        self, request: ChatCompletionRequest, *, deadline_s: float | None = None
    ) -> ChatCompletionResponse: ...

    @overload
    async def complete(
        self, request: FIMCompletionRequest, *, deadline_s: float | None = None
    ) -> FIMCompletionResponse: ...

    async def complete(
        self, request: ChatCompletionRequest | FIMCompletionRequest, *, deadline_s: float | None = None
    ) -> ChatCompletionResponse | FIMCompletionResponse:
        """Ask for a completion in one piece.

        Args:
            request: The request.
            deadline_s: Deadline of this call, in seconds, above 0; None for the client's.

        Returns:
            The response, of the request's kind.

        Raises:
            CallError: If the call ends with a status other than OK: INTERNAL with the reason NOT_PROTOBUF if
                the answer is no such message, CANCELLED with CLIENT_CLOSED if the client is closed.
            TypeError: If it is no such request, or the deadline no number.
            ValueError: If the deadline is out of its range.
        """
        response_type = _RESPONSE_TYPES.get(type(request)) or _refuse(request, _RESPONSE_TYPES)
        with self._calling(request, deadline_s) as call:
            data = await call
        response: ChatCompletionResponse | FIMCompletionResponse = _read(response_type, data)
        return response

    async def stream(
        self,
        request: ChatCompletionStreamRequest | FIMCompletionStreamRequest,
        *,
        deadline_s: float | None = None,
    ) -> AsyncGenerator[CompletionChunk, None]:
        """Ask for a completion as a stream.

        The call starts with the first chunk that is asked for. Leaving the loop early cancels the call when
        the generator goes away: at once if nothing else refers to it. `contextlib.aclosing` makes it certain.

        Args:
            request: The request.
            deadline_s: Deadline of the whole stream, in seconds, above 0; None for the client's.

        Yields:
            The chunks, one by one.

        Raises:
            CallError: If the call ends with a status other than OK, as for `complete`, after the
                chunks before.
            TypeError: If it is no such request, or the deadline no number.
            ValueError: If the deadline is out of its range.
        """
        response_type = _STREAM_TYPES.get(type(request)) or _refuse(request, _STREAM_TYPES)
        with self._calling(request, deadline_s) as call:
            async for data in call:
                for chunk in _read(response_type, data).chunks:
                    yield chunk

    @contextlib.contextmanager
    def _calling(self, request: Message, deadline_s: float | None) -> Iterator[Any]:
        """Give the call of a request, which gives wire bytes; what it raises becomes a CallError."""
        timeout_s = self._deadline_s if deadline_s is None else _checked_deadline(deadline_s)
        if self._is_closed:
            raise _closed_error()
        call = self._methods[type(request)](request.SerializeToString(), timeout=timeout_s)
        self._calls.add(call)
        try:
            yield call
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_closed and task is not None and not task.cancelling():
                raise _closed_error() from None
            raise
        finally:
            # Without effect on a call that is over.
            call.cancel()
            self._calls.discard(call)


def call_error(error: grpc.aio.AioRpcError) -> CallError:
    """Turn the status of a call into an error.

    Args:
        error: What grpc raised.

    Returns:
        The error, with what the status details say: the violations, the reason, the metadata. A service
        that gives no reason has the name of the code for one.
    """
    code = error.code().name
    info, bad_request = _details_of(error)
    return CallError(
        error.details() or f"the call ended with {code}",
        code=code,
        reason=info.reason or code,
        violations=[_violation(item.field, item.description) for item in bad_request.field_violations],
        metadata=dict(info.metadata),
    )


def _details_of(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest]:
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            try:
                for detail in status_pb2.Status.FromString(value).details:
                    detail.Unpack(info)
                    detail.Unpack(bad_request)
            except (WireError, UnicodeDecodeError):
                # Some other service's own use of the name; the code and the message still say what happened.
                return error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    return info, bad_request


def _violation(path: str, description: str) -> Violation:
    expected, separator, found = description.removeprefix("expected ").partition(", found ")
    return Violation(path, expected, found if separator else "something else")


def _methods_of(channel: grpc.aio.Channel) -> dict[type, Any]:
    """Give the methods by type of request, from wire bytes to wire bytes.

    The generated stub would have grpc parse the answers, and grpc takes one that can't be parsed for none.
    """
    result: dict[type, Any] = {}
    for method in _SERVICE.methods:
        make = channel.unary_stream if method.server_streaming else channel.unary_unary
        result[GetMessageClass(method.input_type)] = make(f"/{_SERVICE.full_name}/{method.name}")
    return result


def _response_types(*, is_stream: bool) -> dict[type, Any]:
    return {
        GetMessageClass(method.input_type): GetMessageClass(method.output_type)
        for method in _SERVICE.methods
        if method.server_streaming is is_stream
    }


_RESPONSE_TYPES = _response_types(is_stream=False)
_STREAM_TYPES = _response_types(is_stream=True)


def _read(message_type: type[M], data: bytes) -> M:
    try:
        return message_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # protobuf in pure Python raises the second
        name = message_type.DESCRIPTOR.name
        message = (
            f"expected the wire bytes of a {name} from the service, found {len(data)} bytes that are none"
        )
        raise CallError(message, code="INTERNAL", reason=NOT_PROTOBUF) from None


def _closed_error() -> CallError:
    return CallError(
        "the client is closed; make another for more calls", code="CANCELLED", reason=CLIENT_CLOSED
    )


def _refuse(request: object, types: dict[type, Any]) -> Never:
    names = " or ".join(kind.__name__ for kind in types)
    raise TypeError(f"expected a {names}, not a {type(request).__name__}")


def _checked_deadline(deadline_s: float) -> float:
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, int | float):
        raise TypeError(f"deadline_s must be a number, not {deadline_s!r}")
    if not 0 < deadline_s <= DEADLINE_S_MAX:
        raise ValueError(f"deadline_s must be above 0 and at most {DEADLINE_S_MAX:.0f}, not {deadline_s!r}")
    return deadline_s
