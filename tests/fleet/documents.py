"""Documents with what next year's contract adds, as it should be and otherwise."""

import json
from typing import Any, NamedTuple

from tests.json_equality import parse_exactly

_SPELLINGS = {"generationReport": "generation_report", "thinkingBudget": "thinking_budget"}


def told(text: str | bytes) -> Any:
    """Parse a document so that what says the same is equal, next year's names in either spelling too."""
    return _renamed(parse_exactly(text))


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_SPELLINGS.get(name, name): _renamed(item) for name, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


_VIDEO = {"type": "video_url", "video_url": "https://example.com/v"}
_CALL = {
    "id": {"value": "c-1", "origin": "tool", "more": [1, None]},
    "type": "function",
    "function": {"name": "f", "arguments": ["a", "b"]},
}
_REPORT: dict[str, Any] = {"region": "eu", "warnings": ["slow"], "seconds": 1.5, "more": {"a": [{}]}}


def _choice(finish_reason: str = "content_filter", **message: Any) -> dict[str, Any]:
    return {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", **message},
        "logprobs": None,
    }


def _answer(*choices: dict[str, Any], **members: Any) -> str:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    base = {"id": "r-1", "object": "chat.completion", "model": "m", "created": 1, "usage": usage}
    return json.dumps({**base, "choices": list(choices), **members})


NEWEST_ANSWER = _answer(
    _choice(
        content=[{"type": "text", "text": "t"}, _VIDEO, {"type": "reference", "reference_ids": [True, 1]}],
        tool_calls=[_CALL],
    ),
    generation_report=_REPORT,
)
"""An answer in which each addition of next year's contract is in its field."""

NEWS = (
    "generation_report {",
    "finish_reason: FINISH_REASON_CONTENT_FILTER",
    "video_url {",
    "id_object {",
    "arguments_array {",
)
"""What an answer has in its fields, as text of protobuf, if next year's additions are."""

ANSWERS = [
    NEWEST_ANSWER,
    _answer(_choice("stop", content="plain"), more={"generation_report": 1}),
    _answer(_choice("safety", content=None), generation_report=None),
    _answer(_choice(content=[]), generation_report={"warnings": [], "region": None}, labels=[]),
    _answer(_choice(content=[_VIDEO]), generation_report="a string"),
    _answer(_choice(content=[_VIDEO | {"video_url": 5}, _VIDEO | {"more": 1}]), generationReport=_REPORT),
    _answer(_choice(content=[{"type": "video_url"}, {"type": "newer_still"}]), generation_report=[]),
    _answer(_choice(tool_calls=[_CALL | {"id": 5}, _CALL | {"id": "c"}, _CALL | {"id": None}])),
    _answer(_choice(tool_calls=[{"id": {}, "function": {"name": "f", "arguments": []}}])),
    _answer(_choice(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": [1, {}]}}])),
    _answer(_choice(tool_calls=[{"id": {"value": 1}, "function": {"name": "f", "arguments": {"a": [1]}}}])),
    # Numbers that neither a double nor 64 bits hold, and names that are escaped.
    NEWEST_ANSWER.replace("1.5", "0.1000000000000000055").replace(
        '"more": [1', '"more": [18446744073709551617'
    ),
    NEWEST_ANSWER.replace("video_url", "video\\u005furl").replace("content_filter", "c\\u006fntent_filter"),
    _answer(_choice("content_filter\ud83d", content="\ud83d")),
]


def _chunk(*choices: dict[str, Any], **members: Any) -> str:
    base = {"id": "r-1", "object": "chat.completion.chunk", "model": "m", "created": 1}
    return json.dumps({**base, "choices": list(choices), **members})


def _piece(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


STREAMS = [
    [
        _chunk(_piece(role="assistant", content="")),
        _chunk(_piece(content="text"), generation_report=None),
        _chunk(_piece(content=[_VIDEO, {"type": "text", "text": "t"}]), generation_report=_REPORT),
        _chunk(_piece(tool_calls=[_CALL]), generationReport={"warnings": []}),
        _chunk(_piece("content_filter", content="")),
        _chunk(usage={"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0}, generation_report="x"),
    ],
    [_chunk(_piece("safety", tool_calls=[_CALL | {"id": 5}])), _chunk(_piece("content_filter"), labels=None)],
]


class Request(NamedTuple):
    """A request, and whether each contract accepts it."""

    name: str
    text: str
    old: bool
    new: bool


def _request(
    name: str, *, old: bool, new: bool, message: dict[str, Any] | None = None, **members: Any
) -> Request:
    messages = [{"role": "user", "content": "hi"}]
    if message is not None:
        messages.append(message)
    return Request(name, json.dumps({"model": "m", "messages": messages, **members}), old, new)


def _user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def _assistant(**call: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [_CALL | {"id": "c"} | call]}


_BY_NAME = {"function": {"name": "f", "arguments": "{}"}}

NEWEST_REQUEST = _request(
    "all", old=False, new=True, message=_assistant(id=_CALL["id"]), thinking_budget=5, labels=["a"]
)
"""A request in which what next year's contract adds is in its fields."""

REQUESTS = [
    NEWEST_REQUEST,
    _request("nothing newer", old=True, new=True, labels_of_mine=5),
    _request("a new field", old=True, new=True, thinking_budget=5, labels=["a", "b"]),
    _request("a new field as null", old=True, new=True, thinking_budget=None, labels=None),
    _request("a new field as an empty array", old=True, new=True, labels=[]),
    _request("a new field in the other spelling", old=True, new=True, thinkingBudget=5),
    _request("a new field of another JSON type", old=True, new=False, thinking_budget="much", labels=5),
    _request("a new field with odd elements", old=True, new=False, labels=[1, "a"]),
    _request("a new alternative", old=True, new=True, message=_user(_VIDEO, {"type": "newer_still"})),
    _request("a new alternative of another shape", old=True, new=False, message=_user({"type": "video_url"})),
    _request(
        "a new JSON type in a list",
        old=False,
        new=True,
        message=_user({"type": "reference", "reference_ids": [True]}),
    ),
    _request("a string that became a union", old=True, new=True, message=_assistant(**_BY_NAME)),
    _request("the new form of it", old=False, new=True, message=_assistant(id={"value": "c"}, **_BY_NAME)),
    _request("a new form that is wrong", old=False, new=False, message=_assistant(id={}, **_BY_NAME)),
    _request("the new form of a union", old=False, new=True, message=_assistant()),
    _request("what neither accepts", old=False, new=False, temperature="hot", thinking_budget=1),
    _request(
        "what each accepts in part",
        old=False,
        new=False,
        message=_assistant(id={"value": "c"}),
        thinking_budget="much",
    ),
]
