"""What writing makes of messages: names, order, layout, and what has no JSON form."""

import json
import math
import sys
from typing import Any

import pytest
from google.protobuf.message import Message

from mistralwire.codec import binary_to_json, from_json, to_dict, to_json
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatMessage,
    ContentChunk,
    FinishReason,
    FunctionCall,
    IntegerOrString,
    JsonExtra,
    ModerationLlmv2CategoryThresholds,
    ReferenceChunk,
    StringList,
    SystemMessage,
    TextChunk,
    ToolCall,
    ToolChoiceMode,
    UsageInfo,
    UserMessage,
    ValidationError,
)
from tests.codec import engines


def test_members_come_in_contract_order_then_the_others() -> None:
    usage = from_json(UsageInfo, '{"b":1,"total_tokens":3,"a":2,"completion_tokens":2,"promptTokens":1}')
    assert engines.write(usage) == (b'{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"b":1,"a":2}')


def test_names_are_snake_case_or_camel_case_and_free_form_json_is_left_alone() -> None:
    call = '{"function":{"name":"f","arguments":{"a_b":1}}}'
    text = f'{{"index":0,"finish_reason":"new","message":{{"tool_calls":[{call}]}},"x_y":{{"a_b":1}}}}'
    choice = from_json(ChatCompletionChoice, text)
    assert engines.write(choice, camel=True) == (
        b'{"index":0,"message":{"toolCalls":[{"function":{"name":"f","arguments":{"a_b":1}}}]},'
        b'"finishReason":"new","x_y":{"a_b":1}}'
    )
    assert b'"finish_reason":"new"' in engines.write(choice)


def test_the_other_spelling_of_a_member_that_came_twice_stays() -> None:
    text = '{"prompt_tokens":2,"promptTokens":1}'
    usage = from_json(UsageInfo, text, validate=False)
    assert to_dict(usage) == {"prompt_tokens": 2, "promptTokens": 1}
    assert to_dict(usage, names="camel") == {"prompt_tokens": 2, "promptTokens": 1}


def test_text_is_utf_8_and_not_escaped() -> None:
    assert to_json(TextChunk(text="é😀\u2028\u0000")) == '{"text":"é😀\u2028\\u0000"}'.encode()


@pytest.mark.parametrize("indent", [1, 2, 3, 8])
def test_indented_text_has_a_line_a_member(indent: int) -> None:
    usage = from_json(UsageInfo, '{"prompt_tokens":1,"a":[{"b":1},[]],"c":{},"n":18446744073709551616}')
    space = " " * indent
    assert to_json(usage, indent=indent).decode() == "\n".join(
        [
            "{",
            f'{space}"prompt_tokens": 1,',
            f'{space}"a": [',
            f"{space * 2}{{",
            f'{space * 3}"b": 1',
            f"{space * 2}}},",
            f"{space * 2}[]",
            f"{space}],",
            f'{space}"c": {{}},',
            f'{space}"n": 18446744073709551616',
            "}",
        ]
    )


@pytest.mark.parametrize("indent", [0, -1])
def test_an_indent_below_1_is_refused(indent: int) -> None:
    with pytest.raises(ValueError, match="indent must be an integer of 1 or more"):
        to_json(UsageInfo(), indent=indent)


@pytest.mark.parametrize("names", ["Camel", "", None])
def test_other_names_are_refused(names: Any) -> None:
    for write in (to_json, to_dict):
        with pytest.raises(ValueError, match='names must be "snake" or "camel"'):
            write(UsageInfo(), names=names)


@pytest.mark.parametrize("message", [StringList(), ChatMessage(), JsonExtra(), "{}", None])
def test_only_messages_that_are_json_objects_can_be_written(message: Any) -> None:
    for write in (to_json, to_dict):
        with pytest.raises(TypeError, match="JSON object"):
            write(message)


def test_wire_bytes_of_no_message_are_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="expected the wire bytes of a UsageInfo, found 3 bytes") as caught:
        binary_to_json(UsageInfo, b"\xff\xff\xff")
    assert caught.value.reason == "NOT_PROTOBUF"


