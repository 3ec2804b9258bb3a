"""Where the telemetry of calls goes: to the process's OpenTelemetry providers, or to a Prometheus page."""

import contextlib
import threading
from collections.abc import Sequence

from mistralwire._serving.metrics_page import MetricsPage
from mistralwire.errors import MistralwireError, Reason, missing_error
from mistralwire.service._observers._observer import CallObserver

# Two readers share one registry, and the page would show everything twice.
_only_one = threading.Lock()


def with_telemetry(observers: Sequence[CallObserver]) -> tuple[CallObserver, ...]:
    """Add an observer for OpenTelemetry, if the process has set it up.

    `opentelemetry-instrument` sets it up, or a program that sets a tracer provider or a meter provider of its
    own. Without either, calls pay nothing for telemetry.
    """
    try:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - optional

        from mistralwire.service._observers._call_telemetry import CallTelemetry  # noqa: PLC0415 - needs it
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "opentelemetry":
            return (*observers,)
        raise
    telemetry = CallTelemetry(trace.get_tracer_provider(), metrics.get_meter_provider())
    return (*observers, telemetry) if telemetry.is_on else (*observers,)


class PrometheusEndpoint:
    """A page of metrics that is being served; made by `start_prometheus`.

    Attributes:
        host: The address it listens on.
        port: The port it listens on; the one that was chosen, if it was to be any free port.
        observer: Fills the page: pass it to a server among its observers.
    """

    def __init__(self, host: str, port: int, observer: CallObserver, resources: contextlib.ExitStack) -> None:
        self.host = host
        self.port = port
        self.observer = observer
        self._resources = resources

    def close(self) -> None:
        """Stop listening. Blocks for up to half a second, so call it in a thread from an event loop."""
        self._resources.close()


def start_prometheus(host: str = "127.0.0.1", port: int = 9464) -> PrometheusEndpoint:
    """Serve the metrics of calls in the Prometheus text format, from a thread, at `/metrics`.

    It has its own meter provider, in addition to the one that the program may have set: that one stays in
    effect, and so do traces. The page also has the process metrics of the Prometheus client, such as memory.

    Args:
        host: Address to listen on. The page is plaintext, for everyone who can reach the address.
        port: Port to listen on; 0 for any free port. 9464 is what Prometheus has reserved for OpenTelemetry.

    Returns:
        The endpoint, which is listening.

    Raises:
        MistralwireError: With the reason EXTRA_MISSING if a required package is not installed; CANNOT_LISTEN
            if the address can't be used; PROMETHEUS_TAKEN if this process has an endpoint already.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - an extra
        from opentelemetry.trace import NoOpTracerProvider  # noqa: PLC0415 - an extra

        from mistralwire.service._observers._call_telemetry import CallTelemetry  # noqa: PLC0415 - needs them
    except ModuleNotFoundError as error:
        raise missing_error("a page of metrics", "opentelemetry-exporter-prometheus", "otel") from error
    if not _only_one.acquire(blocking=False):
        raise MistralwireError(
            "expected one Prometheus endpoint in a process, since its page shows the metrics of the process, "
            "found another; close that one first, or give its observer to both servers",
            code="FAILED_PRECONDITION",
            reason=Reason.PROMETHEUS_TAKEN,
        )
    with contextlib.ExitStack() as resources:
        resources.callback(_only_one.release)
        resource = Resource.create({"service.name": "mistralwire"}).merge(OTELResourceDetector().detect())
        # The reader registers itself with the registry that the page shows.
        provider = MeterProvider([PrometheusMetricReader()], resource, shutdown_on_exit=False)
        resources.callback(provider.shutdown)
        page = resources.enter_context(contextlib.closing(MetricsPage(host, port)))
        observer = CallTelemetry(NoOpTracerProvider(), provider)
        return PrometheusEndpoint(host, page.port, observer, resources.pop_all())
