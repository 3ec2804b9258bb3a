"""Requests of routes that the contract does not have, through the gateway to a model API and back."""

import asyncio
import contextlib
import functools
import gzip
import io
import json
import logging
import pathlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

import aiohttp
import pytest
from yarl import URL

from mistralwire.gateway import GatewayConfig
from mistralwire.upstream import DEMONSTRATION, HttpSettings, Key, MistralUpstream, ReplayUpstream, Route
from tests.gateway.clients import until
from tests.gateway.test_protocol import connected
from tests.gateway_stack import running_gateway
from tests.listeners import stop_listening
from tests.upstream_server import CUT, STALL, Answer, UpstreamServer, json_answer

EMBEDDINGS, SPEECH, FILES = "/v1/embeddings", "/v1/audio/speech", "/v1/audio/transcriptions"
WAIT_S = 30
KEY = "the-key-of-the-service"
REPLY = json_answer(b'{"a" :1.0}')


class Running(Protocol):
    """How a gateway is run: by its own server, which bypasses ASGI, or as any ASGI application."""

    def __call__(
        self, *servers: UpstreamServer, config: GatewayConfig | None = None, models: Sequence[str] = ("*",)
    ) -> contextlib.AbstractAsyncContextManager[str]: ...


@contextlib.asynccontextmanager
async def _running(
    *servers: UpstreamServer,
    config: GatewayConfig | None = None,
    models: Sequence[str] = ("*",),
    is_wrapped: bool,
) -> AsyncIterator[str]:
    settings = HttpSettings(first_byte_s=5, silence_s=5)
    upstreams = [MistralUpstream(each.url, key=Key(KEY, "a test"), settings=settings) for each in servers]
    routes = [Route("recordings", ReplayUpstream(DEMONSTRATION))]
    for number, (upstream, pattern) in enumerate(zip(upstreams, models, strict=False)):
        routes.append(Route(str(number), upstream, (pattern,)))
    async with running_gateway(
        routes[0].upstream, config, is_embedded=True, is_wrapped=is_wrapped, forward=routes
    ) as url:
        yield url
    for upstream in upstreams:
        await upstream.close()


@pytest.fixture(params=[False, True], ids=["direct", "asgi"])
def running(request: pytest.FixtureRequest) -> Running:
    return functools.partial(_running, is_wrapped=request.param)


async def test_bytes_go_both_ways_with_the_upstreams_key(
    running: Running, http: aiohttp.ClientSession
) -> None:
    body = b'{"model" : "mistral-embed", "input":["\xc3\xa9"], "n": 1e400}'
    headers = {
        "authorization": "Bearer of-the-caller",
        "cookie": "a=b",
        "x-api-key": "k",
        "x-forwarded-for": "1",
        "content-type": "application/json",
        "accept": "application/json",
        "x-request-id": "mine",
        "proxy-authorization": "Basic x",
        "te": "trailers",
        "idempotency-key": "i",
    }
    answer = json_answer(
        b'{"a" :1.0}',
        201,
        set_cookie="a=b",
        server="odd",
        mistral_correlation_id="c-1",
        x_ratelimit_remaining="5",
        access_control_allow_origin="*",
        keep_alive="timeout=5",
    )
    async with UpstreamServer(answer) as server, running(server) as url:
        target = URL(f"{url}{EMBEDDINGS}/?a=[1]&b=%2F|\"'&a=%20+", encoded=True)
        async with http.post(target, data=body, headers=headers) as response:
            assert response.status == 201
            assert await response.read() == b'{"a" :1.0}'
            got = {name.lower() for name in response.headers}
            assert response.headers["x-request-id"] == "mine"
            assert response.headers["content-length"] == "10"
    [asked] = server.received
    assert (asked.method, asked.path) == ("POST", f"{EMBEDDINGS}?a=[1]&b=%2F|\"'&a=%20+")
    assert asked.body == body
    assert asked.headers.pop("host")
    assert asked.headers == {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "accept": "application/json",
        "x-request-id": "mine",
        "user-agent": "mistralwire",
        "accept-encoding": "identity",
        "content-length": str(len(body)),
        "idempotency-key": "i",
    }
    assert got >= {"content-type", "mistral-correlation-id", "x-ratelimit-remaining"}
    assert not got & {"set-cookie", "access-control-allow-origin", "keep-alive"}
    assert "odd" not in response.headers.values()


