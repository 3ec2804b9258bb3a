"""What reading makes of JSON: names, unions, enums, and what no field can hold."""

import json
from typing import Any

import pytest
from google.protobuf.message import Message

from mistralwire.codec import Limits, from_dict, from_json, json_to_binary, to_json
from mistralwire.errors import DecodeError
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatMessage,
    ChatTool,
    ContentChunk,
    ErrorResponse,
    FinishReason,
    FunctionCall,
    JsonExtra,
    ModerationLlmv2CategoryThresholds,
    ReferenceChunk,
    StringList,
    Tool,
    ToolCall,
    ToolChoiceMode,
    UsageInfo,
    UserMessage,
    ValidationError,
)
from tests.codec import engines


def _extra(members: dict[str, Any] | None = None, **fields: Any) -> JsonExtra:
    text = json.dumps(members, separators=(",", ":"), ensure_ascii=False) if members is not None else None
    return JsonExtra(members=text, **fields)


@pytest.mark.parametrize("data", [b'{"name":"f"}', '{"name":"f"}', bytearray(b' {"name" : "f"} \n')])
def test_text_comes_as_bytes_or_str(data: Any) -> None:
    call = from_json(FunctionCall, data, validate=False)
    assert call == FunctionCall(name="f")


@pytest.mark.parametrize("validate", [True, False])
def test_one_byte_order_mark_is_dropped(validate: bool) -> None:
    for text in ('{"prompt_tokens":1}', ' {"prompt_tokens" : 1.0} \n'):
        for data in (f"\ufeff{text}", f"\ufeff{text}".encode()):
            assert engines.read(UsageInfo, data, validate=validate) == UsageInfo(prompt_tokens=1)
            wire = json_to_binary(UsageInfo, data, validate=validate)
            assert wire == UsageInfo(prompt_tokens=1).SerializeToString()
    for text in ("\ufeff\ufeff{}", "{}\ufeff", '{\ufeff"a":1}', "\ufeff", " \ufeff{}"):
        with pytest.raises(DecodeError) as caught:
            engines.read(UsageInfo, text, validate=validate)
        assert caught.value.reason == "NOT_JSON"


def test_a_byte_order_mark_inside_a_string_is_kept_and_counts_for_no_limit() -> None:
    text = "\ufeff" + '{"\ufeff":"\ufeff"}'
    assert to_json(from_json(UsageInfo, text)) == text[1:].encode()
    size = len(text.encode()) - 3
    assert from_json(UsageInfo, text, limits=Limits(document_bytes_max=size))
    with pytest.raises(DecodeError, match="at most"):
        from_json(UsageInfo, text, limits=Limits(document_bytes_max=size - 1))


def test_names_come_in_either_spelling() -> None:
    snake = engines.read(UsageInfo, '{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":2}}')
    camel = engines.read(UsageInfo, '{"promptTokens":1,"promptTokensDetails":{"cachedTokens":2}}')
    assert snake == camel
    assert camel.prompt_tokens_details.cached_tokens == 2


def test_names_inside_free_form_json_are_left_alone() -> None:
    call = engines.read(FunctionCall, '{"name":"f","arguments":{"toolCalls":1,"tool_calls":2}}')
    assert call.arguments_object == '{"toolCalls":1,"tool_calls":2}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", AssistantMessage()),
        ('{"tool_calls":null}', AssistantMessage(json_extra=_extra(null_fields=[5]))),
        ('{"tool_calls":[]}', AssistantMessage(json_extra=_extra(empty_fields=[5]))),
        ('{"content":null}', AssistantMessage(json_extra=_extra(null_fields=[3]))),
        ('{"content":""}', AssistantMessage(content_string="")),
        ('{"content":[]}', AssistantMessage(content_array={})),
        (
            '{"prefix":null,"toolCalls":null}',
            AssistantMessage(json_extra=_extra(null_fields=[5, 6])),
        ),
    ],
)
def test_absent_null_and_empty_are_three_things(text: str, expected: Message) -> None:
    assert engines.read(AssistantMessage, text) == expected


