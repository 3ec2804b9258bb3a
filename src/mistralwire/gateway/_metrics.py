"""Metrics of the edge, for Prometheus."""

from collections.abc import Iterator
from typing import Any

from mistralwire._extras import missing_error
from mistralwire.codec import dropped_events, losses

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class PrometheusMetrics:
    """Counts requests by route and status, their time, those that run, and chunks.

    Args:
        registry: The CollectorRegistry that shows them; None for one of their own.

    Raises:
        MistralwireError: If the package for it is not installed, with the reason EXTRA_MISSING.
    """

    def __init__(self, registry: Any = None) -> None:
        try:
            from prometheus_client import (  # noqa: PLC0415 - an extra
                CollectorRegistry,
                Counter,
                Gauge,
                Histogram,
                generate_latest,
            )
            from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise missing_error("a page of metrics", "prometheus-client", "otel") from error
        self._registry = registry or CollectorRegistry()
        self._generate = generate_latest
        names: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter(
            "mistralwire_gateway_requests", "Requests that have ended.", ["route", "status"], **names
        )
        self._seconds = Histogram(
            "mistralwire_gateway_request_seconds",
            "Time of a request to the last byte of its answer.",
            ["route"],
            buckets=_BUCKETS_S,
            **names,
        )
        self._running = Gauge(
            "mistralwire_gateway_requests_running", "Requests that run now.", ["route"], **names
        )
        self._broken = Counter(
            "mistralwire_gateway_broken", "Answers that broke after their status.", ["route"], **names
        )
        self._chunks = Counter("mistralwire_gateway_chunks", "Chunks sent to callers.", ["route"], **names)
        # Counted by the codec, so that they are collected when the page is read.
        self._registry.register(_CodecCounts(CounterMetricFamily))

    def started(self, route: str) -> None:
        """Count a request that has begun."""
        self._running.labels(route).inc()

    def ended(self, route: str, status: int, seconds: float, *, chunks: int, is_broken: bool) -> None:
        """Count a request that is over.

        Args:
            route: Name of its route.
            status: HTTP status of its answer.
            seconds: How long it took.
            chunks: Chunks of a stream that were sent.
            is_broken: Whether the answer broke after its status was sent.
        """
        self._running.labels(route).dec()
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._broken.labels(route).inc(is_broken)
        self._chunks.labels(route).inc(chunks)

    def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        page: bytes = self._generate(self._registry)
        return page


class _CodecCounts:
    """Collects what the codec counts.

    Args:
        family: Makes a counter.
    """

    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> Iterator[Any]:
        """Yield the counters."""
        counter = self._family(
            "mistralwire_contract_losses",
            "Content of a newer contract that could not be written as JSON.",
            labels=["message", "field"],
        )
        for (message, field), count in losses().items():
            counter.add_metric([message, str(field)], count)
        yield counter
        counter = self._family(
            "mistralwire_dropped_events",
            "Server-sent events of upstreams that hold neither chunks nor errors.",
            labels=["event"],
        )
        for event, count in dropped_events().items():
            counter.add_metric([event], count)
        yield counter
