"""Plans: the JSON mapping of each message as plain data, compiled from its descriptor and JSON options.

A plan is compiled once for each message descriptor and revision of the contract; that of an older revision
lacks what is newer. Plans are all that the engines know of the contract.

Source: proto/mistralwire/v1/json_options.proto.
"""

import dataclasses
import enum
import functools
import threading
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mistralwire.v1 import CONTRACT_REVISION, JsonExtra
from mistralwire.v1 import json_options_pb2 as options

EXTRA_FIELD = "json_extra"
EXTRA_NUMBER = 1
EXTRA_TAG = EXTRA_NUMBER << 3 | 2
"""Name, number and tag of the field of each JSON object that holds what its other fields cannot."""

UNLISTED = 127
"""Number of the value of an open enum that stands for a string that the enum does not list."""

_INTEGER_BITS = {FieldDescriptor.TYPE_INT32: 32, FieldDescriptor.TYPE_INT64: 64}


class Kind(enum.Enum):
    """What a field holds, in JSON terms; the native engine knows the kinds by their order."""

    STRING = "a string"
    INTEGER = "an integer"
    NUMBER = "a number"
    BOOLEAN = "a boolean"
    ENUM = "a string of the enum"
    MESSAGE = "a message"
    TEXT_ANY = "any JSON value"
    TEXT_OBJECT = "an object"


_FIELD_KINDS = {
    FieldDescriptor.TYPE_STRING: Kind.STRING,
    FieldDescriptor.TYPE_INT32: Kind.INTEGER,
    FieldDescriptor.TYPE_INT64: Kind.INTEGER,
    FieldDescriptor.TYPE_DOUBLE: Kind.NUMBER,
    FieldDescriptor.TYPE_BOOL: Kind.BOOLEAN,
    FieldDescriptor.TYPE_ENUM: Kind.ENUM,
    FieldDescriptor.TYPE_MESSAGE: Kind.MESSAGE,
}
_TEXT_KINDS = {options.JSON_TEXT_ANY: Kind.TEXT_ANY, options.JSON_TEXT_OBJECT: Kind.TEXT_OBJECT}


class Fill(enum.Enum):
    """The JSON of a member with neither a value nor a note in JsonExtra; in the native engine's order."""

    NULL = "null"
    ARRAY = "[]"
    OBJECT = "{}"

    def value_of(self) -> Any:
        """Return a new parsed JSON value."""
        return [] if self is _ARRAY else {} if self is _OBJECT else None


# Bound here because enum members are looked up slowly before Python 3.12.
_ARRAY, _OBJECT = Fill.ARRAY, Fill.OBJECT
_FILLS = {
    options.JSON_FILL_NULL: Fill.NULL,
    options.JSON_FILL_EMPTY_ARRAY: Fill.ARRAY,
    options.JSON_FILL_EMPTY_OBJECT: Fill.OBJECT,
}


class Form(enum.Enum):
    """What a message is in JSON; the native engine knows the forms by their order."""

    OBJECT = "an object"
    ARRAY = "an array"
    UNION = "a union"


@dataclasses.dataclass(eq=False, slots=True)
class FieldPlan:
    """One protobuf field.

    Attributes:
        repeated: Whether it is a JSON array of its kind.
        message: Plan of the message that it holds.
        enum_numbers: For an enum, the number for each JSON string.
        enum_strings: For an enum, the JSON string for each number.
        bits: For an integer, 32 or 64.
        constant: The only string allowed, or None.
        joined_later: Whether it holds another JSON type of a member that has an earlier field.
    """

    name: str
    number: int
    kind: Kind
    repeated: bool
    message: "MessagePlan | None"
    enum_numbers: dict[str, int]
    enum_strings: dict[int, str]
    enum_name: str
    bits: int
    constant: str | None
    joined_later: bool


@dataclasses.dataclass(eq=False, slots=True)
class MemberPlan:
    """One member of a JSON object, by its documented snake_case name.

    Attributes:
        camel: The name in lowerCamelCase; the same object as `name` where they do not differ.
        number: Number of its field, or the lowest one of its oneof, by which JsonExtra refers to it. Fields
            that joined later do not count.
        required: Whether it must be present when validated.
        nullable: Whether null is a documented value.
        expected: Whether a program that makes the message should set it although it is not required.
        fill: Its JSON where it has neither a value nor a note in JsonExtra; None to leave it out.
        fields: The field that holds it, or the alternatives, one for each JSON type: those of a oneof, then
            those that joined later.
        oneof: Name of the oneof, or None.
    """

    name: str
    camel: str
    number: int
    required: bool
    nullable: bool
    expected: bool
    fill: Fill | None
    fields: tuple[FieldPlan, ...]
    oneof: str | None


