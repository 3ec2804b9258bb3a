"""Addresses: which are this machine's alone, where plain text is safe, and why one can't be listened on."""

import asyncio
import errno
import ipaddress
import os
import re
import socket

_ADDRESS = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d+)?")


def is_loopback(host: str) -> bool:
    """Check whether an address or a name is certainly this machine; of the names, only `localhost` is."""
    host = host.removeprefix("[").removesuffix("]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_target(target: str) -> bool:
    """Check whether a gRPC target, such as `host:port` or a Unix domain socket, is certainly this machine.

    Source: https://github.com/grpc/grpc/blob/master/doc/naming.md
    """
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for prefix in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        target = target.removeprefix(prefix)
    matches = [_ADDRESS.fullmatch(address) for address in target.split(",")]
    return all(match and is_loopback(match[1]) for match in matches)


def check_share_port(name: str, *, is_shared: bool) -> None:
    """Check that this system can share a port between processes, if a setting asks for it.

    Raises:
        ValueError: If it has no SO_REUSEPORT, as on Windows; the message starts with the setting's name.
    """
    if is_shared and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError(f"{name} is not possible on this system, which has no SO_REUSEPORT; leave it out")


async def why_not(host: str, port: int, address: str, *, share_port: bool) -> str | None:
    """Return why an address can't be listened on, which grpc does not report; None if it can.

    `address` is the host and the port, for the message.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, place in found:
            with socket.socket(family, kind, protocol) as probe:
                # As grpc does: connections of an earlier server in TIME_WAIT don't count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if share_port:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                probe.bind(place)
                probe.listen()
    except (OSError, UnicodeError) as error:
        return cannot_listen(host, address, error)
    return None


def cannot_listen(host: str, address: str, error: OSError | UnicodeError) -> str:
    """Return the message for an error from an attempt to listen on a host; `address` includes the port."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"expected an address of this machine to listen on, found {host!r}, which does not resolve"
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use; stop what listens there, or take another port"
    reason = os.strerror(error.errno or 0).lower()
    return f"expected an address to listen on, found {address}: {reason}"
