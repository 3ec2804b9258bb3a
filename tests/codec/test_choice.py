"""The text and the tool calls of a choice, whatever the shape of the answer."""

import json
from typing import Any

import pytest

from mistralwire import from_dict, text_of, to_json, tool_calls_of
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse

THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Not this."}]}
PARTS = [
    THINKING,
    {"type": "text", "text": "Seven"},
    {"type": "reference", "reference_ids": [3]},
    {"type": "hologram", "text": "nor this"},
    {"text": "nor this"},
    {"type": "text", "text": " sins."},
]
SEARCH = {"id": "q1", "function": {"name": "web_search", "arguments": "{}"}}
MESSAGES = [
    {"role": "assistant", "content": "Let me look. ", "tool_calls": [SEARCH], "index": 0},
    {"role": "tool", "content": [{"type": "text", "text": "found"}], "tool_call_id": "q1", "index": 1},
    {"role": "assistant", "content": "Done.", "index": 2},
]


def response_with(*choices: dict[str, Any]) -> ChatCompletionResponse:
    value = {"id": "1", "model": "m", "choices": list(choices), "created": 1, "object": "chat.completion"}
    return from_dict(ChatCompletionResponse, value, validate=False)


def chunk_with(*choices: dict[str, Any]) -> CompletionChunk:
    return from_dict(CompletionChunk, {"id": "1", "model": "m", "choices": list(choices)}, validate=False)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"content": "Bonjour!"}, "Bonjour!"),
        ({"content": PARTS}, "Seven sins."),
        ({"content": [THINKING]}, ""),
        ({"content": []}, ""),
        ({"content": None}, ""),
        ({}, ""),
    ],
)
def test_text_of_a_message_and_of_a_delta(members: dict[str, Any], text: str) -> None:
    assert text_of(response_with({"index": 0, "message": members})) == text
    assert text_of(chunk_with({"index": 0, "delta": members})) == text


def test_text_of_several_messages_is_what_the_model_said() -> None:
    response = response_with({"index": 0, "finish_reason": "stop", "messages": MESSAGES})
    assert text_of(response) == "Let me look. Done."
    assert [call.id for call in tool_calls_of(response)] == ["q1"]
    deltas = [chunk_with({"index": 0, "delta": message}) for message in MESSAGES]
    assert [text_of(delta) for delta in deltas] == ["Let me look. ", "", "Done."]


def test_text_of_other_choices() -> None:
    choices: list[dict[str, Any]] = [{"index": 1, "message": {"content": "b"}}, {"message": {"content": "a"}}]
    assert [text_of(response_with(*choices), index=index) for index in range(3)] == ["a", "b", ""]
    assert text_of(response_with()) == text_of(chunk_with()) == ""
    assert tool_calls_of(response_with()) == tool_calls_of(chunk_with(), index=1) == []


def test_text_of_a_fim_response() -> None:
    value = {"id": "1", "choices": [{"index": 0, "message": {"content": "return a"}}]}
    assert text_of(from_dict(FIMCompletionResponse, value, validate=False)) == "return a"


@pytest.mark.parametrize("arguments", ['{"left": 9007199254740993}', {"left": 9007199254740993}])
def test_arguments_are_text_in_either_form(arguments: object) -> None:
    members = {"tool_calls": [{"id": "a", "function": {"name": "add", "arguments": arguments}, "p": None}]}
    for answer in (
        response_with({"index": 0, "message": members}),
        chunk_with({"index": 0, "delta": members}),
    ):
        before = to_json(answer)
        (call,) = tool_calls_of(answer)
        assert (call.id, call.function.name) == ("a", "add")
        assert json.loads(call.function.arguments_string) == {"left": 9007199254740993}
        assert to_json(answer) == before
        assert '"p":null' in to_json(call).decode()


@pytest.mark.parametrize("members", [{"tool_calls": None}, {"tool_calls": []}, {"content": PARTS}])
def test_no_tool_calls(members: dict[str, Any]) -> None:
    assert tool_calls_of(response_with({"index": 0, "message": members})) == []
    assert tool_calls_of(chunk_with({"index": 0, "delta": members})) == []