def test_members_that_are_not_documented_are_kept_in_order() -> None:
    usage = engines.read(UsageInfo, '{"zeta":1,"prompt_tokens":2,"alpha":{"b":[1.50,null]},"p":"x"}')
    assert usage.prompt_tokens == 2
    assert usage.json_extra.members == '{"zeta":1,"alpha":{"b":[1.5,null]},"p":"x"}'


@pytest.mark.parametrize("name", ["json_extra", "jsonExtra", "content_string", "content_array", "toolcalls"])
def test_names_of_protobuf_are_no_names_of_members(name: str) -> None:
    message = engines.read(AssistantMessage, json.dumps({name: {}}))
    assert message == AssistantMessage(json_extra=_extra({name: {}}))


def test_an_enum_string_becomes_its_number_and_a_new_one_is_kept() -> None:
    known = engines.read(ChatCompletionChoice, '{"index":0,"finish_reason":"tool_calls"}')
    assert known.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    new = engines.read(ChatCompletionChoice, '{"index":0,"finishReason":"content_filter"}')
    assert new == ChatCompletionChoice(
        index=0,
        finish_reason=FinishReason.FINISH_REASON_UNLISTED,
        json_extra=_extra({"finish_reason": "content_filter"}),
    )


@pytest.mark.parametrize("string", ["", "FINISH_REASON_STOP", "STOP", "FINISH_REASON_UNLISTED", "1"])
def test_names_of_enum_values_are_no_enum_strings(string: str) -> None:
    choice = engines.read(ChatCompletionChoice, json.dumps({"index": 0, "finish_reason": string}))
    assert choice.finish_reason == FinishReason.FINISH_REASON_UNLISTED
    assert choice.json_extra == _extra({"finish_reason": string})


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ('"{\\"a\\": 1}"', "arguments_string", '{"a": 1}'),
        ('""', "arguments_string", ""),
        ("{}", "arguments_object", "{}"),
        ('{"n":9007199254740993}', "arguments_object", '{"n":9007199254740993}'),
    ],
)
def test_the_json_type_selects_the_alternative(arguments: str, field: str, value: str) -> None:
    call = engines.read(FunctionCall, f'{{"name":"f","arguments":{arguments}}}')
    assert call.WhichOneof("arguments") == field
    assert getattr(call, field) == value


def test_a_union_of_an_enum_and_an_object_takes_both() -> None:
    base = '"model":"m","messages":[]'
    mode = engines.read(ChatCompletionRequest, f'{{{base},"tool_choice":"any"}}')
    assert mode.WhichOneof("tool_choice") == "tool_choice_string"
    named = engines.read(ChatCompletionRequest, f'{{{base},"toolChoice":{{"function":{{"name":"f"}}}}}}')
    assert named.tool_choice_object.function.name == "f"
    new = engines.read(ChatCompletionRequest, f'{{{base},"toolChoice":"sometimes"}}')
    assert new.tool_choice_string == ToolChoiceMode.TOOL_CHOICE_MODE_UNLISTED
    assert new.json_extra.members == '{"tool_choice":"sometimes"}'


def test_elements_of_a_union_by_json_type_keep_their_type() -> None:
    chunk = engines.read(ReferenceChunk, '{"type":"reference","reference_ids":[1,"1",-5]}')
    assert [element.WhichOneof("kind") for element in chunk.reference_ids] == ["integer", "string", "integer"]


@pytest.mark.parametrize("role", ["assistant", "system", "tool", "user"])
def test_the_role_selects_the_message(role: str) -> None:
    text = json.dumps({"model": "m", "messages": [{"role": role, "content": "c"}]})
    request = engines.read(ChatCompletionRequest, text)
    assert request.messages[0].WhichOneof("kind") == role
    assert getattr(request.messages[0], role).content_string == "c"


@pytest.mark.parametrize(
    "message", ['{"role":"developer","content":[1]}', "{}", '{"role":null}', '{"Role":"user"}']
)
def test_a_message_with_another_role_is_kept_whole(message: str) -> None:
    request = engines.read(ChatCompletionRequest, f'{{"model":"m","messages":[{message}]}}')
    assert request.messages[0] == ChatMessage(unknown_json=message)


