"""What grpc is told about a server."""

from mistralwire.service._compression import request_options
from mistralwire.service._config import ServerConfig

# How often a caller may ask too early whether its connection works, before it is disconnected.
_PING_STRIKES_MAX = 2
# A call that waits takes some 10 KB.
_PENDING_MAX = 65_536


def server_options(config: ServerConfig, calls_max: int) -> list[tuple[str, int]]:
    """Give the options of a server.

    Args:
        config: Its settings.
        calls_max: Calls at one time, of all services.

    Source: https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h
    """
    return [
        ("grpc.max_receive_message_length", config.message_bytes_max),
        *request_options(),
        # Both bounds the same: between them grpc refuses at random.
        ("grpc.max_metadata_size", config.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", config.metadata_bytes_max),
        # More would wait in the connection, unseen; beyond this a call is refused, which its caller sees.
        ("grpc.max_concurrent_streams", calls_max),
        # Those that wait for Python, many of which their callers may have reset: with a low bound gRPC would
        # refuse others at random. Both bounds the same: between them it draws lots.
        ("grpc.server.max_pending_requests", _PENDING_MAX),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING_MAX),
        # Without the share, a second server on the same port is a mistake, and an error.
        ("grpc.so_reuseport", int(config.share_port)),
        ("grpc.server_handshake_timeout_ms", _milliseconds(config.handshake_s)),
        ("grpc.max_connection_idle_ms", _milliseconds(config.connection_idle_s)),
        # At the end even of the calls of a caller who takes nothing: nothing else ends those.
        ("grpc.max_connection_age_ms", _milliseconds(config.connection_age_s)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(config.connection_age_s)),
        ("grpc.keepalive_time_ms", _milliseconds(config.keepalive_s)),
        ("grpc.keepalive_timeout_ms", _milliseconds(config.keepalive_timeout_s)),
        # Of the questions that grpc asks for reasons of its own, which would have a minute.
        ("grpc.http2.ping_timeout_ms", _milliseconds(config.keepalive_timeout_s)),
        # Both sides may ask between calls too, and we as often as the setting says.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Known as GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS; the name has no `recv` in it.
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(config.keepalive_caller_s_min)),
        ("grpc.http2.max_ping_strikes", _PING_STRIKES_MAX),
        ("grpc.enable_channelz", int(config.channelz)),
    ]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
