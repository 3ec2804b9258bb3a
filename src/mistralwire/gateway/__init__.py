"""The HTTP gateway: the JSON API and its streams of server-sent events on the outside, gRPC inside.

`create_app` makes an ASGI application around a `Client`, to be served alone or mounted in another one;
`GatewayConfig` holds its settings, and `GatewayServer` serves it over HTTP. It needs the extra `gateway`.
"""

from typing import TYPE_CHECKING, Any

from mistralwire._lazy import lazy_names
from mistralwire.errors import missing_import
from mistralwire.gateway._config import GatewayConfig

if TYPE_CHECKING:
    from mistralwire.gateway._app import create_app
    from mistralwire.gateway._server import GatewayServer

__all__ = ["GatewayConfig", "GatewayServer", "create_app"]

if not TYPE_CHECKING:  # a type checker would take every name for one of the module
    _find, __dir__ = lazy_names(__name__, "_app", "_server")

    def __getattr__(name: str) -> Any:
        try:
            return _find(name)
        except ModuleNotFoundError as error:
            raise missing_import("the gateway", error, "gateway") from error
