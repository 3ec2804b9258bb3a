"""A page of metrics for Prometheus, served from a thread: that of the registry of the process."""

import contextlib
from typing import Any

from mistralwire._extras import missing_error
from mistralwire._listen import cannot_listen
from mistralwire.errors import MistralwireError, Reason

_STALLED_S = 10
"""How long one who asks for the page may take to say so, in seconds."""


class MetricsPage:
    """Serves the page at `/metrics`, from its making until it is closed.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.

    Attributes:
        port: The port it listens on.
        registry: What it shows: prometheus_client.REGISTRY.

    Raises:
        MistralwireError: If the package for it is not installed, with the reason EXTRA_MISSING; if the
            address can't be listened on, with the reason CANNOT_LISTEN.
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
        self._server.RequestHandlerClass = _impatient(self._server.RequestHandlerClass)
        self.port: int = self._server.server_port
        self.registry = REGISTRY

    def close(self) -> None:
        """Stop listening. Takes up to half a second, so an event loop leaves it to a thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def metrics_address(host: str, port: int) -> str:
    """Return what messages call the address of a page."""
    return f"the address of the metrics, port {port} of {host},"


def _impatient(handler: Any) -> Any:
    """Give a handler that hangs up on those who connect and ask for nothing: each holds a thread."""

    class ImpatientHandler(handler):  # type: ignore[misc] # it is what the package's server has
        timeout = _STALLED_S

        def handle(self) -> None:
            # Who stalls or breaks off would otherwise have a stack written to stderr.
            with contextlib.suppress(OSError):
                super().handle()

    return ImpatientHandler
