"""A conversation with a tool, streamed over gRPC: `python stream_with_tools.py [ADDRESS]`.

The recorded answers of `mistralwire serve` call the tool every time, so the program stops after five turns.
"""

import asyncio
import json
import sys
from typing import Any

from mistralwire import Accumulator, text_of, to_dict, tool_calls_of
from mistralwire.client import Client

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def get_weather(city: str) -> str:
    return f"It is 18 degrees and sunny in {city}."


async def main(address: str = "localhost:50051") -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    async with Client(address) as client:
        for _ in range(5):
            request = {"model": "mistral-small-latest", "messages": messages, "tools": [TOOL]}
            whole = Accumulator()
            async for chunk in client.stream(request):
                print(text_of(chunk), end="", flush=True)
                whole.add(chunk)
            print()
            response = whole.result()
            calls = tool_calls_of(response)
            if not calls:
                return
            # The whole message, including its thinking and tool calls, goes back to the model.
            messages.append(to_dict(response)["choices"][0]["message"])
            for call in calls:
                result = get_weather(**json.loads(call.function.arguments_string))
                print(f"[{call.function.name}: {result}]")
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
