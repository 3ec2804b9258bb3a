"""A client whose calls take and give the messages of the contract."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from typing import Any, Never, Self, TypeAlias, TypedDict, TypeVar, overload

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from mistralwire._addresses import is_loopback_target
from mistralwire._metadata import (
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONTRACT_REVISION_NAME,
    REQUEST_ID,
    checked_request_id,
    headers_in,
)
from mistralwire._response_stream import EventWriter, Sink, Source
from mistralwire._settings import INT32_MAX, checked_count, checked_number
from mistralwire._trace_context import injected
from mistralwire.client._batch import ChunkBatch, lifted, read_message
from mistralwire.client._call_error import call_error, cancelled_error
from mistralwire.client._call_task import CallTask
from mistralwire.client._causes import TOKEN_REFUSED, cause_of, is_refusing_caller
from mistralwire.client._channel import SERVICE, CallChannel, Path, channel_options, tls_credentials
from mistralwire.client._metadata import checked_metadata
from mistralwire.client._target import checked_target
from mistralwire.client._token import fixed_token, token_in
from mistralwire.codec import lower
from mistralwire.errors import CallError, EncodeError, Reason
from mistralwire.v1 import (
    CONTRACT_REVISION,
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

DEADLINE_S = 60.0
"""Default deadline of a call, in seconds from its start to its last chunk."""

DEADLINE_S_MAX = 366 * 24 * 3600.0
"""Bound on a deadline, in seconds: a year. grpc takes one that is far beyond for one that is over."""

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Default bound on the bytes of one message from the service: 64 MiB."""

ATTEMPTS_MAX = 4
"""Default of how often a call is tried."""

KEEPALIVE_S = 30.0
"""Default of the silence after which a connection is asked whether it still works, in seconds."""

KEEPALIVE_TIMEOUT_S = 10.0
"""Default of how long the answer to that may take, in seconds."""


_CONNECTIONS_MAX = 256
# grpc's own bounds on attempts and keepalive pings.
_ATTEMPTS_MAX = 5
_KEEPALIVE_S_MAX = 7_200.0

_OWN_REVISION = (CONTRACT_REVISION_NAME, str(CONTRACT_REVISION))
_REVISION_DIGITS = 9

_logger = logging.getLogger(__name__)

# A service that checks tokens refuses a call before it looks for the method; any other says UNIMPLEMENTED.
_NO_METHOD = f"/{SERVICE.full_name}/CheckToken"

# What stands for the target where the channel was given.
_GIVEN = "127.0.0.1"

M = TypeVar("M", bound=Message)

StreamRequest: TypeAlias = (
    ChatCompletionStreamRequest | FIMCompletionStreamRequest | AgentsCompletionStreamRequest
)


class ClientOptions(TypedDict, total=False):
    """The arguments of a client beside its target."""

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


class CallOptions(TypedDict, total=False):
    """The arguments of a call beside its request."""

    deadline_s: float | None
    request_id: str | None
    metadata: Mapping[str, str | bytes]


