"""The examples in Python run as their docstrings say. Those in other languages are run by tests/interop."""

import asyncio
import contextlib
import io
import json
import os
import pathlib
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google.protobuf import proto

from mistralwire import from_json, text_of
from mistralwire.client import Client
from mistralwire.service import ServerConfig, create_server
from mistralwire.upstream import MistralUpstream
from mistralwire.v1 import ChatCompletionResponse
from tests.client.relays import relaying
from tests.interop.processes import WAIT_S, end, listening, run
from tests.upstream_server import UpstreamServer, json_answer, sse_answer

pytestmark = pytest.mark.process

FOLDER = pathlib.Path(__file__).parents[1] / "examples" / "python"
RESPONSE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"Salut","tool_calls":null}}],"usage":{"prompt_tokens":1},"p":"ab"}'
)
QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "one two"}]}


def _event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    document = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(document).encode()


async def _run(name: str, *arguments: str) -> tuple[int, str, str]:
    return await run(sys.executable, FOLDER / name, *arguments)


@contextlib.asynccontextmanager
async def _serving(name: str, *arguments: str) -> AsyncIterator[str]:
    """Run an example that serves, and yield the address that it prints."""
    environment = {**os.environ, "MISTRAL_API_KEY": "a-key"}
    async with listening(sys.executable, FOLDER / name, *arguments, env=environment) as (_, address):
        yield address


async def test_a_response_is_converted_and_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "response.json"
    path.write_bytes(RESPONSE)
    code, output, errors = await _run("convert_json.py", str(path))
    size = len(from_json(ChatCompletionResponse, RESPONSE).SerializeToString())
    assert (code, errors) == (0, "")
    assert output == f"Salut\nJSON {len(RESPONSE)} bytes, protobuf {size} bytes\n"


async def test_lines_are_converted_and_a_bad_one_is_named(tmp_path: pathlib.Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.binpb"
    source.write_bytes(RESPONSE + b"\n{\n" + RESPONSE + b"\n")
    code, _, errors = await _run("batch_convert.py", str(source), str(target))
    assert code == 1
    assert f"{source}, line 2: " in errors
    assert "2 of 3 lines converted" in errors
    written = io.BytesIO(target.read_bytes())
    found = [proto.parse_length_prefixed(ChatCompletionResponse, written) for _ in range(2)]
    assert found == [from_json(ChatCompletionResponse, RESPONSE)] * 2
    assert written.read() == b""


async def test_the_gateway_asks_the_api() -> None:
    async with (
        UpstreamServer(json_answer(RESPONSE)) as api,
        _serving("gateway.py", api.url, "0") as url,
        aiohttp.ClientSession() as http,
        http.post(f"{url}/v1/chat/completions", json=QUESTION) as response,
    ):
        assert await response.json() == json.loads(RESPONSE)
        assert api.received[0].headers["authorization"] == "Bearer a-key"


async def test_a_model_of_ones_own_is_served() -> None:
    async with _serving("own_model.py", "0") as address, Client(address) as client:
        assert text_of(await client.complete(QUESTION)) == "one two "
        texts = [text_of(chunk) async for chunk in client.stream(QUESTION)]
    assert texts == ["one ", "two ", ""]


async def test_an_openai_compatible_server_is_forwarded() -> None:
    events = sse_answer(_event({"content": "Sa"}), _event({"content": "lut"}, "stop"), b"data: [DONE]\n\n")
    async with (
        UpstreamServer(events) as api,
        _serving("forwarder.py", api.url, "0") as address,
        Client(address) as client,
    ):
        assert [text_of(chunk) async for chunk in client.stream(QUESTION)] == ["Sa", "lut"]


async def test_a_tool_is_called_and_its_result_sent() -> None:
    call = {
        "index": 0,
        "id": "abcdefghi",
        "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
    }
    asks = sse_answer(
        _event({"role": "assistant", "content": "", "tool_calls": [call]}, "tool_calls"), b"data: [DONE]\n\n"
    )
    answers = sse_answer(_event({"content": "Sunny."}, "stop"), b"data: [DONE]\n\n")
    async with (
        UpstreamServer(asks, answers) as api,
        MistralUpstream(api.url) as upstream,
        create_server(upstream, ServerConfig(port=0)) as server,
    ):
        code, output, errors = await _run("stream_with_tools.py", server.address)
        second = json.loads(api.received[1].body)["messages"]
    assert (code, errors) == (0, "")
    assert output == "\n[get_weather: It is 18 degrees and sunny in Paris.]\nSunny.\n"
    assert [message["role"] for message in second] == ["user", "assistant", "tool"]
    assert second[1]["tool_calls"][0]["function"] == call["function"]
    assert second[2]["tool_call_id"] == "abcdefghi"


async def test_the_gateway_is_mounted_in_fastapi() -> None:
    pytest.importorskip("fastapi")
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(FOLDER), "--port", "0", "fastapi_app:app"]
    async with _serving("own_model.py", "0") as address:
        process = await asyncio.create_subprocess_exec(
            *command, stderr=PIPE, env={**os.environ, "SERVICE": address}
        )
        try:
            async with asyncio.timeout(WAIT_S):
                assert process.stderr is not None
                while b"running on" not in (line := await process.stderr.readline()):
                    assert line
            url = next(word for word in line.decode().split() if word.startswith("http"))
            async with (
                aiohttp.ClientSession() as http,
                http.get(url) as index,
                http.post(url + (await index.json())["completions"], json=QUESTION) as response,
            ):
                answer = await response.json()
        finally:
            await end(process)
    assert answer["choices"][0]["message"]["content"] == "one two "


async def test_a_response_is_published_and_followed() -> None:
    async with relaying() as server:
        for _ in range(2):  # again, as after a crash
            published = await _run("publish_response.py", "mine", server.address)
            assert published == (0, "mine is finished\n", "")
        whole = await _run("follow_response.py", "mine", "0", server.address)
        rest = await _run("follow_response.py", "mine", "5", server.address)
        code, output, errors = await _run("follow_response.py", "other", "0", server.address)

    assert whole == (0, "An acknowledged event survives a crash.\n", "")
    assert rest == (0, "crash.\n", "")
    assert (code, output) == (1, "")
    assert errors.startswith("\nNOT_FOUND (RESPONSE_NOT_FOUND) after event 0: ")
