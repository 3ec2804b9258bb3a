"""The routes that answer completions."""

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from mistralwire import _offload
from mistralwire._loopback import is_loopback, is_loopback_target
from mistralwire._tokens import TokenFile
from mistralwire.client import Client
from mistralwire.codec import Limits, binary_to_json, encode_sse, from_json, read_request
from mistralwire.errors import NAME_PATTERN, CodecError, MistralwireError, OverloadError, Reason
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._errors import Answer, EdgeError, answer_of, error_event, unwritable
from mistralwire.gateway._exchange import CallerGoneError, Exchange, Receive, Scope, Send, WhileCaller
from mistralwire.gateway._metrics import Metrics
from mistralwire.gateway._stream import send_stream
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionStreamRequest,
    FIMCompletionRequest,
    FIMCompletionStreamRequest,
)

VALUES_MAX = 100_000
"""JSON values in one request: as many as the service takes."""

GONE = 499
"""Status of a request whose caller hung up, in the log and in metrics: nobody gets to see it."""

VERTEX_PATH = "/v1/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}"
"""What a path of Vertex AI begins with; then follows `:rawPredict` or `:streamRawPredict`."""

_LIMITS = Limits(values_max=VALUES_MAX)
_STREAM_TYPES: dict[type[Message], type[Message]] = {
    ChatCompletionRequest: ChatCompletionStreamRequest,
    FIMCompletionRequest: FIMCompletionStreamRequest,
    AgentsCompletionRequest: AgentsCompletionStreamRequest,
}

_logger = logging.getLogger("mistralwire.gateway.access")

M = TypeVar("M", bound=Message)


