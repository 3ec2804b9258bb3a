"""The settings of `gateway`."""

import dataclasses
import pathlib

from mistralwire._settings import setting_field
from mistralwire.cli._logging import LogSettings
from mistralwire.cli._process_settings import ProcessSettings
from mistralwire.cli._settings import SettingsDefinition
from mistralwire.cli._upstreams import KEY_VARIABLE, AnswerSettings
from mistralwire.gateway import GatewayConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """Which service a gateway calls; the help of each field says what it means."""

    service: str | None = setting_field(
        None,
        "The service to call: host:port, dns:///host:port, unix:path. Without a port it is 443.",
        "TARGET",
    )
    embedded: bool = setting_field(
        False, "Run the service in the process of the gateway, as without --service."
    )
    strict: bool = setting_field(
        False,
        "Check every request against the contract, in the service that runs in this process. By default only "
        "those for upstreams that don't judge requests themselves, as an API does.",
    )
    service_insecure: bool = setting_field(False, "Talk plain text to a service on another machine too.")
    service_tls_ca: pathlib.Path | None = setting_field(
        None, "PEM file with the authorities that the service's certificate must come from.", "FILE"
    )
    service_tls_certificate: pathlib.Path | None = setting_field(
        None, "PEM file with a certificate of the gateway's own for the service, for mutual TLS.", "FILE"
    )
    service_tls_key: pathlib.Path | None = setting_field(None, "PEM file with its private key.", "FILE")
    service_token_file: pathlib.Path | None = setting_field(
        None, "File with the bearer token for the service, the first in it; # begins a comment.", "FILE"
    )
    service_connections: int = setting_field(
        1,
        "Connections to the service, among which calls take turns. One reaches one of its workers: take "
        "several for each.",
        "N",
        1,
        256,
    )
    models: str | None = setting_field(
        None,
        "Names for /v1/models, separated by commas. Without it those that the [[upstreams]] name in full, "
        "and where they have wildcards, those that the upstreams list.",
        "NAMES",
    )

    passthrough_url: str | None = setting_field(
        None,
        "Where requests of passthrough_paths go instead: Mistral's API, or one like it, at this URL. With "
        f"service it is the only place for them. Its key is in {KEY_VARIABLE}, or in passthrough_key_file.",
        "URL",
    )
    passthrough_key_file: pathlib.Path | None = setting_field(
        None, "File with the key for passthrough_url. Read again when changed.", "FILE"
    )

    def __post_init__(self) -> None:
        """Check what depends on each other."""
        if self.embedded and self.service is not None:
            raise ValueError("expected embedded or service, found both")
        if self.strict and self.service is not None:
            raise ValueError("expected strict or service, found both: requests are checked there")
        if self.service is None:
            for name in ("insecure", "tls_ca", "tls_certificate", "tls_key", "token_file"):
                if getattr(self, f"service_{name}"):
                    raise ValueError(f"service_{name} needs service: the target that it is for")
            if self.service_connections > 1:
                raise ValueError("service_connections needs service: the target that they lead to")

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names of `models`, one by one."""
        return tuple(filter(None, (name.strip() for name in (self.models or "").split(","))))


GATEWAY = SettingsDefinition(
    "gateway",
    (AnswerSettings, ServiceSettings, GatewayConfig, ProcessSettings, LogSettings),
    {
        "recordings": "Answers",
        "service": "Service",
        "models": "Models",
        "passthrough_url": "Passthrough",
        "host": "Address",
        "tls_certificate": "Security",
        "contract_revision": "Contract",
        "metrics": "Metrics",
        "body_bytes_max": "Limits",
        "heartbeat_s": "Streams",
        "drain_s": "End",
        "workers": "Processes",
        "prometheus_port": "Metrics",
        "log_level": "Logs",
    },
)
"""The settings of `gateway`."""
