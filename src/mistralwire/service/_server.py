"""A gRPC server with the service, and with TLS, tokens, health, reflection, and draining."""

import asyncio
import contextlib
import dataclasses
import logging
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

import grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_reflection.v1alpha import reflection

from mistralwire._addresses import why_not
from mistralwire._methods import METHODS, RELAY_METHODS, RELAY_SERVICE_NAME, SERVICE_NAME
from mistralwire._serving.tls_files import TlsFiles, TlsMaterial
from mistralwire._serving.tokens import TokenFile
from mistralwire._settings import INT32_MAX
from mistralwire.errors import MistralwireError, Reason, missing_error
from mistralwire.service._config import ServerConfig
from mistralwire.service._health import Health
from mistralwire.service._observers import CallObserver, with_telemetry
from mistralwire.service._relay import Relay
from mistralwire.service._relay_calls import ResponseRelayServicer
from mistralwire.service._servicer import ChatCompletionServicer
from mistralwire.service._status import refuse
from mistralwire.upstream import Upstream

# Concurrent calls of health checks, watches and reflection, which are accepted even if the service is full.
_OTHER_CALLS_MAX = 1024

_CHANNELZ_NAME = "grpc.channelz.v1.Channelz"

# Seconds for the statuses of the calls that are stopped to be sent.
_FINAL_STATUSES_S = 1.0

# Longer than any drain: `stop` decides when it is over, and a later call of it can shorten it.
_FOREVER_S = 1e9

# Seconds that must pass without a new call before gRPC stops, the parts they are waited in, and the attempts.
_HOLD_S = 0.15
_HOLD_PARTS = 10
_HOLDS_MAX = 6

# Keepalive pings that a caller may send too early before it is disconnected.
_PING_STRIKES_MAX = 2
# A pending call takes some 10 KB.
_PENDING_MAX = 65_536
# Earlier versions decompress a whole request before they check its size: a megabyte becomes a gigabyte.
_SAFE_GZIP_VERSION = (1, 84)
_ONLY_IDENTITY = 1

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class _ServerRun:
    """The state between a start and the end of the stop.

    Attributes:
        is_urgent: Set when the drain must not wait any longer.
        is_leaving: Set when connections have been sent a GOAWAY.
        ending: Done when all calls are over; None until it stops.
        cancelling: Cancels them; None until the drain time is over.
    """

    server: grpc.aio.Server
    health: Health
    is_urgent: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    is_leaving: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    ending: asyncio.Task[None] | None = None
    cancelling: asyncio.Task[None] | None = None