class Client:
    """Calls a ChatCompletionService.

    It connects with the first call, and belongs to the event loop of that call. Calls take turns among all
    addresses of the target, and among the connections to each; when one fails, the name is looked up again.

    A call that ends with UNAVAILABLE is tried again after a pause, within its deadline, as long as nothing of
    its answer has arrived: never after the first chunk. A service can forbid it, as this package's own does
    once its upstream has failed. One that dies may have asked its model already: then an answer is generated,
    and billed, a second time, at worst once for each attempt. `attempts_max=1` never tries again. When most
    calls fail, retries stop until calls succeed again.

    Examples:
        >>> async with Client("localhost:50051") as client:
        ...     response = await client.complete(request)
        ...     async for chunk in client.stream(stream_request):
        ...         ...

    Args:
        target: The service, as gRPC takes it: `host:port`, `dns:///host:port`, `unix:path`,
            `ipv4:address:port,address:port`. Without a port gRPC calls 443.
        insecure: Whether to talk plain text. None: on a loopback address yes, elsewhere TLS.
        credentials: Of the channel, instead of TLS with the public certificate authorities.
        tls_ca: PEM file with the authorities that the server's certificate must come from. The files are read
            once, here.
        tls_certificate: PEM file with the client's own certificate chain, for mutual TLS.
        tls_key: PEM file with its private key.
        token: Bearer token that is sent with each call.
        token_file: File with the bearer token, the first in it; # begins a comment. Read again when it
            changes.
        deadline_s: Deadline of each call, in seconds, above 0, at most a year; a call can set its own.
        attempts_max: How often a call is tried, 1 to 5.
        connections: Connections to each address of the target, 1 to 256. One reaches one process: a service
            of several workers on one port needs several for each of them.
        compress_requests: Whether to compress requests, with gzip. A service that takes none, such as one on
            grpcio before 1.84, ends the call with UNIMPLEMENTED.
        compress_answers: Whether to ask for compressed answers. Without, only plain ones are taken.
        keepalive_s: After how much silence of a running call its connection is asked whether it still works,
            in seconds, 1 to 7200. The service disconnects who asks too often; its default allows 10 seconds,
            gRPC servers of another make mostly 300.
        keepalive_timeout_s: How long the answer to that may take before the connection counts as lost, in
            seconds, above 0, at most 7200.
        message_bytes_max: Bound on the bytes of one message from the service, 1 to 2147483647.
        contract_revision: Revision of the oldest contract among the services, 1 or more: requests are written
            for it. Raise it when all of them have the newer contract. A service that turns out to be older is
            logged once.

    Attributes:
        contract_revision: Revision of the contract that requests are written for.

    Raises:
        OSError: If a file can't be read.
        TypeError: If the target is no string, or a number none.
        ValueError: If the target is empty or a URL, or its port is not 1 to 65535, a number is out of its
            range, a file lacks what it should have, or arguments contradict each other: plain text with
            credentials, a token over plain text to another machine, where everyone on the way could read it.
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
        self._target = checked_target(target)
        self._deadline_s = _checked_deadline(deadline_s)
        self._compression = grpc.Compression.Gzip if compress_requests else None
        self._wishes = ((ACCEPT_ENCODING, "gzip"),) if compress_answers else ()
        self._connections = checked_count("connections", connections, 1, _CONNECTIONS_MAX)
        self._is_retrying = attempts_max > 1
        self._options = channel_options(
            target,
            is_shared=connections == 1,
            attempts_max=checked_count("attempts_max", attempts_max, 1, _ATTEMPTS_MAX),
            keepalive_s=checked_number("keepalive_s", keepalive_s, 1, _KEEPALIVE_S_MAX),
            keepalive_timeout_s=checked_number(
                "keepalive_timeout_s", keepalive_timeout_s, 0, _KEEPALIVE_S_MAX, is_above=True
            ),
            message_bytes_max=checked_count("message_bytes_max", message_bytes_max, 1, INT32_MAX),
            is_gzip_enabled=compress_requests or compress_answers,
        )
        from_files = tls_credentials(tls_ca, tls_certificate, tls_key)
        if credentials is not None and from_files is not None:
            raise ValueError("expected credentials or TLS files, found both")
        self._credentials = _chosen_credentials(target, insecure, credentials or from_files)
        if token is not None and token_file is not None:
            raise ValueError("expected token or token_file, found both")
        self._token: Callable[[], str] | None = None
        if token is not None:
            self._token = fixed_token(token)
        elif token_file is not None:
            self._token = token_in(token_file)
        self._may_authorize = self._credentials is not None or is_loopback_target(target)
        if self._token is not None:
            self._refuse_plain_text()
        self.contract_revision = checked_count("contract_revision", contract_revision, 1, INT32_MAX)
        self._has_warned = False
        # Whether the service is known to take the token.
        self._is_admitted = False
        self._given_channel: CallChannel | None = None
        # Its own way to start a call whose answer goes to a sink, if it has one.
        self._given_start: Callable[..., Source] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channels: list[CallChannel] = []
        self._turns: Iterator[dict[type, Any]] = iter(())
        self._calls: set[grpc.aio.Call] = set()
        self._is_closed = False

    @property
    def has_token(self) -> bool:
        """Whether a token is sent with each call."""
        return self._token is not None

    @classmethod
    def on(
        cls, channel: CallChannel, *, deadline_s: float = DEADLINE_S, contract_revision: int | None = None
    ) -> Self:
        """Make a client on a channel that is there already, such as `mistralwire.service.LocalChannel`.

        Args:
            channel: Makes the calls; a grpc.aio.Channel is one. It belongs to the client, which closes it.
            deadline_s: Deadline of each call, in seconds, above 0, at most a year; a call can set its own.
            contract_revision: Revision of the oldest contract among the services; None for the one that the
                channel names, or else 1.

        Raises:
            TypeError: If the deadline is no number, or the revision no integer.
            ValueError: If one is out of its range.
        """
        if contract_revision is None:
            contract_revision = getattr(channel, "contract_revision", 1)
        client = cls(_GIVEN, insecure=True, deadline_s=deadline_s, contract_revision=contract_revision)
        client._given_channel = channel
        client._given_start = getattr(channel, "start", None)
        client._channels = [channel]
        return client

    async def __aenter__(self) -> Self:
        """Give the client; it connects with the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close the connections. Calls that still run, and later ones, end with CANCELLED, CLIENT_CLOSED."""
        self._is_closed = True
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*(channel.close() for channel in self._channels))

    @overload
    async def complete(
        self,
        request: ChatCompletionRequest | AgentsCompletionRequest,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str | bytes] = {},
    ) -> ChatCompletionResponse: ...

    @overload
    async def complete(
        self,
        request: FIMCompletionRequest,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str | bytes] = {},
    ) -> FIMCompletionResponse: ...

    async def complete(
        self,
        request: ChatCompletionRequest | FIMCompletionRequest | AgentsCompletionRequest,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str | bytes] = {},
    ) -> ChatCompletionResponse | FIMCompletionResponse:
        """Ask for a completion in one piece.

        Args:
            request: The request.
            deadline_s: Deadline of this call with all its attempts, in seconds, above 0; None for the
                client's.
            request_id: Id of the call, for the logs on both sides: 1 to 128 characters of printable ASCII
                without spaces. None for a new one.
            metadata: What else to send with it, such as `traceparent`: strings of printable ASCII by
                lower-case names, bytes by names that end in `-bin`.

        Returns:
            The response: of the request's kind, or that of chat to a request for an agent.

        Raises:
            CallError: If the call ends with a status other than OK: INTERNAL with the reason NOT_PROTOBUF if
                the answer is no such message, NO_ANSWER if there is none, GRPC_FAILED if grpc itself fails;
                UNAVAILABLE with CALL_CANCELLED if the call was cancelled, but not by the caller; CANCELLED
                with CLIENT_CLOSED if the client is closed.
            RuntimeError: If it is called in another event loop than the client's.
            TypeError: If it is no such request, or another argument has the wrong type.
            ValueError: If the deadline is out of its range, or the id or the metadata can't be sent.
        """
        response_type = _RESPONSE_TYPES.get(type(request)) or _refuse(type(request), _RESPONSE_TYPES)
        request_id = checked_request_id(request_id)
        messages = self._messages(type(request), self._written(request), deadline_s, request_id, metadata)
        async with contextlib.aclosing(messages):
            data = await anext(messages)
        response: ChatCompletionResponse | FIMCompletionResponse
        response = lifted(read_message(response_type, data, request_id))
        return response

    async def stream(
        self,
        request: StreamRequest,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str | bytes] = {},
    ) -> AsyncGenerator[CompletionChunk, None]:
        """Ask for a completion as a stream.

        The call starts with the first chunk that is asked for. Leaving the loop early cancels the call when
        the generator goes away: at once if nothing else refers to it. `contextlib.aclosing` makes it certain.

        Args:
            request: The request.
            deadline_s: Deadline of the whole stream, in seconds, above 0; None for the client's.
            request_id: As for `complete`.
            metadata: As for `complete`.

        Yields:
            The chunks, one by one.

        Raises:
            CallError: If the call ends with a status other than OK, as for `complete`, after the
                chunks before.
            RuntimeError: As for `complete`.
            TypeError: If it is no such request, or another argument has the wrong type.
            ValueError: If the deadline is out of its range, or the id or the metadata can't be sent.
        """
        request_id = checked_request_id(request_id)
        wire = self._written(_streamed(request))
        async with contextlib.aclosing(
            self._messages(type(request), wire, deadline_s, request_id, metadata)
        ) as messages:
            async for data in messages:
                for chunk in ChunkBatch(data, request_id):
                    yield chunk

    async def stream_batches(
        self,
        request: StreamRequest,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str | bytes] = {},
    ) -> AsyncGenerator[ChunkBatch, None]:
        """Ask for a completion as a stream, message by message: for those who pass it on.

        A message holds the chunks that were ready when it was sent: one when the stream is slow, many when
        it is fast. Nothing is decoded before it is read.

        Args:
            request: The request.
            deadline_s: As for `stream`.
            request_id: As for `complete`.
            metadata: As for `complete`.

        Yields:
            The batches, one for each message.

        Raises:
            CallError: As for `stream`; for bytes that are no message when the batch is read.
            RuntimeError: As for `complete`.
            TypeError: As for `stream`.
            ValueError: As for `stream`.
        """
        request_id = checked_request_id(request_id)
        wire = self._written(_streamed(request))
        async with contextlib.aclosing(
            self._messages(type(request), wire, deadline_s, request_id, metadata)
        ) as messages:
            async for data in messages:
                yield ChunkBatch(data, request_id)

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
    ) -> Source:
        """Start a call whose answer goes to a sink, as bytes: for those who pass it on.

        Args:
            request_type: The type of the request, which says the method; of a stream or of an answer in one
                piece.
            wire: The request as wire bytes, written for `contract_revision`.
            sink: What takes the answer. It hears of what goes wrong, too, perhaps before this function
                returns; for bytes of the service that are no message it is a CallError, as for `stream`.
            deadline_s: As for `complete`.
            request_id: As for `complete`.
            metadata: As for `complete`.
            message: The message of the wire bytes where it is there already, which spares a service in this
                process to parse them; nobody changes it.
            events: What a service in this process may write chunks to instead of giving them to the sink,
                once the sink has had some.

        Returns:
            The source of the answer, to pause and to cancel.

        Raises:
            RuntimeError: As for `complete`.
            TypeError: If the type is that of no request, or another argument has the wrong type.
            ValueError: If the deadline is out of its range, or the id or the metadata can't be sent.
        """
        is_stream = request_type in _STREAM_TYPES
        if not is_stream and request_type not in _RESPONSE_TYPES:
            _refuse(request_type, _STREAM_TYPES | _RESPONSE_TYPES)
        request_id = checked_request_id(request_id)
        timeout_s, pairs = self._timeout_s(deadline_s), self._metadata(request_id, metadata)
        # The channel, and whether this is the client's event loop.
        self._method(request_type)
        if self._given_start is not None:
            return self._given_start(
                request_type,
                wire,
                sink,
                timeout=timeout_s,
                metadata=pairs,
                message=message,
                events=events,
            )
        messages = self._messages(
            request_type, wire, deadline_s, request_id, metadata, on_headers=sink.headers
        )
        return CallTask(messages, sink, request_id, is_stream=is_stream)

    async def is_serving(self, *, deadline_s: float | None = None) -> bool:
        """Ask the service's health check whether it takes calls.

        Args:
            deadline_s: As for `complete`.

        Returns:
            True if it says SERVING, or has no health check; False if it says something else, or nothing by
            then, or refuses the client's token.

        Raises:
            RuntimeError: As for `complete`.
            ValueError: If the deadline is out of its range.

        Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
        """
        return await self.why_not_serving(deadline_s=deadline_s) is None

    async def why_not_serving(self, *, deadline_s: float | None = None) -> str | None:
        """Find out why the service takes no calls, as `is_serving` does.

        A health check needs no token mostly, so until the service is known to take the client's token, and
        again once it has refused that, a method that no service has is called too.

        Args:
            deadline_s: As for `complete`; for each of the two calls.

        Returns:
            The cause in a few words, without addresses, such as `connection refused`, `timed out`, `its name
            is not resolved` or `bad certificate: certificate has expired`; None if it takes calls.

        Raises:
            RuntimeError: As for `complete`.
            ValueError: If the deadline is out of its range.
        """
        question = health_pb2.HealthCheckRequest(service=SERVICE.full_name)
        try:
            data = await self._check(question, deadline_s)
        except CallError as error:
            if error.code != "UNIMPLEMENTED":
                return cause_of(error)
        else:
            try:
                status = health_pb2.HealthCheckResponse.FromString(data or b"").status
            except WireError:
                status = health_pb2.HealthCheckResponse.UNKNOWN
            if status != health_pb2.HealthCheckResponse.SERVING:
                return "its health check does not say SERVING"
        return TOKEN_REFUSED if await self._is_refused(deadline_s) else None

    async def _is_refused(self, deadline_s: float | None) -> bool:
        """Check whether the service refuses the token, unless it is known to take it."""
        if not self._is_admitted and not self._is_local:
            try:
                await self._check(Empty(), deadline_s)
            except CallError as error:
                self._is_admitted = error.code == "UNIMPLEMENTED"
                return is_refusing_caller(error)
        return False

    async def _check(self, question: Any, deadline_s: float | None) -> bytes | None:
        wire = question.SerializeToString()
        with self._calling(type(question), wire, deadline_s, checked_request_id(None), {}) as call:
            data: bytes | None = await call
            return data

    async def _messages(
        self,
        request_type: type[Message],
        wire: bytes,
        deadline_s: float | None,
        request_id: str,
        metadata: Mapping[str, str | bytes],
        *,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Make a call; yield the wire bytes of each message of its answer, one if it is no stream.

        `on_headers` takes the headers of the upstream's answer, if there are any, before the first message.
        """
        with self._calling(request_type, wire, deadline_s, request_id, metadata) as call:
            if request_type in _STREAM_TYPES:
                async for data in call:
                    if on_headers is not None:
                        _take_headers(await call.initial_metadata(), on_headers)
                        on_headers = None
                    yield data
                await self._check_revision(call)
                return
            data = await call
            if on_headers is not None:
                _take_headers(await call.trailing_metadata(), on_headers)
            await self._check_revision(call)
            if data is None:
                # grpc has no error for a call that ends well and without an answer.
                name = _RESPONSE_TYPES[request_type].DESCRIPTOR.name
                message = f"expected a {name} from the service, found none"
                raise CallError(message, code="INTERNAL", reason=Reason.NO_ANSWER, request_id=request_id)
            yield data

    @contextlib.contextmanager
    def _calling(
        self,
        request_type: type[Message],
        wire: bytes,
        deadline_s: float | None,
        request_id: str,
        metadata: Mapping[str, str | bytes],
    ) -> Iterator[Any]:
        """Give the call of a request, which gives wire bytes; what it raises becomes a CallError."""
        timeout_s = self._timeout_s(deadline_s)
        pairs = self._metadata(request_id, metadata)
        if self._is_closed:
            raise _closed_error(request_id)
        call = self._method(request_type)(wire, timeout=timeout_s, metadata=pairs)
        self._calls.add(call)
        try:
            yield call
        except grpc.aio.AioRpcError as error:
            self._compare_revision(error.trailing_metadata())
            found = call_error(error, request_id, was_retried=self._is_retrying)
            if is_refusing_caller(found):
                self._is_admitted = False
            raise found from None
        except (grpc.aio.BaseError, KeyError) as error:
            # What grpc says when it does not understand itself; the second of a status code that is none.
            message = f"grpc could not make the call: {type(error).__name__}"
            raise CallError(
                message, code="INTERNAL", reason=Reason.GRPC_FAILED, request_id=request_id
            ) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            if self._is_closed:
                raise _closed_error(request_id) from None
            if isinstance(call, grpc.aio.Call) and call.cancelled():
                # grpc raises this for the status CANCELLED of a stream, which nobody here has asked for.
                raise cancelled_error(request_id) from None
            raise
        finally:
            # Without effect on a call that is over.
            call.cancel()
            self._calls.discard(call)

    def _timeout_s(self, deadline_s: float | None) -> float:
        return self._deadline_s if deadline_s is None else _checked_deadline(deadline_s)

    def _written(self, request: Message) -> bytes:
        """Return the wire bytes of a request, as the oldest service needs them."""
        if self.contract_revision < CONTRACT_REVISION:
            # One that has no JSON form goes out as it is: the service says what is wrong with it.
            with contextlib.suppress(EncodeError):
                request = lower(request, self.contract_revision)
        return request.SerializeToString()

    async def _check_revision(self, call: Any) -> None:
        """Compare the revision of the service with what is written, at the end of a call that went well."""
        if self.contract_revision > 1 and not self._has_warned and not self._is_local:
            self._compare_revision(await call.trailing_metadata())

    @property
    def _is_local(self) -> bool:
        # A channel that says what its service has is in this process.
        return hasattr(self._given_channel, "contract_revision")

    def _compare_revision(self, trailing: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Log once that a service has an older contract than requests are written for."""
        if self.contract_revision == 1 or self._has_warned:
            return
        revisions = [value for name, value in trailing or () if name == CONTRACT_REVISION_NAME]
        revision = str(revisions[0])[:_REVISION_DIGITS] if revisions else ""
        if revision.isdecimal() and int(revision) < self.contract_revision:
            self._has_warned = True
            _logger.warning(
                "the service at %s has revision %s of the contract, and requests are written for %d; "
                "lower contract_revision until all services are upgraded",
                *(self._target, revision, self.contract_revision),
            )

    def _metadata(
        self, request_id: str, metadata: Mapping[str, str | bytes]
    ) -> tuple[tuple[str, str | bytes], ...]:
        own = checked_metadata(metadata) if metadata or not isinstance(metadata, dict) else ()
        pairs = [*own, *injected(metadata), *self._wishes, (REQUEST_ID, request_id), _OWN_REVISION]
        if AUTHORIZATION in metadata:
            if self._token is not None:
                raise ValueError(f"expected a token or the metadata {AUTHORIZATION!r}, found both")
            self._refuse_plain_text()
        elif self._token is not None:
            pairs.append((AUTHORIZATION, f"Bearer {self._token()}"))
        return tuple(pairs)

    def _refuse_plain_text(self) -> None:
        if not self._may_authorize:
            raise ValueError(
                f"a token for {self._target!r} would travel in plain text to another machine; leave out "
                "insecure, or reach the service by a loopback address"
            )

    def _method(self, request_type: type) -> Any:
        """Give the method for a type of request, of the connection whose turn it is."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None:
                raise RuntimeError("the client belongs to another event loop; make one client for each loop")
            self._loop = loop
            self._channels = self._channels or [self._open_channel() for _ in range(self._connections)]
            methods = [_methods_of(channel) for channel in self._channels]
            if not self._is_local:
                for channel, methods_of_it in zip(self._channels, methods, strict=True):
                    methods_of_it[Empty] = channel.unary_unary(_NO_METHOD)
            self._turns = itertools.cycle(methods)
        return next(self._turns)[request_type]

    def _open_channel(self) -> CallChannel:
        """Open a channel; it connects with its first call."""
        channel: CallChannel
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self._target, self._options, self._compression)
        else:
            channel = grpc.aio.secure_channel(
                self._target, self._credentials, self._options, self._compression
            )
        return channel


