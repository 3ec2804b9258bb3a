"""What a server can be told: one definition for programs, flags, environment and file."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from mistralwire._loopback import is_loopback

# grpc's own bound on numbers, and on milliseconds.
_INT32_MAX = 2**31 - 1
_SECONDS_MAX = 86_400.0
_KEEPALIVE_S_MAX = 7_200.0


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What is to be known of one setting beside its name, its type and its default.

    Attributes:
        help: What it means, in a sentence or two.
        metavar: What its value is called.
        least: The least value; None if there is no order.
        most: The greatest value.
        is_above: Whether `least` itself is too little.
    """

    help: str
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    is_above: bool = False


def _setting(
    default: Any,
    help_: str,
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    *,
    is_above: bool = False,
) -> Any:
    setting = Setting(help_, metavar, least, most, is_above)
    return dataclasses.field(default=default, metadata={"setting": setting})


def _count(default: int, help_: str, least: int = 1, most: int = _INT32_MAX) -> Any:
    return _setting(default, help_, "N", least, most)


def _seconds(default: float, help_: str, most: float = _SECONDS_MAX, *, is_above: bool = True) -> Any:
    return _setting(default, help_, "SECONDS", 0, most, is_above=is_above)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """The settings of a server, each with its default.

    The fields are the settings: `mistralwire serve --help` lists them with their meaning and range, and
    `settings()` gives the same to programs.

    Raises:
        TypeError: If a value is of another type.
        ValueError: If a value is out of its range, or values do not go together; the message names them.
    """

    host: str = _setting("127.0.0.1", "Address to listen on.", "HOST")
    port: int = _setting(50051, "Port to listen on; 0 for any that is free.", "PORT", 0, 65_535)
    share_port: bool = _setting(
        False,
        "Let other processes of the same user listen on the same port: each gets a share of the connections.",
    )
    insecure: bool = _setting(False, "Serve plain text to other machines too, on the address of --host.")

    tls_certificate: pathlib.Path | None = _setting(
        None, "PEM file with the certificate chain of the server; read again when it changes.", "FILE"
    )
    tls_key: pathlib.Path | None = _setting(None, "PEM file with the private key of the server.", "FILE")
    tls_client_ca: pathlib.Path | None = _setting(
        None, "PEM file with the authorities that callers' certificates must come from: mutual TLS.", "FILE"
    )
    token_file: pathlib.Path | None = _setting(
        None,
        "File with the bearer tokens that callers may use, one a line; # begins a comment. Read again when "
        "it changes.",
        "FILE",
    )

    reflection: bool | None = _setting(
        None, "Serve the contract by reflection. By default on a loopback address alone."
    )
    channelz: bool = _setting(
        False, "Serve channelz, which tells the state of all connections; needs grpcio-channelz."
    )

    message_bytes_max: int = _count(16 * 1024 * 1024, "Bytes of one request, after its decompression.")
    metadata_bytes_max: int = _count(
        16 * 1024, "Bytes of the metadata of one call, with 32 more for each entry.", 1024, 1024 * 1024
    )
    calls_max: int = _count(
        1024, "Calls at one time, those that wait for the upstream included.", most=_INT32_MAX - 1024
    )
    upstream_calls_max: int = _count(512, "Calls of the upstream at one time.")
    upstream_queue_max: int = _count(512, "Calls that wait for the upstream at one time.", 0)
    upstream_idle_s: float = _seconds(
        300.0, "How long the upstream may be silent: before an answer, and between two chunks."
    )
    request_s: float = _seconds(30.0, "How long a request may take to arrive.")
    caller_idle_s: float = _seconds(300.0, "How long a caller may take no message of a stream.")

    stream_message_chunks_max: int = _count(256, "Chunks in one message of a stream.")
    stream_message_bytes_max: int = _count(
        256 * 1024, "Bytes of one message of a stream, unless a single chunk is larger."
    )
    stream_buffer_bytes_max: int = _count(
        512 * 1024, "Bytes that wait for one caller; then the upstream is read no further."
    )

    handshake_s: float = _seconds(
        10.0, "How long a caller may take to set up a connection, TLS included.", 3_600.0
    )
    connection_idle_s: float = _seconds(
        1_800.0, "How long a connection without calls is kept; clients open another when they need it."
    )
    connection_age_s: float = _seconds(
        3_600.0,
        "After how long a connection takes no new calls, so that clients open another, perhaps elsewhere; "
        "after as long again it is closed, with the calls that still run.",
        _SECONDS_MAX / 2,
    )
    keepalive_s: float = _seconds(
        60.0, "After how much silence a connection is asked whether it still works.", _KEEPALIVE_S_MAX
    )
    keepalive_timeout_s: float = _seconds(
        20.0, "How long the answer to that may take, before the connection is closed.", _KEEPALIVE_S_MAX
    )
    keepalive_caller_s_min: float = _seconds(
        10.0,
        "The least time between two such questions of a caller; who asks more often is disconnected.",
        _KEEPALIVE_S_MAX,
    )
    drain_s: float = _seconds(
        10.0,
        "How long running calls may go on when the server stops, before they are cancelled.",
        is_above=False,
    )
    drain_notice_s: float = _seconds(
        0.0,
        "How much of that new calls are still taken, while health says NOT_SERVING: time for load balancers "
        "to send them elsewhere. Behind one, twice the interval of its health checks.",
        is_above=False,
    )

    def __post_init__(self) -> None:
        """Check each value, then those that depend on each other."""
        for name, setting in settings().items():
            _check(name, getattr(self, name), self.__dataclass_fields__[name].type, setting)
        if not self.host:
            raise ValueError(
                "host must not be empty; 127.0.0.1 is this machine, 0.0.0.0 all of its addresses"
            )
        if not self.host.isprintable():
            raise ValueError(f"host must be an address or a name such as 127.0.0.1, not {self.host!r}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together: expected both or none, found one")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key: without TLS nobody shows one")
        if self.drain_notice_s > self.drain_s:
            raise ValueError(
                f"drain_notice_s must be at most drain_s, which is {self.drain_s:g}, "
                f"not {self.drain_notice_s:g}"
            )
        if self.insecure and self.tls_certificate is not None:
            raise ValueError("expected insecure or tls_certificate, found both")
        if not self.is_local and not self.insecure and self.tls_certificate is None:
            raise ValueError(
                f"host must be a loopback address such as 127.0.0.1, not {self.host!r}: calls from other "
                "machines would travel in plain text; set tls_certificate and tls_key, or insecure to allow "
                "that"
            )

    @property
    def is_local(self) -> bool:
        """Whether it listens on this machine alone."""
        return is_loopback(self.host)


def settings() -> Mapping[str, Setting]:
    """Give the settings of ServerConfig by their names, in order."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(ServerConfig)}


def _check(name: str, value: Any, type_: Any, setting: Setting) -> None:
    if value is None and type_ in (pathlib.Path | None, bool | None):
        return
    if type_ is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, not {value!r}")
    elif type_ is int:
        if type(value) is not int:
            raise TypeError(f"{name} must be an integer, not {value!r}")
    elif type_ is str:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {value!r}")
    elif type_ in (bool, bool | None):
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}")
    elif not isinstance(value, pathlib.Path):
        raise TypeError(f"{name} must be a pathlib.Path, not {value!r}")
    if setting.least is None or setting.most is None:
        return
    is_too_small = value <= setting.least if setting.is_above else value < setting.least
    if is_too_small or not value <= setting.most or math.isnan(value):
        least = f"above {setting.least:g}, at most" if setting.is_above else f"{setting.least:g} to"
        raise ValueError(f"{name} must be {least} {setting.most:.0f}, not {value!r}")
