"""A gRPC server with everything around the service: health, reflection, limits, drain."""

import asyncio
import errno
import logging
import math
import os
import socket
from collections.abc import Sequence
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from mistralwire.errors import MistralwireError
from mistralwire.service._config import ServerConfig
from mistralwire.service._record import CallObserver
from mistralwire.service._servicer import SERVICE_NAME, ChatCompletionServicer
from mistralwire.upstream import Upstream

# Calls beside the service's own: health checks, watches, reflection. They go on when the service is full.
_OTHER_CALLS_MAX = 1024

_logger = logging.getLogger(__name__)


class Server:
    """A server that answers completions; made by `create_server`.

    As an async context manager it starts and stops.

    Attributes:
        host: The address it listens on.
        port: The port it listens on; the one that was found free, once it was started with port 0.
    """

    def __init__(self, upstream: Upstream, config: ServerConfig, observers: Sequence[CallObserver]) -> None:
        self.host = config.host
        self.port = config.port
        self._config = config
        self._servicer = ChatCompletionServicer(upstream, config, observers)
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
        options = (
            ("grpc.max_receive_message_length", self._config.message_bytes_max),
            # A second server on the same port is a mistake, not a share of the calls.
            ("grpc.so_reuseport", 0),
        )
        calls_max = self._config.calls_max + _OTHER_CALLS_MAX
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=calls_max)
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
        self._servicer.add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE_NAME, HEALTH_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        for name in names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await server.start()

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no new calls, let those that run end, and cancel those that do not.

        Args:
            drain_s: Time for running calls to end, in seconds, finite, 0 or more; None for the setting.

        Raises:
            ValueError: If `drain_s` is out of its range.
        """
        if drain_s is None:
            drain_s = self._config.drain_s
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
    upstream: Upstream, config: ServerConfig | None = None, observers: Sequence[CallObserver] = ()
) -> Server:
    """Put a server together: the service with everything around it.

    Args:
        upstream: Where the completions come from.
        config: Its settings; without, the defaults.
        observers: Who watches the calls.

    Returns:
        The server, not started yet.
    """
    return Server(upstream, config or ServerConfig(), observers)


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
