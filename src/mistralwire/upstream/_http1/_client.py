"""The connections that are open, and who may use them."""

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
from mistralwire.upstream._http1._exchange import Exchange, Receiver
from mistralwire.upstream._http1._request import Head, Origin, Proxy, encode_head, end_of_head, split_url
from mistralwire.upstream._http1._upload import Upload

IDLE_S = 4.0
"""How long an idle connection is kept: less than the 5 seconds after which uvicorn closes it."""

_CLOSED = "the client was closed"
_KEPT_HEADS_MAX = 64
_KEPT_CHARS_MAX = 1024


class HttpClient:
    """Sends requests, on connections that it keeps; for the event loop that is running when it is made.

    There is no bound on connections: who calls bounds the calls.

    Attributes:
        timeouts: For those who wait for responses.

    Args:
        connect_s: Seconds until there is a connection, names looked up and TLS agreed on.
        proxy: What to go through; None to connect directly.
        tls: How TLS is spoken; None for the system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def __init__(
        self, *, connect_s: float, proxy: Proxy | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect_s = connect_s
        self._proxy = proxy
        self._given_tls = tls
        self._open: set[Connection] = set()
        # The one that was used last is the last.
        self._idle: dict[Origin, list[Connection]] = collections.defaultdict(list)
        self._connecting: set[asyncio.Task[Connection]] = set()
        # Of the last requests, by method, URL and Accept: in nothing else do those of one target differ.
        self._heads: dict[tuple[str, str, str | None], Head] = {}
        self._sweep_timer: asyncio.TimerHandle | None = None
        self.timeouts = Timeouts()
        self._all_lost = asyncio.Event()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Upload | None,
        receiver: Receiver,
        *,
        own_headers: Mapping[str, str] = {},
    ) -> Exchange:
        """Send a request; on a connection that is idle, or on a new one.

        A connection that was used before and is lost before the first byte of the response is no error: the
        request is sent once more, on a new one. One whose body is sent as it comes can't be sent again, and
        has a new connection.

        Args:
            method: Such as `POST`.
            url: An http or https URL.
            headers: Further headers; Host, Content-Length and Accept-Encoding are not among them. They are
                kept, so that the next request with the same ones need not encode them.
            body: The body, whole or as it comes; None for none.
            receiver: Who takes the response.
            own_headers: Headers that are this request's own; never kept.

        Returns:
            The handle with which to pause and to cancel it.

        Raises:
            ValueError: If the URL is none, or the method or a header can't be sent; nothing is sent then.
        """
        place = (method, url, headers.get("accept"))
        head = self._heads.get(place)
        if head is None or head.headers != headers:
            head = self._encoded(method, url, headers)
            # A path may have a caller's text in it.
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

    def _encoded(self, method: str, url: str, headers: Mapping[str, str]) -> Head:
        address = split_url(url)
        proxy = self._proxy
        target = address.path
        fields = {"accept-encoding": "identity", **headers}
        if proxy is not None and not address.origin.is_tls:
            target = address.absolute
            if proxy.authorization is not None:
                fields["proxy-authorization"] = proxy.authorization
        return Head({**headers}, address.origin, encode_head(method, target, address.host, fields))

    async def close(self) -> None:
        """Close all connections; exchanges that are under way fail with an UnreachableError."""
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
        """Keep a connection for the next exchange with its origin."""
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
        # Not when it is made: uvloop does not tell a connection that it is lost if this task is cancelled.
        if not connection.is_lost:
            self._open.add(connection)
        return connection

    async def _with_transport(self, sock: socket.socket, origin: Origin) -> Connection:
        """Make a connection of a socket, which belongs to the event loop from here on."""
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
        """Send a request once there is a connection for it."""
        self._connecting.discard(task)
        if task.cancelled():
            # By the exchange, which is over then, or by the client.
            exchange.fail(UnreachableError(_CLOSED))
        elif (error := task.exception()) is not None:
            exchange.fail(error if isinstance(error, Exception) else UnreachableError("there is no answer"))
        elif exchange.is_over:
            self.release(task.result())
        elif task.result().is_open:
            task.result().send(exchange)
        else:
            exchange.fail(UnreachableError("it closed the connection instead of answering"))

    def _take(self, origin: Origin) -> Connection | None:
        """Return the idle connection that was used last; None if there is none."""
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
        """The context of all connections; made once it is needed, since it reads the authorities."""
        if self._given_tls is not None:
            return self._given_tls
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context
