"""Metrics of the gateway, for Prometheus."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mistralwire.codec import dropped_events, losses
from mistralwire.errors import missing_error

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class PrometheusMetrics:
    """Counts requests by route and status, their duration, those that run, and chunks.

    Args:
        registry: The CollectorRegistry that shows them; None for one of their own.
        relay_figures: Returns what the relay of this process counts; None without one.

    Raises:
        MistralwireError: If the package for it is not installed, with the reason EXTRA_MISSING.
    """

    def __init__(
        self, registry: Any = None, relay_figures: Callable[[], Mapping[str, int]] | None = None
    ) -> None:
        try:
            import prometheus_client as prometheus  # noqa: PLC0415 - an extra
            from prometheus_client import core  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise missing_error("a page of metrics", "prometheus-client", "otel") from error
        self._registry = registry or prometheus.CollectorRegistry()
        self._generate = prometheus.generate_latest

        def metric(kind: Any, name: str, help_: str, *labels: str, **options: Any) -> Any:
            return kind(f"mistralwire_gateway_{name}", help_, labels, registry=self._registry, **options)

        self._requests = metric(
            prometheus.Counter, "requests", "Requests that have ended.", "route", "status"
        )
        self._seconds = metric(
            prometheus.Histogram,
            "request_seconds",
            "Time of a request to the last byte of its answer.",
            "route",
            buckets=_BUCKETS_S,
        )
        self._running = metric(prometheus.Gauge, "requests_running", "Requests that run now.", "route")
        self._broken = metric(prometheus.Counter, "broken", "Answers that broke after their status.", "route")
        self._chunks = metric(prometheus.Counter, "chunks", "Chunks sent to callers.", "route")
        self._registry.register(_CodecCounts(core.CounterMetricFamily))
        if relay_figures is not None:
            self._registry.register(_RelayFigures(core, relay_figures))

    def started(self, route: str) -> None:
        """Count a request that starts."""
        self._running.labels(route).inc()

    def ended(self, route: str, status: int, seconds: float, *, chunks: int, is_broken: bool) -> None:
        """Count a request that has ended, and whether its answer broke off after its status was sent."""
        self._running.labels(route).dec()
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._broken.labels(route).inc(is_broken)
        self._chunks.labels(route).inc(chunks)

    def page(self) -> bytes:
        """Return the page that Prometheus scrapes."""
        page: bytes = self._generate(self._registry)
        return page


class _CodecCounts:
    """Collects the codec's own counters when the page is scraped, as a CounterMetricFamily each."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> Iterator[Any]:
        """Yield the counters."""
        lost = self._family(
            "mistralwire_contract_losses",
            "Content of a newer contract that could not be written as JSON.",
            labels=["message", "field"],
        )
        for (message, field), count in losses().items():
            lost.add_metric([message, str(field)], count)
        dropped = self._family(
            "mistralwire_dropped_events",
            "Server-sent events of upstreams that hold neither chunks nor errors.",
            labels=["event"],
        )
        for event, count in dropped_events().items():
            dropped.add_metric([event], count)
        yield from (lost, dropped)


class _RelayFigures:
    """Collects what a relay counts when the page is scraped, under the names that a service has for it."""

    def __init__(self, families: Any, figures: Callable[[], Mapping[str, int]]) -> None:
        self._kinds = {
            "events": (families.CounterMetricFamily, "Events that were stored."),
            "followers": (families.GaugeMetricFamily, "Consumers that follow a response."),
            "responses_running": (families.GaugeMetricFamily, "Responses that run in this process."),
            "responses_not_stored": (
                families.CounterMetricFamily,
                "Responses that were stored no further, because the log failed or was too slow, or not at "
                "all beyond caller_bytes_max.",
            ),
        }
        self._figures = figures

    def collect(self) -> Iterator[Any]:
        """Yield the figures."""
        for name, value in self._figures().items():
            family, help_ = self._kinds[name]
            yield family(f"mistralwire_relay_{name}", help_, value=value)
