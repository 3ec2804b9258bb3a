"""Requests in OpenAI's format: docs/openai.md row by row, and recorded messages sent back."""

import json
from typing import Any

import pytest
from hypothesis import given

from mistralwire.codec import from_dict, from_json, to_dict
from mistralwire.gateway._openai._request import from_openai_request
from mistralwire.gateway._openai._response import to_openai_response
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionResponse
from tests import corpus
from tests.corpus import Body
from tests.gateway.openai_messages import meaning_of
from tests.gateway.test_openai_response import DEFAULTS, text
from tests.strategies import json_objects, loose_documents

MESSAGES = [{"role": "user", "content": "Hello"}]
REQUEST = {"model": "m", "messages": MESSAGES}


def message_for(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message in Mistral's form."""
    [converted] = from_openai_request({"model": "m", "messages": [message]}).document["messages"]
    assert isinstance(converted, dict)
    return converted


@pytest.mark.parametrize(
    ("members", "converted"),
    [
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 4, "max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 4, "max_completion_tokens": None}, {"max_tokens": 4}),
        ({"seed": 7}, {"random_seed": 7}),
        ({"stop": None, "tools": None, "odd": None}, {}),
        ({"logit_bias": {}, "modalities": ["text"]}, {}),
        (
            {"logit_bias": {"5": 1}, "modalities": ["audio"]},
            {"logit_bias": {"5": 1}, "modalities": ["audio"]},
        ),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    ],
)
def test_members_that_mistral_has_by_other_names(members: dict[str, Any], converted: dict[str, Any]) -> None:
    document, _, dropped = from_openai_request(REQUEST | members)
    assert document == REQUEST | converted
    assert dropped == []


@pytest.mark.parametrize(
    ("members", "dropped"),
    [
        ({"user": "u", "store": False, "verbosity": None}, ["user", "store"]),
        ({"safety_identifier": "s", "prompt_cache_retention": "24h"}, None),
        ({"verbosity": "low", "service_tier": "priority"}, None),
    ],
)
def test_what_mistral_refuses_is_dropped_and_named(
    members: dict[str, Any], dropped: list[str] | None
) -> None:
    request = from_openai_request(REQUEST | members)
    assert request.document == REQUEST
    assert request.dropped == (dropped or [*members])


@pytest.mark.parametrize(
    ("options", "includes_usage"),
    [
        ({"include_usage": True}, True),
        ({"include_usage": False}, False),
        ({}, False),
        (None, False),
        ("", False),
    ],
)
def test_usage_of_a_stream_is_asked_for(options: Any, includes_usage: bool) -> None:
    assert from_openai_request(REQUEST | {"stream_options": options}).includes_usage is includes_usage


def test_what_mistral_documents_is_unchanged() -> None:
    request = {
        **REQUEST,
        "temperature": 0.5,
        "n": 2,
        "stop": ["a"],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"a": None}}},
        "reasoning_effort": "low",
        "safe_prompt": True,
        "web_search_options": {},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    }
    assert from_openai_request(request).document == request


