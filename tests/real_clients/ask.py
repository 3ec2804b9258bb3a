"""Makes the calls that it reads from its input as a JSON list, all at one time, and prints what came of each.

It runs in an environment of its own, with the clients of requirements.txt, and imports nothing of the tests.

A call: {client, path, is_stream, is_blocking, tools, has_second_turn, max_tokens, url, key, model}; `tools`
is empty for a call without. With a second turn, the answer is sent back with what its tools return. An
outcome: {text, thinking, tools, error}, of all turns. The tools are the arguments by name, as JSON text. The
error is {status, text} if one was raised, with the answer's body if it has one; the rest came before it.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_mistralai import ChatMistralAI
from langchain_openai import ChatOpenAI
from mistralai.client import Mistral
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolReturnPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.mistral import MistralModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.mistral import MistralProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

Call = dict[str, Any]
# What the tool returns.
SUNNY = "sunny"


class Outcome:
    """What came of a call so far."""

    def __init__(self) -> None:
        self.text = self.thinking = ""
        # Of each call: name, arguments and id.
        self.tools: dict[int, list[str]] = {}
        # The last whole message, as its client has it.
        self.message: Any = None

    def add(self, message: Any) -> None:
        """Add a message, or a piece of one, with the members that the API has."""
        self.text += message.content or ""
        self.thinking += getattr(message, "reasoning_content", None) or ""
        for place, call in enumerate(message.tool_calls or ()):
            index = getattr(call, "index", None)
            function = call.function
            self.add_tool(place if index is None else index, function.name, function.arguments, call.id)

    def add_whole(self, message: Any) -> None:
        """Add a message, to be sent back as it is."""
        self.add(message)
        self.message = message

    def add_tool(
        self, index: int, name: str | None, arguments: str | dict[str, Any] | None, id_: str | None = None
    ) -> None:
        """Add a piece of a tool call."""
        call = self.tools.setdefault(index, ["", "", ""])
        call[0] += name or ""
        call[1] += arguments if isinstance(arguments, str) else json.dumps(arguments)
        call[2] += id_ or ""

    def messages(self) -> list[Any]:
        """Return the answer and the results of its tools, for a second turn."""
        calls = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments, id_ in self.tools.values()
        ]
        message = self.message or {
            "role": "assistant",
            "content": self.text,
            "reasoning_content": self.thinking,
            "tool_calls": calls,
        }
        return [message, *({"role": "tool", "tool_call_id": each["id"], "content": SUNNY} for each in calls)]


def _arguments(call: Call) -> dict[str, Any]:
    """Return a request as the API has it."""
    arguments = {"model": call["model"], "messages": [{"role": "user", "content": "Say hello."}]}
    given = {name: call[name] for name in ("tools", "max_tokens") if call[name]}
    return {**arguments, **given}


def _turns(call: Call, outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Yield the request of each turn as the API has it, when the turn before is over."""
    arguments = _arguments(call)
    yield arguments
    if call["has_second_turn"]:
        yield {**arguments, "messages": arguments["messages"] + outcome.messages()}


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
    async with openai.AsyncOpenAI(api_key=call["key"], base_url=_base_url(call)) as sdk:
        for arguments in _turns(call, outcome):
            answer: Any = await sdk.chat.completions.create(**arguments, stream=call["is_stream"])
            if call["is_stream"]:
                async for chunk in answer:
                    outcome.add(chunk.choices[0].delta)
            else:
                outcome.add_whole(answer.choices[0].message)


def _openai_blocking(call: Call, outcome: Outcome) -> None:
    with openai.OpenAI(api_key=call["key"], base_url=_base_url(call)) as sdk:
        for arguments in _turns(call, outcome):
            answer: Any = sdk.chat.completions.create(**arguments, stream=call["is_stream"])
            if call["is_stream"]:
                for chunk in answer:
                    outcome.add(chunk.choices[0].delta)
            else:
                outcome.add_whole(answer.choices[0].message)


def _base_url(call: Call) -> str:
    return f"{call['url']}{call['path']}"


def _langchain(call: Call) -> Any:
    arguments = {"api_key": call["key"], "model": call["model"]}
    if call["max_tokens"]:
        arguments["max_tokens"] = call["max_tokens"]
    model: Any
    if call["client"] == "langchain-openai":
        # With usage, the last chunk of a stream has no choices.
        model = ChatOpenAI(base_url=_base_url(call), stream_usage=True, **arguments)
    else:
        model = ChatMistralAI(endpoint=_base_url(call), **arguments)
    return model.bind_tools(call["tools"]) if call["tools"] else model


def _add_of_langchain(message: Any, outcome: Outcome) -> None:
    outcome.text += message.content
    for piece in getattr(message, "tool_call_chunks", ()) or message.tool_calls:
        index = piece.get("index")
        outcome.add_tool(len(outcome.tools) if index is None else index, piece["name"], piece["args"])
    # Chunks add up to a message.
    outcome.message = message if outcome.message is None else outcome.message + message


