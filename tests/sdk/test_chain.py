"""A gateway whose upstream is another gateway: heartbeats, errors and broken streams pass through both."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from mistralwire.gateway import GatewayConfig
from mistralwire.upstream import HttpSettings, MistralUpstream
from tests.gateway_stack import running_gateway
from tests.sdk.both_ways import gateway_to
from tests.sdk.endings import CHAT, STREAM_QUESTION, at_the_edge, documents_of
from tests.upstream_server import CUT, Answer, UpstreamServer, json_answer, sse_answer

pytestmark = pytest.mark.sdk

CHUNK = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}\n\n'
)
DONE = b"data: [DONE]\n\n"


@contextlib.asynccontextmanager
async def chain(
    *answers: Answer, is_wrapped: bool = False, config: GatewayConfig | None = None
) -> AsyncIterator[str]:
    """Run a model API and two gateways, one in front of the other, and yield the URL of the outer one.

    The settings are those of the inner gateway.
    """
    settings = HttpSettings(attempts_max=1, silence_s=1.0)
    async with UpstreamServer(*answers) as server, gateway_to(server, config) as inner_url:
        upstream = MistralUpstream(inner_url, settings=settings)
        try:
            async with running_gateway(upstream, is_wrapped=is_wrapped) as url:
                yield url
        finally:
            await upstream.close()


async def test_heartbeats_of_the_inner_gateway_keep_a_silent_stream_alive() -> None:
    answer = sse_answer(1.5, CHUNK, 1.5, LAST, DONE)
    async with (
        chain(answer, config=GatewayConfig(port=0, heartbeat_s=0.1)) as url,
        aiohttp.ClientSession() as session,
        session.post(url + CHAT, json=STREAM_QUESTION) as response,
    ):
        body = await response.read()
    assert body.endswith(DONE)
    assert documents_of(body.removesuffix(DONE)) == documents_of(CHUNK + LAST)


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["own server", "asgi"])
async def test_the_text_of_an_error_event_comes_through_two_broken_streams(is_wrapped: bool) -> None:
    event = b'data: {"object":"error","message":"no luck","type":"odd","param":null,"code":"7"}\n\n'
    async with chain(sse_answer(CHUNK, event), is_wrapped=is_wrapped) as url:
        ending = await at_the_edge(url, is_stream=True)
    assert (ending.chunks, ending.kind, ending.message) == (documents_of(CHUNK), "odd", "no luck")


async def test_a_cut_behind_two_gateways_is_told_as_one() -> None:
    async with chain(sse_answer(CHUNK, CUT)) as url:
        ending = await at_the_edge(url, is_stream=True)
    assert ending.chunks == documents_of(CHUNK)
    assert ending.kind == "stream_truncated"
    assert ending.message == "expected the stream to end with [DONE], found a connection that broke before"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_error_before_the_first_chunk_keeps_status_and_text(stream: bool) -> None:
    error = b'{"object":"error","message":"no luck","type":"odd","param":null,"code":"7"}'
    async with chain(json_answer(error, 404)) as url:
        ending = await at_the_edge(url, is_stream=stream)
    assert (ending.status, ending.kind, ending.message) == (404, "odd", "no luck")
