"""Functions for the shapes of objects, compiled from the plans: from parsed JSON to protobuf wire form.

Wire bytes are put together as text with one character a byte (Latin-1) and encoded once at the end: Python
formats text faster than it joins bytes, and most strings of JSON are such text already.
"""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from mistralwire.codec._compile import Bail, define, indent
from mistralwire.codec._limits import DEPTH_MAX
from mistralwire.codec._parse import SMALL_BYTES, count_brackets, has_inexact_number
from mistralwire.codec._plan import (
    EXTRA_NUMBER,
    INT64_MAX,
    UNLISTED,
    FieldPlan,
    Fill,
    Form,
    Kind,
    MemberPlan,
    MessagePlan,
    wire_tag,
)
from mistralwire.codec._varint import write_varint

if TYPE_CHECKING:
    from mistralwire.codec._read_fast import Library

Read = Callable[[Any, list[Any]], str]

_REMEMBERED_MAX = 65_536
_LOOSE = frozenset((dict, list, float))


def _bail(_item: Any, _source: list[Any]) -> str:
    raise Bail


class _Varints(dict[int, str]):
    """Varints as text, remembered up to a bound: the same lengths, counts and times come again and again."""

    def __missing__(self, value: int) -> str:
        if value > INT64_MAX:
            raise Bail
        text = write_varint(value & 0xFFFF_FFFF_FFFF_FFFF).decode("latin-1")
        if len(self) >= _REMEMBERED_MAX:
            self.clear()
        self[value] = text
        return text


varints = _Varints()


def check_exact(source: list[Any]) -> None:
    """Leave documents to the complete engine whose numbers or nesting need a closer look.

    Only called where a float or a container of free-form JSON was met; looks at the text once.
    """
    if len(source) == 1:
        text = source[0]
        deep = len(text) <= SMALL_BYTES and count_brackets(text) > DEPTH_MAX
        source.append(deep or has_inexact_number(text))
    if source[1]:
        raise Bail


def make_union(plan: MessagePlan, library: "Library") -> Read:
    """Make the reader of a union."""
    return (_plain_union if plan.discriminator is None else _tagged_union)(plan, library)


def _tagged_union(plan: MessagePlan, library: "Library") -> Read:
    fields: list[tuple[str | None, FieldPlan]] = [*plan.tags.items()]
    if plan.untagged is not None:
        fields.append((None, plan.untagged))
    alternatives = {
        tag: (wire_tag(field).decode("latin-1"), library.shapes(field.message))
        for tag, field in fields
        if field.message is not None
    }
    sizes = library.sizes
    discriminator = plan.discriminator
    unknown = "" if plan.unknown is None else wire_tag(plan.unknown).decode("latin-1")

    def read(item: Any, source: list[Any]) -> str:
        if item.__class__ is not dict:
            raise Bail
        tag = item.get(discriminator)
        alternative = alternatives.get(tag)
        if alternative is None:
            if tag is not None and tag.__class__ is not str:
                raise Bail
            check_exact(source)
            start, text = unknown, orjson.dumps(item).decode("latin-1")
        else:
            start, shapes = alternative
            text = shapes[(*item,)](item, source)
        return f"{start}{sizes[len(text)]}{text}"

    return read


_PLAIN_CLASSES = {Kind.STRING: str, Kind.INTEGER: int, Kind.BOOLEAN: bool}


def _plain_union(plan: MessagePlan, library: "Library") -> Read:
    tags = {_PLAIN_CLASSES[field.kind]: wire_tag(field).decode("latin-1") for field in plan.alternatives}
    sizes = library.sizes

    def read(item: Any, _source: list[Any]) -> str:
        tag = tags.get(item.__class__)
        if tag is None or item.__class__ is bool:
            raise Bail
        if item.__class__ is int:
            return tag + varints[item]
        text = item.encode().decode("latin-1")
        return f"{tag}{sizes[len(text)]}{text}"

    return read


