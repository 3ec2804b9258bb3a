"""What a server can be told: one definition for programs, flags, environment and file."""

import dataclasses
import pathlib
from collections.abc import Mapping

from mistralwire._addresses import check_exposure, check_share_port, is_loopback
from mistralwire._settings import (
    BYTES_MAX,
    INT32_MAX,
    SECONDS_MAX,
    Setting,
    check_settings,
    count_field,
    seconds_field,
    setting_field,
    settings_of,
)

_KEEPALIVE_S_MAX = 7_200.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """The settings of a server, each with its default.

    The fields are the settings: `mistralwire serve --help` lists them with their meaning and range, and
    `settings()` gives the same to programs.

    Raises:
        TypeError: If a value is of another type.
        ValueError: If a value is out of its range, or values do not go together; the message names them.
    """

    host: str = setting_field("127.0.0.1", "Address to listen on.", "HOST")
    port: int = setting_field(50051, "Port to listen on; 0 for any that is free.", "PORT", 0, 65_535)
    share_port: bool = setting_field(
        False,
        "Let other processes of the same user listen on the same port: each gets a share of the connections.",
    )
    insecure: bool = setting_field(False, "Serve plain text to other machines too, on the address of --host.")

    tls_certificate: pathlib.Path | None = setting_field(
        None, "PEM file with the certificate chain of the server; read again when it changes.", "FILE"
    )
    tls_key: pathlib.Path | None = setting_field(None, "PEM file with the private key of the server.", "FILE")
    tls_client_ca: pathlib.Path | None = setting_field(
        None, "PEM file with the authorities that callers' certificates must come from: mutual TLS.", "FILE"
    )
    token_file: pathlib.Path | None = setting_field(
        None,
        "File with the bearer tokens that callers may use, one a line; # begins a comment. Read again when "
        "it changes.",
        "FILE",
    )
    upstream_key_shared: bool = setting_field(
        False,
        "Callers share the key for the upstream: don't pass on its rate-limit headers, only when to retry.",
    )

    reflection: bool | None = setting_field(
        None, "Serve the contract by reflection. By default on a loopback address alone."
    )
    channelz: bool = setting_field(
        False, "Serve channelz, which tells the state of all connections; needs grpcio-channelz."
    )

    contract_revision: int = count_field(
        1,
        "Revision of the oldest contract in the fleet, for which answers are written. Raise it when every "
        "process has the newer contract: docs/contract.md.",
    )

    strict: bool = setting_field(
        False,
        "Check every request against the contract. By default only those for upstreams that don't judge "
        "requests themselves, as an API does.",
    )

    message_bytes_max: int = count_field(16 * 1024 * 1024, "Bytes of one request, after its decompression.")
    metadata_bytes_max: int = count_field(
        16 * 1024, "Bytes of the metadata of one call, with 32 more for each entry.", 1024, 1024 * 1024
    )
    calls_max: int = count_field(
        1024, "Calls at one time, those that wait for the upstream included.", most=INT32_MAX - 1024
    )
    arriving_max: int = count_field(
        1024,
        "Calls at one time whose request has not fully arrived, beside those of calls_max; a quarter of them "
        "on one connection. Beyond that, the one that takes longest is refused.",
        most=65_536,
    )
    bodies_bytes_max: int = count_field(
        256 * 1024 * 1024, "Bytes of the requests of all calls that have begun.", most=BYTES_MAX
    )
    upstream_calls_max: int = count_field(512, "Calls of the upstream at one time.")
    upstream_queue_max: int = count_field(512, "Calls that wait for the upstream at one time.", 0)
    upstream_idle_s: float = seconds_field(
        300.0, "How long the upstream may be silent: before an answer, and between two chunks."
    )
    request_s: float = seconds_field(30.0, "How long a request may take to arrive.")
    caller_idle_s: float = seconds_field(300.0, "How long a caller may take no message of a stream.")

    stream_message_chunks_max: int = count_field(256, "Chunks in one message of a stream.")
    stream_message_bytes_max: int = count_field(
        256 * 1024, "Bytes of one message of a stream, unless a single chunk is larger."
    )
    stream_buffer_bytes_max: int = count_field(
        512 * 1024, "Bytes that wait for one caller; then the upstream is read no further."
    )

    handshake_s: float = seconds_field(
        10.0, "How long a caller may take to set up a connection, TLS included.", 3_600.0
    )
    connection_idle_s: float = seconds_field(
        1_800.0, "How long a connection without calls is kept; clients open another when they need it."
    )
    connection_age_s: float = seconds_field(
        3_600.0,
        "After how long a connection takes no new calls, so that clients open another, perhaps elsewhere; "
        "after as long again it is closed, with the calls that still run.",
        SECONDS_MAX / 2,
    )
    keepalive_s: float = seconds_field(
        60.0, "After how much silence a connection is asked whether it still works.", _KEEPALIVE_S_MAX
    )
    keepalive_timeout_s: float = seconds_field(
        20.0, "How long the answer to that may take, before the connection is closed.", _KEEPALIVE_S_MAX
    )
    keepalive_caller_s_min: float = seconds_field(
        10.0,
        "The least time between two such questions of a caller; who asks more often is disconnected.",
        _KEEPALIVE_S_MAX,
    )
    drain_s: float = seconds_field(
        10.0,
        "How long running calls may go on when the server stops, before they are cancelled.",
        is_above=False,
    )
    drain_notice_s: float = seconds_field(
        0.0,
        "How much of that new calls are still taken, while health says NOT_SERVING: time for load balancers "
        "to send them elsewhere. Behind one, twice the interval of its health checks.",
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
            what="calls",
        )
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key: without TLS nobody shows one")
        if self.drain_notice_s > self.drain_s:
            raise ValueError(
                f"drain_notice_s must be at most drain_s, which is {self.drain_s:g}, "
                f"not {self.drain_notice_s:g}"
            )

    @property
    def is_local(self) -> bool:
        """Whether it listens on this machine alone."""
        return is_loopback(self.host)


def settings() -> Mapping[str, Setting]:
    """Give the settings of ServerConfig by their names, in order."""
    return settings_of(ServerConfig)
