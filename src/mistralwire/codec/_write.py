"""Writing any message as a parsed JSON object: the engine that knows every rule and error.

Reading the fields of a message one by one is what costs most in Python, so the wire bytes are read instead,
as protobuf itself serializes the message: fields in the order of their numbers, each in its canonical form,
unknown ones last. JsonExtra is field 1, so what was null, empty or absent is known before the fields. For
each plan a writer is made when it is first used: a table with a function for each tag, which turns what is
behind the tag into a parsed value.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mistralwire._varint import read_varint
from mistralwire.codec._losses import OTHER_PLACE, count_loss
from mistralwire.codec._parse import Number, finite
from mistralwire.codec._plan import (
    EXTRA_FIELD,
    EXTRA_NUMBER,
    PACKED_KINDS,
    UNLISTED,
    FieldPlan,
    Form,
    Kind,
    MemberPlan,
    MessagePlan,
    empty_object,
    field_tag,
)
from mistralwire.codec._read import describe, quoted
from mistralwire.codec._wire import Wire, read_double, read_finite, read_numbers, split_fields, to_signed
from mistralwire.codec._writing import Full, UnknownFound, Writing
from mistralwire.errors import EncodeError
from mistralwire.v1 import JsonExtra

UNRECOGNIZED = "unrecognized"
"""The string that stands for an enum value without one: from a newer contract, or a program's mistake."""

_ABSENT = object()
_EXTRA_TAG = EXTRA_NUMBER << 3 | 2
_MEMBERS_TAG, *_NOTES_TAGS = [field.number << 3 | 2 for field in JsonExtra.DESCRIPTOR.fields]
# What is remembered of short wire bytes: there are few of them, so they come again.
_REMEMBERED_MAX = 4_096
_REMEMBERED_BYTES_MAX = 16
# Unknown fields are looked at one by one in a message that has no more than so many bytes of them. Beyond
# that only their size is noted: a Python object for each would cost a hundred times the message.
_UNKNOWN_BYTES_MAX = 4_096


def write_document(plan: MessagePlan, wire: bytes, *, camel: bool) -> dict[str, Any]:
    """Return the parsed JSON of a message.

    Content of a newer contract costs itself and nothing else, and is counted.

    Args:
        plan: Plan of the message, a JSON object.
        wire: The message, as protobuf itself serializes it.
        camel: Whether member names are lowerCamelCase.

    Raises:
        EncodeError: If the message has no JSON form.
    """
    try:
        return _write(plan, wire, camel, Writing())
    except RecursionError:
        raise _no_room() from None


def write_what_can_be(
    plan: MessagePlan, wire: bytes, errors_max: int, *, infinities: bool = False
) -> tuple[dict[str, Any] | None, list[EncodeError]]:
    """Return the parsed JSON of a message with stand-ins for what has no JSON form, and the errors of those.

    Here, content of a newer contract is an error too, with the reason CONTRACT_NEWER, and is not counted.

    Args:
        plan: Plan of the message, a JSON object.
        wire: The message, as protobuf itself serializes it.
        errors_max: How many errors to look for; beyond, there is no JSON.
        infinities: Whether infinite doubles have a JSON form, the largest finite one.

    Raises:
        EncodeError: If it is nested too deeply.
    """
    errors: list[EncodeError] = []
    try:
        return _write(plan, wire, False, Writing(errors, errors_max, infinities=infinities)), errors
    except Full:
        return None, errors
    except RecursionError:
        raise _no_room() from None


def _no_room() -> EncodeError:
    return EncodeError("nesting that the stack has no room for; write it from a shallower call")


