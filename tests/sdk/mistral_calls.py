"""Calls of Mistral's SDKs, as tests make them: by name, in a thread or in the loop, answers as plain data."""

import asyncio
from typing import Any

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "place",
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "additionalProperties": False,
        },
        "strict": True,
    },
}

CHAT: dict[str, Any] = {"model": "mistral-large-latest", "messages": [{"role": "user", "content": "Hello?"}]}
FIM: dict[str, Any] = {"model": "codestral-latest", "prompt": "def f(", "suffix": "return n", "max_tokens": 8}
AGENT: dict[str, Any] = {"agent_id": "ag_0123456789abcdef", "messages": CHAT["messages"], "max_tokens": 8}
TOOLS = {
    "model": "mistral-large-latest",
    "messages": [
        {"role": "user", "content": "What is the weather in Kraków?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "call00001", "function": {"name": "weather", "arguments": '{"city": "Kraków"}'}},
                {"id": "call00002", "function": {"name": "weather", "arguments": {"city": "Łódź"}}},
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "call00001", "name": "weather"},
        {"role": "tool", "content": [{"type": "text", "text": "sun"}], "tool_call_id": "call00002"},
    ],
    "tools": [WEATHER],
    "tool_choice": "any",
    "parallel_tool_calls": False,
}
VISION = {
    "model": "mistral-small-latest",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this? 🙂"},
                {"type": "image_url", "image_url": "https://example.org/i.png"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            ],
        },
    ],
    "temperature": 0.1,
    "stop": ["END", "\n\n"],
    "metadata": {"big": 18446744073709551617, "nothing": None},
}
FORCED = {**TOOLS, "tool_choice": {"type": "function", "function": {"name": "weather"}}}
JSON_OBJECT = {**CHAT, "response_format": {"type": "json_object"}}
JSON_SCHEMA = {**CHAT, "response_format": SCHEMA}
AGENT_TOOLS = {**AGENT, **{name: value for name, value in TOOLS.items() if name != "model"}}


async def ask(sdk: Any, method: str, arguments: dict[str, Any], *, is_async: bool) -> Any:
    """Call `chat.complete` or another method of an SDK, and return the answer, or the chunks, as plain data.

    The methods that block are called in a thread: the gateway runs in the loop of the test.
    """
    if not is_async:
        return await asyncio.to_thread(_ask, sdk, method, arguments)
    async with sdk:
        answer = await _method(sdk, f"{method}_async")(**arguments)
        if not method.endswith("stream"):
            return dumped(answer)
        async with answer:
            return [dumped(event) async for event in answer]


def _ask(sdk: Any, method: str, arguments: dict[str, Any]) -> Any:
    with sdk:
        answer = _method(sdk, method)(**arguments)
        if not method.endswith("stream"):
            return dumped(answer)
        with answer:
            return [dumped(event) for event in answer]


def _method(sdk: Any, path: str) -> Any:
    api, _, name = path.partition(".")
    return getattr(getattr(sdk, api), name)


def dumped(model: Any) -> Any:
    """Return a model of an SDK as plain data, values of types that it does not document included."""
    return model.model_dump(mode="json", by_alias=True, warnings=False)
