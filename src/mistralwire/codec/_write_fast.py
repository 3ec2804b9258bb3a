"""Writing messages that are as they should be: functions compiled from the plans, over the wire bytes.

Reading the fields of a message one by one costs more in Python than anything else here. So a message is
serialised first, by protobuf's own fast code, and a compiled function walks over the bytes. It knows that
they come from protobuf itself: fields in the order of their numbers, each in its canonical form. JsonExtra
is field 1, so what was null, empty or absent is known before the fields. Anything else, and anything wrong,
is a `Bail`: the complete engine in `_write` then writes the message.
"""

import struct
import threading
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from mistralwire.codec._compile import NOT_FAST, Bail, define, indent
from mistralwire.codec._limits import DEPTH_MAX
from mistralwire.codec._parse import count_brackets, has_inexact_number, is_deeper
from mistralwire.codec._plan import (
    EXTRA_NUMBER,
    FieldPlan,
    Form,
    Kind,
    MemberPlan,
    MessagePlan,
    plan_for,
    wire_tag,
)
from mistralwire.codec._varint import read_varint
from mistralwire.codec._write import merge_members, tagged, wrong_tag
from mistralwire.v1 import JsonExtra

_LOOSE = frozenset((dict, list, float))
_REMEMBERED_MAX = 4_096
_FLAGS_BYTES_MAX = 64
_Walk = Callable[[bytes, int, int], dict[str, Any]]

# The tag of JsonExtra.members.
_MEMBERS_TAG = b"\n"

# Two bytes behind the message, so that looking at the next tag never runs over the end.
_END = b"\0\0"


# Varints of five bytes, such as times, come again and again: no varint is the beginning of another.
_times: dict[bytes, int] = {}


def _signed_varint(data: bytes, at: int) -> tuple[int, int]:
    known = _times.get(data[at : at + 5])
    if known is not None:
        return known, at + 5
    result, stop = read_varint(data, at)
    if stop - at == 5:
        if len(_times) >= _REMEMBERED_MAX:
            _times.clear()
        _times[data[at:stop]] = result
    return (result - 2**64 if result >= 2**63 else result), stop


# Numbers of the fields that were null, empty, and absent where they would be filled in.
_Flags = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
_flags: dict[bytes, _Flags] = {}


def _read_flags(data: bytes) -> _Flags:
    """Return the numbers in a JsonExtra without members; few combinations occur, so they are remembered."""
    extra = JsonExtra.FromString(data)
    if len(UnknownFieldSet(extra)):
        raise Bail
    found = (tuple(extra.null_fields), tuple(extra.empty_fields), tuple(extra.absent_fields))
    if len(data) <= _FLAGS_BYTES_MAX:
        if len(_flags) >= _REMEMBERED_MAX:
            _flags.clear()
        _flags[data] = found
    return found


def _read_extra(data: bytes) -> tuple[_Flags, dict[str, Any] | None]:
    """Return what a JsonExtra says: the numbers of fields, and the members."""
    if data[:1] != _MEMBERS_TAG:
        return _read_flags(data), None
    size, at = data[1], 2
    if size > 0x7F:
        size, at = read_varint(data, 1)
    text = data[at : at + size]
    members = orjson.loads(text)
    if members.__class__ is not dict:
        raise Bail
    for value in members.values():
        if value.__class__ in _LOOSE:
            _check_text(members, text)
            break
    rest = data[at + size :]
    return _flags.get(rest) or _read_flags(rest), members


def _check_text(value: Any, text: bytes) -> None:
    """Leave texts to the complete engine whose numbers or nesting need a closer look."""
    deep = count_brackets(text) > DEPTH_MAX and is_deeper(value, DEPTH_MAX)
    if deep or has_inexact_number(text):
        raise Bail


def _read_text(text: bytes) -> Any:
    value = orjson.loads(text)
    if value.__class__ in _LOOSE:
        _check_text(value, text)
    return value


def _read_object_text(text: bytes) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(text)
    if value.__class__ is not dict:
        raise Bail
    _check_text(value, text)
    return value


def _read_integers(data: bytes) -> list[int]:
    values = []
    at = 0
    while at < len(data):
        value, at = _signed_varint(data, at)
        values.append(value)
    return values


