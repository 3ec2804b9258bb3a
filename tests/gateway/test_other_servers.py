"""The application in a server that is not this package's, which checks less: uvicorn's own."""

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import AsyncIterator
from typing import Any, Literal

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from mistralwire.client import Client
from mistralwire.gateway import GatewayConfig, create_app
from mistralwire.service import LocalChannel, RelayConfig, create_relay
from mistralwire.upstream import DEMONSTRATION, ForwardRoutes, MistralUpstream, ReplayUpstream, Route
from tests.gateway.producer import Producer
from tests.gateway.test_protocol import CHAT, connected, request_of
from tests.gateway_stack import running_gateway
from tests.service.upstreams import HeldUpstream, chunk
from tests.upstream_server import UpstreamServer, json_answer

KEY = "a-key-of-twenty-characters"


@contextlib.asynccontextmanager
async def mounted(config: GatewayConfig) -> AsyncIterator[str]:
    """Serve an application that has the gateway below /edge, and yield the address of the server."""
    async with Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client:
        app = Starlette(routes=[Mount("/edge", create_app(client, config))])
        async with served(app) as url:
            yield url


@contextlib.asynccontextmanager
async def served(app: Any, http: Literal["auto", "httptools", "h11"] = "auto") -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, http=http, ws="none", lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def status_of(url: str, request: bytes) -> bytes:
    async with connected(url) as caller:
        caller.writer.write(request)
        return (await caller.head()).split(b" ")[1]


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "keys"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/models", "/docs", "/docs/", "/openapi.json", "/", "/v1/x"])
async def test_a_name_that_may_be_anybodys_is_refused_for_what_has_no_origin(method: str, path: str) -> None:
    async with mounted(GatewayConfig()) as url:
        for host, is_refused in (("evil.example", True), ("localhost:8080", False), ("127.0.0.1", False)):
            request = f"{method} /edge{path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
            assert (await status_of(url, request) == b"403") is is_refused


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz/", "/healthz?from=a-probe"])
async def test_the_state_is_shown_by_any_name(path: str) -> None:
    async with mounted(GatewayConfig()) as url:
        request = f"GET /edge{path} HTTP/1.1\r\nhost: evil.example\r\n\r\n"
        assert await status_of(url, request.encode()) == b"200"


async def test_a_page_under_a_name_that_may_be_anybodys_is_refused() -> None:
    async with mounted(GatewayConfig()) as url:
        for origin, status in (("", b"200"), ("origin: http://evil.example\r\n", b"403")):
            request = request_of(headers=origin, path=f"/edge{CHAT}").replace(b"localhost", b"evil.example")
            assert await status_of(url, request) == status


@pytest.mark.parametrize("kind", ["keys", "listed", "elsewhere"])
async def test_other_names_are_taken_where_no_page_can_use_them(kind: str, keys: pathlib.Path) -> None:
    config = {
        "keys": GatewayConfig(token_file=keys),
        "listed": GatewayConfig(cors_origins="https://a.example"),
        "elsewhere": GatewayConfig(host="0.0.0.0", insecure=True),
    }[kind]
    head = f"GET /edge/v1/models HTTP/1.1\r\nhost: a.example\r\nauthorization: Bearer {KEY}\r\n\r\n"
    async with mounted(config) as url:
        assert await status_of(url, head.encode()) == b"200"


@pytest.mark.parametrize("server", [("192.0.2.1", 80), ("/run/gateway.sock", None), None])
async def test_other_names_are_taken_where_the_server_is_not_on_loopback(server: Any) -> None:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/openapi.json",
        "query_string": b"",
        "headers": [(b"host", b"api.example")],
        "server": server,
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async with Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client:
        await create_app(client)(scope, receive, send)
    assert sent[0]["status"] == 200


@pytest.mark.parametrize("has_keys", [False, True])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/openapi.json"])
async def test_two_keys_are_refused(path: str, keys: pathlib.Path, *, has_keys: bool) -> None:
    config = GatewayConfig(token_file=keys if has_keys else None)
    key = f"authorization: Bearer {KEY}\r\n"
    idempotent = f"{key}idempotency-key: 1\r\n"
    async with mounted(config) as url:
        for headers, status in (
            (key, b"200"),
            (key * 2, b"400"),
            (idempotent, b"200"),
            (f"{idempotent}idempotency-key: 2\r\n", b"400"),
        ):
            request = request_of(headers=headers, path=f"/edge{path}")
            if path != CHAT:
                request = request.replace(b"POST", b"GET", 1)
            assert await status_of(url, request) == status


async def test_a_length_beside_chunks_does_not_go_on_to_an_upstream() -> None:
    # h11 takes both, as RFC 9112 allows. With the length, the rest of the body would be another request.
    path, body = "/v1/audio/transcriptions", b"x" * 100_000
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    request = b"%b%x\r\n%b\r\n0\r\n\r\n" % (head.encode(), len(body), body)
    async with (
        UpstreamServer(json_answer(b"{}")) as server,
        Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client,
    ):
        upstream = MistralUpstream(server.url)
        async with served(create_app(client, forward=ForwardRoutes([Route("a", upstream)])), "h11") as url:
            assert await status_of(url, request) == b"200"
        await upstream.close()
    [asked] = server.received
    assert asked.body == body


async def test_a_gateway_leaves_the_access_log_of_another_server_in_its_process_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    caplog.set_level("INFO", "uvicorn.access")
    upstream = ReplayUpstream(DEMONSTRATION)
    async with (
        running_gateway(upstream) as gateway,
        served(Starlette()) as other,
        aiohttp.ClientSession() as session,
    ):
        for url in (gateway, other):
            async with session.get(f"{url}/here") as response:
                assert response.status == 404
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert [line.partition(" - ")[2] for line in lines] == ['"GET /here HTTP/1.1" 404']


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_stored_responses_are_followed_and_tokens_stay_out_of_the_servers_log(
    http: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    caplog.set_level("INFO", "uvicorn.access")
    async with (
        create_relay(RelayConfig(log="memory")) as relay,
        Client.on(LocalChannel(HeldUpstream(), relay=relay)) as client,
        served(Starlette(routes=[Mount("/edge", create_app(client))]), http) as url,
        aiohttp.ClientSession(f"{url}/edge{CHAT}/") as session,
    ):
        producer = await Producer(relay.log).open()
        await producer.add(chunk(1))
        await producer.finish()
        async with session.post("r1/token") as response:
            token = (await response.json())["token"]
        for position, status in (("0", 200), ("1", 204)):
            query = {"token": token, "starting_after": position}
            async with session.get("r1/events", params=query) as response:
                assert response.status == status
                assert (await response.read()).endswith(b"data: [DONE]\n\n") is (status == 200)
        async with session.head("r1", params={"token": token}) as response:
            assert response.headers["x-mistralwire-response-state"] == "finished"
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert lines[1].partition(" - ")[2] == f'"GET /edge{CHAT}/r1/events?starting_after=0 HTTP/1.1" 200'
    assert token not in caplog.text