async def test_without_an_upstream_the_404_says_what_passthrough_needs(
    running: Running, http: aiohttp.ClientSession
) -> None:
    needed = ": that needs an upstream of the kind mistral, or --passthrough-url"
    async with running() as url:
        for path, is_passthrough in ((EMBEDDINGS, True), ("/v1/files", False)):
            async with http.post(url + path, json={}) as response:
                message = (await response.json())["message"]
            assert (response.status, message.endswith(needed)) == (404, is_passthrough)


@pytest.mark.parametrize("status", [400, 404, 408, 413, 422, 429, 500, 502, 529])
async def test_the_upstreams_status_and_body_stay(
    running: Running, http: aiohttp.ClientSession, status: int
) -> None:
    async with (
        UpstreamServer(json_answer(b"{'odd", status, retry_after="7")) as server,
        running(server) as url,
        http.post(url + EMBEDDINGS, json={}) as response,
    ):
        assert (response.status, await response.read()) == (status, b"{'odd")
        assert response.headers["retry-after"] == "7"
    assert len(server.received) == 1


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_the_gateways_own_key_is_not_quoted(
    running: Running, http: aiohttp.ClientSession, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        UpstreamServer(json_answer(f'{{"message": "no {KEY}"}}'.encode(), status)) as server,
        running(server) as url,
        http.post(url + EMBEDDINGS, json={}) as response,
    ):
        assert response.status == status
        body = await response.text()
    assert KEY not in body
    assert json.loads(body)["error"]["message"].startswith("the upstream ")
    assert "refuses the key of the gateway" in caplog.text


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/files", "/v1/files/../embeddings", "/v1/embeddings/../files", "/v1/./embeddings"),
        *("/v1/embeddings/..%2ffiles", "/v1%2Fembeddings", "/v1/embeddings%2F", "/v1/%65mbeddings"),
        *("/v1//embeddings", "//v1/embeddings", "/v1/embeddings//", "/v1\\embeddings", "/v1/embeddings/x"),
        *("/v1/embeddings;a", "/V1/embeddings", "/v1/embeddings%00", "/v1/embeddings%2e%2e/files"),
        *("/v1/fine_tuning/jobs", "/v1/batch/jobs", "/v1/agents", "/embeddings"),
    ],
)
async def test_other_paths_are_404(running: Running, path: str) -> None:
    async with UpstreamServer(REPLY) as server, running(server) as url, connected(url) as caller:
        caller.writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        status, body = await caller.answer()
        assert (status, json.loads(body)["type"]) == (404, "no_such_route")
    assert not server.received


async def test_paths_are_those_of_the_setting(running: Running, http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0, passthrough_paths="/v1/files , /v1/ocr")
    async with UpstreamServer(REPLY) as server:
        async with running(server, config=config) as url:
            for method, path, status in (
                *(("GET", "/v1/files", 200), ("DELETE", "/v1/files", 200), ("HEAD", "/v1/files", 405)),
                *(("POST", "/v1/ocr", 200), ("POST", EMBEDDINGS, 404)),
            ):
                async with http.request(method, url + path) as response:
                    assert response.status == status
        none = GatewayConfig(port=0, passthrough_paths="none")
        async with running(server, config=none) as url, http.post(f"{url}/v1/ocr") as response:
            assert response.status == 404
    assert [request.method for request in server.received] == ["GET", "DELETE", "POST"]
    assert "content-length" not in server.received[0].headers


@pytest.mark.parametrize(
    "paths",
    [
        "v1/ocr",
        "/v1/../ocr",
        "/v1/ocr/",
        "/v1//ocr",
        "/v1/%2e",
        "/a b",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/x",
        "/v1/stream/x",
        "/v1/models/x/y",
        "/",
    ],
)
def test_paths_that_are_none_are_refused(paths: str) -> None:
    with pytest.raises(ValueError, match="passthrough_paths must be paths"):
        _ = GatewayConfig(passthrough_paths=f"/v1/embeddings, {paths}").passed_through