def _take_headers(
    metadata: Iterable[tuple[str, str | bytes]] | None, on_headers: Callable[[Mapping[str, str]], None]
) -> None:
    if headers := headers_in(metadata or ()):
        on_headers(headers)


def _chosen_credentials(
    target: str, insecure: bool | None, credentials: grpc.ChannelCredentials | None
) -> grpc.ChannelCredentials | None:
    """Give the credentials of the channel; None for plain text."""
    if insecure and credentials is not None:
        raise ValueError("expected insecure or credentials, found both")
    if insecure or (insecure is None and credentials is None and is_loopback_target(target)):
        return None
    return credentials or grpc.ssl_channel_credentials()


def _methods_of(channel: CallChannel) -> dict[type, Any]:
    """Give the methods by type of request, from wire bytes to wire bytes.

    The generated stub would have grpc parse the answers, and grpc takes one that can't be parsed for none.
    """
    result: dict[type, Any] = {}
    for method in SERVICE.methods:
        make = channel.unary_stream if method.server_streaming else channel.unary_unary
        result[GetMessageClass(method.input_type)] = make(f"/{SERVICE.full_name}/{method.name}")
    result[health_pb2.HealthCheckRequest] = channel.unary_unary("/grpc.health.v1.Health/Check")
    return result


def _response_types(*, is_stream: bool) -> dict[type, Any]:
    return {
        GetMessageClass(method.input_type): GetMessageClass(method.output_type)
        for method in SERVICE.methods
        if method.server_streaming is is_stream
    }


_RESPONSE_TYPES = _response_types(is_stream=False)
_STREAM_TYPES = _response_types(is_stream=True)


def _closed_error(request_id: str) -> CallError:
    return CallError(
        "the client is closed; make another for more calls",
        code="CANCELLED",
        reason=Reason.CLIENT_CLOSED,
        request_id=request_id,
    )


def _streamed(request: M) -> M:
    """Give the request, if it is one that is answered as a stream."""
    if type(request) not in _STREAM_TYPES:
        _refuse(type(request), _STREAM_TYPES)
    return request


def _refuse(request_type: type, types: dict[type, Any]) -> Never:
    names = " or ".join(kind.__name__ for kind in types)
    raise TypeError(f"expected a {names}, not a {request_type.__name__}")


def _checked_deadline(deadline_s: float) -> float:
    return checked_number("deadline_s", deadline_s, 0, DEADLINE_S_MAX, is_above=True)
