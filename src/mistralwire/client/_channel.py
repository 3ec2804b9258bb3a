"""The channels of a client: target, load balancing, retries, keepalive, limits, and TLS."""

import asyncio
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import grpc

from mistralwire._addresses import is_loopback_target
from mistralwire._files import open_file
from mistralwire._methods import RELAY_METHODS, RELAY_SERVICE_NAME, SERVICE_NAME

_PORT_MAX = 65_535
# Schemes without a port, or with one that this module does not check.
_SCHEMES_WITHOUT_PORT = ("unix:", "unix-abstract:", "vsock:", "xds:", "google-c2p:")
_DNS_SCHEME = re.compile("dns:(?://[^/]*/)?")
_PORT_DIGITS = re.compile("0*[0-9]{1,5}")

# Requests up to this size can be retried; the default, 256 KiB, is too small for one with an image.
_RETRY_BYTES_MAX = 64 * 1024 * 1024
# The delays before the second, third and fourth attempt, 0.2, 0.6 and 1.8 seconds, are longer than those
# before a reconnect, so that each attempt has a new connection to try.
_BACKOFF = {"initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 3}
_RECONNECT_MS_MIN = 200
# Nor does a long outage make it longer: calls find a service that is back.
_RECONNECT_MS_MAX = 1_000
# After the failure of an address its name is resolved again this soon: before the last attempt.
_RESOLUTION_MS_MIN = 1_000
# A stream of the relay is resumed by the client itself, from where it was.
_RETRIED_METHODS = [
    {"service": SERVICE_NAME},
    *(
        {"service": RELAY_SERVICE_NAME, "method": method.name}
        for method in RELAY_METHODS.values()
        if not method.is_stream
    ),
]
# Retries stop once failures outnumber successes by so many that half of the tokens are gone.
_THROTTLING = {"maxTokens": 100, "tokenRatio": 0.1}

# Bits of the encodings that are enabled. grpc may decompress a message before it checks its size, so gzip is
# enabled on request alone.
_IDENTITY, _GZIP = 1, 4

Path = str | os.PathLike[str]


class CallChannel(Protocol):
    """The part of grpc.aio.Channel that the client uses: calls from wire bytes to wire bytes."""

    def unary_unary(self, method: str) -> Any: ...

    def unary_stream(self, method: str) -> Any: ...

    def stream_stream(self, method: str) -> Any: ...

    async def close(self) -> None: ...


class Channels:
    """The channels of a client, one for each connection to an address; calls use them in round-robin order.

    They are opened with the first call, unless they are given, and belong to its event loop.
    """

    def __init__(
        self, open_channel: Callable[[], CallChannel], count: int = 1, opened: Sequence[CallChannel] = ()
    ) -> None:
        self._open_channel = open_channel
        self._count = count
        self._channels = opened
        self._turns: Iterator[CallChannel] = iter(())
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> None:
        """Open the channels in the running event loop; raise RuntimeError if they belong to another."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None:
                raise RuntimeError("the client belongs to another event loop; make one client for each loop")
            self._loop = loop
            self._channels = self._channels or [self._open_channel() for _ in range(self._count)]
            self._turns = itertools.cycle(self._channels)

    def next(self) -> CallChannel:
        self.enter()
        return next(self._turns)

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))


def service_config(attempts_max: int) -> str:
    """Return the gRPC service config: round-robin load balancing, and retries.

    gRPC itself retries, and only until the response has begun.

    Source: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    """
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if attempts_max > 1:
        policy = {"maxAttempts": attempts_max, "retryableStatusCodes": ["UNAVAILABLE"], **_BACKOFF}
        config["methodConfig"] = [{"name": _RETRIED_METHODS, "retryPolicy": policy}]
        config["retryThrottling"] = _THROTTLING
    return json.dumps(config)


def channel_options(
    target: str,
    *,
    attempts_max: int,
    keepalive_s: float,
    keepalive_timeout_s: float,
    message_bytes_max: int,
    is_gzip_enabled: bool,
    is_shared: bool,
) -> list[tuple[str, Any]]:
    """Return the channel arguments; for their meaning see `Client`.

    With `is_shared`, gRPC's default, channels with the same arguments may share a connection.

    Source: https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h
    """
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY | _GZIP if is_gzip_enabled else _IDENTITY),
        ("grpc.service_config", service_config(attempts_max)),
        ("grpc.per_rpc_retry_buffer_size", _RETRY_BYTES_MAX),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS_MIN),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS_MAX),
        ("grpc.dns_min_time_between_resolutions_ms", _RESOLUTION_MS_MIN),
        ("grpc.keepalive_time_ms", round(keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", max(1, round(keepalive_timeout_s * 1000))),
        # For the pings that measure bandwidth: while one of them is unanswered, no other ping is sent.
        ("grpc.http2.ping_timeout_ms", max(1, round(keepalive_timeout_s * 1000))),
        # A model that thinks for minutes sends nothing: keepalive must not stop after the second ping.
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if not is_shared:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if is_loopback_target(target):
        options.append(("grpc.enable_http_proxy", 0))
    return options


def chosen_credentials(
    target: str,
    insecure: bool | None,
    credentials: grpc.ChannelCredentials | None,
    from_files: grpc.ChannelCredentials | None,
) -> grpc.ChannelCredentials | None:
    """Return the credentials of the channel, None for plaintext; raise ValueError for a contradiction."""
    if credentials is not None and from_files is not None:
        raise ValueError("expected credentials or TLS files, found both")
    given = credentials or from_files
    if insecure and given is not None:
        raise ValueError("expected insecure or credentials, found both")
    if insecure or (insecure is None and given is None and is_loopback_target(target)):
        return None
    return given or grpc.ssl_channel_credentials()


def tls_credentials(
    ca: Path | None, certificate: Path | None, key: Path | None
) -> grpc.ChannelCredentials | None:
    """Read channel credentials from PEM files; None without a file. Raises OSError and ValueError."""
    if (certificate is None) != (key is None):
        raise ValueError("tls_certificate and tls_key go together: expected both or none, found one")
    if ca is None and certificate is None:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=_pem("tls_ca", ca),
        private_key=_pem("tls_key", key),
        certificate_chain=_pem("tls_certificate", certificate),
    )


def _pem(name: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    with open_file(path) as file:
        data = file.read()
    if b"-----BEGIN " not in data:
        raise ValueError(f"{name} must be a PEM file, found no -----BEGIN line in {path}")
    return data


def checked_target(target: str) -> str:
    """Check a target; an unknown scheme is left to gRPC.

    gRPC takes a port modulo 65536, and would silently call another service.

    Source: https://github.com/grpc/grpc/blob/master/doc/naming.md
    """
    if not isinstance(target, str):
        raise TypeError(f"target must be a string such as 'localhost:50051', not {target!r}")
    if not target:
        raise ValueError("target must be an address such as 'localhost:50051', not empty")
    lower = target.lower()
    if lower.startswith(("http://", "https://")):
        raise ValueError(f"target must be an address such as 'localhost:50051', not a URL: {target!r}")
    if re.search(r"\s", target) and not lower.startswith("unix"):
        raise ValueError(
            f"target must be an address such as 'localhost:50051', without spaces, not {target!r}"
        )
    for address in _addresses(lower):
        port = _port_of(address)
        if port is not None and not (_PORT_DIGITS.fullmatch(port) and 0 < int(port) <= _PORT_MAX):
            raise ValueError(
                "target must be an address such as 'localhost:50051', with one of the ports 1 to 65535, "
                f"not {target!r}"
            )
    return target


def _addresses(target: str) -> list[str]:
    if target.startswith(("ipv4:", "ipv6:")):
        return target[5:].split(",")
    if scheme := _DNS_SCHEME.match(target):
        target = target[scheme.end() :]
    return [] if target.startswith(_SCHEMES_WITHOUT_PORT) or "://" in target else [target]


def _port_of(address: str) -> str | None:
    """Return what stands in the place of a port; None for a bare host, such as an IPv6 address."""
    if address.startswith("["):
        address = address.rpartition("]")[2]
    return address.partition(":")[2] if address.count(":") == 1 else None
