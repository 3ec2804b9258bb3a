"""What reading says of documents that break the contract, and that it says nothing else, ever."""

import contextlib
import json
import pickle
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import DEFAULT_LIMITS, from_dict, from_json, json_to_binary
from mistralwire.errors import DecodeError, Violation
from mistralwire.v1 import (
    AssistantMessage,
    CompletionChunk,
    FunctionName,
    ReferenceChunk,
    TextChunk,
    UsageInfo,
)
from tests.codec import engines
from tests.codec.violations import CASES
from tests.strategies import MESSAGE_TYPES, to_json_text, wild_values


@pytest.mark.parametrize(("message_type", "text", "violations"), CASES, ids=range(len(CASES)))
def test_violations_name_place_expectation_and_finding(
    message_type: type[Message], text: str, violations: list[Violation]
) -> None:
    with pytest.raises(DecodeError) as caught:
        from_json(message_type, text)
    error = caught.value
    assert error.violations == violations
    assert (error.path, error.truncated, error.reason, error.code) == (
        violations[0].path,
        False,
        "CONTRACT_VIOLATION",
        "INVALID_ARGUMENT",
    )
    with pytest.raises(DecodeError):
        json_to_binary(message_type, text)
    engines.read(message_type, text, validate=False)


@pytest.mark.parametrize(
    ("text", "violation", "reason"),
    [
        ("[]", Violation("", "an object", "an empty array"), "CONTRACT_VIOLATION"),
        ("null", Violation("", "an object", "null"), "CONTRACT_VIOLATION"),
        ('"{}"', Violation("", "an object", "a string of 2 characters"), "CONTRACT_VIOLATION"),
        ("5", Violation("", "an object", "the number 5"), "CONTRACT_VIOLATION"),
        ("[{}]", Violation("", "an object", "an array of 1 element"), "CONTRACT_VIOLATION"),
        (b'{"a":"\xff"}', Violation("", "UTF-8 text", "byte 0xff at offset 6"), "NOT_JSON"),
        ('{"a":"\ud800"}', Violation("", "Unicode text", "a lone surrogate at character 6"), "NOT_JSON"),
    ],
)
def test_a_document_that_is_no_object_is_refused_in_both_modes(
    text: bytes | str, violation: Violation, reason: str
) -> None:
    for validate in (True, False):
        with pytest.raises(DecodeError) as caught:
            from_json(UsageInfo, text, validate=validate)
        assert caught.value.violations == [violation]
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "{", "}", "{}{}", "{} x", '{"a":1,}', "{'a':1}", '{"a":+Infinity}', '{"a":-NaN}'),
        *(
            '{"a":inf}',
            '{"a":nan}',
            '{"a":-Inf}',
            '{"a":INFINITY}',
            '{"a":1#INF}',
            "{NaN:1}",
            '{"a":01}',
            '{"a":1.}',
            '{"a":.5}',
            '{"a":+1}',
            '{"a":0x1}',
        ),
        *('{"a":"\t"}', '{"a":"\\x41"}', '{"a":"\\u12"}', '{"a":undefined}', '{"a":True}', "{a:1}"),
        *('{"a":1 "b":2}', '{"a"}', '{"a":"\\ud800}', "// c\n{}", '{"a":1e}', '{"a":"\x7f'),
        *('{"a":\u00a01}', '{"a":\u0661}', "\x00{}", '{"a":12345678901234567890123,}'),
        '{"a":1e400,}',
    ],
)
def test_text_that_is_not_json_is_refused_in_both_modes(text: str) -> None:
    for validate in (True, False):
        for data in (text, text.encode()):
            with pytest.raises(DecodeError) as caught:
                from_json(UsageInfo, data, validate=validate)
            assert caught.value.reason == "NOT_JSON"
            assert caught.value.violations[0].path == ""
            assert caught.value.violations[0].expected == "JSON"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(DecodeError) as caught:
        from_json(UsageInfo, '{"prompt_tokens":1}'.encode(encoding))
    assert caught.value.reason == "NOT_JSON"


def test_one_violation_is_said_in_one_sentence() -> None:
    with pytest.raises(DecodeError) as caught:
        from_json(FunctionName, '{"name":5}')
    assert str(caught.value) == "name: expected a string, found the number 5"
    with pytest.raises(DecodeError) as caught:
        from_json(FunctionName, "[]")
    assert str(caught.value) == "document: expected an object, found an empty array"


def test_many_violations_are_listed_under_their_count() -> None:
    with pytest.raises(DecodeError) as caught:
        from_json(CompletionChunk, '{"id":5,"model":"m"}')
    assert str(caught.value) == (
        "2 violations in CompletionChunk:\n"
        "  id: expected a string, found the number 5\n"
        "  choices: expected an array, found nothing: the member is required"
    )


