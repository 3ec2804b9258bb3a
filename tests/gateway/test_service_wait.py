"""Live reads that begin while the service can't be reached."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest

from mistralwire.client import Client, EventBatch
from mistralwire.errors import CallError
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.gateway._exchanges import _service_wait
from mistralwire.gateway._state import GatewayState
from mistralwire.service import Relay, ServerConfig, create_server
from mistralwire.v1 import GetResponseResponse, ResponseEnd, ResponseEvents, ResponseInfo, ResponseState
from tests.error_bodies import broken_body, flat_error
from tests.gateway.clients import until
from tests.gateway.producer import Producer
from tests.gateway.streams.test_exchange import START
from tests.gateway.test_responses import DONE, EVENTS, event
from tests.service.upstreams import HeldUpstream, chunk

WAIT_S = 30
STREAM = "/v1/stream/responses/r1"
FIRST_EVENTS = f"{STREAM}?offset=-1&live=sse"
HEARTBEAT = b": keep-alive\n"


class Running(NamedTuple):
    url: str
    server: GatewayServer
    state: GatewayState


@contextlib.asynccontextmanager
async def gateway_for(port: int, **settings: Any) -> AsyncIterator[Running]:
    """Serve a gateway whose service has a port of this machine."""
    config = GatewayConfig(port=0, **{"heartbeat_s": 0.05, **settings})
    async with Client(f"127.0.0.1:{port}", attempts_max=1) as client:
        app = create_app(client, config)
        assert app.direct_state is not None
        async with GatewayServer(app, config) as server:
            yield Running(server.url, server, app.direct_state)


def service_on(port: int, relay: Relay) -> Any:
    return create_server(HeldUpstream(), ServerConfig(port=port, drain_s=0), relay=relay)


async def free_port(relay: Relay) -> int:
    """Return the port of a service that was there until now."""
    async with service_on(0, relay) as service:
        return int(service.address.rpartition(":")[2])


async def heartbeat_of(response: aiohttp.ClientResponse) -> bytes:
    """Read up to the first heartbeat."""
    return await response.content.readuntil(HEARTBEAT)


@pytest.mark.parametrize(
    ("path", "position", "start"),
    [
        ("r1", "", b"id: r1.0\n"),
        ("r1", "r1.2", b"id: r1.2\n"),
        ("1", "", b"id: 1.0\n"),
        ("1", "1.1", b"id: 1.1\n"),
    ],
    ids=["start", "middle", "upstreams-id", "middle-by-upstreams-id"],
)
async def test_a_new_follower_waits_for_a_service_that_is_away(
    relay: Relay, http: aiohttp.ClientSession, path: str, position: str, start: bytes
) -> None:
    port = await free_port(relay)
    producer = await Producer(relay.log).open()
    await producer.add(*map(chunk, (1, 2, 3)))
    await producer.finish()
    async with (
        gateway_for(port) as gateway,
        http.get(gateway.url + EVENTS.replace("r1", path), headers={"last-event-id": position}) as response,
    ):
        assert response.status == 200
        seen = await heartbeat_of(response)
        async with service_on(port, relay):
            seen += await response.read()
    first = int(position.rpartition(".")[2] or 0) + 1
    assert seen.replace(HEARTBEAT, b"") == start + b"".join(map(event, range(first, 4))) + DONE


async def test_what_the_service_says_after_a_wait_ends_the_stream(
    relay: Relay, http: aiohttp.ClientSession
) -> None:
    port = await free_port(relay)
    async with (
        gateway_for(port) as gateway,
        http.get(gateway.url + EVENTS) as response,
        http.get(gateway.url + FIRST_EVENTS) as stream,
    ):
        await heartbeat_of(response)
        await heartbeat_of(stream)
        async with service_on(port, relay):
            _, _, error = (await broken_body(response)).rpartition(b"data: ")
            assert (await broken_body(stream)).replace(HEARTBEAT, b"") == b""
            # An EventSource comes back to this.
            for path in (EVENTS, FIRST_EVENTS):
                async with http.get(gateway.url + path) as answer:
                    assert answer.status == 404
    assert json.loads(error)["type"] == "response_not_found"


async def test_a_wait_that_is_over_is_an_error_of_a_stream_that_breaks_off(
    http: aiohttp.ClientSession, closed_port: int
) -> None:
    async with gateway_for(closed_port, deadline_s=1) as gateway:
        async with http.get(gateway.url + EVENTS) as response:
            assert response.status == 200
            comments, _, error = (await broken_body(response)).rpartition(b"data: ")
        assert comments.replace(HEARTBEAT, b"") == b"id: r1.0\n"
        assert json.loads(error)["type"] == "unavailable"
        async with http.get(gateway.url + FIRST_EVENTS) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            assert (await broken_body(response)).replace(HEARTBEAT, b"") == b""


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions/r1", "/v1/chat/completions", STREAM, f"{STREAM}?offset=-1&live=long-poll"]
)
async def test_other_requests_have_the_error_as_their_answer(
    http: aiohttp.ClientSession, closed_port: int, path: str
) -> None:
    async with gateway_for(closed_port) as gateway, http.get(gateway.url + path) as response:
        assert response.status == 503
        assert flat_error(await response.json())["type"] == "unavailable"


@pytest.mark.parametrize("path", [EVENTS, FIRST_EVENTS])
async def test_a_gateway_that_stops_ends_the_wait_without_an_error(
    http: aiohttp.ClientSession, closed_port: int, path: str
) -> None:
    async with gateway_for(closed_port) as gateway, http.get(gateway.url + path) as response:
        await heartbeat_of(response)
        await gateway.server.stop()
        assert (await response.read()).replace(HEARTBEAT, b"") == b""


@pytest.mark.parametrize("path", [EVENTS, FIRST_EVENTS])
async def test_a_gateway_that_stops_at_once_does_not_turn_a_follower_away(
    http: aiohttp.ClientSession, closed_port: int, path: str
) -> None:
    # Before any status is sent, since no heartbeat is due.
    async with gateway_for(closed_port, heartbeat_s=WAIT_S) as gateway:
        async with asyncio.TaskGroup() as tasks:
            answer = tasks.create_task(http.get(gateway.url + path))
            await until(lambda: gateway.state.running == 1)
            await gateway.server.stop()
        async with answer.result() as response:
            assert response.status == 200
            await response.read()


@pytest.mark.parametrize("path", [EVENTS, FIRST_EVENTS])
async def test_whoever_waits_counts_until_they_leave(
    http: aiohttp.ClientSession, closed_port: int, path: str
) -> None:
    async with gateway_for(closed_port, requests_max=1) as gateway:
        async with http.get(gateway.url + path) as response:
            await heartbeat_of(response)
            async with http.get(gateway.url + path) as refused:
                assert refused.status == 429
            response.close()
        await until(lambda: gateway.state.running == 0)
        await until(lambda: not {"EventsExchange._follow", "StreamExchange._serve"} & running_coroutines())


def running_coroutines() -> set[str]:
    return {str(getattr(task.get_coro(), "__qualname__", "")) for task in asyncio.all_tasks()}


class BrokenClient:
    """A client whose first subscription breaks off behind an event."""

    contract_revision = 1

    def __init__(self, error: CallError) -> None:
        self._error: CallError | None = error
        self.positions: list[int] = []

    async def subscribe_batches(self, _: str, *, after: int, **__: Any) -> AsyncIterator[Any]:
        self.positions.append(after)
        data = ResponseEvents(chunks=[chunk(after + 1)]).SerializeToString()
        end = ResponseEnd(state=ResponseState.RESPONSE_STATE_FINISHED) if after else None
        yield EventBatch(after + 1, after + 1, data, end)
        if self._error:
            raise self._error


@pytest.mark.parametrize("reason", ["UNAVAILABLE", "LOG_UNAVAILABLE", "SERVER_STOPPING"])
async def test_no_event_comes_twice_if_the_service_is_lost_again(
    http: aiohttp.ClientSession, reason: str
) -> None:
    client: Any = BrokenClient(CallError("x", code="UNAVAILABLE", reason=reason, request_id="1"))
    config = GatewayConfig(port=0)
    async with (
        GatewayServer(create_app(client, config), config) as gateway,
        http.get(gateway.url + EVENTS) as response,
    ):
        assert await response.read() == b"id: r1.0\n" + event(1) + event(2) + DONE
    assert client.positions == [0, 1]


async def test_a_subscription_that_has_waited_itself_is_not_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_service_wait, "RECONNECT_S", 2.7)
    monkeypatch.setattr(_service_wait, "_DELAY_S_MAX", 2.0)
    asked = 0

    async def ask(_: Any) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.7)
        raise CallError("x", code="UNAVAILABLE", reason="LOG_UNAVAILABLE", request_id="1")

    with pytest.raises(CallError):
        await _service_wait.when_reachable(ask, {"deadline_s": WAIT_S})
    assert asked == 1


class TruncatedClient:
    """A client whose response has ended before any position, and which says so after a while."""

    contract_revision = 1

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def subscribe_batches(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise CallError("x", code="DATA_LOSS", reason="RESPONSE_TRUNCATED", request_id="1")
        yield

    async def get_response(self, *_: Any, **__: Any) -> GetResponseResponse:
        await self.may_answer.wait()
        state = ResponseState.RESPONSE_STATE_FINISHED
        return GetResponseResponse(info=ResponseInfo(response_id="r1", state=state))


async def test_an_end_that_is_found_after_the_status_was_sent_is_one_of_the_stream(
    http: aiohttp.ClientSession,
) -> None:
    client: Any = TruncatedClient()
    config = GatewayConfig(port=0, heartbeat_s=0.05)
    async with (
        GatewayServer(create_app(client, config), config) as gateway,
        http.get(gateway.url + EVENTS, params={"starting_after": "1"}) as response,
    ):
        assert response.status == 200
        seen = await heartbeat_of(response)
        client.may_answer.set()
        seen += await response.read()
    assert seen.replace(HEARTBEAT, b"") == b"id: r1.1\n"


async def test_a_stream_of_a_response_outlasts_a_service_that_restarts(
    relay: Relay, http: aiohttp.ClientSession
) -> None:
    port = await free_port(relay)
    producer = await Producer(relay.log).open()
    await producer.add(chunk(1))
    async with gateway_for(port) as gateway, contextlib.AsyncExitStack() as stack:
        async with service_on(port, relay):
            response = await stack.enter_async_context(http.get(gateway.url + FIRST_EVENTS))
            await response.content.readuntil(b'"upToDate":true}\n\n')
            await heartbeat_of(response)
        # It was stopped: its reader is told that the stream is alive.
        for _ in range(3):
            await heartbeat_of(response)
        async with service_on(port, relay):
            await producer.add(chunk(2))
            await producer.finish()
            rest = (await response.read()).replace(HEARTBEAT, b"")
    assert rest.startswith(b'event: data\ndata:[{"id":"2"')
    assert b'"streamNextOffset":"%b2","streamClosed":true' % START[:-1].encode() in rest