def test_wire_text_that_is_not_utf_8_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="wire bytes of a TextChunk"):
        binary_to_json(TextChunk, b"\x12\x01\xff")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ChatCompletionChoice(finish_reason=FinishReason.FINISH_REASON_UNSPECIFIED), b"{}"),
        (ChatCompletionRequest(tool_choice_string=ToolChoiceMode.TOOL_CHOICE_MODE_UNSPECIFIED), b"{}"),
        (ChatCompletionChoice(index=0), b'{"index":0}'),
        (TextChunk(text=""), b'{"text":""}'),
        (AssistantMessage(content_array={}), b'{"content":[]}'),
        (AssistantMessage(prefix=False), b'{"prefix":false}'),
    ],
)
def test_values_that_protobuf_calls_default_are_written_when_set(message: Message, expected: bytes) -> None:
    assert engines.write(message) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            UsageInfo(
                prompt_tokens=1, json_extra=JsonExtra(members='{"prompt_tokens":"odd","promptTokens":2}')
            ),
            b'{"prompt_tokens":1,"promptTokens":2}',
        ),
        (UsageInfo(prompt_tokens=1, json_extra=JsonExtra(null_fields=[2])), b'{"prompt_tokens":1}'),
        (
            UsageInfo(json_extra=JsonExtra(null_fields=[2], members='{"prompt_tokens":"x"}')),
            b'{"prompt_tokens":"x"}',
        ),
        (
            AssistantMessage(
                tool_calls=[ToolCall(id="1")], json_extra=JsonExtra(empty_fields=[5], null_fields=[5])
            ),
            b'{"tool_calls":[{"id":"1"}]}',
        ),
        (
            ChatCompletionChoice(
                finish_reason=FinishReason.FINISH_REASON_STOP,
                json_extra=JsonExtra(members='{"finish_reason":"new"}'),
            ),
            b'{"finish_reason":"stop"}',
        ),
        (
            ChatCompletionRequest(
                temperature=0.5, json_extra=JsonExtra(members='{"temperature":0.1000000000000000055}')
            ),
            b'{"temperature":0.5}',
        ),
        (
            ChatCompletionRequest(
                temperature=0.1, json_extra=JsonExtra(members='{"temperature":0.1000000000000000055}')
            ),
            b'{"temperature":0.1000000000000000055}',
        ),
        (UsageInfo(json_extra=JsonExtra(null_fields=[77, 1], empty_fields=[2, 99])), b"{}"),
        (UsageInfo(json_extra=JsonExtra(members="{}")), b"{}"),
    ],
)
def test_a_field_that_is_set_wins_over_what_json_extra_says(message: Message, expected: bytes) -> None:
    assert engines.write(message) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ChatMessage(user=UserMessage(content_string="a")), b'{"role":"user","content":"a"}'),
        (ChatMessage(system=SystemMessage(role="system")), b'{"role":"system"}'),
        (ChatMessage(unknown_json='{"role": "developer"}'), b'{"role":"developer"}'),
    ],
)
def test_a_message_that_a_program_made_gets_its_tag(message: ChatMessage, expected: bytes) -> None:
    written = engines.write(ChatCompletionRequest(messages=[message]))
    assert written == b'{"messages":[' + expected + b"]}"


def test_an_untagged_alternative_stays_untagged() -> None:
    text = b'{"tools":[{"function":{"name":"f"}}]}'
    assert engines.write(from_json(ChatCompletionRequest, text, validate=False)) == text


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            ChatCompletionRequest(temperature=math.nan),
            "temperature: nan, which JSON does not have; set a finite number",
        ),
        (
            AssistantMessage(tool_calls=[ToolCall(), ToolCall(function=FunctionCall(arguments_object="{"))]),
            "tool_calls[1].function.arguments: expected JSON in the field, found ",
        ),
        (FunctionCall(arguments_object=""), "arguments: expected JSON in the field, found "),
        (
            FunctionCall(arguments_object="[1,2]"),
            "arguments: expected the text of an object in the field, found an array of 2 elements",
        ),
        (ValidationError(input="nope"), "input: expected JSON in the field, found "),
        (ValidationError(input="NaN"), "input: expected JSON in the field, found "),
        (
            UsageInfo(json_extra=JsonExtra(members="null")),
            "json_extra: expected the text of an object in the field, found null",
        ),
        (UsageInfo(json_extra=JsonExtra(members="{} {}")), "json_extra: expected JSON in the field, found "),
        (
            ChatCompletionRequest(messages=[ChatMessage()]),
            "messages[0]: expected an alternative of ChatMessage, found none; set one of user, system, ",
        ),
        (
            UserMessage(content_array={"items": [ContentChunk(text=TextChunk()), ContentChunk()]}),
            "content[1]: expected an alternative of ContentChunk, found none; set one of image_url, ",
        ),
        (
            ReferenceChunk(reference_ids=[IntegerOrString()]),
            "reference_ids[0]: expected an alternative of IntegerOrString, found none; set one of integer, ",
        ),
    ],
)
def test_what_has_no_json_form_is_an_encode_error_with_its_path(message: Message, expected: str) -> None:
    for write in (to_json, to_dict):
        with pytest.raises(EncodeError) as caught:
            write(message)
        assert str(caught.value).startswith(expected)
        assert expected.startswith(caught.value.path)
        assert (caught.value.code, caught.value.reason) == ("INTERNAL", "NO_JSON_FORM")


