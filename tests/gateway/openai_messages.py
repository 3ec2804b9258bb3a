"""What a message says, in Mistral's form or in OpenAI's."""

import json
from typing import Any


def _thinking_in(part: Any) -> str:
    """Return the text of a part that is thinking."""
    if part.get("type") != "thinking":
        return ""
    inner = part["thinking"]
    return inner if isinstance(inner, str) else "".join(each.get("text", "") for each in inner)


def meaning_of(message: dict[str, Any]) -> Any:
    """Return text, thinking and calls, in any order, of a message in either form."""
    content = message.get("content") or ""
    reasoning = message.get("reasoning_content") or ""
    if isinstance(content, list):
        reasoning += "".join(map(_thinking_in, content))
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    calls = [(call["function"]["name"], _arguments_of(call)) for call in message.get("tool_calls") or ()]
    # As JSON, which joins the halves of a character.
    return json.loads(json.dumps([content, reasoning, sorted(calls, key=repr)]))


def _arguments_of(call: dict[str, Any]) -> Any:
    """Return the arguments of a call as a value, or as text if that was cut."""
    arguments = call["function"].get("arguments")
    try:
        return json.loads(arguments) if isinstance(arguments, str) and arguments else arguments or {}
    except json.JSONDecodeError:
        return arguments
