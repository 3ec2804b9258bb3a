"""Completions whose responses are stored: ids of events, headers, and joins, over real sockets."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from mistralwire.codec import to_json
from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig
from mistralwire.log import MemoryLog
from mistralwire.service import Relay, RelayConfig
from mistralwire.upstream import MistralUpstream
from mistralwire.v1 import AssistantMessage, ChatCompletionChoice, ChatCompletionResponse
from tests.error_bodies import broken_body, flat_error
from tests.gateway_stack import running_gateway
from tests.service.upstreams import HeldUpstream, chunk
from tests.upstream_server import UpstreamServer, sse_answer

CHAT = "/v1/chat/completions"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
STREAM_QUESTION = {**QUESTION, "stream": True}
DONE = b"data: [DONE]\n\n"
RESPONSE_ID = "x-mistralwire-response-id"


@pytest.fixture(params=["network", "embedded", "asgi"])
async def stack(request: pytest.FixtureRequest, relay: Relay) -> AsyncIterator[tuple[str, HeldUpstream]]:
    is_embedded, is_wrapped = request.param != "network", request.param == "asgi"
    upstream = HeldUpstream()
    async with running_gateway(upstream, relay=relay, is_embedded=is_embedded, is_wrapped=is_wrapped) as url:
        yield url, upstream


@pytest.fixture
async def embedded(relay: Relay) -> AsyncIterator[tuple[str, HeldUpstream]]:
    upstream = HeldUpstream()
    async with running_gateway(upstream, relay=relay, is_embedded=True) as url:
        yield url, upstream


def events(response_id: str, *numbers: int) -> bytes:
    each = [
        b"id: %b.%d\ndata: %b\n\n" % (response_id.encode(), at, to_json(chunk(number)))
        for at, number in enumerate(numbers, 1)
    ]
    return b"".join(each)


async def test_events_of_a_stored_stream_have_ids_to_resume_from(
    stack: tuple[str, HeldUpstream], http: aiohttp.ClientSession
) -> None:
    url, upstream = stack
    for item in (chunk(1), chunk(2), None):
        upstream.items.put_nowait(item)
    async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
        response_id = response.headers[RESPONSE_ID]
        assert response_id.startswith("resp_")
        assert await response.read() == events(response_id, 1, 2) + DONE
    async with http.get(f"{url}{CHAT}/{response_id}/events") as response:
        assert (
            await response.read() == b"id: %b.0\n" % response_id.encode() + events(response_id, 1, 2) + DONE
        )


async def test_what_comes_over_http_is_stored_and_forwarded_alike(
    relay: Relay, http: aiohttp.ClientSession
) -> None:
    chunks = b"".join(b"data: %b\n\n" % to_json(chunk(number)) for number in range(20))
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(UpstreamServer(sse_answer(chunks + DONE)))
        upstream = await stack.enter_async_context(MistralUpstream(server.url))
        url = await stack.enter_async_context(running_gateway(upstream, relay=relay, is_embedded=True))
        async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
            response_id = response.headers[RESPONSE_ID]
            assert await response.read() == events(response_id, *range(20)) + DONE


async def test_a_unary_answer_is_stored_and_has_its_id(
    stack: tuple[str, HeldUpstream], http: aiohttp.ClientSession
) -> None:
    url, upstream = stack
    message = AssistantMessage(role="assistant", content_string="hello")
    choices = [ChatCompletionChoice(index=0, message=message)]
    upstream.items.put_nowait(ChatCompletionResponse(id="a", choices=choices))
    headers = {RESPONSE_ID: "mine", "idempotency-key": "k 1"}
    async with http.post(url + CHAT, json=QUESTION, headers=headers) as response:
        assert response.headers[RESPONSE_ID] == "mine"
        body = await response.read()
    async with http.get(f"{url}{CHAT}/mine") as response:
        assert await response.read() == body
    async with http.post(url + CHAT, json=QUESTION, headers={"idempotency-key": "k 1"}) as response:
        assert response.headers[RESPONSE_ID] == "mine"
        assert await response.read() == body
    assert len(upstream.requests) == 1


async def test_the_same_request_with_the_same_key_joins_the_stream(
    embedded: tuple[str, HeldUpstream], http: aiohttp.ClientSession
) -> None:
    url, upstream = embedded
    headers = {"idempotency-key": "k", "x-mistralwire-on-disconnect": "finish"}
    upstream.items.put_nowait(chunk(1))
    async with http.post(url + CHAT, json=STREAM_QUESTION, headers=headers) as first:
        response_id = first.headers[RESPONSE_ID]
        await first.content.readuntil(b"\n\n")
    async with http.post(url + CHAT, json=STREAM_QUESTION, headers=headers) as second:
        assert second.headers[RESPONSE_ID] == response_id
        upstream.items.put_nowait(chunk(2))
        upstream.items.put_nowait(None)
        assert await second.read() == events(response_id, 1, 2) + DONE
    async with http.post(url + CHAT, json={**STREAM_QUESTION, "n": 2}, headers=headers) as other:
        assert other.status == 422
        assert flat_error(await other.json())["type"] == "idempotency_key_reused"
    async with http.post(url + CHAT, json=STREAM_QUESTION, headers={RESPONSE_ID: response_id}) as other:
        assert other.status == 409
        assert flat_error(await other.json())["type"] == "response_exists"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (RESPONSE_ID, "a.b"),
        (RESPONSE_ID, "x" * 129),
        ("idempotency-key", "x" * 256),
        ("idempotency-key", "\xfc"),
        ("x-mistralwire-on-disconnect", "keep"),
        ("x-mistralwire-on-disconnect", "keep 86401"),
        ("x-mistralwire-on-disconnect", ""),
    ],
)
@pytest.mark.parametrize("kind", ["network", "embedded"])
async def test_headers_that_mean_nothing_are_refused(
    relay: Relay, http: aiohttp.ClientSession, name: str, value: str, kind: str
) -> None:
    upstream = HeldUpstream()
    async with (
        running_gateway(upstream, relay=relay, is_embedded=kind == "embedded") as url,
        http.post(url + CHAT, json=STREAM_QUESTION, headers={name: value}) as response,
    ):
        assert response.status == 400
        assert name in flat_error(await response.json())["message"]
    assert not upstream.requests


async def test_space_around_a_value_does_not_count(
    stack: tuple[str, HeldUpstream], http: aiohttp.ClientSession
) -> None:
    url, upstream = stack
    for item in (chunk(1), None):
        upstream.items.put_nowait(item)
    headers = {RESPONSE_ID: " mine ", "idempotency-key": "k \t", "x-mistralwire-on-disconnect": "keep 5 "}
    async with http.post(url + CHAT, json=STREAM_QUESTION, headers=headers) as response:
        assert response.headers[RESPONSE_ID] == "mine"
        assert await response.read() == events("mine", 1) + DONE
    async with http.get(f"{url}{CHAT}/mine/events", headers={"last-event-id": "mine.0 "}) as response:
        assert await response.read() == b"id: mine.0\n" + events("mine", 1) + DONE


@pytest.mark.parametrize("question", [QUESTION, STREAM_QUESTION], ids=["unary", "stream"])
async def test_an_error_has_the_id_of_the_response(
    stack: tuple[str, HeldUpstream], http: aiohttp.ClientSession, question: dict[str, Any]
) -> None:
    url, upstream = stack
    upstream.items.put_nowait(UpstreamError("no room", code="RESOURCE_EXHAUSTED"))
    async with http.post(url + CHAT, json=question) as response:
        assert response.status == 429
        response_id = response.headers[RESPONSE_ID]
    async with http.get(f"{url}{CHAT}/{response_id}") as response:
        assert response.headers["x-mistralwire-response-state"] == "failed"
    async with http.post(url + CHAT, json=question, headers={RESPONSE_ID: "a.b"}) as response:
        assert response.status == 400
        assert RESPONSE_ID not in response.headers


async def test_a_stored_stream_that_breaks_has_its_failure_for_all(
    embedded: tuple[str, HeldUpstream], http: aiohttp.ClientSession
) -> None:
    url, upstream = embedded
    upstream.items.put_nowait(chunk(1))
    upstream.items.put_nowait(ValueError("a bug"))
    async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
        response_id = response.headers[RESPONSE_ID]
        body = await broken_body(response)
    async with http.get(f"{url}{CHAT}/{response_id}/events") as response:
        assert await response.read() == b"id: %b.0\n%b" % (response_id.encode(), body)


async def test_responses_belong_to_the_key_of_their_caller(
    relay: Relay, http: aiohttp.ClientSession, tmp_path: pathlib.Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("the-key-of-one-caller\nthe-key-of-another\n")
    keys.chmod(0o600)
    one, another = ({"authorization": f"Bearer the-key-of-{who}"} for who in ("one-caller", "another"))
    upstream = HeldUpstream()
    config = GatewayConfig(port=0, token_file=keys)
    async with running_gateway(upstream, config, relay=relay) as url:
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(None)
        async with http.post(url + CHAT, json=STREAM_QUESTION, headers=one) as response:
            await response.read()
            response_id = response.headers[RESPONSE_ID]

        async def status(method: str, path: str, headers: Any) -> int:
            async with http.request(method, f"{url}{CHAT}{path}", headers=headers) as response:
                return response.status

        for method, path in (
            *(("GET", f"/{response_id}"), ("GET", f"/{response_id}/events"), ("GET", "/1")),
            *(("POST", f"/{response_id}/token"), ("POST", f"/{response_id}/cancel")),
            ("DELETE", f"/{response_id}"),
        ):
            assert await status(method, path, another) == 404
            assert await status(method, path, one) == 200
        for headers, count in ((one, 0), (another, 0)):
            async with http.get(url + CHAT, headers=headers) as response:
                assert len((await response.json())["data"]) == count


async def test_a_caller_who_hangs_up_is_followed_elsewhere(
    embedded: tuple[str, HeldUpstream], http: aiohttp.ClientSession
) -> None:
    url, upstream = embedded
    headers = {"x-mistralwire-on-disconnect": "keep 30", RESPONSE_ID: "kept"}
    upstream.items.put_nowait(chunk(1))
    response = await http.post(url + CHAT, json=STREAM_QUESTION, headers=headers)
    await response.content.readuntil(b"\n\n")
    response.close()
    async with http.get(f"{url}{CHAT}/kept/events", headers={"last-event-id": "kept.1"}) as follower:
        upstream.items.put_nowait(chunk(2))
        upstream.items.put_nowait(None)
        rest = events("kept", 1, 2).removeprefix(events("kept", 1))
        assert await follower.read() == b"id: kept.1\n" + rest + DONE
    async with asyncio.timeout(10):
        await upstream.closed.wait()


async def test_a_gateway_that_stops_is_why_the_responses_of_its_service_failed(
    relay: Relay, http: aiohttp.ClientSession
) -> None:
    upstream = HeldUpstream()
    async with running_gateway(upstream, relay=relay, is_embedded=True) as url:
        upstream.items.put_nowait(chunk(1))
        response = await http.post(url + CHAT, json=STREAM_QUESTION, headers={RESPONSE_ID: "r"})
        first = await response.content.readuntil(b"\n\n")
        reading = asyncio.create_task(broken_body(response))
    body = first + await reading
    response.close()
    assert b"server_stopping" in body
    async with (
        running_gateway(HeldUpstream(), relay=relay, is_embedded=True) as url,
        http.get(f"{url}{CHAT}/r/events") as follower,
    ):
        assert await follower.read() == b"id: r.0\n" + body
    assert upstream.closed.is_set()


@pytest.mark.parametrize("is_embedded", [False, True], ids=["network", "embedded"])
async def test_a_completion_beyond_the_stored_bytes_of_its_caller_is_answered_and_not_stored(
    is_embedded: bool, http: aiohttp.ClientSession
) -> None:
    upstream = HeldUpstream()
    async with (
        Relay(MemoryLog(), RelayConfig(log="memory", caller_bytes_max=1)) as relay,
        running_gateway(upstream, relay=relay, is_embedded=is_embedded) as url,
    ):
        for item in (chunk(1), None):
            upstream.items.put_nowait(item)
        async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
            assert await response.read() == events(response.headers[RESPONSE_ID], 1) + DONE
        for item in (chunk(1), None):
            upstream.items.put_nowait(item)
        async with http.post(url + CHAT, json=STREAM_QUESTION) as response:
            assert (response.status, RESPONSE_ID in response.headers) == (200, False)
            assert (await response.read()).endswith(b"data: %b\n\n" % to_json(chunk(1)) + DONE)
        async with http.post(url + CHAT, json=STREAM_QUESTION, headers={"idempotency-key": "k"}) as response:
            assert response.status == 429
            assert "1 bytes, the limit" in await response.text()
    assert relay.counts.not_stored == 1
