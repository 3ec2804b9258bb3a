"""The contract in the vocabulary of the drift tool, and what counts as a difference."""

import pathlib
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool

import mistralwire.v1
from mistralwire.v1 import json_options_pb2 as options
from tools.drift.compare import find_drift
from tools.drift.contract import contract_types, members_of
from tools.drift.vocabulary import Member, Shape, types_from_json, types_to_json

FieldProto = descriptor_pb2.FieldDescriptorProto
OPEN = Shape.of("string")
CONTRACT = contract_types()


def _nullable(*shapes: Shape, required: bool = False) -> Member:
    return Member(Shape.union([*shapes, Shape.of("null")]), required)


@pytest.mark.parametrize(
    ("place", "member"),
    [
        ("ToolCall.function", Member(Shape.of("FunctionCall"), required=True)),
        ("FunctionCall.arguments", Member(Shape.of("object", "string"), required=True)),
        ("UsageInfo.prompt_tokens", _nullable(Shape.of("integer"))),
        ("ChatCompletionRequest.top_p", _nullable(Shape.of("number"))),
        ("ChatCompletionRequest.metadata", _nullable(Shape.of("object"))),
        ("ChatCompletionRequest.stop", _nullable(OPEN, Shape.array(OPEN))),
        ("ChatCompletionRequest.prompt_mode", _nullable(OPEN, Shape.literal("reasoning"))),
        ("ImageURL.detail", _nullable(OPEN, Shape.literal("low", "auto", "high"))),
        ("SystemMessage.role", Member(Shape.literal("system"), required=False)),
        ("ReferenceChunk.reference_ids", Member(Shape.array(Shape.of("integer", "string")), required=True)),
        ("ResourceChunk.content", Member(Shape.of("TextChunk", "ImageURLChunk"), required=True)),
        (
            "SystemMessage.content",
            Member(Shape.union([OPEN, Shape.array(Shape.of("TextChunk", "ThinkChunk"))]), True),
        ),
        ("ValidationError.input", Member(Shape.of("any"), required=False)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_member_is_what_its_field_and_options_are(place: str, member: Member) -> None:
    type_name, _, name = place.partition(".")
    assert CONTRACT[type_name][name] == member


def test_all_messages_that_are_json_objects_are_types_of_their_members() -> None:
    assert {"ChatCompletionRequest", "CompletionEvent", "HTTPValidationError"} <= set(CONTRACT)
    assert {"JsonExtra", "ChatMessage", "StringList", "IntegerOrString"}.isdisjoint(CONTRACT)
    assert all("json_extra" not in members for members in CONTRACT.values())


def _tomorrow(changed: str) -> tuple[DescriptorPool, Any]:
    """Return a pool with the contract's files, one of which is still to be changed and added."""
    path = pathlib.Path(mistralwire.v1.__path__[0]) / "descriptor_set.binpb"
    pool, waiting = DescriptorPool(), None
    for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file:
        if file.name == f"mistralwire/v1/{changed}":
            waiting = file
            break
        pool.AddSerializedFile(file.SerializeToString())
    assert waiting is not None
    return pool, waiting


def _with_another_json_type(file: str, message_name: str, union_with: str) -> Descriptor:
    """Return a message whose member gained objects after it was released."""
    pool, proto = _tomorrow(file)
    message = next(message for message in proto.message_type if message.name == message_name)
    field = FieldProto(name="later", number=90, type=FieldProto.TYPE_STRING, label=FieldProto.LABEL_OPTIONAL)
    field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
    json_field: Any = options.json_field
    field.options.Extensions[json_field].union_with = union_with
    field.options.Extensions[json_field].text = options.JSON_TEXT_OBJECT
    message.oneof_decl.add(name="_later")
    message.field.append(field)
    pool.AddSerializedFile(proto.SerializeToString())
    return pool.FindMessageTypeByName(f"mistralwire.v1.{message_name}")


def test_a_later_field_is_a_further_json_type_of_the_member_that_it_joins() -> None:
    members = members_of(_with_another_json_type("content.proto", "ImageURL", "url"))
    assert members == {**CONTRACT["ImageURL"], "url": Member(Shape.of("string", "object"), required=True)}


def test_a_later_field_may_join_a_oneof() -> None:
    members = members_of(_with_another_json_type("content.proto", "ImageURLChunk", "image_url"))
    joined = Member(Shape.of("string", "ImageURL", "object"), required=True)
    assert members == {**CONTRACT["ImageURLChunk"], "image_url": joined}


def test_types_come_back_from_json() -> None:
    assert types_from_json(types_to_json(CONTRACT)) == CONTRACT


def _differences(sdk: Member, contract: Member, *, has_integers: bool = True) -> list[str]:
    found = find_drift({"T": {"m": sdk}}, {"T": {"m": contract}}, has_integers=has_integers)
    return [str(difference).removeprefix("T.m: ") for difference in found]


def _shapes(sdk: Shape, contract: Shape, *, has_integers: bool = True) -> list[str]:
    return _differences(Member(sdk, False), Member(contract, False), has_integers=has_integers)


def test_what_is_equal_does_not_differ() -> None:
    assert find_drift(CONTRACT, CONTRACT) == []


def test_open_and_closed_enums_are_equal() -> None:
    closed = Shape.literal("a", "b")
    assert _shapes(closed, Shape.union([closed, OPEN])) == []
    assert _shapes(Shape.array(closed), Shape.array(Shape.union([closed, OPEN]))) == []


def test_open_and_closed_constants_differ() -> None:
    constant = Shape.literal("a")
    said = _shapes(constant, Shape.union([constant, OPEN]))
    assert said == ["JSON type: the SDK has nothing, the contract has string"]


def test_each_value_and_each_element_is_a_difference_of_its_own() -> None:
    said = _shapes(Shape.literal("a", "b", "c"), Shape.literal("c", "d"))
    assert said == [
        "value: the SDK has a, the contract has nothing",
        "value: the SDK has b, the contract has nothing",
        "value: the SDK has nothing, the contract has d",
    ]
    said = _shapes(Shape.array(Shape.of("A", "string")), Shape.array(Shape.of("B", "string")))
    assert said == [
        "element: the SDK has A, the contract has nothing",
        "element: the SDK has nothing, the contract has B",
    ]


def test_arrays_of_arrays_are_named_as_a_whole() -> None:
    said = _shapes(Shape.array(Shape.array(OPEN)), Shape.array(OPEN))
    assert said == [
        "element: the SDK has array<string>, the contract has nothing",
        "element: the SDK has nothing, the contract has string",
    ]


def test_integers_differ_from_numbers_where_the_sdk_has_integers() -> None:
    said = ["JSON type: the SDK has number, the contract has integer"]
    assert _shapes(Shape.of("number"), Shape.of("integer")) == said
    assert _shapes(Shape.of("number"), Shape.of("integer"), has_integers=False) == []
    assert (
        _shapes(Shape.array(Shape.of("number")), Shape.array(Shape.of("integer")), has_integers=False) == []
    )


def test_any_value_may_be_null() -> None:
    assert _shapes(Shape.of("any", "null"), Shape.of("any")) == []


def test_required_and_nullable_are_compared_together() -> None:
    said = _differences(Member(OPEN, required=True), _nullable(OPEN))
    assert said == ["presence: the SDK has required, the contract has optional or null"]