class FastWriter:
    """The fast engine for one spelling of names.

    Args:
        camel: Whether member names are lowerCamelCase.
    """

    def __init__(self, *, camel: bool) -> None:
        self._camel = camel
        self._lock = threading.Lock()
        self._by_class: dict[type[Message], _Walk] = {}
        self._names: dict[MessagePlan, str] = {}
        self._namespace: dict[str, Any] = {
            "Bail": Bail,
            "varint": read_varint,
            "signed_varint": _signed_varint,
            "double": struct.Struct("<d").unpack_from,
            "flags": _flags,
            "read_extra": _read_extra,
            "read_text": _read_text,
            "read_object_text": _read_object_text,
            "read_integers": _read_integers,
        }

    def write(self, message: Message) -> dict[str, Any] | None:
        """Write a message as parsed JSON that holds no `Number`.

        Returns:
            The JSON, or None if the complete engine is to write the message, or to say what is wrong.

        Raises:
            TypeError: If it is no message of the contract that is a JSON object.
        """
        walk = self._by_class.get(message.__class__)
        if walk is None:
            plan = plan_for(message.__class__)
            try:
                walk = self._by_class[message.__class__] = self._compile(plan)
            except RecursionError:
                return None
        wire = message.SerializeToString()
        try:
            return walk(wire + _END, 0, len(wire))
        except NOT_FAST:
            return None

    def _compile(self, plan: MessagePlan) -> _Walk:
        with self._lock:
            before = dict(self._names)
            try:
                walk: _Walk = self._namespace[self._function(plan)]
            except BaseException:
                # Interrupted, or the stack was full: nothing half made stays behind.
                self._names = before
                raise
            return walk

    def _function(self, plan: MessagePlan) -> str:
        name = self._names.get(plan)
        if name is None:
            # Named before it is written, so that a recursive type finds itself.
            name = self._names[plan] = f"write_{plan.name}_{len(self._names)}"
            body = {Form.OBJECT: self._object, Form.ARRAY: self._list, Form.UNION: self._union}[plan.form](
                plan
            )
            define(name, [f"def {name}(data, at, end):", *indent(body)], self._namespace)
        return name

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._namespace)}"
        self._namespace[name] = value
        return name

    def _object(self, plan: MessagePlan) -> list[str]:
        known = self._constant(frozenset(plan.by_name))
        merge = self._constant(self._merger(plan))
        lines = [
            "result = {}",
            "nulls = empties = absents = ()",
            "members = None",
            "tag = data[at] if at < end else 0",
        ]
        extra = [
            *_length_lines(1),
            "extra = data[at:stop]",
            "found = flags.get(extra)",
            "if found is None: found, members = read_extra(extra)",
            "nulls, empties, absents = found",
        ]
        lines += [f"if tag == {EXTRA_NUMBER << 3 | 2}:", *indent([*extra, "at = stop", _NEXT_TAG])]
        for member in plan.members:
            lines += self._member(member)
        lines += ["if at != end: raise Bail", "if members is not None:"]
        lines += indent(
            [
                f"if {known}.isdisjoint(members): result.update(members)",
                f"else: {merge}(result, members)",
            ]
        )
        return [*lines, "return result"]

    def _merger(self, plan: MessagePlan) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
        def merge(result: dict[str, Any], members: dict[str, Any]) -> dict[str, Any]:
            return merge_members(plan, result, members, camel=self._camel)

        return merge

    def _member(self, member: MemberPlan) -> list[str]:
        name = member.camel if self._camel else member.name
        lines: list[str] = []
        for field in sorted(member.fields, key=lambda field: field.number):
            target = f"result[{name!r}]"
            body = self._repeated(field, target) if field.repeated else self._value(field, target)
            keyword = "elif" if lines else "if"
            lines += [f"{keyword} {_tag_test(field)}:", *indent([*body, _NEXT_TAG])]
        if member.fields[0].repeated:
            lines.append(f"elif {member.number} in empties: result[{name!r}] = []")
        lines.append(f"elif {member.number} in nulls: result[{name!r}] = None")
        if member.fill is not None:
            value = repr(member.fill.value_of())
            unnoted = (
                f"{member.number} not in absents and (members is None or {member.name!r} not in members)"
            )
            lines.append(f"elif {unnoted}: result[{name!r}] = {value}")
        return lines

    def _repeated(self, field: FieldPlan, target: str) -> list[str]:
        if field.kind is Kind.INTEGER:
            skip = _tag_size(field)
            return [*_length_lines(skip), f"{target} = read_integers(data[at:stop])", "at = stop"]
        if field.kind not in (Kind.MESSAGE, Kind.STRING):
            return ["raise Bail"]
        loop = [
            f"while {_tag_test(field)}:",
            *indent([*self._value(field, "item"), "items.append(item)", _NEXT_TAG]),
        ]
        return [f"{target} = items = []", *loop]

    def _value(self, field: FieldPlan, target: str) -> list[str]:
        """Write the lines that read one field, tag included, into a target."""
        skip = _tag_size(field)
        match field.kind:
            case Kind.INTEGER:
                return [*_number_lines("value", skip, "signed_varint"), f"{target} = value"]
            case Kind.BOOLEAN:
                return [f"{target} = data[at + {skip}] == 1", f"at += {skip + 1}"]
            case Kind.ENUM:
                strings = self._constant(field.enum_strings)
                string = [f"string = {strings}.get(value)", "if string is None: raise Bail"]
                return [*_number_lines("value", skip, "varint"), *string, f"{target} = string"]
            case Kind.NUMBER:
                # The difference is NaN for NaN and for the infinities, which JSON does not have.
                finite = [f"value, = double(data, at + {skip})", "if value - value != 0: raise Bail"]
                return [*finite, f"{target} = value", f"at += {skip + 8}"]
            case Kind.STRING:
                read = "data[at:stop].decode()"
            case Kind.TEXT_ANY:
                read = "read_text(data[at:stop])"
            case Kind.TEXT_OBJECT:
                read = "read_object_text(data[at:stop])"
            case _:
                assert field.message is not None  # noqa: S101 - a field of this kind has one
                read = f"{self._function(field.message)}(data, at, stop)"
        return [*_length_lines(skip), f"{target} = {read}", "at = stop"]

    def _list(self, plan: MessagePlan) -> list[str]:
        assert plan.item is not None  # noqa: S101 - a plan of this form has one
        body = ["result = items = []", "tag = data[at] if at < end else 0"]
        body += [f"if {_tag_test(plan.item)}:", *indent([*self._repeated(plan.item, "result"), _NEXT_TAG])]
        return [*body, "if at != end: raise Bail", "return result"]

    def _union(self, plan: MessagePlan) -> list[str]:
        lines = ["tag = data[at] if at < end else 0"]
        for field in plan.alternatives:
            body = self._value(field, "result")
            if plan.discriminator is not None and field is not plan.unknown:
                add = self._constant(self._tagger(plan, field))
                tag = next(tag for tag, named in plan.tags.items() if named is field)
                body.append(f"if result.get({plan.discriminator!r}) != {tag!r}: result = {add}(result)")
            lines += [f"{'if' if len(lines) == 1 else 'elif'} {_tag_test(field)}:", *indent(body)]
        return [*lines, "else: raise Bail", "if at != end: raise Bail", "return result"]

    def _tagger(self, plan: MessagePlan, field: FieldPlan) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def add_tag(value: dict[str, Any]) -> dict[str, Any]:
            if wrong_tag(plan, field, value) is not None:
                raise Bail
            return tagged(plan, field, value)

        return add_tag


SNAKE = FastWriter(camel=False)
CAMEL = FastWriter(camel=True)

_NEXT_TAG = "tag = data[at] if at < end else 0"


def _length_lines(skip: int) -> list[str]:
    return [*_number_lines("size", skip, "varint"), "stop = at + size"]


def _number_lines(name: str, skip: int, function: str) -> list[str]:
    """Write the lines that read a varint behind a tag; one of a byte or two without a call."""
    first, second = f"data[at + {skip}]", f"data[at + {skip + 1}]"
    return [
        f"{name} = {first}",
        f"if {name} < 128: at += {skip + 1}",
        f"elif {second} < 128: {name} += ({second} << 7) - 128; at += {skip + 2}",
        f"else: {name}, at = {function}(data, at + {skip})",
    ]


def _tag_size(field: FieldPlan) -> int:
    return len(wire_tag(field))


def _tag_test(field: FieldPlan) -> str:
    first, *rest = wire_tag(field)
    return " and ".join(
        [f"tag == {first}", *(f"data[at + {at}] == {byte}" for at, byte in enumerate(rest, 1))]
    )
