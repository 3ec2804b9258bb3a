"""The contract in the vocabulary of the comparison, from its descriptors and their JSON options."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

import mistralwire.v1
from mistralwire.codec._plan import member_name
from mistralwire.v1 import json_options_pb2 as options
from tools.drift.vocabulary import Member, Shape, Types

SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_INT32: "integer",
    FieldDescriptor.TYPE_INT64: "integer",
    FieldDescriptor.TYPE_DOUBLE: "number",
    FieldDescriptor.TYPE_BOOL: "boolean",
}
TEXTS = {options.JSON_TEXT_ANY: "any", options.JSON_TEXT_OBJECT: "object"}


def contract_types() -> Types:
    """Return the messages of the contract that are JSON objects."""
    messages = (getattr(getattr(mistralwire.v1, name), "DESCRIPTOR", None) for name in mistralwire.v1.__all__)
    return {
        message.name: members_of(message)
        for message in messages
        if isinstance(message, Descriptor) and "json_extra" in message.fields_by_name
    }


def members_of(message: Descriptor) -> dict[str, Member]:
    """Return the members of a message that is a JSON object."""
    fields: dict[str, list[FieldDescriptor]] = {}
    for field in message.fields:
        if field.name != "json_extra":
            fields.setdefault(member_name(field), []).append(field)
    return {name: _member(alternatives) for name, alternatives in fields.items()}


def _member(alternatives: list[FieldDescriptor]) -> Member:
    """Return the member that fields hold, one for each JSON type; the first has its flags."""
    oneof = alternatives[0].containing_oneof
    if oneof is None or oneof.name.startswith("_"):
        flags = _option(alternatives[0], options.json_field)
    else:
        flags = _option(oneof, options.json_oneof)
    null = [Shape.of("null")] if flags.nullable else []
    return Member(Shape.union([*map(_field_shape, alternatives), *null]), flags.required)


def _field_shape(field: FieldDescriptor) -> Shape:
    element = _element_shape(field)
    return Shape.array(element) if is_repeated(field) else element


def _element_shape(field: FieldDescriptor) -> Shape:
    json_field = _option(field, options.json_field)
    if json_field.HasField("text"):
        return Shape.of(TEXTS[json_field.text])
    if json_field.HasField("constant"):
        constant = Shape.literal(json_field.constant)
        return Shape.union([constant, Shape.of("string")]) if json_field.open else constant
    if field.enum_type is not None:
        strings = (_option(value, options.json_value).string for value in field.enum_type.values)
        return Shape.union([Shape.literal(*filter(None, strings)), Shape.of("string")])
    if field.message_type is not None:
        return _message_shape(field.message_type)
    return Shape.of(SCALARS[field.type])


def _message_shape(message: Descriptor) -> Shape:
    json_message = _option(message, options.json_message)
    if json_message.form == options.JSON_FORM_ARRAY:
        return _field_shape(message.fields[0])
    if json_message.form != options.JSON_FORM_UNION:
        return Shape.of(message.name)
    return Shape.union(_field_shape(field) for field in documented_alternatives(message))


def documented_alternatives(union: Descriptor) -> Iterable[FieldDescriptor]:
    """Yield the fields of a union without the one for undocumented content."""
    return (field for field in union.fields if field.name != "unknown_json")


def _option(described: Any, extension: Any) -> Any:
    return described.GetOptions().Extensions[extension]


def is_repeated(field: FieldDescriptor) -> bool:
    """Return whether the field is repeated, on every protobuf runtime."""
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(getattr(field, "label") == FieldDescriptor.LABEL_REPEATED)  # noqa: B009 - gone from the types
