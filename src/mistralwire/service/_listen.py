"""Why an address can't be listened on: grpc itself does not say."""

import asyncio
import errno
import os
import socket


async def why_not(host: str, port: int, address: str, *, share_port: bool) -> str | None:
    """Say why an address can't be listened on, in words for the one who starts the server.

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
    except (OSError, UnicodeError):
        return f"expected an address of this machine to listen on, found {host!r}, which does not resolve"
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As grpc does: what an earlier server left behind is not in use.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if share_port:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                probe.bind(place)
                probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"{address} is in use; stop what listens there, or take another port"
            reason = os.strerror(error.errno or 0).lower()
            return f"expected an address to listen on, found {address}: {reason}"
    return None
