"""The asynchronous client: requests and responses as messages of the contract."""

import contextlib
import functools
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self, TypeAlias, TypedDict, Unpack, overload

import grpc
from google.protobuf.message import Message

from mistralwire._metadata import RESPONSE_ID
from mistralwire._methods import METHODS_BY_REQUEST, SERVICE_NAME, Method, method_for
from mistralwire._response_stream import CallSource, EventWriter, Sink
from mistralwire._settings import DEADLINE_S, INT32_MAX, KEEPALIVE_S_MAX, checked_count, checked_number
from mistralwire.client._channel import (
    CallChannel,
    Channels,
    Path,
    channel_options,
    checked_target,
    chosen_credentials,
    tls_credentials,
)
from mistralwire.client._metadata import CallMetadata
from mistralwire.client._response import ChunkBatch, lifted
from mistralwire.client._responses import ResponseCalls
from mistralwire.client._resumable import resumable_batches
from mistralwire.client._stub import CompletionOptions, StreamOptions, Stub, completion_metadata
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Default limit for the bytes of one message from the service: 64 MiB."""

ATTEMPTS_MAX = 4
"""Default limit for the attempts of a call."""

KEEPALIVE_S = 30.0
"""Default seconds without activity before a keepalive ping is sent."""

KEEPALIVE_TIMEOUT_S = 10.0
"""Default seconds to wait for the acknowledgement of a keepalive ping."""

_CONNECTIONS_MAX = 256
# grpc's own limit.
_ATTEMPTS_MAX = 5

# Stands for the target of a client that is given its channel.
_GIVEN = "127.0.0.1"

StreamRequest: TypeAlias = (
    ChatCompletionStreamRequest | FIMCompletionStreamRequest | AgentsCompletionStreamRequest | dict[str, Any]
)
"""A request for a stream; a dict is one in the API's JSON form."""


class ClientOptions(TypedDict, total=False):
    """The arguments of a client other than its target."""

    insecure: bool | None
    credentials: grpc.ChannelCredentials | None
    tls_ca: Path | None
    tls_certificate: Path | None
    tls_key: Path | None
    token: str | None
    token_file: Path | None
    deadline_s: float
    attempts_max: int
    connections: int
    compress_requests: bool
    compress_answers: bool
    keepalive_s: float
    keepalive_timeout_s: float
    message_bytes_max: int
    contract_revision: int


