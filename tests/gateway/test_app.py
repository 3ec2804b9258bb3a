"""The gateway over real sockets: routes, errors, limits, streams, callers that leave."""

import asyncio
import contextlib
import functools
import io
import json
import logging
import pathlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from yarl import URL

from mistralwire import to_json
from mistralwire.client import Client
from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import LocalChannel
from mistralwire.upstream import DEMONSTRATION, MistralUpstream, ReplayUpstream, Upstream
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
)
from tests.error_bodies import broken_body, flat_error
from tests.gateway_stack import running_gateway
from tests.service.upstreams import EagerUpstream, HeldUpstream, chunk
from tests.upstream_server import UpstreamServer, sse_answer

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
STREAM_QUESTION = {**QUESTION, "stream": True}
CHAT, AGENTS = "/v1/chat/completions", "/v1/agents/completions"
VERTEX = "/v1/projects/p/locations/europe-west4/publishers/mistralai/models/m"
WAIT_S = 30


class Running(Protocol):
    """How a gateway is run: tests.gateway_stack.running_gateway, one way or the other."""

    def __call__(
        self, upstream: Upstream, config: GatewayConfig | None = None, *, models: Sequence[str] = ()
    ) -> contextlib.AbstractAsyncContextManager[str]: ...


@pytest.fixture(params=["network", "embedded", "asgi"])
def running(request: pytest.FixtureRequest) -> Running:
    return functools.partial(
        running_gateway, is_embedded=request.param != "network", is_wrapped=request.param == "asgi"
    )


async def _events(response: aiohttp.ClientResponse) -> list[bytes]:
    return (await response.read()).split(b"\n\n")[:-1]


async def test_a_request_is_answered_in_one_piece(running: Running, http: aiohttp.ClientSession) -> None:
    upstream = ReplayUpstream(DEMONSTRATION / "answer.json")
    async with (
        running(upstream) as url,
        http.post(url + CHAT, json=QUESTION, headers={"x-request-id": "my-id"}) as response,
    ):
        assert response.status == 200
        assert response.content_type == "application/json"
        assert response.headers["x-request-id"] == "my-id"
        assert await response.json() == json.loads((DEMONSTRATION / "answer.json").read_bytes())


async def test_a_byte_order_mark_in_front_of_a_body_is_dropped(
    running: Running, http: aiohttp.ClientSession
) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(QUESTION).encode()
    async with running(ReplayUpstream(DEMONSTRATION / "answer.json")) as url:
        for data, status in ((body, 200), (body[:3] + body, 422)):
            async with http.post(url + CHAT, data=data) as response:
                assert response.status == status


async def test_a_stream_has_an_event_a_chunk_with_ids_and_done(
    running: Running, http: aiohttp.ClientSession
) -> None:
    async with (
        running(EagerUpstream(3)) as url,
        http.post(url + CHAT, json=STREAM_QUESTION) as response,
    ):
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        *events, done = await _events(response)
    assert done == b"data: [DONE]"
    for number, event in enumerate(events):
        head, data = event.split(b"\n")
        assert head == b"id: %d" % number
        assert json.loads(data.removeprefix(b"data: "))["id"] == str(number)


async def test_a_stream_that_the_upstream_ends_without_done_has_it_at_the_edge(
    running: Running, http: aiohttp.ClientSession
) -> None:
    begun, ended = (
        b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":%b}]}\n\n' % reason
        for reason in (b"null", b'"stop"')
    )
    async with (
        UpstreamServer(sse_answer(begun, ended), sse_answer(begun, begun)) as server,
        running(MistralUpstream(server.url)) as url,
    ):
        async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
            assert (await _events(response))[2:] == [b"data: [DONE]"]
        async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
            content = bytearray()
            with contextlib.suppress(aiohttp.ClientPayloadError):
                async for piece in response.content.iter_any():
                    content += piece
            assert b"[DONE]" not in content.replace(b"end with [DONE]", b"")
            assert b"stream_truncated" in content


