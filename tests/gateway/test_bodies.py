"""Slow bodies, and too many bodies: what they take from other callers."""

import asyncio
import contextlib
import json
import tracemalloc

import pytest

from mistralwire.gateway import GatewayConfig
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from mistralwire.v1 import ChatCompletionResponse
from tests.error_bodies import flat_error
from tests.gateway.clients import until
from tests.gateway.test_protocol import Connection, connected, request_of
from tests.gateway_stack import running_gateway
from tests.service.upstreams import HeldUpstream

WAIT_S = 120


async def send_slowly(stack: contextlib.AsyncExitStack, url: str) -> Connection:
    """Send a request without the end of its body."""
    caller = await stack.enter_async_context(connected(url))
    caller.writer.write(request_of()[:-1])
    return caller


@pytest.mark.parametrize("is_wrapped", [False, True])
async def test_slow_bodies_take_no_place_of_other_requests_and_give_way_to_later_ones(
    *, is_wrapped: bool
) -> None:
    config = GatewayConfig(port=0, requests_max=1, arriving_max=20)
    upstream = ReplayUpstream(DEMONSTRATION)
    async with (
        asyncio.timeout(WAIT_S),
        running_gateway(upstream, config, is_wrapped=is_wrapped) as url,
        contextlib.AsyncExitStack() as stack,
    ):
        slow = [await send_slowly(stack, url) for _ in range(30)]
        for caller in slow[:10]:
            status, body = await caller.answer()
            assert (status, flat_error(json.loads(body))["type"]) == (429, "too_many_arriving")
        for _ in range(5):
            async with connected(url) as caller:
                # In two pieces, as many clients send it.
                request = request_of()
                caller.writer.write(request[:-10])
                await asyncio.sleep(0)
                caller.writer.write(request[-10:])
                assert (await caller.answer())[0] == 200
        # The last of them may still send the rest.
        slow[-1].writer.write(request_of()[-1:])
        assert (await slow[-1].answer())[0] == 200


async def test_a_body_that_arrives_when_there_is_no_more_room_is_refused() -> None:
    upstream = HeldUpstream()
    config = GatewayConfig(port=0, requests_max=1)
    async with (
        asyncio.timeout(WAIT_S),
        running_gateway(upstream, config) as url,
        contextlib.AsyncExitStack() as stack,
    ):
        slow = await send_slowly(stack, url)
        running = await stack.enter_async_context(connected(url))
        running.writer.write(request_of())
        await upstream.started.wait()
        slow.writer.write(request_of()[-1:])
        status, body = await slow.answer()
        assert (status, flat_error(json.loads(body))["type"]) == (429, "too_many_requests")
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert (await running.answer())[0] == 200


@pytest.mark.parametrize("is_embedded", [False, True])
async def test_bodies_of_all_requests_are_bounded_in_bytes_until_these_end(*, is_embedded: bool) -> None:
    upstream = HeldUpstream()
    request = request_of()
    size = len(request.partition(b"\r\n\r\n")[2])
    config = GatewayConfig(port=0, bodies_bytes_max=2 * size + size // 2)
    async with (
        asyncio.timeout(WAIT_S),
        running_gateway(upstream, config, is_embedded=is_embedded) as url,
        contextlib.AsyncExitStack() as stack,
    ):
        running = [await stack.enter_async_context(connected(url)) for _ in range(2)]
        for caller in running:
            caller.writer.write(request)
        await until(lambda: len(upstream.requests) == 2)
        async with connected(url) as third:
            third.writer.write(request)
            head = await third.head()
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in head
            body = await third.reader.readexactly(
                int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            )
            assert flat_error(json.loads(body))["type"] == "too_many_bytes"
        for _ in running:
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        for caller in running:
            assert (await caller.answer())[0] == 200
        for _ in range(5):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
            running[0].writer.write(request)
            assert (await running[0].answer())[0] == 200


async def test_bodies_that_are_arriving_count_too_and_no_more_when_their_caller_has_gone() -> None:
    request = request_of()
    size = len(request.partition(b"\r\n\r\n")[2])
    config = GatewayConfig(port=0, bodies_bytes_max=size + size // 2)
    async with (
        asyncio.timeout(WAIT_S),
        running_gateway(ReplayUpstream(DEMONSTRATION), config) as url,
        contextlib.AsyncExitStack() as stack,
    ):
        async with contextlib.AsyncExitStack() as slow_ones:
            await send_slowly(slow_ones, url)
            other = await stack.enter_async_context(connected(url))
            other.writer.write(request)
            assert (await other.answer())[0] == 503

        async def ask() -> int:
            async with connected(url) as caller:
                caller.writer.write(request)
                return (await caller.answer())[0]

        while await ask() != 200:  # noqa: ASYNC110 - the gateway tells nobody
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_body_in_tiny_parts_takes_little_more_than_its_bytes() -> None:
    parts = 50_000
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    request = head.encode() + b"2\r\n[[\r\n" * parts + b"0\r\n\r\n"
    async with (
        asyncio.timeout(WAIT_S),
        running_gateway(ReplayUpstream(DEMONSTRATION)) as url,
        connected(url) as caller,
    ):
        tracemalloc.start()
        try:
            caller.writer.write(request)
            assert (await caller.answer())[0] == 422
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 60 * parts
