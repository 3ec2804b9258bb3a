"""From any parsed JSON object to the wire bytes of a message: the engine that has every rule and error.

Each plan gets a decoder when it is first used: a table with one function per JSON name and type of value,
which turns a parsed value into a field on the wire, tag included. Where there is no function, or it returns
anything but plain bytes, the value is kept as JSON or is a violation. A violation collects its path while it
returns through the levels, so a valid document pays nothing for it.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import decimal
import functools
import math
import struct
from collections.abc import Callable
from typing import Any

from mistralwire._protobuf import write_varint
from mistralwire.codec._limits import Limits, stack_error
from mistralwire.codec._plan import (
    EXTRA_TAG,
    PACKED_KINDS,
    UNLISTED,
    FieldPlan,
    Fill,
    Form,
    Kind,
    MemberPlan,
    MessagePlan,
    empty_object,
    field_tag,
)
from mistralwire.codec._python._describe import describe, describe_tag, join_path
from mistralwire.codec._python._number import Infinite, Number, exact_integer
from mistralwire.codec._python._parse import to_text
from mistralwire.codec._python._wire import MEMBERS_TAG, REMEMBERED_MAX
from mistralwire.errors import DecodeError, Violation
from mistralwire.v1 import JsonExtra

# Every integer up to here is a double.
_EXACT_INTEGER_MAX = 2**53
_EXTRA_TAG_BYTES, _MEMBERS_TAG_BYTES = bytes((EXTRA_TAG,)), bytes((MEMBERS_TAG,))
_JSON_TYPES: tuple[type, ...] = (dict, list, str, int, float, Number, Infinite, bool, type(None))
_VARINT_MASK = 2**64 - 1
# Bound here because enum members are looked up slowly before Python 3.12.
_FILL_NULL, _FILL_ARRAY = Fill.NULL, Fill.ARRAY

_double = struct.Struct("<d").pack
_varint = functools.lru_cache(REMEMBERED_MAX)(write_varint)


class _Beside(bytes):
    """The wire form of a value whose JSON is kept too: an unlisted string, a number that is not a double."""


_EMPTY = _Beside()
"""An array without elements: nothing on the wire."""

# The result for a value: its field on the wire; None if it is kept as JSON instead; or, with validation, the
# index of the first violation in it.
_Result = bytes | int | None
_Decode = Callable[[Any, "_Decoding"], _Result]
# One function for each type of value that a field can hold.
_Decoders = dict[type, _Decode]


def document_to_binary(
    plan: MessagePlan, document: Any, *, validate: bool, limits: Limits, complete: bool = False
) -> bytes:
    """Convert a parsed document to the wire bytes of its message, exactly as protobuf would serialize it.

    Only the bound on violations of `limits` applies here. With `complete`, members that a program is expected
    to set are required.

    Raises:
        DecodeError: If the top level is not an object, or the contract is enforced and broken.
    """
    if type(document) is not dict:
        raise DecodeError([Violation("", "an object", describe(document))], type_name=plan.name)
    decoding = _Decoding(validate, limits.violations_max, complete)
    try:
        wire = _object_decoder(plan).decode(document, decoding)
    except RecursionError:
        raise stack_error(plan.name) from None
    if isinstance(wire, bytes):
        return wire
    raise DecodeError(decoding.violations(), type_name=plan.name, truncated=decoding.is_full)


class _Decoding:
    """The state of one conversion: how strict it is, and the violations found so far.

    Attributes:
        is_full: Whether there are more violations than are collected: the conversion stops.
    """

    __slots__ = ("_violations", "_violations_max", "complete", "is_full", "validate")

    def __init__(self, validate: bool, violations_max: int, complete: bool) -> None:
        self.validate = validate
        self.complete = complete
        self.is_full = False
        self._violations_max = violations_max
        # Each with its path, last step first.
        self._violations: list[tuple[list[str | int], str, str]] = []

    def refuse(self, expected: str, value: Any, description: Callable[[Any], str] = describe) -> int | None:
        """Return the result for a value that breaks the contract, and collect the violation."""
        if not self.validate:
            return None
        index = len(self._violations)
        if index == self._violations_max:
            self.is_full = True
        else:
            self._violations.append(([], expected, description(value)))
        return index

    def note(self, first: int | None, index: int | None, step: str | int) -> int | None:
        """Prepend a step to the paths of the violations from an index on; return the lower index."""
        if index is None:
            return first
        for path, _, _ in self._violations[index:]:
            path.append(step)
        return index if first is None else first

    def violations(self) -> list[Violation]:
        return [
            Violation(join_path(path[::-1]), expected, found) for path, expected, found in self._violations
        ]


class _ObjectDecoder:
    """Converts the objects of one message."""

    def __init__(self, plan: MessagePlan) -> None:
        self._plan = plan
        required = frozenset(member.name for member in plan.members if member.required)
        expected = required.union(member.name for member in plan.members if member.expected)
        # By whether members that a program is expected to set are required.
        self._required = (required, expected)
        # The members whose absence is noted.
        self._filled = [
            (member.number, member.name, member.camel) for member in plan.members if member.fill is not None
        ]
        self._empty = empty_object(plan)
        # An empty place for JsonExtra and for each field of the message.
        self._no_fields = [b""] * (1 + sum(len(member.fields) for member in plan.members))

    @functools.cached_property
    def _decoders(self) -> dict[str, dict[type, tuple[int, _Decode]]]:
        """By snake_case name and type of value: the position of the field on the wire, and its function."""
        # Made when the first object is converted, so that a recursive type finds its own decoders.
        numbers = sorted(field.number for member in self._plan.members for field in member.fields)
        return {
            member.name: {
                json_type: (numbers.index(field.number) + 1, decode)
                for field in reversed(member.fields)
                for json_type, decode in _field_decoders(field).items()
                if json_type is not type(None)  # null is noted, whatever the field holds
            }
            for member in self._plan.members
        }

    def decode(self, value: dict[str, Any], decoding: _Decoding) -> _Result:
        """Return the message on the wire, or the index of the first violation in it."""
        if not value and not decoding.validate:
            return self._empty
        decoders = self._decoders
        fields = self._no_fields.copy()
        kept: dict[str, Any] = {}
        nulls: tuple[int, ...] = ()
        empties: tuple[int, ...] = ()
        first: int | None = None
        for name, item in value.items():
            by_type = decoders.get(name)
            member = None
            if by_type is None:
                member = self._plan.by_name.get(name)
                if member is None:
                    kept[name] = item
                    continue
                # The other spelling wins where an object has both.
                by_type = {} if member.name in value else decoders[member.name]
            result: _Result = None
            found = by_type.get(item.__class__)
            if found is not None:
                place, decode = found
                result = decode(item, decoding)
                if result.__class__ is bytes:
                    fields[place] = result
                    continue
            member = member or self._plan.by_name[name]
            if name != member.name and member.name in value:
                kept[name] = item
                expected = f"one spelling of the member, {member.name} or {name}"
                result = decoding.refuse(expected, item, lambda _: "both")
            elif item is None:
                if member.fill is not _FILL_NULL:
                    nulls += (member.number,)
                if decoding.validate:
                    result = _null_result(member, decoding)
            elif result is _EMPTY:
                if member.fill is not _FILL_ARRAY:
                    empties += (member.number,)
                continue
            else:
                kept[member.name] = item
                if found is None:
                    result = decoding.refuse(_expected_member(member), item)
                elif isinstance(result, _Beside):
                    fields[place] = result
                    continue
            if isinstance(result, int):
                first = decoding.note(first, result, name)
                if decoding.is_full:
                    return first
        if decoding.validate and not value.keys() >= self._required[decoding.complete]:
            first = self._refuse_absent(value, decoding, first)
        if first is not None:
            return first
        absents: tuple[int, ...] = ()
        if self._filled:
            absents = tuple(
                [number for number, name, camel in self._filled if name not in value and camel not in value]
            )
        if kept or nulls or empties or absents:
            fields[0] = _extra_wire(kept, nulls, empties, absents)
        return b"".join(fields)

    def _refuse_absent(self, value: dict[str, Any], decoding: _Decoding, first: int | None) -> int | None:
        """Refuse an object for each required member that it lacks; return the first violation in it."""
        for member in self._plan.members:
            if not _is_required(member, decoding) or member.name in value or member.camel in value:
                continue
            result = decoding.refuse(
                _expected_member(member), None, lambda _: "nothing: the member is required"
            )
            first = decoding.note(first, result, member.name)
            if decoding.is_full:
                break
        return first


_object_decoder = functools.cache(_ObjectDecoder)


def _is_required(member: MemberPlan, decoding: _Decoding) -> bool:
    return member.required or (decoding.complete and member.expected)


def _null_result(member: MemberPlan, decoding: _Decoding) -> int | None:
    """Return the result for a null, which JsonExtra notes in any case."""
    if not _is_required(member, decoding) or (
        member.nullable and not (decoding.complete and member.expected)
    ):
        return None
    return decoding.refuse(_expected_member(member), None)


def _extra_wire(
    members: dict[str, Any], nulls: tuple[int, ...], empties: tuple[int, ...], absents: tuple[int, ...]
) -> bytes:
    """Return a JsonExtra as a field on the wire."""
    data = b""
    if members:
        text = to_text(members)
        data = _MEMBERS_TAG_BYTES + _varint(len(text)) + text
    if nulls or empties or absents:
        data += _notes_wire(nulls, empties, absents)
    return _EXTRA_TAG_BYTES + _varint(len(data)) + data


@functools.lru_cache(REMEMBERED_MAX)
def _notes_wire(nulls: tuple[int, ...], empties: tuple[int, ...], absents: tuple[int, ...]) -> bytes:
    extra = JsonExtra(null_fields=sorted(nulls), empty_fields=sorted(empties), absent_fields=absents)
    return extra.SerializeToString()


def _field_decoders(field: FieldPlan) -> _Decoders:
    if field.repeated:
        return {list: _list_decoder(field, _EMPTY)}
    return _value_decoders(field, write_varint(field_tag(field)))


def _value_decoders(field: FieldPlan, tag: bytes) -> _Decoders:
    """Return the functions for a field that is not repeated, or for an element of one that is."""
    match field.kind:
        case Kind.STRING:
            return {str: _string_decoder(field, tag)}
        case Kind.INTEGER:
            return _integer_decoders(field, tag)
        case Kind.NUMBER:
            return _number_decoders(tag)
        case Kind.BOOLEAN:
            wires = {False: tag + b"\0", True: tag + b"\1"}
            return {bool: lambda item, _: wires[item]}
        case Kind.ENUM:
            return {str: _enum_decoder(field, tag)}
        case Kind.TEXT_OBJECT:
            return {dict: _text_decoder(tag)}
        case Kind.TEXT_ANY:
            return dict.fromkeys(_JSON_TYPES, _text_decoder(tag))
        case _:
            assert field.message is not None  # noqa: S101 - a field of this kind has one
            decoders = _message_decoders(field.message)
            decoders = {json_type: _in_message(tag, decode) for json_type, decode in decoders.items()}
            return decoders | {int: _remembering(decoders[int])} if int in decoders else decoders


def _refuser(expected: str) -> _Decode:
    return lambda item, decoding: decoding.refuse(expected, item)


def _string_decoder(field: FieldPlan, tag: bytes) -> _Decode:
    constant = field.constant

    def decode(item: str, decoding: _Decoding) -> _Result:
        try:
            text = item.encode()
        except UnicodeEncodeError:
            return decoding.refuse("Unicode text", item, lambda _: "a string with a lone surrogate")
        if constant is not None and decoding.validate and item != constant:
            return decoding.refuse(f'the string "{constant}"', item, describe_tag)
        return tag + _varint(len(text)) + text

    return decode


def _integer_decoders(field: FieldPlan, tag: bytes) -> _Decoders:
    sign_bit = field.bits - 1
    end = 1 << sign_bit

    def decode(item: int, decoding: _Decoding) -> _Result:
        if -end <= item < end:
            return tag + _varint(item & _VARINT_MASK)
        return decoding.refuse(f"an integer from -2^{sign_bit} to 2^{sign_bit}-1", item)

    def decode_float(item: float, decoding: _Decoding) -> _Result:
        if not item.is_integer():
            return refuse(item, decoding)
        # The value of its text, which may differ from the float's beyond 2^53: 47e17 is 4700000000000000000.
        return decode(int(decimal.Decimal(repr(item))), decoding)

    def decode_text(item: Number, decoding: _Decoding) -> _Result:
        # An integer that no double holds, such as 9007199254740993.0.
        value = exact_integer(item.text)
        if value is None or not -end <= value < end:
            return refuse(item, decoding)
        return decode(value, decoding)

    refuse = _refuser(f"a {field.bits}-bit integer")
    return {int: decode, float: decode_float, Number: decode_text, Infinite: refuse}


def _number_decoders(tag: bytes) -> _Decoders:
    def decode(item: float, _: _Decoding) -> _Result:
        return tag + _double(item)

    def decode_integer(item: int, _: _Decoding) -> _Result:
        number = float(item)
        wire = tag + _double(number)
        # to_json writes the shortest text of the double, which beyond 2^53 may be another integer.
        is_exact = abs(item) <= _EXACT_INTEGER_MAX or decimal.Decimal(repr(number)) == item
        return wire if is_exact else _Beside(wire)

    def decode_inexact(item: Number, decoding: _Decoding) -> _Result:
        number = float(item.text)
        if math.isinf(number):
            return decoding.refuse("a number within the range of a double", item)
        # The nearest double for programs that compute, the exact text for those that pass it on.
        return _Beside(tag + _double(number))

    return {
        float: decode,
        int: decode_integer,
        Number: decode_inexact,
        Infinite: lambda item, _: tag + _double(item.double),
    }


def _enum_decoder(field: FieldPlan, tag: bytes) -> _Decode:
    wires: dict[str, bytes] = {
        string: tag + write_varint(number) for string, number in field.enum_numbers.items()
    }
    # Enums are open: an undocumented string is not a violation.
    unlisted = _Beside(tag + write_varint(UNLISTED))
    return lambda item, _: wires.get(item, unlisted)


def _text_decoder(tag: bytes) -> _Decode:
    def decode(item: Any, _: _Decoding) -> _Result:
        text = to_text(item)
        return tag + _varint(len(text)) + text

    return decode


def _list_decoder(field: FieldPlan, nothing: bytes) -> _Decode:
    """Return the function for an array: all of its elements or none of them; `nothing` for an empty one."""
    tag = write_varint(field_tag(field))
    is_packed = field.kind in PACKED_KINDS
    decoders: _Decoders = dict.fromkeys(_JSON_TYPES, _refuser(_expected_field(field)))
    decoders |= _value_decoders(field, b"" if is_packed else tag)
    refuse_inexact = _refuser("a number that a double holds exactly")

    def decode(items: list[Any], decoding: _Decoding) -> _Result:
        if not items:
            return nothing
        wires: list[bytes] = []
        is_misfit = False
        first: int | None = None
        for index, item in enumerate(items):
            result = decoders[item.__class__](item, decoding)
            if result.__class__ is bytes:
                wires.append(result)
                continue
            if not decoding.validate:
                return None
            is_misfit = True
            if result.__class__ is _Beside and field.kind is Kind.NUMBER:
                result = refuse_inexact(item, decoding)
            if isinstance(result, int):
                first = decoding.note(first, result, index)
                if decoding.is_full:
                    return first
        if is_misfit:
            return first
        data = b"".join(wires)
        return tag + _varint(len(data)) + data if is_packed else data

    return decode


def _in_message(tag: bytes, decode: _Decode) -> _Decode:
    """Return a function that converts the content of a message, and returns the message as a field."""

    def decode_message(item: Any, decoding: _Decoding) -> _Result:
        data = decode(item, decoding)
        if data.__class__ is bytes:
            return tag + _varint(len(data)) + data
        return None if data.__class__ is _Beside else data

    return decode_message


def _remembering(decode: _Decode) -> _Decode:
    """Return a function that converts integers, and remembers the wire form of those with a short text."""
    known: dict[int, bytes] = {}

    def decode_integer(item: int, decoding: _Decoding) -> _Result:
        wire = known.get(item)
        if wire is not None:
            return wire
        result = decode(item, decoding)
        if -100 < item < 1_000 and isinstance(result, bytes):
            known[item] = result
        return result

    return decode_integer


def _message_decoders(plan: MessagePlan) -> _Decoders:
    if plan.form is Form.OBJECT:
        return {dict: _object_decoder(plan).decode}
    if plan.form is Form.ARRAY:
        assert plan.item is not None  # noqa: S101 - a plan of this form has one
        return {list: _list_decoder(plan.item, b"")}
    if plan.discriminator is not None:
        return {dict: _tagged_decoder(plan, plan.discriminator)}
    decoders: _Decoders = {}
    for field in reversed(plan.alternatives):
        decoders |= _field_decoders(field)
    return decoders


def _tagged_decoder(plan: MessagePlan, discriminator: str) -> _Decode:
    """Return the function for an object of a union, which selects the alternative by its tag."""
    assert plan.unknown is not None  # noqa: S101 - a plan with a discriminator has one
    by_tag: dict[str | None, _Decode] = {
        tag: _field_decoders(field)[dict] for tag, field in plan.tags.items()
    }
    decode_unknown = _field_decoders(plan.unknown)[dict]
    if plan.untagged is not None:
        by_tag[None] = _field_decoders(plan.untagged)[dict]

    def decode(item: dict[str, Any], decoding: _Decoding) -> _Result:
        tag = item.get(discriminator)
        if tag is None or tag.__class__ is str:
            return by_tag.get(tag, decode_unknown)(item, decoding)
        if not decoding.validate:
            return decode_unknown(item, decoding)
        return decoding.note(None, decoding.refuse("a string", tag), discriminator)

    return decode


def _expected_member(member: MemberPlan) -> str:
    names = [_expected_field(field, array=field.repeated) for field in member.fields]
    if member.nullable:
        names.append("null")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _expected_field(field: FieldPlan, *, array: bool = False) -> str:
    if array:
        return "an array"
    if field.message is None:
        return Kind.STRING.value if field.kind is Kind.ENUM else field.kind.value
    if field.message.form is Form.UNION and field.message.discriminator is None:
        return " or ".join(_expected_field(alternative) for alternative in field.message.alternatives)
    return Form.ARRAY.value if field.message.form is Form.ARRAY else Form.OBJECT.value
