"""OpenAI's SDK at the gateway's edge in its own form: it adds up a stream, and sends the answer back."""

import json
from typing import Any

import pytest

pytest.importorskip("openai", reason="needs openai")

import openai

from mistralwire.gateway import GatewayConfig
from tests.sdk.both_ways import gateway_to
from tests.upstream_server import UpstreamServer, sse_answer

pytestmark = pytest.mark.sdk

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True}
TEXT = {"type": "text", "text": "Hi"}
REFERENCE = {"type": "reference", "reference_ids": [1]}


def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def piece(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": id_, "function": {"name": name, "arguments": arguments}}]}


async def test_what_the_sdk_accumulates_can_be_sent_back() -> None:
    stream = sse_answer(
        event({"role": "assistant", "content": [THOUGHT, TEXT, REFERENCE]}),
        event({"role": "assistant", "content": [THOUGHT, TEXT, REFERENCE]}),
        event(piece("abcdefgh1", "f", '{"a":')),
        event(piece("null", "", "1}"), "tool_calls"),
        b"data: [DONE]\n\n",
    )
    # Strict tools are what the SDK parses, and adds members for.
    function = {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}}
    request: dict[str, Any] = {"model": "m", "tools": [{"type": "function", "function": function}]}
    messages: list[Any] = [{"role": "user", "content": "x"}]
    async with (
        UpstreamServer(stream) as server,
        gateway_to(server, GatewayConfig(port=0, openai=True)) as url,
        openai.AsyncOpenAI(api_key="a key", base_url=f"{url}/openai/v1") as sdk,
    ):
        for _ in range(2):
            async with sdk.chat.completions.stream(**request, messages=messages) as events:
                messages.append((await events.get_final_completion()).choices[0].message)
    answer = messages[1].model_dump()
    assert (answer["role"], answer["content"], answer["reasoning_content"]) == ("assistant", "HiHi", "Hm.Hm.")
    places = [(part["type"], part["index"], part["offset"]) for part in answer["content_parts"]]
    assert places == [("reference", 0, 2), ("reference", 1, 4)]
    assert json.loads(server.received[1].body)["messages"][1] == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm.Hm."}]},
            {"type": "text", "text": "HiHi"},
        ],
        "tool_calls": [
            {
                "id": "abcdefgh1",
                "type": "function",
                "index": 0,
                "function": {"name": "f", "arguments": '{"a":1}'},
            }
        ],
    }
