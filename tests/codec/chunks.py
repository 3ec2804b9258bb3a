"""Chunks as tests write them, and what they add up to."""

from typing import Any

from mistralwire.codec import accumulate, from_dict, to_dict
from mistralwire.v1 import CompletionChunk

Json = dict[str, Any]


def make_chunk(**members: Any) -> Json:
    """Return a chunk with these members."""
    return {
        "id": "cmpl-7",
        "object": "chat.completion.chunk",
        "model": "m-1",
        "created": 1_700_000_000,
    } | members


def make_piece(delta: Json, *, index: int = 0, **members: Any) -> Json:
    """Return a chunk that adds to one choice."""
    return make_chunk(choices=[{"index": index, "delta": delta, "finish_reason": None} | members])


def read_chunk(chunk: Json) -> CompletionChunk:
    """Read a chunk as one of a server's."""
    return from_dict(CompletionChunk, chunk, validate=False)


def accumulated(*chunks: Json) -> Json:
    """Return the response that chunks add up to."""
    return to_dict(accumulate(map(read_chunk, chunks)))


def merged(*deltas: Json) -> Json:
    """Return the message that deltas make."""
    message: Json = accumulated(*map(make_piece, deltas))["choices"][0]["message"]
    return message


def called(*deltas: list[Any]) -> list[Json]:
    """Return the tool calls that pieces make, in as many chunks as there are lists."""
    calls: list[Json] = merged(*({"tool_calls": pieces} for pieces in deltas))["tool_calls"]
    return calls


def make_call(arguments: Any = None, name: str | None = None, **members: Any) -> Json:
    """Return a piece of a tool call; what is None is absent from its function."""
    function = {"name": name, "arguments": arguments}
    return members | {"function": {key: item for key, item in function.items() if item is not None}}