def _merge_members(
    plan: MessagePlan, target: dict[str, Any], members: dict[str, Any], *, camel: bool
) -> dict[str, Any]:
    """Add to an object what JsonExtra kept of it; a field that is set wins over a member of its name.

    Args:
        plan: Plan of the message.
        target: The object with the fields, under names as they are to be written; changed in place.
        members: The parsed members.
        camel: Whether names are lowerCamelCase.

    Returns:
        The target.
    """
    for name, value in members.items():
        member = plan.by_name.get(name)
        if member is None:
            target[name] = value
        elif name == member.name:
            written = member.camel if camel and member.camel not in members else name
            _put(target, written, value)
        elif camel and name in target:
            # The document had both spellings; the field gives way, under its other name.
            field_value = target.pop(name)
            target.setdefault(member.name, field_value)
            target[name] = value
        else:
            target[name] = value
    return target


def _put(target: dict[str, Any], name: str, value: Any) -> None:
    """Put a member that its field could not hold, unless the field was set since."""
    current = target.get(name)
    if current is None:
        target[name] = value
    elif isinstance(current, float) and type(value) in (int, Number):
        text = value.text if isinstance(value, Number) else str(value)
        if float(text) == current:
            target[name] = value


def _write(plan: MessagePlan, wire: bytes, camel: bool, writing: Writing) -> dict[str, Any]:
    """Write a message that is a document of its own."""
    writer = _object_writer(plan, camel)
    try:
        try:
            return writer.write(wire, writing)
        except UnknownFound:
            writing.begin_again()
        message = plan.message_class.FromString(wire)
        message.DiscardUnknownFields()
        known = message.SerializeToString()
        if len(wire) - len(known) > _UNKNOWN_BYTES_MAX:
            writing.has_dropped = True
            writing.lose(*OTHER_PLACE, f"{len(wire) - len(known)} bytes of fields")
            wire = known
        return writer.write(wire, writing)
    finally:
        for place in writing.lost:
            count_loss(*place)


_Convert = Callable[[Wire, Writing], Any]


def _list_tags(fields: Iterable[FieldPlan]) -> frozenset[int]:
    """Return the tags of those fields of which each element is a field on the wire."""
    return frozenset(
        field_tag(field) for field in fields if field.repeated and field.kind not in PACKED_KINDS
    )


# What a scalar is in JSON: None if that takes a closer look.
_SCALARS: dict[Kind, Callable[[Any], Any]] = {
    Kind.STRING: bytes.decode,
    Kind.INTEGER: to_signed,
    Kind.BOOLEAN: bool,
    Kind.NUMBER: read_finite,
}


class _Field:
    """One field of an object.

    Args:
        plan: The field.
        member: The member that it holds.
        owner: Plan of the object.
        camel: Whether names are lowerCamelCase.

    Attributes:
        name: Name of the member, as it is written.
        scalar: Returns what the field is in JSON, or None if that takes a closer look; None for a field that
            always takes one.
        convert: Returns the value of the field.
        is_enum: Whether it is a value of an enum.
    """

    __slots__ = ("convert", "is_enum", "member", "name", "plan", "scalar")

    def __init__(self, plan: FieldPlan, member: MemberPlan, owner: MessagePlan, camel: bool) -> None:
        self.plan = plan
        self.member = member
        self.name = member.camel if camel else member.name
        self.is_enum = plan.kind is Kind.ENUM and not plan.repeated
        self.scalar = (
            plan.enum_strings.get if self.is_enum else None if plan.repeated else _SCALARS.get(plan.kind)
        )
        self.convert = _converter(plan, owner, camel)


