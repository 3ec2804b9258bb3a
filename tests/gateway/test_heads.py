"""Request heads at the gateway's own server: ambiguous ones, and HTTP/1.0."""

import asyncio
import json
import pathlib

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from tests.error_bodies import flat_error
from tests.gateway.test_protocol import CHAT, QUESTION, connected, request_of
from tests.gateway_stack import running_gateway
from tests.service.upstreams import EagerUpstream, HeldUpstream, chunk

BODY = json.dumps(QUESTION).encode()
SIZED = b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
PARTS = b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
VERTEX = "/v1/projects/p/locations/l/publishers/mistralai/models/m"


@pytest.mark.parametrize("path", [CHAT, "/healthz"])
@pytest.mark.parametrize(
    ("version", "rest", "problem"),
    [
        ("1.1", b"host: x\r\ntransfer-encoding: gzip, chunked\r\n" + PARTS, "transfer-encoding"),
        ("1.1", b"host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n" + PARTS, ""),
        ("1.0", b"host: x\r\ntransfer-encoding: chunked\r\n" + PARTS, "transfer-encoding"),
        ("2.0", b"host: x\r\n" + SIZED, "HTTP/1.1"),
        ("1.1", SIZED, "found none"),
        ("1.1", b"host: a\r\nhost: b\r\n" + SIZED, "found 2"),
        ("1.0", b"host: a\r\nhost: a\r\n" + SIZED, "found 2"),
        ("1.1", b"host: x\r\ncontent-length: 1\r\n" + SIZED, "one content-length"),
        ("1.1", b"host: x\r\ntransfer-encoding: chunked\r\n" + SIZED, "one content-length"),
        ("1.1", b"host: x\r\nauthorization: Bearer a\r\nAuthorization: Bearer a\r\n" + SIZED, "found 2"),
        ("1.0", b"authorization: Bearer a\r\nauthorization: Bearer b\r\n" + SIZED, "authorization"),
        ("1.1", b"host: a, b\r\n" + SIZED, "as the host"),
        ("1.1", b"host: a@b\r\n" + SIZED, "as the host"),
        ("1.1", b"host: a/b\r\n" + SIZED, "as the host"),
        ("1.1", b"host: x\r\nx-a: b\r\n c\r\n" + SIZED, "HTTP/1.1"),
        ("1.1", b"host: x\r\nx-a : b\r\n" + SIZED, "HTTP/1.1"),
        ("1.1", b"host: x\r\nx-a: b\0c\r\n" + SIZED, "HTTP/1.1"),
        ("1.1", b"host: x\r\nx-a: b\nx-b: c\r\n" + SIZED, "HTTP/1.1"),
        ("1.1", b"host: x\r\ncontent-length: 2, 2\r\n\r\n{}", "one content-length"),
    ],
    ids=[
        *("gzip", "two codings", "coded 1.0", "2.0", "no host", "two hosts", "1.0", "two lengths", "both"),
        *("two keys", "two keys 1.0", "list of hosts", "user in the host", "path in the host"),
        *("folded line", "blank before colon", "nul", "bare newline", "list of lengths"),
    ],
)
async def test_a_head_that_could_be_read_in_two_ways_is_refused(
    path: str, version: str, rest: bytes, problem: str
) -> None:
    upstream = HeldUpstream()
    async with running_gateway(upstream) as url, connected(url) as caller:
        caller.writer.write(f"POST {path} HTTP/{version}\r\n".encode() + rest)
        status, body = await caller.answer()
        assert await caller.rest() == b""
    assert status == 400
    assert problem in flat_error(json.loads(body))["message"]
    assert not upstream.requests


@pytest.mark.parametrize("host", ["[::1]:8080", "localhost:", "a_b.example", "xn--bcher-kva.example:1", ""])
async def test_hosts_of_all_forms_are_taken(host: str) -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        caller.writer.write(b"POST %b HTTP/1.1\r\nhost: %b\r\n" % (CHAT.encode(), host.encode()) + SIZED)
        assert (await caller.answer())[0] == 200


