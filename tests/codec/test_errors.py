"""What reading says of documents that break the contract, and that it says nothing else, ever."""

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
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    CompletionResponseStreamChoice,
    FunctionCall,
    FunctionName,
    ModerationLlmv2CategoryThresholds,
    ReferenceChunk,
    SystemMessage,
    TextChunk,
    ThinkChunk,
    Tool,
    ToolMessage,
    UsageInfo,
    ValidationError,
)
from tests.codec import repeatedly
from tests.strategies import MESSAGE_TYPES, to_json_text, wild_values

NOTHING = "nothing: the member is required"

CASES: list[tuple[type[Message], str, list[Violation]]] = [
    (FunctionName, "{}", [Violation("name", "a string", NOTHING)]),
    (FunctionName, '{"name":null}', [Violation("name", "a string", "null")]),
    (FunctionName, '{"name":5}', [Violation("name", "a string", "the number 5")]),
    (FunctionName, '{"name":true}', [Violation("name", "a string", "true")]),
    (FunctionName, '{"name":[]}', [Violation("name", "a string", "an empty array")]),
    (FunctionName, '{"name":{"a":1}}', [Violation("name", "a string", "an object with 1 members")]),
    (FunctionName, '{"name":"\\ud800"}', [Violation("name", "Unicode text", "a string with a lone surrogate")]),
    (UsageInfo, '{"prompt_tokens":"5"}', [Violation("prompt_tokens", "an integer or null", "a string of 1 characters")]),
    (UsageInfo, '{"promptTokens":""}', [Violation("promptTokens", "an integer or null", "an empty string")]),
    (UsageInfo, '{"prompt_tokens":false}', [Violation("prompt_tokens", "an integer or null", "false")]),
    (UsageInfo, '{"prompt_tokens":1.5}', [Violation("prompt_tokens", "a 64-bit integer", "the number 1.5")]),
    (
        UsageInfo,
        '{"prompt_tokens":9223372036854775808}',
        [Violation("prompt_tokens", "an integer from -2^63 to 2^63-1", "the number 9223372036854775808")],
    ),
    (
        UsageInfo,
        '{"prompt_tokens":-9223372036854775809}',
        [Violation("prompt_tokens", "a 64-bit integer", "the number -9223372036854775809")],
    ),
    (
        UsageInfo,
        '{"prompt_tokens":1' + "0" * 60 + "}",
        [Violation("prompt_tokens", "a 64-bit integer", "the number 1" + "0" * 39)],
    ),
    (
        UsageInfo,
        '{"prompt_tokens":1,"promptTokens":1}',
        [Violation("promptTokens", "one spelling of the member, prompt_tokens or promptTokens", "both")],
    ),
    (
        UsageInfo,
        '{"promptTokensDetails":[1,2]}',
        [Violation("promptTokensDetails", "an object or null", "an array of 2 elements")],
    ),
    (
        ModerationLlmv2CategoryThresholds,
        '{"pii":true,"law":1e400}',
        [
            Violation("pii", "a number or null", "true"),
            Violation("law", "a number within the range of a double", "the number 1e400"),
        ],
    ),
    (AssistantMessage, '{"prefix":1}', [Violation("prefix", "true or false or null", "the number 1")]),
    (AssistantMessage, '{"role":"user"}', [Violation("role", 'the string "assistant"', 'the string "user"')]),
    (
        AssistantMessage,
        json.dumps({"role": "x" * 40}),
        [Violation("role", 'the string "assistant"', "a string of 40 characters")],
    ),
    (AssistantMessage, '{"content":{}}', [Violation("content", "a string, an array or null", "an empty object")]),
    (AssistantMessage, '{"content":["text"]}', [Violation("content[0]", "an object", "a string of 4 characters")]),
    (AssistantMessage, '{"content":[{"type":5}]}', [Violation("content[0].type", "a string", "the number 5")]),
    (AssistantMessage, '{"content":[{"type":"text"}]}', [Violation("content[0].text", "a string", NOTHING)]),
    (SystemMessage, '{"content":null}', [Violation("content", "a string or an array", "null")]),
    (SystemMessage, '{"content":7}', [Violation("content", "a string or an array", "the number 7")]),
    (ToolMessage, "{}", [Violation("content", "a string, an array or null", NOTHING)]),
    (FunctionCall, '{"name":"f","arguments":[1]}', [Violation("arguments", "a string or an object", "an array of 1 elements")]),
    (Tool, '{"function":{"name":"f","parameters":"{}"}}', [Violation("function.parameters", "an object", "a string of 2 characters")]),
    (ChatCompletionChoice, '{"index":0,"finish_reason":null}', [Violation("finish_reason", "a string", "null")]),
    (ChatCompletionChoice, '{"index":0,"finish_reason":1}', [Violation("finish_reason", "a string", "the number 1")]),
    (CompletionResponseStreamChoice, '{"index":0,"delta":{}}', [Violation("finish_reason", "a string or null", NOTHING)]),
    (
        ChatCompletionRequest,
        '{"model":"m","messages":[],"tool_choice":5,"stop":[1],"metadata":"x"}',
        [
            Violation("tool_choice", "an object, a string or null", "the number 5"),
            Violation("stop[0]", "a string", "the number 1"),
            Violation("metadata", "an object or null", "a string of 1 characters"),
        ],
    ),
    (ReferenceChunk, '{"reference_ids":[1,true]}', [Violation("reference_ids[1]", "an integer or a string", "true")]),
    (ReferenceChunk, '{"reference_ids":[1.5]}', [Violation("reference_ids[0]", "a 64-bit integer", "the number 1.5")]),
    (ThinkChunk, '{"thinking":[null]}', [Violation("thinking[0]", "an object", "null")]),
    (ValidationError, '{"loc":"a","msg":"m","type":"t"}', [Violation("loc", "an array", "a string of 1 characters")]),
    (
        ChatCompletionResponse,
        '{"id":1,"object":"o","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"tool_calls":['
        '{"function":{"name":"f","arguments":""}},{"function":{"arguments":""}}]}}]}',
        [
            Violation("id", "a string", "the number 1"),
            Violation("choices[0].message.tool_calls[1].function.name", "a string", NOTHING),
            Violation("usage", "an object", NOTHING),
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message_type", "text", "violations"), CASES, ids=range(len(CASES)))
def test_violations_name_place_expectation_and_finding(
    message_type: type[Message], text: str, violations: list[Violation]
) -> None:
    for _ in range(repeatedly.TIMES):
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
    repeatedly.read(message_type, text, validate=False)


@pytest.mark.parametrize(
    ("text", "violation", "reason"),
    [
        ("[]", Violation("", "an object", "an empty array"), "CONTRACT_VIOLATION"),
        ("null", Violation("", "an object", "null"), "CONTRACT_VIOLATION"),
        ('"{}"', Violation("", "an object", "a string of 2 characters"), "CONTRACT_VIOLATION"),
        ("5", Violation("", "an object", "the number 5"), "CONTRACT_VIOLATION"),
        ("[{}]", Violation("", "an object", "an array of 1 elements"), "CONTRACT_VIOLATION"),
        (b"\xef\xbb\xbf{}", Violation("", "JSON without a byte order mark", "a byte order mark"), "NOT_JSON"),
        ("\ufeff{}", Violation("", "JSON without a byte order mark", "a byte order mark"), "NOT_JSON"),
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
    ["", " ", "{", "}", "{}{}", "{} x", '{"a":1,}', "{'a':1}", '{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}',
     '{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":+1}', '{"a":0x1}', '{"a":"\t"}', '{"a":"\\x41"}', '{"a":"\\u12"}',
     '{"a":undefined}', '{"a":True}', "{a:1}", '{"a":1 "b":2}', '{"a"}', '{"a":"\\ud800}', "// c\n{}", '{"a":1e}',
     '{"a":"\x7f', '{"a":\u00a01}', '{"a":١}', "\x00{}", '{"a":12345678901234567890123,}', '{"a":1e400,}'],
)  # fmt: skip
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
    assert head == f"{listed}{' or more' if truncated else ''} violations in ReferenceChunk:"


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
    try:
        from_json(message_type, data, validate=validate)
    except DecodeError as error:
        assert 1 <= len(error.violations) <= DEFAULT_LIMITS.violations_max
        assert str(error)


@given(types, wild_values)
def test_any_json_is_read_or_refused_with_a_decode_error(message_type: type[Message], value: Any) -> None:
    text = to_json_text(value)
    try:
        repeatedly.read(message_type, text)
    except DecodeError as error:
        assert error.violations
    try:
        repeatedly.read(message_type, text, validate=False)
    except DecodeError:
        assert not isinstance(value, dict)


@given(types, st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_str_is_read_or_refused_with_a_decode_error(message_type: type[Message], data: str) -> None:
    for text in (data, json.dumps({data: data}), f'{{"model":"{data}"}}'):
        try:
            from_json(message_type, text)
        except DecodeError as error:
            assert str(error).isprintable() or "\n" in str(error) or error.violations


def test_a_lone_surrogate_is_kept_without_validation() -> None:
    text = b'{"text":"\\ud800","\\udfff":"a\\udc00"}'
    chunk = repeatedly.read(TextChunk, text, validate=False)
    assert not chunk.HasField("text")
    assert json.loads(repeatedly.write(chunk)) == json.loads(text)