@pytest.mark.parametrize("stream", [False, True])
async def test_an_agent_is_asked_as_the_caller_says(
    running: Running, http: aiohttp.ClientSession, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mistralwire.gateway.access")
    upstream = HeldUpstream()
    body = {"agent_id": "ag_1", "messages": QUESTION["messages"], "stream": stream, "new_member": [None]}
    for item in [chunk(0), None] if stream else [ChatCompletionResponse(id="0", model="m")]:
        upstream.items.put_nowait(item)
    async with running(upstream) as url, http.post(url + AGENTS, json=body) as response:
        assert response.status == 200
        answer = await response.read()
    [request] = upstream.requests
    assert type(request) is (AgentsCompletionStreamRequest if stream else AgentsCompletionRequest)
    assert json.loads(to_json(request)) == body
    assert answer.endswith(b"data: [DONE]\n\n") is stream
    [record] = (record for record in caplog.records if record.name == "mistralwire.gateway.access")
    assert (record.getMessage(), record.__dict__["agent_id"]) == (f"POST {AGENTS}", "ag_1")
    assert "model" not in record.__dict__


@pytest.mark.parametrize("stream", [None, False])
async def test_the_upstream_gets_what_the_caller_sent(
    running: Running, http: aiohttp.ClientSession, stream: bool | None
) -> None:
    upstream = HeldUpstream()
    body = {**QUESTION, "stream": stream, "new_member": {"n": 12345678901234567890123}, "temperature": None}
    async with running(upstream) as url:
        post = asyncio.create_task(http.post(url + CHAT, json=body).__aenter__())
        await asyncio.wait_for(upstream.started.wait(), WAIT_S)
        [request] = upstream.requests
        await upstream.items.put(UpstreamError("no"))
        (await asyncio.wait_for(post, WAIT_S)).release()
    assert isinstance(request, ChatCompletionRequest)
    assert json.loads(to_json(request)) == body


async def test_violations_are_422_with_their_places(running: Running, http: aiohttp.ClientSession) -> None:
    upstream = HeldUpstream()
    bad = {"model": 7, "messages": [{"role": "user", "content": 5}]}
    async with running(upstream) as url, http.post(url + CHAT, json=bad) as response:
        assert response.status == 422
        body = await response.json()
    detail = body["detail"]
    assert [item["loc"] for item in detail] == [["body", "model"], ["body", "messages", 0, "content"]]
    places = [part.partition(": expected ")[0] for part in flat_error(body)["message"].split("; ")]
    assert places == ["model", "messages[0].content"]
    assert all(item["msg"].startswith("expected ") and item["type"] for item in detail)
    assert not upstream.requests


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"\xff", b'{"model":"m"}', b"[" * 100_000),
        *(json.dumps({**QUESTION, name: float("nan")}).encode() for name in ("temperature", "undocumented")),
    ],
)
@pytest.mark.parametrize("path", [CHAT, AGENTS, "/v1/fim/completions", f"{VERTEX}:rawPredict"])
async def test_what_is_no_request_is_422(
    running: Running, http: aiohttp.ClientSession, path: str, body: bytes
) -> None:
    async with running(HeldUpstream()) as url, http.post(url + path, data=body) as response:
        assert response.status == 422
        assert (await response.json())["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("RESOURCE_EXHAUSTED", 429),
        ("UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
        ("NOT_FOUND", 404),
        ("INVALID_ARGUMENT", 400),
    ],
)
@pytest.mark.parametrize("question", [QUESTION, STREAM_QUESTION], ids=["unary", "stream"])
async def test_an_error_before_the_first_chunk_is_a_status(
    running: Running, http: aiohttp.ClientSession, question: dict[str, Any], code: str, status: int
) -> None:
    upstream = HeldUpstream()
    error = UpstreamError("no luck", code=code, upstream_code="1300", upstream_type="odd", retry_after_s=7)
    await upstream.items.put(error)
    async with running(upstream) as url, http.post(url + CHAT, json=question) as response:
        assert response.status == status
        assert response.headers["retry-after"] == "7"
        body = await response.json()
    expected = {"object": "error", "message": "no luck", "type": "odd", "param": None, "code": "1300"}
    assert flat_error(body) == expected


