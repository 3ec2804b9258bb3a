"""Metrics of the relays of a process; needs OpenTelemetry's API package alone."""

import weakref
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from mistralwire.service._observers import _semconv as semconv
from mistralwire.service._relay import Relay


class RelayMetrics:
    """Reports what relays count; a relay that is gone counts no more."""

    def __init__(self, meter: Meter) -> None:
        self._relays: weakref.WeakSet[Relay] = weakref.WeakSet()
        self._delay = meter.create_histogram(
            "mistralwire.relay.acknowledgement.duration",
            "s",
            "Time from an append to the response log to its acknowledgement.",
            explicit_bucket_boundaries_advisory=list(semconv.LOG_BUCKETS_S),
        )
        meter.create_observable_gauge(
            "mistralwire.relay.responses.running",
            [self._summing(lambda relay: len(relay.holders))],
            "{response}",
            "Responses that run in this process.",
        )
        meter.create_observable_gauge(
            "mistralwire.relay.followers",
            [self._summing(lambda relay: relay.counts.followers)],
            "{follower}",
            "Consumers that follow a response.",
        )
        meter.create_observable_counter(
            "mistralwire.relay.events",
            [self._summing(lambda relay: relay.counts.events)],
            "{event}",
            "Events that were stored.",
        )
        meter.create_observable_counter(
            "mistralwire.relay.responses.not_stored",
            [self._summing(lambda relay: relay.counts.not_stored)],
            "{response}",
            "Responses that were stored no further, because the log failed or was too slow, or not at all "
            "beyond caller_bytes_max.",
        )

    def watch(self, relay: Relay) -> None:
        """Report a relay from now on."""
        if relay not in self._relays:
            self._relays.add(relay)
            relay.counts.delayed.append(self._delay.record)

    def _summing(
        self, value_of: Callable[[Relay], int]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            if self._relays:
                yield Observation(sum(map(value_of, self._relays)))

        return observe
