"""A gateway with its service, over real sockets, in the loop of the test."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from mistralwire.client import Client
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.log import ResponseLog
from mistralwire.service import LocalChannel, Relay, ServerConfig, create_server
from mistralwire.upstream import ForwardRoutes, ModelCatalog, Route, Upstream


@contextlib.asynccontextmanager
async def running_gateway(
    upstream: Upstream,
    config: GatewayConfig | None = None,
    *,
    service: ServerConfig | None = None,
    models: Sequence[str] | ModelCatalog = (),
    forward: Sequence[Route] = (),
    is_embedded: bool = False,
    is_wrapped: bool = False,
    log: ResponseLog | None = None,
    relay: Relay | None = None,
) -> AsyncIterator[str]:
    """Run a gateway and the service behind it on free ports, and yield the gateway's URL.

    Embedded, the service is called without a socket. Wrapped, the gateway is an ASGI application in another
    one, so that its server has no short cut to it. The relay, if there is one, is open.
    """
    config = config or GatewayConfig(port=0)
    service = service or ServerConfig(port=0)
    async with contextlib.AsyncExitStack() as stack:
        if is_embedded:
            client = Client.on(LocalChannel(upstream, service, relay=relay))
        else:
            server = await stack.enter_async_context(create_server(upstream, service, relay=relay))
            client = Client(server.address, attempts_max=1)
        await stack.enter_async_context(client)
        app: Any = create_app(client, config, models=models, forward=ForwardRoutes(forward), log=log)
        if is_wrapped:
            app = _wrapped(app)
        gateway = await stack.enter_async_context(GatewayServer(app, config))
        yield gateway.url


def _wrapped(app: Any) -> Any:
    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return call
