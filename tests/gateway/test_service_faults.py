"""Faults of the gateway's service or upstream: its token, its readiness."""

import contextlib
import logging
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest

from mistralwire.client import Client
from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import SERVICE_NAME, LocalChannel, ServerConfig, create_server
from mistralwire.upstream import DEMONSTRATION, MistralUpstream, ReplayUpstream, Route, RoutedUpstream
from tests.client.peers import started
from tests.service.upstreams import HeldUpstream
from tests.upstream_server import UpstreamServer, json_answer

CHAT = "/v1/chat/completions"
QUESTION = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "hi"}]}
REFUSED = "the service refuses the gateway's token"
WANTED = "the service wants a token, and the gateway has none"


@contextlib.asynccontextmanager
async def closing(upstream: MistralUpstream | RoutedUpstream) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await upstream.close()


@contextlib.asynccontextmanager
async def gateway_of(client: Client) -> AsyncIterator[str]:
    config = GatewayConfig(port=0)
    async with client, GatewayServer(create_app(client, config), config) as server:
        yield server.url


@contextlib.asynccontextmanager
async def refusing_service(code: grpc.StatusCode) -> AsyncIterator[str]:
    """Serve behind an interceptor that refuses all calls, as a proxy does."""

    async def refuse(_: object, context: Any) -> Any:
        await context.abort(code, "RBAC: access denied")

    handler = grpc.stream_unary_rpc_method_handler(refuse)
    server = grpc.aio.server()
    names = ("ChatCompletion", "ChatCompletionStream", "CheckToken")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE_NAME, dict.fromkeys(names, handler)),)
    )
    async with started(server) as target:
        yield target


@pytest.mark.parametrize("token", [None, "another-token-of-twenty"], ids=["missing", "wrong"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
async def test_a_token_that_the_service_refuses_is_the_gateways_fault(
    token: str | None, is_stream: bool, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-the-service\n")
    config = ServerConfig(port=0, token_file=tokens)
    told = WANTED if token is None else REFUSED
    caplog.set_level(logging.WARNING, "mistralwire.gateway")
    async with (
        create_server(ReplayUpstream(DEMONSTRATION), config) as service,
        gateway_of(Client(service.address, token=token, attempts_max=1)) as url,
        aiohttp.ClientSession() as http,
    ):
        for _ in range(3):
            async with http.post(url + CHAT, json={**QUESTION, "stream": is_stream}) as response:
                body = await response.json()
            assert response.status == 500
            assert response.headers["x-should-retry"] == "false"
            assert "www-authenticate" not in response.headers
            assert (body["message"], body["error"]["message"]) == (told, told)
        async with http.get(f"{url}/readyz") as response:
            ready = await response.json()

    assert (response.status, ready) == (503, {"status": told})
    warnings = [text for text in caplog.messages if told in text]
    assert len(warnings) == 1
    assert "--service-token-file" in warnings[0]


async def test_a_token_that_is_repaired_makes_the_gateway_ready(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens, own = tmp_path / "tokens", tmp_path / "own"
    tokens.write_text("a-token-of-the-service\n")
    own.write_text("an-old-token-of-theirs\n")
    config = ServerConfig(port=0, token_file=tokens)
    async with (
        create_server(ReplayUpstream(DEMONSTRATION), config) as service,
        gateway_of(Client(service.address, token_file=own, attempts_max=1)) as url,
        aiohttp.ClientSession() as http,
    ):
        states = []
        for token in ("an-old-token-of-theirs", "a-token-of-the-service", "an-older-one-of-theirs"):
            own.write_text(token)
            async with http.post(url + CHAT, json=QUESTION) as response:
                answered = response.status
            async with http.get(f"{url}/readyz") as response:
                states.append((answered, response.status))

    assert states == [(500, 503), (200, 200), (500, 503)]
    assert sum(REFUSED in text for text in caplog.messages) == 2


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
async def test_a_proxy_before_the_service_that_refuses_the_gateway_is_the_same(
    code: grpc.StatusCode,
) -> None:
    async with (
        refusing_service(code) as target,
        gateway_of(Client(target, token="t0ken", attempts_max=1)) as url,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(url + CHAT, json=QUESTION) as response:
            assert (response.status, (await response.json())["message"]) == (500, REFUSED)
        async with http.get(f"{url}/readyz") as response:
            assert (response.status, await response.json()) == (503, {"status": REFUSED})


@pytest.mark.parametrize(("code", "status"), [("UNAUTHENTICATED", 401), ("PERMISSION_DENIED", 403)])
async def test_what_an_upstream_of_the_service_refuses_keeps_its_status(code: str, status: int) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(UpstreamError("not for this team", code=code))
    async with (
        create_server(upstream, ServerConfig(port=0)) as service,
        gateway_of(Client(service.address, attempts_max=1)) as url,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(url + CHAT, json=QUESTION) as response:
            assert (response.status, (await response.json())["message"]) == (status, "not for this team")
        async with http.get(f"{url}/readyz") as response:
            assert response.status == 200


async def test_readiness_names_why_the_service_does_not_serve(closed_port: int) -> None:
    async with (
        gateway_of(Client(f"127.0.0.1:{closed_port}", attempts_max=1)) as url,
        aiohttp.ClientSession() as http,
        http.get(f"{url}/readyz") as response,
    ):
        ready = await response.json()

    assert (response.status, ready) == (503, {"status": "the service is not serving: connection refused"})


async def test_a_gateway_whose_only_upstream_is_dead_is_not_ready(closed_port: int) -> None:
    dead = MistralUpstream(f"http://127.0.0.1:{closed_port}")
    async with (
        closing(dead),
        gateway_of(Client.on(LocalChannel(dead))) as url,
        aiohttp.ClientSession() as http,
        http.get(f"{url}/readyz") as response,
    ):
        ready = await response.json()

    cause = "no upstream answers: the connection was refused"
    assert (response.status, ready) == (503, {"status": f"the service is not serving: {cause}"})


async def test_a_gateway_is_ready_while_one_upstream_answers_and_asks_it_seldom(
    closed_port: int,
) -> None:
    async with UpstreamServer(json_answer(b"{}")) as server:
        dead, alive = MistralUpstream(f"http://127.0.0.1:{closed_port}"), MistralUpstream(server.url)
        routed = RoutedUpstream([Route("dead", dead), Route("alive", alive)])
        async with (
            closing(routed),
            gateway_of(Client.on(LocalChannel(routed))) as url,
            aiohttp.ClientSession() as http,
        ):
            for _ in range(3):
                async with http.get(f"{url}/readyz") as response:
                    assert response.status == 200

    assert len(server.received) == 1