async def test_the_methods_that_are_passed_on_are_named_in_order_and_allowed_to_pages(
    running: Running, http: aiohttp.ClientSession
) -> None:
    config = GatewayConfig(port=0, cors_origins="https://example.com")
    async with UpstreamServer(REPLY) as server, running(server, config=config) as url:
        async with http.request("PROPFIND", url + EMBEDDINGS) as response:
            assert response.status == 405
            assert response.headers["allow"] == "DELETE, GET, PATCH, POST, PUT"
            assert "expected DELETE, GET, PATCH, POST, PUT for" in await response.text()
        asked = {"origin": "https://example.com", "access-control-request-method": "DELETE"}
        async with http.options(url + EMBEDDINGS, headers=asked) as response:
            assert response.status == 200
            allowed = response.headers["access-control-allow-methods"]
            assert allowed == "DELETE, GET, HEAD, PATCH, POST, PUT"


async def test_the_model_of_a_json_body_chooses_among_upstreams(
    running: Running, http: aiohttp.ClientSession
) -> None:
    one, other = json_answer(b'"one"'), json_answer(b'"other"')
    async with (
        UpstreamServer(one) as first,
        UpstreamServer(other) as second,
        running(first, second, models=("a-*", "b-*")) as url,
    ):
        for body, expected in (
            ({"model": "a-1"}, b'"one"'),
            ({"model": "b-1", "input": "x" * 100_000}, b'"other"'),
            ({"model": "c"}, b'"one"'),
            ({"model": 5}, b'"one"'),
            ([], b'"one"'),
        ):
            async with http.post(url + EMBEDDINGS, json=body) as response:
                assert await response.read() == expected
        async with http.post(url + EMBEDDINGS, data=b'{"model": "b-1"}') as response:
            assert await response.read() == b'"one"'
        far_too_many = b'{"model":"b-1","input":[' + b"[]," * 1_000_001
        headers = {"content-type": "application/json"}
        async with http.post(url + EMBEDDINGS, data=io.BytesIO(far_too_many), headers=headers) as response:
            assert (response.status, (await response.json())["type"]) == (422, "limit_exceeded")
    assert json.loads(second.received[0].body)["input"] == "x" * 100_000


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_large_body_is_sent_on_while_it_comes(
    running: Running, http: aiohttp.ClientSession, is_chunked: bool
) -> None:
    size = 3_000_000
    may_end = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 1_000_000
        await asyncio.wait_for(may_end.wait(), WAIT_S)
        yield b"x" * (size - 1_000_000)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    if not is_chunked:
        headers["content-length"] = str(size)
    async with UpstreamServer(REPLY) as server, running(server) as url:
        posting = asyncio.create_task(_read(http, url + FILES, pieces(), headers))
        # Its head is there before the end of the body.
        await until(lambda: server.connections > 0)
        may_end.set()
        assert await posting == (200, b'{"a" :1.0}')
        # A second one: the connection of the first may have been kept.
        async with http.post(url + EMBEDDINGS, json={}) as response:
            assert response.status == 200
    upload = server.received[0]
    assert (len(upload.body), upload.body.strip(b"x")) == (size, b"")
    assert upload.headers.get("content-length") == (None if is_chunked else str(size))
    assert upload.headers["content-type"] == headers["content-type"]


async def test_a_body_that_is_sent_on_counts_only_until_it_leaves(
    running: Running, http: aiohttp.ClientSession
) -> None:
    config = GatewayConfig(port=0, body_bytes_max=100_000, bodies_bytes_max=100_000)
    async with (
        UpstreamServer(REPLY) as server,
        running(server, config=config) as url,
        connected(url) as caller,
    ):
        caller.writer.write(f"POST {FILES} HTTP/1.1\r\nhost: x\r\ncontent-length: 70001\r\n\r\n".encode())
        caller.writer.write(b"x" * 70_000)
        await asyncio.wait_for(server.head_arrived.wait(), WAIT_S)
        async with http.post(url + EMBEDDINGS, data=b"x" * 50_000) as response:
            assert response.status == 200
        caller.writer.write(b"x")
        assert (await caller.answer())[0] == 200
    assert sorted(len(asked.body) for asked in server.received) == [50_000, 70_001]


