"""What all requests of a gateway share: who may call, and how many at one time."""

import logging
from collections.abc import Mapping

from mistralwire import _offload
from mistralwire._addresses import is_loopback, is_loopback_target
from mistralwire._serving.incomplete_requests import IncompleteRequests
from mistralwire._serving.tokens import TokenFile
from mistralwire._trace_context import is_recorded
from mistralwire.client import TOKEN_REFUSED, Client, is_refusing_caller
from mistralwire.errors import CallError, MistralwireError, OverloadError, Reason, name_in
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._errors import EdgeError, Headers
from mistralwire.gateway._metrics import PrometheusMetrics
from mistralwire.upstream import ForwardRoutes

EXPOSED_HEADERS = ("x-request-id", "retry-after", "x-should-retry", "mistral-correlation-id")
"""What pages of other origins may read of an answer, beside its body."""


_TOKEN_REFUSED = "the service refuses the gateway's token"  # noqa: S105 - a message
_TOKEN_WANTED = "the service wants a token, and the gateway has none"  # noqa: S105 - a message

_logger = logging.getLogger(__name__)


class Edge:
    """What all requests of a gateway share.

    Args:
        client: Calls the service.
        config: The settings.
        metrics: Counts requests; None if nobody does.
        forward: The upstreams for requests that are passed on as they are.

    Attributes:
        passthrough_paths: The paths of these requests, as bytes and as text; none if there is no upstream.
        running: Requests that have arrived and are not over.
        arriving: Requests that were admitted and have not fully arrived.
        bodies_bytes: Bytes of the bodies of both.
        is_traced: Whether a context of a trace that callers send is entered.

    Raises:
        MistralwireError: If the file with the keys can't be used.
        ValueError: If `passthrough_paths` has something else in it.
    """

    def __init__(
        self,
        client: Client,
        config: GatewayConfig,
        metrics: PrometheusMetrics | None,
        forward: ForwardRoutes,
    ) -> None:
        self.client = client
        self.config = config
        self.metrics = metrics
        self.forward = forward
        paths = {path.encode(): path for path in config.passed_through}
        self.passthrough_paths = {} if forward.is_empty else paths
        self.running = 0
        self.arriving = IncompleteRequests(config.arriving_max)
        self.bodies_bytes = 0
        self.is_traced = is_recorded()
        self._is_refused = False
        self._allowed_origins = config.allowed_origins
        self._tokens = None if config.token_file is None else TokenFile(config.token_file)
        if self._tokens is not None and config.tls_certificate is None and not is_loopback(config.host):
            _logger.warning("keys travel in plain text: insecure is set, without TLS")

    def admit(self, headers: Mapping[bytes, bytes]) -> None:
        """Let a request pass, or not.

        Args:
            headers: Its headers.

        Raises:
            EdgeError: If it comes from a page of another origin (403).
            MistralwireError: If it has no key that is known (401).
            OverloadError: If there are too many requests (429).
        """
        if b"origin" in headers:
            self._check_origin(headers)
        if self._tokens is not None:
            value = headers.get(b"authorization")
            self._tokens.check_value(None if value is None else value.decode("latin-1"))
        self.check_room()

    def check_room(self) -> None:
        """Check whether there is room for another request.

        Raises:
            OverloadError: If there is none (429).
        """
        if self.running >= self.config.requests_max:
            raise OverloadError(
                f"the gateway has {self.config.requests_max} requests, as many as it takes; try again later",
                reason=Reason.TOO_MANY_REQUESTS,
            )

    async def why_not_ready(self, deadline_s: float) -> str | None:
        """Find out why the gateway can't answer; None if it can.

        Args:
            deadline_s: How long each question to the service may take, in seconds.
        """
        cause = await self.client.why_not_serving(deadline_s=deadline_s)
        if cause == TOKEN_REFUSED:
            self._warn_of_refusal("")
            return self._refusal
        self._is_refused = False
        return None if cause is None else f"the service is not serving: {cause}"

    def answered(self, error: MistralwireError) -> MistralwireError:
        """Return the error for the caller of a request that the service has ended with an error.

        Where the service refuses the gateway's token the caller can do nothing about it, and a status of 401
        would send them looking for a fault in their own key.

        Args:
            error: The error of the service.
        """
        if not isinstance(error, CallError) or not is_refusing_caller(error):
            return error
        self._warn_of_refusal(error.reason)
        return CallError(
            self._refusal,
            code="INTERNAL",
            reason=Reason.INTERNAL,
            request_id=error.request_id,
            should_retry=False,
        )

    @property
    def _refusal(self) -> str:
        return _TOKEN_REFUSED if self.client.has_token else _TOKEN_WANTED

    def _warn_of_refusal(self, reason: str) -> None:
        """Log that the service refuses the gateway, once until it is ready again."""
        if not self._is_refused:
            self._is_refused = True
            with_reason = f" ({name})" if (name := name_in(reason)) else ""
            _logger.warning(
                "%s%s; name a file with one that it knows as --service-token-file",
                *(self._refusal, with_reason),
            )

    def set_caller(self, address: str, headers: Mapping[bytes, bytes]) -> None:
        """Say whose request this is, for its turn among those that are converted in threads.

        Args:
            address: The caller's address.
            headers: The headers of the request, which was admitted.
        """
        key = b"" if self._tokens is None else headers[b"authorization"]
        _offload.set_caller(address, key.decode("latin-1"))

    def cors_headers(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Return what lets the page that sent a request read the answer; as Starlette's CORSMiddleware.

        Args:
            headers: The headers of the request.
        """
        origin = headers.get(b"origin")
        if origin is None or not self._allowed_origins:
            return []
        answer = [(b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode())]
        if "*" in self._allowed_origins:
            return [*answer, (b"access-control-allow-origin", b"*")]
        if origin.decode("latin-1") in self._allowed_origins:
            answer.append((b"access-control-allow-origin", origin))
        return [*answer, (b"vary", b"Origin")]

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
        if "*" not in self._allowed_origins and origin not in self._allowed_origins:
            message = "expected a page whose origin is in cors_origins, found another"
            raise EdgeError(403, message, reason=Reason.ORIGIN_NOT_ALLOWED)
