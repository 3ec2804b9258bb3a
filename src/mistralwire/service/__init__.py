"""The gRPC service: its servicer, its server, and the status of each error.

`create_server(upstream)` returns a whole server, `ChatCompletionServicer(upstream)` is for a server of your
own, `LocalChannel(upstream)` calls the service in the same process. `ServerConfig` holds their settings.
`create_relay(config)` makes what stores responses.
"""

from typing import TYPE_CHECKING

from mistralwire._lazy import lazy_names
from mistralwire._metadata import ACCEPT_ENCODING, REQUEST_ID
from mistralwire._settings import Setting
from mistralwire.errors import ERROR_DOMAIN
from mistralwire.service._config import RelayConfig, ServerConfig, settings

if TYPE_CHECKING:
    from mistralwire._methods import SERVICE_NAME
    from mistralwire._status import to_status
    from mistralwire.service._inprocess import LocalChannel
    from mistralwire.service._observers import (
        AccessLog,
        CallObserver,
        CallRecord,
        Chunks,
        PrometheusEndpoint,
        start_prometheus,
    )
    from mistralwire.service._relay import Relay, create_log, create_relay
    from mistralwire.service._server import Server, create_server
    from mistralwire.service._servicer import ChatCompletionServicer

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
    "Relay",
    "RelayConfig",
    "Server",
    "ServerConfig",
    "Setting",
    "create_log",
    "create_relay",
    "create_server",
    "settings",
    "start_prometheus",
    "to_status",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of the module
    __getattr__, __dir__ = lazy_names(
        __name__, "_status", "_observers", "_inprocess", "_relay", "_server", "_servicer"
    )