@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{CHAT}/", 200),
        (f"{CHAT}/?a=b/", 200),
        ("/v1/fim/completions/", 422),
        (f"{VERTEX}:rawPredict/", 200),
        (f"{CHAT}//", 404),
        (f"{CHAT}%2F", 404),
        ("/v1/nothing/", 404),
    ],
)
async def test_a_slash_at_the_end_does_not_count(path: str, status: int, *, is_wrapped: bool) -> None:
    upstream = ReplayUpstream(DEMONSTRATION)
    async with running_gateway(upstream, is_wrapped=is_wrapped) as url, connected(url) as caller:
        caller.writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\n".encode() + SIZED)
        assert (await caller.answer())[0] == status


@pytest.mark.parametrize("encoding", ["identity", "Identity", "IDENTITY", "identity ", ""])
async def test_the_identity_is_no_content_encoding(encoding: str) -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        caller.writer.write(request_of(headers=f"content-encoding: {encoding}\r\n"))
        assert (await caller.answer())[0] == 200


KEY = "a-key-of-twenty-characters"


@pytest.mark.parametrize("path", ["/v1/models", "/docs/", "/openapi.json", "/metrics", "/", "/v1/x"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("is_wrapped", [False, True])
async def test_a_name_that_may_be_anybodys_is_refused_for_what_has_no_origin(
    path: str, method: str, *, is_wrapped: bool
) -> None:
    config = GatewayConfig(port=0, metrics=True)
    upstream = ReplayUpstream(DEMONSTRATION)
    async with running_gateway(upstream, config, is_wrapped=is_wrapped) as url:
        for host, is_refused in (("evil.example", True), ("localhost:8080", False), ("127.0.0.1", False)):
            async with connected(url) as caller:
                caller.writer.write(f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
                assert (b" 403 " in (await caller.head()).split(b"\r\n")[0]) is is_refused
                if is_refused:
                    body = await caller.rest()
                    assert (b"add its origin to cors_origins" in body) is (method == "GET")
                    assert (body == b"") is (method == "HEAD")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz/", "/healthz?from=a-probe"])
async def test_the_state_is_shown_by_any_name(path: str) -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        caller.writer.write(f"GET {path} HTTP/1.1\r\nhost: evil.example\r\n\r\n".encode())
        assert (await caller.answer())[0] == 200


@pytest.mark.parametrize("kind", ["keys", "listed", "all", "1.0"])
async def test_other_names_are_taken_where_no_page_can_use_them(kind: str, tmp_path: pathlib.Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    keys.chmod(0o600)
    config = {
        "keys": GatewayConfig(port=0, token_file=keys),
        "listed": GatewayConfig(port=0, cors_origins="https://a.example"),
        "all": GatewayConfig(port=0, cors_origins="*"),
        "1.0": GatewayConfig(port=0),
    }[kind]
    host, version = ("", "1.0") if kind == "1.0" else ("host: a.example\r\n", "1.1")
    async with running_gateway(ReplayUpstream(DEMONSTRATION), config) as url, connected(url) as caller:
        head = f"GET /v1/models HTTP/{version}\r\n{host}authorization: Bearer {KEY}\r\n\r\n"
        caller.writer.write(head.encode())
        assert (await caller.answer())[0] == 200


async def test_what_is_no_http_is_refused_with_an_error_body() -> None:
    async with running_gateway(HeldUpstream()) as url, connected(url) as caller:
        caller.writer.write(b"\x16\x03\x01 a greeting of TLS\r\n\r\n")
        status, body = await caller.answer()
        assert await caller.rest() == b""
    assert status == 400
    assert flat_error(json.loads(body))["message"] == "expected a request in HTTP/1.1, found something else"


async def test_what_is_no_http_in_a_body_is_refused_and_gives_its_place_back() -> None:
    config = GatewayConfig(port=0, requests_max=1)
    async with running_gateway(ReplayUpstream(DEMONSTRATION), config) as url:
        async with connected(url) as caller:
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            caller.writer.write(head.encode() + b"2\r\n{}no length\r\n")
            assert (await caller.answer())[0] == 400
            await caller.rest()
        async with connected(url) as caller:
            caller.writer.write(request_of())
            assert (await caller.answer())[0] == 200


async def test_what_is_no_http_behind_a_request_ends_its_answer() -> None:
    upstream = HeldUpstream()
    async with running_gateway(upstream) as url, connected(url) as caller:
        caller.writer.write(request_of({**QUESTION, "stream": True}))
        upstream.items.put_nowait(chunk(0))
        await caller.head()
        caller.writer.write(b"\x00\x01")
        assert b"HTTP/1.1" not in await caller.rest()
        await asyncio.wait_for(upstream.closed.wait(), 30)


@pytest.mark.parametrize("headers", ["", "host: x\r\n", "connection: keep-alive\r\n"])
@pytest.mark.parametrize("path", [CHAT, f"{CHAT}?a=b", f"{VERTEX}%401:streamRawPredict"])
async def test_a_stream_in_http_1_0_has_no_chunked_framing(path: str, headers: str) -> None:
    body = json.dumps({**QUESTION, "stream": True}).encode()
    head = f"POST {path} HTTP/1.0\r\n{headers}content-length: {len(body)}\r\n\r\n"
    async with running_gateway(EagerUpstream(2)) as url, connected(url) as caller:
        caller.writer.write(head.encode() + body)
        answer = await caller.head()
        events = (await caller.rest()).split(b"\n\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in answer
    assert b"transfer-encoding" not in answer
    assert [event[:6] for event in events] == [b"id: 0\n", b"id: 1\n", b"data: ", b""]


@pytest.mark.parametrize(("version", "frame"), [("1.1", b"\r\n"), ("1.0", b"")])
async def test_a_broken_stream_ends_without_its_last_chunk_of_http(version: str, frame: bytes) -> None:
    upstream = HeldUpstream()
    body = json.dumps({**QUESTION, "stream": True}).encode()
    for item in (chunk(0), UpstreamError("no luck")):
        upstream.items.put_nowait(item)
    async with running_gateway(upstream) as url, connected(url) as caller:
        head = f"POST {CHAT} HTTP/{version}\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        caller.writer.write(head.encode() + body)
        assert (b"transfer-encoding: chunked" in await caller.head()) is bool(frame)
        answer = await caller.rest()
    *_, event, end = answer.split(b"\n\n")
    assert flat_error(json.loads(event.partition(b"data: ")[2]))["message"] == "no luck"
    assert end == frame


@pytest.mark.parametrize("wish", ["keep-alive", "close"])
async def test_an_answer_in_one_piece_ends_the_connection_if_that_was_asked_for(wish: str) -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        caller.writer.write(request_of(headers=f"connection: {wish}\r\n"))
        assert (await caller.answer())[0] == 200
        if wish == "close":
            assert await caller.rest() == b""
        else:
            caller.writer.write(request_of())
            assert (await caller.answer())[0] == 200


@pytest.mark.parametrize(("body_bytes_max", "expected"), [(1000, b"HTTP/1.1 100 "), (1, b"HTTP/1.1 413 ")])
async def test_a_caller_who_waits_is_told_whether_to_send_the_body(
    body_bytes_max: int, expected: bytes
) -> None:
    config = GatewayConfig(port=0, body_bytes_max=body_bytes_max)
    request = request_of(headers="expect: 100-continue\r\n")
    async with running_gateway(ReplayUpstream(DEMONSTRATION), config) as url, connected(url) as caller:
        split = request.index(b"\r\n\r\n") + 4
        caller.writer.write(request[:split])
        assert (await caller.head()).startswith(expected)
        if body_bytes_max > 1:
            caller.writer.write(request[split:])
            assert (await caller.answer())[0] == 200


async def test_each_answer_has_a_date_and_the_id_of_its_request() -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        for headers in ("", "x-request-id: mine\r\n", "x-request-id: \u00e9\r\n"):
            caller.writer.write(request_of(headers=headers))
            answer = await caller.head()
            assert b"\r\ndate: " in answer
            request_id = answer.partition(b"x-request-id: ")[2].split(b"\r\n")[0]
            assert request_id == b"mine" if "mine" in headers else len(request_id) == 32
            await caller.reader.readexactly(int(answer.partition(b"content-length: ")[2].split(b"\r\n")[0]))


async def test_uvicorn_has_the_names_that_the_protocol_uses() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    protocol = HttpToolsProtocol(uvicorn.Config(app, ws="none", log_config=None), ServerState(), {})
    attributes = {
        *("access_log", "connections", "cycle", "expect_100_continue", "flow", "headers", "loop", "parser"),
        *("server_state", "timeout_keep_alive", "transport"),
    }
    callbacks = {
        *("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing"),
        *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body"),
        *("on_message_complete", "on_response_complete", "shutdown"),
    }
    assert attributes <= vars(protocol).keys()
    assert callbacks <= vars(HttpToolsProtocol).keys()
    assert {"connections", "tasks", "default_headers"} <= vars(ServerState()).keys()
