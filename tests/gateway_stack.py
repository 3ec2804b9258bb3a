"""A gateway with its service, over real sockets, in the loop of the test."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from mistralwire.client import Client
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import ServerConfig, create_server
from mistralwire.upstream import Upstream


@contextlib.asynccontextmanager
async def running_gateway(
    upstream: Upstream,
    config: GatewayConfig | None = None,
    *,
    service: ServerConfig | None = None,
    models: Sequence[str] = (),
) -> AsyncIterator[str]:
    """Run a gateway and the service behind it on free ports; give the gateway's URL."""
    config = config or GatewayConfig(port=0)
    async with (
        create_server(upstream, service or ServerConfig(port=0)) as server,
        Client(server.address, attempts_max=1) as client,
        GatewayServer(create_app(client, config, models=models), config) as gateway,
    ):
        yield gateway.url
