"""Bounds on size, nesting, members and violations, and documents right at them."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from mistralwire.codec import (
    DEFAULT_LIMITS,
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    MEMBERS_MAX,
    VIOLATIONS_MAX,
    Limits,
    from_dict,
    from_json,
    json_to_binary,
    to_dict,
    to_json,
)
from mistralwire.errors import CodecError, DecodeError
from mistralwire.v1 import (
    ChatCompletionChoice,
    ChatCompletionResponse,
    FunctionCall,
    ReferenceChunk,
    UsageInfo,
)
from tests.codec import engines
from tests.json_equality import parse_exactly


def _nested(levels: int, innermost: str = "") -> str:
    """Return a document of that many levels, its own included."""
    return '{"a":' + "[" * (levels - 1) + innermost + "]" * (levels - 1) + "}"


def test_the_defaults_are_the_documented_ones() -> None:
    assert Limits() == DEFAULT_LIMITS
    assert (DOCUMENT_BYTES_MAX, DEPTH_MAX, MEMBERS_MAX, VIOLATIONS_MAX) == (67_108_864, 200, 100_000, 32)


@pytest.mark.parametrize("name", ["document_bytes_max", "depth_max", "members_max", "violations_max"])
def test_bounds_below_1_are_refused(name: str) -> None:
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"{name} must be 1 or more, not {value}"):
            Limits(**{name: value})


def test_a_depth_beyond_200_can_not_be_asked_for() -> None:
    assert Limits(depth_max=200).depth_max == 200
    with pytest.raises(ValueError, match="depth_max must be 200 or less, not 201"):
        Limits(depth_max=201)


@pytest.mark.parametrize("innermost", ["", "1", "12345678901234567890123", '"\\ud800"', "1e999"])
def test_200_levels_are_read_and_written(innermost: str) -> None:
    text = _nested(200, innermost)
    message = engines.read(UsageInfo, text, validate=False)
    assert engines.write(message).decode() == text
    assert json.loads(to_json(message, indent=2)) == json.loads(text)
    again = from_dict(UsageInfo, to_dict(message))
    assert parse_exactly(to_json(again)) == parse_exactly(text)


@pytest.mark.parametrize("levels", [201, 300, 900, 990, 1_000, 1_023, 1_024, 1_025, 5_000, 100_000])
@pytest.mark.parametrize("innermost", ["", "12345678901234567890123", '"\\ud800"'])
def test_more_levels_are_refused(levels: int, innermost: str) -> None:
    for validate in (True, False):
        with pytest.raises(DecodeError, match="nesting") as caught:
            from_json(UsageInfo, _nested(levels, innermost), validate=validate)
        assert caught.value.reason == "LIMIT_EXCEEDED"


def test_unclosed_nesting_is_refused() -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, '{"a":' + "[" * 1_000_000):
        with pytest.raises(DecodeError) as caught:
            from_json(UsageInfo, text)
        assert caught.value.reason in ("LIMIT_EXCEEDED", "NOT_JSON")


@pytest.mark.parametrize("levels", [200, 400, 600, 700, 720, 740])
@pytest.mark.parametrize("text", [_nested(200), _nested(200, '12345678901234567890123,"\\ud800"')])
def test_a_deep_stack_of_the_caller_gives_no_other_error(levels: int, text: str) -> None:
    def deeper(remaining: int, call: Callable[[], Any]) -> None:
        if remaining:
            deeper(remaining - 1, call)
        else:
            with contextlib.suppress(CodecError):
                call()

    message = from_json(UsageInfo, text, validate=False)
    values = to_dict(message)
    for call in (
        lambda: from_json(UsageInfo, text, validate=False),
        lambda: json_to_binary(UsageInfo, text, validate=False),
        lambda: to_json(message),
        lambda: to_json(message, indent=2),
        lambda: to_dict(message),
        lambda: from_dict(UsageInfo, values),
    ):
        deeper(levels, call)


@pytest.mark.parametrize(
    ("limits", "text", "accepted"),
    [
        (Limits(depth_max=1), '{"a":1}', True),
        (Limits(depth_max=1), '{"a":[]}', False),
        (Limits(depth_max=1), '{"prompt_tokens_details":{}}', False),
        (Limits(depth_max=2), '{"prompt_tokens_details":{}}', True),
        (Limits(depth_max=2), '{"prompt_tokens_details":{"x":{}}}', False),
        (Limits(members_max=2), '{"prompt_tokens":1,"b":2}', True),
        (Limits(members_max=2), '{"prompt_tokens":1,"b":2,"c":3}', False),
        (Limits(members_max=2), '{"a":{"a":1,"b":2,"c":3}}', False),
        (Limits(document_bytes_max=7), '{"a":1}', True),
        (Limits(document_bytes_max=6), '{"a":1}', False),
        (Limits(document_bytes_max=9), '{"a":"é"}', False),
        (Limits(document_bytes_max=10), '{"a":"é"}', True),
        (Limits(document_bytes_max=1), "", False),
    ],
)
def test_narrower_limits_hold(limits: Limits, text: str, accepted: bool) -> None:
    for validate in (True, False):
        if accepted:
            from_json(UsageInfo, text, validate=validate, limits=limits)
        else:
            with pytest.raises(DecodeError):
                from_json(UsageInfo, text, validate=validate, limits=limits)


def test_narrower_limits_hold_for_known_members() -> None:
    call = '{"function":{"name":"f","arguments":""}}'
    text = f'{{"index":0,"finish_reason":"stop","message":{{"tool_calls":[{call}]}}}}'
    from_json(ChatCompletionChoice, text, limits=Limits(depth_max=5))
    with pytest.raises(DecodeError, match="nesting of at most 4 levels"):
        from_json(ChatCompletionChoice, text, limits=Limits(depth_max=4))


def test_limits_of_python_values() -> None:
    assert from_dict(UsageInfo, {"a": [1]}, limits=Limits(depth_max=2, document_bytes_max=1))
    with pytest.raises(DecodeError, match=r"a: expected nesting of at most 1 level"):
        from_dict(UsageInfo, {"a": [1]}, limits=Limits(depth_max=1))
    with pytest.raises(
        DecodeError, match="a: expected an object of at most 1 members, found one with 2 members"
    ):
        from_dict(UsageInfo, {"a": {"b": 1, "c": 2}}, limits=Limits(members_max=1))


@pytest.mark.slow
def test_the_bound_on_members_is_for_each_object() -> None:
    text = json.dumps({str(number): {} for number in range(MEMBERS_MAX)})
    assert len(to_dict(from_json(UsageInfo, text))) == MEMBERS_MAX
    with pytest.raises(DecodeError, match="objects of at most 100000 members, found one with 100001 members"):
        from_json(UsageInfo, text.replace("{", '{"x":0,', 1))


@pytest.mark.parametrize("violations_max", [1, 2, 100])
def test_the_bound_on_violations_is_the_caller_s(violations_max: int) -> None:
    text = json.dumps({"reference_ids": [None] * 100})
    with pytest.raises(DecodeError) as caught:
        from_json(ReferenceChunk, text, limits=Limits(violations_max=violations_max))
    assert len(caught.value.violations) == violations_max
    assert caught.value.truncated is (violations_max < 100)


def test_megabytes_of_text_come_back() -> None:
    text = json.dumps({"name": "f" * 3_000_000, "arguments": {"a": ["é😀" * 500_000]}}, ensure_ascii=False)
    assert json.loads(engines.write(engines.read(FunctionCall, text))) == json.loads(text)


def test_a_limit_names_the_type() -> None:
    text = '{"a":' + "[" * 600 + "]" * 600 + "}"
    with pytest.raises(DecodeError) as caught:
        from_json(UsageInfo, text)
    assert caught.value.type_name == "UsageInfo"


@pytest.mark.parametrize("text", ['{"a":[1,2,3]}', '{"a":[[],[]],"b":1}', '{"a":{"b":{},"c":{},"d":1}}'])
def test_the_values_of_a_document_are_bounded(text: str) -> None:
    assert from_json(UsageInfo, text, limits=Limits(values_max=4))
    with pytest.raises(DecodeError, match="at most 3 values in all, found 4 values") as caught:
        from_json(UsageInfo, text, limits=Limits(values_max=3))
    assert caught.value.reason == "LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    "values", ["1,2,3,4,5", "[[[[]]]],[]", '"a",{"b":"c"},"",{},{}', '{"\\\\":"\\"","c":[{},{},{}]}']
)
def test_far_too_many_values_are_refused_before_they_are_parsed(values: str) -> None:
    with pytest.raises(DecodeError, match="at most 3 values in all, found more"):
        from_json(UsageInfo, f'{{"a":[{values}],', limits=Limits(values_max=3))


@pytest.mark.parametrize("string", [",,,,,,,,", "[{[{[{[{", '\\",\\",\\",[[[[', "\\\\"])
def test_what_a_string_holds_is_no_value(string: str) -> None:
    text = f'{{"a":"{string}","b":["{string}"]}}'
    message = from_json(UsageInfo, text, limits=Limits(values_max=3))
    assert to_dict(message) == json.loads(text)


def test_the_values_of_a_dict_are_bounded() -> None:
    value = {"a": [1, 2, 3]}
    assert from_dict(UsageInfo, value, limits=Limits(values_max=4))
    with pytest.raises(DecodeError, match="at most 3 values in all"):
        from_dict(UsageInfo, value, limits=Limits(values_max=3))


@pytest.mark.slow
def test_a_document_of_too_many_values_is_refused() -> None:
    text = '{"choices":[' + "{}," * 1_000_000 + "{}]}"
    with pytest.raises(DecodeError, match="at most 1000000 values"):
        from_json(ChatCompletionResponse, text, validate=False)


def test_commas_in_text_are_no_values() -> None:
    text = '{"service_tier":"' + "," * 1_000_001 + '"}'
    assert from_json(UsageInfo, text).service_tier == "," * 1_000_001


def test_an_integer_of_endless_bits_is_refused() -> None:
    with pytest.raises(DecodeError, match="x: expected an integer of at most 100000 bits"):
        from_dict(UsageInfo, {"x": 1 << 200_000}, validate=False)
