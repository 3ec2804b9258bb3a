"""Connects a socket to an origin: name lookup, Happy Eyeballs, and a tunnel through a proxy."""

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from typing import TypeAlias

import aiohappyeyeballs

from mistralwire.upstream._http1._errors import UnreachableError
from mistralwire.upstream._http1._request import Origin, Proxy, encode_head, end_of_head
from mistralwire.upstream._http1._response import ResponseReader

# RFC 8305, section 5.
_NEXT_ADDRESS_S = 0.25
_READ_BYTES = 4096

AddressInfo: TypeAlias = aiohappyeyeballs.AddrInfoType
"""An address as getaddrinfo returns it."""


async def open_socket(origin: Origin, proxy: Proxy | None) -> socket.socket:
    """Connect to an origin or to its proxy; for TLS, through a tunnel of the proxy.

    The tunnel is requested on the bare socket, so that TLS begins the same way with and without one.

    Returns:
        A connected, non-blocking socket, which the caller closes.

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


def tls_error(error: OSError) -> UnreachableError:
    """Map an error of the TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnreachableError("its certificate is not trusted")
    return UnreachableError("TLS failed" if isinstance(error, ssl.SSLError) else "the connection broke")


def forget_if_closed(sock: socket.socket) -> None:
    """Detach a socket from a descriptor that is already closed.

    uvloop before 0.23 closes it when the creation of a transport is cancelled. The socket would close it
    again, when its number may belong to another file.
    """
    if sock.fileno() >= 0:
        try:
            os.fstat(sock.fileno())
        except OSError:
            sock.detach()


async def resolve(host: str, port: int) -> Sequence[AddressInfo]:
    """Look up the addresses of a host name.

    Raises:
        UnreachableError: If it has none.
    """
    try:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # UnicodeError: for names that IDNA does not allow.
        raise UnreachableError("its host name is unknown") from None


async def _connect(host: str, port: int) -> socket.socket:
    addresses = await resolve(host, port)
    try:
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S)
    except (OSError, RuntimeError):
        # RuntimeError: uvloop raises it for some addresses.
        raise UnreachableError("the connection was refused") from None
    # Event loops other than asyncio's do not set it.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


async def _tunnel(sock: socket.socket, origin: Origin, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}"
    headers = {} if proxy.authorization is None else {"proxy-authorization": proxy.authorization}
    # Like a response to HEAD: the tunnel begins after the head, whatever that says about a body.
    reader = ResponseReader(is_head=True)
    try:
        await loop.sock_sendall(sock, encode_head("CONNECT", target, target, headers) + end_of_head({}, None))
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
