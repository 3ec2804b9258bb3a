"""The routes of stored responses, over real sockets."""

import asyncio
import contextlib
import hashlib
import json
import logging
import pathlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from yarl import URL

from mistralwire.client import Client, EventBatch
from mistralwire.codec import accumulate, from_json, to_json
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.log import Opening
from mistralwire.service import (
    LocalChannel,
    Relay,
    ServerConfig,
    create_server,
)
from mistralwire.service._relay import _responses, owner_of
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionResponse,
    ResponseEvents,
    ResponseKind,
)
from tests.error_bodies import broken_body, flat_error
from tests.gateway.producer import Producer
from tests.gateway_stack import running_gateway
from tests.service.upstreams import HeldUpstream, chunk

CHAT = "/v1/chat/completions"
EVENTS = f"{CHAT}/r1/events"
DONE = b"data: [DONE]\n\n"
STATE, SEQUENCE = "x-mistralwire-response-state", "x-mistralwire-last-sequence"


@pytest.fixture(params=["network", "embedded", "asgi"])
async def url(request: pytest.FixtureRequest, relay: Relay) -> AsyncIterator[str]:
    is_embedded, is_wrapped = request.param != "network", request.param == "asgi"
    async with running_gateway(
        HeldUpstream(), relay=relay, is_embedded=is_embedded, is_wrapped=is_wrapped
    ) as found:
        yield found


@pytest.fixture
async def embedded(relay: Relay) -> AsyncIterator[str]:
    async with running_gateway(HeldUpstream(), is_embedded=True, relay=relay) as found:
        yield found


def event(number: int, response_id: str = "r1") -> bytes:
    return b"id: %b.%d\ndata: %b\n\n" % (response_id.encode(), number, to_json(chunk(number)))


async def ended(relay: Relay, count: int = 3, response_id: str = "r1") -> Producer:
    producer = await Producer(relay.log, response_id).open()
    await producer.add(*map(chunk, range(1, count + 1)))
    await producer.finish()
    return producer


async def read_until(response: aiohttp.ClientResponse, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        found += await response.content.readany()
    return found


async def test_events_come_as_they_are_stored(url: str, relay: Relay, http: aiohttp.ClientSession) -> None:
    producer = await Producer(relay.log).open()
    async with http.get(url + EVENTS) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert response.headers["x-mistralwire-response-id"] == "r1"
        assert await read_until(response, b"\n") == b"id: r1.0\n"
        await producer.add(chunk(1), chunk(2))
        assert await read_until(response, b"\n\n") == event(1) + event(2)
        await producer.add(chunk(3))
        await producer.finish()
        assert await response.read() == event(3) + DONE


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"last-event-id": "r1.2"}, {}),
        ({"last-event-id": "r1.2"}, {"starting_after": "1"}),
        ({"last-event-id": ""}, {"starting_after": "2"}),
        ({}, {"starting_after": "r1.2"}),
    ],
)
async def test_a_stream_is_resumed_behind_the_last_event(
    embedded: str, relay: Relay, http: aiohttp.ClientSession, headers: Any, query: Any
) -> None:
    await ended(relay)
    async with http.get(embedded + EVENTS, headers=headers, params=query) as response:
        assert await response.read() == b"id: r1.2\n" + event(3) + DONE


@pytest.mark.parametrize("position", ["3", "4", "2147483647"])
async def test_behind_the_end_there_is_no_content(
    url: str, relay: Relay, http: aiohttp.ClientSession, position: str
) -> None:
    await ended(relay)
    async with http.get(url + EVENTS, headers={"last-event-id": f"r1.{position}"}) as response:
        assert (response.status, await response.read()) == (204, b"")
        assert response.headers["x-mistralwire-response-id"] == "r1"
        assert "content-length" not in response.headers
        assert response.headers["x-mistralwire-last-sequence"] == "3"
        assert response.headers[STATE] == "finished"
        reason = response.headers.get("x-mistralwire-response-reason")
        assert reason == (None if position == "3" else "RESPONSE_TRUNCATED")