@pytest.mark.parametrize(
    ("count", "listed", "truncated"), [(31, 31, False), (32, 32, False), (33, 32, True), (5_000, 32, True)]
)
def test_at_most_32_violations_are_listed(count: int, listed: int, truncated: bool) -> None:
    with pytest.raises(DecodeError) as caught:
        from_json(ReferenceChunk, json.dumps({"reference_ids": [None] * count}))
    assert len(caught.value.violations) == listed
    assert caught.value.truncated is truncated
    head = str(caught.value).partition("\n")[0]
    more = f"more than {listed} violations in ReferenceChunk, the first {listed}:"
    assert head == (more if truncated else f"{listed} violations in ReferenceChunk:")


def test_an_error_survives_pickling() -> None:
    with pytest.raises(DecodeError) as caught:
        from_json(CompletionChunk, "{}")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is DecodeError
    assert (again.violations, again.truncated, str(again), again.reason, again.path) == (
        caught.value.violations,
        caught.value.truncated,
        str(caught.value),
        caught.value.reason,
        caught.value.path,
    )


def test_errors_do_not_show_what_documents_say() -> None:
    secret = "correct horse battery staple: my private text"
    for text in (
        json.dumps({"role": secret, "content": [secret], "tool_calls": secret, "prefix": secret}),
        json.dumps({"content": [{"type": "text", "text": {secret: secret}}]}),
        '{"content":"' + secret,
        secret,
    ):
        with pytest.raises(DecodeError) as caught:
            from_json(AssistantMessage, text)
        assert "private" not in str(caught.value)
        assert "horse" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"a": float("nan")}, "a", "nan, which JSON does not have"),
        ({"a": [float("inf")]}, "a[0]", "inf, which JSON does not have"),
        ({"a": {"b c": b"bytes"}}, 'a["b c"]', "a value of type bytes"),
        ({"a": {1, 2}}, "a", "a value of type set"),
        ({"a": {5: 1}}, "a", "a name of type int"),
        ({None: 1}, "", "a name of type NoneType"),
        ({"a": object()}, "a", "a value of type object"),
        ({"a": 1 + 2j}, "a", "a value of type complex"),
    ],
)
def test_python_values_that_json_does_not_have_are_refused(value: Any, path: str, found: str) -> None:
    for validate in (True, False):
        with pytest.raises(DecodeError) as caught:
            from_dict(UsageInfo, value, validate=validate)
        assert caught.value.violations[0].path == path
        assert caught.value.violations[0].found == found


@pytest.mark.parametrize("value", [None, [], "{}", 5, [("a", 1)]])
def test_python_values_that_are_no_dict_are_refused(value: Any) -> None:
    with pytest.raises(DecodeError, match="expected an object"):
        from_dict(UsageInfo, value)


def test_a_container_within_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["a"] = [value]
    with pytest.raises(DecodeError, match="nesting of at most 200 levels"):
        from_dict(UsageInfo, value)


def _refusal(message_type: type[Message], data: bytes | str, validate: bool = True) -> DecodeError | None:
    try:
        from_json(message_type, data, validate=validate)
    except DecodeError as error:
        return error
    return None


types = st.sampled_from(MESSAGE_TYPES)
_JSON_PIECES = st.sampled_from(
    [
        '{"',
        '":',
        '"',
        "{",
        "}",
        "[",
        "]",
        ",",
        "null",
        "1e999",
        "12345678901234567890",
        "\\ud800",
        "\ufeff",
        "-",
        "0",
    ]
)


@given(types, st.binary(max_size=64) | st.lists(_JSON_PIECES, max_size=12).map("".join), st.booleans())
def test_any_text_is_read_or_refused_with_a_decode_error(
    message_type: type[Message], data: bytes | str, validate: bool
) -> None:
    error = _refusal(message_type, data, validate)
    assert error is None or 1 <= len(error.violations) <= DEFAULT_LIMITS.violations_max


@given(types, wild_values)
def test_any_json_is_read_or_refused_with_a_decode_error(message_type: type[Message], value: Any) -> None:
    text = to_json_text(value)
    with contextlib.suppress(DecodeError):
        engines.read(message_type, text)
    if isinstance(value, dict):
        engines.read(message_type, text, validate=False)
    else:
        assert _refusal(message_type, text, validate=False) is not None


@given(types, st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_str_is_read_or_refused_with_a_decode_error(message_type: type[Message], data: str) -> None:
    for text in (data, json.dumps({data: data}), f'{{"model":"{data}"}}'):
        error = _refusal(message_type, text)
        assert error is None or str(error)


def test_a_lone_surrogate_is_kept_without_validation() -> None:
    text = b'{"text":"\\ud800","\\udfff":"a\\udc00"}'
    chunk = engines.read(TextChunk, text, validate=False)
    assert not chunk.HasField("text")
    assert json.loads(engines.write(chunk)) == json.loads(text)
