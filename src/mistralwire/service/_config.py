"""The settings of a server: one definition for programs, flags, environment variables and files."""

import dataclasses
import pathlib
from collections.abc import Mapping

from mistralwire._settings import (
    BYTES_MAX,
    INT32_MAX,
    KEEPALIVE_S_MAX,
    SECONDS_MAX,
    ListenSettings,
    Setting,
    count_field,
    seconds_field,
    setting_field,
    settings_of,
)


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
        1024, "Concurrent calls, including those that wait for the upstream.", most=INT32_MAX - 1024
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


def settings() -> Mapping[str, Setting]:
    """Return the settings of ServerConfig by their names, in order."""
    return settings_of(ServerConfig)
