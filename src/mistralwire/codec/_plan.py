"""Plans: what the descriptors and their JSON options say of a message, as plain data.

A plan is made once for each message descriptor and knows, for each JSON name, what to do with the member.
Engines (reading, writing, and one in another language some day) take plans and nothing else.

Source: proto/mistralwire/v1/json_options.proto.
"""

import dataclasses
import enum
import functools
import threading
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mistralwire.codec._varint import write_varint
from mistralwire.v1 import JsonExtra
from mistralwire.v1 import json_options_pb2 as options

EXTRA_FIELD = "json_extra"
EXTRA_NUMBER = 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Kind(enum.Enum):
    """What a field holds, in JSON terms."""

    STRING = "a string"
    INTEGER = "an integer"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    ENUM = "a string of the enum"
    MESSAGE = "a message"
    TEXT_ANY = "any JSON value"
    TEXT_OBJECT = "an object"


_KINDS = {
    FieldDescriptor.TYPE_STRING: Kind.STRING,
    FieldDescriptor.TYPE_INT64: Kind.INTEGER,
    FieldDescriptor.TYPE_DOUBLE: Kind.NUMBER,
    FieldDescriptor.TYPE_BOOL: Kind.BOOLEAN,
    FieldDescriptor.TYPE_ENUM: Kind.ENUM,
    FieldDescriptor.TYPE_MESSAGE: Kind.MESSAGE,
}
_TEXT_KINDS = {options.JSON_TEXT_ANY: Kind.TEXT_ANY, options.JSON_TEXT_OBJECT: Kind.TEXT_OBJECT}


class Form(enum.Enum):
    """What a message is in JSON."""

    OBJECT = "an object"
    ARRAY = "an array"
    UNION = "a union"


@dataclasses.dataclass(eq=False, slots=True)
class FieldPlan:
    """One protobuf field.

    Attributes:
        name: Name of the field in its message.
        number: Number of the field.
        kind: What it holds.
        repeated: Whether it is a JSON array of that.
        message: Plan of the message that it holds, if it holds one.
        enum_numbers: For an enum: number by JSON string.
        enum_strings: For an enum: JSON string by number.
        constant: The only string allowed, or None.
    """

    name: str
    number: int
    kind: Kind
    repeated: bool
    message: "MessagePlan | None"
    enum_numbers: dict[str, int]
    enum_strings: dict[int, str]
    constant: str | None


@dataclasses.dataclass(eq=False, slots=True)
class MemberPlan:
    """One member of a JSON object.

    Attributes:
        name: Documented snake_case name.
        camel: The name in lowerCamelCase; the same object as `name` where they do not differ.
        number: Lowest number of its fields, under which JsonExtra speaks of it.
        required: Whether validation asks for it.
        nullable: Whether null is a documented value.
        fields: The field that holds it, or the alternatives of a oneof, one for each JSON type.
        oneof: Name of the oneof, or None.
    """

    name: str
    camel: str
    number: int
    required: bool
    nullable: bool
    fields: tuple[FieldPlan, ...]
    oneof: str | None


@dataclasses.dataclass(eq=False, slots=True)
class MessagePlan:
    """One message.

    Attributes:
        full_name: Full protobuf name of the message.
        message_class: Its Python class.
        form: What it is in JSON.
        members: Of an object: its members, in contract order, which is the order of their field numbers.
        by_name: Of an object: member by either spelling of its name.
        item: Of an array: the repeated field.
        alternatives: Of a union: its fields.
        discriminator: Of a union of objects: the member that holds the tag, or None.
        tags: Of a union of objects: field by tag.
        untagged: Of a union of objects: the field for objects without a tag, or None.
        unknown: Of a union of objects: the field for objects with any other tag, or with none.
    """

    full_name: str
    message_class: type[Message]
    form: Form = Form.OBJECT
    members: tuple[MemberPlan, ...] = ()
    by_name: dict[str, MemberPlan] = dataclasses.field(default_factory=dict)
    item: FieldPlan | None = None
    alternatives: tuple[FieldPlan, ...] = ()
    discriminator: str | None = None
    tags: dict[str, FieldPlan] = dataclasses.field(default_factory=dict)
    untagged: FieldPlan | None = None
    unknown: FieldPlan | None = None

    @property
    def name(self) -> str:
        """Name of the message without its package."""
        return self.full_name.rpartition(".")[2]


_plans: dict[Descriptor, MessagePlan] = {}
_begun: dict[Descriptor, MessagePlan] = {}
_lock = threading.Lock()
_plans_by_class: dict[type[Message], MessagePlan] = {}


def plan_for(message_class: type[Message]) -> MessagePlan:
    """Give the plan of a message that is a JSON object.

    Args:
        message_class: A generated class of the contract.

    Raises:
        TypeError: If it is no such class, or a message that is not a JSON object of its own.
    """
    plan = _plans_by_class.get(message_class) if isinstance(message_class, type) else None
    if plan is None:
        descriptor = getattr(message_class, "DESCRIPTOR", None)
        if (
            not isinstance(message_class, type)
            or not isinstance(descriptor, Descriptor)
            or not _is_object(descriptor)
        ):
            raise TypeError(f"{message_class!r} is no message of the contract that is a JSON object")
        with _lock:
            try:
                plan = _plan_of(descriptor)
                # Published when all are finished: another thread never sees half a plan.
                _plans.update(_begun)
                _plans_by_class[message_class] = plan
            finally:
                _begun.clear()
    return plan


