"""The gRPC service: the servicer, the server around it, and how errors become statuses.

`create_server(upstream)` gives a whole server; `ChatCompletionServicer(upstream)` is for those who have one,
`LocalChannel(upstream)` for those who call it from the same process. `ServerConfig` holds their settings.
"""

from mistralwire._metadata import ACCEPT_ENCODING, REQUEST_ID
from mistralwire._settings import Setting
from mistralwire.service._access_log import AccessLog
from mistralwire.service._config import ServerConfig, settings
from mistralwire.service._local import LocalChannel
from mistralwire.service._methods import SERVICE_NAME
from mistralwire.service._prometheus import PrometheusEndpoint, start_prometheus
from mistralwire.service._record import CallObserver, CallRecord, Chunks
from mistralwire.service._server import Server, create_server
from mistralwire.service._servicer import ChatCompletionServicer
from mistralwire.service._status import ERROR_DOMAIN, to_status

__all__ = [
    "ACCEPT_ENCODING",
    "ERROR_DOMAIN",
    "REQUEST_ID",
    "SERVICE_NAME",
    "AccessLog",
    "CallObserver",
    "CallRecord",
    "ChatCompletionServicer",
    "Chunks",
    "LocalChannel",
    "PrometheusEndpoint",
    "Server",
    "ServerConfig",
    "Setting",
    "create_server",
    "settings",
    "start_prometheus",
    "to_status",
]
