"""From the wire bytes of any message to a parsed JSON object: the engine that has every rule and error.

Reading the fields of a message object one by one would dominate the cost, so the wire bytes are read, as
protobuf itself serializes the message: fields in the order of their numbers, each in its canonical form,
unknown ones last. JsonExtra is field 1, so what was null, empty or absent is known before the fields. Each
plan gets an encoder when it is first used: a table with one function per tag, which turns the value after the
tag into a parsed JSON value.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

from mistralwire.codec._counts import OTHER_PLACE, count_loss
from mistralwire.codec._plan import (
    EXTRA_FIELD,
    EXTRA_TAG,
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
from mistralwire.codec._python._describe import describe, describe_tag
from mistralwire.codec._python._encoding import Encoding, Full, UnknownFound
from mistralwire.codec._python._number import Number, finite
from mistralwire.codec._python._wire import (
    NO_NOTES,
    REMEMBERED_BYTES_MAX,
    REMEMBERED_MAX,
    Notes,
    Wire,
    read_double,
    read_finite,
    read_numbers,
    split_extra,
    split_fields,
    to_signed,
)
from mistralwire.errors import EncodeError
from mistralwire.v1 import JsonExtra

UNRECOGNIZED = "unrecognized"
"""The JSON form of an enum value without a string: from a newer contract, or a program's mistake."""

_ABSENT = object()
# A message's unknown fields are examined one by one up to this size. Beyond it only their size is recorded: a
# Python object for each would take a hundred times the memory of the message.
_UNKNOWN_BYTES_MAX = 4_096


def binary_to_document(plan: MessagePlan, wire: bytes, *, camel: bool) -> dict[str, Any]:
    """Convert the wire bytes of a message, as protobuf itself serializes it, to its parsed JSON.

    Content of a newer contract is left out, and counted. A message without a JSON form is an EncodeError.
    """
    try:
        return _encode(plan, wire, camel, Encoding())
    except RecursionError:
        raise nesting_error() from None


def binary_to_document_and_errors(
    plan: MessagePlan, wire: bytes, errors_max: int, *, infinities: bool = False
) -> tuple[dict[str, Any] | None, list[EncodeError]]:
    """Convert as `binary_to_document`, with stand-ins for what has no JSON form, and return all errors.

    Here, content of a newer contract is an error too, with the reason CONTRACT_NEWER, and is not counted.
    With more than `errors_max` errors, no document is returned. With `infinities`, infinite doubles have a
    JSON form, the largest finite double. A message that is nested too deeply is an EncodeError.
    """
    errors: list[EncodeError] = []
    try:
        return _encode(plan, wire, False, Encoding(errors, errors_max, infinities=infinities)), errors
    except Full:
        return None, errors
    except RecursionError:
        raise nesting_error() from None


def nesting_error() -> EncodeError:
    """Return the error for a message that is nested too deeply for what is left of the stack."""
    expected = "expected nesting that the stack has room for"
    return EncodeError(f"{expected}, found more levels; call from a shallower stack")


def _add_members(
    target: dict[str, Any], members: dict[str, Any], plan: MessagePlan, camel: bool
) -> dict[str, Any]:
    """Add the members in JsonExtra to the object with the fields, and return it.

    A field that is set wins over a member of its name. Names of the fields are those of the output.
    """
    for name, value in members.items():
        member = plan.by_name.get(name)
        if member is None:
            target[name] = value
        elif name == member.name:
            _put(target, member.camel if camel and member.camel not in members else name, value)
        elif camel and name in target:
            # The document had both spellings: the field moves to its other name.
            field_value = target.pop(name)
            target.setdefault(member.name, field_value)
            target[name] = value
        else:
            target[name] = value
    return target


def _put(target: dict[str, Any], name: str, value: Any) -> None:
    """Add a member that its field could not hold, unless the field was set since."""
    current = target.get(name)
    if current is None:
        target[name] = value
    elif isinstance(current, float) and type(value) in (int, Number):
        text = value.text if isinstance(value, Number) else str(value)
        if float(text) == current:
            target[name] = value


def _encode(plan: MessagePlan, wire: bytes, camel: bool, encoding: Encoding) -> dict[str, Any]:
    encoder = _object_encoder(plan, camel)
    try:
        try:
            return encoder.encode(wire, encoding)
        except UnknownFound:
            encoding.restart()
        message = plan.message_class.FromString(wire)
        message.DiscardUnknownFields()
        known = message.SerializeToString()
        if len(wire) - len(known) > _UNKNOWN_BYTES_MAX:
            encoding.has_dropped = True
            encoding.lose(*OTHER_PLACE, f"{len(wire) - len(known)} bytes of fields")
            wire = known
        return encoder.encode(wire, encoding)
    finally:
        for place in encoding.lost:
            count_loss(*place)


_Convert = Callable[[Wire, Encoding], Any]


def _list_tags(fields: Iterable[FieldPlan]) -> frozenset[int]:
    """Return the tags of the fields whose elements are separate fields on the wire."""
    return frozenset(
        field_tag(field) for field in fields if field.repeated and field.kind not in PACKED_KINDS
    )


