"""The gRPC service: the servicer, the server around it, and how errors become statuses.

`create_server(upstream)` gives a whole server; `ChatCompletionServicer(upstream)` is for those who have one.
`ServerConfig` holds the settings of both.
"""

from mistralwire.service._config import ServerConfig, Setting, settings
from mistralwire.service._record import CallObserver, CallRecord
from mistralwire.service._server import Server, create_server
from mistralwire.service._servicer import SERVICE_NAME, ChatCompletionServicer
from mistralwire.service._status import ERROR_DOMAIN, REQUEST_ID, to_status

__all__ = [
    "ERROR_DOMAIN",
    "REQUEST_ID",
    "SERVICE_NAME",
    "CallObserver",
    "CallRecord",
    "ChatCompletionServicer",
    "Server",
    "ServerConfig",
    "Setting",
    "create_server",
    "settings",
    "to_status",
]
