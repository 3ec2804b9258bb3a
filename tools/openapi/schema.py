"""JSON schemas of the contract's messages, from the plans that the codec itself works by.

A schema accepts what the codec accepts: undocumented members, strings outside an enum, objects with
another tag, null for whatever may be absent. It knows one spelling of names, the documented one, and leaves
to the codec what schemas are no good at: the range of integers, lone surrogates, digits that a double loses.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from mistralwire.codec._plan import FieldPlan, Form, Kind, MemberPlan, MessagePlan, plan_for
from tools.generate.contract import Contract

Schema = dict[str, Any]

COMPONENTS = "#/components/schemas/"
"""Where a document keeps its schemas."""

_PLAIN: Mapping[Kind, Schema] = {
    Kind.STRING: {"type": "string"},
    Kind.INTEGER: {"type": "integer", "format": "int64"},
    Kind.NUMBER: {"type": "number", "format": "double"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.TEXT_ANY: {},
    Kind.TEXT_OBJECT: {"type": "object"},
}
# What says how protobuf holds a value, and nothing of the JSON.
_PROTOBUF_ONLY = re.compile(
    r"(?: A string (?:outside the enum|that is not listed here) (?:is kept|stays) in json_extra[^.]*\."
    r"|, as the text of a JSON object|, as JSON text|(?<=object), in JSON text| In JSON: \w+\.)"
)
_ANY_OTHER_STRING = {"type": "string", "description": "Any other string: it is passed on as it is."}


def message_schemas(contract: Contract, message_types: Iterable[type[Message]]) -> dict[str, Schema]:
    """Make the schemas of messages, and of all that they hold.

    Args:
        contract: The contract, whose comments are their descriptions.
        message_types: Classes of the contract that are JSON objects.

    Returns:
        The schemas by the names of messages and enums; they refer to each other below COMPONENTS.

    Raises:
        TypeError: If one of the classes is not a JSON object of the contract.
    """
    schemas = _Schemas(_descriptions(contract))
    for message_type in message_types:
        schemas.refer_to(plan_for(message_type))
    return schemas.made


def record(description: str, properties: Schema) -> Schema:
    """Return the schema of an object with these members, and possibly others."""
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": True,
    }


def reference(name: str) -> Schema:
    """Return the schema that stands for another one.

    Args:
        name: Name of a message or an enum.
    """
    return {"$ref": f"{COMPONENTS}{name}"}


def _descriptions(contract: Contract) -> Mapping[str, str]:
    """Return the comments on types and their members, by name, for readers who see only JSON."""
    comments: dict[str, str] = {}
    for file in contract.files:
        for message in file.messages:
            comments[message.name] = message.comment
            comments |= {f"{message.name}.{field.name}": field.comment for field in message.fields}
            comments |= {f"{message.name}.{oneof.name}": oneof.comment for oneof in message.oneofs}
        for enum in file.enums:
            comments[enum.name] = enum.comment
            comments |= {f"{enum.name}.{value.name}": value.comment for value in enum.values}
    return {name: _PROTOBUF_ONLY.sub("", " ".join(comment.split())) for name, comment in comments.items()}


class _Schemas:
    """Makes schemas, each one once.

    Attributes:
        made: What was made so far, by name.
    """

    def __init__(self, descriptions: Mapping[str, str]) -> None:
        self.made: dict[str, Schema] = {}
        self._descriptions = descriptions

    def refer_to(self, plan: MessagePlan) -> Schema:
        if plan.name not in self.made:
            # Its place is taken before it is made, so that a recursive type finds itself.
            schema = self.made[plan.name] = self._described({}, plan.name)
            schema.update(self._object(plan) if plan.form is Form.OBJECT else self._union(plan))
        return reference(plan.name)

    def _described(self, schema: Schema, name: str) -> Schema:
        comment = self._descriptions[name]
        return {"description": comment, **schema} if comment else schema

    def _object(self, plan: MessagePlan) -> Schema:
        required = [member.name for member in plan.members if member.required]
        return {
            "type": "object",
            "properties": {member.name: self._member(plan, member) for member in plan.members},
            **({"required": required} if required else {}),
            "additionalProperties": True,
        }

    def _member(self, plan: MessagePlan, member: MemberPlan) -> Schema:
        alternatives = [self._field(plan, field) for field in member.fields]
        # Null is read as absent, documented or not, so only a required member can refuse it.
        schema = _any_of(alternatives, nullable=member.nullable or not member.required)
        return self._described(schema, f"{plan.name}.{member.name}")

    def _field(self, plan: MessagePlan, field: FieldPlan) -> Schema:
        value = self._value(plan, field)
        return {"type": "array", "items": value} if field.repeated else value

    def _value(self, plan: MessagePlan, field: FieldPlan) -> Schema:
        if field.kind is Kind.ENUM:
            descriptor: Any = plan.message_class.DESCRIPTOR
            return self._refer_to_enum(descriptor.fields_by_name[field.name].enum_type, field)
        if field.message is None:
            constant = {} if field.constant is None else {"const": field.constant}
            return {**_PLAIN[field.kind], **constant}
        if field.message.form is Form.ARRAY:
            assert field.message.item is not None
            return self._field(field.message, field.message.item)
        return self.refer_to(field.message)

    def _refer_to_enum(self, enum: EnumDescriptor, field: FieldPlan) -> Schema:
        if enum.name not in self.made:
            values = [
                self._described(
                    {"type": "string", "const": string},
                    f"{enum.name}.{enum.values_by_number[number].name}",
                )
                for number, string in field.enum_strings.items()
            ]
            self.made[enum.name] = self._described({"anyOf": [*values, _ANY_OTHER_STRING]}, enum.name)
        return reference(enum.name)

    def _union(self, plan: MessagePlan) -> Schema:
        if plan.discriminator is None:
            return {"anyOf": [self._field(plan, field) for field in plan.alternatives]}
        return {"oneOf": [*self._tagged(plan, plan.discriminator), _unknown(plan, plan.discriminator)]}

    def _tagged(self, plan: MessagePlan, discriminator: str) -> Iterable[Schema]:
        """Yield the alternatives whose tag is documented: exactly one of all fits an object."""
        for tag, field in plan.tags.items():
            value = self._value(plan, field)
            if field is plan.untagged:
                yield {**value, "properties": {discriminator: {"enum": [tag, None]}}}
            else:
                tagged = {discriminator: {"const": tag}}
                yield {**value, "properties": tagged, "required": [discriminator]}


def _unknown(plan: MessagePlan, discriminator: str) -> Schema:
    """Return the alternative for objects with any other tag."""
    other: Schema = {"type": ["string", "null"], "not": {"enum": list(plan.tags)}}
    schema: Schema = {
        "type": "object",
        "description": f"An object with any other {discriminator}: it is passed on as it is.",
        "properties": {discriminator: other},
    }
    if plan.untagged is not None:
        other["type"] = "string"
        schema["required"] = [discriminator]
    return schema


def _any_of(alternatives: list[Schema], *, nullable: bool) -> Schema:
    """Join alternatives, and null if that is one."""
    if len(alternatives) > 1:
        return {"anyOf": [*alternatives, {"type": "null"}] if nullable else alternatives}
    [schema] = alternatives
    if not nullable or not schema:
        return schema
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "const" in schema:
        return {"type": [schema["type"], "null"], "enum": [schema["const"], None]}
    return {**schema, "type": [schema["type"], "null"]}
