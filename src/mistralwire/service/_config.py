"""The settings of a server: one definition for programs, flags, environment variables and files."""

import dataclasses
import math
import pathlib
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Literal

from mistralwire._settings import (
    BYTES_MAX,
    INT32_MAX,
    KEEPALIVE_S_MAX,
    SECONDS_MAX,
    ListenSettings,
    Setting,
    check_settings,
    count_field,
    seconds_field,
    setting_field,
    settings_of,
)

_REPLICATED_MIN = 3
_ON_DISCONNECT = re.compile(r"cancel|finish|keep ([0-9]{1,6})")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig(ListenSettings):
    """The settings of a server, each with its default.

    The fields are the settings: `mistralwire serve --help` lists them with their meaning and range, and
    `settings()` returns the same for programs. The errors are those of `ListenSettings`.
    """

    port: int = setting_field(50051, "Port to listen on; 0 for any free port.", "PORT", 0, 65_535)
    tls_client_ca: pathlib.Path | None = setting_field(
        None, "PEM file with the certificate authorities for client certificates, for mutual TLS.", "FILE"
    )

    reflection: bool | None = setting_field(
        None, "Serve the contract by reflection. By default only on a loopback address."
    )
    channelz: bool = setting_field(
        False, "Serve channelz, which shows the state of all connections. Needs the extra channelz."
    )

    contract_revision: int = count_field(
        1,
        "Revision of the oldest contract in the fleet, for which responses are written. Raise it when every "
        "process has the newer contract: docs/contract.md.",
    )

    strict: bool = setting_field(
        False,
        "Check every request against the contract. By default requests for model APIs are not checked, "
        "since the APIs check them.",
    )

    message_bytes_max: int = count_field(16 * 1024 * 1024, "Bytes of one request, after decompression.")
    metadata_bytes_max: int = count_field(
        16 * 1024, "Bytes of the metadata of one call, counting 32 more for each entry.", 1024, 1024 * 1024
    )
    calls_max: int = count_field(
        1024,
        "Concurrent calls, including those that wait for the upstream. Calls of ResponseRelayService are "
        "counted apart, with the same limit.",
        most=INT32_MAX - 1024,
    )
    arriving_max: int = count_field(
        1024,
        "Concurrent calls whose request has not fully arrived, in addition to calls_max; a connection has at "
        "most a quarter of them. Beyond that, the call that has taken longest is refused.",
        most=65_536,
    )
    bodies_bytes_max: int = count_field(
        256 * 1024 * 1024, "Bytes of the requests of all running calls.", most=BYTES_MAX
    )
    upstream_calls_max: int = count_field(512, "Concurrent calls to the upstream.")
    upstream_queue_max: int = count_field(512, "Calls that wait for the upstream.", 0)
    upstream_idle_s: float = seconds_field(
        300.0, "Idle timeout of the upstream, before its response and between two chunks."
    )
    request_s: float = seconds_field(30.0, "Timeout for a request to arrive.")
    caller_idle_s: float = seconds_field(300.0, "Timeout for a caller to read the next message of a stream.")

    stream_message_chunks_max: int = count_field(256, "Chunks in one message of a stream.")
    stream_message_bytes_max: int = count_field(
        256 * 1024, "Bytes of one message of a stream, unless a single chunk is larger."
    )
    stream_buffer_bytes_max: int = count_field(
        512 * 1024, "Bytes buffered for one caller; at the limit, reading from the upstream pauses."
    )

    handshake_s: float = seconds_field(10.0, "Timeout for a connection's handshakes, including TLS.", 3_600.0)
    connection_idle_s: float = seconds_field(
        1_800.0, "Time after which a connection without calls is closed; clients reconnect when they need to."
    )
    connection_age_s: float = seconds_field(
        3_600.0,
        "Age at which a connection takes no new calls, so that clients reconnect, perhaps to another server. "
        "After the same time again it is closed, and calls still running on it are cancelled.",
        SECONDS_MAX / 2,
    )
    keepalive_s: float = seconds_field(
        60.0, "Time without activity before an HTTP/2 keepalive ping is sent.", KEEPALIVE_S_MAX
    )
    keepalive_timeout_s: float = seconds_field(
        20.0, "Timeout for the answer to a keepalive ping; then the connection is closed.", KEEPALIVE_S_MAX
    )
    keepalive_caller_s_min: float = seconds_field(
        10.0,
        "Minimum time between two keepalive pings of a caller; one that pings more often is disconnected.",
        KEEPALIVE_S_MAX,
    )
    drain_s: float = seconds_field(
        10.0, "Time for running calls to end when the server stops; then they are cancelled.", is_above=False
    )
    drain_notice_s: float = seconds_field(
        0.0,
        "First part of drain_s, in which new calls are still accepted while health reports NOT_SERVING, so "
        "that load balancers notice. Behind one, set twice the interval of its health checks.",
        is_above=False,
    )

    def __post_init__(self) -> None:
        ListenSettings.__post_init__(self)
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key: client certificates need TLS")
        if self.drain_notice_s > self.drain_s:
            raise ValueError(
                f"drain_notice_s must be at most drain_s, which is {self.drain_s:g}, "
                f"not {self.drain_notice_s:g}"
            )


