"""Connections to the gateway's own server: callers who are slow, silent, too many, or of another protocol."""

import asyncio
import contextlib
import json
import pathlib
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
import trustme

from mistralwire.client import Client
from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import LocalChannel
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream, Upstream
from mistralwire.v1 import ChatCompletionResponse
from tests.error_bodies import broken_body, flat_error
from tests.gateway_stack import running_gateway
from tests.service.upstreams import EagerUpstream, HeldUpstream, chunk

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"
WAIT_S = 30
# Far more than the buffers of both sockets take.
LARGE = ChatCompletionResponse(id="x" * 8_000_000)


class Connection:
    """A connection on which the test sends and reads.

    Args:
        reader: Its one side.
        writer: Its other side.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """Read the head of an answer."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT_S)

    async def rest(self) -> bytes:
        """Read until the connection is over, however it ends."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(self.reader.read(65536), WAIT_S):
                data += piece
        return data

    async def answer(self) -> tuple[int, bytes]:
        """Read an answer in one piece, and return its status and its body."""
        head = await self.head()
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await asyncio.wait_for(self.reader.readexactly(int(length.partition(b":")[2])), WAIT_S)
        return int(head.split(b" ")[1]), body


@contextlib.asynccontextmanager
async def connected(url: str, *, buffer_bytes: int | None = None) -> AsyncIterator[Connection]:
    host, port = url.removeprefix("http://").split(":")
    own = socket.socket()
    if buffer_bytes is not None:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    own.setblocking(False)
    await asyncio.get_running_loop().sock_connect(own, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=own, limit=1024)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


def request_of(question: object = QUESTION, *, headers: str = "", path: str = CHAT) -> bytes:
    body = json.dumps(question).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


STREAM = request_of({**QUESTION, "stream": True})


@contextlib.asynccontextmanager
async def serving(
    upstream: Upstream, config: GatewayConfig | None = None
) -> AsyncIterator[tuple[GatewayServer, Client]]:
    config = config or GatewayConfig(port=0)
    async with (
        Client.on(LocalChannel(upstream)) as client,
        GatewayServer(create_app(client, config), config) as server,
    ):
        yield server, client


@pytest.mark.slow
async def test_a_caller_who_does_not_read_the_answer_is_cut_off() -> None:
    upstream = HeldUpstream()
    async with (
        running_gateway(upstream, GatewayConfig(port=0, caller_idle_s=0.2)) as url,
        connected(url, buffer_bytes=4096) as caller,
    ):
        upstream.items.put_nowait(LARGE)
        caller.writer.write(request_of())
        await caller.head()
        # Reads nothing for longer than that; what comes then is what was in the buffers.
        await asyncio.sleep(1)
        assert len(await caller.rest()) < 8_000_000


@pytest.mark.slow
async def test_a_caller_who_reads_slowly_gets_everything() -> None:
    upstream = HeldUpstream()
    async with (
        running_gateway(upstream, GatewayConfig(port=0, caller_idle_s=3)) as url,
        connected(url, buffer_bytes=4096) as caller,
    ):
        upstream.items.put_nowait(LARGE)
        caller.writer.write(request_of())
        await caller.head()
        received = 0
        for _ in range(8):
            received += len(await asyncio.wait_for(caller.reader.readexactly(500_000), WAIT_S))
            await asyncio.sleep(0.5)
        received += len(await asyncio.wait_for(caller.reader.readexactly(4_000_009), WAIT_S))
    assert received == 8_000_009


async def test_a_caller_who_does_not_read_and_asks_again_frees_the_place_of_the_first_request() -> None:
    upstream = HeldUpstream()
    config = GatewayConfig(port=0, caller_idle_s=0.2, requests_max=1)
    async with (
        running_gateway(upstream, config) as url,
        connected(url, buffer_bytes=4096) as caller,
        connected(url) as other,
    ):
        upstream.items.put_nowait(LARGE)
        caller.writer.write(request_of())
        await caller.head()
        upstream.items.put_nowait(ChatCompletionResponse(id="second"))
        caller.writer.write(request_of())
        async with asyncio.timeout(WAIT_S):
            while True:
                other.writer.write(request_of())
                upstream.items.put_nowait(ChatCompletionResponse(id="other"))
                status, _ = await other.answer()
                if status == 200:
                    break
                assert status == 429
                upstream.items.get_nowait()


@pytest.mark.parametrize("begin", [b"", b"POST /v1/chat/compl", request_of()[:40], b"\r\n"])
async def test_a_head_that_does_not_come_in_time_ends_the_connection(begin: bytes) -> None:
    config = GatewayConfig(port=0, request_s=0.2)
    async with running_gateway(HeldUpstream(), config) as url, connected(url) as caller:
        caller.writer.write(begin)
        assert await caller.rest() == b""


async def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistralwire.gateway._server._KEEP_ALIVE_S", 0.2)
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        for request in (request_of(), b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", request_of()):
            caller.writer.write(request)
            assert (await caller.answer())[0] == 200
        assert await caller.rest() == b""


async def test_a_fault_of_the_gateway_itself_is_logged_and_ends_the_connection(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistralwire.gateway._protocol.find_route", lambda *_, **__: 1 // 0)
    async with running_gateway(HeldUpstream()) as url, connected(url) as caller:
        caller.writer.write(request_of())
        assert await caller.rest() == b""
    assert "ZeroDivisionError" in caplog.text


async def test_connections_beyond_the_bound_are_refused_with_an_error_body() -> None:
    upstream = ReplayUpstream(DEMONSTRATION)
    config = GatewayConfig(port=0, connections_max=1)
    async with running_gateway(upstream, config) as url, connected(url) as first:
        first.writer.write(request_of())
        assert (await first.answer())[0] == 200
        async with connected(url) as second:
            status, body = await second.answer()
            assert (status, flat_error(json.loads(body))["type"]) == (503, "too_many_connections")
            assert await second.rest() == b""
        first.writer.write(request_of())
        assert (await first.answer())[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", [CHAT, "/healthz", "/v1/nothing"])
async def test_a_body_that_never_ends_behind_its_answer_ends_the_connection(path: str) -> None:
    config = GatewayConfig(port=0, request_s=1, requests_max=1, body_bytes_max=10)
    async with running_gateway(HeldUpstream(), config) as url, connected(url) as caller:
        method = "GET" if path == "/healthz" else "POST"
        caller.writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n".encode())
        await caller.head()
        caller.writer.write(b"x")
        await caller.rest()


async def test_a_body_that_ends_behind_its_answer_leaves_the_connection_usable() -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        caller.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n")
        assert (await caller.answer())[0] == 200
        caller.writer.write(b"xyz")
        caller.writer.write(request_of())
        assert (await caller.answer())[0] == 200


@pytest.mark.slow
async def test_a_newline_behind_the_body_does_not_end_a_long_answer() -> None:
    upstream = HeldUpstream()
    config = GatewayConfig(port=0, request_s=1)
    async with running_gateway(upstream, config) as url, connected(url) as caller:
        caller.writer.write(STREAM)
        upstream.items.put_nowait(chunk(0))
        await caller.head()
        caller.writer.write(b"\r\n")
        await asyncio.sleep(1.5)
        upstream.items.put_nowait(None)
        assert b"data: [DONE]" in await asyncio.wait_for(caller.reader.readuntil(b"0\r\n\r\n"), WAIT_S)
        caller.writer.write(request_of())
        upstream.items.put_nowait(ChatCompletionResponse(id="next"))
        assert (await caller.answer())[0] == 200


async def test_a_request_that_does_not_wait_for_the_answer_before_ends_the_connection() -> None:
    upstream = HeldUpstream()
    async with running_gateway(upstream) as url, connected(url) as caller:
        caller.writer.write(STREAM)
        upstream.items.put_nowait(chunk(0))
        await caller.head()
        caller.writer.write(request_of())
        assert b"HTTP/1.1" not in await caller.rest()
        await asyncio.wait_for(upstream.closed.wait(), WAIT_S)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("name", ["Upgrade", "upgrade", "UPGRADE"])
async def test_a_wish_for_http_2_is_left_out_and_the_body_kept(name: str) -> None:
    wish = f"Connection: Upgrade, HTTP2-Settings\r\n{name}: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    request = request_of(headers=wish)
    split = request.index(b"\r\n\r\n") + 4
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        for parts in ([request], [request[:split], request[split:]]):
            for part in parts:
                caller.writer.write(part)
                await asyncio.sleep(0.05)
            assert (await caller.answer())[0] == 200


async def test_a_wish_for_another_protocol_that_comes_in_pieces_is_refused_whole() -> None:
    request = request_of(headers="Connection: Upgrade\r\nUpgrade: h2c\r\n")
    split = request.index(b"Upgrade: h2c") + 3
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        caller.writer.write(request[:split])
        await asyncio.sleep(0.1)
        caller.writer.write(request[split:])
        status, body = await caller.answer()
        assert await caller.rest() == b""
    assert status == 400
    message = "expected HTTP/1.1, found a request for another protocol"
    assert flat_error(json.loads(body))["message"] == message


async def test_bytes_of_a_body_that_look_like_a_header_stay() -> None:
    body = b'{"model": "m"}\r\nupgrade:AAAA'
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n".encode()
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        caller.writer.write(head)
        await asyncio.sleep(0.1)
        caller.writer.write(b"\r\n" + body)
        assert (await caller.answer())[0] == 422
        caller.writer.write(request_of())
        assert (await caller.answer())[0] == 200


def _chunked(*, trailers: bytes) -> bytes:
    body = json.dumps(QUESTION).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"%x\r\n%b\r\n0\r\n%b" % (len(body), body, trailers)


async def test_trailers_are_no_headers() -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url, connected(url) as caller:
        caller.writer.write(_chunked(trailers=b"x-request-id: of-a-trailer\r\nx: y\r\n\r\n"))
        head = await caller.head()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"of-a-trailer" not in head


@pytest.mark.parametrize("piece", [b"a: b\r\n" * 1000, b"x" * 6000], ids=["many", "long"])
async def test_trailers_without_end_end_the_connection(piece: bytes) -> None:
    async with running_gateway(HeldUpstream()) as url, connected(url) as caller:
        caller.writer.write(_chunked(trailers=b"first: "))
        sent = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WAIT_S):
                while not caller.reader.at_eof() and sent < 50_000_000:
                    caller.writer.write(piece)
                    await caller.writer.drain()
                    await asyncio.sleep(0)
                    sent += len(piece)
        await caller.rest()
    assert sent < 50_000_000


async def test_a_body_that_is_too_large_is_told_so_and_the_connection_stays() -> None:
    config = GatewayConfig(port=0, body_bytes_max=1000)
    async with running_gateway(ReplayUpstream(DEMONSTRATION), config) as url, connected(url) as caller:
        caller.writer.write(request_of({**QUESTION, "more": "x" * 3_000_000}))
        await asyncio.wait_for(caller.writer.drain(), WAIT_S)
        assert (await caller.answer())[0] == 413
        caller.writer.write(request_of())
        assert (await caller.answer())[0] == 200


async def test_a_peer_that_says_nothing_of_tls_is_cut_off(tmp_path: pathlib.Path) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    config = GatewayConfig(
        port=0, request_s=0.3, tls_certificate=tmp_path / "certificate.pem", tls_key=tmp_path / "key.pem"
    )
    async with (
        serving(HeldUpstream(), config) as (server, _),
        connected(server.url.replace("https://", "http://")) as caller,
    ):
        assert await caller.rest() == b""


@pytest.mark.slow
async def test_a_request_whose_body_is_still_coming_at_the_end_is_told_so() -> None:
    async with serving(HeldUpstream()) as (server, _), connected(server.url) as caller:
        request = request_of()
        caller.writer.write(request[:-5])
        # It is being read once another one has been answered.
        async with connected(server.url) as other:
            other.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            await other.head()
        await server.stop(0)
        status, body = await caller.answer()
    assert (status, json.loads(body)["type"]) == (503, "server_stopping")


@pytest.mark.slow
async def test_an_end_with_a_caller_who_reads_nothing_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    upstream = EagerUpstream(None, "x" * 10_000)
    async with serving(upstream) as (server, _), connected(server.url, buffer_bytes=4096) as caller:
        caller.writer.write(STREAM)
        await caller.head()
        await server.stop(0)
        await asyncio.wait_for(upstream.closed.wait(), WAIT_S)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_no_answer_waits_for_an_acknowledgement() -> None:
    async with serving(HeldUpstream()) as (server, _), connected(server.url):
        # The listening socket: connections have its options.
        [listener] = [item for each in server._listeners for item in each.sockets]
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_requests_that_run_at_the_end_are_told_so() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as (server, _), aiohttp.ClientSession(server.url) as session:
        waiting = asyncio.create_task(session.post(CHAT, json=QUESTION).__aenter__())
        await asyncio.wait_for(upstream.started.wait(), WAIT_S)
        stream = HeldUpstream()
        async with serving(stream) as (other, _), aiohttp.ClientSession(other.url) as its:
            stream.items.put_nowait(chunk(0))
            response = await its.post(CHAT, json={**QUESTION, "stream": True})
            await asyncio.wait_for(response.content.readuntil(b"\n\n"), WAIT_S)
            # This client drops what it has not read when a transfer breaks.
            reading = asyncio.create_task(broken_body(response))
            await other.stop(0)
            rest = await asyncio.wait_for(reading, WAIT_S)
            response.close()
        await server.stop(0)
        answer = await asyncio.wait_for(waiting, WAIT_S)
        assert answer.status == 503
        assert (await answer.json())["type"] == "server_stopping"
        answer.release()

    error = json.loads(rest.removeprefix(b"data: "))
    assert (error["object"], error["type"]) == ("error", "server_stopping")
    await asyncio.wait_for(upstream.closed.wait(), WAIT_S)
    await asyncio.wait_for(stream.closed.wait(), WAIT_S)


async def test_a_server_can_be_stopped_before_it_runs_and_twice() -> None:
    async with Client.on(LocalChannel(HeldUpstream())) as client:
        config = GatewayConfig(port=0)
        server = GatewayServer(create_app(client, config), config)
        await server.stop()
        await server.start()
        await asyncio.gather(server.stop(), server.stop(0))


@pytest.mark.parametrize("comes", ["a chunk", "an error"])
async def test_silence_before_the_first_chunk_is_filled_with_comments(comes: str) -> None:
    upstream = HeldUpstream()
    async with (
        running_gateway(upstream, GatewayConfig(port=0, heartbeat_s=0.05)) as url,
        aiohttp.ClientSession(url) as session,
        session.post(CHAT, json={**QUESTION, "stream": True}) as response,
    ):
        for _ in range(3):
            assert await response.content.readline() == b": keep-alive\n"
        upstream.items.put_nowait(chunk(0) if comes == "a chunk" else UpstreamError("no luck"))
        upstream.items.put_nowait(None)
        body = await (response.read() if comes == "a chunk" else broken_body(response))
    events = body.replace(b": keep-alive\n", b"").split(b"\n\n")
    assert response.status == 200
    if comes == "a chunk":
        assert events[0].startswith(b"id: 0\n")
        assert events[1:] == [b"data: [DONE]", b""]
    else:
        assert json.loads(events[0].removeprefix(b"data: "))["message"] == "no luck"
        assert b"[DONE]" not in b"".join(events)


async def test_a_stream_of_many_chunks_has_no_comment_between_the_bytes_of_an_event() -> None:
    async with (
        running_gateway(EagerUpstream(3000), GatewayConfig(port=0, heartbeat_s=0.001)) as url,
        aiohttp.ClientSession(url) as session,
        session.post(CHAT, json={**QUESTION, "stream": True}) as response,
    ):
        *events, done, empty = (await response.read()).split(b"\n\n")
    kept = [event.replace(b": keep-alive\n", b"").splitlines() for event in events]
    assert [head for head, _ in kept] == [b"id: %d" % number for number in range(3000)]
    assert all(data.startswith(b"data: {") for _, data in kept)
    assert (done.replace(b": keep-alive\n", b""), empty) == (b"data: [DONE]", b"")