async def test_behind_the_end_of_a_failure_the_state_is_that_of_the_response(
    url: str, relay: Relay, http: aiohttp.ClientSession
) -> None:
    producer = await Producer(relay.log).open()
    await producer.add(chunk(1))
    await producer.cancel()
    async with http.get(url + EVENTS, params={"starting_after": "2"}) as response:
        assert (response.status, response.headers[STATE], response.headers[SEQUENCE]) == (
            204,
            "cancelled",
            "1",
        )
        assert response.headers["x-mistralwire-response-reason"] == "RESPONSE_TRUNCATED"


async def test_a_response_without_events_ends_once_for_an_event_source(
    embedded: str, relay: Relay, http: aiohttp.ClientSession
) -> None:
    await (await Producer(relay.log).open()).cancel()
    async with http.get(embedded + EVENTS) as response:
        body = await response.read()
        assert body.startswith(b'id: r1.0\ndata: {"object":"error","message":"somebody has cancelled')
        assert body.count(b"\n\n") == 1
    async with http.get(embedded + EVENTS, headers={"last-event-id": "r1.0"}) as response:
        assert (response.status, response.headers[STATE]) == (204, "cancelled")
        assert response.headers["x-mistralwire-response-reason"] == "RESPONSE_CANCELLED"


async def test_the_failure_is_the_last_event(
    url: str, relay: Relay, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    producer = await Producer(relay.log).open()
    await producer.add(chunk(1))
    await producer.fail()
    with caplog.at_level("INFO", "mistralwire.gateway.access"):
        async with http.get(url + EVENTS) as response:
            body = await response.read()
    start = b"id: r1.0\n" + event(1) + b"data: "
    assert body.startswith(start)
    assert json.loads(body.removeprefix(start))["type"] == "producer_lost"
    # Uvicorn has a log of its own.
    [record] = [record for record in caplog.records if record.name == "mistralwire.gateway.access"]
    known = vars(record)
    assert record.message == f"GET {CHAT}/{{response_id}}/events"
    assert (known["http_status"], known["chunks"], known["reason"]) == (200, 1, "PRODUCER_LOST")
    assert known["response_id"] == "r1"


@pytest.mark.parametrize(
    "position", ["r2.1", "r1", "r1.", "r1.x", "r1.-1", "r1.2147483648", "1", "r1.\xb2", "r1.1.1"]
)
async def test_event_ids_of_others_are_refused(
    embedded: str, relay: Relay, http: aiohttp.ClientSession, position: str
) -> None:
    await ended(relay)
    await ended(relay, response_id="r2")
    async with http.get(embedded + EVENTS, headers={"last-event-id": position}) as response:
        assert response.status == 400
        assert flat_error(await response.json())["type"] == "event_id_invalid"


async def test_the_upstreams_id_works_everywhere(
    embedded: str, relay: Relay, http: aiohttp.ClientSession
) -> None:
    # Not an id of ours: it has a dot.
    producer = await Producer(relay.log).open()
    await producer.add(CompletionChunk(id="cmpl-1.a"), chunk(2))
    path = f"{embedded}{CHAT}/cmpl-1.a"
    async with http.get(path) as response:
        assert response.headers["x-mistralwire-response-id"] == "r1"
        assert (await response.json())["id"] == "cmpl-1.a"
    async with http.post(f"{path}/cancel") as response:
        assert (await response.json())["id"] == "r1"
    for position in ("r1.1", "cmpl-1.a.1"):
        async with http.get(f"{path}/events", headers={"last-event-id": position}) as response:
            assert (await response.read()).startswith(b"id: r1.1\n" + event(2))
    async with http.delete(path) as response:
        assert await response.json() == {"object": "chat.completion.deleted", "id": "r1", "deleted": True}
    for suffix in ("", "/events"):
        async with http.get(path + suffix) as response:
            assert response.status == 404
            assert flat_error(await response.json())["type"] == "response_not_found"


async def test_no_id_is_sent_before_it_is_known(
    relay: Relay, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in the path may be an upstream's, and have anything in it."""
    producer = Producer(relay.log)
    await (await producer.open()).add(chunk(1))
    await producer.finish()
    may_find = asyncio.Event()

    async def find(owner: str, upstream_id: str) -> str | None:
        await may_find.wait()
        return "/r1"

    monkeypatch.setattr(relay.log, "find", find)
    config = GatewayConfig(port=0, heartbeat_s=0.05)
    async with running_gateway(HeldUpstream(), config, is_embedded=True, relay=relay) as url:
        target = URL(f"{url}{CHAT}/a%0D%0Ax-injected:%20yes/events", encoded=True)
        async with asyncio.TaskGroup() as tasks:
            answer = tasks.create_task(http.get(target))
            await asyncio.sleep(0.2)
            assert not answer.done()
            may_find.set()
        assert answer.result().headers["x-mistralwire-response-id"] == "r1"
        assert "x-injected" not in answer.result().headers
        assert await answer.result().read() == b"id: r1.0\n" + event(1) + DONE


async def test_a_gateway_that_stops_sends_no_id_before_it_is_known(
    relay: Relay, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_finding = asyncio.Event()

    async def find(owner: str, upstream_id: str) -> str | None:
        is_finding.set()
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(relay.log, "find", find)
    config = GatewayConfig(port=0)
    async with Client.on(LocalChannel(HeldUpstream(), relay=relay)) as client:
        async with GatewayServer(create_app(client, config), config) as gateway:
            target = URL(f"{gateway.url}{CHAT}/a%0D%0Ax-injected:%20yes/events", encoded=True)
            answer = asyncio.create_task(http.get(target))
            await is_finding.wait()
            await gateway.stop()
        async with await answer as response:
            assert response.status == 503
            assert "x-injected" not in response.headers
            assert flat_error(await response.json())["type"] == "server_stopping"


@pytest.mark.parametrize("suffix", ["", "/events", "/cancel", "/token"])
async def test_what_can_not_be_an_id_is_no_response(
    url: str, http: aiohttp.ClientSession, suffix: str
) -> None:
    method = "POST" if suffix in ("/cancel", "/token") else "GET"
    async with http.request(method, f"{url}{CHAT}/{'x' * 129}{suffix}") as response:
        assert response.status == 404
        assert flat_error(await response.json())["type"] == "response_not_found"


async def test_whole_responses_are_one_event(
    embedded: str, relay: Relay, http: aiohttp.ClientSession
) -> None:
    message = AssistantMessage(role="assistant", content_string="hello")
    choice = ChatCompletionChoice(index=0, message=message)
    for whole, response_id in (
        (ChatCompletionResponse(id="a", choices=[choice]), "r1"),
        (FIMCompletionResponse(id="b", choices=[choice]), "r2"),
    ):
        kind = ResponseKind.RESPONSE_KIND_CHAT if response_id == "r1" else ResponseKind.RESPONSE_KIND_FIM
        producer = await Producer(relay.log, response_id).open(kind=kind)
        await producer.add_whole(whole)
        await producer.finish()
        text = to_json(whole)
        async with http.get(f"{embedded}{CHAT}/{response_id}/events") as response:
            name = response_id.encode()
            assert await response.read() == b"id: %b.0\nid: %b.1\ndata: %b\n\n%b" % (name, name, text, DONE)
        async with http.get(f"{embedded}{CHAT}/{response_id}") as response:
            assert await response.read() == text


async def test_a_response_is_there_while_it_runs(url: str, relay: Relay, http: aiohttp.ClientSession) -> None:
    producer = await Producer(relay.log).open()
    one = f"{url}{CHAT}/r1"
    async with http.get(one) as response:
        found = await response.json()
        assert (found["id"], found["model"], found["choices"]) == ("r1", "m", [])
        assert (response.headers[STATE], response.headers[SEQUENCE]) == ("running", "0")
        assert response.headers["cache-control"] == "no-store"
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    deltas = [{"content": [thought]}, {"content": "Yes"}]
    chunks = [
        from_json(CompletionChunk, orjson.dumps(document))
        for document in (
            {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            for delta in deltas
        )
    ]
    await producer.add(*chunks)
    async with http.get(one) as response:
        assert await response.read() == to_json(accumulate(chunks))
        [choice] = (await response.json())["choices"]
        assert choice["finish_reason"] is None
        assert choice["message"]["content"][0] == thought
        assert (response.headers[STATE], response.headers[SEQUENCE]) == ("running", "2")
    async with http.head(one) as response:
        assert (response.status, response.headers[STATE]) == (200, "running")
    async with http.delete(one) as response:
        assert response.status == 409
        assert flat_error(await response.json())["type"] == "response_running"
    await producer.fail()
    async with http.get(one) as response:
        assert response.headers[STATE] == "failed"
        assert response.headers["x-mistralwire-response-reason"] == "PRODUCER_LOST"


async def test_pages_list_all_responses_once(
    embedded: str, relay: Relay, http: aiohttp.ClientSession
) -> None:
    for number in range(5):
        producer = await Producer(relay.log, f"r{number}").open(model="m" if number % 2 else "n")
        await producer.add(chunk(number))
    await producer.finish()

    async def page(**query: str) -> Any:
        async with http.get(embedded + CHAT, params=query) as response:
            assert response.status == 200
            return await response.json()

    first = await page(limit="2")
    assert [item["id"] for item in first["data"]] == ["r0", "r1"]
    assert {name: first[name] for name in ("object", "first_id", "last_id", "has_more")} == {
        "object": "list",
        "first_id": "r0",
        "last_id": "r1",
        "has_more": True,
    }
    assert first["data"][0]["metadata"] == {
        "state": "running",
        "kind": "chat",
        "last_sequence": "1",
        "upstream_id": "0",
    }
    second = await page(limit="2", after=first["last_id"])
    assert [item["id"] for item in second["data"]] == ["r2", "r3"]
    last = await page(limit="2", after=second["last_id"])
    assert [item["id"] for item in last["data"]] == ["r4"]
    assert last["has_more"] is False
    newest = await page(order="desc", model="n")
    assert [item["id"] for item in newest["data"]] == ["r4", "r2", "r0"]
    assert newest["data"][0]["metadata"]["state"] == "finished"
    nothing = await page(model="other")
    assert (nothing["data"], nothing["first_id"], nothing["last_id"]) == ([], None, None)


async def test_a_page_has_a_response_unless_it_is_the_last(
    embedded: str, relay: Relay, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The service ends a page behind so many that are of other models.
    monkeypatch.setattr(_responses, "_LOOKED_AT_MAX", 1)
    for number in range(300):
        await relay.log.open(Opening(id=f"/{number}", model="n" if number % 299 else "m"))
    ids = []
    query = {"model": "m", "limit": "1"}
    while True:
        async with http.get(embedded + CHAT, params=query) as response:
            page = await response.json()
        ids += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert ids == ["0", "299"]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("order=up", 400, "expected asc or desc"),
        ("limit=0", 400, "expected a limit from 1 to 100"),
        ("limit=101", 400, "expected a limit from 1 to 100"),
        ("limit=10000000000000000", 400, "expected a limit from 1 to 100"),
        ("limit=01000000000000000", 400, "expected a limit from 1 to 100"),
        ("limit=x", 400, "expected a limit from 1 to 100"),
        ("metadata[user]=me", 400, "expected no metadata"),
        ("after=r7", 400, "expected the id of a response"),
    ],
)
async def test_lists_that_can_not_be_made_are_refused(
    embedded: str, http: aiohttp.ClientSession, query: str, status: int, text: str
) -> None:
    async with http.get(URL(f"{embedded}{CHAT}?{query}", encoded=True)) as response:
        assert response.status == status
        assert text in flat_error(await response.json())["message"]


async def test_a_cancelled_response_says_so(url: str, relay: Relay, http: aiohttp.ClientSession) -> None:
    producer = await Producer(relay.log).open()
    await producer.add(chunk(1))
    async with http.get(url + EVENTS) as events:
        await read_until(events, b"\n\n")
        async with http.post(f"{url}{CHAT}/r1/cancel", data=b"{}") as response:
            assert response.status == 200
            assert (await response.json())["metadata"]["state"] == "cancelled"
            assert response.headers[STATE] == "cancelled"
        last = await events.read()
    assert json.loads(last.removeprefix(b"data: "))["type"] == "response_cancelled"


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "keys"
    file.write_text("the-key-of-one-caller\nthe-key-of-another\n")
    file.chmod(0o600)
    return file


def owner(key: str) -> str:
    """Return whom the gateway's responses for a key belong to."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return owner_of([("x-mistralwire-caller", digest)])


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["direct", "asgi"])
async def test_a_token_reads_one_response_of_its_caller(
    relay: Relay,
    http: aiohttp.ClientSession,
    keys: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    is_wrapped: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    config = GatewayConfig(port=0, token_file=keys)
    one, another = ({"authorization": f"Bearer the-key-of-{who}"} for who in ("one-caller", "another"))
    for response_id in ("r1", "r2"):
        producer = await Producer(relay.log, response_id, owner("the-key-of-one-caller")).open()
        await producer.add(chunk(1))
        await producer.finish()
    async with running_gateway(
        HeldUpstream(), config, is_embedded=True, relay=relay, is_wrapped=is_wrapped
    ) as url:
        for path in ("", "/events"):
            for headers, status in ((one, 200), (another, 404), ({}, 401)):
                async with http.get(f"{url}{CHAT}/r1{path}", headers=headers) as response:
                    assert response.status == status
        async with http.post(f"{url}{CHAT}/r1/token", headers=another) as response:
            assert response.status == 404
        async with http.post(f"{url}{CHAT}/r1/token", headers=one) as response:
            made = await response.json()
        query = {"token": made["token"]}
        async with http.get(f"{url}{CHAT}/r1/events/", params=query) as response:
            assert await response.read() == b"id: r1.0\n" + event(1) + DONE
        async with http.get(f"{url}{CHAT}/r1", params=query) as response:
            assert response.status == 200
        for path in ("/r2", "/r2/events", ""):
            async with http.get(f"{url}{CHAT}{path}", params=query) as response:
                assert response.status == 401
                expected = "read_token_invalid" if path else "token_missing"
                assert flat_error(await response.json())["type"] == expected
        for path in ("cancel", "token"):
            async with http.post(f"{url}{CHAT}/r1/{path}", params=query) as response:
                assert response.status == 401
        async with http.delete(f"{url}{CHAT}/r1", params=query) as response:
            assert response.status == 401
        await asyncio.to_thread(keys.write_text, "the-key-of-another\n")
        async with asyncio.timeout(30):
            while True:
                async with http.get(f"{url}{CHAT}/r1/events", params=query) as response:
                    if response.status == 401:
                        break
    assert made["token"] not in caplog.text
    assert made["token"] not in repr([vars(record) for record in caplog.records])


async def test_a_token_that_expires_ends_no_stream_and_begins_no_other(
    relay: Relay, http: aiohttp.ClientSession, keys: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await Producer(relay.log, "r1", owner("the-key-of-one-caller")).open()
    await producer.add(chunk(1))
    config = GatewayConfig(port=0, token_file=keys)
    key = {"authorization": "Bearer the-key-of-one-caller"}
    async with running_gateway(HeldUpstream(), config, is_embedded=True, relay=relay) as url:
        async with http.post(f"{url}{CHAT}/r1/token", headers=key) as response:
            made = await response.json()
        query = {"token": made["token"]}
        async with http.get(url + EVENTS, params=query) as response:
            seen = await read_until(response, b"\n\n")
            monkeypatch.setattr(time, "time", lambda: float(made["expires_at"]))
            await producer.add(chunk(2))
            for path in ("/r1", "/r1/events"):
                async with http.get(f"{url}{CHAT}{path}", params=query) as refused:
                    assert refused.status == 401
                    error = flat_error(await refused.json())
                assert error["type"] == "read_token_invalid"
                assert "expired" in error["message"]
            await producer.finish()
            seen += await response.read()
        assert seen == b"id: r1.0\n" + event(1) + event(2) + DONE
        async with http.post(f"{url}{CHAT}/r1/token", headers=key) as response:
            query = {"token": (await response.json())["token"]}
        async with http.get(f"{url}{CHAT}/r1", params=query) as response:
            assert response.status == 200


async def test_a_server_that_logs_queries_sees_no_token(relay: Relay) -> None:
    await ended(relay)
    seen = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.append((message["status"], scope["query_string"]))

    requests: list[Any] = []

    async def receive() -> Any:
        return requests.pop() if requests else await asyncio.Event().wait()

    async with Client.on(LocalChannel(HeldUpstream(), relay=relay)) as client:
        app = create_app(client)
        for path, query in (
            (f"{CHAT}/r1", b"token=x"),
            (f"{CHAT}/r1", b"a=1&token=x&starting_after=1"),
            (f"{CHAT}/r1", b"token=x&a=%3D"),
            (f"{CHAT}/r1", b"t%6fken=x"),
            (f"{CHAT}/r1", b"atoken=1"),
            (CHAT, b"limit=1&token=x"),
            ("/v1/stream/responses/r1", b"token=x&offset=-1"),
        ):
            requests.append({"type": "http.request"})
            scope: dict[str, Any] = {
                "type": "http",
                "method": "GET",
                "path": path,
                "raw_path": path.encode(),
                "query_string": query,
                "headers": [(b"host", b"localhost")],
            }
            await app(scope, receive, send)
    refused = [(401, b""), (401, b"a=1&starting_after=1"), (401, b"a=%3D"), (401, b"")]
    assert seen == [*refused, (200, b"atoken=1"), (200, b"limit=1"), (200, b"offset=-1")]


async def test_pages_of_listed_origins_may_follow_and_see_the_headers(
    relay: Relay, http: aiohttp.ClientSession
) -> None:
    await ended(relay)
    origin = "https://app.example"
    async with running_gateway(
        HeldUpstream(), GatewayConfig(port=0, cors_origins=origin), is_embedded=True, relay=relay
    ) as url:
        async with http.get(url + EVENTS, headers={"origin": origin}) as response:
            assert response.headers["access-control-allow-origin"] == origin
            exposed = response.headers["access-control-expose-headers"]
            assert {"x-mistralwire-response-id", STATE, SEQUENCE} <= {*exposed.split(", ")}
        async with http.get(url + EVENTS, headers={"origin": "https://other.example"}) as response:
            assert response.status == 403
        preflight = {
            "origin": origin,
            "access-control-request-method": "DELETE",
            "access-control-request-headers": "last-event-id,idempotency-key",
        }
        async with http.options(f"{url}{CHAT}/r1", headers=preflight) as response:
            assert response.status == 200
            assert "DELETE" in response.headers["access-control-allow-methods"]
            assert "last-event-id" in response.headers["access-control-allow-headers"]
        preflight["access-control-request-method"] = "HEAD"
        async with http.options(f"{url}{CHAT}/r1", headers=preflight) as response:
            assert response.status == 200


async def test_a_gateway_that_stops_ends_streams_between_events(
    relay: Relay, http: aiohttp.ClientSession
) -> None:
    producer = await Producer(relay.log).open()
    await producer.add(chunk(1))
    config = GatewayConfig(port=0)
    async with Client.on(LocalChannel(HeldUpstream(), relay=relay)) as client:
        async with (
            GatewayServer(create_app(client, config), config) as first,
            http.get(first.url + EVENTS) as response,
        ):
            seen = await read_until(response, b"\n\n")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(first.stop())
                seen += await response.read()
        assert seen == b"id: r1.0\n" + event(1)
        await producer.add(chunk(2))
        await producer.finish()
        async with (
            GatewayServer(create_app(client, config), config) as second,
            http.get(second.url + EVENTS, headers={"last-event-id": "r1.1"}) as response,
        ):
            assert await response.read() == b"id: r1.1\n" + event(2) + DONE


async def test_comments_keep_a_silent_stream_open_and_its_time_ends_it(
    relay: Relay, http: aiohttp.ClientSession
) -> None:
    producer = await Producer(relay.log).open()
    await producer.add(chunk(1))
    config = GatewayConfig(port=0, heartbeat_s=0.05, deadline_s=0.5)
    async with (
        running_gateway(HeldUpstream(), config, is_embedded=True, relay=relay) as url,
        http.get(url + EVENTS) as response,
    ):
        body = await response.read()
    start = b"id: r1.0\n" + event(1)
    assert body.startswith(start)
    comments = body.removeprefix(start)
    assert comments.count(b": keep-alive\n") > 1
    assert comments.replace(b": keep-alive\n", b"") == b""


async def test_a_service_that_restarts_goes_unnoticed(relay: Relay, http: aiohttp.ClientSession) -> None:
    producer = await Producer(relay.log).open()
    await producer.add(chunk(1))
    config = GatewayConfig(port=0)
    async with contextlib.AsyncExitStack() as stack:
        async with create_server(HeldUpstream(), ServerConfig(port=0, drain_s=0), relay=relay) as first:
            port = int(first.address.rpartition(":")[2])
            client = await stack.enter_async_context(Client(first.address))
            gateway = await stack.enter_async_context(GatewayServer(create_app(client, config), config))
            response = await stack.enter_async_context(http.get(gateway.url + EVENTS))
            seen = await read_until(response, b"\n\n")
        await producer.add(chunk(2))
        async with create_server(HeldUpstream(), ServerConfig(port=port), relay=relay):
            await producer.finish()
            seen += await response.read()
    assert seen == b"id: r1.0\n" + event(1) + event(2) + DONE


async def test_an_error_of_following_is_an_event_of_a_stream_that_breaks_off(
    embedded: str, relay: Relay, http: aiohttp.ClientSession
) -> None:
    producer = await Producer(relay.log).open()
    await producer.add(chunk(1))
    async with http.get(embedded + EVENTS) as response:
        seen = await read_until(response, b"\n\n")
        await relay.log.delete("/r1")
        seen += await broken_body(response)
    start = b"id: r1.0\n" + event(1) + b"data: "
    assert seen.startswith(start)
    assert json.loads(seen.removeprefix(start))["type"] == "response_not_found"


@pytest.mark.parametrize("kind", ["network", "embedded"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", ""), ("GET", "/r1"), ("DELETE", "/r1"), ("GET", "/r1/events")),
        *(("POST", "/r1/cancel"), ("POST", "/r1/token")),
    ],
)
async def test_without_a_log_the_answer_says_what_is_missing(
    http: aiohttp.ClientSession, kind: str, method: str, path: str
) -> None:
    async with (
        running_gateway(HeldUpstream(), is_embedded=kind == "embedded") as url,
        http.request(method, f"{url}{CHAT}{path}") as response,
    ):
        assert response.status == 404
        error = flat_error(await response.json())
        assert error["type"] == "no_response_log"
        assert "--data or --log" in error["message"]


class CountingClient:
    """A client whose response has large events without end, which counts those that were taken."""

    contract_revision = 1

    def __init__(self) -> None:
        self.taken = 0

    async def subscribe_batches(self, _: str, *, after: int, **__: Any) -> AsyncIterator[Any]:
        data = ResponseEvents(chunks=[chunk(1, "x" * 100_000)]).SerializeToString()
        while True:
            after += 1
            self.taken += 1
            yield EventBatch(after, after, data, None)
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["direct", "asgi"])
async def test_a_caller_who_reads_nothing_takes_no_memory(is_wrapped: bool) -> None:
    client: Any = CountingClient()
    config = GatewayConfig(port=0)
    app: Any = create_app(client, config)

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    async with GatewayServer(wrapped if is_wrapped else app, config) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
        writer.write(b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n" % EVENTS.encode())
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        async with asyncio.timeout(30):
            # The buffers of the sockets are filled first.
            while before != client.taken:
                before = client.taken
                await asyncio.sleep(0.3)
        assert 100_000 * client.taken < 12 * 1024 * 1024
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