def compile_shape(plan: MessagePlan, shape: tuple[str, ...], library: "Library") -> Read:
    """Compile the reader of one shape, or return the one that always bails where the shape breaks a rule."""
    names = set(shape)
    members = [plan.by_name.get(name) for name in shape]
    both = any(m is not None and m.camel is not m.name and {m.name, m.camel} <= names for m in members)
    missing = any(m.required and m.name not in names and m.camel not in names for m in plan.members)
    if both or (library.validate and missing):
        return _bail
    absents = [
        member.number
        for member in plan.members
        if member.fill is not None and member.name not in names and member.camel not in names
    ]
    read: Read = _ShapeCompiler(library, shape, members, absents).compile(plan.name)
    return read


class _ShapeCompiler:
    """Writes the source of the reader of one shape.

    Value number n of the object is `vn` in it. The wire form of a member is written as the inside of an
    f-string: where only one type of value is accepted it goes into the final f-string as it is, otherwise
    each type has a branch that gives `wn`.
    """

    def __init__(
        self, library: "Library", shape: tuple[str, ...], members: list[MemberPlan | None], absents: list[int]
    ) -> None:
        self._library = library
        self._absents = "".join(varints[number] for number in absents)
        values = [f"v{at}" for at in range(len(shape))]
        triples = list(zip(values, shape, members, strict=True))
        self._values = values
        self._unknown = [(value, name) for value, name, member in triples if member is None]
        # In the order of their numbers, as protobuf writes fields, and nulls come sorted.
        known = [(value, member) for value, _, member in triples if member is not None]
        self._known = sorted(known, key=lambda pair: pair[1].number)
        self._aside_last = values.index(self._unknown[-1][0]) if self._unknown else -1
        self._namespace: dict[str, Any] = {
            "Bail": Bail,
            "dumps": orjson.dumps,
            "double": struct.Struct("<d").pack,
            "check_exact": check_exact,
            "LOOSE": _LOOSE,
            "varints": varints,
            "sizes": library.sizes,
        }

    def compile(self, type_name: str) -> Any:
        """Define the function."""
        body = [f"{', '.join(self._values)}, = item.values()"] if self._values else []
        pairs = ", ".join(f"{self._constant(name)}: {value}" for value, name in self._unknown)
        body += [f"if {value}.__class__ in LOOSE: check_exact(source)" for value, _ in self._unknown]
        body += [f"more = {{{pairs}}}", "nulls = empties = ''"]
        wire = ""
        for value, member in self._known:
            lines, part = self._member(value, member)
            body += lines
            wire += part
        source = "\n".join(body)
        asides = [name for name in ("nulls", "empties") if f"{name} +=" in source]
        extra, part = _extra_lines("more[" in source, bool(self._unknown), asides, self._absents)
        if not asides:
            body.remove("nulls = empties = ''")
        if not self._unknown and "more[" not in source:
            body.remove("more = {}")
        body += [*extra, f"return f'{part}{wire}'"]
        self._namespace["__name__"] = f"{__name__}.{type_name}"
        return define("read", ["def read(item, source):", *indent(body)], self._namespace)

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._namespace)}"
        self._namespace[name] = value
        return name

    def _member(self, value: str, member: MemberPlan) -> tuple[list[str], str]:
        """Check a member's value; give the lines that do so, and its wire form."""
        branches: list[_Branch] = []
        for field in member.fields:
            if field.joined_later:
                # Its number is not in the member's place among the others.
                continue
            if field.repeated:
                lines, wire = self._items(field, value)
                if member.fill is not Fill.ARRAY:
                    lines = [f"if not {value}: empties += {varints[field.number]!r}", *lines]
                branches.append(_Branch(f"{value}.__class__ is list", lines, wire))
            else:
                branches += self._branches(value, member, field)
        if not (self._library.validate and member.required and not member.nullable):
            note = [] if member.fill is Fill.NULL else [f"nulls += {varints[member.number]!r}"]
            branches.append(_Branch(f"{value} is None", note, ""))
        if len(branches) == 1:
            (only,) = branches
            return [f"if not ({only.condition}): raise Bail", *only.lines], only.wire
        target = f"w{value[1:]}"
        lines = []
        for branch in branches:
            give = f"{target} = f'{branch.wire}'" if branch.wire else f"{target} = ''"
            lines += [f"{'elif' if lines else 'if'} {branch.condition}:", *indent([*branch.lines, give])]
        return [*lines, "else: raise Bail"], f"{{{target}}}"

    def _branches(self, value: str, member: MemberPlan, field: FieldPlan) -> "list[_Branch]":
        tag = _tag_text(field)
        is_class = f"{value}.__class__ is"
        match field.kind:
            case Kind.STRING:
                latin = [f"if not {value}.isascii(): {value} = {value}.encode().decode('latin-1')"]
                if field.constant is not None and self._library.validate:
                    check = [f"if {value} != {field.constant!r}: raise Bail"]
                    text = field.constant.encode().decode("latin-1")
                    wire = self._constant(f"{wire_tag(field).decode('latin-1')}{varints[len(text)]}{text}")
                    return [_Branch(f"{is_class} str", check, f"{{{wire}}}")]
                return [_Branch(f"{is_class} str", latin, _sized(tag, value))]
            case Kind.INTEGER:
                small = [] if field.bits == 64 else [f"if {_is_large(value)}: raise Bail"]
                return [_Branch(f"{is_class} int", small, f"{tag}{{varints[{value}]}}")]
            case Kind.BOOLEAN:
                return [_Branch(f"{is_class} bool", [], f"{tag}{{varints[{value}]}}")]
            case Kind.NUMBER:
                wire = f'{tag}{{double({value}).decode("latin-1")}}'
                # Integers up to 2^53 are exact as doubles.
                small = [f"if not -0x20000000000000 <= {value} <= 0x20000000000000: raise Bail"]
                checked = _Branch(f"{is_class} float", ["check_exact(source)"], wire)
                return [checked, _Branch(f"{is_class} int", small, wire)]
            case Kind.ENUM:
                return [self._enum(value, member, field)]
            case Kind.TEXT_OBJECT | Kind.TEXT_ANY:
                condition = f"{is_class} dict" if field.kind is Kind.TEXT_OBJECT else f"{value} is not None"
                lines = ["check_exact(source)", f"{value} = dumps({value}).decode('latin-1')"]
                return [_Branch(condition, lines, _sized(tag, value))]
            case _:
                return [self._message(field, value)]

    def _enum(self, value: str, member: MemberPlan, field: FieldPlan) -> "_Branch":
        start = wire_tag(field).decode("latin-1")
        forms = {string: start + varints[number] for string, number in field.enum_numbers.items()}
        wire = f"e{value[1:]}"
        unlisted = self._constant(start + varints[UNLISTED])
        # What is put aside keeps the order of the document.
        aside = f"{wire} = {unlisted}; more[{member.name!r}] = {value}"
        first = self._values.index(value) < self._aside_last
        self._aside_last = max(self._aside_last, self._values.index(value))
        lines = [
            f"{wire} = {self._constant(forms)}.get({value})",
            f"if {wire} is None: {'raise Bail' if first else aside}",
        ]
        return _Branch(f"{value}.__class__ is str", lines, f"{{{wire}}}")

    def _message(self, field: FieldPlan, value: str) -> "_Branch":
        plan, tag = field.message, _tag_text(field)
        assert plan is not None  # noqa: S101 - a field of this kind has one
        if plan.form is Form.OBJECT:
            shapes = self._constant(self._library.shapes(plan))
            read = f"{value} = {shapes}[(*{value},)]({value}, source)"
            return _Branch(f"{value}.__class__ is dict", [read], _sized(tag, value))
        if plan.form is Form.ARRAY:
            assert plan.item is not None  # noqa: S101 - a plan of this form has one
            lines, wire = self._items(plan.item, value)
            lines = [*lines, f"{value} = f'{wire}'"]
            return _Branch(f"{value}.__class__ is list", lines, _sized(tag, value))
        # A union has no JSON type of its own: its reader bails where none of its alternatives fits.
        read = f"{value} = {self._constant(self._library.union(plan))}({value}, source)"
        return _Branch(f"{value} is not None", [read], _sized(tag, value))

    def _items(self, field: FieldPlan, value: str) -> tuple[list[str], str]:
        """Read the elements of an array; give the lines that do so, and their wire form."""
        if field.kind is not Kind.MESSAGE:
            return self._plain_items(field, value)
        plan = field.message
        if plan is None or plan.form is Form.ARRAY:
            return ["raise Bail"], ""
        if plan.form is Form.UNION:
            read = [f"each = {self._constant(self._library.union(plan))}(each, source)"]
        else:
            shapes = self._constant(self._library.shapes(plan))
            read = ["if each.__class__ is not dict: raise Bail", f"each = {shapes}[(*each,)](each, source)"]
        # A loop: here it takes less time than a comprehension, which is a call of its own.
        wire = f"r{value[1:]}"
        add = f"{wire} += f'{_sized(_tag_text(field), 'each')}'"
        return [f"{wire} = ''", f"for each in {value}:", *indent([*read, add])], f"{{{wire}}}"

    def _plain_items(self, field: FieldPlan, value: str) -> tuple[list[str], str]:
        tag = _tag_text(field)
        if field.kind not in _PLAIN_CLASSES:
            return ["raise Bail"], ""
        only = self._constant(frozenset((_PLAIN_CLASSES[field.kind],)))
        check = f"if not {only}.issuperset(map(type, {value})): raise Bail"
        if field.kind is Kind.STRING:
            latin = f"{value} = [each.encode().decode('latin-1') for each in {value}]"
            joined = f"{value} = ''.join([f'{_sized(tag, 'each')}' for each in {value}])"
            return [check, latin, joined], f"{{{value}}}"
        if field.kind is Kind.INTEGER and field.bits != 64:
            check += (
                f"\nif {value} and ({_is_large(f'min({value})')} or {_is_large(f'max({value})')}): raise Bail"
            )
        packed = f"{value} = ''.join([varints[each] for each in {value}])"
        sized = f"if {value}: {value} = f'{_sized(tag, value)}'"
        return [*check.split("\n"), packed, sized], f"{{{value}}}"