async def test_a_body_that_came_before_the_connection_counts_only_until_the_answer_begins(
    running: Running, http: aiohttp.ClientSession
) -> None:
    config = GatewayConfig(port=0, body_bytes_max=100_000, bodies_bytes_max=100_000)
    answer = Answer(200, {"content-type": "text/event-stream"}, [b"data: 1\n\n", STALL])
    async with (
        UpstreamServer(answer, REPLY) as server,
        running(server, config=config) as url,
        http.post(url + FILES, data=b"x" * 70_000) as response,
    ):
        assert response.status == 200
        async with http.post(url + EMBEDDINGS, data=b"x" * 50_000) as other:
            assert other.status == 200


async def test_a_length_of_more_digits_than_any_body_needs_is_no_length(running: Running) -> None:
    size = 100_000
    async with UpstreamServer(REPLY) as server, running(server) as url, connected(url) as caller:
        head = f"POST {FILES} HTTP/1.1\r\nhost: x\r\ncontent-length: {size:05000}\r\n\r\n"
        caller.writer.write(head.encode() + b"x" * size)
        assert (await caller.answer())[0] == 200
    [asked] = server.received
    assert (len(asked.body), asked.headers.get("content-length")) == (size, None)


async def _read(
    http: aiohttp.ClientSession, url: str, data: AsyncIterator[bytes], headers: dict[str, str]
) -> tuple[int, bytes]:
    async with http.post(url, data=data, headers=headers) as response:
        return response.status, await response.read()


@pytest.mark.slow
async def test_an_upstream_that_takes_nothing_holds_the_caller_back(running: Running) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(gone.wait(), WAIT_S)
        writer.transport.abort()

    gone = asyncio.Event()
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    config = GatewayConfig(port=0, body_bytes_max=500_000_000)
    server = UpstreamServer()
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with running(server, config=config) as url, connected(url) as caller:
        caller.writer.write(f"POST {FILES} HTTP/1.1\r\nhost: x\r\ncontent-length: 400000000\r\n\r\n".encode())
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 400_000_000:
                caller.writer.write(b"x" * 1_000_000)
                async with asyncio.timeout(1):
                    await caller.writer.drain()
                sent += 1_000_000
        assert sent < 60_000_000
        # In the end the upstream is found to be silent.
        gone.set()
        assert b" 503 " in (await caller.head()).split(b"\r\n")[0]
    await stop_listening(listener)
    await listener.wait_closed()


