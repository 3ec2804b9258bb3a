"""The chunks of a stream, put together."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import Accumulator, accumulate, from_dict, from_json, to_dict, to_json
from mistralwire.errors import EncodeError
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse
from tests import corpus
from tests.codec.chunks import accumulated, called, make_call, make_chunk, make_piece, merged, read_chunk
from tests.corpus import Body
from tests.json_equality import parse_exactly
from tests.strategies import to_json_text, valid_documents

Json = dict[str, Any]


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _thinking(*texts: str, **members: Any) -> Json:
    return {"type": "thinking", "thinking": [_text(text) for text in texts]} | members


def test_no_chunks_give_an_empty_response() -> None:
    assert accumulate([]) == ChatCompletionResponse()


def test_a_stream_becomes_the_response_it_stands_for() -> None:
    response = accumulated(
        make_piece({"role": "assistant", "content": ""}),
        make_piece({"content": "It "}),
        make_piece({"content": "rains."}),
        make_piece({"content": ""}, finish_reason="stop")
        | {"usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}},
    )
    assert response == {
        "id": "cmpl-7",
        "object": "chat.completion",
        "model": "m-1",
        "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
        "created": 1_700_000_000,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "It rains."},
            }
        ],
    }
    from_dict(ChatCompletionResponse, response)


@pytest.mark.parametrize(
    ("object_", "expected"),
    [("chat.completion.chunk", "chat.completion"), ("chat.completion", "chat.completion"), ("odd", "odd")],
)
def test_only_the_object_of_chunks_becomes_that_of_responses(object_: str, expected: str) -> None:
    assert accumulated(make_chunk(object=object_, choices=[]))["object"] == expected


def test_what_all_chunks_say_alike_is_taken_from_the_first_that_says_it() -> None:
    empty = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
    response = accumulated(
        {"id": None, "choices": []},
        empty,
        make_chunk(id="first", created=5, choices=[]),
        make_chunk(id="second", created=6, model="m-2", choices=[]),
        empty,
    )
    found = (response["id"], response["created"], response["model"], response["object"])
    assert found == ("first", 5, "m-1", "chat.completion")


def test_empty_members_of_chunks_and_choices_replace_nothing() -> None:
    filters, tier = {"hate": {"filtered": False}}, "low"
    chunks = [
        make_piece({}, filters=filters, note="") | {"tier": tier},
        make_piece({}, filters={}, note="x") | {"tier": ""},
        make_piece({}, filters=None, note="") | {"tier": None},
    ]
    response = accumulated(*chunks)
    assert (response["tier"], response["choices"][0]["filters"]) == (tier, filters)
    assert response["choices"][0]["note"] == "x"


def test_an_empty_string_stays_where_nothing_else_was_said() -> None:
    response = accumulated(make_chunk(id="", model="", choices=[]), make_chunk(id=None, model=None))
    assert (response["id"], response["model"]) == ("", "")


def test_choices_grow_side_by_side_and_stand_by_index() -> None:
    response = accumulated(
        make_piece({"content": "b"}, index=1),
        make_piece({"content": "a"}, index=0),
        make_piece({"content": "B"}, index=1, finish_reason="length"),
        make_chunk(
            choices=[
                {"index": 0, "delta": {"content": "A"}, "finish_reason": "stop"},
                {"index": 10, "delta": {"content": "k"}, "finish_reason": None},
                {"index": 2, "delta": {"content": "c"}, "finish_reason": None},
            ]
        ),
    )
    found = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in response["choices"]]
    assert found == [(0, "aA", "stop"), (1, "bB", "length"), (2, "c", None), (10, "k", None)]


def test_choices_that_one_chunk_began_keep_its_order() -> None:
    both = [{"index": index, "delta": {"content": str(index)}} for index in (1, 0)]
    response = accumulated(make_chunk(choices=both), make_piece({"content": "!"}, index=0))
    assert [choice["message"]["content"] for choice in response["choices"]] == ["1", "0!"]


def test_a_message_beside_the_deltas_is_not_added_to_them() -> None:
    """Perplexity sends the message so far with each delta."""
    pieces = [
        make_piece({"content": "The"}, message={"role": "assistant", "content": "The"}),
        make_piece({"content": " end"}, message={"role": "assistant", "content": "The end"}),
    ]
    (choice,) = accumulated(*pieces)["choices"]
    assert choice["message"] == {"content": "The end"}


def test_choices_with_negative_indexes_stand_by_index_too() -> None:
    response = accumulated(*(make_piece({}, index=index) for index in (-1, 2, -2)))
    assert [choice["index"] for choice in response["choices"]] == [-2, -1, 2]


def test_choices_of_one_chunk_with_the_same_index_are_one() -> None:
    twice = [{"index": 0, "delta": {"content": text}} for text in "ab"]
    response = accumulated(make_chunk(choices=twice), make_piece({"content": "c"}, finish_reason="stop"))
    assert response["choices"] == [{"index": 0, "finish_reason": "stop", "message": {"content": "abc"}}]


def test_choices_of_one_chunk_without_an_index_stay_apart() -> None:
    both = [{"delta": {"content": text}} for text in "ab"]
    response = accumulated(make_chunk(choices=both), make_chunk(choices=both))
    assert [choice["message"]["content"] for choice in response["choices"]] == ["aa", "bb"]


@pytest.mark.parametrize("index", [0, 1, 7])
def test_a_choice_that_began_without_an_index_takes_the_first_that_comes(index: int) -> None:
    response = accumulated(
        make_chunk(choices=[{"delta": {"content": "a"}}]),
        make_piece({"content": "b"}, index=index),
        make_piece({"content": "c"}, index=index),
        make_chunk(choices=[{"delta": {"content": "d"}}]),
        make_piece({"content": "x"}, index=9),
    )
    found = [(choice["index"], choice["message"]["content"]) for choice in response["choices"]]
    assert found == [(index, "abcd"), (9, "x")]


def test_several_choices_that_began_without_an_index_take_indexes_in_order() -> None:
    response = accumulated(
        make_chunk(choices=[{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]),
        make_piece({"content": "A"}, index=0),
        make_piece({"content": "B"}, index=1),
    )
    found = [(choice["index"], choice["message"]["content"]) for choice in response["choices"]]
    assert found == [(0, "aA"), (1, "bB")]


def test_pieces_without_an_index_continue_the_choice_at_their_place() -> None:
    response = accumulated(
        make_piece({"content": "a"}, index=0),
        make_chunk(choices=[{"delta": {"content": "b"}}]),
        make_piece({"content": "x"}, index=1),
        make_chunk(choices=[{"delta": {"content": "c"}}, {"delta": {"content": "y"}}]),
    )
    found = [(choice["index"], choice["message"]["content"]) for choice in response["choices"]]
    assert found == [(0, "abc"), (1, "xy")]


def test_chunks_without_choices_give_a_response_without_choices() -> None:
    assert accumulated(make_chunk(choices=[]))["choices"] == []
    assert "choices" not in accumulated(make_chunk())
    assert accumulated(make_chunk(choices=None))["choices"] is None


def test_choices_without_a_delta_have_no_message() -> None:
    (choice,) = accumulated(make_chunk(choices=[{"index": 0}]))["choices"]
    assert choice == {"index": 0}
    (choice,) = accumulated(make_chunk(choices=[{"index": 0, "delta": None}]))["choices"]
    assert choice == {"index": 0, "message": None}


def test_text_then_lists_of_content_make_one_list() -> None:
    message = merged(
        {"role": "assistant", "content": ""},
        {"content": [_thinking("The sum")]},
        {"content": [_thinking(" is small.")]},
        {"content": [_thinking(closed=True)]},
        {"content": "Four"},
        {"content": "."},
        {"content": ""},
    )
    assert message["content"] == [_thinking("The sum is small.", closed=True), _text("Four.")]


def test_text_before_a_list_becomes_its_first_piece() -> None:
    reference = {"type": "reference", "reference_ids": [1, "b"]}
    message = merged(
        {"content": "See"}, {"content": " this"}, {"content": [reference]}, {"content": [reference]}
    )
    assert message["content"] == [_text("See this"), reference, reference]


def test_text_goes_on_from_text_whichever_way_it_came() -> None:
    message = merged({"content": "a"}, {"content": [_text("b")]}, {"content": [_text("c")]}, {"content": "d"})
    assert message["content"] == [_text("abcd")]


def test_pieces_of_one_chunk_stay_apart() -> None:
    both = [_text("a"), _text("b"), _thinking("c", "d"), _thinking("e")]
    assert merged({"content": both})["content"] == both
    message = merged(
        {"content": [_thinking("x")]}, {"content": both}, {"content": [_thinking("f", "g"), _text("h")]}
    )
    assert message["content"] == [
        *(_thinking("x"), _text("a"), _text("b"), _thinking("c", "d")),
        *(_thinking("ef", "g"), _text("h")),
    ]


def test_closed_reasoning_is_followed_by_new_reasoning() -> None:
    message = merged(
        {"content": [_thinking("a", closed=False)]},
        {"content": [_thinking("b", closed=True)]},
        {"content": [_thinking("c")]},
    )
    assert message["content"] == [_thinking("ab", closed=True), _thinking("c")]


def test_empty_reasoning_adds_its_other_members_to_the_last() -> None:
    message = merged(
        {"content": [_thinking("a", closed=True)]},
        {"content": [_thinking(signature="s1")]},
    )
    assert message["content"] == [_thinking("a", closed=True, signature="s1")]


def test_empty_reasoning_stays_where_none_went_before() -> None:
    assert merged({"content": [_thinking()]})["content"] == [_thinking()]
    assert merged({"content": "a"}, {"content": [_thinking()]})["content"] == [_text("a"), _thinking()]


def test_pieces_of_reasoning_that_are_no_text_are_kept_in_order() -> None:
    source = {"type": "tool_reference", "tool": "web_search", "title": "T"}
    with_source = {"type": "thinking", "thinking": [source, _text("c")]}
    message = merged({"content": [_thinking("a")]}, {"content": [_thinking("b")]}, {"content": [with_source]})
    assert message["content"] == [{"type": "thinking", "thinking": [_text("ab"), source, _text("c")]}]


def test_pieces_of_an_unknown_type_are_never_merged() -> None:
    odd = {"type": "mood", "text": "calm"}
    assert merged({"content": [odd]}, {"content": [odd]}, {"content": [odd]})["content"] == [odd] * 3


@pytest.mark.parametrize("parts", [("",), ("{", '"city": "', "Bern", '"', "}"), ('{"a": ', '"\\u00e9\\""}')])
def test_arguments_come_in_any_number_of_pieces(parts: tuple[str, ...]) -> None:
    first, *later = parts
    calls = called(
        [make_call(first, "weather", id="c1", index=0)], *([make_call(part, "", index=0)] for part in later)
    )
    assert calls == [make_call("".join(parts), "weather", id="c1", index=0)]


def test_tool_calls_go_by_index() -> None:
    calls = called(
        [make_call("", "f", id="a", index=0), make_call("", "g", id="b", index=1)],
        [make_call("2", index=1)],
        [make_call("1", index=0), make_call("2", index=1)],
        [make_call("3", "h", id="c", index=2)],
        [make_call("1", index=0)],
    )
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [
        ("a", "11"),
        ("b", "22"),
        ("c", "3"),
    ]


def test_arguments_may_be_an_object() -> None:
    call = make_call({"n": 2**70, "deep": {"x": None}}, "f", id="a", index=0)
    assert called([call]) == [call]
    assert called(
        [make_call("", "f", id="a", index=0)], [make_call(call["function"]["arguments"], index=0)]
    ) == [call]
    assert called([call], [make_call("", index=0)]) == [call]


def test_named_calls_of_one_chunk_stay_apart_where_nothing_joins_them() -> None:
    for members in ({}, {"id": "null"}, {"id": None}, {"id": ""}):
        both = [make_call("{}", "f", **members), make_call("{}", "f", **members)]
        assert called(both) == both


def test_calls_without_index_go_by_identifier() -> None:
    calls = called(
        [make_call("1", "f", id="a")],
        [make_call("2", "f", id="b")],
        [make_call("3", id="a")],
        [make_call("4", id="b")],
    )
    assert calls == [make_call("13", "f", id="a"), make_call("24", "f", id="b")]


def test_one_index_with_several_identifiers_is_several_calls() -> None:
    calls = called(
        [make_call("", "f", id="a", index=0)],
        [make_call("1", index=0)],
        [make_call("", "g", id="b", index=0)],
        [make_call("2", index=0)],
    )
    assert calls == [make_call("1", "f", id="a", index=0), make_call("2", "g", id="b", index=0)]


@pytest.mark.parametrize("nothing", [{}, {"id": None}, {"id": ""}, {"id": "null"}])
def test_pieces_that_do_not_say_their_call_go_to_the_last(nothing: Json) -> None:
    calls = called(
        [make_call("", "f", id="a")],
        [make_call("1", **nothing)],
        [make_call("", "g", id="b")],
        [make_call("2", "", **nothing)],
    )
    assert calls == [make_call("1", "f", id="a"), make_call("2", "g", id="b")]


def test_pieces_that_do_not_say_their_call_go_to_the_one_that_was_continued_last() -> None:
    calls = called(
        [make_call("", "f", id="a"), make_call("", "g", id="b")],
        [make_call("1"), make_call("2", id="a"), make_call("3")],
        [make_call("4")],
    )
    assert [call["function"]["arguments"] for call in calls] == ["234", "1"]


def test_a_piece_with_another_name_and_nothing_else_begins_a_call() -> None:
    calls = [make_call("{}", "f", id="null"), make_call("{}", "g", id="null")]
    assert called(calls[:1], calls[1:]) == calls


def test_a_call_without_index_is_found_by_its_position() -> None:
    calls = called(
        [make_call("", "f", id="a"), make_call("", "g", id="b")],
        [make_call("2", index=1)],
        [make_call("1", index=0)],
    )
    assert [call["function"]["arguments"] for call in calls] == ["1", "2"]


@pytest.mark.parametrize(
    "ids", [("null", "a"), (None, "a"), ("", "a"), ("a", "null"), ("a", None), ("a", "")]
)
def test_an_identifier_wins_over_none(ids: tuple[str | None, str | None]) -> None:
    (call,) = called([make_call("1", "f", id=ids[0], index=0)], [make_call("2", id=ids[1], index=0)])
    assert call == make_call("12", "f", id="a", index=0)


def test_the_identifier_null_is_kept_as_it_is() -> None:
    (call,) = called([make_call("{}", "f", id="null", index=0)], [make_call("", id=None, index=0)])
    assert call["id"] == "null"


@pytest.mark.parametrize("later", ["f", "", None])
def test_a_name_that_comes_again_is_not_doubled(later: str | None) -> None:
    (call,) = called(
        [make_call("1", "f", index=0, type="function")], [make_call("2", later, index=0, type="function")]
    )
    assert call == make_call("12", "f", index=0, type="function")


def test_a_name_may_come_later_than_its_call() -> None:
    assert called([make_call("", "")], [make_call("{}", "f")]) == [make_call("{}", "f")]


def test_unknown_members_of_tool_calls_are_kept() -> None:
    pieces = [
        make_call("1", "f", index=0, note="a", tags=[1]),
        make_call("2", index=0, note="b", tags=[2], score=0.5),
    ]
    assert called(pieces[:1], pieces[1:]) == [
        make_call("12", "f", index=0, note="ab", tags=[1, 2], score=0.5)
    ]


@pytest.mark.parametrize("calls", [[None], [3, "x"], [[], make_call("{}", "f")], {"f": 1}, "x"])
def test_tool_calls_that_are_none_are_kept(calls: Any) -> None:
    assert merged({"tool_calls": calls}, {"tool_calls": None}, {})["tool_calls"] == calls


@pytest.mark.parametrize("value", [None, []])
def test_null_and_empty_tool_calls_stay_as_they_are(value: Any) -> None:
    assert merged({"tool_calls": value}, {})["tool_calls"] == value
    assert merged({"tool_calls": value}, {"tool_calls": [make_call("{}", "f")]})["tool_calls"] == [
        make_call("{}", "f")
    ]
    assert merged({"tool_calls": [make_call("{}", "f")]}, {"tool_calls": value})["tool_calls"] == [
        make_call("{}", "f")
    ]


def test_null_stays_until_there_is_a_value_and_never_replaces_one() -> None:
    nothing = {"role": None, "content": None, "refusal": None}
    something = {"role": "assistant", "content": "a", "refusal": "no"}
    assert merged(nothing, nothing) == nothing
    assert merged(nothing, something, nothing) == something
    assert merged({}, {}) == {}


def test_empty_text_stays_text() -> None:
    assert merged({"content": ""}, {"content": None}, {"content": ""})["content"] == ""


def test_the_role_counts_once() -> None:
    assert merged({"role": "assistant"}, {"role": "assistant"}, {"role": None})["role"] == "assistant"


def test_an_empty_role_never_counts() -> None:
    assert merged({"role": ""}, {"role": "assistant"}, {"role": ""}) == {"role": "assistant"}
    assert merged({"role": "", "content": "a"}, {"role": ""}) == {"content": "a"}


def test_the_finish_reason_is_the_last_one_that_says_something() -> None:
    reasons = (None, "", "tool_calls", None, "")
    response = accumulated(*(make_piece({}, finish_reason=reason) for reason in reasons))
    assert response["choices"][0]["finish_reason"] == "tool_calls"
    assert accumulated(make_piece({}))["choices"][0]["finish_reason"] is None
    assert accumulated(make_piece({}, finish_reason="bored"))["choices"][0]["finish_reason"] == "bored"


def test_the_last_usage_that_counts_something_stays() -> None:
    first, last = {"total_tokens": 5, "service_tier": "a"}, {"total_tokens": 9, "queue_ms": 2}
    nothing: tuple[Any, ...] = (
        None,
        {},
        {"total_tokens": 0},
        {"total_tokens": None},
        {"details": {"cached": 0}},
    )
    usages = (*nothing, first, *nothing, last, *nothing)
    assert accumulated(*(make_chunk(choices=[], usage=usage) for usage in usages))["usage"] == last


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        ([], {}),
        ([None], {}),
        ([{}, None], {}),
        ([{"total_tokens": 0}, {}, None], {"total_tokens": 0}),
        ([None, {}, {"total_tokens": 0}], {"total_tokens": 0}),
    ],
)
def test_a_response_has_a_usage_even_if_nothing_was_counted(usages: list[Any], expected: Json) -> None:
    chunks = [make_chunk(choices=[], usage=usage) for usage in usages]
    assert accumulated(make_chunk(choices=[]), *chunks)["usage"] == expected


def test_log_probabilities_are_appended() -> None:
    tokens = [
        {"token": token, "logprob": -0.5, "bytes": [ord(token)], "token_id": ord(token), "top_logprobs": []}
        for token in "abc"
    ]
    response = accumulated(
        make_piece({}, logprobs=None, prompt_logprobs={"content": tokens[:1]}),
        make_piece({}, logprobs={"content": tokens[:2]}),
        make_piece({}, logprobs=None, prompt_logprobs={"content": []}),
        make_piece({}, logprobs={"content": tokens[2:], "note": 2}),
    )
    assert response["choices"][0]["logprobs"] == {"content": tokens, "note": 2}
    assert response["choices"][0]["prompt_logprobs"] == {"content": tokens[:1]}


def test_unknown_members_of_chunks_and_choices_have_their_last_value() -> None:
    response = accumulated(
        make_piece({}, grade={"a": 1}, stop_text="x") | {"p": "abc", "tier": "low"},
        make_piece({}, grade={"b": 2}, stop_text="y") | {"p": "de", "tier": None},
    )
    assert (response["p"], response["tier"]) == ("de", "low")
    (choice,) = response["choices"]
    assert (choice["grade"], choice["stop_text"]) == ({"b": 2}, "y")


def test_unknown_members_of_deltas_grow() -> None:
    message = merged(
        {"reasoning_content": "Let", "marks": [1], "audio": {"data": "ab", "seconds": 1}, "score": 1},
        {"reasoning_content": " me", "marks": [[2]], "audio": {"data": "cd", "seconds": 3, "id": None}},
        {"reasoning_content": " see", "marks": [], "audio": {}, "score": 2, "flag": True},
    )
    assert message == {
        "reasoning_content": "Let me see",
        "marks": [1, [2]],
        "audio": {"data": "abcd", "seconds": 3, "id": None},
        "score": 2,
        "flag": True,
    }


def test_an_unknown_member_that_changes_its_type_has_its_last_value_unless_empty() -> None:
    assert merged({"x": "a"}, {"x": "b"}, {"x": ["c"]}, {"x": ""})["x"] == ["c"]
    assert merged({"x": {"a": 1}}, {"x": []}, {"x": 0})["x"] == 0


def test_metadata_has_its_last_value() -> None:
    assert merged({"metadata": {"a": "x"}}, {"metadata": {"a": "y"}})["metadata"] == {"a": "y"}


def test_numbers_of_any_size_come_through_exactly() -> None:
    numbers = b'{"a":18446744073709551617,"b":0.1000000000000000055,"c":1e400}'
    choice = b'{"index":0,"delta":{"x":%b},"y":%b}' % (numbers, numbers)
    chunk = from_json(CompletionChunk, b'{"choices":[%b],"z":%b}' % (choice, numbers), validate=False)
    response = parse_exactly(to_json(accumulate([chunk, chunk])))
    (choice,) = response["choices"]
    assert choice["message"]["x"] == choice["y"] == response["z"] == parse_exactly(numbers)


def test_a_character_cut_in_two_halves_is_put_together() -> None:
    halves = [b'{"choices":[{"index":0,"delta":{"content":"\\%b"}}]}' % half for half in (b"ud83d", b"ude00")]
    chunks = [from_json(CompletionChunk, half, validate=False) for half in halves]
    assert accumulate(chunks).choices[0].message.content_string == "\U0001f600"
    assert b"\\ud83d" in to_json(accumulate(chunks[:1]))


@pytest.mark.parametrize("value", [5, {"a": 1}, True, "x"])
def test_content_of_no_known_type_is_followed_by_any_other(value: Any) -> None:
    assert merged({"content": value}, {"content": None}, {"content": ""})["content"] == value
    assert merged({"content": value}, {"content": [_text("a")]})["content"][-1]["text"].endswith("a")


@pytest.mark.parametrize(
    "choices", [5, "x", {"index": 0}, [None], [False, 1e308, "x"], [[]], [None, {"index": 0}]]
)
def test_choices_that_are_none_are_kept(choices: Any) -> None:
    assert accumulated(make_chunk(choices=choices))["choices"] == choices


@pytest.mark.parametrize("delta", [5, "x", [1]])
def test_deltas_that_are_no_objects_are_kept(delta: Any) -> None:
    assert accumulated(make_piece(delta), make_piece({}))["choices"][0]["message"] == delta


def test_choices_may_have_any_index() -> None:
    for index in (None, "a", True, 1.5, [1], {"a": 1}, 2**70):
        chunk = make_chunk(choices=[{"index": index, "delta": {"content": "a"}}])
        (choice,) = accumulated(chunk, chunk)["choices"]
        assert choice == {"index": index, "message": {"content": "aa"}}
    (choice,) = accumulated(make_chunk(choices=[{"delta": {"content": "a"}}]))["choices"]
    assert choice == {"message": {"content": "a"}}


def test_results_may_be_had_at_any_time() -> None:
    accumulator = Accumulator()
    assert accumulator.result() == ChatCompletionResponse()
    deltas: list[Json] = [
        {"role": "assistant", "content": "", "note": "x"},
        {"content": "a", "note": "y"},
        {"content": [_thinking("b")], "tool_calls": [make_call("1", "f", index=0)]},
        {"content": [_thinking("c"), _text("d")], "tool_calls": [make_call("2", index=0)]},
        {"content": "e", "note": ["z"]},
    ]
    chunks = [read_chunk(make_piece(delta, logprobs={"content": [], "n": [1]})) for delta in deltas]
    results = []
    for chunk in chunks:
        accumulator.add(chunk)
        results.append(accumulator.result())
        assert accumulator.result() == results[-1]
    # What was given before has not changed since.
    assert results == [accumulate(chunks[: count + 1]) for count in range(len(chunks))]
    content = to_dict(results[-1])["choices"][0]["message"]["content"]
    assert content == [_text("a"), _thinking("bc"), _text("de")]


def test_chunks_stay_as_they_are() -> None:
    deltas = [{"content": [_text("a")], "tool_calls": [make_call("1", "f", index=0)], "x": {"y": [1]}}] * 2
    chunks = [read_chunk(make_piece(delta) | {"p": "x"}) for delta in deltas]
    before = copy.deepcopy(chunks)
    accumulate(chunks)
    assert chunks == before


def test_a_chunk_without_a_json_form_is_an_error_and_not_added() -> None:
    accumulator = Accumulator()
    accumulator.add(read_chunk(make_piece({"content": "a"})))
    before = accumulator.result()
    broken = read_chunk(make_piece({"content": "b"}))
    broken.choices[0].delta.metadata = "{"
    with pytest.raises(EncodeError):
        accumulator.add(broken)
    assert accumulator.result() == before


def test_fim_streams_give_fim_responses() -> None:
    accumulator = Accumulator(FIMCompletionResponse)
    for text in ("return ", "a + b"):
        accumulator.add(read_chunk(make_piece({"content": text}) | {"p": "x"}))
    response = accumulator.result()
    assert isinstance(response, FIMCompletionResponse)
    assert response.choices[0].message.content_string == "return a + b"
    assert to_dict(response)["p"] == "x"


@pytest.mark.slow
def test_long_streams_come_to_an_end() -> None:
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "token_id": 1}
    source = {"type": "tool_reference", "tool": "web_search", "title": "T"}
    kinds: dict[str, Json] = {
        "text": {"content": "word "},
        "content": {"content": [_text("word ")]},
        "reasoning": {"content": [{"type": "thinking", "thinking": [source, _text("word ")]}]},
        "arguments": {"tool_calls": [make_call("word ", index=0)]},
        "unknown": {"reasoning_content": "word ", "marks": [1]},
    }
    count = 10_000
    for name, delta in kinds.items():
        chunk = read_chunk(make_piece(delta, logprobs={"content": [token]}))
        accumulator = Accumulator()
        for _ in range(count):
            accumulator.add(chunk)
        response = accumulator.result()
        assert to_json(response).count(b"word ") == count, name
        assert len(response.choices[0].logprobs.content) == count, name


def _naive_texts(deltas: list[Json]) -> tuple[str, str]:
    """Return the text and the reasoning of deltas by plain concatenation."""
    text = thinking = ""
    for delta in deltas:
        content = delta.get("content") or ""
        if isinstance(content, str):
            text += content
            continue
        for piece in content:
            text += piece.get("text", "")
            thinking += "".join(part.get("text", "") for part in piece.get("thinking", ()))
    return text, thinking


@st.composite
def _valid_streams(draw: st.DrawFn) -> list[CompletionChunk]:
    """Return the chunks of a stream in which each choice ends, and speaks as the assistant if at all."""
    documents = draw(st.lists(valid_documents(CompletionChunk), min_size=1, max_size=5))
    choices = [choice for document in documents for choice in document["choices"]]
    for choice in choices:
        if isinstance(choice.get("delta"), dict):
            # A message documents it, a delta does not: there it may be anything.
            choice["delta"].pop("prefix", None)
        if isinstance(choice.get("delta"), dict) and "role" in choice["delta"]:
            choice["delta"]["role"] = draw(st.sampled_from(["assistant", "", None]))
    ends = [{"index": choice["index"], "delta": {}, "finish_reason": "stop"} for choice in choices]
    documents.append(documents[0] | {"choices": ends})
    return [from_json(CompletionChunk, to_json_text(document)) for document in documents]


@given(_valid_streams())
def test_valid_streams_become_valid_responses(chunks: list[CompletionChunk]) -> None:
    response = accumulate(chunks)
    assert from_json(ChatCompletionResponse, to_json(response)) == response


@corpus.each_file(("chat_sse",))
def test_recorded_streams_become_valid_responses(bodies: list[Body]) -> None:
    events: list[Json] = [json.loads(body.text) for body in bodies]
    response = accumulate(from_json(CompletionChunk, body.text) for body in bodies)
    from_json(ChatCompletionResponse, to_json(response))
    values = to_dict(response)
    usages = [event["usage"] for event in events if event.get("usage") is not None]
    assert values["usage"] == (usages[-1] if usages else {})
    pieces = [choice for event in events for choice in event["choices"]]
    assert len(values["choices"]) == len({piece["index"] for piece in pieces})
    for choice in values["choices"]:
        deltas = [piece["delta"] for piece in pieces if piece["index"] == choice["index"]]
        assert _naive_texts([choice["message"]]) == _naive_texts(deltas)
        given = sum(
            len(call["function"]["arguments"]) for delta in deltas for call in delta.get("tool_calls") or ()
        )
        calls = choice["message"].get("tool_calls") or ()
        assert sum(len(call["function"]["arguments"]) for call in calls) == given
        # At its bound on tokens the model stops in the middle of the arguments.
        for call in calls if choice["finish_reason"] != "length" else ():
            assert isinstance(json.loads(call["function"]["arguments"]), dict)


@pytest.mark.parametrize("wrong", [None, b"", {}, ChatCompletionResponse()])
def test_what_is_no_chunk_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a CompletionChunk"):
        accumulate([wrong])


def test_what_is_no_type_of_response_is_refused() -> None:
    wrong: Any = int
    with pytest.raises(TypeError, match="expected a response class"):
        Accumulator(wrong)


@pytest.mark.slow
def test_many_calls_in_two_chunks_are_found_by_their_identifiers() -> None:
    """Comparing each piece with each call would take minutes."""
    count = 20_000
    calls = [{"id": f"a{number}", "function": {"name": "f", "arguments": "{"}} for number in range(count)]
    ends = [{"id": f"a{number}", "function": {"name": "", "arguments": "}"}} for number in range(count)]
    chunks = [
        {"id": "i", "choices": [{"index": 0, "delta": {"tool_calls": pieces}}]}
        for pieces in (calls, ends[::-1])
    ]
    response = accumulate(from_dict(CompletionChunk, chunk, validate=False) for chunk in chunks)
    result = response.choices[0].message.tool_calls
    assert [call.id for call in result] == [call["id"] for call in calls]
    assert {call.function.arguments_string for call in result} == {"{}"}