class Client(ResponseCalls):
    """Calls a ChatCompletionService, and the ResponseRelayService beside it.

    It connects with the first call, and belongs to the event loop of that call. Calls are balanced
    round-robin over all addresses of the target, and over the connections to each; when an address fails, the
    name is resolved again.

    A call that ends with UNAVAILABLE is retried with backoff, within its deadline, as long as nothing of its
    response has arrived: never after the first chunk. A service can forbid it, as this package's own does
    once its upstream has failed. A service that crashes may have asked its model already: then a completion
    is generated, and billed, again, at worst once for each attempt. `attempts_max=1` disables retries. When
    most calls fail, retries stop until calls succeed again.

    Examples:
        >>> async with Client("localhost:50051") as client:
        ...     response = await client.complete(request)
        ...     async for chunk in client.stream(stream_request):
        ...         ...

    Args:
        target: The service, as gRPC takes it: `host:port`, `dns:///host:port`, `unix:path`,
            `ipv4:address:port,address:port`. Without a port gRPC uses 443.
        insecure: Whether to use plaintext. None: plaintext on a loopback address, TLS elsewhere.
        credentials: Channel credentials, instead of TLS with the public certificate authorities.
        tls_ca: PEM file with the authorities that may sign the server's certificate. The files are read once,
            here.
        tls_certificate: PEM file with the client's own certificate chain, for mutual TLS.
        tls_key: PEM file with its private key.
        token: Bearer token that is sent with each call.
        token_file: File with the bearer token, the first in it; # begins a comment. It is read again when it
            changes.
        deadline_s: Deadline of each call in seconds, above 0, at most a year; a call can set its own.
        attempts_max: Attempts for a call, 1 to 5.
        connections: Connections to each address of the target, 1 to 256. A connection reaches one process: a
            service with several workers on one port needs several for each of them.
        compress_requests: Whether to compress requests, with gzip. A service that accepts no compression,
            such as one on grpcio before 1.84, ends the call with UNIMPLEMENTED.
        compress_answers: Whether to ask for compressed responses. Otherwise only uncompressed ones are
            accepted.
        keepalive_s: Seconds without activity during a call before a keepalive ping is sent, 1 to 7200. A
            service disconnects clients that ping too often: this one below 10 seconds by default, most other
            gRPC servers below 300.
        keepalive_timeout_s: Seconds to wait for the acknowledgement before the connection counts as lost,
            above 0, at most 7200.
        message_bytes_max: Limit for the bytes of one message from the service, 1 to 2147483647.
        contract_revision: Revision of the oldest contract among the services, 1 or more: requests are written
            for it. Raise it when all services have the newer contract. An older service is logged once.

    Attributes:
        contract_revision: Revision of the contract that requests are written for.

    Raises:
        OSError: If a file can't be read.
        TypeError: If the target is not a string, or a number is not one.
        ValueError: If the target is empty or a URL, or its port is not 1 to 65535; if a number is out of its
            range, a file has the wrong content, or arguments contradict each other: plaintext with
            credentials, or a token in plaintext to another machine, where everyone on the way could read it.
    """

    def __init__(
        self,
        target: str,
        *,
        insecure: bool | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        tls_ca: Path | None = None,
        tls_certificate: Path | None = None,
        tls_key: Path | None = None,
        token: str | None = None,
        token_file: Path | None = None,
        deadline_s: float = DEADLINE_S,
        attempts_max: int = ATTEMPTS_MAX,
        connections: int = 1,
        compress_requests: bool = False,
        compress_answers: bool = False,
        keepalive_s: float = KEEPALIVE_S,
        keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        contract_revision: int = 1,
    ) -> None:
        options = channel_options(
            checked_target(target),
            is_shared=connections == 1,
            attempts_max=checked_count("attempts_max", attempts_max, 1, _ATTEMPTS_MAX),
            keepalive_s=checked_number("keepalive_s", keepalive_s, 1, KEEPALIVE_S_MAX),
            keepalive_timeout_s=checked_number(
                "keepalive_timeout_s", keepalive_timeout_s, 0, KEEPALIVE_S_MAX, is_above=True
            ),
            message_bytes_max=checked_count("message_bytes_max", message_bytes_max, 1, INT32_MAX),
            is_gzip_enabled=compress_requests or compress_answers,
        )
        from_files = tls_credentials(tls_ca, tls_certificate, tls_key)
        chosen = chosen_credentials(target, insecure, credentials, from_files)
        self._metadata = CallMetadata(
            target,
            is_secure=chosen is not None,
            is_compressed=compress_answers,
            token=token,
            token_file=token_file,
        )
        self.contract_revision = checked_count("contract_revision", contract_revision, 1, INT32_MAX)
        compression = grpc.Compression.Gzip if compress_requests else None
        open_channel = functools.partial(grpc.aio.insecure_channel, target, options, compression)
        if chosen is not None:
            open_channel = functools.partial(grpc.aio.secure_channel, target, chosen, options, compression)
        self._stub = Stub(
            target,
            Channels(open_channel, checked_count("connections", connections, 1, _CONNECTIONS_MAX)),
            self._metadata,
            deadline_s=deadline_s,
            is_retrying=attempts_max > 1,
            contract_revision=contract_revision,
        )

    @property
    def has_token(self) -> bool:
        """Whether a token is sent with each call."""
        return self._metadata.has_token

    @classmethod
    def on(
        cls, channel: CallChannel, *, deadline_s: float = DEADLINE_S, contract_revision: int | None = None
    ) -> Self:
        """Make a client on an existing channel, such as `mistralwire.service.LocalChannel`.

        Args:
            channel: Makes the calls, as grpc.aio.Channel does. It belongs to the client, which closes it.
            deadline_s: Deadline of each call; see `Client`.
            contract_revision: See `Client`; None for the revision that the channel names, or else 1.

        Raises:
            TypeError: If the deadline is not a number, or the revision not an integer.
            ValueError: If one is out of its range.
        """
        if contract_revision is None:
            contract_revision = getattr(channel, "contract_revision", 1)
        client = cls(_GIVEN, insecure=True, deadline_s=deadline_s, contract_revision=contract_revision)
        client._stub.use(channel)
        return client

    async def __aenter__(self) -> Self:
        """Return the client; it connects with the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Calls that still run, and later ones, end with CANCELLED, CLIENT_CLOSED."""
        await self._stub.close()

    @overload
    async def complete(
        self, request: ChatCompletionRequest | AgentsCompletionRequest, **options: Unpack[CompletionOptions]
    ) -> ChatCompletionResponse: ...

    @overload
    async def complete(
        self, request: FIMCompletionRequest, **options: Unpack[CompletionOptions]
    ) -> FIMCompletionResponse: ...

    @overload
    async def complete(
        self, request: dict[str, Any], **options: Unpack[CompletionOptions]
    ) -> ChatCompletionResponse | FIMCompletionResponse: ...

    async def complete(
        self,
        request: ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest | dict[str, Any],
        **options: Unpack[CompletionOptions],
    ) -> ChatCompletionResponse | FIMCompletionResponse:
        """Request a completion as one response.

        Args:
            request: The request: a message, or a dict in the API's JSON form, which is validated. A dict
                with a `prompt` and no `messages` is for FIM; with an `agent_id` and no `model`, for an agent.
            deadline_s: Deadline of this call with all its attempts, in seconds, above 0; None for the
                client's.
            request_id: Id of the call, for the logs on both sides: 1 to 128 characters of printable ASCII
                without spaces. None for a new one.
            metadata: Further metadata, such as `traceparent`: lower-case keys, with strings of printable
                ASCII, or bytes if the key ends in `-bin`.
            response_id: Id of the response, if the service stores it: 1 to 128 letters, digits, `-` and `_`.
            idempotency_key: Unique for each request, up to 255 characters of printable ASCII: the same
                request under it again gets the stored response, and the model is not asked again.
            on_disconnect: What a service that stores responses does with this one if the connection is lost:
                `cancel`, `finish`, or `keep 30`, with the seconds in which somebody has to follow it. None
                for the service's default.

        Returns:
            The response: of the request's kind; for an agent that of chat.

        Raises:
            CallError: If the call ends with a status other than OK; INTERNAL with the reason NOT_PROTOBUF if
                the response can't be parsed, NO_ANSWER if there is none, GRPC_FAILED if grpc itself fails;
                UNAVAILABLE with CALL_CANCELLED if the call was cancelled, but not by its caller; CANCELLED
                with CLIENT_CLOSED if the client is closed.
            RuntimeError: If it is called in another event loop than the client's.
            DecodeError: If a dict breaks the contract, with all violations; nothing is sent.
            TypeError: If the request or another argument has the wrong type.
            ValueError: If the deadline is out of its range, or the id or the metadata can't be sent.
        """
        method, wire = self._read(request, is_stream=False)
        options["metadata"] = completion_metadata(options)
        arguments = self._stub.call_arguments(options)
        response: ChatCompletionResponse | FIMCompletionResponse
        response = lifted(await self._stub.unary(method, wire, arguments))
        return response

    async def stream(
        self, request: StreamRequest, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[CompletionChunk, None]:
        """Request a completion as a stream, and yield its chunks.

        The call starts when the first chunk is requested. Leaving the loop early cancels the call when the
        generator is destroyed: at once if nothing else refers to it. Use `contextlib.aclosing` to be sure.

        Args:
            request: The request; see `complete`.
            deadline_s: Deadline of the whole stream, in seconds, above 0; None for the client's.
            request_id: See `complete`.
            metadata: See `complete`.
            response_id: See `complete`.
            idempotency_key: See `complete`.
            on_disconnect: See `complete`.
            resumable: Whether the stream goes on after its connection was lost, on any server of the target,
                if the service stores responses: from the last chunk, or by the same call under the same key
                if there is none yet. The defaults are a new `response_id`, that id as `idempotency_key`, and
                `keep 30`. Leaving the loop early cancels the response, unless `on_disconnect` is given. From
                a service that stores none, it is a stream like any other.
            reconnect_s: For a resumable stream, the seconds after a loss for which it is tried to go on;
                0 to 86400.

        Raises:
            CallError: If the call ends with a status other than OK, after the chunks before; see `complete`,
                for the other errors too.
        """
        async with contextlib.aclosing(self.stream_batches(request, **options)) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def stream_batches(
        self, request: StreamRequest, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[ChunkBatch, None]:
        """Request a completion as a stream, and yield it message by message: to forward it.

        A message holds the chunks that were ready when it was sent: one when the stream is slow, many when
        it is fast. Nothing is decoded before it is read; bytes that can't be parsed are an error of the
        batch then. Arguments and other errors are those of `stream`.
        """
        method, wire = self._read(request, is_stream=True)
        if options.pop("resumable", False):
            async with contextlib.aclosing(resumable_batches(self._stub, method, wire, options)) as batches:
                async for batch in batches:
                    yield batch
            return
        options["metadata"] = completion_metadata(options)
        arguments = self._stub.call_arguments(options)
        response_id = ""

        def read_headers(headers: Mapping[str, str]) -> None:
            nonlocal response_id
            response_id = headers.get(RESPONSE_ID, "")

        messages = self._stub.messages(method, wire, arguments, on_headers=read_headers)
        async with contextlib.aclosing(messages):
            async for data in messages:
                yield ChunkBatch(data, arguments.request_id, response_id)

    def start(
        self,
        request_type: type[Message],
        wire: bytes,
        sink: Sink,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str | bytes] = {},
        message: Message | None = None,
        events: EventWriter | None = None,
    ) -> CallSource:
        """Start a call whose response goes to a sink, as wire bytes: to forward it.

        Args:
            request_type: The type of the request, which selects the method.
            wire: The request as wire bytes, written for `contract_revision`.
            sink: Takes the response. Errors go to it too, perhaps before this function returns; a response
                that can't be parsed is a CallError, see `stream`.
            deadline_s: See `complete`, for the errors too.
            request_id: See `complete`.
            metadata: See `complete`.
            message: The request as a message, if it exists already: a service in this process need not parse
                it then. Nobody modifies it.
            events: What a service in this process may write chunks to instead of the sink, after the sink's
                first ones.

        Returns:
            The source of the response, to pause, to cancel, or to abort with an error: a service in this
            process then stores that error as the end of the response; another one learns only that its
            caller has gone.
        """
        method = _method_of(request_type)
        arguments = self._stub.arguments(deadline_s, request_id, metadata)
        return self._stub.start(method, wire, sink, arguments, message=message, events=events)

    async def is_serving(self, *, deadline_s: float | None = None) -> bool:
        """Check by the health check of the service whether it takes calls.

        True if it says SERVING, or has no health check; False if it says anything else, does not answer in
        time, or rejects the client's token. For `deadline_s` and its errors see `complete`.
        """
        return await self.why_not_serving(deadline_s=deadline_s) is None

    async def why_not_serving(
        self, *, deadline_s: float | None = None, service: str | None = None
    ) -> str | None:
        """Return why the service takes no calls, or None if it takes calls; see `is_serving`.

        Most health checks need no token, so until the service is known to accept the client's token, and
        again once it has rejected it, a method that no service has is called too. The deadline is that of
        each of the two calls. `service` is the name to ask the health check for, empty for the whole server;
        by default that of ChatCompletionService.

        Returns:
            The cause in a few words, without addresses, such as `connection refused`, `timed out`, `its name
            can't be resolved` or `bad certificate: certificate has expired`.
        """
        from mistralwire.client._health import why_not_serving  # noqa: PLC0415 - few programs ask

        return await why_not_serving(self._stub, deadline_s, SERVICE_NAME if service is None else service)

    def _read(self, request: Message | dict[str, Any], *, is_stream: bool) -> tuple[Method, bytes]:
        """Return the method for a request, and the request as wire bytes for the oldest service."""
        if isinstance(request, dict):
            request_type = method_for(request, is_stream=is_stream).request_type
            from mistralwire.codec import check_request, from_dict  # noqa: PLC0415 - with an engine

            # Unlike from_dict, check_request accepts what the contract of an older service does.
            unchecked = from_dict(request_type, request, validate=False)
            request = check_request(unchecked, oldest_revision=self.contract_revision)
        method = _method_of(type(request), is_stream=is_stream)
        return method, self._stub.lowered(request).SerializeToString()


def _method_of(request_type: type, *, is_stream: bool | None = None) -> Method:
    """Return the method of a type of request; TypeError if there is none that streams, or does not."""
    method = METHODS_BY_REQUEST.get(request_type)
    if method is None or is_stream not in (None, method.is_stream):
        methods = [method for method in METHODS_BY_REQUEST.values() if is_stream in (None, method.is_stream)]
        names = " or ".join(method.request_type.__name__ for method in methods)
        # `start`, which takes any kind of request, takes no dict.
        either = "" if is_stream is None else "dict or "
        raise TypeError(f"expected a {either}{names}, not a {request_type.__name__}")
    return method
