"""The HTTP gateway: the JSON API and its streams of server-sent events on the outside, gRPC inside.

`create_app` makes an ASGI application around a `Client`, to be served alone or mounted in another one;
`GatewayConfig` holds its settings, and `GatewayServer` serves it over HTTP. It needs the extra `gateway`.
"""

from mistralwire.errors import missing_import

try:
    from mistralwire.gateway._app import create_app
    from mistralwire.gateway._config import GatewayConfig
    from mistralwire.gateway._server import GatewayServer
except ModuleNotFoundError as error:
    raise missing_import("the gateway", error, "gateway") from error

__all__ = ["GatewayConfig", "GatewayServer", "create_app"]
