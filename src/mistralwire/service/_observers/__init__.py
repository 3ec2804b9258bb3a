"""What watches calls: the access log, telemetry, and the observers of a program."""

from mistralwire.service._observers._observer import AccessLog, CallObserver, CallRecord, Chunks, Notifier
from mistralwire.service._observers._telemetry import PrometheusEndpoint, start_prometheus, with_telemetry

__all__ = [
    "AccessLog",
    "CallObserver",
    "CallRecord",
    "Chunks",
    "Notifier",
    "PrometheusEndpoint",
    "start_prometheus",
    "with_telemetry",
]