async def test_a_caller_who_takes_nothing_holds_the_upstream_back(running: Running) -> None:
    produced = 0

    def pieces() -> Iterator[bytes]:
        nonlocal produced
        for _ in range(5_000):
            produced += 1
            yield b"y" * 100_000

    answer = Answer(200, {"content-type": "audio/mpeg"}, pieces())
    config = GatewayConfig(port=0, caller_idle_s=0.5)
    async with (
        UpstreamServer(answer) as server,
        running(server, config=config) as url,
        connected(url, buffer_bytes=4096) as caller,
    ):
        caller.writer.write(f"POST {SPEECH} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        assert b"audio/mpeg" in await caller.head()
        # The caller is cut, and so is the upstream.
        await asyncio.wait_for(server.gone.wait(), WAIT_S)
    assert produced < 1_000


async def test_events_are_passed_on_as_they_come(running: Running, http: aiohttp.ClientSession) -> None:
    first, last = b"event: speech.audio.delta\ndata: {}\n\n", b"data: [DONE]\n\n"
    answer = Answer(200, {"content-type": "text/event-stream"}, [first, 0.3, last])
    async with (
        UpstreamServer(answer) as server,
        running(server) as url,
        http.post(url + SPEECH, json={"stream": True}) as response,
    ):
        assert response.content_type == "text/event-stream"
        assert response.headers["x-accel-buffering"] == "no"
        assert await response.content.readany() == first
        assert not server.gone.is_set()
        assert await response.read() == last


async def test_the_head_does_not_wait_for_the_body(running: Running, http: aiohttp.ClientSession) -> None:
    answer = Answer(200, {"content-type": "audio/mpeg"}, [STALL])
    async with UpstreamServer(answer) as server, running(server) as url:
        response = await asyncio.wait_for(http.post(url + SPEECH, json={}), WAIT_S)
        assert response.status == 200
        response.close()
        # The caller has hung up.
        await asyncio.wait_for(server.gone.wait(), WAIT_S)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200, {}, [CUT], is_headless=True), (503, "upstream_unreachable", None)),
        (
            Answer(302, {"location": "http://127.0.0.1:1/", "content-length": "0"}),
            (500, "upstream_redirected", "false"),
        ),
        (Answer(200, {"x": "a\0b"}), (503, "upstream_unreadable", "false")),
    ],
)
async def test_an_upstream_without_an_answer_is_an_error_of_the_gateway(
    running: Running, http: aiohttp.ClientSession, answer: Answer, expected: tuple[int, str, str | None]
) -> None:
    async with (
        UpstreamServer(answer) as server,
        running(server) as url,
        http.post(url + EMBEDDINGS, json={}) as response,
    ):
        reason, should_retry = (await response.json())["type"], response.headers.get("x-should-retry")
        assert (response.status, reason, should_retry) == expected