@pytest.mark.parametrize(
    ("message", "converted"),
    [
        ({"role": "developer", "content": "a"}, {"role": "system", "content": "a"}),
        ({"role": "user", "content": "a", "refusal": None}, {"role": "user", "content": "a"}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": None}),
        ({"role": "assistant", "refusal": "no"}, {"role": "assistant", "content": "no"}),
        (
            {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "parsed": {"a": 1}},
            {"role": "assistant", "content": "x"},
        ),
        (
            {"role": "assistant", "content": "x", "reasoning_content": "a"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": [text("a")]}, text("x")]},
        ),
        (
            {"role": "assistant", "content": [text("x")], "reasoning_content": "a"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": [text("a")]}, text("x")]},
        ),
        (
            {"role": "assistant", "reasoning_content": "a", "tool_calls": []},
            {
                "role": "assistant",
                "tool_calls": [],
                "content": [{"type": "thinking", "thinking": [text("a")]}],
            },
        ),
        (
            {"role": "assistant", "content": "x", "reasoning_content": ""},
            {"role": "assistant", "content": "x"},
        ),
        (
            {"role": "assistant", "content": "x", "reasoning_content": [text("a")]},
            {"role": "assistant", "content": "x", "reasoning_content": [text("a")]},
        ),
    ],
)
def test_messages(message: dict[str, Any], converted: dict[str, Any]) -> None:
    assert message_for(message) == converted


def test_only_a_tool_keeps_its_name() -> None:
    tool = {"role": "tool", "content": "x", "name": "f", "tool_call_id": "abcdefgh1"}
    messages = [{"role": "user", "content": "a", "name": "b"}, tool]
    request = from_openai_request({"model": "m", "messages": messages})
    assert request.document["messages"] == [{"role": "user", "content": "a"}, tool]
    assert request.dropped == ["messages.name"]


@pytest.mark.parametrize(
    ("part", "converted"),
    [
        (text("a"), text("a")),
        ({"type": "image_url", "image_url": {"url": "u", "detail": "low"}}, None),
        ({"type": "refusal", "refusal": "no"}, text("no")),
        (
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            {"type": "input_audio", "input_audio": "UklGRg=="},
        ),
        ({"type": "file", "file": {"file_id": "1"}}, {"type": "file", "file_id": "1"}),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
            {
                "type": "document_url",
                "document_url": "data:application/pdf;base64,AA==",
                "document_name": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:,"}},
            {"type": "document_url", "document_url": "data:,"},
        ),
    ],
)
def test_parts(part: dict[str, Any], converted: dict[str, Any] | None) -> None:
    assert message_for({"role": "user", "content": [part]}) == {
        "role": "user",
        "content": [converted or part],
    }


def test_a_call_and_its_answer_keep_one_id_that_mistral_accepts() -> None:
    def ids_for(id_: str) -> tuple[str, str]:
        call = {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        assistant = message_for({"role": "assistant", "content": None, "tool_calls": [call]})
        tool = message_for({"role": "tool", "content": "x", "tool_call_id": id_})
        assert assistant["tool_calls"] == [{**call, "id": tool["tool_call_id"]}]
        return assistant["tool_calls"][0]["id"], tool["tool_call_id"]

    assert ids_for("abcdEFGH1") == ("abcdEFGH1", "abcdEFGH1")
    first, second = ids_for("call_abc"), ids_for("call_abd")
    assert first != second
    assert all(len(id_) == 9 and id_.isalnum() for id_ in (*first, *second))


@pytest.mark.parametrize("parameters", [{}, {"parameters": None}])
def test_a_function_without_parameters_takes_none(parameters: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f", **parameters}}]
    [tool] = from_openai_request(REQUEST | {"tools": tools}).document["tools"]
    assert tool["function"] == {"name": "f", "parameters": {"type": "object", "properties": {}}}


@corpus.each_file(("chat_json",))
def test_a_recorded_message_that_is_sent_back_keeps_text_thinking_and_calls(bodies: list[Body]) -> None:
    for body in bodies:
        original = to_dict(from_json(ChatCompletionResponse, body.text, validate=False))
        converted = to_openai_response(json.loads(json.dumps(original)), DEFAULTS)
        for before, after in zip(original["choices"], converted["choices"], strict=True):
            returned = message_for(after["message"])
            assert meaning_of(returned) == meaning_of(before["message"])
            request = {"model": "m", "messages": [*MESSAGES, returned]}
            # It keeps the contract.
            assert to_dict(from_dict(ChatCompletionRequest, request)) == request


@given(loose_documents(ChatCompletionRequest) | json_objects())
def test_any_request_can_be_converted(document: dict[str, Any]) -> None:
    before = repr(document)
    from_openai_request(document)
    assert repr(document) == before
