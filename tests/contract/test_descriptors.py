"""The rules that hold for every message, field and enum of the contract."""

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

import mistralwire.v1
from mistralwire.codec._plan import UNLISTED, Form, plan_for
from mistralwire.v1 import CONTRACT_REVISION
from mistralwire.v1 import json_options_pb2 as options
from tests.cases import each_case
from tests.strategies import MESSAGE_TYPES
from tools.drift.contract import is_repeated

JSON_TYPES = ("string", "array", "object", "integer", "boolean")

OBJECTS = [message_type.DESCRIPTOR for message_type in MESSAGE_TYPES]


def _exported(kind: type) -> Iterator[Any]:
    for name in mistralwire.v1.__all__:
        descriptor = getattr(getattr(mistralwire.v1, name), "DESCRIPTOR", None)
        if isinstance(descriptor, kind):
            yield descriptor


MESSAGES: list[Descriptor] = list(_exported(Descriptor))
ENUMS: list[EnumDescriptor] = [
    enum
    for enum in _exported(EnumDescriptor)
    if enum.name not in ("ErrorReason", "JsonFill", "JsonForm", "JsonText", "ResponseKind", "ResponseState")
]


def _name(descriptor: Any) -> str:
    return str(descriptor.name)


def _option(described: Any, extension: Any) -> Any:
    return described.GetOptions().Extensions[extension]


TAGGED_UNIONS = [
    message for message in MESSAGES if _option(message, options.json_message).HasField("discriminator")
]


def _json_name(name: str) -> str:
    """Apply protobuf's rule for the default json_name."""
    result = ""
    for previous, letter in zip("x" + name, name, strict=False):
        if letter != "_":
            result += letter.upper() if previous == "_" else letter
    return result


@each_case("message", OBJECTS, ids=_name)
def test_json_extra_is_field_1(message: Descriptor) -> None:
    extra = message.fields_by_name["json_extra"]
    assert extra.number == 1
    assert extra.message_type is not None
    assert extra.message_type.name == "JsonExtra"


@each_case("message", OBJECTS, ids=_name)
def test_camel_case_names_are_protobuf_default_json_names(message: Descriptor) -> None:
    for field in message.fields:
        assert field.json_name == _json_name(field.name)
    for member in plan_for(mistralwire.v1.__dict__[message.name]).members:
        assert member.camel == _json_name(member.name)


@each_case("message", OBJECTS, ids=_name)
def test_no_two_members_share_a_spelling(message: Descriptor) -> None:
    members = plan_for(mistralwire.v1.__dict__[message.name]).members
    spellings = [spelling for member in members for spelling in {member.name, member.camel}]
    assert len(spellings) == len(set(spellings))


@each_case("message", MESSAGES, ids=_name)
def test_singular_fields_have_presence(message: Descriptor) -> None:
    for field in message.fields:
        assert is_repeated(field) or field.has_presence, field.full_name


@each_case("message", MESSAGES, ids=_name)
def test_field_numbers_ascend_in_declaration_order(message: Descriptor) -> None:
    numbers = [field.number for field in message.fields]
    assert numbers == sorted(numbers)


@each_case("message", OBJECTS, ids=_name)
def test_fields_have_the_machine_types_of_json(message: Descriptor) -> None:
    allowed = {
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_ENUM,
        FieldDescriptor.TYPE_MESSAGE,
    }
    for field in message.fields:
        assert field.type in allowed, field.full_name
        assert field.message_type is None or field.message_type.file.package == "mistralwire.v1"


@each_case("message", OBJECTS, ids=_name)
def test_alternatives_are_named_after_the_member_and_their_json_type(message: Descriptor) -> None:
    for oneof in message.oneofs:
        if not oneof.name.startswith("_"):
            for field in oneof.fields:
                suffix = field.name.removeprefix(f"{oneof.name}_")
                assert suffix in JSON_TYPES, field.full_name


@each_case("message", MESSAGES, ids=_name)
def test_json_types_that_joined_later_are_single_fields_behind_the_member_s_first(
    message: Descriptor,
) -> None:
    earlier: set[str] = set()
    for field in message.fields:
        json_field = _option(field, options.json_field)
        if json_field.HasField("union_with"):
            assert json_field.union_with in earlier, field.full_name
            prefix, _, json_type = field.name.rpartition("_")
            assert (prefix, json_type in JSON_TYPES) == (json_field.union_with, True), field.full_name
            # A note about an empty array would be about the member, which was none.
            assert not is_repeated(field), field.full_name
            assert json_field.since > 1, field.full_name
        earlier.add(json_field.union_with or field.name)
        if field.containing_oneof is not None:
            earlier.add(field.containing_oneof.name)


def test_nothing_is_newer_than_the_contract() -> None:
    since = [_option(field, options.json_field).since for message in MESSAGES for field in message.fields]
    since += [_option(value, options.json_value).since for enum in ENUMS for value in enum.values]
    assert max(since) in (0, CONTRACT_REVISION)
    assert min(since) >= 0


@each_case("enum", ENUMS, ids=_name)
def test_enum_values_are_named_after_their_strings(enum: EnumDescriptor) -> None:
    prefix = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in enum.name).lstrip("_")
    zero, *others, unlisted = enum.values
    assert (zero.name, zero.number) == (f"{prefix}_UNSPECIFIED", 0)
    assert (unlisted.name, unlisted.number) == (f"{prefix}_UNLISTED", UNLISTED)
    assert not _option(zero, options.json_value).string
    assert not _option(unlisted, options.json_value).string
    for value in others:
        assert value.name == f"{prefix}_{_option(value, options.json_value).string.upper()}"


@each_case("message", TAGGED_UNIONS, ids=_name)
def test_tagged_unions_have_a_tag_for_each_alternative_and_keep_the_rest(message: Descriptor) -> None:
    discriminator = _option(message, options.json_message).discriminator
    *known, unknown = message.fields
    tags = [
        _option(field.message_type.fields_by_name[discriminator], options.json_field).constant
        for field in known
        if field.message_type is not None
    ]
    assert all(tags)
    assert len(tags) == len(set(tags))
    assert [field.name for field in known] == [tag.replace("-", "_") for tag in tags]
    assert unknown.name == "unknown_json"
    assert _option(unknown, options.json_field).text == options.JSON_TEXT_OBJECT
    assert sum(_option(field, options.json_field).untagged for field in known) <= 1


def test_messages_have_one_form() -> None:
    for message in MESSAGES:
        form = _option(message, options.json_message).form
        assert form == options.JSON_FORM_UNSPECIFIED or "json_extra" not in message.fields_by_name
    assert all(plan_for(message_type).form is Form.OBJECT for message_type in MESSAGE_TYPES)


def test_everything_has_a_comment() -> None:
    path = f"{mistralwire.v1.__path__[0]}/descriptor_set.binpb"
    with open(path, "rb") as file:
        files = descriptor_pb2.FileDescriptorSet.FromString(file.read()).file
    for proto in (proto for proto in files if proto.package == "mistralwire.v1"):
        commented = {
            tuple(place.path) for place in proto.source_code_info.location if place.leading_comments.strip()
        }
        for index, message in enumerate(proto.message_type):
            assert (4, index) in commented, message.name
            for position, field in enumerate(message.field):
                assert (4, index, 2, position) in commented, f"{message.name}.{field.name}"
        for index, enum in enumerate(proto.enum_type):
            assert (5, index) in commented, enum.name
            for position, value in enumerate(enum.value):
                assert (5, index, 2, position) in commented, value.name
