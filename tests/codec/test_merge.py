"""Undocumented members of deltas; the rules are in the docstring of Accumulator."""

from typing import Any

import pytest

from tests.codec.chunks import Json, merged


def _details(*entries: Json) -> Json:
    return {"reasoning_details": list(entries)}


def _detail(text: str | None = None, **members: Any) -> Json:
    """Return a piece of reasoning as OpenRouter sends it."""
    text_of = {} if text is None else {"text": text}
    return {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0} | text_of | members


def test_objects_of_undocumented_lists_go_by_their_index() -> None:
    message = merged(
        _details(_detail("Let"), _detail(" me")),
        _details(_detail(" see", index=1)),
        _details(_detail(" think.")),
        _details(_detail(signature="Et8=")),
    )
    assert message["reasoning_details"] == [
        _detail("Let me think.", signature="Et8="),
        _detail(" see", index=1),
    ]


def test_objects_of_another_type_stay_apart_at_one_index() -> None:
    summary = {"type": "reasoning.summary", "summary": "S", "index": 0}
    encrypted = {"type": "reasoning.encrypted", "data": "e", "index": 0}
    message = merged(_details(summary, encrypted), _details(summary), _details(encrypted))
    assert message["reasoning_details"] == [summary | {"summary": "SS"}, encrypted | {"data": "ee"}]


def test_objects_without_a_type_join_whatever_has_their_index() -> None:
    message = merged(_details({"index": 2, "text": "a"}), _details(_detail("b", index=2)))
    assert message["reasoning_details"] == [_detail("ab", index=2)]
    message = merged(_details(_detail("a")), _details({"index": 0, "signature": "s"}))
    assert message["reasoning_details"] == [_detail("a", signature="s")]


def test_entries_without_an_index_are_appended() -> None:
    entries: list[Any] = [{"type": "citation", "url": "u"}, 3, "x", None, {"index": "0"}, {"index": True}]
    message = merged({"annotations": entries}, {"annotations": entries}, {"annotations": [{"index": 1}]})
    assert message["annotations"] == [*entries, *entries, {"index": 1}]


def test_lists_within_undocumented_objects_go_by_index_too() -> None:
    delta = {"extra": {"parts": [{"index": 0, "text": "a"}, {"index": 0, "text": "b"}]}}
    assert merged(delta, delta)["extra"]["parts"] == [{"index": 0, "text": "abab"}]


@pytest.mark.parametrize("name", ["id", "type", "format", "object", "role", "item_id", "mime_type"])
def test_constant_strings_are_not_concatenated(name: str) -> None:
    values = ("", "first", "first", "second", "", None)
    message = merged(*({"audio": {name: value, "data": "d"}} for value in values))
    assert message["audio"] == {name: "first", "data": "d" * 6}


@pytest.mark.parametrize("name", ["name", "signature", "thought_signature"])
def test_strings_that_may_come_whole_each_time_are_not_concatenated_with_themselves(name: str) -> None:
    for values, expected in ((("s", "s", "", "s"), "s"), (("ab", "c", "abc", "d"), "abcd"), (("", "x"), "x")):
        assert merged(*({"extra": {name: value}} for value in values))["extra"] == {name: expected}


def test_other_strings_are_concatenated_with_themselves() -> None:
    message = merged(*({"reasoning_content": "ha", "extra": {"text": "ha"}} for _ in range(3)))
    assert message == {"reasoning_content": "hahaha", "extra": {"text": "hahaha"}}


def test_the_obsolete_function_call_is_put_together() -> None:
    message = merged(
        {"function_call": {"name": "get_", "arguments": ""}},
        {"function_call": {"name": "time", "arguments": "{"}},
        {"function_call": {"name": "get_time", "arguments": "}"}},
    )
    assert message == {"function_call": {"name": "get_time", "arguments": "{}"}}