class _ObjectWriter:
    """Writes the messages of a plan that are JSON objects.

    Args:
        plan: Their plan.
        camel: Whether names are lowerCamelCase.
    """

    def __init__(self, plan: MessagePlan, camel: bool) -> None:
        self._plan = plan
        self._camel = camel
        self._empty = empty_object(plan)
        names = {member: member.camel if camel else member.name for member in plan.members}
        self._order = tuple(names.values())
        self._names = {member.number: name for member, name in names.items()}
        self._list_tags = _list_tags(field for member in plan.members for field in member.fields)
        self._list_names = {
            member.number: name for member, name in names.items() if member.fields[0].repeated
        }
        self._filled = [
            (member.number, member.name, name, member.fill) for member, name in names.items() if member.fill
        ]
        # Members with a field whose number is beyond that of a later member.
        self._displaced = {
            name
            for member, name in names.items()
            if any(
                member.number < other.number < field.number
                for field in member.fields
                for other in plan.members
            )
        }
        # Members of which several fields may be set, with the tags of those.
        self._joined = [
            (member, [field_tag(field) for field in member.fields])
            for member in plan.members
            if any(field.joined_later for field in member.fields)
        ]

    @functools.cached_property
    def _fields(self) -> dict[int, _Field]:
        # Made when the first message is written, so that a recursive type finds its writer.
        return {
            field_tag(field): _Field(field, member, self._plan, self._camel)
            for member in self._plan.members
            for field in member.fields
        }

    def write(self, data: bytes, writing: Writing) -> dict[str, Any]:
        """Return the parsed JSON of a message on the wire."""
        if data == self._empty:
            return {}
        fields = self._fields
        path = writing.path
        pairs = split_fields(data, self._list_tags)
        if self._joined:
            pairs = self._chosen(pairs, writing)
        result: dict[str, Any] = {}
        members: dict[str, Any] = {}
        notes = _NO_NOTES
        unknown = []
        for tag, value in pairs:
            field = fields.get(tag)
            if field is None:
                if tag == _EXTRA_TAG:
                    members, notes = _read_extra(value, writing)
                else:
                    unknown.append(tag)
                continue
            name = field.name
            if field.scalar is not None:
                item = field.scalar(value)
                if item is not None:
                    result[name] = item
                    continue
            path.append(field.member.name)
            if field.is_enum:
                item = _write_enum(self._plan, field.plan, value, writing, members.get(field.member.name))
            else:
                item = field.convert(value, writing)
            if item is not _ABSENT:
                result[name] = item
            path.pop()
        if unknown:
            writing.lose_fields(self._plan.message_class, unknown)
        if notes.unknown:
            writing.lose_fields(JsonExtra, notes.unknown)
        if notes is not _NO_NOTES or self._filled or self._displaced:
            result = self._completed(result, members, notes)
        if not members:
            return result
        if members.keys().isdisjoint(self._plan.by_name):
            result.update(members)
            return result
        return _merge_members(self._plan, result, members, camel=self._camel)

    def _chosen(self, pairs: list[tuple[int, Wire]], writing: Writing) -> list[tuple[int, Wire]]:
        """Return the fields without those that stand beside another one of their member."""
        given = {tag for tag, _ in pairs}
        for member, tags in self._joined:
            both = [tag for tag in tags if tag in given]
            if len(both) > 1:
                names = " and ".join(self._fields[tag].plan.name for tag in both)
                writing.path.append(member.name)
                writing.note(
                    f"expected one of the fields of the member, found {names}; leave all but one unset"
                )
                writing.path.pop()
                pairs = [pair for pair in pairs if pair[0] not in both[1:]]
        return pairs

    def _completed(self, result: dict[str, Any], members: dict[str, Any], notes: "_Notes") -> dict[str, Any]:
        """Return an object with what was null or empty and what is filled in, in contract order."""
        before = len(result)
        for number in notes.empties:
            if number in self._list_names:
                result.setdefault(self._list_names[number], [])
        for number in notes.nulls:
            if number in self._names:
                result.setdefault(self._names[number], None)
        for number, member_name, name, fill in self._filled:
            if name not in result and number not in notes.absents and member_name not in members:
                result[name] = fill.value_of()
        if len(result) > before or self._displaced:
            return {name: result[name] for name in self._order if name in result}
        return result


_object_writer = functools.cache(_ObjectWriter)


def _read_extra(data: bytes, writing: Writing) -> tuple[dict[str, Any], "_Notes"]:
    """Return what a JsonExtra says: the parsed members, and the rest."""
    members: dict[str, Any] = {}
    if data and data[0] == _MEMBERS_TAG:
        size, start = data[1], 2
        if size > 0x7F:
            size, start = read_varint(data, 1)
        writing.path.append(EXTRA_FIELD)
        if size:
            members = writing.parse(data[start : start + size], must_be_object=True)
        writing.path.pop()
        data = data[start + size :]
    if not data:
        return members, _NO_NOTES
    return members, _read_notes(data) if len(data) <= _REMEMBERED_BYTES_MAX else _Notes(data)


