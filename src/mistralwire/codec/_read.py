"""Reading any JSON object into the wire bytes of a message: the engine that knows every rule and error.

For each plan a reader is made when it is first used: a table with a function for each JSON name and type of
value, which turns a parsed value into a field on the wire, tag included. Where there is none, or the function
returns no plain bytes, the value is kept as JSON, or is a violation. The path of a violation is put together
while it is returned through the levels, so that a valid document pays nothing for it.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import decimal
import functools
import math
import struct
from collections.abc import Callable, Sized
from typing import Any

from mistralwire._varint import write_varint
from mistralwire.codec._limits import Limits
from mistralwire.codec._parse import Infinite, Number, exact_integer, to_text, too_deep
from mistralwire.codec._path import join_path
from mistralwire.codec._plan import (
    EXTRA_NUMBER,
    PACKED_KINDS,
    UNLISTED,
    FieldPlan,
    Fill,
    Form,
    Kind,
    MemberPlan,
    MessagePlan,
    empty_object,
    wire_tag,
)
from mistralwire.errors import DecodeError, Violation
from mistralwire.v1 import JsonExtra

# Integers up to here are doubles.
_EXACT_INTEGER_MAX = 2**53
_REMEMBERED_MAX = 4_096
_EXTRA_TAG = bytes((EXTRA_NUMBER << 3 | 2,))
_MEMBERS_TAG = bytes((JsonExtra.DESCRIPTOR.fields_by_name["members"].number << 3 | 2,))
_JSON_TYPES: tuple[type, ...] = (dict, list, str, int, float, Number, Infinite, bool, type(None))
_VARINT_MASK = 2**64 - 1
# Names of their own: members of an enum are found slowly before Python 3.12.
_NULL, _ARRAY = Fill.NULL, Fill.ARRAY

_write_double = struct.Struct("<d").pack
_varint = functools.lru_cache(_REMEMBERED_MAX)(write_varint)


class _Beside(bytes):
    """The wire form of a value whose JSON is kept too: an unlisted string, a number that is no double."""


_EMPTY = _Beside()
"""An array without elements: nothing on the wire."""

# What becomes of a value: its field on the wire; None if it is kept as JSON instead; or, when validating, the
# index of the first violation in it.
_Result = bytes | int | None
_Read = Callable[[Any, "_Reading"], _Result]
# A function for each type of value that a field can hold.
_Readers = dict[type, _Read]


def read_document(
    plan: MessagePlan, value: Any, *, validate: bool, limits: Limits, complete: bool = False
) -> bytes:
    """Return the wire bytes of the message for a parsed document, as protobuf itself would write them.

    Args:
        plan: Plan of a message that is a JSON object.
        value: The parsed JSON.
        validate: Whether to enforce the contract; otherwise every object is accepted.
        limits: Only the bound on violations counts here.
        complete: Whether members that a program is expected to set count as required.

    Raises:
        DecodeError: If the top level is no object, or the contract is enforced and broken.
    """
    if type(value) is not dict:
        raise DecodeError([Violation("", "an object", describe(value))], type_name=plan.name)
    reading = _Reading(validate, limits.violations_max, complete)
    try:
        wire = _object_reader(plan).read(value, reading)
    except RecursionError:
        raise too_deep(plan.name) from None
    if isinstance(wire, bytes):
        return wire
    raise DecodeError(reading.found(), type_name=plan.name, truncated=reading.is_full)


def describe(value: Any) -> str:
    """Say what a JSON value is, without showing text that may be private."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() | float():
            return f"the number {str(value)[:40]}"
        case Number():
            return f"the number {value.text[:40]}"
        case str():
            return f"a string of {_count(value, 'character')}" if value else "an empty string"
        case list():
            return f"an array of {_count(value, 'element')}" if value else "an empty array"
        case _:
            return f"an object with {_count(value, 'member')}" if value else "an empty object"


def _count(value: Sized, name: str) -> str:
    return f"1 {name}" if len(value) == 1 else f"{len(value)} {name}s"


def quoted(value: Any) -> str:
    """Describe what stands where a fixed string is due: a short string is shown."""
    is_short = isinstance(value, str) and len(value) <= 32
    return f"the string {to_text(value).decode()}" if is_short else describe(value)