class _Branch(NamedTuple):
    """What to do with a value of one JSON type: a condition, lines, and the inside of an f-string."""

    condition: str
    lines: list[str]
    wire: str


def _is_large(value: str) -> str:
    """Return the test that an integer does not fit into 32 bits."""
    return f"not -0x80000000 <= {value} <= 0x7FFFFFFF"


def _extra_lines(
    has_asides: bool, has_unknown: bool, flags: list[str], absents: str
) -> tuple[list[str], str]:
    """Return the lines that write JsonExtra, which is the first field, and its wire form.

    Args:
        has_asides: Whether a value may have been put aside.
        has_unknown: Whether the shape has members that are not documented.
        flags: Which of `nulls` and `empties` may have numbers.
        absents: The numbers of the members that are missing and would be filled in, as varints.
    """
    text = "extra = dumps(more).decode('latin-1'); extra = f'\\n{sizes[len(extra)]}{extra}'"
    tags = {"nulls": "\\x12", "empties": "\\x1a"}
    adds = [f"if {name}: extra += f'{tags[name]}{{sizes[len({name})]}}{{{name}}}'" for name in flags]
    whole = f"\\x{EXTRA_NUMBER << 3 | 2:02x}{{sizes[len(extra)]}}{{extra}}"
    if absents:
        adds.append(f"extra += {chr(0x22) + varints[len(absents)] + absents!r}")
    if has_unknown:
        return [text, *adds], whole
    names = [*(["more"] if has_asides else []), *flags]
    texts = [f"if more: {text}"] if has_asides else []
    if absents:
        return ["extra = ''", *texts, *adds], whole
    if not names:
        return [], ""
    some = ["extra = ''", *texts, *adds, f"extra = f'{whole}'"]
    return ["extra = ''", f"if {' or '.join(names)}:", *indent(some)], "{extra}"


def _tag_text(field: FieldPlan) -> str:
    """Give the tag of a field as it stands in a string literal."""
    return "".join(f"\\x{byte:02x}" for byte in wire_tag(field))


def _sized(tag: str, text: str) -> str:
    """Give the wire form of a length-delimited field."""
    return f"{tag}{{sizes[len({text})]}}{{{text}}}"
