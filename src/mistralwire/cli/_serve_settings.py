"""The settings of `serve`."""

from mistralwire.cli._logging import LogSettings
from mistralwire.cli._process_settings import ProcessSettings
from mistralwire.cli._settings import SettingsDefinition
from mistralwire.cli._upstreams import AnswerSettings
from mistralwire.service import ServerConfig

SERVE = SettingsDefinition(
    "serve",
    (AnswerSettings, ServerConfig, ProcessSettings, LogSettings),
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
