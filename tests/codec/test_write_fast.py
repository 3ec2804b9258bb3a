"""What the fast writer leaves to the complete one, and what it remembers."""

import contextlib
import sys

import pytest

from mistralwire import binary_to_json, from_json, to_json
from mistralwire.codec import _write_fast
from mistralwire.v1 import ChatCompletionRequest, JsonExtra, UsageInfo


@pytest.mark.parametrize("remembered", [True, False])
def test_an_empty_extra_is_like_none(remembered: bool) -> None:
    if not remembered:
        _write_fast._flags.clear()
    assert binary_to_json(UsageInfo, b"\x0a\x00\x10\x01") == b'{"prompt_tokens":1}'


def test_unknown_members_can_be_stripped() -> None:
    _write_fast._flags.clear()
    message = from_json(UsageInfo, '{"prompt_tokens":1,"p":"abc"}')
    message.json_extra.ClearField("members")
    assert to_json(message) == b'{"prompt_tokens":1}'


@pytest.mark.parametrize("member", ["true", "false", '"1.0"', "[1.0]", "{}"])
def test_a_field_that_is_set_wins_over_a_member_of_another_type(member: str) -> None:
    message = from_json(ChatCompletionRequest, f'{{"temperature":{member},"model":"m"}}', validate=False)
    message.temperature = 1.0
    assert to_json(message) == b'{"model":"m","temperature":1.0}'


def test_endless_flags_are_not_remembered() -> None:
    before = len(_write_fast._flags)
    for count in range(1_000, 1_050):
        message = UsageInfo(json_extra=JsonExtra(null_fields=range(2, count)))
        assert to_json(message).count(b"null") == 8
    assert len(_write_fast._flags) == before


def test_flags_are_bounded() -> None:
    for number in range(2, 3 * _write_fast._REMEMBERED_MAX):
        to_json(UsageInfo(json_extra=JsonExtra(null_fields=[number])))
    assert len(_write_fast._flags) <= _write_fast._REMEMBERED_MAX


def test_indented_text_is_unicode_whatever_the_indent() -> None:
    message = UsageInfo(service_tier="é")
    assert "é" in to_json(message, indent=2).decode()
    assert "é" in to_json(message, indent=4).decode()


def test_a_compilation_that_was_interrupted_leaves_nothing_behind() -> None:
    writer = _write_fast.FastWriter(camel=False)
    message = from_json(ChatCompletionRequest, '{"model":"m","messages":[{"role":"user","content":"a"}]}')

    def write_at(depth: int) -> None:
        if depth:
            write_at(depth - 1)
        else:
            writer.write(message)

    for depth in range(sys.getrecursionlimit() - 120, sys.getrecursionlimit(), 5):
        with contextlib.suppress(RecursionError):
            write_at(depth)
    assert writer.write(message) == {"model": "m", "messages": [{"content": "a", "role": "user"}]}
