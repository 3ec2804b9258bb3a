"""From OpenAI's requests for chat completions to Mistral's; docs/openai.md has the table."""

import hashlib
import re
from typing import Any, NamedTuple

_RENAMED = {"max_completion_tokens": "max_tokens", "seed": "random_seed"}
# Mistral refuses them, and only OpenAI can do what they ask for.
_DROPPED = ("user", "store", "safety_identifier", "prompt_cache_retention", "verbosity")
_NOTHING_ASKED = {"logit_bias": {}, "modalities": ["text"]}
_SERVICE_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
# Members of an answer that clients send back, some of which OpenAI's SDK has added.
_OF_ANSWERS = ("annotations", "audio", "content_parts", "parsed", "refusal")
_CALL_ID = re.compile("[a-zA-Z0-9]{9}")


class OpenAIRequest(NamedTuple):
    """A request in OpenAI's format, converted.

    Attributes:
        document: The request in Mistral's form.
        includes_usage: Whether a stream reports its usage.
        dropped: Names of the members that were dropped and may matter to the caller.
    """

    document: dict[str, Any]
    includes_usage: bool
    dropped: list[str]


def from_openai_request(document: dict[str, Any]) -> OpenAIRequest:
    """Convert a request for a chat completion.

    Args:
        document: The request as parsed JSON, with any members of any types; not changed.

    Returns:
        The request in Mistral's form. Values of unexpected types are unchanged, for the service to judge.
    """
    request = {
        name: value
        for name, value in document.items()
        if value is not None and (name not in _NOTHING_ASKED or value != _NOTHING_ASKED[name])
    }
    for name, mistral_name in _RENAMED.items():
        if name in request:
            request[mistral_name] = request.pop(name)
    options = request.pop("stream_options", None)
    dropped = [name for name in _DROPPED if name in request]
    if (tier := request.get("service_tier")) is not None:
        request["service_tier"] = _SERVICE_TIERS.get(tier) if isinstance(tier, str) else tier
        dropped += [] if request["service_tier"] is not None else ["service_tier"]
    for name in dropped:
        del request[name]
    if type(messages := request.get("messages")) is list:
        request["messages"] = [_mistral_message(each) if type(each) is dict else each for each in messages]
        if any(type(each) is dict and _has_foreign_name(each) for each in messages):
            dropped.append("messages.name")
    if type(tools := request.get("tools")) is list:
        request["tools"] = [_tool(each) if type(each) is dict else each for each in tools]
    includes_usage = type(options) is dict and options.get("include_usage") is True
    return OpenAIRequest(request, includes_usage, dropped)


def short_id(text: str) -> str:
    """Return an id for a tool call that Mistral accepts: the text itself, or nine characters of its hash."""
    if _CALL_ID.fullmatch(text):
        return text
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:9]


def _mistral_message(document: dict[str, Any]) -> dict[str, Any]:
    message = {name: value for name, value in document.items() if value is not None or name == "content"}
    if _has_foreign_name(message):
        del message["name"]
    if message.get("role") == "developer":
        message["role"] = "system"
    if message.get("role") == "assistant":
        message = _assistant_message(message)
    if type(content := message.get("content")) is list:
        message["content"] = [_part(each) if type(each) is dict else each for each in content]
    if isinstance(id_ := message.get("tool_call_id"), str):
        message["tool_call_id"] = short_id(id_)
    if type(calls := message.get("tool_calls")) is list:
        message["tool_calls"] = [_mistral_call(each) if type(each) is dict else each for each in calls]
    return message


def _mistral_call(call: dict[str, Any]) -> dict[str, Any]:
    converted = dict(call)
    if isinstance(id_ := call.get("id"), str):
        converted["id"] = short_id(id_)
    if type(function := call.get("function")) is dict:
        # OpenAI's SDK has added it to the arguments of an answer.
        converted["function"] = {
            name: value for name, value in function.items() if name != "parsed_arguments"
        }
    return converted


def _has_foreign_name(message: dict[str, Any]) -> bool:
    return message.get("name") is not None and message.get("role") != "tool"


def _assistant_message(message: dict[str, Any]) -> dict[str, Any]:
    """Put what OpenAI has beside the content into the content."""
    kept = {name: value for name, value in message.items() if name not in _OF_ANSWERS}
    content = message.get("content") or message.get("refusal") or message.get("content")
    if isinstance(thinking := kept.get("reasoning_content"), str):
        del kept["reasoning_content"]
        if thinking:
            part = {"type": "thinking", "thinking": [{"type": "text", "text": thinking}]}
            rest = (
                content if type(content) is list else [{"type": "text", "text": content}] if content else []
            )
            content = [part, *rest]
    return {**kept, "content": content} if "content" in kept or content else kept


def _part(part: dict[str, Any]) -> dict[str, Any]:
    match part:
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return {"type": "input_audio", "input_audio": data}
        case {"type": "file", "file": {"file_id": str(id_)}}:
            return {"type": "file", "file_id": id_}
        case {"type": "file", "file": {"file_data": str(url), **file}}:
            name = file.get("filename")
            return {"type": "document_url", "document_url": url} | ({"document_name": name} if name else {})
    return part


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if type(function) is not dict or function.get("parameters") is not None:
        return tool
    return {**tool, "function": {**function, "parameters": {"type": "object", "properties": {}}}}
