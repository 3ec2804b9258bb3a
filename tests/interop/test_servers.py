"""Servers in other languages behind `mistralwire gateway`, called by the official SDKs.

The servers set the documented fields alone, as anyone would write them, and never json_extra.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.interop.languages import LANGUAGES, Language
from tests.interop.peers import server_of
from tests.interop.processes import serving
from tests.sdk.mistral_calls import ask

pytest.importorskip("openai", reason="needs openai")
pytest.importorskip("mistralai", reason="needs mistralai")

import openai
from mistralai.client import Mistral

WITH_SERVER = [language for language in LANGUAGES if language.server is not None]

pytestmark = [
    pytest.mark.interop,
    pytest.mark.parametrize("language", WITH_SERVER, ids=lambda language: language.name, indirect=True),
]

KEY = "an-example-of-a-key"
TEXT = "Grüezi mitenand 👋 ihr da"
QUESTION: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": TEXT}]}
USAGE = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
MODES = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])


@contextlib.asynccontextmanager
async def gateway_before(language: Language) -> AsyncIterator[str]:
    """Run the server of a language and a gateway in front of it; yield the gateway's URL."""
    async with (
        server_of(language) as address,
        serving("--service", address, command="gateway") as (_, url),
    ):
        yield url


def has(whole: dict[str, Any], part: dict[str, Any]) -> bool:
    return whole.items() >= part.items()


@MODES
async def test_mistrals_sdk_accepts_its_answer(language: Language, *, is_async: bool) -> None:
    async with gateway_before(language) as url:
        sdk = Mistral(api_key=KEY, server_url=url)
        answer = await ask(sdk, "chat.complete", QUESTION, is_async=is_async)

    [choice] = answer["choices"]
    assert has(answer, {"id": "echo-1", "object": "chat.completion", "model": "echo"})
    assert has(choice, {"index": 0, "finish_reason": "stop"})
    assert has(choice["message"], {"role": "assistant", "content": TEXT})
    assert has(answer["usage"], USAGE)


@MODES
async def test_mistrals_sdk_accepts_each_chunk_of_its_stream(language: Language, *, is_async: bool) -> None:
    async with gateway_before(language) as url:
        sdk = Mistral(api_key=KEY, server_url=url)
        events = await ask(sdk, "chat.stream", QUESTION, is_async=is_async)

    *words, last, usage_only = [event["data"] for event in events]
    assert [each["choices"][0]["delta"]["content"] for each in words] == [
        "Grüezi ",
        "mitenand ",
        "👋 ",
        "ihr ",
        "da",
    ]
    assert [each["choices"][0]["finish_reason"] for each in words] == [None] * 5
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage_only["choices"] == []
    assert has(usage_only["usage"], USAGE)


async def test_openais_sdk_accepts_its_answer(language: Language) -> None:
    def complete(url: str) -> openai.types.chat.ChatCompletion:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as sdk:
            answer: openai.types.chat.ChatCompletion = sdk.chat.completions.create(**QUESTION)
            return answer

    async with gateway_before(language) as url:
        answer = await asyncio.to_thread(complete, url)

    # The SDK itself does not check what it gets.
    checked = type(answer).model_validate(answer.to_dict())
    assert checked.choices[0].message.content == TEXT
    assert checked.usage is not None
    assert checked.usage.total_tokens == 10


async def test_openais_sdk_accepts_each_chunk_of_its_stream(language: Language) -> None:
    def stream(url: str) -> list[openai.types.chat.ChatCompletionChunk]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as sdk:
            return list(sdk.chat.completions.create(**QUESTION, stream=True))

    async with gateway_before(language) as url:
        chunks = await asyncio.to_thread(stream, url)

    documents = [chunk.to_dict() for chunk in chunks]
    for chunk, document in zip(chunks, documents, strict=True):
        type(chunk).model_validate(document)
    last, usage_only = documents[-2:]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert usage_only["choices"] == []
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == TEXT


async def test_a_refusal_of_it_is_an_error_of_the_api(language: Language) -> None:
    def complete(url: str) -> None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
            sdk.chat.completions.create(model="echo", messages=[{"role": "system", "content": "Be brief."}])

    async with gateway_before(language) as url:
        with pytest.raises(openai.BadRequestError, match="the last message must be"):
            await asyncio.to_thread(complete, url)