async def test_an_error_after_chunks_is_an_event_without_done(
    running: Running, http: aiohttp.ClientSession
) -> None:
    upstream = HeldUpstream()
    async with running(upstream) as url:
        await upstream.items.put(chunk(0))
        async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
            assert response.status == 200
            assert (await response.content.readuntil(b"\n\n")).startswith(b"id: 0\n")
            await upstream.items.put(UpstreamError("no luck", upstream_code="x"))
            [event] = (await broken_body(response)).split(b"\n\n")[:-1]
    error = {"object": "error", "message": "no luck", "type": "upstream_failed", "param": None, "code": "x"}
    assert flat_error(json.loads(event.removeprefix(b"data: "))) == error


@pytest.mark.parametrize("question", [QUESTION, STREAM_QUESTION], ids=["unary", "stream"])
async def test_a_caller_who_hangs_up_cancels_the_upstream(
    running: Running, http: aiohttp.ClientSession, question: dict[str, Any]
) -> None:
    upstream = HeldUpstream()
    async with running(upstream) as url:
        post = asyncio.create_task(http.post(url + CHAT, json=question).__aenter__())
        await asyncio.wait_for(upstream.started.wait(), WAIT_S)
        post.cancel()
        await asyncio.wait_for(upstream.closed.wait(), WAIT_S)


async def test_a_caller_who_leaves_a_stream_cancels_the_upstream(
    running: Running, http: aiohttp.ClientSession
) -> None:
    upstream = HeldUpstream()
    async with running(upstream) as url:
        await upstream.items.put(chunk(0))
        async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
            await response.content.readuntil(b"\n\n")
            assert not upstream.closed.is_set()
            response.close()
        await asyncio.wait_for(upstream.closed.wait(), WAIT_S)


async def test_a_reader_who_does_not_read_holds_the_upstream_back_and_is_cut(running: Running) -> None:
    upstream = EagerUpstream(None, "x" * 10_000)
    config = GatewayConfig(port=0, caller_idle_s=0.5)
    async with running(upstream, config) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        body = json.dumps(STREAM_QUESTION).encode()
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(body))
        )
        writer.write(body)
        await asyncio.wait_for(upstream.closed.wait(), WAIT_S)
        assert upstream.produced < 5_000
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(100_000_000)
        writer.close()


async def test_silence_is_filled_with_comments(running: Running, http: aiohttp.ClientSession) -> None:
    upstream = HeldUpstream()
    async with running(upstream, GatewayConfig(port=0, heartbeat_s=0.05)) as url:
        await upstream.items.put(chunk(0))
        async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
            # On a busy machine there may be silence before the chunk, too.
            assert b"id: 0\n" in await response.content.readuntil(b"\n\n")
            # Two in a row, and no blank line: it would end an event.
            assert [await response.content.readline() for _ in range(2)] == [b": keep-alive\n"] * 2
            await upstream.items.put(None)
            *comments, done, empty = (await response.read()).splitlines()
            assert (set(comments) | {b": keep-alive"}, done, empty) == (
                {b": keep-alive"},
                b"data: [DONE]",
                b"",
            )


@pytest.mark.parametrize(("method", "is_stream"), [("rawPredict", False), ("streamRawPredict", True)])
@pytest.mark.parametrize("kind", ["chat", "fim"])
async def test_vertex_paths_answer_by_their_method(
    running: Running, http: aiohttp.ClientSession, method: str, is_stream: bool, kind: str
) -> None:
    question = QUESTION if kind == "chat" else {"model": "m", "prompt": "def f("}
    async with (
        running(ReplayUpstream(DEMONSTRATION)) as url,
        http.post(f"{url}{VERTEX}:{method}", json=question) as response,
    ):
        assert response.status == 200
        assert response.content_type == ("text/event-stream" if is_stream else "application/json")
        await response.read()


