"""What a gateway can be told: one definition for programs, flags, environment and file."""

import dataclasses
import pathlib
import re

from mistralwire._addresses import check_exposure, check_share_port
from mistralwire._settings import BYTES_MAX, check_settings, count_field, seconds_field, setting_field
from mistralwire.gateway._routes import find_route

PASSTHROUGH_PATHS = (
    *("/v1/embeddings", "/v1/moderations", "/v1/chat/moderations", "/v1/classifications"),
    *("/v1/chat/classifications", "/v1/ocr", "/v1/audio/transcriptions", "/v1/audio/speech"),
)
"""Routes whose requests are passed on by default: models answer them, and no account has state there."""

_DEADLINE_S_MAX = 86_400.0
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~:-]+)+")
# What a browser can send; "null" is that of pages without an origin.
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+")
_OWN_PATHS = ("/v1/models", "/healthz", "/readyz", "/docs", "/openapi.json", "/metrics")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GatewayConfig:
    """The settings of a gateway, each with its default.

    The fields are the settings: `mistralwire gateway --help` lists them with their meaning and range.

    Raises:
        TypeError: If a value is of another type.
        ValueError: If a value is out of its range, or values do not go together; the message names them.
    """

    passthrough_paths: str = setting_field(
        ", ".join(PASSTHROUGH_PATHS),
        "Paths whose requests go on as they are, separated by commas, or none: to the first of the upstreams "
        "that is of the kind mistral.",
        "PATHS",
    )

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
    arriving_max: int = count_field(
        1024,
        "Requests at one time that have not fully arrived, beside those of requests_max. Beyond that, the "
        "one that takes longest is refused.",
        most=65_536,
    )
    bodies_bytes_max: int = count_field(
        256 * 1024 * 1024, "Bytes of the bodies of all requests together.", most=BYTES_MAX
    )
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
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "cors_origins must be origins such as https://example.com, in small letters and "
                    f"separated by commas, or *, not {origin!r}: no page has that origin"
                )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`, one by one."""
        origins = (origin.strip().rstrip("/") for origin in (self.cors_origins or "").split(","))
        return tuple(filter(None, origins))

    @property
    def passed_through(self) -> tuple[str, ...]:
        """The paths of `passthrough_paths`, one by one.

        Raises:
            ValueError: If one is no path, or a route of the gateway's own.
        """
        if self.passthrough_paths.strip() == "none":
            return ()
        paths = dict.fromkeys(filter(None, (path.strip() for path in self.passthrough_paths.split(","))))
        for path in paths:
            is_own = path in _OWN_PATHS or path.startswith("/v1/models/")
            if not _PATH.fullmatch(path) or is_own or find_route(path.encode()) is not None:
                raise ValueError(
                    "passthrough_paths must be paths like /v1/embeddings, without dot segments, escapes or "
                    f"a slash at the end, and no routes of the gateway's own, not {path!r}"
                )
        return tuple(paths)
