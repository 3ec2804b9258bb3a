"""What all requests of a gateway share: the client, the limits in use, and which callers are admitted."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from mistralwire import _offload
from mistralwire._addresses import is_loopback, is_loopback_target
from mistralwire._serving.incomplete_requests import IncompleteRequests
from mistralwire._serving.tokens import TokenFile, token_digest
from mistralwire._trace_context import is_recorded
from mistralwire.client import TOKEN_REFUSED, Client, is_refusing_caller
from mistralwire.errors import CallError, MistralwireError, OverloadError, Reason, name_in
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._errors import Headers, HttpError
from mistralwire.gateway._metrics import PrometheusMetrics
from mistralwire.gateway._streams import StreamStore
from mistralwire.upstream import ForwardRoutes

EXPOSED_HEADERS = (
    "x-request-id",
    "retry-after",
    "x-should-retry",
    "mistral-correlation-id",
    "x-ignored-members",
    *("x-mistralwire-response-id", "x-mistralwire-response-state", "x-mistralwire-response-reason"),
    "x-mistralwire-last-sequence",
    # Of durable streams.
    *("etag", "location", "stream-closed", "stream-cursor", "stream-expires-at", "stream-next-offset"),
    *("stream-sse-data-encoding", "stream-ttl", "stream-up-to-date"),
    *("producer-epoch", "producer-expected-seq", "producer-received-seq", "producer-seq"),
)
"""Headers of an answer that pages of other origins may read."""

_SENT_ONCE = (b"authorization", b"idempotency-key")
# Answered by any host name: they reveal nothing, and probes may use any.
_HEALTH_PATHS = (b"/healthz", b"/readyz")

_logger = logging.getLogger(__name__)


class GatewayState:
    """What all requests of a gateway share.

    Attributes:
        metrics: None for no metrics.
        streams: The streams that callers name; None without a log.
        passthrough_paths: The paths of passthrough, as bytes and as text; none without an upstream for them.
        running: Requests that have arrived and have not ended.
        arriving: Requests that were admitted and have not fully arrived.
        bodies_bytes: Bytes of the bodies of both.
        is_traced: Whether the trace context in callers' headers is attached.

    Raises:
        MistralwireError: If the token file is invalid.
        ValueError: If `passthrough_paths` is invalid.
    """

    def __init__(
        self,
        client: Client,
        config: GatewayConfig,
        metrics: PrometheusMetrics | None,
        forward: ForwardRoutes,
        streams: StreamStore | None,
    ) -> None:
        self.client = client
        self.config = config
        self.metrics = metrics
        self.forward = forward
        self.streams = streams
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
        """Check the origin and the key of a request by its headers, and that there is room for it.

        Raises:
            HttpError: If it comes from a page of another origin (403).
            MistralwireError: If it has no key, or an unknown one (401).
            OverloadError: If there are too many requests (429).
        """
        self.check_origin(headers)
        if self._tokens is not None:
            value = headers.get(b"authorization")
            self._tokens.check_value(None if value is None else value.decode("latin-1"))
        self.check_room()

    def check_room(self) -> None:
        """Raise an OverloadError if there is no room for another request."""
        if self.running >= self.config.requests_max:
            raise OverloadError(
                f"the gateway is at its limit of {self.config.requests_max} requests; retry later",
                reason=Reason.TOO_MANY_REQUESTS,
            )

    def hold(self, size: int) -> None:
        """Count bytes of a body, which the caller subtracts again.

        Raises:
            OverloadError: If the bodies of all requests exceed their limit (503); the bytes still count.
        """
        self.bodies_bytes += size
        most = self.config.bodies_bytes_max
        if self.bodies_bytes > most:
            message = f"the bodies of all requests are at their limit of {most} bytes; retry later"
            raise OverloadError(message, code="UNAVAILABLE", reason=Reason.TOO_MANY_BYTES)

    async def why_not_ready(self, deadline_s: float) -> str | None:
        """Find out why the gateway can't answer; None if it can. The deadline is that of each call."""
        cause = await self.client.why_not_serving(deadline_s=deadline_s)
        if cause == TOKEN_REFUSED:
            self._warn_of_refusal("")
            return self._refusal
        self._is_refused = False
        return None if cause is None else f"the service is not serving: {cause}"

    def error_for_caller(self, error: MistralwireError) -> MistralwireError:
        """Return the error that the caller sees for an error of the service.

        A service that rejects the gateway's own token becomes an internal error: a 401 would send callers
        looking for a fault in their own key.
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
        if self.client.has_token:
            return "the service refuses the gateway's token"
        return "the service wants a token, and the gateway has none"

    def _warn_of_refusal(self, reason: str) -> None:
        """Log that the service rejects the gateway's token, once until it is ready again."""
        if not self._is_refused:
            self._is_refused = True
            with_reason = f" ({name})" if (name := name_in(reason)) else ""
            _logger.warning(
                "%s%s; name a file with one that it knows as --service-token-file",
                *(self._refusal, with_reason),
            )

    def set_caller(self, address: str, headers: Mapping[bytes, bytes]) -> None:
        """Set the caller of an admitted request, for the scheduling of its conversions in threads."""
        # Without one if the query has a token.
        key = b"" if self._tokens is None else headers.get(b"authorization", b"")
        _offload.set_caller(address, key.decode("latin-1"))

    def owner_of(self, headers: Mapping[bytes, bytes]) -> str:
        """Return whose the things that an admitted request stores are: a digest of its key, or empty."""
        return owner_of_key(self.key_digest_of(headers))

    def key_digest_of(self, headers: Mapping[bytes, bytes]) -> bytes:
        """Return the digest of an admitted request's key, one of `key_digests`; empty without keys."""
        if self._tokens is None:
            return b""
        return token_digest(headers[b"authorization"].partition(b" ")[2].strip(b" "))

    @property
    def key_digests(self) -> Sequence[bytes]:
        """The digests of all callers' keys; an empty one without keys."""
        return [b""] if self._tokens is None else self._tokens.digests()

    def cors_headers(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Return the CORS headers for the answer to a request: those of Starlette's CORSMiddleware."""
        origin = headers.get(b"origin")
        if origin is None or not self._allowed_origins:
            return []
        answer = [(b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode())]
        if "*" in self._allowed_origins:
            return [*answer, (b"access-control-allow-origin", b"*")]
        if origin.decode("latin-1") in self._allowed_origins:
            answer.append((b"access-control-allow-origin", origin))
        return [*answer, (b"vary", b"Origin")]

    def check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse pages of other origins: a browser sends their requests, whether or not CORS allows it.

        Pages of the gateway's own origin may call. On a loopback address without keys its host must be a name
        of this machine: any other may be a foreign page's name that resolves to this address (DNS rebinding).
        """
        origin = headers.get(b"origin", b"").decode("latin-1").rstrip("/")
        if not origin:
            return
        host = headers.get(b"host", b"").decode("latin-1")
        is_exposed = is_loopback(self.config.host) and self._tokens is None
        if origin.partition("://")[2] == host and (not is_exposed or is_loopback_target(host)):
            return
        if "*" not in self._allowed_origins and origin not in self._allowed_origins:
            message = (
                "expected a page whose origin is in cors_origins, found another; "
                "add its origin to cors_origins if it may call the gateway"
            )
            raise HttpError(403, message, reason=Reason.ORIGIN_NOT_ALLOWED)


def owner_of_key(digest: bytes) -> str:
    """Return the owner that stands for a key: 32 hexadecimal digits, or empty without a key."""
    return digest.hex()[:32]


def problem_of_keys(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Describe a request with two keys, of which a proxy may read the first and the gateway the last."""
    keys = [name for name, _ in headers if name in _SENT_ONCE]
    for name in _SENT_ONCE:
        if (count := keys.count(name)) > 1:
            return f"expected at most one {name.decode()}, found {count}"
    return None


def foreign_host_error(
    config: GatewayConfig, method: str, path: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> HttpError | None:
    """Return the error of a GET that may come from a foreign page by DNS rebinding; None for others.

    Such a GET has no Origin. All other requests of pages have one, which `GatewayState.admit` checks. The
    path's query and a slash at its end do not count.
    """
    path = path.partition(b"?")[0].removesuffix(b"/")
    if method not in ("GET", "HEAD") or path in _HEALTH_PATHS:
        return None
    if config.token_file is not None or not is_loopback(config.host):
        return None
    # Browsers always send a host.
    host = next((value.decode("latin-1").strip() for name, value in headers if name == b"host"), "localhost")
    if is_loopback_target(host) or {"*", f"http://{host}", f"https://{host}"} & {*config.allowed_origins}:
        return None
    message = (
        "expected a host that is this machine, such as localhost, found another name, on a loopback address "
        "without keys; add its origin to cors_origins, or set token_file"
    )
    return HttpError(403, message, reason=Reason.ORIGIN_NOT_ALLOWED)
