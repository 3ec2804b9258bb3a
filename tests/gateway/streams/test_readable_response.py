"""The responses of a service as durable streams, through a gateway that has no log of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import orjson

from mistralwire.client import Client
from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.v1 import ChatCompletionResponse
from tests.client.relays import relaying
from tests.gateway.streams.test_exchange import START, error_of, events_of
from tests.gateway_stack import running_gateway
from tests.service.upstreams import HeldUpstream, chunk

WAIT_S = 30


@contextlib.asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Client, str]]:
    """Yield a client of a service with a log, and the URL of the responses at a gateway before it."""
    config = GatewayConfig(port=0)
    async with (
        relaying() as service,
        Client(service.address) as client,
        GatewayServer(create_app(client, config), config) as server,
    ):
        yield client, f"{server.url}/v1/stream/responses"


async def test_a_finished_response_is_read_from_any_event_on(http: aiohttp.ClientSession) -> None:
    async with relayed() as (client, url):
        async with client.publish("r") as publisher:
            for number in (1, 2, 3):
                await publisher.send(chunk(number))
        async with http.get(f"{url}/r") as response:
            assert response.headers["content-type"] == "application/json"
            assert response.headers["stream-closed"] == "true"
            messages = await response.json()
            assert [each["id"] for each in messages] == ["1", "2", "3"]
            end = response.headers["stream-next-offset"]
            assert end == START[:-1] + "3"
        async with http.get(f"{url}/r?offset={START[:-1]}2") as response:
            assert await response.json() == messages[2:]
        async with http.get(f"{url}/r?offset={end}&live=long-poll") as response:
            assert (response.status, response.headers["stream-closed"]) == (204, "true")
        async with http.get(f"{url}/r?offset=-1&live=sse") as response:
            data, control = await events_of(response)
            assert orjson.loads(data.removeprefix(b"event: data\ndata:")) == messages
            assert b'"streamClosed":true' in control
        async with http.head(f"{url}/r") as response:
            assert response.headers["stream-next-offset"] == end


async def test_a_failure_is_the_last_message(http: aiohttp.ClientSession) -> None:
    async with relayed() as (client, url):
        with contextlib.suppress(UpstreamError):
            async with client.publish("r") as publisher:
                await publisher.send(chunk(1))
                await publisher.flush()
                async with http.get(f"{url}/r?offset=-1&live=sse") as events:
                    await asyncio.wait_for(events.content.readuntil(b'"upToDate":true}\n\n'), WAIT_S)
                    polling = asyncio.create_task(
                        http.get(f"{url}/r?offset={START[:-1]}1&live=long-poll").__aenter__()
                    )
                    await asyncio.sleep(0.05)
                    await publisher.fail(UpstreamError("no more", status=429))
                    data, control = await events_of(events)
                    assert b'"message":"no more"' in data
                    assert b'"streamClosed":true' in control
                    polled = await asyncio.wait_for(polling, WAIT_S)
                    [failure] = await polled.json()
                    assert failure["message"] == "no more"
        async with http.get(f"{url}/r") as response:
            first, last = await response.json()
            assert first["id"] == "1"
            assert last == failure
            assert response.headers["stream-next-offset"] == START[:-1] + "2"
        async with http.get(f"{url}/r?offset={START[:-1]}3") as response:
            assert (await error_of(response))[:2] == (400, "response_truncated")


async def test_a_whole_response_is_one_message(http: aiohttp.ClientSession) -> None:
    async with relayed() as (client, url):
        async with client.publish("r") as publisher:
            await publisher.send(ChatCompletionResponse(id="x", model="m"))
        async with http.get(f"{url}/r") as response:
            [message] = await response.json()
            assert (message["id"], message["model"]) == ("x", "m")


async def test_responses_are_only_read(http: aiohttp.ClientSession) -> None:
    async with relayed() as (_, url):
        for method in ("PUT", "POST", "DELETE"):
            async with http.request(method, f"{url}/r") as response:
                assert (await error_of(response))[:2] == (405, "method_not_allowed")
                assert response.headers["allow"] == "GET, HEAD"
        for path in ("/nothing", "", f"/{'x' * 129}"):
            async with http.get(f"{url}{path}") as response:
                assert (await error_of(response))[:2] == (404, "response_not_found")


async def test_a_service_without_a_log_has_none(http: aiohttp.ClientSession) -> None:
    async with (
        running_gateway(HeldUpstream(), is_embedded=True) as url,
        http.get(f"{url}/v1/stream/responses/r") as response,
    ):
        status, kind, message = await error_of(response)
        assert (status, kind) == (404, "no_response_log")
        assert "--data" in message
