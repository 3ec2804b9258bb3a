"""A program that makes and reads messages, with the types that a checker must see."""

from collections.abc import Sequence
from typing import Literal, assert_type

from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatMessage,
    FinishReason,
    GuardrailConfig,
    JsonExtra,
    StringList,
    ToolCall,
    UsageInfo,
    UserMessage,
)


def texts(choices: Sequence[ChatCompletionChoice]) -> list[str]:
    return [choice.message.content_string for choice in choices]


def read_response() -> None:
    response = ChatCompletionResponse.FromString(b"")
    assert_type(response, ChatCompletionResponse)
    response.ParseFromString(b"\x12\x011")
    assert_type(response.id, str)
    assert_type(response.created, int)
    assert_type(response.usage, UsageInfo)
    assert_type(response.usage.total_tokens, int)
    assert_type(response.SerializeToString(deterministic=True), bytes)

    choice = response.choices.add(index=0, finish_reason="FINISH_REASON_STOP")
    assert_type(choice, ChatCompletionChoice)
    response.choices.append(ChatCompletionChoice(index=1))
    response.choices.extend([choice, response.choices[1]])
    assert_type(response.choices[0].message.content_string, str)
    assert_type(response.choices[1:], list[ChatCompletionChoice])
    assert_type([each.index for each in response.choices], list[int])
    assert_type(len(response.choices), int)
    assert_type(texts(response.choices), list[str])
    response.choices.sort(key=lambda each: each.index)
    response.choices.reverse()
    assert_type(response.choices.pop(), ChatCompletionChoice)
    del response.choices[0]
    response.choices.clear()


def read_enum() -> None:
    choice = ChatCompletionChoice(finish_reason=FinishReason.FINISH_REASON_LENGTH)
    assert_type(choice.finish_reason, FinishReason)
    choice.finish_reason = FinishReason.FINISH_REASON_STOP
    assert choice.finish_reason == FinishReason.FINISH_REASON_STOP == 1
    assert_type(FinishReason.Value("FINISH_REASON_STOP"), FinishReason)
    assert_type(FinishReason.Name(choice.finish_reason), str)
    assert_type(FinishReason.items(), list[tuple[str, FinishReason]])
    assert_type(FinishReason.keys(), list[str])
    assert_type(FinishReason.values(), list[FinishReason])


def read_oneof() -> None:
    message = AssistantMessage(content_string="Bonjour")
    which = message.WhichOneof("content")
    assert_type(which, Literal["content_string", "content_array"] | None)
    assert_type(message.HasField("content"), bool)
    assert_type(message.HasField("json_extra"), bool)
    message.ClearField("content")
    message.ClearField("tool_calls")
    assert message.WhichOneof("content") is None


def make_request() -> None:
    question = ChatMessage(user=UserMessage(content_string="Bonjour"))
    request = ChatCompletionRequest(
        model="m",
        messages=[question, {"system": {"content_string": "Be kind."}}],
        stop_array=StringList(items=["a", "b"]),
        response_format={"type": "RESPONSE_FORMAT_TYPE_TEXT"},
        reasoning_effort="REASONING_EFFORT_HIGH",
        guardrails=(GuardrailConfig() for _ in range(2)),
        temperature=1,
        max_tokens=None,
        tools=None,
    )
    assert_type(request.stop_array.items[0], str)
    request.stop_array.items[0] = "c"
    request.stop_array.items.extend(["d"])
    assert_type(request.temperature, float)
    assert_type(request.messages[0].user, UserMessage)
    assert_type(
        request.messages[1].WhichOneof("kind"),
        Literal["user", "system", "assistant", "tool", "unknown_json"] | None,
    )
    assert_type(list(JsonExtra(null_fields=[3]).null_fields), list[int])
    copy = ChatCompletionRequest()
    copy.CopyFrom(request)
    copy.MergeFrom(request)
    assert copy != request
    call = ToolCall(id="1")
    call.function.name = "f"
    assert_type(call.function.WhichOneof("arguments"), Literal["arguments_string", "arguments_object"] | None)


read_response()
read_enum()
read_oneof()
make_request()
