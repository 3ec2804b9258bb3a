"""Makes the calls that it reads from its input as a JSON list, all at one time, and prints what came of each.

It runs in an environment of its own, with the clients of requirements.txt, and imports nothing of the tests.

A call: {client, is_stream, is_blocking, tools, max_tokens, url, key, model}; `tools` is empty for a call
without. An outcome: {text, tools, error}. The tools are the arguments by name, as JSON text. The error is
{status, text} if one was raised, with the answer's body if it has one; the rest is what came before it.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import openai
from langchain_mistralai import ChatMistralAI
from mistralai.client import Mistral
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.mistral import MistralModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.mistral import MistralProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

Call = dict[str, Any]


class Outcome:
    """What came of a call so far."""

    def __init__(self) -> None:
        self.text = ""
        self.tools: dict[int, Any] = {}

    def add(self, message: Any) -> None:
        """Add a message, or a piece of one, with the members that the API has."""
        self.text += message.content or ""
        for place, call in enumerate(message.tool_calls or ()):
            index = getattr(call, "index", None)
            self.add_tool(place if index is None else index, call.function.name, call.function.arguments)

    def add_tool(self, index: int, name: str | None, arguments: str | dict[str, Any] | None) -> None:
        """Add a piece of a tool call."""
        call = self.tools.setdefault(index, ["", ""])
        call[0] += name or ""
        call[1] += arguments if isinstance(arguments, str) else json.dumps(arguments)


def _arguments(call: Call) -> dict[str, Any]:
    """Return a request as the API has it."""
    arguments = {"model": call["model"], "messages": [{"role": "user", "content": "Say hello."}]}
    given = {name: call[name] for name in ("tools", "max_tokens") if call[name]}
    return {**arguments, **given}


async def _mistralai(call: Call, outcome: Outcome) -> None:
    async with Mistral(api_key=call["key"], server_url=call["url"]) as sdk:
        if not call["is_stream"]:
            answer = await sdk.chat.complete_async(**_arguments(call))
            outcome.add(answer.choices[0].message)
            return
        async with await sdk.chat.stream_async(**_arguments(call)) as events:
            async for event in events:
                outcome.add(event.data.choices[0].delta)


def _mistralai_blocking(call: Call, outcome: Outcome) -> None:
    with Mistral(api_key=call["key"], server_url=call["url"]) as sdk:
        if not call["is_stream"]:
            outcome.add(sdk.chat.complete(**_arguments(call)).choices[0].message)
            return
        with sdk.chat.stream(**_arguments(call)) as events:
            for event in events:
                outcome.add(event.data.choices[0].delta)


async def _openai(call: Call, outcome: Outcome) -> None:
    async with openai.AsyncOpenAI(api_key=call["key"], base_url=f"{call['url']}/v1") as sdk:
        answer: Any = await sdk.chat.completions.create(**_arguments(call), stream=call["is_stream"])
        if not call["is_stream"]:
            outcome.add(answer.choices[0].message)
            return
        async for chunk in answer:
            outcome.add(chunk.choices[0].delta)


def _openai_blocking(call: Call, outcome: Outcome) -> None:
    with openai.OpenAI(api_key=call["key"], base_url=f"{call['url']}/v1") as sdk:
        answer: Any = sdk.chat.completions.create(**_arguments(call), stream=call["is_stream"])
        if not call["is_stream"]:
            outcome.add(answer.choices[0].message)
            return
        for chunk in answer:
            outcome.add(chunk.choices[0].delta)


def _langchain(call: Call) -> Any:
    limit = {"max_tokens": call["max_tokens"]} if call["max_tokens"] else {}
    model = ChatMistralAI(endpoint=f"{call['url']}/v1", api_key=call["key"], model=call["model"], **limit)
    return model.bind_tools(call["tools"]) if call["tools"] else model


def _add_of_langchain(message: Any, outcome: Outcome) -> None:
    outcome.text += message.content
    for piece in getattr(message, "tool_call_chunks", ()) or message.tool_calls:
        index = piece.get("index")
        outcome.add_tool(len(outcome.tools) if index is None else index, piece["name"], piece["args"])


async def _langchain_mistralai(call: Call, outcome: Outcome) -> None:
    if not call["is_stream"]:
        _add_of_langchain(await _langchain(call).ainvoke("Say hello."), outcome)
        return
    async for chunk in _langchain(call).astream("Say hello."):
        _add_of_langchain(chunk, outcome)


def _langchain_mistralai_blocking(call: Call, outcome: Outcome) -> None:
    if not call["is_stream"]:
        _add_of_langchain(_langchain(call).invoke("Say hello."), outcome)
        return
    for chunk in _langchain(call).stream("Say hello."):
        _add_of_langchain(chunk, outcome)


def _for_litellm(call: Call) -> dict[str, Any]:
    provider = call["client"].removeprefix("litellm ")
    return {
        **_arguments(call),
        "model": f"{provider}/{call['model']}",
        "api_base": f"{call['url']}/v1",
        "api_key": call["key"],
        "stream": call["is_stream"],
    }


async def _litellm(call: Call, outcome: Outcome) -> None:
    answer: Any = await litellm.acompletion(**_for_litellm(call))
    if not call["is_stream"]:
        outcome.add(answer.choices[0].message)
        return
    async for chunk in answer:
        outcome.add(chunk.choices[0].delta)


def _litellm_blocking(call: Call, outcome: Outcome) -> None:
    answer: Any = litellm.completion(**_for_litellm(call))
    if not call["is_stream"]:
        outcome.add(answer.choices[0].message)
        return
    for chunk in answer:
        outcome.add(chunk.choices[0].delta)


def _model_of_pydantic_ai(call: Call) -> Model:
    if call["client"] == "pydantic-ai mistral":
        provider = MistralProvider(api_key=call["key"], base_url=call["url"])
        return MistralModel(call["model"], provider=provider)
    openai_provider = OpenAIProvider(api_key=call["key"], base_url=f"{call['url']}/v1")
    return OpenAIChatModel(call["model"], provider=openai_provider)


async def _pydantic_ai(call: Call, outcome: Outcome) -> None:
    functions = [tool["function"] for tool in call["tools"]]
    tools = [
        ToolDefinition(name=each["name"], parameters_json_schema=each["parameters"]) for each in functions
    ]
    # OpenAI's newer name for the limit is what this client sends.
    limit = {"max_tokens": call["max_tokens"], "extra_body": {"max_tokens": call["max_tokens"]}}
    arguments: dict[str, Any] = {
        "model": _model_of_pydantic_ai(call),
        "messages": [ModelRequest.user_text_prompt("Say hello.")],
        "model_settings": limit if call["max_tokens"] else None,
        "model_request_parameters": ModelRequestParameters(function_tools=tools),
    }
    if not call["is_stream"]:
        response = await model_request(**arguments)
    else:
        async with model_request_stream(**arguments) as stream:
            try:
                async for _ in stream:
                    pass
            finally:
                response = stream.get()
                outcome.text = response.text or ""
    outcome.text = response.text or ""
    for index, part in enumerate(response.tool_calls):
        outcome.add_tool(index, part.tool_name, part.args)


CLIENTS: dict[str, Callable[[Call, Outcome], Awaitable[None]]] = {
    "mistralai": _mistralai,
    "openai": _openai,
    "langchain-mistralai": _langchain_mistralai,
    "litellm mistral": _litellm,
    "litellm openai": _litellm,
    "pydantic-ai mistral": _pydantic_ai,
    "pydantic-ai openai": _pydantic_ai,
}
BLOCKING: dict[str, Callable[[Call, Outcome], None]] = {
    "mistralai": _mistralai_blocking,
    "openai": _openai_blocking,
    "langchain-mistralai": _langchain_mistralai_blocking,
    "litellm mistral": _litellm_blocking,
    "litellm openai": _litellm_blocking,
}


async def _ask(call: Call) -> dict[str, Any]:
    outcome, error = Outcome(), None
    try:
        if call["is_blocking"]:
            await asyncio.to_thread(BLOCKING[call["client"]], call, outcome)
        else:
            await CLIENTS[call["client"]](call, outcome)
    except Exception as raised:  # noqa: BLE001 - whatever a client raises is what is asked for
        error = _described(raised)
    return {
        "text": outcome.text,
        "tools": dict(outcome.tools.values()),
        "error": error,
    }


def _described(error: Exception) -> dict[str, Any]:
    status = getattr(error, "status_code", None) or getattr(
        getattr(error, "response", None), "status_code", None
    )
    return {"status": status, "text": str(error), "body": str(getattr(error, "body", ""))}


async def _main() -> None:
    calls: list[Call] = json.load(sys.stdin)
    json.dump(await asyncio.gather(*map(_ask, calls)), sys.stdout)


if __name__ == "__main__":
    litellm.suppress_debug_info = True
    logging.disable()
    asyncio.run(_main())
