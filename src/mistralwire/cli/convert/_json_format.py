"""What protobuf's own JSON mapping, google.protobuf.json_format, would lose of a document.

json_format runs on a schema as one writes it by hand: each documented member is a field of its type, a
member of several types is a google.protobuf.Value, and free-form JSON is a google.protobuf.Struct. It is told
to ignore members that the schema lacks, which it would otherwise refuse.
"""

import functools
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import Message

from mistralwire.v1.json_options_pb2 import (
    JSON_FORM_UNSPECIFIED,
    JSON_TEXT_OBJECT,
    JSON_TEXT_UNSPECIFIED,
    json_field,
    json_message,
)

_PROTO = descriptor_pb2.FieldDescriptorProto
_VALUE, _STRUCT = ".google.protobuf.Value", ".google.protobuf.Struct"


def is_object(descriptor: Any) -> bool:
    """Check whether a message of the contract is a JSON object, not a union or an array."""
    return bool(descriptor.GetOptions().Extensions[json_message].form == JSON_FORM_UNSPECIFIED)


def member_of(field: Any) -> str:
    """Return the JSON member of a field; the fields of a oneof share one."""
    oneof = field.containing_oneof
    name: str = field.name if oneof is None or oneof.name == f"_{field.name}" else oneof.name
    return name


def losses_of(descriptor: Any, text: bytes) -> Iterator[tuple[str, str]]:
    """Yield what a document would lose: a kind, and the path, with `[]` for indexes.

    Args:
        descriptor: The message of the contract.
        text: The document as JSON.
    """
    message = _class_for(descriptor)()
    try:
        json_format.Parse(text, message, ignore_unknown_fields=True)
        after = json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (json_format.Error, ValueError, RecursionError):
        yield "refused", ""
    else:
        yield from _differences(json.loads(text), after, "", message.DESCRIPTOR)


def _differences(before: Any, after: Any, path: str, schema: Any) -> Iterator[tuple[str, str]]:
    """Yield what changed in a value; `schema` is the descriptor of its message, None in free-form JSON."""
    match before, after:
        case dict(), dict():
            for name, value in before.items():
                place = f"{path}.{name}" if path else name
                if name in after:
                    yield from _differences(value, after[name], place, _schema_of(schema, name))
                else:
                    yield _kind_of_lost(value), place
            both = [name for name in before if name in after]
            if schema is None and len(both) > 1:
                # A Struct is a map, whose order differs from run to run.
                yield "order undefined", path
            elif schema is not None and both != [name for name in after if name in before]:
                yield "order changed", path
        case list(), list() if len(before) == len(after):
            for one, other in zip(before, after, strict=True):
                yield from _differences(one, other, f"{path}[]", schema)
        case _ if type(before) is not type(after) or before != after:
            is_number = isinstance(before, int | float) and not isinstance(before, bool)
            yield "number changed" if is_number else "value changed", path


def _schema_of(schema: Any, name: str) -> Any:
    """Return the descriptor of a member's message; None if it is free-form JSON or a scalar."""
    field = None if schema is None else schema.fields_by_name.get(name)
    inner = None if field is None else field.message_type
    return None if inner is None or inner.file.package == "google.protobuf" else inner


def _kind_of_lost(value: Any) -> str:
    if value is None:
        return "null dropped"
    return "empty array dropped" if value == [] else "member dropped"


@functools.cache
def _class_for(descriptor: Any) -> type[Message]:
    """Return the class of the schema for a message of the contract and those in it."""
    file = descriptor_pb2.FileDescriptorProto(name="plain.proto", package="plain", syntax="proto2")
    file.dependency.append("google/protobuf/struct.proto")
    rest, seen = [descriptor], {descriptor.full_name}
    while rest:
        for inner in _add_message(file, rest.pop()):
            if inner.full_name not in seen:
                seen.add(inner.full_name)
                rest.append(inner)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"plain.{descriptor.name}"))


def _add_message(file: descriptor_pb2.FileDescriptorProto, descriptor: Any) -> Iterator[Any]:
    """Add a message to the schema; yield the messages that its fields need."""
    message = file.message_type.add(name=descriptor.name)
    for field in descriptor.fields:
        name = member_of(field)
        if field.name == "json_extra" or any(name == other.name for other in message.field):
            continue
        label = _PROTO.LABEL_REPEATED if field.is_repeated else _PROTO.LABEL_OPTIONAL
        added = message.field.add(name=name, number=field.number, type=field.type, label=label)
        type_name = _type_name(field)
        if type_name:
            added.type, added.type_name = _PROTO.TYPE_MESSAGE, type_name
            if type_name not in (_VALUE, _STRUCT):
                yield field.message_type
        elif field.enum_type is not None:
            added.type = _PROTO.TYPE_STRING


def _type_name(field: Any) -> str:
    """Return the message of a field in the schema; empty if it is a scalar."""
    text = field.GetOptions().Extensions[json_field].text
    if member_of(field) != field.name or text not in (JSON_TEXT_UNSPECIFIED, JSON_TEXT_OBJECT):
        return _VALUE
    if text == JSON_TEXT_OBJECT:
        return _STRUCT
    if field.message_type is None:
        return ""
    return f".plain.{field.message_type.name}" if is_object(field.message_type) else _VALUE
