"""The settings of `mistralwire gateway` beside those of the edge."""

import dataclasses
import pathlib

from mistralwire._settings import count_field, setting_field
from mistralwire.cli._server_settings import KEY_VARIABLE


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """Settings of the service that a gateway calls; the help of each field says what it means."""

    service: str | None = setting_field(
        None,
        "Service to call: host:port, dns:///host:port or unix:path. The default port is 443.",
        "TARGET",
    )
    embedded: bool = setting_field(
        False, "Run the service in the gateway's process; the default without --service."
    )
    strict: bool = setting_field(
        False,
        "Check every request against the contract, in the service that runs in this process. By default "
        "requests for APIs are not checked, since APIs check them.",
    )
    service_insecure: bool = setting_field(False, "Allow plaintext to a service on another machine.")
    service_tls_ca: pathlib.Path | None = setting_field(
        None, "PEM file with the certificate authorities for the service's certificate.", "FILE"
    )
    service_tls_certificate: pathlib.Path | None = setting_field(
        None, "PEM file with the client certificate of the gateway, for mutual TLS.", "FILE"
    )
    service_tls_key: pathlib.Path | None = setting_field(
        None, "PEM file with the key of service_tls_certificate.", "FILE"
    )
    service_token_file: pathlib.Path | None = setting_field(
        None, "File whose first token is the bearer token for the service; # begins a comment.", "FILE"
    )
    service_connections: int = count_field(
        1,
        "Connections to the service, used round-robin. Each reaches one of its workers, so use several for "
        "each worker.",
        most=256,
    )
    models: str | None = setting_field(
        None,
        "Models that /v1/models lists, separated by commas. By default the exact names in the [[upstreams]], "
        "and for patterns with wildcards the matching models that the upstream lists.",
        "NAMES",
    )

    passthrough_url: str | None = setting_field(
        None,
        "URL of Mistral's API, or a compatible one, that serves passthrough_paths in place of the upstreams. "
        f"Required for them with service. Its key is in {KEY_VARIABLE}, or in passthrough_key_file.",
        "URL",
    )
    passthrough_key_file: pathlib.Path | None = setting_field(
        None, "File with the key for passthrough_url. Reloaded when it changes.", "FILE"
    )

    def __post_init__(self) -> None:
        """Check what depends on each other."""
        if self.embedded and self.service is not None:
            raise ValueError("expected embedded or service, found both")
        if self.strict and self.service is not None:
            raise ValueError("expected strict or service, found both: the service checks requests")
        if self.passthrough_key_file is not None and self.passthrough_url is None:
            raise ValueError("passthrough_key_file needs passthrough_url: the URL that the key is for")
        if self.service is None:
            for name in ("insecure", "tls_ca", "tls_certificate", "tls_key", "token_file"):
                if getattr(self, f"service_{name}"):
                    raise ValueError(f"service_{name} needs service: the service that it is for")
            if self.service_connections > 1:
                raise ValueError("service_connections needs service: the service to connect to")

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names of `models`, one by one."""
        return tuple(filter(None, (name.strip() for name in (self.models or "").split(","))))
