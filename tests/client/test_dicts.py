"""Requests as dicts in the API's JSON form."""

import asyncio
from typing import Any

import pytest

from mistralwire import to_dict
from mistralwire.client import Client, SyncClient
from mistralwire.errors import DecodeError
from mistralwire.service import LocalChannel, Server, ServerConfig, create_server
from mistralwire.v1 import ChatCompletionResponse, FIMCompletionResponse
from tests.service.upstreams import HeldUpstream, chunk

MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
# Nulls, an undocumented member, and a number that no float holds.
CHAT = {"model": "m", "messages": MESSAGES, "stop": None, "p": {"seed": 9007199254740993, "q": None}}
AGENTS = {"agent_id": "ag_1", "messages": MESSAGES, "tools": None}
FIM = {"model": "m", "prompt": "def f(", "suffix": None}
WRONG: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": 7}], "temperature": "hot"}
PLACES = ["messages[0].content", "temperature"]


def serving(upstream: HeldUpstream) -> Server:
    return create_server(upstream, ServerConfig(port=0))


@pytest.mark.parametrize(
    ("request_dict", "kind"), [(CHAT, "ChatCompletion"), (AGENTS, "AgentsCompletion"), (FIM, "FIMCompletion")]
)
async def test_a_dict_is_sent_as_it_is(request_dict: dict[str, Any], kind: str) -> None:
    upstream = HeldUpstream()
    response_type = FIMCompletionResponse if kind == "FIMCompletion" else ChatCompletionResponse
    for item in (response_type(id="whole"), chunk(0), None, chunk(1), None):
        upstream.items.put_nowait(item)
    async with asyncio.timeout(30), Client.on(LocalChannel(upstream)) as client:
        response = await client.complete(request_dict)
        chunks = [item.id async for item in client.stream(request_dict)]
        batches = [item.id async for batch in client.stream_batches(request_dict) for item in batch]

    assert (type(response), response.id, chunks, batches) == (response_type, "whole", ["0"], ["1"])
    names = [request.DESCRIPTOR.name for request in upstream.requests]
    assert names == [f"{kind}Request", f"{kind}StreamRequest", f"{kind}StreamRequest"]
    assert [to_dict(request) for request in upstream.requests] == [request_dict] * 3


async def test_a_wrong_dict_is_refused_with_its_places_before_anything_is_sent() -> None:
    upstream = HeldUpstream()
    async with Client.on(LocalChannel(upstream)) as client:
        with pytest.raises(DecodeError) as unary:
            await client.complete(WRONG)
        with pytest.raises(DecodeError) as streamed:
            await anext(client.stream(WRONG))
        with pytest.raises(DecodeError, match=r"p\.q: expected a JSON value, found a value of type set"):
            await client.complete({**CHAT, "p": {"q": {1}}})

    assert [violation.path for violation in unary.value.violations] == PLACES
    assert [violation.path for violation in streamed.value.violations] == PLACES
    assert upstream.requests == []


async def test_the_client_without_an_event_loop_takes_the_same() -> None:
    upstream = HeldUpstream()
    for item in (ChatCompletionResponse(id="whole"), chunk(0), None):
        upstream.items.put_nowait(item)

    def use(address: str) -> None:
        with SyncClient(address) as client:
            assert client.complete(CHAT).id == "whole"
            assert list(client.stream(CHAT)) == [chunk(0)]
            with pytest.raises(DecodeError) as caught:
                client.complete(WRONG)
            assert [violation.path for violation in caught.value.violations] == PLACES

    async with asyncio.timeout(30), serving(upstream) as server:
        await asyncio.to_thread(use, server.address)

    assert [to_dict(request) for request in upstream.requests] == [CHAT] * 2
