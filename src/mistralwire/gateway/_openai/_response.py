"""From Mistral's chat completions to OpenAI's, whole and as streams; docs/openai.md has the table."""

import itertools
import operator
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from mistralwire.codec import ToolCalls, from_dict
from mistralwire.gateway._openai._request import short_id
from mistralwire.v1 import FunctionCall

Piece: TypeAlias = tuple[Literal["content", "reasoning_content", "content_parts"], Any]

_FINISH_REASONS = {"model_length": "length"}
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
# Of a message; the others go through.
_CONTENT = ("content", "reasoning_content", "tool_calls")
# What servers send as the id of a call without one.
_NO_ID = (None, "", "null")
_NAME = operator.itemgetter(0)
_NAME_CHARS_MAX = 256


def to_openai_response(document: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a chat completion.

    Args:
        document: The response in Mistral's form, as `to_dict` returns it; parts of it are used.
        defaults: Values for `id`, `created` and `model` where the response has none.

    Returns:
        The response in OpenAI's format.
    """
    response = {**_head(document, defaults), "object": "chat.completion"}
    if type(choices := document.get("choices")) is list:
        response["choices"] = [
            _choice(each, f"{response['id']} {at}") if type(each) is dict else each
            for at, each in enumerate(choices)
        ]
    if "usage" in document:
        response["usage"] = _usage(document["usage"])
    return response


class OpenAIStream:
    """Converts the chunks of one stream.

    Args:
        defaults: See `to_openai_response`.
        includes_usage: Whether the stream ends with a chunk for the usage.
    """

    def __init__(self, defaults: Mapping[str, Any], *, includes_usage: bool) -> None:
        self._head = dict(defaults)
        self._includes_usage = includes_usage
        self._usage: Any = None
        self._choices: dict[int, _StreamedChoice] = {}

    def convert(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """Convert a chunk.

        Args:
            document: The chunk in Mistral's form, as `to_dict` returns it; parts of it are used.

        Returns:
            Its chunks in OpenAI's format: several where a delta has thinking and text, none without choices.
        """
        head = _head(document, self._head)
        head.pop("p", None)
        self._head = {name: head[name] for name in self._head}
        usage = head.pop("usage", None)
        if usage is not None:
            self._usage = _usage(usage)
        choices = _objects_in(head.pop("choices", None))
        split = [self._convert_choice(each) for each in choices]
        chunks = [
            self._chunk([pieces[at] for pieces in split if at < len(pieces)])
            for at in range(max(map(len, split), default=0))
        ]
        # Its other members only once: many parts would multiply a long one.
        return [head | chunks[0], *chunks[1:]] if chunks else []

    def end(self) -> list[dict[str, Any]]:
        """Return the chunks that follow the last one."""
        pieces = [
            {"index": index, "delta": {"tool_calls": calls}, "finish_reason": None}
            for index, state in self._choices.items()
            if (calls := state.last_calls())
        ]
        chunks = [self._chunk(pieces)] if pieces else []
        if self._usage is not None and self._includes_usage:
            chunks.append({**self._chunk([]), "usage": self._usage})
        return chunks

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices}

    def _convert_choice(self, choice: dict[str, Any]) -> list[dict[str, Any]]:
        index = choice.get("index")
        index = index if type(index) is int else 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _StreamedChoice(f"{self._head['id']} {index}")
        delta, reason = choice.get("delta"), choice.get("finish_reason")
        if type(delta) is not dict or delta.get("role") == "tool":
            # The result of a built-in tool is no part of the answer.
            delta = {}
        deltas = state.deltas(delta, has_finished=bool(reason))
        pieces = [{"index": index, "delta": each, "finish_reason": None} for each in deltas]
        pieces[-1] = {**choice, **pieces[-1], "finish_reason": _finish_reason(reason)}
        return pieces


class _StreamedChoice:
    """What a choice of a stream has had.

    Args:
        id_: Identifies the choice.
    """

    def __init__(self, id_: str) -> None:
        self._id = id_
        self._has_role = False
        self._parts = _OtherParts()
        self._calls = ToolCalls()
        # How much of each call's name was sent, in characters.
        self._name_sizes: list[int] = []
        # Of calls that have had nothing but objects; they may be replaced by text or extended.
        self._objects: dict[int, dict[str, Any]] = {}

    def deltas(self, delta: dict[str, Any], *, has_finished: bool) -> list[dict[str, Any]]:
        """Convert a delta to one or more."""
        first = {name: value for name, value in delta.items() if value is not None and name not in _CONTENT}
        if self._has_role:
            first.pop("role", None)
        else:
            first = {"role": "assistant", **first}
            self._has_role = True
        pieces = self._parts.numbered(_pieces(delta))
        deltas: list[dict[str, Any]] = [{name: value} for name, value in pieces] or [{}]
        deltas[0] = first | deltas[0]
        calls = [piece for call in _objects_in(delta.get("tool_calls")) for piece in self._call_pieces(call)]
        if has_finished:
            calls += self.last_calls()
        if calls:
            deltas[-1]["tool_calls"] = calls
        return deltas

    def last_calls(self) -> list[dict[str, Any]]:
        """Return the pieces of calls whose arguments are objects, which nothing can follow now."""
        pieces = [_arguments_piece(at, _arguments_text(value)) for at, value in self._objects.items()]
        self._objects.clear()
        return pieces

    def _call_pieces(self, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Convert a piece of a tool call, unless nothing of it is to be sent now."""
        function = call.get("function")
        function = function if type(function) is dict else {}
        named = {"index": call.get("index"), "id": call.get("id"), "function": {"name": function.get("name")}}
        at = self._calls.add(named)
        size = self._calls.name_size_at(at)
        text = self._new_arguments(at, function.get("arguments"))
        if at < len(self._name_sizes):
            has_new_name = size > self._name_sizes[at]
            self._name_sizes[at] = size
            if has_new_name or text:
                piece = _arguments_piece(at, text)
                name = {"name": function["name"]} if has_new_name else {}
                yield {**piece, "function": piece["function"] | name}
            return
        self._name_sizes.append(size)
        more = {key: value for key, value in call.items() if value is not None}
        yield {
            **more,
            "index": at,
            "id": _openai_call_id(call, f"{self._id} {at}"),
            "type": "function",
            "function": {**function, "name": function["name"] if size else "", "arguments": text},
        }

    def _new_arguments(self, at: int, arguments: Any) -> str:
        """Return the text of arguments that can be sent now."""
        if type(arguments) is dict:
            self._objects.setdefault(at, {}).update(arguments)
            return ""
        text = _arguments_text(arguments)
        if text:
            self._objects.pop(at, None)
        return text


def _head(document: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an answer, with defaults for those that it must have."""
    return document | {name: value for name, value in defaults.items() if _is_no_name(document.get(name))}


def _is_no_name(value: Any) -> bool:
    # A long one would be multiplied: all chunks have it, and many may come from one.
    return value is None or len(str(value)) > _NAME_CHARS_MAX


def _objects_in(values: Any) -> list[dict[str, Any]]:
    return [each for each in values if type(each) is dict] if type(values) is list else []


def _choice(choice: dict[str, Any], id_: str) -> dict[str, Any]:
    converted = {**choice, "finish_reason": _finish_reason(choice.get("finish_reason"))}
    message = choice.get("message")
    if message is None and (messages := _objects_in(choice.get("messages"))):
        message = _joined(messages)
    if type(message) is dict:
        converted["message"] = _openai_message(message, id_)
    return converted


def _joined(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the messages of a choice in which built-in tools took part; results of tools are left out."""
    own = [message for message in messages if message.get("role") != "tool"]
    contents = [message.get("content") or [] for message in own]
    parts = [[{"type": "text", "text": each}] if isinstance(each, str) else each for each in contents]
    return {
        "content": [part for each in parts if type(each) is list for part in each],
        "tool_calls": [call for message in own for call in _objects_in(message.get("tool_calls"))],
    }


def _finish_reason(reason: Any) -> Any:
    return _FINISH_REASONS.get(reason, reason) if isinstance(reason, str) else reason


def _openai_message(message: dict[str, Any], id_: str) -> dict[str, Any]:
    converted = {
        name: value
        for name, value in message.items()
        if value is not None and name not in (*_CONTENT, "prefix")
    }
    pieces = [*_OtherParts().numbered(_pieces(message))]
    texts = [text for name, text in pieces if name == "content"]
    has_text = texts or message.get("content") is not None
    converted = {"role": "assistant", **converted, "content": "".join(texts) if has_text else None}
    if thinking := "".join(text for name, text in pieces if name == "reasoning_content"):
        converted["reasoning_content"] = thinking
    if parts := [part for name, value in pieces if name == "content_parts" for part in value]:
        converted["content_parts"] = parts
    if calls := _objects_in(message.get("tool_calls")):
        converted["tool_calls"] = [_openai_call(call, f"{id_} {at}") for at, call in enumerate(calls)]
    return converted


def _pieces(message: dict[str, Any]) -> list[Piece]:
    """Split the content of a message or delta into text, thinking and lists of other parts, in order."""
    content, thinking = message.get("content"), message.get("reasoning_content")
    pieces: list[Piece] = [("reasoning_content", thinking)] if isinstance(thinking, str) else []
    if isinstance(content, str):
        pieces.append(("content", content))
    elif content is not None:
        parts = content if type(content) is list else [content]
        pieces += [piece for part in parts for piece in _pieces_of_part(part)]
    groups = ((name, [piece[1] for piece in group]) for name, group in itertools.groupby(pieces, _NAME))
    return [(name, values if name == "content_parts" else "".join(values)) for name, values in groups]


def _pieces_of_part(part: Any) -> list[Piece]:
    match part:
        case {"type": "text", "text": str(text)}:
            return [("content", text)]
        case {"type": "thinking", "thinking": str(text)}:
            return [("reasoning_content", text)]
        case {"type": "thinking", "thinking": list(inner)}:
            pieces = [piece for each in inner for piece in _pieces_of_part(each)]
            return [("reasoning_content" if name == "content" else name, value) for name, value in pieces]
    return [("content_parts", part)]


class _OtherParts:
    """Numbers the parts of a message's content that are neither text nor thinking."""

    def __init__(self) -> None:
        self._count = self._offset = 0

    def numbered(self, pieces: list[Piece]) -> Iterator[Piece]:
        """Return pieces whose other parts have their numbers and places."""
        for name, value in pieces:
            if name == "content":
                self._offset += len(value)
            if name != "content_parts":
                yield name, value
                continue
            place = {"offset": self._offset}
            parts = [part if type(part) is dict else {"value": part} for part in value]
            yield name, [{**part, "index": at, **place} for at, part in enumerate(parts, self._count)]
            self._count += len(parts)


def _openai_call(call: dict[str, Any], id_: str) -> dict[str, Any]:
    function = call.get("function")
    converted = {name: value for name, value in call.items() if value is not None and name != "index"}
    if type(function) is dict:
        converted["function"] = {**function, "arguments": _arguments_text(function.get("arguments"))}
    return {**converted, "id": _openai_call_id(call, id_), "type": "function"}


def _openai_call_id(call: dict[str, Any], id_: str) -> Any:
    return short_id(id_) if call.get("id") in _NO_ID else call["id"]


def _arguments_piece(at: int, text: str) -> dict[str, Any]:
    return {"index": at, "function": {"arguments": text}}


def _arguments_text(arguments: Any) -> str:
    """Return arguments as JSON text whose numbers are unchanged."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    # The codec keeps all numbers of an object.
    call = from_dict(FunctionCall, {"arguments": {"": arguments}}, validate=False)
    return call.arguments_object.removeprefix('{"":').removesuffix("}")


def _usage(usage: Any) -> Any:
    if type(usage) is not dict:
        return usage
    counts = {name: usage.get(name) or 0 for name in _COUNTS}
    converted = {**{name: value for name, value in usage.items() if value is not None}, **counts}
    details = usage.get("prompt_tokens_details") or usage.get("prompt_token_details")
    if not details and usage.get("num_cached_tokens") is not None:
        details = {"cached_tokens": usage["num_cached_tokens"]}
    return converted | ({"prompt_tokens_details": details} if details else {})