def test_a_tool_without_a_type_is_a_function() -> None:
    text = '{"model":"m","messages":[],"tools":[{"function":{"name":"f","parameters":{}}},{"type":"robot"}]}'
    request = engines.read(ChatCompletionRequest, text)
    assert request.tools[0] == ChatTool(function=Tool(function={"name": "f", "parameters": "{}"}))
    assert request.tools[1] == ChatTool(unknown_json='{"type":"robot"}')


def test_content_is_text_or_pieces() -> None:
    text = (
        '{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":"u"},{"x":1}]}'
    )
    message = engines.read(UserMessage, text)
    assert list(message.content_array.items) == [
        ContentChunk(text={"type": "text", "text": "a"}),
        ContentChunk(image_url={"type": "image_url", "image_url_string": "u"}),
        ContentChunk(unknown_json='{"x":1}'),
    ]


@pytest.mark.parametrize(
    "input_text", ["0", "false", '"x"', "[]", "{}", "[null]", "1.50", "18446744073709551616"]
)
def test_any_json_is_kept_as_text(input_text: str) -> None:
    error = engines.read(ValidationError, f'{{"loc":["a",0],"msg":"m","type":"t","input":{input_text}}}')
    assert json.loads(error.input) == json.loads(input_text)


def test_error_bodies_take_their_many_shapes() -> None:
    detail = '[{"loc":["body","n"],"msg":"m","type":"t"}]'
    for text, field in (
        ('{"object":"error","message":"no","type":"t","param":null,"code":"1500"}', "message_string"),
        (f'{{"message":{{"detail":{detail}}},"code":3051}}', "message_object"),
        ('{"detail":"Not Found"}', "detail_string"),
        (f'{{"detail":{detail}}}', "detail_array"),
    ):
        error: Any = engines.read(ErrorResponse, text)
        assert error.HasField(field)


def test_without_validation_a_value_that_no_field_can_hold_is_kept_whole() -> None:
    text = '{"id":5,"function":{"name":"f","arguments":null,"extra":[]},"index":"0","type":["x"]}'
    call = engines.read(ToolCall, text, validate=False)
    assert not call.HasField("id")
    assert json.loads(call.json_extra.members) == {"id": 5, "index": "0", "type": ["x"]}
    assert list(call.function.json_extra.null_fields) == [3]
    assert call.function.json_extra.members == '{"extra":[]}'


def test_without_validation_one_bad_element_keeps_the_array_whole() -> None:
    text = '{"index":0,"messages":[{"role":"assistant"},"odd"],"finishReason":"stop"}'
    choice = engines.read(ChatCompletionChoice, text, validate=False)
    assert not choice.messages
    assert choice.json_extra.members == '{"messages":[{"role":"assistant"},"odd"]}'
    assert choice.finish_reason == FinishReason.FINISH_REASON_STOP


def test_without_validation_both_spellings_are_kept() -> None:
    text = '{"promptTokens":1,"prompt_tokens":2}'
    usage = engines.read(UsageInfo, text, validate=False)
    assert usage == UsageInfo(prompt_tokens=2, json_extra=_extra({"promptTokens": 1}))


def test_a_number_that_a_double_changes_keeps_its_text_too() -> None:
    text = '{"jailbreaking":0.1000000000000000055,"pii":9007199254740993,"law":1}'
    thresholds = engines.read(ModerationLlmv2CategoryThresholds, text)
    assert thresholds.jailbreaking == 0.1
    assert thresholds.pii == 2.0**53
    assert thresholds.law == 1.0
    assert thresholds.json_extra.members == '{"jailbreaking":0.1000000000000000055,"pii":9007199254740993}'


@pytest.mark.parametrize("message_type", [StringList, ChatMessage, JsonExtra, str, None])
def test_only_messages_that_are_json_objects_can_be_read(message_type: Any) -> None:
    for function in (from_json, json_to_binary):
        with pytest.raises(TypeError, match="JSON object"):
            function(message_type, "{}")
    with pytest.raises(TypeError, match="JSON object"):
        from_dict(message_type, {})


@pytest.mark.parametrize("data", [None, 5, {}, ["{}"]])
def test_only_bytes_and_str_can_be_read(data: Any) -> None:
    with pytest.raises(TypeError, match="bytes or str"):
        from_json(UsageInfo, data)
