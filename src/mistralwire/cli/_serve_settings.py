"""The settings of `serve`."""

import dataclasses

from mistralwire._settings import setting_field
from mistralwire.cli._logging import LogSettings
from mistralwire.cli._settings import SettingsDefinition
from mistralwire.cli._upstreams import AnswerSettings
from mistralwire.service import ServerConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    """What `serve` is told of its processes; the help of each field says what it means."""

    workers: int = setting_field(
        1, "Processes that share the port, on Linux; each has limits of its own.", "N", 1, 1024
    )
    prometheus_port: int | None = setting_field(
        None,
        "Port to serve metrics for Prometheus on; with workers, the first one's: each other one has the "
        "next. Needs the extra otel.",
        "PORT",
        1,
        65_535,
    )
    prometheus_host: str = setting_field(
        "127.0.0.1", "Address to serve metrics on, in plain HTTP to whoever asks.", "HOST"
    )

    def __post_init__(self) -> None:
        """Check what depends on each other."""
        if self.prometheus_port is not None and self.prometheus_port + self.workers - 1 > 65_535:
            raise ValueError("prometheus_port leaves too few ports above it for workers: each needs one")
        if not self.prometheus_host:
            raise ValueError("prometheus_host must not be empty; 127.0.0.1 is this machine")


SERVE = SettingsDefinition(
    "serve",
    (AnswerSettings, ServerConfig, ServeSettings, LogSettings),
    {
        "recordings": "Answers",
        "host": "Address",
        "tls_certificate": "Security",
        "reflection": "Services",
        "contract_revision": "Contract",
        "message_bytes_max": "Limits",
        "stream_message_chunks_max": "Streams",
        "handshake_s": "Connections",
        "keepalive_s": "Keepalive",
        "drain_s": "End",
        "workers": "Processes",
        "prometheus_port": "Metrics",
        "log_level": "Logs",
    },
)
"""The settings of `serve`."""
