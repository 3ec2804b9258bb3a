"""The client: a pool of connections, and the sockets that it opens.

A socket is connected by name lookup, Happy Eyeballs, and a tunnel through the proxy if there is one.
"""

import asyncio
import collections
import errno
import functools
import os
import socket
import ssl
from collections.abc import Mapping, Sequence

import aiohappyeyeballs

from mistralwire._timeouts import Timeouts
from mistralwire.upstream._http1._connection import Connection
from mistralwire.upstream._http1._exchange import Exchange, ResponseReceiver, UnreachableError
from mistralwire.upstream._http1._request import (
    Origin,
    Proxy,
    SharedHead,
    Upload,
    encode_head,
    end_of_head,
    split_url,
)
from mistralwire.upstream._http1._response import ResponseReader

IDLE_S = 4.0
"""Seconds for which an idle connection is kept: less than the 5 seconds after which uvicorn closes it."""

_CLOSED = "the client was closed"
_KEPT_HEADS_MAX = 64
_KEPT_CHARS_MAX = 1024
# RFC 8305, section 5.
_NEXT_ADDRESS_S = 0.25
_READ_BYTES = 4096


class HttpClient:
    """Sends requests on pooled connections, in the event loop that is running when it is made.

    The number of connections is not bounded: the caller bounds the number of requests. TLS trusts the
    system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR.

    Args:
        connect_s: Seconds until a connection is established, name lookup and TLS handshake included.
        proxy: None to connect directly.

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
            method: Such as `POST`.
            url: An http or https URL.
            headers: Further headers, without Host, Content-Length and Accept-Encoding. They are cached, so
                that the next request with the same headers need not encode them.
            body: The body; None for none.
            receiver: Receives the response.
            own_headers: Headers of this request alone, which are never cached.

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
        if isinstance(body, Upload):
            end = end_of_head(own_headers, body.length, is_chunked=body.length is None)
        else:
            end = end_of_head(own_headers, None if body is None else len(body))
        exchange = Exchange(head.origin, head.lines + end, body or b"", receiver, is_head=method == "HEAD")
        connection = None if exchange.upload is not None else self._take(head.origin)
        if connection is None:
            self.repeat(exchange)
        else:
            connection.send(exchange)
        return exchange

    def _encoded(self, method: str, url: str, headers: Mapping[str, str]) -> SharedHead:
        address = split_url(url)
        target, fields = address.path, {"accept-encoding": "identity", **headers}
        if self._proxy is not None and not address.origin.is_tls:
            target = address.absolute
            fields |= self._proxy.headers
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
        task = self._loop.create_task(self._connected(exchange.origin))
        self._connecting.add(task)
        exchange.connecting = task
        task.add_done_callback(functools.partial(self._start, exchange))

    async def _connected(self, origin: Origin) -> Connection:
        try:
            async with asyncio.timeout(self._connect_s):
                sock = await _open_socket(origin, self._proxy)
                connection = await self._with_transport(sock, origin)
        except TimeoutError:
            raise UnreachableError(f"no connection within {self._connect_s:g} s") from None
        except OSError as error:
            raise _tls_error(error) from None
        # Not in its constructor: if this task is cancelled, uvloop does not call `connection_lost`.
        if not connection.is_lost:
            self._open.add(connection)
        return connection

    async def _with_transport(self, sock: socket.socket, origin: Origin) -> Connection:
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
                _forget_if_closed(sock)
            raise
        return connection

    def _start(self, exchange: Exchange, task: asyncio.Task[Connection]) -> None:
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


async def _open_socket(origin: Origin, proxy: Proxy | None) -> socket.socket:
    """Connect to an origin or to its proxy; for TLS, through a tunnel of the proxy.

    The tunnel is requested on the bare socket, so that TLS begins the same way with and without one. The
    socket is non-blocking, and the caller closes it.

    Raises:
        UnreachableError: If there is no connection.
    """
    try:
        sock = await _connect(*((origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)))
    except UnreachableError:
        if proxy is None:
            raise
        raise UnreachableError("the proxy can't be reached") from None
    if proxy is not None and origin.is_tls:
        try:
            await _tunnel(sock, origin, proxy)
        except BaseException:
            sock.close()
            raise
    return sock


def _tls_error(error: OSError) -> UnreachableError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnreachableError("its certificate is not trusted")
    return UnreachableError("TLS failed" if isinstance(error, ssl.SSLError) else "the connection broke")


def _forget_if_closed(sock: socket.socket) -> None:
    """Detach a socket from a descriptor that is already closed.

    uvloop before 0.23 closes it when the creation of a transport is cancelled. The socket would close it
    again, when its number may belong to another file.
    """
    if sock.fileno() >= 0:
        try:
            os.fstat(sock.fileno())
        except OSError:
            sock.detach()


async def resolve(host: str, port: int) -> Sequence[aiohappyeyeballs.AddrInfoType]:
    """Look up the addresses of a host name; raise an UnreachableError if it has none."""
    try:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # UnicodeError: for names that IDNA does not allow.
        raise UnreachableError("its host name is unknown") from None


async def _connect(host: str, port: int) -> socket.socket:
    addresses = await resolve(host, port)
    try:
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S)
    except (OSError, RuntimeError) as error:
        # RuntimeError: uvloop raises it for some addresses.
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise UnreachableError("this process may not open more files") from None
        raise UnreachableError("the connection was refused") from None
    # Event loops other than asyncio's do not set it.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


async def _tunnel(sock: socket.socket, origin: Origin, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}"
    # Like a response to HEAD: the tunnel begins after the head, whatever that says about a body.
    reader = ResponseReader(is_head=True)
    try:
        await loop.sock_sendall(
            sock, encode_head("CONNECT", target, target, proxy.headers) + end_of_head({}, None)
        )
        while not reader.is_ended and reader.error is None:
            data = await loop.sock_recv(sock, _READ_BYTES)
            if not data:
                break
            reader.feed(data)
    except OSError:
        raise UnreachableError("the connection to the proxy broke") from None
    finally:
        reader.free()
    if not 200 <= reader.status < 300:
        raise UnreachableError("the proxy refused to connect")