async def test_a_body_that_is_too_large_is_413(running: Running, http: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b" " * 1000

    config = GatewayConfig(port=0, body_bytes_max=5000)
    async with running(HeldUpstream(), config) as url:
        for data in (b" " * 6000, pieces()):
            async with http.post(url + CHAT, data=data) as response:
                assert response.status == 413
                assert (await response.json())["type"] == "body_too_large"


async def test_a_body_that_does_not_come_is_408(running: Running) -> None:
    async with running(HeldUpstream(), GatewayConfig(port=0, request_s=0.1)) as url:
        answer = await _raw(
            url, b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{" % CHAT.encode()
        )
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("cut", [40_000, 4_000_000], ids=["whole", "endless"])
async def test_a_head_that_is_too_large_is_431(running: Running, cut: int) -> None:
    head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * cut
    async with running(HeldUpstream()) as url:
        answer = await _raw(url, head + (b"\r\n\r\n" if cut < 100_000 else b""))
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_compressed_body_is_415(running: Running, http: aiohttp.ClientSession) -> None:
    async with (
        running(HeldUpstream()) as url,
        http.post(url + CHAT, json=QUESTION, headers={"content-encoding": "x-odd"}) as response,
    ):
        assert response.status == 415


async def test_keys_are_asked_for(
    running: Running, http: aiohttp.ClientSession, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "tokens"
    file.write_text("an-example-of-a-key\n")
    file.chmod(0o600)
    good, bad = (
        {"authorization": "Bearer an-example-of-a-key"},
        {"authorization": "Bearer another-one-of-them"},
    )
    upstream = ReplayUpstream(DEMONSTRATION)
    async with running(upstream, GatewayConfig(port=0, token_file=file)) as url:
        for headers, status in ((good, 200), (bad, 401), ({}, 401)):
            async with http.post(url + CHAT, json=QUESTION, headers=headers) as response:
                assert response.status == status
            async with http.get(f"{url}/v1/models", headers=headers) as response:
                assert response.status == status
        async with http.get(f"{url}/healthz") as response:
            assert response.status == 200


async def test_pages_of_other_origins_are_refused_unless_they_are_allowed(
    running: Running,
    http: aiohttp.ClientSession,
) -> None:
    upstream = ReplayUpstream(DEMONSTRATION)
    origin = {"origin": "https://example.com"}
    async with running(upstream) as url:
        async with http.post(url + CHAT, json=QUESTION, headers=origin) as response:
            assert response.status == 403
            assert "add its origin to cors_origins" in (await response.json())["message"]
        async with http.post(url + CHAT, json=QUESTION, headers={"origin": url}) as response:
            assert response.status == 200
    config = GatewayConfig(port=0, cors_origins="https://example.com, https://example.org")
    async with running(upstream, config) as url:
        async with http.post(url + CHAT, json=QUESTION, headers=origin) as response:
            assert response.status == 200
            assert response.headers["access-control-allow-origin"] == "https://example.com"
        asked = {**origin, "access-control-request-method": "POST"}
        async with http.options(url + CHAT, headers=asked) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("host", "origin", "has_keys", "status"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", False, 200),
        ("localhost:{port}", "http://localhost:{port}", False, 200),
        # A foreign host name that resolves to this machine, for a page that its owner serves.
        ("evil.example:{port}", "http://evil.example:{port}", False, 403),
        ("evil.example:{port}", "http://evil.example:{port}", True, 200),
        ("evil.example:{port}", None, False, 200),
        ("127.0.0.1:{port}", "https://a.example", False, 200),
        ("127.0.0.1:{port}", "https://a.example.net", False, 403),
    ],
)
async def test_pages_may_call_by_a_name_of_this_machine_or_if_they_are_named(
    http: aiohttp.ClientSession,
    tmp_path: pathlib.Path,
    *,
    host: str,
    origin: str | None,
    has_keys: bool,
    status: int,
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-twenty-characters\n")
    config = GatewayConfig(
        port=0, cors_origins="https://a.example/, https://b.example", token_file=keys if has_keys else None
    )
    async with running_gateway(ReplayUpstream(DEMONSTRATION), config, is_embedded=True) as url:
        port = url.rpartition(":")[2]
        headers = {"host": host.format(port=port), "authorization": "Bearer a-key-of-twenty-characters"}
        if origin is not None:
            headers["origin"] = origin.format(port=port)
        async with http.post(url + CHAT, json=QUESTION, headers=headers) as response:
            assert response.status == status


async def test_chunks_before_one_that_can_not_be_written_are_sent(
    running: Running, http: aiohttp.ClientSession
) -> None:
    upstream = HeldUpstream()
    bad = chunk(2)
    bad.json_extra.members = "no JSON"
    for item in (chunk(0), chunk(1), bad, chunk(3), None):
        upstream.items.put_nowait(item)
    async with running(upstream) as url, http.post(url + CHAT, json=STREAM_QUESTION) as response:
        *events, error = (await broken_body(response)).split(b"\n\n")[:-1]
    assert [event.splitlines()[0] for event in events] == [b"id: 0", b"id: 1"]
    assert json.loads(error.removeprefix(b"data: "))["type"] == "upstream_unreadable"


async def test_what_grpc_says_by_itself_stays_inside(http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0)
    async with (
        Client("127.0.0.1:1", attempts_max=1) as client,
        GatewayServer(create_app(client, config), config) as gateway,
        http.post(gateway.url + CHAT, json=QUESTION) as response,
    ):
        assert response.status == 503
        assert (await response.json())["message"] == "the service behind the gateway can't be reached"
    async with (
        running_gateway(HeldUpstream(), GatewayConfig(port=0, deadline_s=0.2)) as url,
        http.post(url + CHAT, json=QUESTION) as response,
    ):
        assert response.status == 504
        text = "the answer took longer than the gateway's deadline"
        assert (await response.json())["message"] == text


async def test_a_large_request_is_read_whole(running: Running, http: aiohttp.ClientSession) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(UpstreamError("no"))
    body = {**QUESTION, "messages": [{"role": "user", "content": "é" * 500_000}], "more": [None] * 1000}
    data = io.BytesIO(json.dumps(body).encode())
    async with running(upstream) as url, http.post(url + CHAT, data=data) as response:
        assert response.status == 503
    assert json.loads(to_json(upstream.requests[0])) == body


@pytest.mark.parametrize(("host", "is_warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_keys_that_travel_in_plain_text_are_warned_of(
    host: str, is_warned: bool, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-twenty-characters\n")
    keys.chmod(0o600)
    config = GatewayConfig(host=host, port=0, insecure=is_warned, token_file=keys)
    async with running_gateway(HeldUpstream(), config):
        pass
    assert ("keys travel in plain text: insecure is set, without TLS" in caplog.messages) is is_warned


async def test_more_requests_than_it_takes_are_429(running: Running, http: aiohttp.ClientSession) -> None:
    upstream = HeldUpstream()
    async with running(upstream, GatewayConfig(port=0, requests_max=1)) as url:
        post = asyncio.create_task(http.post(url + CHAT, json=QUESTION).__aenter__())
        await asyncio.wait_for(upstream.started.wait(), WAIT_S)
        async with http.post(url + CHAT, json=QUESTION) as response:
            assert response.status == 429
            assert response.headers["retry-after"] == "1"
        post.cancel()
        await asyncio.wait_for(upstream.closed.wait(), WAIT_S)


async def test_it_tells_of_itself(running: Running, http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0, metrics=True)
    async with running(ReplayUpstream(DEMONSTRATION), config, models=("a", "b")) as url:
        async with http.get(f"{url}/v1/models") as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["a", "b"]
        async with http.get(f"{url}/readyz") as response:
            assert response.status == 200
        async with http.post(url + CHAT, json=QUESTION) as response:
            assert response.status == 200
        async with http.get(f"{url}/metrics") as response:
            lines = (await response.text()).splitlines()
        route = 'route="/v1/chat/completions"'
        assert f'mistralwire_gateway_requests_total{{{route},status="200"}} 1.0' in lines
        assert f"mistralwire_gateway_broken_total{{{route}}} 0.0" in lines


@pytest.mark.usefixtures("no_losses")
async def test_an_answer_with_content_of_a_newer_contract_is_delivered_and_counted(
    running: Running, http: aiohttp.ClientSession
) -> None:
    choice = ChatCompletionChoice.FromString(b"\x18\x06")
    upstream = HeldUpstream()
    for _ in range(2):
        upstream.items.put_nowait(ChatCompletionResponse(id="r", choices=[choice]))
    async with running(upstream, GatewayConfig(port=0, metrics=True)) as url:
        for _ in range(2):
            async with http.post(url + CHAT, json=QUESTION) as response:
                assert response.status == 200
                assert (await response.json())["choices"] == [{"finish_reason": "unrecognized"}]
        async with http.get(f"{url}/metrics") as response:
            lines = (await response.text()).splitlines()
    place = 'field="3",message="ChatCompletionChoice"'
    assert f"mistralwire_contract_losses_total{{{place}}} 2.0" in lines


async def test_an_answer_that_breaks_is_counted_and_logged(
    running: Running, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = HeldUpstream()
    for item in (chunk(0), UpstreamError("a text that nobody may see", reason="A_REASON")):
        upstream.items.put_nowait(item)
    with caplog.at_level("INFO"):
        async with running(upstream, GatewayConfig(port=0, metrics=True)) as url:
            async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
                await broken_body(response)
            async with http.get(f"{url}/metrics") as response:
                lines = (await response.text()).splitlines()
    assert 'mistralwire_gateway_broken_total{route="/v1/chat/completions"} 1.0' in lines
    [record] = [each for each in caplog.records if each.name == "mistralwire.gateway.access"]
    assert "uvicorn.error" not in {each.name for each in caplog.records}
    known = vars(record)
    assert (record.levelname, record.message) == ("WARNING", "POST /v1/chat/completions")
    assert (known["http_status"], known["chunks"], known["reason"]) == (200, 1, "A_REASON")
    assert (known["model"], known["first_chunk_ms"] > 0) == ("m", True)


@pytest.mark.parametrize("name", ["org/model", "org%2Fmodel", "org/model/", "org%2fmodel"])
async def test_a_model_is_found_by_its_name(running: Running, http: aiohttp.ClientSession, name: str) -> None:
    about = {"object": "model", "created": 0, "owned_by": "mistralai", "type": "base", "capabilities": {}}
    async with running(HeldUpstream(), models=("org/model", "model")) as url:
        async with http.get(URL(f"{url}/v1/models/{name}", encoded=True)) as response:
            assert response.status == 200
            assert await response.json() == {"id": "org/model", **about}
        for other in ("org", "org/", "model/x", "org%252Fmodel", "../models/model"):
            async with http.get(URL(f"{url}/v1/models/{other}", encoded=True)) as response:
                assert response.status == 404
                assert (await response.json())["type"] == "model_not_found"
        async with http.delete(f"{url}/v1/models/model") as response:
            assert response.status == 405


async def test_a_wrong_path_or_method_has_an_error_body(
    running: Running, http: aiohttp.ClientSession
) -> None:
    async with running(HeldUpstream()) as url:
        async with http.get(f"{url}/v1/nothing") as response:
            assert response.status == 404
            error = flat_error(await response.json())
            assert error["type"] == "no_such_route"
            assert error["message"].endswith("found GET /v1/nothing")
        async with http.request("PROPFIND", f"{url}/{'a' * 999}") as response:
            message = flat_error(await response.json())["message"]
            assert message.endswith(f", found PROPFIND /{'a' * 127}")
        for path, allowed in (
            (CHAT, "GET, HEAD, POST"),
            (f"{CHAT}/r/events", "GET"),
            (f"{CHAT}/r/token", "POST"),
        ):
            async with http.put(url + path) as response:
                error = flat_error(await response.json())
                assert error["message"] == f"expected {allowed} for this route, found PUT {path}"
                assert response.status == 405
                assert response.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/models", "/v1/models/", "/docs/", "/v1/files/", CHAT])
async def test_no_get_is_redirected_but_a_browsers_at_the_root(
    running: Running, http: aiohttp.ClientSession, path: str
) -> None:
    page = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with running(ReplayUpstream(DEMONSTRATION)) as url:
        async with http.get(url + path, allow_redirects=False) as response:
            plain = response.status
        async with http.get(url + path, headers=page, allow_redirects=False) as response:
            assert response.status == (307 if path == "/" else plain)
        async with http.get(url + path, headers=page) as response:
            text = await response.text()
    statuses = {"/": 404, "/models": 404, "/v1/models/": 200, "/docs/": 200, "/v1/files/": 404, CHAT: 404}
    assert plain == statuses[path]
    assert text.startswith("<!doctype html>") is (path in ("/", "/docs/"))
    if path == "/docs/":
        assert 'href="../openapi.json"' in text


async def test_a_browser_is_led_to_the_page_where_the_gateway_is_mounted(http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0)
    async with Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client:
        app = Starlette(routes=[Mount("/llm", create_app(client, config))])
        async with GatewayServer(app, config) as server:
            async with http.get(f"{server.url}/llm/", headers={"accept": "text/html"}) as response:
                assert response.url.path == "/llm/docs"
                assert response.status == 200
            async with http.post(f"{server.url}/llm{CHAT}/", json=QUESTION) as response:
                assert response.status == 200


async def test_what_is_no_route_is_logged_without_its_query_in_one_short_line(
    running: Running, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mistralwire.gateway.access")
    long = "x" * 1000
    async with running(HeldUpstream()) as url:
        for path in ("/v1/files?purpose=secret", "/v1/%0Aadmin", f"/{long}"):
            async with http.post(URL(url + path, encoded=True), data=b"a body") as response:
                assert response.status == 404
        async with http.put(url + CHAT) as response:
            assert response.status == 405
    records = [record for record in caplog.records if record.name == "mistralwire.gateway.access"]
    lines = [(record.getMessage(), record.__dict__["http_status"]) for record in records]
    assert lines == [
        ("POST /v1/files", 404),
        ("POST /v1/?admin", 404),
        (f"POST /{long[:127]}", 404),
        (f"PUT {CHAT}", 405),
    ]
    assert [record.__dict__["reason"] for record in records] == [*["NO_SUCH_ROUTE"] * 3, "METHOD_NOT_ALLOWED"]


async def test_metrics_that_are_off_say_what_they_need(http: aiohttp.ClientSession) -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, http.get(f"{url}/metrics") as response:
        assert response.status == 404
        assert (await response.json())["message"].endswith("found GET /metrics: that needs --metrics")


async def test_the_two_types_of_a_request_have_the_same_fields() -> None:
    one, other = ChatCompletionRequest.DESCRIPTOR, ChatCompletionStreamRequest.DESCRIPTOR
    assert {(f.name, f.number) for f in one.fields} == {(f.name, f.number) for f in other.fields}


async def _raw(url: str, data: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(100), WAIT_S)
    finally:
        writer.close()
