"""What a newer writer says is lost where JSON has no place for it: counted by place, and logged once."""

import logging
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message

from mistralwire._protobuf import write_varint
from mistralwire.codec import binary_to_json, check, losses, to_dict, to_json
from mistralwire.codec._counts import KINDS_MAX, OTHER_PLACE
from mistralwire.v1 import (
    CONTRACT_REVISION,
    AssistantMessage,
    ChatCompletionChoice,
    CompletionResponseStreamChoice,
    ConnectorAuthorization,
    ContentChunk,
    ContentChunkList,
    CustomConnector,
    FinishReason,
    FunctionName,
    JsonExtra,
    ResourceChunk,
    ResourceContent,
    TextChunk,
    ThinkChunk,
    ThinkContentChunk,
)
from tests.codec import engines

M = TypeVar("M", bound=Message)

pytestmark = pytest.mark.usefixtures("no_losses")

NEWER_NUMBER: Any = 6


def with_field(message: M, *numbers: int) -> M:
    """Return a message as a newer writer makes it: with fields that this contract does not have."""
    more = b"".join(write_varint(number << 3) + b"\1" for number in numbers)
    return type(message).FromString(message.SerializeToString() + more)


def content(*chunks: ContentChunk) -> ChatCompletionChoice:
    message = AssistantMessage(content_array=ContentChunkList(items=chunks))
    return ChatCompletionChoice(index=0, finish_reason=FinishReason.FINISH_REASON_STOP, message=message)


def text(value: str) -> ContentChunk:
    return ContentChunk(text=TextChunk(text=value))


def test_what_is_known_is_not_counted() -> None:
    to_json(content(text("a")))
    assert losses() == {}


def test_a_newer_enum_value_is_counted_and_never_a_number() -> None:
    choice = ChatCompletionChoice(index=0, finish_reason=NEWER_NUMBER)
    assert to_dict(choice) == {"index": 0, "finish_reason": "unrecognized"}
    assert losses() == {("ChatCompletionChoice", 3): 1}
    chunk = CompletionResponseStreamChoice(index=0, finish_reason=NEWER_NUMBER)
    assert to_dict(chunk)["finish_reason"] == "unrecognized"
    assert losses() == {("ChatCompletionChoice", 3): 1, ("CompletionResponseStreamChoice", 4): 1}


def test_a_newer_enum_value_with_its_string_is_not_lost() -> None:
    extra = JsonExtra(members='{"finish_reason":"content_filter"}')
    choice = ChatCompletionChoice(json_extra=extra, index=0, finish_reason=NEWER_NUMBER)
    assert to_dict(choice) == {"index": 0, "finish_reason": "content_filter"}
    assert losses() == {}


def test_newer_fields_are_counted_at_every_level() -> None:
    choice = with_field(content(with_field(text("a"), 50)), 60, 61)
    choice.json_extra.CopyFrom(with_field(JsonExtra(members='{"x":1}'), 70))
    assert to_dict(choice) == to_dict(content(text("a"))) | {"x": 1}
    assert losses() == {
        ("ContentChunk", 50): 1,
        ("ChatCompletionChoice", 60): 1,
        ("ChatCompletionChoice", 61): 1,
        ("JsonExtra", 70): 1,
    }


def test_a_newer_alternative_costs_its_element_and_no_other() -> None:
    choice = content(text("a"), with_field(ContentChunk(), 10), text("b"), with_field(ContentChunk(), 11))
    written = to_dict(choice)["message"]["content"]
    assert written == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert losses() == {("ContentChunk", 10): 1, ("ContentChunk", 11): 1}


def test_the_only_element_of_an_array_leaves_an_empty_array() -> None:
    assert to_dict(content(with_field(ContentChunk(), 10)))["message"] == {"content": []}
    assert to_dict(ThinkChunk(thinking=[with_field(ThinkContentChunk(), 9)])) == {"thinking": []}


def test_a_newer_alternative_costs_its_member() -> None:
    connector = CustomConnector(
        connector_id="k", authorization=with_field(ConnectorAuthorization(), 7), type="connector"
    )
    assert to_dict(connector) == {"connector_id": "k", "type": "connector"}
    assert losses() == {("ConnectorAuthorization", 7): 1}
    resource = ResourceChunk(uri="u", content=with_field(ResourceContent(), 8))
    assert to_dict(resource) == {"uri": "u"}


def test_each_writing_counts_in_every_way_to_write() -> None:
    name = with_field(FunctionName(name="f"), 9)
    to_json(name)
    to_json(name, names="camel", indent=2)
    to_dict(name)
    binary_to_json(FunctionName, name.SerializeToString())
    engines.write(name)
    assert losses() == {("FunctionName", 9): 4 + 2}


def test_checking_counts_nothing_and_names_the_places() -> None:
    choice = with_field(content(text("a"), with_field(ContentChunk(), 10)), 60)
    choice.finish_reason = NEWER_NUMBER
    expected, lacks = (
        f"expected content of revision {CONTRACT_REVISION} of the contract",
        "which it does not have",
    )
    assert [str(violation) for violation in check(choice)] == [
        f"finish_reason: {expected}, found the value 6 of FinishReason, {lacks}",
        f"message.content[1]: {expected}, found the field 10 of ContentChunk, {lacks}",
        f"document: {expected}, found the field 60 of ChatCompletionChoice, {lacks}",
    ]
    assert losses() == {}


def test_the_counts_are_a_copy() -> None:
    to_json(with_field(FunctionName(), 9))
    counts: Any = losses()
    counts.clear()
    assert losses() == {("FunctionName", 9): 1}


def test_each_place_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    name = with_field(FunctionName(name="f"), 9, 10)
    with caplog.at_level(logging.WARNING, "mistralwire.codec"):
        for _ in range(3):
            to_json(name)
    assert [record.getMessage() for record in caplog.records] == [
        "content of a newer contract was lost: field 9 of FunctionName; upgrade this process",
        "content of a newer contract was lost: field 10 of FunctionName; upgrade this process",
    ]


def test_places_are_bounded_and_the_rest_is_one(caplog: pytest.LogCaptureFixture) -> None:
    numbers = range(1_000, 1_000 + KINDS_MAX + 50)
    name = with_field(FunctionName(name="f"), *numbers)
    with caplog.at_level(logging.WARNING, "mistralwire.codec"):
        to_json(name)
        to_json(name)
    known = {("FunctionName", number): 2 for number in numbers[: KINDS_MAX - 1]}
    assert losses() == known | {OTHER_PLACE: 102}
    assert len(losses()) == len(caplog.records) == KINDS_MAX


def test_a_mass_of_unknown_fields_is_one_loss_and_no_object_each() -> None:
    name = with_field(FunctionName(name="f"), *range(1_000, 101_000))
    assert to_dict(name) == {"name": "f"}
    assert losses() == {OTHER_PLACE: 1}


def test_beside_a_mass_of_unknown_fields_an_alternative_still_costs_itself_alone() -> None:
    choice = with_field(content(text("a"), with_field(ContentChunk(), 10)), *range(1_000, 11_000))
    assert to_dict(choice)["message"]["content"] == [{"type": "text", "text": "a"}]
