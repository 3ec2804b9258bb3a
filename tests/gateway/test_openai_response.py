"""Answers in OpenAI's format: docs/openai.md row by row, and recorded answers and streams as wholes."""

import base64
import json
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import accumulate, from_json, to_dict
from mistralwire.gateway._openai._response import OpenAIStream, to_openai_response
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk
from tests import corpus
from tests.corpus import Body
from tests.gateway.openai_messages import meaning_of
from tests.strategies import json_objects, loose_documents

DEFAULTS = {"id": "chatcmpl-1", "created": 5, "model": "asked"}
HEAD = {"id": "c", "created": 1, "model": "m"}
CALL = {"id": "abcdefgh1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
REFERENCE = {"type": "reference", "reference_ids": [3, "a"]}
ANSWERS = ("chat_json", "chat_sse", "openai_json", "openai_sse", "openrouter_json", "openrouter_sse")
VECTORS = pathlib.Path(__file__).parents[2] / "proto" / "vectors" / "streams.json"


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def thinking(*parts: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [*parts], "closed": True}


def message_of(message: dict[str, Any], **choice: Any) -> dict[str, Any]:
    """Return the message of a converted response."""
    document = {**HEAD, "choices": [{"index": 0, "message": message, **choice}]}
    converted = to_openai_response(document, DEFAULTS)["choices"][0]["message"]
    assert isinstance(converted, dict)
    return converted


def stream_of(*choices: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """Return the chunks of a stream with one choice in each of Mistral's chunks."""
    stream = OpenAIStream(DEFAULTS, includes_usage=False)
    chunks = [{**HEAD, "choices": [{"index": 0, **choice}], **options} for choice in choices]
    return [converted for chunk in chunks for converted in stream.convert(chunk)] + stream.end()


def deltas_of(*deltas: dict[str, Any], finish_reason: str | None = None) -> list[dict[str, Any]]:
    """Return the deltas of a stream; the last one of Mistral's comes with the finish reason."""
    choices: list[dict[str, Any]] = [{"delta": delta, "finish_reason": None} for delta in deltas]
    choices[-1]["finish_reason"] = finish_reason
    return [chunk["choices"][0]["delta"] for chunk in stream_of(*choices)]


@pytest.mark.parametrize(
    ("content", "converted"),
    [
        ("Hello", {"content": "Hello"}),
        ("", {"content": ""}),
        (None, {"content": None}),
        ([], {"content": ""}),
        ([text("Hel"), text("lo")], {"content": "Hello"}),
        ([thinking(text("a"), text("b"))], {"content": "", "reasoning_content": "ab"}),
        (
            [thinking(text("a")), text("x"), thinking(text("b")), text("y")],
            {"content": "xy", "reasoning_content": "ab"},
        ),
        ([{"type": "thinking", "thinking": "a"}], {"content": "", "reasoning_content": "a"}),
        ([thinking()], {"content": ""}),
        (text("x"), {"content": "x"}),
        (5, {"content": "", "content_parts": [{"value": 5, "index": 0, "offset": 0}]}),
        (
            [text("né"), REFERENCE, text("x"), {"type": "odd"}],
            {
                "content": "néx",
                "content_parts": [
                    {**REFERENCE, "index": 0, "offset": 2},
                    {"type": "odd", "index": 1, "offset": 3},
                ],
            },
        ),
        (
            [thinking(text("a"), REFERENCE), text("x")],
            {
                "content": "x",
                "reasoning_content": "a",
                "content_parts": [{**REFERENCE, "index": 0, "offset": 0}],
            },
        ),
    ],
)
def test_content_is_a_string(content: Any, converted: dict[str, Any]) -> None:
    assert message_of({"role": "assistant", "content": content}) == {"role": "assistant", **converted}


def test_messages_of_built_in_tools_are_joined() -> None:
    messages = [
        {"role": "assistant", "content": "a", "tool_calls": [CALL]},
        {"role": "tool", "content": "a result"},
        {"role": "assistant", "content": [thinking(text("b")), text("c")]},
    ]
    choice = {"index": 0, "messages": messages}
    [converted] = to_openai_response({**HEAD, "choices": [choice]}, DEFAULTS)["choices"]
    assert converted["messages"] == messages
    assert converted["message"] == {
        "role": "assistant",
        "content": "ac",
        "reasoning_content": "b",
        "tool_calls": [CALL],
    }
    assert deltas_of({"role": "tool", "content": "a result"}, {"content": "c"}) == [
        {"role": "assistant"},
        {"content": "c"},
    ]


def test_a_message_has_no_nulls_and_no_prefix_but_all_else() -> None:
    message = {"role": None, "content": "a", "tool_calls": None, "prefix": False, "odd": [None], "name": None}
    assert message_of(message) == {"role": "assistant", "content": "a", "odd": [None]}


def test_reasoning_content_of_other_servers_is_kept() -> None:
    message = {"role": "assistant", "content": [text("x")], "reasoning_content": "a"}
    assert message_of(message) == {"role": "assistant", "content": "x", "reasoning_content": "a"}


@pytest.mark.parametrize(
    ("arguments", "converted"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ({"b": 9007199254740993123456, "a": 1.0}, '{"b":9007199254740993123456,"a":1.0}'),
        (None, ""),
        ([1, 9007199254740993123456], "[1,9007199254740993123456]"),
        (5, "5"),
    ],
)
def test_arguments_are_text_whose_numbers_are_unchanged(arguments: Any, converted: str) -> None:
    document = {
        "choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}}]
    }
    response = to_dict(from_json(ChatCompletionResponse, json.dumps(document), validate=False))
    [call] = to_openai_response(response, DEFAULTS)["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": converted}


@pytest.mark.parametrize("id_", [None, "", "null"])
def test_a_call_without_an_id_gets_one_that_mistral_accepts(id_: str | None) -> None:
    calls = [{**CALL, "id": id_, "index": 0}, {**CALL, "id": id_, "index": 1}, CALL]
    converted = message_of({"content": "", "tool_calls": calls})["tool_calls"]
    again = message_of({"content": "", "tool_calls": calls})["tool_calls"]
    assert converted == again
    ids = [call["id"] for call in converted]
    assert len({*ids}) == 3
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert converted[2] == CALL
    assert {*converted[0]} == {"id", "type", "function"}


@pytest.mark.parametrize(
    ("reason", "converted"),
    [("stop", "stop"), ("model_length", "length"), ("error", "error"), ("odd", "odd"), (None, None)],
)
def test_finish_reasons(reason: str | None, converted: str | None) -> None:
    choice = {"index": 0, "message": {"content": ""}, "finish_reason": reason}
    response = to_openai_response({**HEAD, "choices": [choice]}, DEFAULTS)
    assert response["choices"][0]["finish_reason"] == converted
    assert stream_of({"delta": {}, "finish_reason": reason})[0]["choices"][0]["finish_reason"] == converted


@pytest.mark.parametrize(
    ("usage", "converted"),
    [
        (
            {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_audio_seconds": None},
            {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        ),
        ({}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        (
            {"prompt_tokens": 1, "completion_tokens": None, "total_tokens": 1, "num_cached_tokens": 4},
            {
                "prompt_tokens": 1,
                "completion_tokens": 0,
                "total_tokens": 1,
                "num_cached_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        ),
        (
            {"total_tokens": 1, "prompt_token_details": {"cached_tokens": 4}, "odd": 1},
            {
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "total_tokens": 1,
                "odd": 1,
                "prompt_token_details": {"cached_tokens": 4},
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        ),
    ],
)
def test_usage_has_all_counts(usage: dict[str, Any], converted: dict[str, Any]) -> None:
    assert to_openai_response({**HEAD, "usage": usage}, DEFAULTS)["usage"] == converted


def test_an_answer_has_an_id_a_time_and_a_model() -> None:
    assert to_openai_response({"id": None, "odd": 1}, DEFAULTS) == {
        **DEFAULTS,
        "odd": 1,
        "object": "chat.completion",
    }
    assert stream_of({"delta": {}})[0].items() >= HEAD.items()


@pytest.mark.parametrize("long", ["x" * 257, [0] * 100])
def test_a_long_id_or_model_is_not_repeated_in_each_chunk(long: Any) -> None:
    assert to_openai_response({"id": long}, DEFAULTS)["id"] == DEFAULTS["id"]
    [chunk] = stream_of({"delta": {}}, id=long, model=long)
    assert chunk.items() >= {**HEAD, "id": DEFAULTS["id"], "model": DEFAULTS["model"]}.items()


def test_thinking_and_text_of_one_delta_are_chunks_in_order() -> None:
    parts = [text("x"), thinking(text("a")), thinking(text("b")), text("y"), text("z")]
    choice = {
        "delta": {"role": "assistant", "content": parts},
        "finish_reason": "stop",
        "logprobs": {"odd": 1},
    }
    assert [chunk["choices"][0] for chunk in stream_of(choice)] == [
        {"index": 0, "delta": {"role": "assistant", "content": "x"}, "finish_reason": None},
        {"index": 0, "delta": {"reasoning_content": "ab"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "yz"}, "finish_reason": "stop", "logprobs": {"odd": 1}},
    ]


def test_other_parts_of_a_stream_are_numbered_in_its_choice() -> None:
    first, second = deltas_of({"content": [text("ab"), REFERENCE]}, {"content": [REFERENCE]})[1:]
    assert first == {"content_parts": [{**REFERENCE, "index": 0, "offset": 2}]}
    assert second == {"content_parts": [{**REFERENCE, "index": 1, "offset": 2}]}


def test_a_role_comes_once_and_nulls_never() -> None:
    assert deltas_of(
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "a", "tool_calls": None},
        {"role": None, "content": None, "tool_calls": [], "odd": 1},
    ) == [{"role": "assistant", "content": ""}, {"content": "a"}, {"odd": 1}]
    assert deltas_of({"role": None, "content": "a"}, {"content": "b"}) == [
        {"role": "assistant", "content": "a"},
        {"content": "b"},
    ]


def test_padding_is_left_out_and_other_members_of_chunks_are_not() -> None:
    [chunk] = stream_of({"delta": {"content": "a"}}, p="abcdef", system_fingerprint="f")
    assert chunk == {
        **HEAD,
        "object": "chat.completion.chunk",
        "system_fingerprint": "f",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None}],
    }


def test_members_of_a_chunk_that_becomes_several_are_in_the_first() -> None:
    first, *others = stream_of({"delta": {"content": [text("x"), thinking(text("a")), text("y")]}}, odd=1)
    assert first["odd"] == 1
    assert [{*chunk} for chunk in others] == 2 * [{*HEAD, "object", "choices"}]


def piece(arguments: Any, **members: Any) -> dict[str, Any]:
    name = members.pop("name", None)
    return {"function": {"name": name, "arguments": arguments}, **members}


def test_only_the_first_piece_of_a_call_has_id_and_name() -> None:
    first, second = piece('{"a"', name="f", id="abcdefgh1", index=0), piece(": 1}", id="null", index=0)
    assert deltas_of({"tool_calls": [first]}, {"tool_calls": [second]}) == [
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "abcdefgh1",
                    "index": 0,
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a"'},
                }
            ],
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
    ]


def test_ids_and_names_that_are_repeated_are_not_sent_again() -> None:
    repeated = {"name": "f", "id": "abcdefgh1", "index": 0}
    [_, second] = deltas_of(
        {"tool_calls": [piece("{", **repeated)]}, {"tool_calls": [piece("}", **repeated)]}
    )
    assert second == {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}


def test_a_name_in_pieces_is_sent_in_pieces() -> None:
    [_, second, third] = deltas_of(
        {"tool_calls": [piece("", name="get_", id="abcdefgh1", index=0)]},
        {"tool_calls": [piece("", name="weather", index=0)]},
        {"tool_calls": [piece("", index=0)]},
    )
    assert second == {"tool_calls": [{"index": 0, "function": {"arguments": "", "name": "weather"}}]}
    assert third == {}


def test_calls_are_numbered_as_they_begin_whatever_index_they_have() -> None:
    calls = [
        piece("{}", name=name, id=id_, index=0) for name, id_ in (("f", "abcdefgh1"), ("g", "abcdefgh2"))
    ]
    [delta] = deltas_of({"tool_calls": calls})
    assert [(each["index"], each["function"]["name"]) for each in delta["tool_calls"]] == [(0, "f"), (1, "g")]


def test_arguments_that_are_objects_are_sent_once_at_the_end_of_the_choice() -> None:
    named = {"name": "f", "id": "abcdefgh1", "index": 0}
    [first, second, last] = deltas_of(
        {"tool_calls": [piece({}, **named)]},
        {"tool_calls": [piece({"a": 1}, index=0)]},
        {"tool_calls": [piece({"b": 2}, index=0)]},
        finish_reason="tool_calls",
    )
    assert first["tool_calls"][0]["function"] == {"name": "f", "arguments": ""}
    assert second == {}
    assert last == {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1,"b":2}'}}]}


@pytest.mark.parametrize("reason", [None, ""])
def test_arguments_that_are_objects_are_sent_at_the_end_of_a_stream_without_a_reason(reason: Any) -> None:
    calls = [piece({"a": 1}, name="f", id="abcdefgh1", index=0)]
    first, last = stream_of({"delta": {"tool_calls": calls}, "finish_reason": reason})
    assert first["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == ""
    delta = {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}
    assert last["choices"] == [{"index": 0, "delta": delta, "finish_reason": None}]


def test_an_empty_object_before_text_is_not_sent() -> None:
    named = {"name": "f", "id": "abcdefgh1", "index": 0}
    [_, last] = deltas_of(
        {"tool_calls": [piece({}, **named)]}, {"tool_calls": [piece("{}", index=0)]}, finish_reason="stop"
    )
    assert last == {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}


@pytest.mark.parametrize("includes_usage", [False, True])
def test_usage_is_a_chunk_of_its_own_if_it_was_asked_for(includes_usage: bool) -> None:
    stream = OpenAIStream(DEFAULTS, includes_usage=includes_usage)
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    [last] = stream.convert({**HEAD, "choices": [{"index": 0, "delta": {}}], "usage": {**usage, "odd": None}})
    assert "usage" not in last
    assert stream.convert({"choices": [], "usage": None}) == []
    expected = {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": usage}
    assert stream.end() == ([expected] if includes_usage else [])


def test_choices_of_one_chunk_are_split_beside_each_other() -> None:
    stream = OpenAIStream(DEFAULTS, includes_usage=False)
    choices = [
        {"index": 0, "delta": {"content": [thinking(text("a")), text("x")]}},
        {"index": 1, "delta": {"content": "y"}},
    ]
    first, second = stream.convert({**HEAD, "choices": choices})
    assert [choice["index"] for choice in first["choices"]] == [0, 1]
    assert [choice["index"] for choice in second["choices"]] == [0]


# As wholes.


def collect(chunks: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Concatenate a stream as OpenAI's clients do: all strings, and calls by their index."""
    messages: dict[int, dict[str, Any]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        message = messages.setdefault(choice["index"], {"content": "", "reasoning_content": "", "role": ""})
        delta = choice["delta"]
        for name in ("content", "reasoning_content", "role"):
            message[name] += delta.get(name, "")
        calls = message.setdefault("tool_calls", [])
        for each in delta.get("tool_calls", ()):
            if each["index"] == len(calls):
                calls.append({"id": "", "function": {"name": "", "arguments": ""}})
            call = calls[each["index"]]
            call["id"] += each.get("id", "")
            for name, value in each["function"].items():
                call["function"][name] += value
    return messages


def check_stream(chunks: list[CompletionChunk]) -> None:
    """Check that a converted stream has what the stream itself accumulates to."""
    original = to_dict(accumulate(chunks))
    stream = OpenAIStream(DEFAULTS, includes_usage=True)
    converted = [each for chunk in chunks for each in stream.convert(to_dict(chunk))] + stream.end()
    messages = collect(converted)
    choices = [choice for choice in original.get("choices") or () if choice.get("message") is not None]
    assert len(messages) == len(choices)
    for choice in choices:
        message = messages[choice.get("index") or 0]
        assert meaning_of(message) == meaning_of(choice["message"])
        assert message["role"] == "assistant"
        ids = [call["id"] for call in message["tool_calls"]]
        assert len({*ids}) == len(ids)
        given = [call.get("id") for call in choice["message"].get("tool_calls") or ()]
        assert {id_ for id_ in given if id_ not in (None, "", "null")} <= {*ids}
    assert all("p" not in chunk and type(chunk["id"]) is str for chunk in converted)
    assert all(chunk["choices"] or "usage" in chunk for chunk in converted)


@corpus.each_file(ANSWERS)
def test_recorded_answers_keep_text_thinking_and_calls(bodies: list[Body]) -> None:
    if bodies and bodies[0].message_type is CompletionChunk:
        check_stream([from_json(CompletionChunk, body.text, validate=False) for body in bodies])
    for body in bodies:
        if body.message_type is ChatCompletionResponse:
            original = to_dict(from_json(ChatCompletionResponse, body.text, validate=False))
            converted = to_openai_response(json.loads(json.dumps(original)), DEFAULTS)
            for before, after in zip(original["choices"], converted["choices"], strict=True):
                assert meaning_of(after["message"]) == meaning_of(before["message"])
                assert type(after["message"]["content"]) in (str, type(None))


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text())["cases"], ids=lambda case: case["name"])
def test_streams_of_the_vectors_keep_text_thinking_and_calls(case: dict[str, Any]) -> None:
    wires = [base64.b64decode(event["wire"]) for event in case["events"] if event["kind"] == "message"]
    check_stream([CompletionChunk.FromString(wire) for wire in wires])


@given(loose_documents(ChatCompletionResponse) | json_objects())
def test_any_answer_can_be_converted(document: dict[str, Any]) -> None:
    assert to_openai_response(document, DEFAULTS)["object"] == "chat.completion"


@given(st.lists(loose_documents(CompletionChunk) | json_objects(), max_size=3))
def test_any_chunks_can_be_converted(documents: list[dict[str, Any]]) -> None:
    stream = OpenAIStream(DEFAULTS, includes_usage=True)
    for document in documents:
        for chunk in stream.convert(document):
            assert all(type(choice["delta"]) is dict for choice in chunk["choices"])
    stream.end()
