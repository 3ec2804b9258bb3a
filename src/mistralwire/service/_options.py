"""How a gRPC server is set up: its channel arguments, and its TLS credentials."""

import re

import grpc

from mistralwire._serving.tls_files import TlsFiles, TlsMaterial
from mistralwire.service._config import ServerConfig

# Keepalive pings that a caller may send too early before it is disconnected.
_PING_STRIKES_MAX = 2
# A pending call takes some 10 KB.
_PENDING_MAX = 65_536
# Earlier versions decompress a whole request before they check its size: a megabyte becomes a gigabyte.
_SAFE_GZIP_VERSION = (1, 84)
_ONLY_IDENTITY = 1


def server_options(config: ServerConfig, calls_max: int) -> list[tuple[str, int]]:
    """Return the channel arguments of a server with at most this many concurrent calls, of all services.

    Source: https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h
    """
    return [
        ("grpc.max_receive_message_length", config.message_bytes_max),
        *compression_options(),
        # The same limit twice: between the two grpc rejects at random.
        ("grpc.max_metadata_size", config.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", config.metadata_bytes_max),
        # With a lower limit calls would wait in their connection, unseen; beyond this one they are rejected.
        ("grpc.max_concurrent_streams", calls_max),
        # Calls that wait for Python, many of which their callers may have reset: with a low limit gRPC would
        # reject others at random. The same limit twice, as above.
        ("grpc.server.max_pending_requests", _PENDING_MAX),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING_MAX),
        # If the port is not shared, a second server on it is an error.
        ("grpc.so_reuseport", int(config.share_port)),
        ("grpc.server_handshake_timeout_ms", _as_ms(config.handshake_s)),
        ("grpc.max_connection_idle_ms", _as_ms(config.connection_idle_s)),
        # Ends even the calls of a caller who reads nothing, as nothing else does.
        ("grpc.max_connection_age_ms", _as_ms(config.connection_age_s)),
        ("grpc.max_connection_age_grace_ms", _as_ms(config.connection_age_s)),
        ("grpc.keepalive_time_ms", _as_ms(config.keepalive_s)),
        ("grpc.keepalive_timeout_ms", _as_ms(config.keepalive_timeout_s)),
        # For the pings that grpc sends for other reasons, whose default is a minute.
        ("grpc.http2.ping_timeout_ms", _as_ms(config.keepalive_timeout_s)),
        # Both sides may ping between calls too, and this one as often as the setting says.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Known as GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS; the name has no `recv` in it.
        ("grpc.http2.min_ping_interval_without_data_ms", _as_ms(config.keepalive_caller_s_min)),
        ("grpc.http2.max_ping_strikes", _PING_STRIKES_MAX),
        ("grpc.enable_channelz", int(config.channelz)),
    ]


def compression_options(version: str = grpc.__version__) -> list[tuple[str, int]]:
    """Return the channel arguments for compressed requests.

    From grpcio 1.84 on the size of a request is checked after its decompression. With earlier versions
    compressed requests end with UNIMPLEMENTED, which tells a client to send them uncompressed.
    """
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers >= _SAFE_GZIP_VERSION:
        return []
    return [("grpc.compression_enabled_algorithms_bitset", _ONLY_IDENTITY)]


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """Return TLS credentials that follow their files; None for plaintext.

    Raises:
        MistralwireError: If a file can't be used; see `Server.start`.
    """
    if config.tls_certificate is None or config.tls_key is None:
        return None
    files = TlsFiles(config.tls_certificate, config.tls_key, config.tls_client_ca)
    given = files.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return the certificate if the files have changed; grpc asks before each handshake, in threads."""
        nonlocal given
        material = files.current()
        if material is given:
            return None
        given = material
        return _certificate(material)

    return grpc.dynamic_ssl_server_credentials(
        _certificate(given), fetch, require_client_authentication=given.authorities is not None
    )


def _certificate(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.authorities)


def _as_ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
