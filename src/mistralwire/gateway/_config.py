"""What a gateway can be told: one definition for programs, flags, environment and file."""

import dataclasses
import pathlib

from mistralwire._listen import check_share_port
from mistralwire._loopback import check_exposure
from mistralwire._settings import check_settings, count_field, seconds_field, setting_field

_DEADLINE_S_MAX = 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GatewayConfig:
    """The settings of a gateway, each with its default.

    The fields are the settings: `mistralwire gateway --help` lists them with their meaning and range.

    Raises:
        TypeError: If a value is of another type.
        ValueError: If a value is out of its range, or values do not go together; the message names them.
    """

    host: str = setting_field("127.0.0.1", "Address to listen on.", "HOST")
    port: int = setting_field(8080, "Port to listen on; 0 for any that is free.", "PORT", 0, 65_535)
    share_port: bool = setting_field(
        False,
        "Let other processes of the same user listen on the same port: each gets a share of the connections.",
    )
    insecure: bool = setting_field(False, "Serve plain text to other machines too, on the address of --host.")

    tls_certificate: pathlib.Path | None = setting_field(
        None, "PEM file with the certificate chain of the gateway.", "FILE"
    )
    tls_key: pathlib.Path | None = setting_field(
        None, "PEM file with the private key of the gateway.", "FILE"
    )
    token_file: pathlib.Path | None = setting_field(
        None,
        "File with the keys that callers may use, one a line; # begins a comment. Read again when changed.",
        "FILE",
    )
    cors_origins: str | None = setting_field(
        None,
        "Origins whose pages may call from a browser, separated by commas; * for all. Without it none may.",
        "ORIGINS",
    )
    upstream_key_shared: bool = setting_field(
        False,
        "Callers share the key for the upstream: don't pass on its rate-limit headers, only when to retry.",
    )

    contract_revision: int = count_field(
        1,
        "Revision of the oldest contract in the fleet, for which requests are written. Raise it when every "
        "process has the newer contract: docs/contract.md.",
    )

    metrics: bool = setting_field(False, "Serve metrics for Prometheus at /metrics; needs the extra otel.")

    body_bytes_max: int = count_field(16 * 1024 * 1024, "Bytes of the body of one request.")
    header_bytes_max: int = count_field(
        32 * 1024, "Bytes of the request line and the headers of one request.", 1024, 1024 * 1024
    )
    requests_max: int = count_field(1024, "Requests at one time.")
    connections_max: int = count_field(4096, "Connections at one time.")
    request_s: float = seconds_field(30.0, "How long a request may take to arrive.")
    caller_idle_s: float = seconds_field(300.0, "How long a caller may take nothing of an answer.")
    deadline_s: float = seconds_field(
        600.0, "How long an answer may take in all, to its last chunk.", _DEADLINE_S_MAX
    )
    heartbeat_s: float = seconds_field(
        15.0, "After how much silence of a stream a comment is sent, so that nobody takes it for dead."
    )
    drain_s: float = seconds_field(
        10.0,
        "How long running requests may go on when the gateway stops, before they are cut.",
        is_above=False,
    )

    def __post_init__(self) -> None:
        """Check each value, then those that depend on each other."""
        check_settings(self)
        check_share_port("share_port", is_shared=self.share_port)
        check_exposure(
            self.host,
            insecure=self.insecure,
            certificate=self.tls_certificate,
            key=self.tls_key,
            what="requests",
        )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`, one by one."""
        origins = (origin.strip().rstrip("/") for origin in (self.cors_origins or "").split(","))
        return tuple(filter(None, origins))
