"""A gRPC server with everything around the service: health, reflection, limits, drain."""

import asyncio
import errno
import logging
import math
import os
import socket
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from mistralwire._loopback import is_loopback
from mistralwire.errors import MistralwireError
from mistralwire.service._servicer import SERVICE_NAME, ChatCompletionServicer
from mistralwire.upstream import Upstream

HOST = "127.0.0.1"
"""Default address to listen on: this machine alone."""

PORT = 50051
"""Default port to listen on."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Default bound on the bytes of one request: 16 MiB, which leaves room for images."""

CALLS_MAX = 1024
"""Default bound on the calls at one time; a call beyond it ends with RESOURCE_EXHAUSTED."""

DRAIN_S = 10.0
"""Default time that running calls get to end when the server stops, in seconds."""

# grpc's own bound on numbers.
_INT32_MAX = 2**31 - 1

_logger = logging.getLogger(__name__)


class Server:
    """A server that answers completions; made by `create_server`.

    As an async context manager it starts and stops.

    Attributes:
        host: The address it listens on.
        port: The port it listens on; the one that was found free, once it was started with port 0.
    """

    def __init__(
        self, upstream: Upstream, host: str, port: int, message_bytes_max: int, calls_max: int
    ) -> None:
        self.host = host
        self.port = port
        self._upstream = upstream
        self._calls_max = calls_max
        self._options = (
            ("grpc.max_receive_message_length", message_bytes_max),
            # A second server on the same port is a mistake, not a share of the calls.
            ("grpc.so_reuseport", 0),
        )
        self._server: grpc.aio.Server | None = None
        self._health = health_aio.HealthServicer()

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{host}:{self.port}"

    async def start(self) -> None:
        """Listen and answer.

        Raises:
            MistralwireError: If the address can't be listened on, with the reason CANNOT_LISTEN.
        """
        server = grpc.aio.server(options=self._options, maximum_concurrent_rpcs=self._calls_max)
        try:
            await self._start(server)
        except BaseException:
            await server.stop(None)
            raise
        self._server = server
        _logger.info("listening on %s", self.address)

    async def _start(self, server: grpc.aio.Server) -> None:
        try:
            self.port = server.add_insecure_port(self.address)
        except RuntimeError as error:
            message = await _why_not(self.host, self.port, self.address)
            raise MistralwireError(message, code="UNAVAILABLE", reason="CANNOT_LISTEN") from error
        ChatCompletionServicer(self._upstream).add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE_NAME, HEALTH_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        for name in names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await server.start()

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Take no new calls, let those that run end, and cancel those that do not.

        Args:
            drain_s: Time for running calls to end, in seconds, finite, 0 or more.

        Raises:
            ValueError: If `drain_s` is out of its range.
        """
        if not 0 <= drain_s < math.inf:
            raise ValueError(f"drain_s must be 0 or more and finite, not {drain_s!r}")
        if self._server is None:
            return
        await self._health.enter_graceful_shutdown()
        await self._server.stop(drain_s)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and cancel what still runs."""
        await self.stop(0)


def create_server(
    upstream: Upstream,
    *,
    host: str = HOST,
    port: int = PORT,
    insecure: bool = False,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    calls_max: int = CALLS_MAX,
) -> Server:
    """Put a server together: the service, health checking and reflection, with limits.

    Args:
        upstream: Where the completions come from.
        host: IP address or name to listen on.
        port: Port to listen on; 0 for any that is free.
        insecure: Whether to serve plain text to other machines too.
        message_bytes_max: Bound on the bytes of one request, 1 to 2147483647.
        calls_max: Bound on the calls at one time, health checks included, 1 to 2147483647.

    Returns:
        The server, not started yet.

    Raises:
        TypeError: If the host is no string, or a number no integer.
        ValueError: If the host is not this machine alone and `insecure` is not set, or it is empty; or if a
            number is out of its range.
    """
    if not isinstance(host, str):
        raise TypeError(f"host must be a string, not {host!r}")
    if not host:
        raise ValueError(f"host must not be empty; {HOST} is this machine, 0.0.0.0 all of its addresses")
    if not insecure and not is_loopback(host):
        raise ValueError(
            f"expected a loopback address such as {HOST}, found {host!r}: calls from other machines would "
            "travel in plain text, which only the option insecure allows"
        )
    for name, value, least, most in (
        ("port", port, 0, 65_535),
        ("message_bytes_max", message_bytes_max, 1, _INT32_MAX),
        ("calls_max", calls_max, 1, _INT32_MAX),
    ):
        if type(value) is not int:
            raise TypeError(f"{name} must be an integer, not {value!r}")
        if not least <= value <= most:
            raise ValueError(f"{name} must be {least} to {most}, not {value}")
    return Server(upstream, host, port, message_bytes_max, calls_max)


async def _why_not(host: str, port: int, address: str) -> str:
    """Say why an address can't be listened on: grpc itself does not."""
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
                probe.bind(place)
                probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"{address} is in use; stop what listens there, or take another port"
            return (
                f"expected an address to listen on, found {address}: {os.strerror(error.errno or 0).lower()}"
            )
    return f"expected an address to listen on, found {address}, which was not free a moment ago; try again"
