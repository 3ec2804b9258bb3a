"""Streams as real servers write them, through upstream, service and gateway, and from a recording."""

import functools
import json
import pathlib
import sys
from typing import Any

import aiohttp
import pytest

from mistralwire.client import Client
from mistralwire.codec import from_json
from mistralwire.errors import CallError
from mistralwire.service import LocalChannel
from mistralwire.upstream import HttpSettings, MistralUpstream, ReplayUpstream
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionStreamRequest
from tests.error_bodies import broken_body, flat_error
from tests.gateway_stack import running_gateway
from tests.upstream_server import UpstreamServer, sse_answer

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}
REQUEST = from_json(ChatCompletionStreamRequest, json.dumps(QUESTION))
CHAT = "/v1/chat/completions"
BOOM = {"message": "boom in the slot", "type": "server_error", "code": 500}


def _chunk(text: str, reason: str | None = None, **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **members,
    }


def _event(document: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: %b\n\n" % json.dumps(document).encode()


FIRST, LAST, DONE = _event(_chunk("a")), _event(_chunk("b", "stop")), b"data: [DONE]\n\n"

ERRORS = {
    "openai": _event({"error": BOOM}),
    "beside no choices": _event({"id": "c", "choices": [], "error": BOOM}),
    "beside null choices": _event({"choices": None, "error": BOOM}),
    "google": _event([{"error": BOOM}]),
    "vllm": _event({"object": "Error", **BOOM, "param": None}) + DONE,
    "sglang": _event({"error": {"object": "error", **BOOM}}) + DONE,
    "bedrock": _event({"object": "chat.completion", "error": {"error": BOOM["message"], "error_code": 1}}),
    "tgi": b'data:{"error":"boom in the slot","error_type":"generation"}\n\n',
    "lm studio": _event({"error": BOOM}, "error"),
    "another name": _event({"error": BOOM}, "exception"),
    "llama.cpp": b"error: %b\n\n" % json.dumps(BOOM).encode(),
    "text": b"error: boom in the slot\n\n",
    "line": json.dumps({"error": BOOM}).encode() + b"\n",
    "no line end": json.dumps({"error": BOOM}).encode(),
    "pretty": json.dumps({"detail": BOOM["message"]}, indent=2).encode() + b"\n\n",
    "with NaN": json.dumps({"error": {**BOOM, "score": float("nan")}}).encode() + b"\n\n",
}

NOISE = (
    b": OPENROUTER PROCESSING\n\n:\n\n"
    + _event({"type": "ping"}, "ping")
    + b"event: ping\ndata: 2026-11-26 12:00:00.000\n\n"
    + _event({"cost": 0.1}, "cost")
    + b"event: keepalive\ndata\n\ndata:\n\n"
)


@pytest.fixture(params=[False, True], ids=["network", "embedded"])
def running(request: pytest.FixtureRequest) -> Any:
    return functools.partial(running_gateway, is_embedded=request.param)


@pytest.mark.parametrize("name", ERRORS)
async def test_the_text_of_an_error_reaches_every_caller(
    name: str, running: Any, http: aiohttp.ClientSession
) -> None:
    async with UpstreamServer(sse_answer(b"\xef\xbb\xbf", NOISE, FIRST, ERRORS[name])) as server:
        upstream = MistralUpstream(server.url, settings=HttpSettings(attempts_max=1))
        async with running(upstream) as url, http.post(url + CHAT, json=QUESTION) as response:
            assert response.status == 200
            chunk, error = (await broken_body(response)).split(b"\n\n")[:-1]
        assert b'"content":"a"' in chunk
        body = flat_error(json.loads(error.removeprefix(b"data: ")))
        assert body["message"] == "boom in the slot"
        # With an id and a model beside it, an empty `choices` would make a chunk of it for Mistral's SDKs.
        assert "choices" not in body
        async with Client.on(LocalChannel(upstream)) as client:
            chunks = client.stream(REQUEST)
            assert (await anext(chunks)).choices[0].delta.content_string == "a"
            with pytest.raises(CallError, match="boom in the slot"):
                await anext(chunks)
        await upstream.close()


@pytest.mark.parametrize("name", ERRORS)
async def test_a_recorded_error_is_played(name: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.sse"
    file.write_bytes(b"\xef\xbb\xbf" + NOISE + FIRST + ERRORS[name])
    async with Client.on(LocalChannel(ReplayUpstream(file))) as client:
        chunks = client.stream(REQUEST)
        await anext(chunks)
        with pytest.raises(CallError, match="boom in the slot"):
            await anext(chunks)


@pytest.mark.parametrize(
    "tail",
    [
        DONE * 2,
        DONE + NOISE,
        DONE + _event({"cost": 1}, "cost"),
        DONE + FIRST,
        DONE + b"garbage\n\ndata: x\n\n",
    ],
    ids=["again", "noise", "cost", "chunk", "garbage"],
)
async def test_what_is_no_part_of_an_answer_costs_nothing(
    tail: bytes, running: Any, http: aiohttp.ClientSession
) -> None:
    infinite = _chunk("b", "stop", logprobs=[float("-inf"), float("nan")])
    stream = [NOISE, FIRST, NOISE, _event(infinite, "completion"), NOISE + tail]
    async with UpstreamServer(sse_answer(*stream)) as server:
        upstream = MistralUpstream(server.url)
        async with running(upstream) as url, http.post(url + CHAT, json=QUESTION) as response:
            assert response.status == 200
            *events, done = (await response.read()).split(b"\n\n")[:-1]
        await upstream.close()
    assert done == b"data: [DONE]"
    documents = [json.loads(event.partition(b"data: ")[2]) for event in events]
    assert documents == [_chunk("a"), _chunk("b", "stop", logprobs=[-sys.float_info.max, None])]


async def test_an_answer_in_one_piece_may_have_a_mark_and_infinities(
    running: Any, http: aiohttp.ClientSession
) -> None:
    text = '{"id":"1","model":"m","choices":[{"index":0,"message":{"content":"a"},"p":-Infinity}],"q":NaN}'
    answer = sse_answer(b"\xef\xbb\xbf" + text.encode())
    answer.headers["content-type"] = "application/json"
    question = {**QUESTION, "stream": False}
    async with UpstreamServer(answer) as server:
        upstream = MistralUpstream(server.url)
        async with running(upstream) as url, http.post(url + CHAT, json=question) as response:
            document = json.loads(await response.read(), parse_constant=pytest.fail)
        await upstream.close()
    assert (document["choices"][0]["p"], document["q"]) == (-sys.float_info.max, None)


async def test_an_error_in_one_piece_with_a_mark_is_an_error() -> None:
    answer = sse_answer(b"\xef\xbb\xbf" + json.dumps({"choices": [], "error": BOOM}).encode())
    async with UpstreamServer(answer) as server:
        upstream = MistralUpstream(server.url, settings=HttpSettings(attempts_max=1))
        async with Client.on(LocalChannel(upstream)) as client:
            with pytest.raises(CallError, match="boom in the slot"):
                await client.complete(
                    from_json(ChatCompletionRequest, json.dumps({**QUESTION, "stream": False}))
                )
        await upstream.close()