def _is_object(descriptor: Descriptor) -> bool:
    extra = descriptor.fields_by_name.get(EXTRA_FIELD)
    if extra is None or extra.number != EXTRA_NUMBER or extra.message_type is None:
        return False
    return bool(extra.message_type.full_name == JsonExtra.DESCRIPTOR.full_name)


def _plan_of(descriptor: Descriptor | None) -> MessagePlan:
    assert descriptor is not None  # noqa: S101 - only of fields that hold a message
    plan = _plans.get(descriptor) or _begun.get(descriptor)
    if plan is None:
        # Registered before its fields are planned, so that a recursive type finds itself.
        plan = _begun[descriptor] = MessagePlan(descriptor.full_name, GetMessageClass(descriptor))
        _fill(plan, descriptor)
    return plan


def _fill(plan: MessagePlan, descriptor: Descriptor) -> None:
    json_message = _option(descriptor, options.json_message)
    if json_message.form == options.JSON_FORM_ARRAY:
        plan.form = Form.ARRAY
        (plan.item,) = map(_plan_field, descriptor.fields)
    elif json_message.form == options.JSON_FORM_UNION:
        plan.form = Form.UNION
        plan.alternatives = tuple(map(_plan_field, descriptor.fields))
        if json_message.HasField("discriminator"):
            plan.discriminator = json_message.discriminator
            _fill_tags(plan, descriptor)
    elif _is_object(descriptor):
        plan.members = _plan_members(descriptor)
        plan.by_name = {name: member for member in plan.members for name in (member.name, member.camel)}
    else:
        raise TypeError(
            f"{descriptor.full_name} has neither a JSON form nor a field {EXTRA_FIELD} = {EXTRA_NUMBER}"
        )


def _fill_tags(plan: MessagePlan, descriptor: Descriptor) -> None:
    # From the descriptors alone: the plan of an alternative may be half made, if it holds this union.
    for field, described in zip(plan.alternatives, descriptor.fields, strict=True):
        if described.message_type is None:
            plan.unknown = field
            continue
        tag = described.message_type.fields_by_name[plan.discriminator or ""]
        plan.tags[_option(tag, options.json_field).constant] = field
        if _option(described, options.json_field).untagged:
            plan.untagged = field


def _plan_members(descriptor: Descriptor) -> tuple[MemberPlan, ...]:
    members = []
    planned: set[str] = set()
    for field in descriptor.fields:
        oneof: OneofDescriptor | None = field.containing_oneof
        if field.name == EXTRA_FIELD or (oneof is not None and oneof.name in planned):
            continue
        if oneof is not None and not oneof.name.startswith("_"):
            planned.add(oneof.name)
            fields = tuple(_plan_field(alternative) for alternative in oneof.fields)
            flags = _option(oneof, options.json_oneof)
            members.append(_plan_member(oneof.name, fields, flags.required, flags.nullable, oneof.name))
        else:
            json_field = _option(field, options.json_field)
            fields = (_plan_field(field),)
            members.append(_plan_member(field.name, fields, json_field.required, json_field.nullable, None))
    return tuple(sorted(members, key=lambda member: member.number))


def _plan_member(
    name: str, fields: tuple[FieldPlan, ...], required: bool, nullable: bool, oneof: str | None
) -> MemberPlan:
    camel = _camel(name)
    number = min(field.number for field in fields)
    return MemberPlan(name, name if camel == name else camel, number, required, nullable, fields, oneof)


def _plan_field(field: FieldDescriptor) -> FieldPlan:
    json_field = _option(field, options.json_field)
    constant = json_field.constant if json_field.HasField("constant") and not json_field.open else None
    kind = _TEXT_KINDS.get(json_field.text) or _KINDS[field.type]
    strings = _enum_strings(field.enum_type)
    return FieldPlan(
        name=field.name,
        number=field.number,
        kind=kind,
        repeated=_is_repeated(field),
        message=_plan_of(field.message_type) if kind is Kind.MESSAGE else None,
        enum_numbers={string: number for number, string in strings.items()},
        enum_strings=strings,
        constant=constant,
    )


def _is_repeated(field: FieldDescriptor) -> bool:
    # `label` is deprecated in new runtimes, `is_repeated` absent from old ones.
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(getattr(field, "label") == FieldDescriptor.LABEL_REPEATED)  # noqa: B009 - gone from the types


def _option(described: Any, extension: Any) -> Any:
    return described.GetOptions().Extensions[extension]


def _enum_strings(descriptor: EnumDescriptor | None) -> dict[int, str]:
    if descriptor is None:
        return {}
    values = ((value.number, _option(value, options.json_value)) for value in descriptor.values)
    return {number: string for number, string in values if string}


@functools.cache
def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


_VARINT_KINDS = (Kind.INTEGER, Kind.BOOLEAN, Kind.ENUM)


def wire_tag(field: FieldPlan) -> bytes:
    """Give what stands before a field on the wire: its number and its wire type, as a varint.

    Source: https://protobuf.dev/programming-guides/encoding/
    """
    is_packed = field.repeated and field.kind in (*_VARINT_KINDS, Kind.NUMBER)
    wire_type = 0 if field.kind in _VARINT_KINDS else 1 if field.kind is Kind.NUMBER else 2
    return write_varint(field.number << 3 | (2 if is_packed else wire_type))