def _turns_of_langchain(call: Call, outcome: Outcome) -> Iterator[list[Any]]:
    messages: list[Any] = [HumanMessage("Say hello.")]
    yield messages
    if call["has_second_turn"]:
        answer, outcome.message = outcome.message, None
        results = [ToolMessage(SUNNY, tool_call_id=each["id"]) for each in answer.tool_calls]
        yield [*messages, answer, *results]


async def _langchain_async(call: Call, outcome: Outcome) -> None:
    for messages in _turns_of_langchain(call, outcome):
        if call["is_stream"]:
            async for chunk in _langchain(call).astream(messages):
                _add_of_langchain(chunk, outcome)
        else:
            _add_of_langchain(await _langchain(call).ainvoke(messages), outcome)


def _langchain_blocking(call: Call, outcome: Outcome) -> None:
    for messages in _turns_of_langchain(call, outcome):
        if call["is_stream"]:
            for chunk in _langchain(call).stream(messages):
                _add_of_langchain(chunk, outcome)
        else:
            _add_of_langchain(_langchain(call).invoke(messages), outcome)


def _for_litellm(call: Call) -> dict[str, Any]:
    provider = call["client"].removeprefix("litellm ")
    return {
        "model": f"{provider}/{call['model']}",
        "api_base": _base_url(call),
        "api_key": call["key"],
        "stream": call["is_stream"],
    }


async def _litellm(call: Call, outcome: Outcome) -> None:
    for arguments in _turns(call, outcome):
        answer: Any = await litellm.acompletion(**(arguments | _for_litellm(call)))
        if call["is_stream"]:
            async for chunk in answer:
                outcome.add(chunk.choices[0].delta)
        else:
            outcome.add_whole(answer.choices[0].message)


def _litellm_blocking(call: Call, outcome: Outcome) -> None:
    for arguments in _turns(call, outcome):
        answer: Any = litellm.completion(**(arguments | _for_litellm(call)))
        if call["is_stream"]:
            for chunk in answer:
                outcome.add(chunk.choices[0].delta)
        else:
            outcome.add_whole(answer.choices[0].message)


def _model_of_pydantic_ai(call: Call) -> Model:
    if call["client"] == "pydantic-ai mistral":
        provider = MistralProvider(api_key=call["key"], base_url=call["url"])
        return MistralModel(call["model"], provider=provider)
    openai_provider = OpenAIProvider(api_key=call["key"], base_url=_base_url(call))
    return OpenAIChatModel(call["model"], provider=openai_provider)


async def _pydantic_ai(call: Call, outcome: Outcome) -> None:
    functions = [tool["function"] for tool in call["tools"]]
    tools = [
        ToolDefinition(name=each["name"], parameters_json_schema=each["parameters"]) for each in functions
    ]
    # OpenAI's newer name for the limit is what this client sends.
    limit = {"max_tokens": call["max_tokens"], "extra_body": {"max_tokens": call["max_tokens"]}}
    messages: list[Any] = [ModelRequest.user_text_prompt("Say hello.")]
    arguments: dict[str, Any] = {
        "model": _model_of_pydantic_ai(call),
        "messages": messages,
        "model_settings": limit if call["max_tokens"] else None,
        "model_request_parameters": ModelRequestParameters(function_tools=tools),
    }
    for _ in range(1 + call["has_second_turn"]):
        if not call["is_stream"]:
            response = await model_request(**arguments)
            _add_of_pydantic_ai(response, outcome)
        else:
            async with model_request_stream(**arguments) as stream:
                try:
                    async for _event in stream:
                        pass
                finally:
                    response = stream.get()
                    _add_of_pydantic_ai(response, outcome)
        results = [ToolReturnPart(each.tool_name, SUNNY, each.tool_call_id) for each in response.tool_calls]
        messages += [response, ModelRequest(parts=results)]


def _add_of_pydantic_ai(response: ModelResponse, outcome: Outcome) -> None:
    outcome.text += response.text or ""
    outcome.thinking += response.thinking or ""
    for index, part in enumerate(response.tool_calls):
        outcome.add_tool(index, part.tool_name, part.args)


CLIENTS: dict[str, Callable[[Call, Outcome], Awaitable[None]]] = {
    "mistralai": _mistralai,
    "openai": _openai,
    "langchain-mistralai": _langchain_async,
    "langchain-openai": _langchain_async,
    "litellm mistral": _litellm,
    "litellm openai": _litellm,
    "pydantic-ai mistral": _pydantic_ai,
    "pydantic-ai openai": _pydantic_ai,
}
BLOCKING: dict[str, Callable[[Call, Outcome], None]] = {
    "mistralai": _mistralai_blocking,
    "openai": _openai_blocking,
    "langchain-mistralai": _langchain_blocking,
    "langchain-openai": _langchain_blocking,
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
        "thinking": outcome.thinking,
        "tools": {name: arguments for name, arguments, _ in outcome.tools.values()},
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
