"""The gateway's own server: uvicorn, with the bounds and the end that the settings ask for."""

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
# Between two requests of a connection: longer than most proxies and SDKs keep theirs, so they close first.
_KEEP_ALIVE_S = 75
# How long requests have to tell their callers that the server stops.
_STATUS_S = 1.0
_ABORT_S = 0.2
_POLL_S = 0.02


class GatewayServer:
    """Serves a gateway over HTTP/1.1. As an async context manager it starts and stops.

    Args:
        app: The ASGI application, as `create_app` makes it. One that wraps it, or has middleware, costs more,
            and its completions are cut when the server stops.
        config: The settings.

    Attributes:
        port: The port it listens on; the one that was found free, once it was started with port 0.
    """

    def __init__(self, app: Any, config: GatewayConfig) -> None:
        self.port = config.port
        self._app = app
        self._config = config
        self._is_started = False

    @property
    def url(self) -> str:
        """URL of the root, without a slash at its end."""
        host = self._config.host.removeprefix("[").removesuffix("]")
        scheme = "http" if self._config.tls_certificate is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Listen and answer. Of uvicorn's server only its state is used: it has no bounds on TLS.

        Raises:
            MistralwireError: If the address can't be listened on, with the reason CANNOT_LISTEN; if
                certificate and key can't be used, with the reason TLS_CERTIFICATE or TLS_KEY.
        """
        loop, server = asyncio.get_running_loop(), uvicorn.Server(self._uvicorn_config())
        tls = self._tls()
        bounds_s: dict[str, Any] = {}
        if tls is not None:
            bounds_s["ssl_handshake_timeout"] = self._config.request_s
            bounds_s["ssl_shutdown_timeout"] = self._config.caller_idle_s
        edge = self._app.edge if isinstance(self._app, Gateway) else None
        make = functools.partial(HttpProtocol, edge, self._config, server.config, server.server_state)
        sockets = await self._bind()
        self.port = sockets[0].getsockname()[1]
        server.servers = [
            await loop.create_server(make, sock=each, ssl=tls, backlog=_BACKLOG, **bounds_s)
            for each in sockets
        ]
        self._server = server
        self._is_started = True

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no new requests, let those that run end, and end those that do not.

        What still runs then is answered with 503, or an event in a stream, and cut if that can't be told. It
        may be called again, also while it runs: the shortest time counts.

        Args:
            drain_s: Time for running requests to end, in seconds; None for the setting.
        """
        if not self._is_started:
            return
        state = self._server.server_state
        for listener in self._server.servers:
            listener.close()
        connections = cast("set[HttpProtocol]", state.connections)
        for connection in [*connections]:
            connection.shutdown()
        if await self._have_ended(state, self._config.drain_s if drain_s is None else drain_s):
            return
        for connection in [*connections]:
            connection.stop_answer()
        if await self._have_ended(state, _STATUS_S):
            return
        for connection in [*connections]:
            connection.transport.abort()
        # A request whose caller has gone ends by itself once it hears of that.
        if not await self._have_ended(state, _ABORT_S):
            for task in [*state.tasks]:
                task.cancel()

    @staticmethod
    async def _have_ended(state: ServerState, limit_s: float) -> bool:
        """Wait for all connections and what they run; return whether all have ended in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while state.connections or state.tasks:  # noqa: ASYNC110 - the sets tell nobody
                    await asyncio.sleep(_POLL_S)
        return not state.connections and not state.tasks

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and cut what still runs."""
        await self.stop(0)

    def _uvicorn_config(self) -> uvicorn.Config:
        config = uvicorn.Config(
            self._app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Who calls is told by the socket: nothing here goes by what proxies say.
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        config.load()
        return config

    def _tls(self) -> ssl.SSLContext | None:
        """Return a context whose handshakes follow the files from now on; None for plain text."""
        certificate, key = self._config.tls_certificate, self._config.tls_key
        if certificate is None or key is None:
            return None
        files = TlsFiles(certificate, key)
        context = files.current().context

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
            # OpenSSL asks in each handshake, also where the caller names no host.
            connection.context = files.current().context

        context.sni_callback = choose
        return context

    async def _bind(self) -> list[socket.socket]:
        """Bind to all addresses of the host, to one port."""
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
                # asyncio sets it where a socket names its protocol, unlike these: the second write of an
                # answer would wait 40 ms for the caller's acknowledgement. Connections inherit it.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                port = listener.getsockname()[1]
        except (OSError, UnicodeError) as error:
            for listener in sockets:
                listener.close()
            message = cannot_listen(host, f"{host} port {port}", error)
            raise MistralwireError(message, code="UNAVAILABLE", reason=Reason.CANNOT_LISTEN) from error
        return sockets
