"""A metrics page for Prometheus, served from a thread: that of the registry of the process."""

import contextlib
from typing import Any

from mistralwire._addresses import cannot_listen
from mistralwire.errors import MistralwireError, Reason, missing_error

_STALLED_S = 10
"""Seconds that a client may take to send its request."""


class MetricsPage:
    """Serves the page at `/metrics` until it is closed.

    Attributes:
        port: The port it listens on; with port 0, the free port that was found.
        registry: What it shows: prometheus_client.REGISTRY.

    Raises:
        MistralwireError: With the reason EXTRA_MISSING if the package for it is not installed, CANNOT_LISTEN
            if the address can't be listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            from prometheus_client import REGISTRY, start_http_server  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise missing_error("a page of metrics", "prometheus-client", "otel") from error
        try:
            self._server, self._thread = start_http_server(port, host)
        except (OSError, UnicodeError) as error:
            message = cannot_listen(host, metrics_address(host, port), error)
            raise MistralwireError(message, code="UNAVAILABLE", reason=Reason.CANNOT_LISTEN) from error
        self._server.RequestHandlerClass = _with_timeout(self._server.RequestHandlerClass)
        self.port: int = self._server.server_port
        self.registry = REGISTRY

    def close(self) -> None:
        """Stop listening. This takes up to half a second, so an event loop calls it in a thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def metrics_address(host: str, port: int) -> str:
    """Return how messages name the address of a page."""
    return f"the address of the metrics, port {port} of {host},"


def _with_timeout(handler: Any) -> Any:
    """Return a request handler that closes connections without a request: each of them holds a thread."""

    class HandlerWithTimeout(handler):  # type: ignore[misc] # the package's server chooses its base
        timeout = _STALLED_S

        def handle(self) -> None:
            # A client that stalls or disconnects would otherwise have a stack written to stderr.
            with contextlib.suppress(OSError):
                super().handle()

    return HandlerWithTimeout
