"""What never changes, whatever the revision: `fill`, JsonExtra, and the flags of fields that exist."""

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2

import mistralwire.v1
from mistralwire.v1 import JsonFill
from mistralwire.v1 import json_options_pb2 as options

RELEASED = pathlib.Path(__file__).parents[2] / "proto" / "released.binpb"
PRESENT = pathlib.Path(mistralwire.v1.__file__).parent / "descriptor_set.binpb"


class Flags(NamedTuple):
    """What is said of a field or a oneof, and decides what its JSON may be."""

    required: bool
    nullable: bool
    fill: str


def _messages(path: pathlib.Path) -> Iterator[descriptor_pb2.DescriptorProto]:
    for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file:
        if file.package == "mistralwire.v1":
            yield from file.message_type


def _option(described: Any, extension: Any) -> Any:
    return described.options.Extensions[extension]


def _flags(path: pathlib.Path) -> dict[str, Flags]:
    """Return the flags of all fields, and of the oneofs that are members, by name."""
    found = {}
    for message in _messages(path):
        for field in message.field:
            option = _option(field, options.json_field)
            fill = JsonFill.Name(option.fill).removeprefix("JSON_FILL_")
            found[f"{message.name}.{field.name}"] = Flags(option.required, option.nullable, fill)
        for oneof in message.oneof_decl:
            if not oneof.name.startswith("_"):
                option = _option(oneof, options.json_oneof)
                found[f"{message.name}.{oneof.name}"] = Flags(option.required, option.nullable, "UNSPECIFIED")
    return found


def _since(path: pathlib.Path) -> dict[str, int]:
    return {
        f"{message.name}.{field.name}": _option(field, options.json_field).since or 1
        for message in _messages(path)
        for field in message.field
    }


def _shape(field: Any) -> tuple[str, int, int, int, bool]:
    return field.name, field.number, field.type, field.label, field.proto3_optional


def test_exactly_these_members_are_filled_in() -> None:
    """A fill that came later would have older readers and writers disagree on what has no note."""
    filled = {name: flags.fill for name, flags in _flags(PRESENT).items() if flags.fill != "UNSPECIFIED"}
    assert filled == {
        "CompletionChunk.choices": "EMPTY_ARRAY",
        "CompletionResponseStreamChoice.delta": "EMPTY_OBJECT",
        "CompletionResponseStreamChoice.finish_reason": "NULL",
        "ChatCompletionResponseChoiceLogprobs.content": "EMPTY_ARRAY",
        "ChatCompletionResponseTokenLogprobs.bytes": "EMPTY_ARRAY",
        "ChatCompletionResponseTokenLogprobsTopK.bytes": "EMPTY_ARRAY",
    }
    since = _since(PRESENT)
    assert {since[name] for name in filled} == {1}


def test_what_is_filled_in_is_required_and_fits_its_field() -> None:
    fields = {
        f"{message.name}.{field.name}": field for message in _messages(PRESENT) for field in message.field
    }
    for name, flags in _flags(PRESENT).items():
        field = fields.get(name)
        if field is None or flags.fill == "UNSPECIFIED":
            continue
        assert flags.required, name
        assert not field.HasField("oneof_index") or field.proto3_optional, name
        is_repeated = field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
        is_message = field.type == descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        fits = {
            "NULL": flags.nullable,
            "EMPTY_ARRAY": is_repeated,
            "EMPTY_OBJECT": is_message and not is_repeated,
        }
        assert fits[flags.fill], name


def test_json_extra_is_frozen() -> None:
    string, number = (
        descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    )
    optional, repeated = (
        descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
    )
    (extra,) = (message for message in _messages(PRESENT) if message.name == "JsonExtra")
    assert [_shape(field) for field in extra.field] == [
        ("members", 1, string, optional, True),
        ("null_fields", 2, number, repeated, False),
        ("empty_fields", 3, number, repeated, False),
        ("absent_fields", 4, number, repeated, False),
    ]
    (released,) = (message for message in _messages(RELEASED) if message.name == "JsonExtra")
    assert [_shape(field) for field in released.field] == [_shape(field) for field in extra.field]


def test_the_flags_of_released_fields_are_frozen() -> None:
    """What one process requires or writes must not depend on its release."""
    released, present = _flags(RELEASED), _flags(PRESENT)
    both = released.keys() & present.keys()
    assert sum(released[name].required for name in both) > 50, "the released contract has its options"
    assert {name: present[name] for name in both} == {name: released[name] for name in both}


def test_the_revision_of_released_fields_is_frozen() -> None:
    released, present = _since(RELEASED), _since(PRESENT)
    both = released.keys() & present.keys()
    assert {name: present[name] for name in both} == {name: released[name] for name in both}


def _described(path: pathlib.Path) -> dict[str, Any]:
    """Return what may have options, by name: messages, fields, oneofs and enum values."""
    found: dict[str, Any] = {}
    for message in _messages(path):
        found[message.name] = message
        found |= {f"{message.name}.{field.name}": field for field in message.field}
        found |= {f"{message.name}.{oneof.name}": oneof for oneof in message.oneof_decl}
    for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file:
        if file.package == "mistralwire.v1":
            found |= {value.name: value for enum in file.enum_type for value in enum.value}
    return found


def _highest(path: pathlib.Path) -> int:
    values = (value for value in _described(path).values() if _is_enum_value(value))
    since: list[int] = [_option(value, options.json_value).since for value in values]
    return max(*_since(path).values(), *since)


def _is_enum_value(described: object) -> bool:
    return isinstance(described, descriptor_pb2.EnumValueDescriptorProto)


def test_every_option_of_what_is_released_is_frozen() -> None:
    """Processes of two releases must agree on the JSON of each message."""
    released, present = _described(RELEASED), _described(PRESENT)
    both = released.keys() & present.keys()
    assert len(both) > 500
    assert {name: present[name].options for name in both} == {name: released[name].options for name in both}


def test_what_came_after_the_release_says_so() -> None:
    """What does not say it would be sent to readers that do not know it, and be lost there."""
    released, present = _described(RELEASED), _described(PRESENT)
    since = _since(PRESENT)
    # The fields of a message that is new itself are never seen by a reader that does not know it.
    old_messages = {message.name for message in _messages(RELEASED)}
    for name in present.keys() - released.keys():
        if _is_enum_value(present[name]) and _option(present[name], options.json_value).string:
            assert _option(present[name], options.json_value).since > _highest(RELEASED), name
        elif name in since and name.partition(".")[0] in old_messages:
            assert since[name] > _highest(RELEASED), name
