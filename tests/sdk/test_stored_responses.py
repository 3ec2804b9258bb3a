"""Stored responses by OpenAI's SDK, unmodified, and by the models of Mistral's."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from mistralwire.codec import from_json
from mistralwire.service import Relay, RelayConfig, create_relay
from mistralwire.v1 import CompletionChunk
from tests.gateway.producer import Producer
from tests.gateway_stack import running_gateway
from tests.service.upstreams import HeldUpstream

pytest.importorskip("openai", reason="needs openai")
pytest.importorskip("mistralai", reason="needs mistralai")

import openai
from mistralai.client import models

pytestmark = pytest.mark.sdk

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with create_relay(RelayConfig(log="memory")) as made:
        yield made


def thinking() -> list[CompletionChunk]:
    deltas: list[Any] = [{"role": "assistant", "content": [THOUGHT]}, {"content": "Yes"}]
    choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    return [
        from_json(
            CompletionChunk, orjson.dumps({"id": "cmpl-1", "model": "m", "created": 1, "choices": each})
        )
        for each in choices
    ]


async def test_openais_sdk_retrieves_lists_and_deletes(relay: Relay) -> None:
    for number in range(5):
        producer = await Producer(relay.log, f"r{number}").open()
        await producer.add(*thinking())
    async with (
        running_gateway(HeldUpstream(), relay=relay, is_embedded=True) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        running = await client.chat.completions.retrieve("r4")
        # The types know neither.
        choice: Any = running.choices[0]
        assert (running.id, choice.finish_reason) == ("cmpl-1", None)
        assert choice.message.content == [THOUGHT, {"type": "text", "text": "Yes"}]
        assert (await client.chat.completions.retrieve("cmpl-1")).id == "cmpl-1"
        with pytest.raises(openai.ConflictError, match="still runs"):
            await client.chat.completions.delete("r4")
        await producer.finish()

        pages = client.chat.completions.list(limit=2, order="desc")
        ids = [item.id async for item in pages]
        assert ids == ["r4", "r3", "r2", "r1", "r0"]

        deleted = await client.chat.completions.delete("r4")
        assert (deleted.id, deleted.deleted, deleted.object) == ("r4", True, "chat.completion.deleted")
        with pytest.raises(openai.NotFoundError, match="response"):
            await client.chat.completions.retrieve("r4")


async def test_openais_blocking_sdk_retrieves(relay: Relay) -> None:
    await (await Producer(relay.log).open()).add(*thinking())
    async with running_gateway(HeldUpstream(), relay=relay, is_embedded=True) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
            found = await asyncio.to_thread(client.chat.completions.retrieve, "r1")
    assert found.choices[0].message.role == "assistant"


async def test_mistrals_models_take_what_there_is_so_far(relay: Relay) -> None:
    producer = await Producer(relay.log).open()
    async with (
        running_gateway(HeldUpstream(), relay=relay, is_embedded=True) as url,
        aiohttp.ClientSession() as http,
    ):

        async def read() -> models.ChatCompletionResponse:
            async with http.get(f"{url}/v1/chat/completions/r1") as response:
                return models.ChatCompletionResponse.model_validate_json(await response.read())

        nothing = await read()
        assert nothing.choices == []
        await producer.add(*thinking())
        found = await read()
        [choice] = found.choices
        assert choice.finish_reason is None
        assert choice.message is not None
        assert isinstance(choice.message.content, list)
        assert isinstance(choice.message.content[0], models.ThinkChunk)
