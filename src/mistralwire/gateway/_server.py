"""The gateway's own HTTP server: uvicorn with the limits and the drain of the settings."""

import asyncio
import contextlib
import functools
import socket
import ssl
from typing import Any, Self, cast

import uvicorn
from uvicorn.server import ServerState

from mistralwire._addresses import cannot_listen
from mistralwire._serving.tls_files import TlsFiles
from mistralwire.errors import MistralwireError, Reason
from mistralwire.gateway._app import Gateway
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._protocol import HttpProtocol

_BACKLOG = 2048
# Seconds between two requests of a connection: most proxies and SDKs close theirs before that.
_KEEP_ALIVE_S = 75
# Seconds for requests to tell their callers that the server stops.
_STOP_NOTICE_S = 1.0
_ABORT_S = 0.2
_POLL_S = 0.02


class GatewayServer:
    """Serves a gateway over HTTP/1.1; an async context manager that starts and stops it.

    Args:
        app: The ASGI application, as `create_app` makes it. One that wraps it, or has middleware, costs more,
            and its completions are cut when the server stops.
        config: The settings.

    Attributes:
        port: The port it listens on; with port 0, the free port that was found at the start.
    """

    def __init__(self, app: Any, config: GatewayConfig) -> None:
        self.port = config.port
        self._app = app
        self._config = config
        self._listeners: list[asyncio.Server] = []
        # All connections, and the tasks of ASGI's answers.
        self._server_state = ServerState()

    @property
    def url(self) -> str:
        """URL of the root, without a slash at its end."""
        host = self._config.host.removeprefix("[").removesuffix("]")
        scheme = "http" if self._config.tls_certificate is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Listen and answer. uvicorn's own server is not used, since it has no timeouts for TLS.

        Raises:
            MistralwireError: If the address can't be listened on, with the reason CANNOT_LISTEN; if the
                certificate or key is invalid, with the reason TLS_CERTIFICATE or TLS_KEY.
        """
        loop, tls = asyncio.get_running_loop(), self._tls()
        timeouts_s: dict[str, Any] = {}
        if tls is not None:
            timeouts_s["ssl_handshake_timeout"] = self._config.request_s
            timeouts_s["ssl_shutdown_timeout"] = self._config.caller_idle_s
        state = self._app.direct_state if isinstance(self._app, Gateway) else None
        make = functools.partial(
            HttpProtocol, state, self._config, self._uvicorn_config(), self._server_state
        )
        sockets = await self._bind()
        self.port = sockets[0].getsockname()[1]
        self._listeners = [
            await loop.create_server(make, sock=each, ssl=tls, backlog=_BACKLOG, **timeouts_s)
            for each in sockets
        ]

    async def stop(self, drain_s: float | None = None) -> None:
        """Stop listening, and let running requests end within a time.

        Requests that still run then are answered with 503 or an error event, and cut if their callers can't
        be told. This may be called again while it runs: the shortest time counts.

        Args:
            drain_s: Seconds for running requests to end; None for the setting.
        """
        for listener in self._listeners:
            listener.close()
        connections = cast("set[HttpProtocol]", self._server_state.connections)
        for connection in [*connections]:
            connection.shutdown()
        if await self._have_ended(self._config.drain_s if drain_s is None else drain_s):
            return
        for connection in [*connections]:
            connection.stop_answer()
        if await self._have_ended(_STOP_NOTICE_S):
            return
        for connection in [*connections]:
            connection.transport.abort()
        # A request whose caller has gone ends by itself once it is told.
        if not await self._have_ended(_ABORT_S):
            for task in [*self._server_state.tasks]:
                task.cancel()

    async def _have_ended(self, limit_s: float) -> bool:
        """Wait for all connections and tasks; return whether they have ended in time."""
        state = self._server_state
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while state.connections or state.tasks:  # noqa: ASYNC110 - the sets notify nobody
                    await asyncio.sleep(_POLL_S)
        return not state.connections and not state.tasks

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and cut running requests."""
        await self.stop(0)

    def _uvicorn_config(self) -> uvicorn.Config:
        config = uvicorn.Config(
            self._app,
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            # The caller's address is that of the socket: headers of proxies are not trusted.
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        config.load()
        return config

    def _tls(self) -> ssl.SSLContext | None:
        certificate, key = self._config.tls_certificate, self._config.tls_key
        if certificate is None or key is None:
            return None
        files = TlsFiles(certificate, key)
        context = files.current().context

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
            # OpenSSL calls this in each handshake, even without a host name.
            connection.context = files.current().context

        context.sni_callback = choose
        return context

    async def _bind(self) -> list[socket.socket]:
        """Bind to all addresses of the host, on one port."""
        host, port = self._config.host.removeprefix("[").removesuffix("]"), self._config.port
        loop = asyncio.get_running_loop()
        sockets: list[socket.socket] = []
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for family, _, _, _, place in dict.fromkeys(found):
                listener = socket.create_server(
                    (place[0], port, *place[2:]),
                    family=family,
                    backlog=_BACKLOG,
                    reuse_port=self._config.share_port,
                )
                sockets.append(listener)
                # Inherited by connections. asyncio sets it only on sockets created with a protocol number;
                # without it the second write of an answer waits 40 ms for the caller's acknowledgement.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                port = listener.getsockname()[1]
        except (OSError, UnicodeError) as error:
            for listener in sockets:
                listener.close()
            message = cannot_listen(host, f"{host} port {port}", error)
            raise MistralwireError(message, code="UNAVAILABLE", reason=Reason.CANNOT_LISTEN) from error
        return sockets
