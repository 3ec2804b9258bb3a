"""The README's own upstream behind `mistralwire gateway --service`, called by the official SDKs."""

import asyncio
import contextlib
import pathlib
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.sdk.mistral_calls import ask

pytest.importorskip("openai", reason="needs openai")
pytest.importorskip("mistralai", reason="needs mistralai")

import openai
from mistralai.client import Mistral

pytestmark = [pytest.mark.sdk, pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

README = pathlib.Path(__file__).parents[2] / "README.md"
KEY = "an-example-of-a-key"
WAIT_S = 60
TEXT = "say it again"
QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": TEXT}]}
MODES = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])


@contextlib.asynccontextmanager
async def listening(*command: str) -> AsyncIterator[str]:
    """Run a program that prints where it listens; yield that."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WAIT_S):
            line = (await process.stdout.readline()).decode()
        yield line.split()[2].rstrip(",")
    finally:
        process.terminate()
        await process.communicate()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def url() -> AsyncIterator[str]:
    """Run the Echo of the README and a gateway in front of it; yield the gateway's URL."""
    (source,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        if "class Echo" in block
    ]
    source = source.replace("port=50052", "port=0").replace('address}")', 'address}", flush=True)')
    async with listening(sys.executable, "-c", source) as service:
        gateway = [sys.executable, "-m", "mistralwire", "gateway", "--port", "0", "--service", service]
        async with listening(*gateway) as address:
            yield address


@MODES
async def test_mistrals_sdk_accepts_its_answer(url: str, *, is_async: bool) -> None:
    answer = await ask(Mistral(api_key=KEY, server_url=url), "chat.complete", QUESTION, is_async=is_async)

    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"]["content"] == f"{TEXT} "


@MODES
async def test_mistrals_sdk_accepts_its_stream(url: str, *, is_async: bool) -> None:
    events = await ask(Mistral(api_key=KEY, server_url=url), "chat.stream", QUESTION, is_async=is_async)

    choices = [event["data"]["choices"][0] for event in events]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == f"{TEXT} "


async def test_openais_sdk_accepts_its_answer(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as sdk:
        answer = await sdk.chat.completions.create(**QUESTION)

    # The SDK itself does not check what it gets.
    checked = type(answer).model_validate(answer.to_dict())
    assert checked.choices[0].message.content == f"{TEXT} "


async def test_openais_sdk_accepts_its_stream(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as sdk:
        stream = await sdk.chat.completions.create(**QUESTION, stream=True)
        chunks = [chunk async for chunk in stream]

    for chunk in chunks:
        type(chunk).model_validate(chunk.to_dict())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == f"{TEXT} "