class _Notes:
    """What a JsonExtra says beside its members.

    Args:
        data: Its wire bytes without those of the members.

    Attributes:
        nulls: Numbers of the fields that are null.
        empties: Numbers of the repeated fields that are empty.
        absents: Numbers of the fields that are absent, and not to be filled in.
        unknown: Tags of the fields that it does not have.
    """

    def __init__(self, data: bytes) -> None:
        numbers: dict[int, Sequence[int]] = dict.fromkeys(_NOTES_TAGS, ())
        self.unknown = []
        for tag, value in split_fields(data):
            if tag in numbers:
                numbers[tag] = read_numbers(value)
            else:
                self.unknown.append(tag)
        self.nulls, self.empties, self.absents = numbers.values()


_read_notes = functools.lru_cache(_REMEMBERED_MAX)(_Notes)
_NO_NOTES = _Notes(b"")


def _converter(plan: FieldPlan, owner: MessagePlan, camel: bool) -> _Convert:
    """Return the function that writes a field."""
    if plan.repeated:
        return _list_converter(plan, owner, camel)
    match plan.kind:
        case Kind.MESSAGE:
            assert plan.message is not None  # noqa: S101 - a field of this kind has one
            return _message_converter(plan.message, camel)
        case Kind.TEXT_ANY | Kind.TEXT_OBJECT:
            must_be_object = plan.kind is Kind.TEXT_OBJECT
            return lambda data, writing: writing.parse(data, must_be_object=must_be_object)
        case Kind.NUMBER:
            return _write_number
        case Kind.ENUM:
            return lambda number, writing: _write_enum(owner, plan, number, writing, None)
        case _:
            convert = _SCALARS[plan.kind]
            return lambda value, _: convert(value)


def _write_number(data: bytes, writing: Writing) -> float:
    value = read_double(data)
    if math.isnan(value) or (math.isinf(value) and not writing.infinities):
        return float(writing.stand_in(0, f"{value}, which JSON does not have; set a finite number"))
    return finite(value)


def _write_enum(owner: MessagePlan, plan: FieldPlan, number: int, writing: Writing, kept: Any) -> Any:
    """Return the string of an enum value, where `kept` is what JsonExtra has under the name of the member."""
    string = plan.enum_strings.get(number)
    if string is not None:
        return string
    if number == 0:
        writing.note(f"expected a value of {plan.enum_name}, found the one that is none; leave it unset")
        return _ABSENT
    is_kept = isinstance(kept, str)
    if number != UNLISTED:
        if not is_kept or writing.collects:
            writing.lose(owner.name, plan.number, f"the value {to_signed(number)} of {plan.enum_name}")
    elif not is_kept:
        writing.note(f"expected the string in json_extra.members beside UNLISTED, found {_described(kept)}")
    # A string that was kept is written with the other members, in their order.
    return _ABSENT if is_kept else UNRECOGNIZED


def _list_converter(plan: FieldPlan, owner: MessagePlan, camel: bool) -> _Convert:
    """Return the function that writes the elements of a repeated field."""
    if plan.kind is Kind.INTEGER:
        return lambda data, _: list(map(to_signed, read_numbers(data)))
    convert = _converter(dataclasses.replace(plan, repeated=False), owner, camel)
    # An element keeps its place, be it the enum value that is none.
    absent = UNRECOGNIZED if plan.kind is Kind.ENUM else _ABSENT

    def write(values: list[Wire], writing: Writing) -> list[Any]:
        result: list[Any] = []
        path = writing.path
        path.append(0)
        for value in values:
            path[-1] = len(result)
            item = convert(value, writing)
            if item is _ABSENT:
                item = absent
            if item is not _ABSENT:
                result.append(item)
        path.pop()
        return result

    if plan.kind is Kind.NUMBER:
        return lambda data, writing: write([data[at : at + 8] for at in range(0, len(data), 8)], writing)
    if plan.kind in PACKED_KINDS:
        return lambda data, writing: write(list(read_numbers(data)), writing)
    return write