@dataclasses.dataclass(eq=False, slots=True)
class MessagePlan:
    """One message.

    Attributes:
        members: For an object, its members in contract order, which is the order of their field numbers.
        by_name: For an object, the member for either spelling of its name.
        item: For an array, the repeated field.
        alternatives: For a union, its fields.
        discriminator: For a union of objects, the name of the member that holds the tag; otherwise None.
        tags: For a union of objects, the field for each tag.
        untagged: For a union of objects, the field for objects without a tag, or None.
        unknown: For a union of objects, the field for objects with any other tag, or with none.
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
        return self.full_name.rpartition(".")[2]

    @property
    def fields(self) -> list[FieldPlan]:
        """All fields, in the order of the members or alternatives."""
        if self.item is not None:
            return [self.item]
        return [*self.alternatives, *(field for member in self.members for field in member.fields)]


_lock = threading.Lock()
# By class for the newest revision, which most calls use; and by class and revision.
_newest: dict[type[Message], MessagePlan] = {}
_published: dict[tuple[type[Message], int], MessagePlan] = {}


def plan_for(message_class: type[Message], revision: int = CONTRACT_REVISION) -> MessagePlan:
    """Return the plan of a message that is a JSON object, in a revision; the newest for one beyond it.

    Raises:
        TypeError: If it is no class of the contract, or the message is not a JSON object by itself.
        ValueError: If the revision is not a whole number of 1 or more.
    """
    try:
        is_newest = revision == CONTRACT_REVISION
        plan = _newest.get(message_class) if is_newest else _published.get((message_class, revision))
    except TypeError:  # not hashable, so not a class
        plan = None
    if plan is None:
        descriptor = getattr(message_class, "DESCRIPTOR", None)
        if (
            not isinstance(message_class, type)
            or not isinstance(descriptor, Descriptor)
            or not _is_object(descriptor)
        ):
            raise TypeError(f"{message_class!r} is not a message of the contract that is a JSON object")
        checked_revision(revision)
        with _lock:
            plan = _planner(min(revision, CONTRACT_REVISION)).plan(descriptor)
            _published[message_class, revision] = plan
            if revision == CONTRACT_REVISION:
                _newest[message_class] = plan
    return plan


def checked_revision(revision: int) -> int:
    """Return the argument if it is a revision of a contract; a ValueError for anything else."""
    if type(revision) is not int or revision < 1:
        raise ValueError(f"contract_revision must be a whole number of 1 or more, not {revision!r}")
    return revision


def _is_object(descriptor: Descriptor) -> bool:
    extra = descriptor.fields_by_name.get(EXTRA_FIELD)
    if extra is None or extra.number != EXTRA_NUMBER or extra.message_type is None:
        return False
    return bool(extra.message_type.full_name == JsonExtra.DESCRIPTOR.full_name)


class _Planner:
    """Compiles the plans of one revision, without newer fields, alternatives and enum values."""

    def __init__(self, revision: int) -> None:
        self._revision = revision
        self._plans: dict[Descriptor, MessagePlan] = {}

    def plan(self, descriptor: Descriptor) -> MessagePlan:
        """Return the plan of a message, compiled once."""
        before = dict(self._plans)
        try:
            return self._plan_of(descriptor)
        except BaseException:
            # Interrupted, or the stack was full: leave no incomplete plan.
            self._plans = before
            raise

    def _plan_of(self, descriptor: Descriptor | None) -> MessagePlan:
        assert descriptor is not None  # noqa: S101 - only of fields that hold a message
        plan = self._plans.get(descriptor)
        if plan is None:
            # Registered before its fields are compiled, so that a recursive type finds itself.
            plan = self._plans[descriptor] = MessagePlan(descriptor.full_name, GetMessageClass(descriptor))
            self._fill(plan, descriptor)
        return plan

    def _fill(self, plan: MessagePlan, descriptor: Descriptor) -> None:
        json_message = _json_option(descriptor, options.json_message)
        if json_message.form == options.JSON_FORM_ARRAY:
            plan.form = Form.ARRAY
            (plan.item,) = map(self._plan_field, descriptor.fields)
        elif json_message.form == options.JSON_FORM_UNION:
            plan.form = Form.UNION
            fields = self._known(descriptor.fields)
            plan.alternatives = tuple(map(self._plan_field, fields))
            if json_message.HasField("discriminator"):
                plan.discriminator = json_message.discriminator
                _fill_tags(plan, fields)
        elif _is_object(descriptor):
            plan.members = self._plan_members(descriptor)
            plan.by_name = {name: member for member in plan.members for name in (member.name, member.camel)}
        else:
            raise TypeError(
                f"{descriptor.full_name} has neither a JSON form nor a field {EXTRA_FIELD} = {EXTRA_NUMBER}"
            )

    def _known(self, fields: Iterable[FieldDescriptor]) -> list[FieldDescriptor]:
        return [
            field
            for field in fields
            if (_json_option(field, options.json_field).since or 1) <= self._revision
        ]

    def _plan_members(self, descriptor: Descriptor) -> tuple[MemberPlan, ...]:
        alternatives: dict[str, list[FieldDescriptor]] = {}
        for field in self._known(descriptor.fields):
            if field.name != EXTRA_FIELD:
                alternatives.setdefault(member_name(field), []).append(field)
        members = (self._plan_member(name, fields) for name, fields in alternatives.items())
        return tuple(sorted(members, key=lambda member: member.number))

    def _plan_member(self, name: str, fields: list[FieldDescriptor]) -> MemberPlan:
        oneof = _oneof_of(fields[0])
        json_field = _json_option(fields[0], options.json_field)
        flags = json_field if oneof is None else _json_option(oneof, options.json_oneof)
        camel = _camel(name)
        return MemberPlan(
            name=name,
            camel=name if camel == name else camel,
            number=min(
                field.number for field in fields if not _json_option(field, options.json_field).union_with
            ),
            required=flags.required,
            nullable=flags.nullable,
            expected=json_field.expected,
            fill=_FILLS.get(json_field.fill),
            fields=tuple(map(self._plan_field, fields)),
            oneof=None if oneof is None else oneof.name,
        )

    def _plan_field(self, field: FieldDescriptor) -> FieldPlan:
        json_field = _json_option(field, options.json_field)
        constant = json_field.constant if json_field.HasField("constant") and not json_field.open else None
        kind = _TEXT_KINDS.get(json_field.text) or _FIELD_KINDS[field.type]
        strings = self._enum_strings(field.enum_type)
        return FieldPlan(
            name=field.name,
            number=field.number,
            kind=kind,
            repeated=_is_repeated(field),
            message=self._plan_of(field.message_type) if kind is Kind.MESSAGE else None,
            enum_numbers={string: number for number, string in strings.items()},
            enum_strings=strings,
            enum_name="" if field.enum_type is None else field.enum_type.name,
            bits=_INTEGER_BITS.get(field.type, 0),
            constant=constant,
            joined_later=json_field.HasField("union_with"),
        )

    def _enum_strings(self, descriptor: EnumDescriptor | None) -> dict[int, str]:
        if descriptor is None:
            return {}
        values = ((value.number, _json_option(value, options.json_value)) for value in descriptor.values)
        return {
            number: value.string
            for number, value in values
            if value.string and (value.since or 1) <= self._revision
        }


_planner = functools.cache(_Planner)


def _fill_tags(plan: MessagePlan, fields: list[FieldDescriptor]) -> None:
    # From the descriptors alone: the plan of an alternative may be incomplete, if it holds this union.
    for field, described in zip(plan.alternatives, fields, strict=True):
        if described.message_type is None:
            plan.unknown = field
            continue
        tag = described.message_type.fields_by_name[plan.discriminator or ""]
        plan.tags[_json_option(tag, options.json_field).constant] = field
        if _json_option(described, options.json_field).untagged:
            plan.untagged = field


def member_name(field: FieldDescriptor) -> str:
    """Return the name of the JSON member that a field of an object holds in one of its JSON types."""
    union_with: str = _json_option(field, options.json_field).union_with
    oneof = _oneof_of(field)
    return union_with or (field.name if oneof is None else oneof.name)


def _oneof_of(field: FieldDescriptor) -> OneofDescriptor | None:
    """Return the oneof of a field, or None; one that only gives an optional field presence does not count."""
    oneof: OneofDescriptor | None = field.containing_oneof
    return None if oneof is None or oneof.name.startswith("_") else oneof


def _is_repeated(field: FieldDescriptor) -> bool:
    # `label` is deprecated in new runtimes, `is_repeated` absent from old ones.
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(getattr(field, "label") == FieldDescriptor.LABEL_REPEATED)  # noqa: B009 - gone from the types


def _json_option(described: Any, extension: Any) -> Any:
    return described.GetOptions().Extensions[extension]


@functools.cache
def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


_VARINT_KINDS = (Kind.INTEGER, Kind.BOOLEAN, Kind.ENUM)

PACKED_KINDS = frozenset((*_VARINT_KINDS, Kind.NUMBER))
"""The kinds of a repeated field whose values follow one another on the wire, without tags."""


def field_tag(field: FieldPlan) -> int:
    """Return the tag of a field on the wire: its number and its wire type.

    Source: https://protobuf.dev/programming-guides/encoding/
    """
    is_packed = field.repeated and field.kind in PACKED_KINDS
    wire_type = 0 if field.kind in _VARINT_KINDS else 1 if field.kind is Kind.NUMBER else 2
    return field.number << 3 | (2 if is_packed else wire_type)


def empty_object(plan: MessagePlan) -> bytes:
    """Return the wire bytes of a message whose JSON is an object without members."""
    absents = [member.number for member in plan.members if member.fill is not None]
    extra = {EXTRA_FIELD: {"absent_fields": absents}} if absents else {}
    return plan.message_class(**extra).SerializeToString()
