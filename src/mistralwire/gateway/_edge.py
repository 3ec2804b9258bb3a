"""What all requests of a gateway share: who may call, and how many at one time."""

import logging
from collections.abc import Mapping

from mistralwire import _offload
from mistralwire._loopback import is_loopback, is_loopback_target
from mistralwire._tokens import TokenFile
from mistralwire.client import Client
from mistralwire.errors import OverloadError, Reason
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._errors import EdgeError, Headers
from mistralwire.gateway._metrics import PrometheusMetrics
from mistralwire.upstream import ForwardRoutes

EXPOSED_HEADERS = ("x-request-id", "retry-after", "x-should-retry", "mistral-correlation-id")
"""What pages of other origins may read of an answer, beside its body."""


class Edge:
    """What all requests of a gateway share.

    Args:
        client: Calls the service.
        config: The settings.
        metrics: Counts requests; None if nobody does.
        forward: The upstreams for requests that are passed on as they are.

    Attributes:
        passthrough_paths: The paths of these requests, as bytes and as text; none if there is no upstream.
        running: Requests that were admitted and are not over.

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
        self._allowed_origins = config.allowed_origins
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
        if b"origin" in headers:
            self._check_origin(headers)
        if self._tokens is not None:
            value = headers.get(b"authorization")
            self._tokens.check_value(None if value is None else value.decode("latin-1"))
        if self.running >= self.config.requests_max:
            raise OverloadError(
                f"the gateway has {self.config.requests_max} requests, as many as it takes; try again later",
                reason=Reason.TOO_MANY_REQUESTS,
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