class Server:
    """A server of completions; made by `create_server`. An async context manager, which starts and stops it.

    Attributes:
        host: The address it listens on.
        port: The port it listens on; the one that was chosen, after a start with port 0.
    """

    def __init__(
        self,
        upstream: Upstream,
        config: ServerConfig,
        observers: Sequence[CallObserver],
        relay: Relay | None,
    ) -> None:
        self.host = config.host
        self.port = config.port
        self._config = config
        self._servicer = ChatCompletionServicer(upstream, config, observers, relay)
        self._relay_servicer = ResponseRelayServicer(relay, config, observers, self._servicer.drain)
        self._running: _ServerRun | None = None

    @property
    def address(self) -> str:
        """The address it listens on, with the port."""
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{host}:{self.port}"

    async def start(self) -> None:
        """Start the server.

        Raises:
            MistralwireError: With the reason CANNOT_LISTEN if the address can't be used; with the code
                FAILED_PRECONDITION and the setting as the reason, such as TLS_KEY or TOKEN_FILE, if a file
                can't be used; with EXTRA_MISSING if a package is not installed.
            RuntimeError: If it runs already.
        """
        if self._running is not None:
            raise RuntimeError(f"expected a server that is not running, found one on {self.address}")
        config = self._config
        # Before anything listens: a file may be unusable.
        credentials, interceptors = server_credentials(config), self._interceptors()
        # Those of both services.
        calls_max = min(2 * config.calls_max + config.arriving_max + _OTHER_CALLS_MAX, INT32_MAX)
        server = grpc.aio.server(
            interceptors=interceptors,
            options=server_options(config, calls_max),
            maximum_concurrent_rpcs=calls_max,
        )
        try:
            names = self._add_services(server)
            health = Health(names, config.request_s)
            health.add_to(server)
            await self._listen(server, credentials)
            self._running = _ServerRun(server, health)
            await server.start()
        except BaseException:
            self._running = None
            await server.stop(None)
            raise
        _logger.info("listening on %s", self.address)

    def _interceptors(self) -> "list[_TokenInterceptor]":
        config = self._config
        if config.token_file is None:
            return []
        if config.tls_certificate is None and not config.is_local:
            _logger.warning("tokens are sent in plaintext: insecure is set, without TLS")
        return [_TokenInterceptor(TokenFile(config.token_file), self._servicer, self._relay_servicer)]

    def _add_services(self, server: grpc.aio.Server) -> list[str]:
        """Register all services but health; return the names of all."""
        self._servicer.add_to(server)
        self._relay_servicer.add_to(server)
        names = [SERVICE_NAME, RELAY_SERVICE_NAME, HEALTH_NAME]
        if self._config.channelz:
            _add_channelz(server)
            names.append(_CHANNELZ_NAME)
        is_reflected = self._config.reflection
        if self._config.is_local if is_reflected is None else is_reflected:
            names.append(reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        return names

    async def _listen(self, server: grpc.aio.Server, credentials: grpc.ServerCredentials | None) -> None:
        try:
            if credentials is None:
                self.port = server.add_insecure_port(self.address)
            else:
                self.port = server.add_secure_port(self.address, credentials)
        except RuntimeError as error:
            message = await why_not(self.host, self.port, self.address, share_port=self._config.share_port)
            if message is None and credentials is not None:
                message = (
                    f"expected a certificate and key that gRPC can use, found {self._config.tls_certificate} "
                    f"and {self._config.tls_key}, which it rejects; use an RSA or ECDSA P-256 key"
                )
                raise MistralwireError(message, code="FAILED_PRECONDITION", reason=Reason.TLS_KEY) from error
            message = message or f"{self.address} was in use a moment ago, and is free now; try again"
            raise MistralwireError(message, code="UNAVAILABLE", reason=Reason.CANNOT_LISTEN) from error

    async def stop(self, drain_s: float | None = None) -> None:
        """Accept no new calls, let running calls end, and cancel those that do not.

        Health checks report NOT_SERVING at once. It returns when all calls are over for their callers, and
        those that go on without one have ended; an upstream that is slow to be cancelled is not waited for.
        It may be called again, even while it runs: the shortest time counts.

        Args:
            drain_s: Seconds for running calls to end, finite, 0 or more; None for the setting.

        Raises:
            ValueError: If `drain_s` is out of its range.
        """
        if drain_s is None:
            drain_s = self._config.drain_s
        if not 0 <= drain_s < math.inf:
            raise ValueError(f"drain_s must be 0 or more and finite, not {drain_s!r}")
        running = self._running
        if running is None:
            return
        running.health.drain()
        if running.ending is None:
            running.ending = asyncio.create_task(self._end(running))
        await asyncio.wait([running.ending], timeout=drain_s)
        if not running.ending.done():
            running.is_urgent.set()
            # Callers whose call ends make the next one: it must be on another connection.
            await running.is_leaving.wait()
            self._servicer.stop_calls()
            self._relay_servicer.stop_calls()
            # Statuses that can't be sent, for example because their callers read nothing, are dropped.
            await asyncio.wait([running.ending], timeout=_FINAL_STATUSES_S)
        if not running.ending.done() or running.ending.cancelled():
            if running.cancelling is None:
                running.cancelling = asyncio.create_task(running.server.stop(None))
            await asyncio.wait([running.ending, running.cancelling])
        if self._running is running:
            self._running = None

    async def _end(self, running: _ServerRun) -> None:
        """Refuse new calls after the notice for load balancers, and wait for the running ones.

        Before gRPC stops, starts and ends of calls are held until no new call has arrived for a while:
        callers who wait for one call before they make another send nothing at that moment.
        """
        try:
            await _wait(running.is_urgent, self._config.drain_notice_s)
            drain = self._servicer.hold_calls()
            try:
                for _ in range(_HOLDS_MAX):
                    arrived = drain.arrived
                    # In parts: a process that was not scheduled for a while must first see what has arrived.
                    for _ in range(_HOLD_PARTS):
                        await _wait(running.is_urgent, _HOLD_S / _HOLD_PARTS)
                    if running.is_urgent.is_set() or drain.arrived == arrived:
                        break
                stopping = asyncio.create_task(running.server.stop(_FOREVER_S))
                # Its first step sends GOAWAY on all connections, before the statuses of the calls on hold.
                await asyncio.sleep(0)
                running.is_leaving.set()
                self._relay_servicer.leave()
                if drain.arrived:
                    # Other processes on the port count the same seconds: calls that move to one of them now
                    # arrive between two of its attempts, and not at the moment it stops.
                    await _wait(running.is_urgent, _HOLD_S / 2)
            finally:
                drain.release()
            await stopping
            # Responses that go on without their caller have the same time.
            await self._servicer.wait_for_calls()
        finally:
            # Even if this task is cancelled, for example by a second Ctrl-C: `stop` waits for it.
            running.is_leaving.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server, and cancel running calls."""
        await self.stop(0)


def create_server(
    upstream: Upstream,
    config: ServerConfig | None = None,
    observers: Sequence[CallObserver] = (),
    *,
    relay: Relay | None = None,
) -> Server:
    """Create a server, which is not started yet. If OpenTelemetry is set up by now, calls are reported there.

    Args:
        upstream: The source of completions.
        config: Its settings; None for the defaults.
        observers: Observers of the calls.
        relay: Stores the responses; open it before the server starts, and close it after the server has
            stopped. None to store nothing.
    """
    return Server(upstream, config or ServerConfig(), with_telemetry(observers), relay)


async def _wait(event: asyncio.Event, limit_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()


class _TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Rejects calls without a valid token before their request is received; observers are told."""

    def __init__(
        self, tokens: TokenFile, servicer: ChatCompletionServicer, relay_servicer: ResponseRelayServicer
    ) -> None:
        self._tokens = tokens
        self._servicer = servicer
        self._relay_servicer = relay_servicer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        # Health checks come from load balancers, which have no token.
        if not method.startswith(f"/{HEALTH_NAME}/"):
            try:
                self._tokens.check(handler_call_details.invocation_metadata)
            except MistralwireError as error:
                return self._refusing(method, error)
        return await continuation(handler_call_details)

    def _refusing(self, method: str, error: MistralwireError) -> grpc.RpcMethodHandler:
        service, _, name = method.removeprefix("/").rpartition("/")

        async def end(_: object, context: grpc.aio.ServicerContext) -> None:
            # Observers keep the names of methods, so callers must not be able to invent them.
            if service == SERVICE_NAME and name in METHODS:
                await self._servicer.refuse(name, context, error)
            elif service == RELAY_SERVICE_NAME and name in RELAY_METHODS:
                await self._relay_servicer.refuse(name, context, error)
            await refuse(context, error)

        # Client-streaming for all methods: grpc then reads no request.
        return grpc.stream_unary_rpc_method_handler(end)


def _add_channelz(server: grpc.aio.Server) -> None:
    try:
        from grpc_channelz.v1 import channelz  # noqa: PLC0415 - of an extra
    except ImportError:
        raise missing_error("channelz", "grpcio-channelz", "channelz") from None
    channelz.add_channelz_servicer(server)


def server_options(config: ServerConfig, calls_max: int) -> list[tuple[str, int]]:
    """Return the channel arguments of a server with at most this many concurrent calls, of all services.

    Source: https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h
    """
    return [
        ("grpc.max_receive_message_length", config.message_bytes_max),
        *compression_options(),
        # The same limit twice: between the two grpc rejects at random.
        ("grpc.max_metadata_size", config.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", config.metadata_bytes_max),
        # With a lower limit calls would wait in their connection, unseen; beyond this one they are rejected.
        ("grpc.max_concurrent_streams", calls_max),
        # Calls that wait for Python, many of which their callers may have reset: with a low limit gRPC would
        # reject others at random. The same limit twice, as above.
        ("grpc.server.max_pending_requests", _PENDING_MAX),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING_MAX),
        # If the port is not shared, a second server on it is an error.
        ("grpc.so_reuseport", int(config.share_port)),
        ("grpc.server_handshake_timeout_ms", _as_ms(config.handshake_s)),
        ("grpc.max_connection_idle_ms", _as_ms(config.connection_idle_s)),
        # Ends even the calls of a caller who reads nothing, as nothing else does.
        ("grpc.max_connection_age_ms", _as_ms(config.connection_age_s)),
        ("grpc.max_connection_age_grace_ms", _as_ms(config.connection_age_s)),
        ("grpc.keepalive_time_ms", _as_ms(config.keepalive_s)),
        ("grpc.keepalive_timeout_ms", _as_ms(config.keepalive_timeout_s)),
        # For the pings that grpc sends for other reasons, whose default is a minute.
        ("grpc.http2.ping_timeout_ms", _as_ms(config.keepalive_timeout_s)),
        # Both sides may ping between calls too, and this one as often as the setting says.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Known as GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS; the name has no `recv` in it.
        ("grpc.http2.min_ping_interval_without_data_ms", _as_ms(config.keepalive_caller_s_min)),
        ("grpc.http2.max_ping_strikes", _PING_STRIKES_MAX),
        ("grpc.enable_channelz", int(config.channelz)),
    ]


def compression_options(version: str = grpc.__version__) -> list[tuple[str, int]]:
    """Return the channel arguments for compressed requests.

    From grpcio 1.84 on the size of a request is checked after its decompression. With earlier versions
    compressed requests end with UNIMPLEMENTED, which tells a client to send them uncompressed.
    """
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers >= _SAFE_GZIP_VERSION:
        return []
    return [("grpc.compression_enabled_algorithms_bitset", _ONLY_IDENTITY)]


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """Return TLS credentials that follow their files; None for plaintext. See `Server.start` for errors."""
    if config.tls_certificate is None or config.tls_key is None:
        return None
    files = TlsFiles(config.tls_certificate, config.tls_key, config.tls_client_ca)
    given = files.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return the certificate if the files have changed; grpc asks before each handshake, in threads."""
        nonlocal given
        material = files.current()
        if material is given:
            return None
        given = material
        return _certificate(material)

    return grpc.dynamic_ssl_server_credentials(
        _certificate(given), fetch, require_client_authentication=given.authorities is not None
    )


def _certificate(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.authorities)


def _as_ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