def _message_converter(plan: MessagePlan, camel: bool) -> _Convert:
    if plan.form is Form.OBJECT:
        return _object_writer(plan, camel).write
    if plan.form is Form.ARRAY:
        assert plan.item is not None  # noqa: S101 - a plan of this form has one
        return _array_converter(plan, plan.item, camel)
    return _union_converter(plan, camel)


def _array_converter(plan: MessagePlan, item: FieldPlan, camel: bool) -> _Convert:
    """Return the function that writes a message which is an array in JSON."""
    convert = _converter(item, plan, camel)
    item_tag = field_tag(item)
    list_tags = _list_tags((item,))

    def write(data: bytes, writing: Writing) -> list[Any]:
        result: list[Any] = []
        unknown = []
        for tag, value in split_fields(data, list_tags):
            if tag == item_tag:
                result = convert(value, writing)
            else:
                unknown.append(tag)
        if unknown:
            writing.lose_fields(plan.message_class, unknown)
        return result

    return write


def _union_converter(plan: MessagePlan, camel: bool) -> _Convert:
    """Return the function that writes a message which is one of several values in JSON."""
    converters = {field_tag(field): _alternative_converter(plan, field, camel) for field in plan.alternatives}
    scalars = {
        field_tag(field): _SCALARS[field.kind] for field in plan.alternatives if field.kind in _SCALARS
    }

    @functools.lru_cache(_REMEMBERED_MAX)
    def read_scalar(data: bytes) -> Any:
        """Return a value that needs no closer look; None for any other."""
        pairs = split_fields(data)
        tag, value = pairs[0] if len(pairs) == 1 else (0, None)
        return scalars[tag](value) if tag in scalars else None

    def write(data: bytes, writing: Writing) -> Any:
        if scalars and len(data) <= _REMEMBERED_BYTES_MAX:
            scalar = read_scalar(data)
            if scalar is not None:
                return scalar
        convert = None
        unknown = []
        for tag, content in split_fields(data):
            if tag in converters:
                convert, value = converters[tag], content
            else:
                unknown.append(tag)
        if unknown:
            writing.lose_fields(plan.message_class, unknown)
        if convert is not None:
            return convert(value, writing)
        if unknown or writing.has_dropped:
            # An alternative of a newer contract costs itself, and not the document. Where errors are
            # collected it keeps its place, so that the paths of those behind it are right.
            return {} if writing.collects else _ABSENT
        return writing.stand_in({}, _no_alternative(plan))

    return write


def _alternative_converter(plan: MessagePlan, field: FieldPlan, camel: bool) -> _Convert:
    """Return the function that writes one alternative of a union, with its tag if it has one.

    What was read from JSON has its tag already; a message that a program made may leave it unset.
    """
    convert = _converter(field, plan, camel)
    discriminator = plan.discriminator
    if discriminator is None or field.message is None:
        return convert
    known_tag = next(tag for tag, alternative in plan.tags.items() if alternative is field)
    constant = field.message.by_name[discriminator].fields[0].constant

    def write(data: bytes, writing: Writing) -> dict[str, Any]:
        value: dict[str, Any] = convert(data, writing)
        tag = value.get(discriminator, _ABSENT)
        if tag is _ABSENT:
            return value if field is plan.untagged else {discriminator: known_tag, **value}
        if constant is not None and tag != constant:
            writing.path.append(discriminator)
            writing.note(f'expected the string "{constant}", found {quoted(tag)}')
            writing.path.pop()
        return value

    return write


def _no_alternative(plan: MessagePlan) -> str:
    names = [field.name for field in plan.alternatives if field is not plan.unknown]
    return f"expected an alternative of {plan.name}, found none; set one of {', '.join(names)}"


def _described(value: Any) -> str:
    return "nothing" if value is None else describe(value)