@pytest.mark.parametrize("is_sized", [False, True])
async def test_an_answer_that_breaks_is_broken_for_the_caller(
    running: Running, http: aiohttp.ClientSession, is_sized: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mistralwire.gateway.access")
    answer = Answer(200, {"content-length": "10"} if is_sized else {}, [b"part", CUT])
    async with (
        UpstreamServer(answer) as server,
        running(server) as url,
        http.post(url + SPEECH, json={}) as response,
    ):
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    [record] = [each for each in caplog.records if each.name == "mistralwire.gateway.access"]
    assert (record.levelname, record.getMessage()) == ("WARNING", f"POST {SPEECH}")
    assert record.__dict__["reason"] == "UPSTREAM_UNREADABLE"
    assert record.__dict__["response_bytes"] == 4


async def test_a_closed_upstream_is_an_error_of_the_gateway(http: aiohttp.ClientSession) -> None:
    upstream = MistralUpstream("http://127.0.0.1:1")
    await upstream.close()
    async with (
        running_gateway(ReplayUpstream(DEMONSTRATION), forward=[Route("a", upstream)]) as url,
        http.post(url + EMBEDDINGS, json={}) as response,
    ):
        assert (await response.json())["type"] == "client_closed"


async def test_a_silent_upstream_is_given_up(http: aiohttp.ClientSession) -> None:
    settings = HttpSettings(first_byte_s=0.2)
    async with UpstreamServer(Answer(200, {}, [STALL], is_headless=True)) as server:
        upstream = MistralUpstream(server.url, settings=settings)
        async with (
            running_gateway(ReplayUpstream(DEMONSTRATION), forward=[Route("a", upstream)]) as url,
            http.post(url + EMBEDDINGS, json={}) as response,
        ):
            assert (response.status, (await response.json())["type"]) == (504, "upstream_timeout")
        await upstream.close()


async def test_an_answer_takes_no_longer_than_the_deadline(
    running: Running, http: aiohttp.ClientSession
) -> None:
    config = GatewayConfig(port=0, deadline_s=0.2)
    async with (
        UpstreamServer(Answer(200, {}, [STALL], is_headless=True)) as server,
        running(server, config=config) as url,
        http.post(url + EMBEDDINGS, json={}) as response,
    ):
        assert response.status == 504


async def test_bounds_keys_metrics_and_the_log_are_those_of_completions(
    running: Running, http: aiohttp.ClientSession, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mistralwire.gateway.access")
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-twenty-characters\n")
    keys.chmod(0o600)
    good = {"authorization": "Bearer a-key-of-twenty-characters"}
    config = GatewayConfig(port=0, token_file=keys, body_bytes_max=100_000, metrics=True)
    async with UpstreamServer(REPLY) as server, running(server, config=config) as url:
        for headers, data, status in (
            ({}, b"{}", 401),
            (good, b"{}", 200),
            (good, b"x" * 100_001, 413),
            ({**good, "origin": "https://evil.example"}, b"{}", 403),
        ):
            async with http.post(url + EMBEDDINGS, data=data, headers=headers) as response:
                assert response.status == status
        async with http.get(f"{url}/metrics") as response:
            lines = (await response.text()).splitlines()
    assert len(server.received) == 1
    labels = f'route="{EMBEDDINGS}",status="200"'
    assert f"mistralwire_gateway_requests_total{{{labels}}} 1.0" in lines
    assert f'mistralwire_gateway_requests_running{{route="{EMBEDDINGS}"}} 0.0' in lines
    records = [record for record in caplog.records if record.name == "mistralwire.gateway.access"]
    assert [record.__dict__["http_status"] for record in records] == [401, 200, 413, 403]
    assert {record.getMessage() for record in records} == {f"POST {EMBEDDINGS}"}
    assert (records[1].__dict__["request_bytes"], records[1].__dict__["response_bytes"]) == (2, 10)


async def test_more_requests_than_it_takes_are_429(running: Running, http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0, requests_max=1)
    async with (
        UpstreamServer(Answer(200, {}, [STALL])) as server,
        running(server, config=config) as url,
        http.post(url + EMBEDDINGS, json={}) as held,
    ):
        assert held.status == 200
        async with http.post(url + EMBEDDINGS, json={}) as response:
            assert response.status == 429
        held.close()


@pytest.mark.slow
async def test_a_body_that_does_not_come_is_408(running: Running) -> None:
    config = GatewayConfig(port=0, request_s=0.3)
    async with UpstreamServer(REPLY) as server, running(server, config=config) as url:
        for size in (10, 200_000):
            async with connected(url) as caller:
                head = f"POST {FILES} HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n"
                caller.writer.write(head.encode() + b"x" * (size - 1))
                assert (await caller.answer())[0] == 408


async def test_http_1_0_gets_no_chunked_framing(running: Running) -> None:
    if running.keywords["is_wrapped"]:  # type: ignore[attr-defined]
        pytest.skip("uvicorn's own framing")
    answer = Answer(200, {"content-type": "audio/mpeg"}, [b"one", b"two"])
    async with UpstreamServer(answer) as server, running(server) as url, connected(url) as caller:
        caller.writer.write(f"POST {SPEECH} HTTP/1.0\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        head = await caller.head()
        assert await caller.rest() == b"onetwo"
    assert b"chunked" not in head
    assert b"\r\nconnection: close\r\n" in head


async def test_an_encoded_answer_is_decoded_and_an_encoded_body_goes_on(
    running: Running, http: aiohttp.ClientSession
) -> None:
    data = gzip.compress(b"x" * 5000)
    answer = Answer(200, {"content-encoding": "gzip", "content-length": str(len(data))}, [data])
    async with UpstreamServer(answer) as server, running(server) as url:
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        async with http.post(url + EMBEDDINGS, data=data, headers=headers) as response:
            assert await response.read() == b"x" * 5000
            assert "content-encoding" not in response.headers
    assert (server.received[0].body, server.received[0].headers["content-encoding"]) == (data, "gzip")


@pytest.mark.parametrize("length", ["0", "5"])
async def test_an_answer_without_a_body_has_none(
    running: Running, http: aiohttp.ClientSession, length: str
) -> None:
    async with UpstreamServer(Answer(204, {"content-length": length})) as server, running(server) as url:
        for _ in range(2):
            async with http.delete(url + EMBEDDINGS) as response:
                assert (response.status, await response.read()) == (204, b"")
                assert "content-length" not in response.headers
