"""How the client's channel is set up: balancing, retries, keepalive, limits, and who is trusted."""

import json
import os
from typing import Any, Protocol

import grpc

from mistralwire._addresses import is_loopback_target
from mistralwire._files import open_file
from mistralwire.v1 import chat_completion_service_pb2

SERVICE = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"]

# A request is kept for a retry up to this size; the default, 256 KiB, is below that of one with an image.
_RETRY_BYTES_MAX = 64 * 1024 * 1024
# The pauses before the second, third and fourth attempt, 0.2, 0.6 and 1.8 seconds, are longer than those
# before a new connection, so that each attempt finds out something new.
_BACKOFF = {"initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 3}
_RECONNECT_MS_MIN = 200
_RECONNECT_MS_MAX = 10_000
# How soon the name of a service is looked up again when one of its addresses fails: before the last attempt.
_RESOLUTION_MS_MIN = 1_000
# With so many more failures than successes nobody retries any more: half of the tokens are gone.
_THROTTLING = {"maxTokens": 100, "tokenRatio": 0.1}

# Which encodings are taken and given, a bit each: a compressed message is decompressed before its size is
# known, so that only those who want it have it.
_IDENTITY, _GZIP = 1, 4

Path = str | os.PathLike[str]


class CallChannel(Protocol):
    """What makes calls, from wire bytes to wire bytes: the part of grpc.aio.Channel that the client uses."""

    def unary_unary(self, method: str) -> Any:
        """Give what calls a method that has one answer."""

    def unary_stream(self, method: str) -> Any:
        """Give what calls a method that is answered by a stream."""

    async def close(self) -> None:
        """Close it."""


def service_config(attempts_max: int) -> str:
    """Give the gRPC service config: calls take turns among all addresses, and failed ones are retried.

    gRPC itself retries, and only before the answer has begun.

    Args:
        attempts_max: How often a call is tried, 1 to 5.

    Returns:
        Its JSON.

    Source: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    """
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if attempts_max > 1:
        policy = {"maxAttempts": attempts_max, "retryableStatusCodes": ["UNAVAILABLE"], **_BACKOFF}
        config["methodConfig"] = [{"name": [{"service": SERVICE.full_name}], "retryPolicy": policy}]
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
    """Give the options of the channel.

    Args:
        target: The service.
        attempts_max: How often a call is tried.
        keepalive_s: After how much silence the connection is asked whether it still works, in seconds.
        keepalive_timeout_s: How long the answer to that may take, in seconds.
        message_bytes_max: Bound on the bytes of one message.
        is_gzip_enabled: Whether messages may be compressed.
        is_shared: Whether channels with the same options may share a connection, as gRPC has it by default.

    Returns:
        Names and values, as grpc takes them.
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
        # Of the questions that measure the line: while one of them is open, no other is asked.
        ("grpc.http2.ping_timeout_ms", max(1, round(keepalive_timeout_s * 1000))),
        # A model that thinks for minutes sends nothing: the questions must not stop after the second.
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if not is_shared:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if is_loopback_target(target):
        options.append(("grpc.enable_http_proxy", 0))
    return options


def tls_credentials(
    ca: Path | None, certificate: Path | None, key: Path | None
) -> grpc.ChannelCredentials | None:
    """Make credentials of PEM files.

    Args:
        ca: The authorities that the server's certificate must come from; None for the public ones.
        certificate: The client's own certificate chain, for mutual TLS; None for none.
        key: Its private key.

    Returns:
        The credentials; None if there is no file.

    Raises:
        OSError: If a file can't be read.
        ValueError: If a file is not PEM, or certificate and key do not come together.
    """
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
        raise ValueError(f"{name} must be a PEM file, found none of its -----BEGIN lines in {path}")
    return data
