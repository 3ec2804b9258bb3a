"""Streams over HTTP, by the gateway's own server and as an ASGI application."""

import asyncio
import contextlib
import functools
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import pytest
from yarl import URL

from mistralwire.client import Client
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.log import Batch, MemoryLog
from mistralwire.service import LocalChannel
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from tests.gateway.clients import until
from tests.gateway.test_protocol import connected
from tests.gateway_stack import running_gateway

WAIT_S = 30
JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain"}
START = "0000000000000000_0000000000000000"

Running = Callable[..., contextlib.AbstractAsyncContextManager[str]]


@pytest.fixture(params=[False, True], ids=["direct", "asgi"])
def running(request: pytest.FixtureRequest) -> Running:
    return functools.partial(
        running_gateway, ReplayUpstream(DEMONSTRATION), is_embedded=True, is_wrapped=request.param
    )


async def made(http: aiohttp.ClientSession, url: str, headers: dict[str, str], *bodies: bytes) -> None:
    async with http.put(url, headers=headers) as response:
        assert response.status == 201, await response.text()
    for body in bodies:
        async with http.post(url, headers=headers, data=body) as response:
            assert response.status == 204, await response.text()


async def events_of(response: aiohttp.ClientResponse) -> list[bytes]:
    async with asyncio.timeout(WAIT_S):
        return [event for event in (await response.read()).split(b"\n\n") if event]


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str, str]:
    body = await response.json()
    return response.status, body["type"], body["message"]


async def test_json_comes_back_as_it_was_sent(running: Running, http: aiohttp.ClientSession) -> None:
    async with running(log=MemoryLog()) as url:
        body = b'[1.0, 1e400 ,12345678901234567890, {"a" : 1.10, "b":"\\u00e9"}]'
        await made(http, f"{url}/v1/stream/a", JSON, body, b"[[1, 2]]", b"null")
        async with http.get(f"{url}/v1/stream/a") as response:
            expected = b'[1.0,1e400,12345678901234567890,{"a" : 1.10, "b":"\\u00e9"},[1, 2],null]'
            assert await response.read() == expected
            assert response.headers["stream-next-offset"] == START[:-1] + "6"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("a/../b", "PUT", 400),
        ("a%2Fb", "PUT", 400),
        ("%2e%2e/chat/completions", "GET", 400),
        ("a//b", "GET", 400),
        ("a" * 401, "DELETE", 400),
        ("__ds/subscriptions/a", "PUT", 404),
        ("nothing", "GET", 404),
        ("nothing", "POST", 404),
        ("nothing", "DELETE", 404),
        ("a", "PATCH", 405),
    ],
)
async def test_an_error_is_the_apis(
    running: Running, http: aiohttp.ClientSession, path: str, method: str, status: int
) -> None:
    async with running(log=MemoryLog()) as url:
        target = URL(f"{url}/v1/stream/{path}", encoded=True)
        async with http.request(method, target, headers=TEXT, data=b"x") as response:
            found, _, message = await error_of(response)
            assert found == status
            assert message.startswith("expected")


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT", "POST", "DELETE"])
async def test_without_a_log_there_are_no_streams(
    running: Running, http: aiohttp.ClientSession, method: str
) -> None:
    async with running() as url, http.request(method, f"{url}/v1/stream/a", headers=TEXT) as response:
        if method == "HEAD":
            assert response.status == 404
        else:
            status, kind, message = await error_of(response)
            assert (status, kind) == (404, "no_response_log")
            assert "--data" in message