class _Reading:
    """One reading of a document: how strict it is, and its violations.

    Args:
        validate: Whether to enforce the contract.
        violations_max: How many violations to look for.
        complete: Whether members that a program is expected to set count as required.

    Attributes:
        is_full: Whether more violations were found than are looked for: nothing more is read.
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
        """Return what becomes of a value that breaks the contract."""
        if not self.validate:
            return None
        index = len(self._violations)
        if index == self._violations_max:
            self.is_full = True
        else:
            self._violations.append(([], expected, description(value)))
        return index

    def note(self, first: int | None, index: int | None, step: str | int) -> int | None:
        """Put a step before the paths of the violations from an index on; return the lower index."""
        if index is None:
            return first
        for path, _, _ in self._violations[index:]:
            path.append(step)
        return index if first is None else first

    def found(self) -> list[Violation]:
        """Return the violations."""
        return [
            Violation(join_path(path[::-1]), expected, found) for path, expected, found in self._violations
        ]


class _ObjectReader:
    """Reads the objects of one message.

    Args:
        plan: Plan of the message.
    """

    def __init__(self, plan: MessagePlan) -> None:
        self._plan = plan
        required = frozenset(member.name for member in plan.members if member.required)
        expected = required.union(member.name for member in plan.members if member.expected)
        # By whether members that a program is expected to set count as required.
        self._required = (required, expected)
        # The members whose absence is noted.
        self._filled = [
            (member.number, member.name, member.camel) for member in plan.members if member.fill is not None
        ]
        self._empty = empty_object(plan)
        # Nothing for JsonExtra and each field of the message.
        self._no_fields = [b""] * (1 + sum(len(member.fields) for member in plan.members))

    @functools.cached_property
    def _readers(self) -> dict[str, dict[type, tuple[int, _Read]]]:
        """By snake_case name and type of value, the place on the wire of its field, and what reads it."""
        # Made when the first object is read, so that a recursive type finds its readers.
        numbers = sorted(field.number for member in self._plan.members for field in member.fields)
        return {
            member.name: {
                json_type: (numbers.index(field.number) + 1, read)
                for field in reversed(member.fields)
                for json_type, read in _field_readers(field).items()
                if json_type is not type(None)  # null is noted, whatever the field holds
            }
            for member in self._plan.members
        }

    def read(self, value: dict[str, Any], reading: _Reading) -> _Result:
        """Return the message on the wire, or the index of the first violation in it."""
        if not value and not reading.validate:
            return self._empty
        readers = self._readers
        fields = self._no_fields.copy()
        kept: dict[str, Any] = {}
        nulls: tuple[int, ...] = ()
        empties: tuple[int, ...] = ()
        first: int | None = None
        for name, item in value.items():
            by_type = readers.get(name)
            member = None
            if by_type is None:
                member = self._plan.by_name.get(name)
                if member is None:
                    kept[name] = item
                    continue
                # The other spelling wins where an object has both.
                by_type = {} if member.name in value else readers[member.name]
            result: _Result = None
            found = by_type.get(item.__class__)
            if found is not None:
                place, read = found
                result = read(item, reading)
                if result.__class__ is bytes:
                    fields[place] = result
                    continue
            member = member or self._plan.by_name[name]
            if name != member.name and member.name in value:
                kept[name] = item
                expected = f"one spelling of the member, {member.name} or {name}"
                result = reading.refuse(expected, item, lambda _: "both")
            elif item is None:
                if member.fill is not _NULL:
                    nulls += (member.number,)
                if reading.validate:
                    result = _refuse_null(member, reading)
            elif result is _EMPTY:
                if member.fill is not _ARRAY:
                    empties += (member.number,)
                continue
            else:
                kept[member.name] = item
                if found is None:
                    result = reading.refuse(_expected(member), item)
                elif isinstance(result, _Beside):
                    fields[place] = result
                    continue
            if isinstance(result, int):
                first = reading.note(first, result, name)
                if reading.is_full:
                    return first
        if reading.validate and not value.keys() >= self._required[reading.complete]:
            first = self._refuse_absent(value, reading, first)
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

    def _refuse_absent(self, value: dict[str, Any], reading: _Reading, first: int | None) -> int | None:
        """Refuse an object for the required members that it lacks; return the first violation in it."""
        for member in self._plan.members:
            if not _is_required(member, reading) or member.name in value or member.camel in value:
                continue
            result = reading.refuse(_expected(member), None, lambda _: "nothing: the member is required")
            first = reading.note(first, result, member.name)
            if reading.is_full:
                break
        return first


_object_reader = functools.cache(_ObjectReader)


def _is_required(member: MemberPlan, reading: _Reading) -> bool:
    return member.required or (reading.complete and member.expected)


def _refuse_null(member: MemberPlan, reading: _Reading) -> int | None:
    """Return what becomes of null, which is noted in any case."""
    if not _is_required(member, reading) or (member.nullable and not (reading.complete and member.expected)):
        return None
    return reading.refuse(_expected(member), None)


def _extra_wire(
    members: dict[str, Any], nulls: tuple[int, ...], empties: tuple[int, ...], absents: tuple[int, ...]
) -> bytes:
    """Return JsonExtra as a field on the wire."""
    data = b""
    if members:
        text = to_text(members)
        data = _MEMBERS_TAG + _varint(len(text)) + text
    if nulls or empties or absents:
        data += _numbers_wire(nulls, empties, absents)
    return _EXTRA_TAG + _varint(len(data)) + data


@functools.lru_cache(_REMEMBERED_MAX)
def _numbers_wire(nulls: tuple[int, ...], empties: tuple[int, ...], absents: tuple[int, ...]) -> bytes:
    extra = JsonExtra(null_fields=sorted(nulls), empty_fields=sorted(empties), absent_fields=absents)
    return extra.SerializeToString()


def _field_readers(field: FieldPlan) -> _Readers:
    """Return the functions that read a field, by the type of the value."""
    if field.repeated:
        return {list: _list_reader(field, _EMPTY)}
    return _value_readers(field, wire_tag(field))


def _value_readers(field: FieldPlan, tag: bytes) -> _Readers:
    """Return the functions that read a field that is not repeated, or an element of one that is."""
    match field.kind:
        case Kind.STRING:
            return {str: _string_reader(field, tag)}
        case Kind.INTEGER:
            return _integer_readers(field, tag)
        case Kind.NUMBER:
            return _number_readers(tag)
        case Kind.BOOLEAN:
            wires = {False: tag + b"\0", True: tag + b"\1"}
            return {bool: lambda item, _: wires[item]}
        case Kind.ENUM:
            return {str: _enum_reader(field, tag)}
        case Kind.TEXT_OBJECT:
            return {dict: _text_reader(tag)}
        case Kind.TEXT_ANY:
            return dict.fromkeys(_JSON_TYPES, _text_reader(tag))
        case _:
            assert field.message is not None  # noqa: S101 - a field of this kind has one
            readers = _message_readers(field.message)
            readers = {json_type: _in_message(tag, read) for json_type, read in readers.items()}
            return readers | {int: _remembering(readers[int])} if int in readers else readers


def _refusal(expected: str) -> _Read:
    return lambda item, reading: reading.refuse(expected, item)


def _string_reader(field: FieldPlan, tag: bytes) -> _Read:
    constant = field.constant

    def read(item: str, reading: _Reading) -> _Result:
        try:
            text = item.encode()
        except UnicodeEncodeError:
            return reading.refuse("Unicode text", item, lambda _: "a string with a lone surrogate")
        if constant is not None and reading.validate and item != constant:
            return reading.refuse(f'the string "{constant}"', item, quoted)
        return tag + _varint(len(text)) + text

    return read


def _integer_readers(field: FieldPlan, tag: bytes) -> _Readers:
    sign_bit = field.bits - 1
    end = 1 << sign_bit

    def read(item: int, reading: _Reading) -> _Result:
        if -end <= item < end:
            return tag + _varint(item & _VARINT_MASK)
        return reading.refuse(f"an integer from -2^{sign_bit} to 2^{sign_bit}-1", item)

    def read_float(item: float, reading: _Reading) -> _Result:
        if not item.is_integer():
            return refuse(item, reading)
        # What its text says, which beyond 2^53 is not what the float is: 47e17 is 4700000000000000000.
        return read(int(decimal.Decimal(repr(item))), reading)

    def read_text(item: Number, reading: _Reading) -> _Result:
        # No double is the integer that it stands for, such as 9007199254740993.0.
        value = exact_integer(item.text)
        if value is None or not -end <= value < end:
            return refuse(item, reading)
        return read(value, reading)

    refuse = _refusal(f"a {field.bits}-bit integer")
    return {int: read, float: read_float, Number: read_text, Infinite: refuse}


def _number_readers(tag: bytes) -> _Readers:
    def read(item: float, _: _Reading) -> _Result:
        return tag + _write_double(item)

    def read_integer(item: int, _: _Reading) -> _Result:
        number = float(item)
        wire = tag + _write_double(number)
        # What will be written is the shortest text of the double, which beyond 2^53 is not its value.
        is_exact = abs(item) <= _EXACT_INTEGER_MAX or decimal.Decimal(repr(number)) == item
        return wire if is_exact else _Beside(wire)

    def read_inexact(item: Number, reading: _Reading) -> _Result:
        number = float(item.text)
        if math.isinf(number):
            return reading.refuse("a number within the range of a double", item)
        # The nearest double for those who compute, the exact text for those who pass it on.
        return _Beside(tag + _write_double(number))

    return {
        float: read,
        int: read_integer,
        Number: read_inexact,
        Infinite: lambda item, _: tag + _write_double(item.double),
    }


def _enum_reader(field: FieldPlan, tag: bytes) -> _Read:
    wires: dict[str, bytes] = {
        string: tag + write_varint(number) for string, number in field.enum_numbers.items()
    }
    # Enums are open: a string that is not documented yet is no violation.
    unlisted = _Beside(tag + write_varint(UNLISTED))
    return lambda item, _: wires.get(item, unlisted)


def _text_reader(tag: bytes) -> _Read:
    def read(item: Any, _: _Reading) -> _Result:
        text = to_text(item)
        return tag + _varint(len(text)) + text

    return read


def _list_reader(field: FieldPlan, nothing: bytes) -> _Read:
    """Return the function that reads an array: all elements or none, or `nothing` where there are none."""
    tag = wire_tag(field)
    is_packed = field.kind in PACKED_KINDS
    readers: _Readers = dict.fromkeys(_JSON_TYPES, _refusal(_expected_field(field)))
    readers |= _value_readers(field, b"" if is_packed else tag)
    refuse_inexact = _refusal("a number that a double holds exactly")

    def read(items: list[Any], reading: _Reading) -> _Result:
        if not items:
            return nothing
        wires: list[bytes] = []
        is_misfit = False
        first: int | None = None
        for index, item in enumerate(items):
            result = readers[item.__class__](item, reading)
            if result.__class__ is bytes:
                wires.append(result)
                continue
            if not reading.validate:
                return None
            is_misfit = True
            if result.__class__ is _Beside and field.kind is Kind.NUMBER:
                result = refuse_inexact(item, reading)
            if isinstance(result, int):
                first = reading.note(first, result, index)
                if reading.is_full:
                    return first
        if is_misfit:
            return first
        data = b"".join(wires)
        return tag + _varint(len(data)) + data if is_packed else data

    return read


def _in_message(tag: bytes, read: _Read) -> _Read:
    """Return a function that reads what is inside a message, and gives the message as a field."""

    def read_message(item: Any, reading: _Reading) -> _Result:
        data = read(item, reading)
        if data.__class__ is bytes:
            return tag + _varint(len(data)) + data
        return None if data.__class__ is _Beside else data

    return read_message


def _remembering(read: _Read) -> _Read:
    """Return a function that reads integers, and remembers the wire form of those with a short text."""
    known: dict[int, bytes] = {}

    def read_integer(item: int, reading: _Reading) -> _Result:
        wire = known.get(item)
        if wire is not None:
            return wire
        result = read(item, reading)
        if -100 < item < 1_000 and isinstance(result, bytes):
            known[item] = result
        return result

    return read_integer


def _message_readers(plan: MessagePlan) -> _Readers:
    """Return the functions that read what is inside a message, by the type of the value."""
    if plan.form is Form.OBJECT:
        return {dict: _object_reader(plan).read}
    if plan.form is Form.ARRAY:
        assert plan.item is not None  # noqa: S101 - a plan of this form has one
        return {list: _list_reader(plan.item, b"")}
    if plan.discriminator is not None:
        return {dict: _tagged_reader(plan, plan.discriminator)}
    readers: _Readers = {}
    for field in reversed(plan.alternatives):
        readers |= _field_readers(field)
    return readers


def _tagged_reader(plan: MessagePlan, discriminator: str) -> _Read:
    """Return the function that reads an object of a union by its tag."""
    assert plan.unknown is not None  # noqa: S101 - a plan with a discriminator has one
    by_tag: dict[str | None, _Read] = {tag: _field_readers(field)[dict] for tag, field in plan.tags.items()}
    read_unknown = _field_readers(plan.unknown)[dict]
    if plan.untagged is not None:
        by_tag[None] = _field_readers(plan.untagged)[dict]

    def read(item: dict[str, Any], reading: _Reading) -> _Result:
        tag = item.get(discriminator)
        if tag is None or tag.__class__ is str:
            return by_tag.get(tag, read_unknown)(item, reading)
        if not reading.validate:
            return read_unknown(item, reading)
        return reading.note(None, reading.refuse("a string", tag), discriminator)

    return read


def _expected(member: MemberPlan) -> str:
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