# The JSON form of a scalar; None for a value that needs more than this.
_SCALARS: dict[Kind, Callable[[Any], Any]] = {
    Kind.STRING: bytes.decode,
    Kind.INTEGER: to_signed,
    Kind.BOOLEAN: bool,
    Kind.NUMBER: read_finite,
}


class _Field:
    """One field of an object.

    Attributes:
        name: Name of the member in the output.
        scalar: Fast conversion to JSON, which returns None for a value that needs `convert`; None for a field
            without one.
        convert: Conversion of any value of the field.
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


class _ObjectEncoder:
    """Converts the messages of a plan that are JSON objects."""

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
        # Members with a field whose number is higher than that of a later member.
        self._displaced = {
            name
            for member, name in names.items()
            if any(
                member.number < other.number < field.number
                for field in member.fields
                for other in plan.members
            )
        }
        # Members of which several fields may be set, with the tags of these.
        self._joined = [
            (member, [field_tag(field) for field in member.fields])
            for member in plan.members
            if any(field.joined_later for field in member.fields)
        ]

    @functools.cached_property
    def _fields(self) -> dict[int, _Field]:
        # Made when the first message is converted, so that a recursive type finds its own encoder.
        return {
            field_tag(field): _Field(field, member, self._plan, self._camel)
            for member in self._plan.members
            for field in member.fields
        }

    def encode(self, data: bytes, encoding: Encoding) -> dict[str, Any]:
        if data == self._empty:
            return {}
        fields = self._fields
        path = encoding.path
        pairs = split_fields(data, self._list_tags)
        if self._joined:
            pairs = self._chosen(pairs, encoding)
        result: dict[str, Any] = {}
        members: dict[str, Any] = {}
        notes = NO_NOTES
        unknown = []
        for tag, value in pairs:
            field = fields.get(tag)
            if field is None:
                if tag == EXTRA_TAG:
                    members, notes = self._parse_extra(value, encoding)
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
                item = _encode_enum(self._plan, field.plan, value, encoding, members.get(field.member.name))
            else:
                item = field.convert(value, encoding)
            if item is not _ABSENT:
                result[name] = item
            path.pop()
        if unknown:
            encoding.lose_fields(self._plan.message_class, unknown)
        if notes.unknown:
            encoding.lose_fields(JsonExtra, notes.unknown)
        if notes is not NO_NOTES or self._filled or self._displaced:
            result = self._completed(result, members, notes)
        if not members:
            return result
        if members.keys().isdisjoint(self._plan.by_name):
            result.update(members)
            return result
        return _add_members(result, members, self._plan, self._camel)

    def _parse_extra(self, data: bytes, encoding: Encoding) -> tuple[dict[str, Any], Notes]:
        text, notes = split_extra(data)
        if not text:
            return {}, notes
        encoding.path.append(EXTRA_FIELD)
        members = encoding.parse(text, must_be_object=True)
        encoding.path.pop()
        return members, notes

    def _chosen(self, pairs: list[tuple[int, Wire]], encoding: Encoding) -> list[tuple[int, Wire]]:
        """Return the fields with only the first one of each member."""
        given = {tag for tag, _ in pairs}
        for member, tags in self._joined:
            both = [tag for tag in tags if tag in given]
            if len(both) > 1:
                names = " and ".join(self._fields[tag].plan.name for tag in both)
                encoding.path.append(member.name)
                encoding.note(
                    f"expected one of the fields of the member, found {names}; leave all but one unset"
                )
                encoding.path.pop()
                pairs = [pair for pair in pairs if pair[0] not in both[1:]]
        return pairs

    def _completed(self, result: dict[str, Any], members: dict[str, Any], notes: Notes) -> dict[str, Any]:
        """Return an object with what was null or empty, and what is filled in, in contract order."""
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


_object_encoder = functools.cache(_ObjectEncoder)


def _converter(plan: FieldPlan, owner: MessagePlan, camel: bool) -> _Convert:
    if plan.repeated:
        return _list_converter(plan, owner, camel)
    match plan.kind:
        case Kind.MESSAGE:
            assert plan.message is not None  # noqa: S101 - a field of this kind has one
            return _message_converter(plan.message, camel)
        case Kind.TEXT_ANY | Kind.TEXT_OBJECT:
            must_be_object = plan.kind is Kind.TEXT_OBJECT
            return lambda data, encoding: encoding.parse(data, must_be_object=must_be_object)
        case Kind.NUMBER:
            return _encode_number
        case Kind.ENUM:
            return lambda number, encoding: _encode_enum(owner, plan, number, encoding, None)
        case _:
            convert = _SCALARS[plan.kind]
            return lambda value, _: convert(value)


def _encode_number(data: bytes, encoding: Encoding) -> float:
    value = read_double(data)
    if math.isnan(value) or (math.isinf(value) and not encoding.infinities):
        return float(encoding.stand_in(0, f"{value}, which JSON does not have; set a finite number"))
    return finite(value)


def _encode_enum(owner: MessagePlan, plan: FieldPlan, number: int, encoding: Encoding, kept: Any) -> Any:
    """Return the string of an enum value, where `kept` is the value in JsonExtra under the member's name."""
    string = plan.enum_strings.get(number)
    if string is not None:
        return string
    if number == 0:
        encoding.note(f"expected a value of {plan.enum_name}, found the one that is none; leave it unset")
        return _ABSENT
    is_kept = isinstance(kept, str)
    if number != UNLISTED:
        if not is_kept or encoding.collects:
            encoding.lose(owner.name, plan.number, f"the value {to_signed(number)} of {plan.enum_name}")
    elif not is_kept:
        found = "nothing" if kept is None else describe(kept)
        encoding.note(f"expected the string in json_extra.members beside UNLISTED, found {found}")
    # A string that was kept is added with the other members, in their order.
    return _ABSENT if is_kept else UNRECOGNIZED