def _is_http_url(url: str) -> bool:
    """Check whether a text is an http or https URL with a host, and without a password."""
    try:
        parts = urllib.parse.urlsplit(url)
        has_host = bool(parts.hostname) and "@" not in parts.netloc and (parts.port or 1) > 0
        return parts.scheme in ("http", "https") and has_host
    except ValueError:
        return False


def parse_on_disconnect(text: str) -> float | None:
    """Return the seconds for which a response waits for a caller who has gone, before it is cancelled.

    Returns:
        0 for `cancel`, infinity for `finish`, the number after `keep`, up to a day; None for any other text.
    """
    found = _ON_DISCONNECT.fullmatch(text)
    if found is None:
        return None
    if found[1] is None:
        return 0.0 if text == "cancel" else math.inf
    seconds = float(found[1])
    return seconds if seconds <= SECONDS_MAX else None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RelayConfig:
    """The settings of stored responses; the help of each field says what it means.

    Raises:
        TypeError: If a value has another type.
        ValueError: If a value is out of its range, or values contradict each other; the message names them.
    """

    data: pathlib.Path | None = setting_field(
        None,
        "Folder for the responses, which are stored in SQLite and survive restarts. One process uses it.",
        "DIR",
    )
    log: str | None = setting_field(
        None,
        "Where responses are stored instead: memory, or the URL of NATS JetStream, such as "
        "nats://127.0.0.1:4222, for several processes (needs the extra relay). By default nothing is stored.",
        "LOG",
    )
    log_durability: Literal["synced", "replicated"] = setting_field(
        "synced",
        "What an acknowledgement of NATS must mean: synced survives a power loss and needs sync_interval "
        "always; replicated survives the loss of a server, and needs log_replicas of 3 or more.",
    )
    log_replicas: int = count_field(1, "Servers of NATS that have each event.", most=5)
    log_monitors: str | None = setting_field(
        None,
        "URLs of the monitoring of the servers of NATS, separated by commas, which prove log_durability "
        "synced. By default port 8222 of the servers in log.",
        "URLS",
    )
    on_disconnect: str = setting_field(
        "cancel",
        "What happens to a response whose caller disconnects: cancel, finish, or keep with the seconds for "
        'them to come back, such as "keep 30". A request may say otherwise.',
        "POLICY",
    )
    response_events_max: int = count_field(100_000, "Events of one response.")
    response_bytes_max: int = count_field(
        16 * 1024 * 1024, "Bytes of the events of one response.", most=BYTES_MAX
    )
    caller_responses_max: int = count_field(10_000, "Running responses of one caller.")
    caller_bytes_max: int = count_field(
        4 * 1024 * 1024 * 1024,
        "Bytes of the stored responses of one caller; callers without tokens or certificates count as one. "
        "Beyond it, calls without an idempotency-key are answered and not stored; others are refused.",
        most=BYTES_MAX,
    )
    keep_days: int = count_field(7, "Days for which a response is kept after its end.", most=3_660)
    lease_s: float = seconds_field(
        30.0, "Time for a producer that publishes a response to come back; then the response fails."
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.data is not None and self.log is not None:
            raise ValueError("expected data or log, found both")
        if self.log not in (None, "memory") and not re.match("(?:nats|tls)://[^/]", self.log or ""):
            raise ValueError(f"log must be memory, or a URL such as nats://127.0.0.1:4222, not {self.log!r}")
        self._check_nats()
        if self.log_durability == "replicated" and self.log_replicas < _REPLICATED_MIN:
            raise ValueError("log_durability replicated needs log_replicas of 3 or more")
        if parse_on_disconnect(self.on_disconnect) is None:
            raise ValueError(
                f'on_disconnect must be cancel, finish or keep with seconds, such as "keep 30", '
                f"not {self.on_disconnect!r}"
            )

    def _check_nats(self) -> None:
        """Check the settings that are for NATS alone, which would otherwise be ignored without a word."""
        if self.log in (None, "memory"):
            for field in dataclasses.fields(self):
                if field.name.startswith("log_") and getattr(self, field.name) != field.default:
                    raise ValueError(
                        f"{field.name} needs a log on NATS: set log to its URL, such as nats://127.0.0.1:4222"
                    )
        for url in self.monitor_urls:
            if not _is_http_url(url):
                raise ValueError(
                    "log_monitors must be URLs such as http://127.0.0.1:8222, with http or https and a host, "
                    f"without a password and with commas between, not {url.rpartition('@')[2]!r}"
                )

    @property
    def monitor_urls(self) -> Sequence[str]:
        """The URLs in log_monitors."""
        return [url.strip() for url in (self.log_monitors or "").split(",") if url.strip()]

    @property
    def stores(self) -> bool:
        """Whether responses are stored at all, so that there is a relay or a log to create."""
        return self.data is not None or self.log is not None

    @property
    def is_embedded(self) -> bool:
        """Whether the responses are stored where a single process can use them."""
        return self.data is not None or self.log == "memory"


def settings() -> Mapping[str, Setting]:
    """Return the settings of ServerConfig by their names, in order."""
    return settings_of(ServerConfig)