class Edge:
    """What all routes of a gateway share.

    Args:
        client: Calls the service.
        config: The settings.
        metrics: Counts requests.

    Raises:
        MistralwireError: If the file with the keys can't be used.
    """

    def __init__(self, client: Client, config: GatewayConfig, metrics: Metrics) -> None:
        self.client = client
        self.config = config
        self.metrics = metrics
        self.running = 0
        self._tokens = None if config.token_file is None else TokenFile(config.token_file)
        if self._tokens is not None and config.tls_certificate is None and not is_loopback(config.host):
            logging.getLogger(__name__).warning("keys travel in plain text: insecure is set, without TLS")

    def admit(self, headers: Mapping[bytes, bytes]) -> None:
        """Let a request pass, or not.

        Args:
            headers: Its headers.

        Raises:
            EdgeError: If it comes from a page of another origin (403).
            MistralwireError: If it has no key that is known (401).
            OverloadError: If there are too many requests (429).
        """
        self._check_origin(headers)
        if self._tokens is not None:
            value = headers.get(b"authorization")
            self._tokens.check([] if value is None else [("authorization", value.decode("latin-1"))])
        if self.running >= self.config.requests_max:
            raise OverloadError(
                f"the gateway has {self.config.requests_max} requests, as many as it takes; try again later",
                reason=Reason.TOO_MANY_REQUESTS,
            )

    def set_caller(self, exchange: Exchange) -> None:
        """Say whose request this is, for its turn among those that are converted in threads.

        Args:
            exchange: The request, which was admitted.
        """
        key = b"" if self._tokens is None else exchange.headers[b"authorization"]
        # A server may know no address, as on a Unix socket.
        address = (exchange.scope.get("client") or ("",))[0]
        _offload.set_caller(address, key.decode("latin-1"))

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse pages of other origins: a browser sends what they ask for, allowed or not.

        A page of the gateway's own origin may call. On a loopback address without keys its name must be that
        of this machine: any other can be a name that leads here, of a page from elsewhere (DNS rebinding).
        """
        origin = headers.get(b"origin", b"").decode("latin-1").rstrip("/")
        if not origin:
            return
        host = headers.get(b"host", b"").decode("latin-1")
        is_exposed = is_loopback(self.config.host) and self._tokens is None
        if origin.partition("://")[2] == host and (not is_exposed or is_loopback_target(host)):
            return
        allowed = self.config.allowed_origins
        if "*" not in allowed and origin not in allowed:
            message = "expected a page whose origin is in cors_origins, found another"
            raise EdgeError(403, message, reason=Reason.ORIGIN_NOT_ALLOWED)


class Completions:
    """Answers one route: an ASGI application.

    Args:
        edge: What it shares with the others.
        route: Name of the route, for the log and for metrics.
        request_type: The class of its requests; None to see from the body, as Vertex AI has it.
        is_stream: Whether the answer is a stream; None to see from the body.
    """

    def __init__(
        self, edge: Edge, route: str, request_type: type[Message] | None, *, is_stream: bool | None = None
    ) -> None:
        self._edge = edge
        self._route = route
        self._request_type = request_type
        self._is_stream = is_stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        edge = self._edge
        exchange = Exchange(scope, receive, send, edge.config.caller_idle_s)
        failure: MistralwireError | None = None
        with edge.metrics.watching(self._route, exchange):
            try:
                failure = await self._outcome(exchange)
            except CallerGoneError:
                exchange.status = GONE
            finally:
                _log(self._route, exchange, failure)

    async def _outcome(self, exchange: Exchange) -> MistralwireError | None:
        """Answer, whatever becomes of it; give what went wrong."""
        edge = self._edge
        try:
            edge.admit(exchange.headers)
            edge.set_caller(exchange)
            edge.running += 1
            try:
                await self._answer(exchange)
            finally:
                edge.running -= 1
        except MistralwireError as error:
            if exchange.status:
                exchange.is_broken = True
                await exchange.write(encode_sse(error_event(error)), is_last=True)
            else:
                await exchange.answer(answer_of(error))
            return error
        return None

    async def _answer(self, exchange: Exchange) -> None:
        config = self._edge.config
        async with WhileCaller(exchange) as caller:
            body = await exchange.read_body(config.body_bytes_max, config.request_s)
            caller.watch()
            request, is_stream = await _offload.convert(body, self._read, body, exchange.path_model)
            exchange.model = getattr(request, "model", "")
            exchange.agent_id = getattr(request, "agent_id", "")
            options: dict[str, Any] = {
                "deadline_s": config.deadline_s,
                "request_id": exchange.request_id,
                "metadata": exchange.metadata(),
            }
            if is_stream:
                batches = self._edge.client.stream_batches(request, **options)
                await send_stream(exchange, batches, config.heartbeat_s)
            else:
                response = await self._edge.client.complete(request, **options)
                wire = response.SerializeToString()
                text = await _offload.convert(wire, _written, type(response), wire)
                await exchange.answer(Answer(200, text, []))

    def _read(self, body: bytes, path_model: str) -> tuple[Any, bool]:
        """Read a request, checked; say whether its answer is a stream."""
        request_type = self._request_type or _type_of(body)
        revision = self._edge.config.contract_revision
        request: Any = read_request(request_type, body, oldest_revision=revision, limits=_LIMITS)
        # On Vertex AI the path alone has the version of some models: codestral@2405 for codestral.
        name, _, version = path_model.partition("@")
        if version and request.model == name:
            request.model = f"{name}-{version}"
        is_stream = request.stream if self._is_stream is None else self._is_stream
        return (_retyped(request, _STREAM_TYPES[request_type]) if is_stream else request), is_stream


def _type_of(body: bytes) -> type[Message]:
    """Say which kind of request came where the path does not."""
    if from_json(ChatCompletionRequest, body, validate=False, limits=_LIMITS).messages:
        return ChatCompletionRequest
    is_fim = from_json(FIMCompletionRequest, body, validate=False, limits=_LIMITS).HasField("prompt")
    return FIMCompletionRequest if is_fim else ChatCompletionRequest


def _retyped(request: Message, stream_type: type[M]) -> M:
    """Give a request as one for a stream: the two have the same fields under the same numbers."""
    return stream_type.FromString(request.SerializeToString())


def _written(response_type: type[Message], wire: bytes) -> bytes:
    try:
        return binary_to_json(response_type, wire)
    except CodecError:
        raise unwritable() from None


def _log(route: str, exchange: Exchange, failure: MistralwireError | None) -> None:
    """Log a request when it is over; nothing of its content, and no text of an error."""
    level = logging.WARNING if exchange.status >= 500 or exchange.is_broken else logging.INFO
    if not _logger.isEnabledFor(level):
        return
    extra: dict[str, Any] = {
        "request_id": exchange.request_id,
        "http_status": exchange.status,
        "duration_ms": round(exchange.elapsed_s() * 1000, 1),
    }
    if exchange.chunks:
        extra["chunks"] = exchange.chunks
        extra["first_chunk_ms"] = round(exchange.first_chunk_s * 1000, 1)
    # Callers and services choose these, and may put anything there.
    named = {"model": exchange.model, "agent_id": exchange.agent_id}
    if failure is not None:
        named["reason"] = failure.reason
    extra |= {name: text for name, text in named.items() if NAME_PATTERN.fullmatch(text)}
    _logger.log(level, "POST %s", route, extra=extra)
