"""A client whose calls take and give the messages of the contract."""

from collections.abc import AsyncGenerator
from typing import Any, Self, overload

import grpc
from google.protobuf.message import DecodeError as WireError
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
)
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc

DEADLINE_S = 60.0
"""Default deadline of a call, in seconds from its start to its last chunk."""

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Default bound on the bytes of one message from the service: 64 MiB."""


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
        deadline_s: Deadline of each call, in seconds, above 0; a call can set its own.
        message_bytes_max: Bound on the bytes of one message from the service, 1 or more.

    Raises:
        ValueError: If a number is out of its range, or `insecure` comes with credentials.
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
        if insecure and credentials is not None:
            raise ValueError("expected insecure or credentials, found both")
        if message_bytes_max < 1:
            raise ValueError(f"message_bytes_max must be 1 or more, not {message_bytes_max}")
        self._deadline_s = _checked_deadline(deadline_s)
        options = [
            ("grpc.max_receive_message_length", message_bytes_max),
            # The service's bound on requests is the service's to say.
            ("grpc.max_send_message_length", -1),
        ]
        is_local = is_loopback_target(target)
        if is_local:
            options.append(("grpc.enable_http_proxy", 0))
        if insecure or (insecure is None and credentials is None and is_local):
            self._channel = grpc.aio.insecure_channel(target, options=options)
        else:
            credentials = credentials or grpc.ssl_channel_credentials()
            self._channel = grpc.aio.secure_channel(target, credentials, options=options)
        stub = service_grpc.ChatCompletionServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._unary: dict[type, Any] = {
            ChatCompletionRequest: stub.ChatCompletion,
            FIMCompletionRequest: stub.FIMCompletion,
        }
        self._streams: dict[type, Any] = {
            ChatCompletionStreamRequest: stub.ChatCompletionStream,
            FIMCompletionStreamRequest: stub.FIMCompletionStream,
        }

    async def __aenter__(self) -> Self:
        """Give the client; it connects with the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
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
            CallError: If the call ends with a status other than OK.
            TypeError: If it is no such request.
            ValueError: If the deadline is not above 0.
        """
        call = _method_for(self._unary, request)(request, timeout=self._timeout(deadline_s))
        try:
            response: ChatCompletionResponse | FIMCompletionResponse = await call
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from None
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
            CallError: If the call ends with a status other than OK, after the chunks before.
            TypeError: If it is no such request.
            ValueError: If the deadline is not above 0.
        """
        call = _method_for(self._streams, request)(request, timeout=self._timeout(deadline_s))
        try:
            async for response in call:
                for chunk in response.chunks:
                    yield chunk
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from None
        finally:
            # Without effect on a call that is over.
            call.cancel()

    def _timeout(self, deadline_s: float | None) -> float:
        return self._deadline_s if deadline_s is None else _checked_deadline(deadline_s)


def call_error(error: grpc.aio.AioRpcError) -> CallError:
    """Turn the status of a call into an error.

    Args:
        error: What grpc raised.

    Returns:
        The error, with what the status details say: the violations, the reason, the metadata. A service
        that gives no reason has the name of the code for one.
    """
    code = error.code().name
    reason, metadata, violations = code, {}, []
    for detail in _details_of(error):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            reason, metadata = info.reason or code, dict(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad_request = error_details_pb2.BadRequest.FromString(detail.value)
            violations = [_violation(item.field, item.description) for item in bad_request.field_violations]
    message = error.details() or f"the call ended with {code}"
    return CallError(message, code=code, reason=reason, violations=violations, metadata=metadata)


def _details_of(error: grpc.aio.AioRpcError) -> list[Any]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            try:
                return list(status_pb2.Status.FromString(value).details)
            except WireError:
                # Some other service's own use of the name; the code and the message still say what happened.
                return []
    return []


def _violation(path: str, description: str) -> Violation:
    expected, separator, found = description.removeprefix("expected ").partition(", found ")
    return Violation(path, expected, found if separator else "something else")


def _method_for(methods: dict[type, Any], request: object) -> Any:
    method = methods.get(type(request))
    if method is None:
        names = " or ".join(kind.__name__ for kind in methods)
        raise TypeError(f"expected a {names}, not a {type(request).__name__}")
    return method


def _checked_deadline(deadline_s: float) -> float:
    if not 0 < deadline_s < float("inf"):
        raise ValueError(f"deadline_s must be above 0 and finite, not {deadline_s!r}")
    return deadline_s
