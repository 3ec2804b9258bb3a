"""The client: a pool of connections."""

import asyncio
import collections
import functools
import socket
import ssl
from collections.abc import Mapping

from mistralwire._timeouts import Timeouts
from mistralwire.upstream._http1._connect import forget_if_closed, open_socket, tls_error
from mistralwire.upstream._http1._connection import Connection
from mistralwire.upstream._http1._errors import UnreachableError
from mistralwire.upstream._http1._exchange import Exchange, ResponseReceiver, Upload
from mistralwire.upstream._http1._request import (
    Origin,
    Proxy,
    SharedHead,
    encode_head,
    end_of_head,
    split_url,
)

IDLE_S = 4.0
"""Seconds for which an idle connection is kept: less than the 5 seconds after which uvicorn closes it."""

_CLOSED = "the client was closed"
_KEPT_HEADS_MAX = 64
_KEPT_CHARS_MAX = 1024


class HttpClient:
    """Sends requests on pooled connections, in the event loop that is running when it is made.

    The number of connections is not bounded: the caller bounds the number of requests. TLS trusts the
    system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR.

    Args:
        connect_s: Seconds until a connection is established, name lookup and TLS handshake included.
        proxy: The proxy; None to connect directly.

    Attributes:
        timeouts: Timers for those who wait for responses.
    """

    def __init__(self, *, connect_s: float, proxy: Proxy | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect_s = connect_s
        self._proxy = proxy
        self._open: set[Connection] = set()
        # Those of an origin, the one used last at the end.
        self._idle: dict[Origin, list[Connection]] = collections.defaultdict(list)
        self._connecting: set[asyncio.Task[Connection]] = set()
        # Heads of recent requests by method, URL and Accept, in which alone requests to one target differ.
        self._heads: dict[tuple[str, str, str | None], SharedHead] = {}
        self._sweep_timer: asyncio.TimerHandle | None = None
        self.timeouts = Timeouts()
        self._all_lost = asyncio.Event()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Upload | None,
        receiver: ResponseReceiver,
        *,
        own_headers: Mapping[str, str] = {},
    ) -> Exchange:
        """Send a request, on an idle connection or a new one.

        If a reused connection is lost before the first byte of the response, the request is sent once more,
        on a new one. A request with an Upload can't be sent again, and always uses a new connection.

        Args:
            method: The method, such as `POST`.
            url: An http or https URL.
            headers: Further headers, without Host, Content-Length and Accept-Encoding. They are cached, so
                that the next request with the same headers need not encode them.
            body: The body; None for none.
            receiver: Receives the response.
            own_headers: Headers of this request alone, which are never cached.

        Returns:
            A handle to pause and to cancel the request.

        Raises:
            ValueError: If the URL, the method or a header is invalid; nothing is sent then.
        """
        place = (method, url, headers.get("accept"))
        head = self._heads.get(place)
        if head is None or head.headers != headers:
            head = self._encoded(method, url, headers)
            # A path may contain text of a caller.
            if len(url) <= _KEPT_CHARS_MAX:
                if len(self._heads) >= _KEPT_HEADS_MAX:
                    self._heads.clear()
                self._heads[place] = head
        is_upload = isinstance(body, Upload)
        if isinstance(body, Upload):
            end = end_of_head(own_headers, body.length, is_chunked=body.length is None)
        else:
            end = end_of_head(own_headers, None if body is None else len(body))
        lines = head.lines + end
        exchange = Exchange(head.origin, lines, body or b"", receiver, is_head=method == "HEAD")
        connection = None if is_upload else self._take(head.origin)
        if connection is None:
            self.repeat(exchange)
        else:
            connection.send(exchange)
        return exchange

    def _encoded(self, method: str, url: str, headers: Mapping[str, str]) -> SharedHead:
        address = split_url(url)
        proxy = self._proxy
        target = address.path
        fields = {"accept-encoding": "identity", **headers}
        if proxy is not None and not address.origin.is_tls:
            target = address.absolute
            if proxy.authorization is not None:
                fields["proxy-authorization"] = proxy.authorization
        return SharedHead({**headers}, address.origin, encode_head(method, target, address.host, fields))

    async def close(self) -> None:
        """Close all connections; exchanges in progress fail with an UnreachableError."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        self._idle.clear()
        connecting = list(self._connecting)
        for task in connecting:
            task.cancel()
        for connection in list(self._open):
            connection.fail(UnreachableError(_CLOSED))
        await asyncio.gather(*connecting, return_exceptions=True)
        while self._open:
            self._all_lost.clear()
            await self._all_lost.wait()

    def release(self, connection: Connection) -> None:
        """Keep an idle connection for the next exchange with its origin."""
        connection.was_idle = True
        connection.idle_since_s = self._loop.time()
        self._idle[connection.origin].append(connection)
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(IDLE_S, self._sweep)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)
        if not self._open:
            self._all_lost.set()

    def repeat(self, exchange: Exchange) -> None:
        """Send a request on a new connection."""
        task = self._loop.create_task(self._connected(exchange.origin))
        self._connecting.add(task)
        exchange.wait_for(task)
        task.add_done_callback(functools.partial(self._start, exchange))

    async def _connected(self, origin: Origin) -> Connection:
        try:
            async with asyncio.timeout(self._connect_s):
                sock = await open_socket(origin, self._proxy)
                connection = await self._with_transport(sock, origin)
        except TimeoutError:
            raise UnreachableError(f"no connection within {self._connect_s:g} s") from None
        except OSError as error:
            raise tls_error(error) from None
        # Not in its constructor: if this task is cancelled, uvloop does not call `connection_lost`.
        if not connection.is_lost:
            self._open.add(connection)
        return connection

    async def _with_transport(self, sock: socket.socket, origin: Origin) -> Connection:
        """Make a connection from a socket, which the event loop owns from now on."""
        tls = self._tls if origin.is_tls else None
        try:
            _, connection = await self._loop.create_connection(
                functools.partial(Connection, self, origin),
                sock=sock,
                ssl=tls,
                server_hostname=None if tls is None else origin.host,
            )
        except BaseException:
            if not isinstance(self._loop, asyncio.BaseEventLoop):
                forget_if_closed(sock)
            raise
        return connection

    def _start(self, exchange: Exchange, task: asyncio.Task[Connection]) -> None:
        """Send a request on its new connection."""
        self._connecting.discard(task)
        if task.cancelled():
            # By the exchange, which is over then, or by `close`.
            exchange.fail(UnreachableError(_CLOSED))
        elif (error := task.exception()) is not None:
            exchange.fail(error if isinstance(error, Exception) else UnreachableError("connecting failed"))
        elif exchange.is_over:
            self.release(task.result())
        elif task.result().is_open:
            task.result().send(exchange)
        else:
            exchange.fail(UnreachableError("it closed the connection instead of answering"))

    def _take(self, origin: Origin) -> Connection | None:
        """Return the most recently used idle connection; None if there is none."""
        idle = self._idle.get(origin)
        oldest_s = self._loop.time() - IDLE_S
        while idle:
            connection = idle.pop()
            if connection.is_open and connection.idle_since_s > oldest_s:
                return connection
            connection.abort()
        return None

    def _sweep(self) -> None:
        """Close the connections that have been idle for too long."""
        self._sweep_timer = None
        oldest_s = self._loop.time() - IDLE_S
        for idle in self._idle.values():
            while idle and idle[0].idle_since_s <= oldest_s:
                idle.pop(0).abort()
        due_s = min((idle[0].idle_since_s for idle in self._idle.values() if idle), default=None)
        if due_s is not None:
            self._sweep_timer = self._loop.call_at(due_s + IDLE_S, self._sweep)

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        """The context of all connections, made on first use, since it reads the authorities."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context