async def test_a_head_request_has_no_body_and_leaves_the_connection_usable(
    running: Running, http: aiohttp.ClientSession
) -> None:
    async with running(log=MemoryLog()) as url:
        await made(http, f"{url}/v1/stream/a", TEXT, b"x")
        async with connected(url) as caller:
            for path, status in (("a", b"200"), ("b", b"404"), ("a", b"200")):
                caller.writer.write(f"HEAD /v1/stream/{path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
                head = await caller.head()
                assert head.split(b" ")[1] == status
                assert b"transfer-encoding" not in head.lower()


async def test_keys_have_streams_of_their_own(
    running: Running, http: aiohttp.ClientSession, tmp_path: pathlib.Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("the-key-of-a-caller\nthe-key-of-another-one\n")
    keys.chmod(0o600)
    async with running(GatewayConfig(port=0, token_file=keys), log=MemoryLog()) as url:
        one, other = ({"authorization": f"Bearer {key}"} for key in keys.read_text().split())
        await made(http, f"{url}/v1/stream/a", TEXT | one, b"x")
        for headers, status in (({}, 401), (other, 404), (one, 200)):
            async with http.get(f"{url}/v1/stream/a", headers=headers) as response:
                assert response.status == status
        fork = {"stream-forked-from": "/v1/stream/a"}
        async with http.put(f"{url}/v1/stream/b", headers=other | fork) as response:
            assert response.status == 404


async def test_a_body_that_is_too_large_appends_nothing(
    running: Running, http: aiohttp.ClientSession
) -> None:
    async with running(GatewayConfig(port=0, body_bytes_max=10), log=MemoryLog()) as url:
        await made(http, f"{url}/v1/stream/a", TEXT, b"0123456789")
        async with http.post(f"{url}/v1/stream/a", headers=TEXT, data=b"0123456789a") as response:
            assert (await error_of(response))[:2] == (413, "body_too_large")
        async with http.get(f"{url}/v1/stream/a") as response:
            assert await response.read() == b"0123456789"


async def test_an_offset_beyond_what_is_stored_is_told_so(
    running: Running, http: aiohttp.ClientSession
) -> None:
    async with running(log=MemoryLog()) as url:
        await made(http, f"{url}/v1/stream/a", TEXT, b"x")
        for live in ("", "&live=long-poll", "&live=sse"):
            async with http.get(f"{url}/v1/stream/a?offset={START[:-1]}2{live}") as response:
                assert (await error_of(response))[:2] == (400, "response_truncated")
                assert response.headers["stream-next-offset"] == START[:-1] + "1"


async def test_a_character_may_begin_in_one_message_and_end_in_the_next(
    running: Running, http: aiohttp.ClientSession
) -> None:
    async with running(log=MemoryLog()) as url:
        await made(http, f"{url}/v1/stream/a", TEXT, b" a\n\xc3")
        async with http.get(f"{url}/v1/stream/a?offset=-1&live=sse") as response:
            first = await asyncio.wait_for(response.content.readuntil(b"}\n\n"), WAIT_S)
            assert first.startswith(b"event: data\ndata:  a\ndata:\n\nevent: control\n")
            closing = TEXT | {"stream-closed": "true"}
            async with http.post(f"{url}/v1/stream/a", headers=closing, data=b"\xa9\xff") as ended:
                assert ended.status == 204
            events = await events_of(response)
            assert events[0] == "event: data\ndata:é\ufffd".encode()
            assert events[1].endswith(b'"streamClosed":true,"upToDate":true}')


async def test_what_is_at_the_tail_is_asked_for_again_and_what_is_not_may_be_kept(
    running: Running, http: aiohttp.ClientSession
) -> None:
    async with running(log=MemoryLog()) as url:
        large = b"x" * 700_000
        await made(http, f"{url}/v1/stream/a", TEXT, large, large, large)
        async with http.get(f"{url}/v1/stream/a") as response:
            assert len(await response.read()) == 1_400_000
            assert "stream-up-to-date" not in response.headers
            assert response.headers["cache-control"] == ("private, max-age=60, stale-while-revalidate=300")
            after = response.headers["stream-next-offset"]
        tail = f"{url}/v1/stream/a?offset={after[:-1]}3"
        async with http.get(tail) as response:
            assert response.headers["cache-control"] == "private, no-cache"
            tag = response.headers["etag"]
        known = {"if-none-match": f'"other", W/{tag}'}
        async with http.get(tail, headers=known) as response:
            assert (response.status, response.headers["etag"]) == (304, tag)
        async with http.post(f"{url}/v1/stream/a", headers={"stream-closed": "true"}) as response:
            assert response.status == 204
        async with http.get(tail, headers=known) as response:
            assert (response.status, response.headers["stream-closed"]) == (200, "true")


class CountingLog(MemoryLog):
    """Counts the bytes that were read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = 0

    async def read(self, id: str, after: int = 0, bytes_max: int = 1024 * 1024) -> list[Batch]:
        batches = await super().read(id, after, bytes_max)
        self.read_bytes += sum(len(batch.data) for batch in batches)
        return batches


async def test_a_reader_who_reads_nothing_takes_no_memory(
    running: Running, http: aiohttp.ClientSession
) -> None:
    log = CountingLog()
    async with running(log=log) as url:
        await made(http, f"{url}/v1/stream/a", TEXT, *[b"x" * 500_000] * 100)
        async with connected(url, buffer_bytes=4096) as caller:
            request = "GET /v1/stream/a?offset=-1&live=sse HTTP/1.1\r\nhost: localhost\r\n\r\n"
            caller.writer.write(request.encode())
            await caller.head()
            seen = -1
            while log.read_bytes != seen:
                seen = log.read_bytes
                await asyncio.sleep(0.1)
            # What the sockets take, and the queue of an ASGI server.
            assert log.read_bytes < 25_000_000
            # Others are not slower.
            async with http.get(f"{url}/v1/stream/a") as response:
                assert len(await response.read()) == 1_500_000


async def test_live_reads_end_when_the_server_stops(http: aiohttp.ClientSession) -> None:
    log, config = MemoryLog(), GatewayConfig(port=0, drain_s=WAIT_S)
    async with Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client:
        server = GatewayServer(create_app(client, config, log=log), config)
        await server.start()
        await made(http, f"{server.url}/v1/stream/a", TEXT, b"x")
        live = f"{server.url}/v1/stream/a?offset=now&live="
        async with http.get(f"{live}sse") as events:
            polling = asyncio.create_task(http.get(f"{live}long-poll").__aenter__())
            await events.content.readuntil(b"\n\n")
            await until(lambda: len(log._feeds._feeds["//a"]._waiting) == 2)
            async with asyncio.timeout(WAIT_S / 2):
                await server.stop()
                assert await events_of(events) == []
                polled = await polling
                assert polled.status == 204
                assert polled.headers["stream-next-offset"] == START[:-1] + "1"


async def test_a_live_read_ends_with_its_stream(running: Running, http: aiohttp.ClientSession) -> None:
    async with running(log=MemoryLog()) as url:
        await made(http, f"{url}/v1/stream/a", TEXT, b"x")
        async with http.get(f"{url}/v1/stream/a?offset=now&live=sse") as response:
            await response.content.readuntil(b"\n\n")
            polling = asyncio.create_task(
                http.get(f"{url}/v1/stream/a?offset=now&live=long-poll").__aenter__()
            )
            await asyncio.sleep(0.05)
            async with http.delete(f"{url}/v1/stream/a") as deleted:
                assert deleted.status == 204
            assert await events_of(response) == []
            assert (await asyncio.wait_for(polling, WAIT_S)).status == 404


async def test_an_idle_reader_gets_comments_and_keeps_the_stream(
    running: Running, http: aiohttp.ClientSession
) -> None:
    async with running(GatewayConfig(port=0, heartbeat_s=0.3), log=MemoryLog()) as url:
        await made(http, f"{url}/v1/stream/a", TEXT | {"stream-ttl": "1"}, b"x")
        async with http.get(f"{url}/v1/stream/a?offset=now&live=sse") as response:
            await response.content.readuntil(b"\n\n")
            for _ in range(5):
                assert await response.content.readline() == b": keep-alive\n"
            async with http.head(f"{url}/v1/stream/a") as found:
                assert found.status == 200


async def test_the_access_log_has_no_names(
    running: Running, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mistralwire.gateway.access")
    async with running(log=MemoryLog()) as url:
        await made(http, f"{url}/v1/stream/secret", TEXT)
        async with http.get(f"{url}/v1/stream/secret/a//b?offset=secret") as response:
            assert response.status == 400
    messages = [each.getMessage() for each in caplog.records if each.name == "mistralwire.gateway.access"]
    assert messages == ["PUT /v1/stream", "GET /v1/stream"]


async def test_pages_of_the_origins_in_the_settings_may_use_streams(
    running: Running, http: aiohttp.ClientSession
) -> None:
    config = GatewayConfig(port=0, cors_origins="https://example.com")
    async with running(config, log=MemoryLog()) as url:
        asked = {"access-control-request-method": "PUT", "access-control-request-headers": "stream-ttl"}
        stream = f"{url}/v1/stream/a"
        async with http.options(stream, headers=asked | {"origin": "https://example.com"}) as response:
            assert response.status == 200
            assert response.headers["access-control-allow-origin"] == "https://example.com"
        asked = {"access-control-request-method": "HEAD", "access-control-request-headers": "authorization"}
        async with http.options(stream, headers=asked | {"origin": "https://example.com"}) as response:
            assert response.status == 200
        async with http.put(stream, headers={"origin": "https://example.com"}) as response:
            assert response.status == 201
            exposed = response.headers["access-control-expose-headers"].split(", ")
            assert {"stream-next-offset", "stream-cursor", "etag"} <= {*exposed}
        async with http.put(stream, headers={"origin": "https://example.org"}) as response:
            assert response.status == 403
            assert "access-control-allow-origin" not in response.headers


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for found, value in headers if found == name]


async def test_a_mounted_application_has_its_path_in_locations_and_sources() -> None:
    async with Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client:
        app = create_app(client, log=MemoryLog())

        async def ask(method: str, path: str, *headers: tuple[bytes, bytes]) -> tuple[int, Any]:
            scope = {
                "type": "http",
                "method": method,
                "path": f"/edge{path}",
                "raw_path": f"/edge{path}".encode(),
                "root_path": "/edge",
                "scheme": "https",
                "query_string": b"",
                "headers": [(b"host", b"example.com"), *headers],
            }
            sent: list[Any] = []
            received: asyncio.Queue[Any] = asyncio.Queue()
            received.put_nowait({"type": "http.request", "body": b"", "more_body": False})

            async def send(message: Any) -> None:
                sent.append(message)

            await app(scope, received.get, send)
            return sent[0]["status"], sent[0]["headers"]

        status, headers = await ask("PUT", "/v1/stream/a%20b")
        assert (status, _values(headers, b"location")) == (201, [b"https://example.com/edge/v1/stream/a%20b"])
        source = (b"stream-forked-from", b"/edge/v1/stream/a%20b")
        assert (await ask("PUT", "/v1/stream/c", source))[0] == 201
