"""The settings of a gateway: one definition for programs, flags, environment variables and files."""

import dataclasses
import re

from mistralwire._settings import BYTES_MAX, ListenSettings, count_field, seconds_field, setting_field
from mistralwire.errors import missing_import

PASSTHROUGH_PATHS = (
    *("/v1/embeddings", "/v1/moderations", "/v1/chat/moderations", "/v1/classifications"),
    *("/v1/chat/classifications", "/v1/ocr", "/v1/audio/transcriptions", "/v1/audio/speech"),
)
"""Paths whose requests are forwarded by default: models answer them, and they keep no state."""

_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~:-]+)+")
# What browsers can send; "null" is for pages without an origin.
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+")
_OWN_PATHS = ("/v1/models", "/healthz", "/readyz", "/docs", "/docs/size", "/openapi.json", "/metrics")
_OWN_STARTS = ("/v1/models/", "/v1/stream/", "/v1/chat/completions/")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GatewayConfig(ListenSettings):
    """The settings of a gateway, each with its default.

    The fields are the settings: `mistralwire gateway --help` lists them with their meaning and range.

    Raises:
        TypeError: If a value has another type.
        ValueError: If a value is out of its range, or values contradict each other; the message names them.
    """

    port: int = setting_field(8080, "Port to listen on; 0 for any free port.", "PORT", 0, 65_535)
    cors_origins: str | None = setting_field(
        None,
        "Origins of web pages that may call the gateway, separated by commas; * for all. None by default.",
        "ORIGINS",
    )

    passthrough_paths: str = setting_field(
        ", ".join(PASSTHROUGH_PATHS),
        "Paths whose requests are forwarded unread, separated by commas, or none. They go to the first "
        "upstream of the kind mistral.",
        "PATHS",
    )

    openai: bool = setting_field(
        False,
        "Also serve OpenAI-compatible chat completions and models at /openai/v1: docs/openai.md.",
    )

    contract_revision: int = count_field(
        1,
        "Revision of the oldest contract in the fleet, for which requests are written. Raise it when every "
        "process has the newer contract: docs/contract.md.",
    )

    metrics: bool = setting_field(False, "Serve metrics for Prometheus at /metrics. Needs the extra otel.")

    body_bytes_max: int = count_field(16 * 1024 * 1024, "Bytes of the body of one request.")
    header_bytes_max: int = count_field(
        32 * 1024, "Bytes of the request line and the headers of one request.", 1024, 1024 * 1024
    )
    requests_max: int = count_field(1024, "Concurrent requests.")
    arriving_max: int = count_field(
        1024,
        "Concurrent requests that have not fully arrived, in addition to requests_max. Beyond that, the "
        "request that has taken longest is refused.",
        most=65_536,
    )
    bodies_bytes_max: int = count_field(
        256 * 1024 * 1024, "Bytes of the bodies of all requests together.", most=BYTES_MAX
    )
    connections_max: int = count_field(4096, "Concurrent connections.")
    request_s: float = seconds_field(30.0, "Timeout for a request to arrive.")
    caller_idle_s: float = seconds_field(300.0, "Timeout for a caller to read more of a response.")
    deadline_s: float = seconds_field(600.0, "Timeout for a whole response, to its last chunk.")
    heartbeat_s: float = seconds_field(
        15.0, "Time without a chunk before a comment is sent, so that no proxy or client closes the stream."
    )
    drain_s: float = seconds_field(
        10.0,
        "Time for running requests to end when the gateway stops; then they are cut off.",
        is_above=False,
    )

    def __post_init__(self) -> None:
        """Check each value, then those that depend on each other."""
        ListenSettings.__post_init__(self)
        _ = self.passed_through
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "cors_origins must be origins such as https://example.com, in lower case and "
                    f"separated by commas, or *, not {origin!r}: no page has that origin"
                )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins in `cors_origins`."""
        origins = (origin.strip().rstrip("/") for origin in (self.cors_origins or "").split(","))
        return tuple(filter(None, origins))

    @property
    def passed_through(self) -> tuple[str, ...]:
        """The paths in `passthrough_paths`."""
        if self.passthrough_paths.strip() == "none":
            return ()
        try:
            from mistralwire.gateway._routes import find_route, is_openai_path  # noqa: PLC0415 - need the extra
        except ModuleNotFoundError as error:
            raise missing_import("the gateway", error, "gateway") from error
        paths = dict.fromkeys(filter(None, (path.strip() for path in self.passthrough_paths.split(","))))
        for path in paths:
            is_own = path in _OWN_PATHS or path.startswith(_OWN_STARTS)
            is_own |= self.openai and is_openai_path(path)
            if not _PATH.fullmatch(path) or is_own or find_route(path.encode()) is not None:
                raise ValueError(
                    "passthrough_paths must be paths like /v1/embeddings, without dot segments, escapes or "
                    f"a trailing slash, and not the gateway's own routes, not {path!r}"
                )
        return tuple(paths)