def test_an_infinity_is_written_as_the_largest_finite_double() -> None:
    message = ModerationLlmv2CategoryThresholds(pii=math.inf, law=-math.inf, financial=1.5)
    text = engines.write(message)
    assert json.loads(text) == {"financial": 1.5, "law": -sys.float_info.max, "pii": sys.float_info.max}
    assert to_dict(message) == json.loads(text)
    assert json.loads(to_json(message, indent=2)) == json.loads(text)


def test_text_beyond_the_depth_limit_is_an_encode_error() -> None:
    for depth in (201, 500, 990, 5_000, 100_000):
        for element in ("1", "12345678901234567890123"):
            text = '{"a":' + "[" * depth + element + "]" * depth + "}"
            with pytest.raises(EncodeError, match="nesting"):
                to_json(UsageInfo(json_extra=JsonExtra(members=text)))
            with pytest.raises(EncodeError, match="nesting"):
                to_json(FunctionCall(arguments_object=text))


def test_writing_leaves_the_message_as_it_is() -> None:
    message = from_json(AssistantMessage, '{"tool_calls":[],"content":null,"x":1}')
    before = message.SerializeToString(deterministic=True)
    engines.write(message)
    to_dict(message)
    assert message.SerializeToString(deterministic=True) == before
    assert not message.HasField("content_array")


def test_an_empty_extra_is_like_none() -> None:
    assert binary_to_json(UsageInfo, b"\x0a\x00\x10\x01") == b'{"prompt_tokens":1}'


def test_unknown_members_can_be_stripped() -> None:
    message = from_json(UsageInfo, '{"prompt_tokens":1,"p":"abc"}')
    message.json_extra.ClearField("members")
    assert engines.write(message) == b'{"prompt_tokens":1}'


@pytest.mark.parametrize("member", ["true", "false", '"1.0"', "[1.0]", "{}"])
def test_a_field_that_is_set_wins_over_a_member_of_another_type(member: str) -> None:
    message = from_json(ChatCompletionRequest, f'{{"temperature":{member},"model":"m"}}', validate=False)
    message.temperature = 1.0
    assert engines.write(message) == b'{"model":"m","temperature":1.0}'


def test_notes_of_fields_that_do_not_exist_are_passed_over() -> None:
    for count in range(20, 2_000, 90):
        message = UsageInfo(json_extra=JsonExtra(null_fields=range(2, count)))
        assert engines.write(message).count(b"null") == 8


def test_indented_text_is_unicode_whatever_the_indent() -> None:
    message = UsageInfo(service_tier="é")
    assert "é" in to_json(message, indent=2).decode()
    assert "é" in to_json(message, indent=4).decode()


@pytest.mark.parametrize("indent", [None, 2, 3])
def test_a_lone_surrogate_is_the_only_character_that_is_escaped(indent: int | None) -> None:
    text = '{"é":["é\\ud800",1,1.5,true,null,{},12345678901234567890123]}'
    written = to_json(from_json(UsageInfo, text), indent=indent).decode()
    assert "".join(written.split()) == text


def test_members_that_are_set_and_empty_are_none() -> None:
    message = UsageInfo(prompt_tokens=1, json_extra=JsonExtra(members="", null_fields=[3]))
    assert engines.write(message) == b'{"prompt_tokens":1,"completion_tokens":null}'
