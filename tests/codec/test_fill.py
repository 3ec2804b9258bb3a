"""What a writer fills in, and what `json_extra` notes of it: only what the writer would not do by itself."""

import json
from typing import Any, NamedTuple

from google.protobuf.message import Message

from mistralwire.codec import binary_to_json, check, clear_member, from_json, json_to_binary, to_dict, to_json
from mistralwire.codec._plan import MemberPlan, plan_for
from mistralwire.codec._python import binary_to_document
from mistralwire.v1 import CompletionChunk, CompletionResponseStreamChoice, DeltaMessage, JsonExtra
from tests.cases import each_case
from tests.codec import engines
from tests.strategies import MESSAGE_TYPES


class Filled(NamedTuple):
    """A member that is filled in, and the message that has it."""

    message_type: type[Message]
    member: MemberPlan

    @property
    def value(self) -> Any:
        assert self.member.fill is not None
        return self.member.fill.value_of()

    def document(self, value: Any) -> bytes:
        return json.dumps({self.member.name: value}).encode()

    def others(self) -> list[int]:
        """Return the numbers of the other members that are filled in, which `document` does not have."""
        members = plan_for(self.message_type).members
        return [each.number for each in members if each.fill is not None and each is not self.member]

    def read(self, value: Any) -> Any:
        return engines.read(self.message_type, self.document(value), validate=False)


FILLED = [
    Filled(message_type, member)
    for message_type in MESSAGE_TYPES
    for member in plan_for(message_type).members
    if member.fill is not None
]


def _name(filled: Any) -> str:
    return (
        f"{filled.message_type.__name__}.{filled.member.name}" if isinstance(filled, Filled) else repr(filled)
    )


each_filled = each_case("filled", FILLED, ids=_name)


@each_filled
def test_a_member_that_is_not_set_is_filled_in(filled: Filled) -> None:
    message = filled.message_type()
    for camel, name in ((False, filled.member.name), (True, filled.member.camel)):
        assert json.loads(engines.write(message, camel=camel))[name] == filled.value


@each_filled
def test_a_value_that_would_be_filled_in_has_no_note(filled: Filled) -> None:
    message = filled.read(filled.value)
    extra = JsonExtra(absent_fields=filled.others())
    assert message.json_extra == extra
    assert engines.write(message) == filled.document(filled.value).replace(b" ", b"")


@each_filled
def test_a_member_that_is_absent_is_noted_and_absent_again(filled: Filled) -> None:
    message: Any = engines.read(filled.message_type, "{}", validate=False)
    assert filled.member.number in message.json_extra.absent_fields
    assert engines.write(message) == engines.write(message, camel=True) == b"{}"
    wire = json_to_binary(filled.message_type, "{}", validate=False)
    assert binary_to_json(filled.message_type, wire) == b"{}"


@each_filled
@each_case("other", [None, []], ids=repr)
def test_another_null_or_empty_value_is_noted(filled: Filled, other: Any) -> None:
    if other == filled.value or (other == [] and not filled.member.fields[0].repeated):
        return
    message = filled.read(other)
    extra = JsonExtra(absent_fields=filled.others())
    noted = extra.null_fields if other is None else extra.empty_fields
    noted.append(filled.member.number)
    assert message.json_extra == extra
    assert json.loads(engines.write(message)) == {filled.member.name: other}


@each_filled
@each_case("value", ["a", 5, True, [1], {"a": 1}], ids=repr)
def test_any_other_value_is_kept_and_not_filled_over(filled: Filled, value: Any) -> None:
    """Most of them are values that the field can't hold."""
    message = filled.read(value)
    assert json.loads(engines.write(message)) == {filled.member.name: value}
    assert json.loads(engines.write(message, camel=True)) == {filled.member.camel: value}


@each_filled
def test_the_camel_case_name_counts_as_present(filled: Filled) -> None:
    text = json.dumps({filled.member.camel: filled.value})
    message: Any = engines.read(filled.message_type, text, validate=False)
    assert filled.member.number not in message.json_extra.absent_fields


@each_filled
def test_a_member_that_is_cleared_is_filled_in_again(filled: Filled) -> None:
    message = engines.read(filled.message_type, "{}", validate=False)
    clear_member(message, filled.member.name)
    assert json.loads(engines.write(message)) == {filled.member.name: filled.value}


def test_what_is_filled_in_is_new_each_time() -> None:
    choice = CompletionResponseStreamChoice(index=0)
    to_dict(choice)["delta"]["content"] = "a"
    binary_to_document(plan_for(type(choice)), choice.SerializeToString(), camel=False)["delta"][
        "content"
    ] = "b"
    assert to_dict(choice) == {"index": 0, "delta": {}, "finish_reason": None}
    chunk = CompletionChunk(id="c", model="m")
    to_dict(chunk)["choices"].append(1)
    assert to_dict(chunk) == {"id": "c", "model": "m", "choices": []}


def test_chunks_of_real_servers_need_no_notes() -> None:
    text = (
        '{"id":"c","object":"chat.completion.chunk","created":1754000000,"model":"m",'
        '"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}'
    )
    built = CompletionChunk(
        id="c",
        object="chat.completion.chunk",
        created=1754000000,
        model="m",
        choices=[CompletionResponseStreamChoice(index=0, delta=DeltaMessage(content_string="a"))],
    )
    assert json_to_binary(CompletionChunk, text) == built.SerializeToString()
    assert json.loads(to_json(built)) == json.loads(text)
    assert check(built) == []


def test_a_field_that_is_set_wins_over_the_note_that_it_was_absent() -> None:
    chunk = from_json(CompletionChunk, '{"id":"c","model":"m"}', validate=False)
    chunk.choices.add(index=0)
    assert json.loads(engines.write(chunk))["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]


@each_case("message_type", MESSAGE_TYPES, ids=lambda message_type: message_type.__name__)
def test_nothing_else_is_filled_in(message_type: type[Message]) -> None:
    filled = [member.name for member in plan_for(message_type).members if member.fill is not None]
    assert list(json.loads(engines.write(message_type()))) == filled
