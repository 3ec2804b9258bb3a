"""A page of metrics for Prometheus to read."""

import contextlib
import threading
from collections.abc import Callable

from mistralwire._extras import missing_error
from mistralwire._serving.metrics_page import MetricsPage
from mistralwire.errors import MistralwireError, Reason
from mistralwire.service._record import CallObserver

# Two readers would show everything twice, since they share one registry.
_only_one = threading.Lock()


class PrometheusEndpoint:
    """A page of metrics that is being served; made by `start_prometheus`.

    Attributes:
        host: The address it listens on.
        port: The port it listens on; the one that was found free, if any was to be taken.
        observer: What fills the page, to be given to a server among its observers.
    """

    def __init__(self, host: str, port: int, observer: CallObserver, close: Callable[[], None]) -> None:
        self.host = host
        self.port = port
        self.observer = observer
        self._close = close
        self._is_closed = False

    def close(self) -> None:
        """Stop to listen. Takes up to half a second, so an event loop leaves it to a thread."""
        if not self._is_closed:
            self._is_closed = True
            self._close()


def start_prometheus(host: str = "127.0.0.1", port: int = 9464) -> PrometheusEndpoint:
    """Serve the metrics of calls in the text format of Prometheus, from a thread, at `/metrics`.

    It has a meter provider of its own, beside the one that the program may have set up: that one goes on as
    before, and so do the traces. The page also has what the Python client of Prometheus tells of the process,
    such as its memory.

    Args:
        host: Address to listen on. The page is plain text, and open to everybody who reaches the address.
        port: Port to listen on; 0 for any that is free. 9464 is what Prometheus has reserved for
            OpenTelemetry.

    Returns:
        The endpoint, which listens already.

    Raises:
        MistralwireError: If the packages for it are not installed, with the reason EXTRA_MISSING; if the
            address can't be listened on, with the reason CANNOT_LISTEN; if this process has an endpoint
            already, with the reason PROMETHEUS_TAKEN.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - an extra
        from opentelemetry.trace import NoOpTracerProvider  # noqa: PLC0415 - an extra

        from mistralwire.service._call_telemetry import CallTelemetry  # noqa: PLC0415 - needs them
    except ModuleNotFoundError as error:
        raise missing_error("a page of metrics", "opentelemetry-exporter-prometheus", "otel") from error
    if not _only_one.acquire(blocking=False):
        raise MistralwireError(
            "expected one Prometheus endpoint in a process, since its page shows the metrics of the process, "
            "found another; close that one first, or give its observer to both servers",
            code="FAILED_PRECONDITION",
            reason=Reason.PROMETHEUS_TAKEN,
        )
    with contextlib.ExitStack() as undoing:
        undoing.callback(_only_one.release)
        resource = Resource.create({"service.name": "mistralwire"}).merge(OTELResourceDetector().detect())
        # The reader registers itself with the registry that the page shows.
        provider = MeterProvider([PrometheusMetricReader()], resource, shutdown_on_exit=False)
        undoing.callback(provider.shutdown)
        page = undoing.enter_context(contextlib.closing(MetricsPage(host, port)))
        observer = CallTelemetry(NoOpTracerProvider(), provider)
        return PrometheusEndpoint(host, page.port, observer, undoing.pop_all().close)