def _list_converter(plan: FieldPlan, owner: MessagePlan, camel: bool) -> _Convert:
    if plan.kind is Kind.INTEGER:
        return lambda data, _: list(map(to_signed, read_numbers(data)))
    convert = _converter(dataclasses.replace(plan, repeated=False), owner, camel)
    # An element keeps its place, even the enum value that stands for none.
    absent = UNRECOGNIZED if plan.kind is Kind.ENUM else _ABSENT

    def encode(values: list[Wire], encoding: Encoding) -> list[Any]:
        result: list[Any] = []
        path = encoding.path
        path.append(0)
        for value in values:
            path[-1] = len(result)
            item = convert(value, encoding)
            if item is _ABSENT:
                item = absent
            if item is not _ABSENT:
                result.append(item)
        path.pop()
        return result

    if plan.kind is Kind.NUMBER:
        return lambda data, encoding: encode([data[at : at + 8] for at in range(0, len(data), 8)], encoding)
    if plan.kind in PACKED_KINDS:
        return lambda data, encoding: encode(list(read_numbers(data)), encoding)
    return encode


def _message_converter(plan: MessagePlan, camel: bool) -> _Convert:
    if plan.form is Form.OBJECT:
        return _object_encoder(plan, camel).encode
    if plan.form is Form.ARRAY:
        assert plan.item is not None  # noqa: S101 - a plan of this form has one
        return _array_converter(plan, plan.item, camel)
    return _union_converter(plan, camel)


def _array_converter(plan: MessagePlan, item: FieldPlan, camel: bool) -> _Convert:
    convert = _converter(item, plan, camel)
    item_tag = field_tag(item)
    list_tags = _list_tags((item,))

    def encode(data: bytes, encoding: Encoding) -> list[Any]:
        result: list[Any] = []
        unknown = []
        for tag, value in split_fields(data, list_tags):
            if tag == item_tag:
                result = convert(value, encoding)
            else:
                unknown.append(tag)
        if unknown:
            encoding.lose_fields(plan.message_class, unknown)
        return result

    return encode


def _union_converter(plan: MessagePlan, camel: bool) -> _Convert:
    converters = {field_tag(field): _alternative_converter(plan, field, camel) for field in plan.alternatives}
    scalars = {
        field_tag(field): _SCALARS[field.kind] for field in plan.alternatives if field.kind in _SCALARS
    }

    @functools.lru_cache(REMEMBERED_MAX)
    def read_scalar(data: bytes) -> Any:
        """Return the value of a plain scalar; None for any other."""
        pairs = split_fields(data)
        tag, value = pairs[0] if len(pairs) == 1 else (0, None)
        return scalars[tag](value) if tag in scalars else None

    def encode(data: bytes, encoding: Encoding) -> Any:
        if scalars and len(data) <= REMEMBERED_BYTES_MAX:
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
            encoding.lose_fields(plan.message_class, unknown)
        if convert is not None:
            return convert(value, encoding)
        if unknown or encoding.has_dropped:
            # An alternative of a newer contract is left out, and the document goes on. Where errors are
            # collected it keeps its place, so that the paths after it are right.
            return {} if encoding.collects else _ABSENT
        names = ", ".join(field.name for field in plan.alternatives if field is not plan.unknown)
        return encoding.stand_in(
            {}, f"expected an alternative of {plan.name}, found none; set one of {names}"
        )

    return encode


def _alternative_converter(plan: MessagePlan, field: FieldPlan, camel: bool) -> _Convert:
    """Return the conversion of one alternative of a union, which adds its tag if it has one.

    A message that came from JSON has its tag already; one that a program made may leave it unset.
    """
    convert = _converter(field, plan, camel)
    discriminator = plan.discriminator
    if discriminator is None or field.message is None:
        return convert
    known_tag = next(tag for tag, alternative in plan.tags.items() if alternative is field)
    constant = field.message.by_name[discriminator].fields[0].constant

    def encode(data: bytes, encoding: Encoding) -> dict[str, Any]:
        value: dict[str, Any] = convert(data, encoding)
        tag = value.get(discriminator, _ABSENT)
        if tag is _ABSENT:
            return value if field is plan.untagged else {discriminator: known_tag, **value}
        if constant is not None and tag != constant:
            encoding.path.append(discriminator)
            encoding.note(f'expected the string "{constant}", found {describe_tag(tag)}')
            encoding.path.pop()
        return value

    return encode
