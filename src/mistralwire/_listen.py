"""Why an address can't be listened on, in words for whoever starts the server."""

import asyncio
import errno
import os
import socket


def check_share_port(name: str, *, is_shared: bool) -> None:
    """Check that processes can share a port, if they are to.

    Args:
        name: Name of the setting that asks for it.
        is_shared: Whether it does.

    Raises:
        ValueError: If this system has no SO_REUSEPORT, as Windows has none.
    """
    if is_shared and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError(f"{name} is not possible on this system, which has no SO_REUSEPORT; leave it out")


async def why_not(host: str, port: int, address: str, *, share_port: bool) -> str | None:
    """Try to listen on an address, since grpc does not say why it can't.

    Args:
        host: The address, or a name of it.
        port: The port.
        address: Both, for the message.
        share_port: Whether the port would be shared.

    Returns:
        The reason; None if it can be listened on.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, place in found:
            with socket.socket(family, kind, protocol) as probe:
                # As grpc does: what an earlier server left behind is not in use.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if share_port:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                probe.bind(place)
                probe.listen()
    except (OSError, UnicodeError) as error:
        return cannot_listen(host, address, error)
    return None


def cannot_listen(host: str, address: str, error: OSError | UnicodeError) -> str:
    """Return a message for what was raised where an address was to be listened on.

    Args:
        host: The address, or a name of it.
        address: With the port, for the message.
        error: What was raised.
    """
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"expected an address of this machine to listen on, found {host!r}, which does not resolve"
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use; stop what listens there, or take another port"
    reason = os.strerror(error.errno or 0).lower()
    return f"expected an address to listen on, found {address}: {reason}"
