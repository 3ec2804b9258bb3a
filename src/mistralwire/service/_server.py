"""A gRPC server with everything around the service: health, reflection, limits, drain."""

import logging
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
            # What the upstream answered is somebody's answer, however long.
            ("grpc.max_send_message_length", -1),
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
            self.port = server.add_insecure_port(self.address)
        except RuntimeError as error:
            message = f"expected a free address of this machine to listen on, found {self.address}"
            raise MistralwireError(message, code="UNAVAILABLE", reason="CANNOT_LISTEN") from error
        ChatCompletionServicer(self._upstream).add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE_NAME, HEALTH_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        for name in names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        self._server = server
        _logger.info("listening on %s", self.address)

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Take no new calls, let those that run end, and cancel those that do not.

        Args:
            drain_s: Time for running calls to end, in seconds, 0 or more.
        """
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
        message_bytes_max: Bound on the bytes of one request, 1 or more.
        calls_max: Bound on the calls at one time, health checks included, 1 or more.

    Returns:
        The server, not started yet.

    Raises:
        ValueError: If the host is not this machine alone and `insecure` is not set, or a number is out of its
            range.
    """
    if not insecure and not is_loopback(host):
        raise ValueError(
            f"expected a loopback address such as {HOST}, found {host!r}: calls from other machines would "
            "travel in plain text, which only the option insecure allows"
        )
    if not 0 <= port <= 65_535:
        raise ValueError(f"port must be 0 to 65535, not {port}")
    for name, value in (("message_bytes_max", message_bytes_max), ("calls_max", calls_max)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    return Server(upstream, host, port, message_bytes_max, calls_max)
