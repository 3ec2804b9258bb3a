"""A member that is cleared is gone, whatever held it."""

import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import clear_member, from_json, json_to_binary, to_dict, to_json
from mistralwire.codec._plan import plan_for
from mistralwire.errors import EncodeError
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ContentChunk,
    FunctionName,
    JsonExtra,
    ModerationLlmv1CategoryThresholds,
    UsageInfo,
)
from tests.json_equality import meaning
from tests.strategies import MESSAGE_TYPES, ROOT_TYPES, Document, loose_documents, to_json_text

types = st.sampled_from(MESSAGE_TYPES + ROOT_TYPES * 4)
typed = types.flatmap(lambda each: st.tuples(st.just(each), loose_documents(each)))


def _cleared(message_type: type[Message], text: str, name: str) -> Any:
    message = from_json(message_type, text, validate=False)
    clear_member(message, name)
    return message


@pytest.mark.parametrize(
    ("message_type", "text", "name"),
    [
        (UsageInfo, '{"prompt_tokens":1}', "prompt_tokens"),
        (UsageInfo, '{"prompt_tokens":1}', "promptTokens"),
        (UsageInfo, '{"promptTokens":null}', "prompt_tokens"),
        (UsageInfo, '{"prompt_tokens":"1"}', "prompt_tokens"),
        (UsageInfo, '{"prompt_tokens":3000000000}', "promptTokens"),
        (UsageInfo, '{"prompt_tokens":1,"promptTokens":2}', "prompt_tokens"),
        (AssistantMessage, '{"content":"a"}', "content"),
        (AssistantMessage, '{"content":[]}', "content"),
        (AssistantMessage, '{"content":null}', "content"),
        (AssistantMessage, '{"content":5}', "content"),
        (AssistantMessage, '{"tool_calls":[]}', "toolCalls"),
        (AssistantMessage, '{"tool_calls":[{"function":{"name":"f","arguments":""}}]}', "tool_calls"),
        (ChatCompletionChoice, '{"finish_reason":"stop"}', "finish_reason"),
        (ChatCompletionChoice, '{"finish_reason":"content_filter"}', "finish_reason"),
        (ChatCompletionRequest, '{"tool_choice":"sometimes"}', "tool_choice"),
        (ModerationLlmv1CategoryThresholds, '{"sexual":0.1000000000000000055}', "sexual"),
        (FunctionName, '{"x_y":1}', "x_y"),
    ],
)
def test_nothing_is_left_of_the_only_member(message_type: type[Message], text: str, name: str) -> None:
    message = _cleared(message_type, text, name)
    assert message == message_type()
    assert not message.HasField("json_extra")


def test_the_field_alone_would_leave_what_json_extra_kept() -> None:
    """What the function is for."""
    text = '{"index":0,"finish_reason":"content_filter"}'
    choice = from_json(ChatCompletionChoice, text)
    choice.ClearField("finish_reason")
    assert to_dict(choice)["finish_reason"] == "content_filter"
    assert to_dict(_cleared(ChatCompletionChoice, text, "finish_reason")) == {"index": 0}


def test_a_value_that_is_set_afterwards_is_the_one_written() -> None:
    request = _cleared(
        ChatCompletionRequest, '{"model":"m","temperature":0.1000000000000000055}', "temperature"
    )
    request.temperature = 0.1
    assert to_json(request) == b'{"model":"m","temperature":0.1}'


def test_what_is_said_of_other_members_stays() -> None:
    text = '{"role":null,"content":null,"tool_calls":[],"prefix":null,"x":1,"y":2}'
    message = _cleared(AssistantMessage, text, "content")
    clear_member(message, "x")
    assert to_dict(message) == {"role": None, "tool_calls": [], "prefix": None, "y": 2}


def test_only_documented_names_have_two_spellings() -> None:
    message = _cleared(FunctionName, '{"x_y":1,"xY":2}', "xY")
    assert json.loads(message.json_extra.members) == {"x_y": 1}


def test_a_member_that_is_not_there_changes_nothing() -> None:
    text = '{"prompt_tokens":null,"x":1}'
    message = _cleared(UsageInfo, text, "total_tokens")
    clear_member(message, "unheard_of")
    assert message == from_json(UsageInfo, text)


def test_members_that_are_no_object_are_an_error() -> None:
    message = FunctionName(json_extra={"members": "[]"})
    with pytest.raises(EncodeError, match="json_extra: expected the text of an object"):
        clear_member(message, "name")


def test_only_messages_that_are_objects_have_members() -> None:
    with pytest.raises(TypeError, match="JSON object"):
        clear_member(ContentChunk(), "text")


@given(typed, st.data())
def test_a_member_is_gone_and_the_others_stay(
    case: tuple[type[Message], Document], data: st.DataObject
) -> None:
    message_type, document = case
    if not document:
        return
    name = data.draw(st.sampled_from(sorted(document)))
    message = _cleared(message_type, to_json_text(document), name)
    plan = plan_for(message_type)
    member = plan.by_name.get(name)
    spellings = {name} if member is None else {member.name, member.camel}
    rest: Document = {key: value for key, value in document.items() if key not in spellings}
    if member is not None and member.fill is not None:
        rest[member.name] = member.fill.value_of()
    assert meaning(message_type, to_json(message)) == meaning(message_type, to_json_text(rest))


def test_a_note_that_is_there_twice_is_removed_too() -> None:
    """Bytes of messages that were put together are a message, with the notes of both."""
    wire = json_to_binary(UsageInfo, b'{"total_tokens":null}')
    usage = UsageInfo.FromString(wire + wire)
    clear_member(usage, "total_tokens")
    assert to_json(usage) == b"{}"


def test_a_message_whose_members_are_no_json_stays_as_it_is() -> None:
    usage = UsageInfo(total_tokens=1, json_extra=JsonExtra(members="{"))
    with pytest.raises(EncodeError):
        clear_member(usage, "total_tokens")
    assert usage.total_tokens == 1
