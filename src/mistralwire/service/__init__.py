"""The gRPC service: the servicer, the server around it, and how errors become statuses.

`create_server(upstream)` gives a whole server; `ChatCompletionServicer(upstream)` is for those who have one.
"""

from mistralwire.service._server import (
    CALLS_MAX,
    DRAIN_S,
    HOST,
    MESSAGE_BYTES_MAX,
    PORT,
    Server,
    create_server,
)
from mistralwire.service._servicer import SERVICE_NAME, ChatCompletionServicer
from mistralwire.service._status import ERROR_DOMAIN, to_status

__all__ = [
    "CALLS_MAX",
    "DRAIN_S",
    "ERROR_DOMAIN",
    "HOST",
    "MESSAGE_BYTES_MAX",
    "PORT",
    "SERVICE_NAME",
    "ChatCompletionServicer",
    "Server",
    "create_server",
    "to_status",
]
