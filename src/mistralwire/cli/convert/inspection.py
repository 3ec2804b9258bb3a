"""A run of `mistralwire inspect`: what a document or a recorded stream holds, and what json_format loses.

google.protobuf.json_format is protobuf's own JSON mapping. Here it runs on a schema as one writes it by hand:
each documented member is a field of its type, a member of several types is a google.protobuf.Value, and
free-form JSON is a google.protobuf.Struct. It is told to ignore members that the schema lacks, which it would
otherwise refuse.
"""

import collections
import dataclasses
import functools
import json
from collections.abc import Iterator
from typing import Any

import click
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import Message

from mistralwire.cli._wording import printable
from mistralwire.cli.convert._input import Format
from mistralwire.cli.convert._message_types import is_object
from mistralwire.cli.convert._reader import Reader, open_input
from mistralwire.codec import to_json
from mistralwire.errors import EncodeError
from mistralwire.v1.json_options_pb2 import JSON_TEXT_OBJECT, JSON_TEXT_UNSPECIFIED, json_field

# Names come from the input; beyond this number they are counted together.
_PATHS_MAX = 1_000
_OTHER_PATHS = "(other paths)"

_PROTO = descriptor_pb2.FieldDescriptorProto
_VALUE, _STRUCT = ".google.protobuf.Value", ".google.protobuf.Struct"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A run of the command; its fields are the options, None for what is inferred."""

    file: str | None
    message_type: type[Message] | None
    source_format: Format | None
    delimited: bool
    no_validate: bool
    keep_going: bool
    as_json: bool

    def run(self) -> None:
        """Read the input, and print what it holds.

        Raises:
            click.UsageError: If the options are invalid or incomplete.
            click.exceptions.Exit: If something could not be read: 1.
        """
        with open_input(self.file, "inspecting", keep_going=self.keep_going) as (source, report):
            reader = Reader(
                source,
                report,
                self.message_type,
                validate=not self.no_validate,
                oldest_revision=1,
                delimited_options="--delimited",
            )
            findings = _Findings(reader.infer_format(self.source_format, to_sequence=False))
            for place, item in reader.read(findings.format, delimited=self.delimited):
                try:
                    findings.add(item.message)
                except EncodeError as error:
                    report.fail(place, str(error))
        if not findings.documents and not report.failures:
            report.fail("", "expected a message, found none")
        click.echo(json.dumps(findings.as_dict()) if self.as_json else findings.table(report.file))
        report.end()


class _Findings:
    """What was found so far; its size does not grow with the input."""

    def __init__(self, format_: Format) -> None:
        self.format = format_
        self.documents = 0
        self._type_name = ""
        self._json_bytes = self._protobuf_bytes = 0
        self._undocumented: collections.Counter[str] = collections.Counter()
        self._lost: collections.Counter[tuple[str, str]] = collections.Counter()

    def add(self, message: Message) -> None:
        """Add a message.

        Raises:
            EncodeError: If it has no JSON form; it is not counted.
        """
        text = to_json(message)
        self.documents += 1
        self._type_name = message.DESCRIPTOR.name
        self._json_bytes += len(text)
        self._protobuf_bytes += message.ByteSize()
        for path in _undocumented_in(message):
            self._undocumented[_bounded(self._undocumented, path, _OTHER_PATHS)] += 1
        for kind, path in _losses_of(message.DESCRIPTOR, text):
            self._lost[_bounded(self._lost, (kind, path), (kind, _OTHER_PATHS))] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the findings in the form of --json."""
        lost: dict[str, dict[str, int]] = {}
        for (kind, path), count in sorted(self._lost.items()):
            lost.setdefault(kind, {})[path] = count
        return {
            "format": self.format.value,
            "type": self._type_name,
            "documents": self.documents,
            "json_bytes": self._json_bytes,
            "protobuf_bytes": self._protobuf_bytes,
            "undocumented": dict(sorted(self._undocumented.items())),
            "lost_by_json_format": lost,
        }

    def table(self, name: str) -> str:
        """Return the findings as aligned text, with headings in bold."""
        share = f" ({self._protobuf_bytes / self._json_bytes:.0%})" if self._json_bytes else ""
        rows = [
            ("format", self.format.value),
            ("documents", f"{self.documents:,}"),
            ("as JSON", f"{self._json_bytes:,} bytes"),
            ("as protobuf", f"{self._protobuf_bytes:,} bytes{share}"),
        ]
        undocumented = [(path, f"{count:,}") for path, count in sorted(self._undocumented.items())]
        lost = [
            (f"{path or '(document)'}: {kind}", f"{count:,}") for (kind, path), count in self._lost.items()
        ]
        sections = [
            _section(f"{name}: {self._type_name or 'no message'}", rows),
            _section("undocumented, kept by mistralwire", undocumented),
            _section("lost by json_format", sorted(lost)),
        ]
        return "\n\n".join(sections)


def _bounded(counts: collections.Counter[Any], key: Any, other: Any) -> Any:
    return key if key in counts or len(counts) < _PATHS_MAX else other


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    width = max((len(printable(name)) for name, _ in rows), default=0)
    lines = [f"  {printable(name):<{width}}  {value}" for name, value in rows] or ["  nothing"]
    return "\n".join([click.style(printable(title), bold=True), *lines])


def _undocumented_in(message: Message, path: str = "") -> Iterator[str]:
    """Yield the paths of what the contract has no field for, with `[]` for indexes.

    That is members, strings outside an enum, and objects with an unknown tag.
    """
    for field, value in message.ListFields():
        if field.name == "json_extra":
            yield from _extra_members(message, value.members, path)
        elif field.name == "unknown_json":
            yield path
        elif field.message_type is not None:
            # A union or an array is the value of its member itself.
            place = _path_to(path, _member_of(field)) if is_object(message.DESCRIPTOR) else path
            place += "[]" if field.is_repeated else ""
            for item in value if field.is_repeated else [value]:
                yield from _undocumented_in(item, place)


def _extra_members(message: Message, members: str, path: str) -> Iterator[str]:
    known = {_member_of(field): field for field in message.DESCRIPTOR.fields}
    # Only names are used; an int of more than 4,300 digits would be refused.
    for name in json.loads(members, parse_int=float) if members else ():
        # Numbers that a double does not hold are kept there too.
        if name not in known or known[name].enum_type is not None:
            yield _path_to(path, name)


def _path_to(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _member_of(field: Any) -> str:
    """Return the JSON member of a field; the fields of a oneof share one."""
    oneof = field.containing_oneof
    name: str = field.name if oneof is None or oneof.name == f"_{field.name}" else oneof.name
    return name


def _losses_of(descriptor: Any, text: bytes) -> Iterator[tuple[str, str]]:
    """Yield what a document would lose: a kind, and the path, with `[]` for indexes."""
    message = _class_for(descriptor)()
    try:
        json_format.Parse(text, message, ignore_unknown_fields=True)
        after = json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (json_format.Error, ValueError, RecursionError):
        yield "refused", ""
    else:
        yield from _differences(json.loads(text), after, "")


def _differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield what changed in a value, and where; the order of members is no part of JSON."""
    match before, after:
        case dict(), dict():
            for name, value in before.items():
                place = _path_to(path, name)
                if name in after:
                    yield from _differences(value, after[name], place)
                else:
                    yield _kind_of_lost(value), place
        case list(), list() if len(before) == len(after):
            for one, other in zip(before, after, strict=True):
                yield from _differences(one, other, f"{path}[]")
        case _ if type(before) is not type(after) or before != after:
            is_number = isinstance(before, int | float) and not isinstance(before, bool)
            yield "number changed" if is_number else "value changed", path


def _kind_of_lost(value: Any) -> str:
    if value is None:
        return "null dropped"
    return "empty array dropped" if value == [] else "member dropped"


@functools.cache
def _class_for(descriptor: Any) -> type[Message]:
    """Return the class of the schema for a message of the contract and those in it."""
    file = descriptor_pb2.FileDescriptorProto(name="plain.proto", package="plain", syntax="proto2")
    file.dependency.append("google/protobuf/struct.proto")
    _add_message(file, descriptor)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"plain.{descriptor.name}"))


def _add_message(file: descriptor_pb2.FileDescriptorProto, descriptor: Any) -> None:
    """Add a message, and those in it, to the schema."""
    if any(descriptor.name == other.name for other in file.message_type):
        return
    message = file.message_type.add(name=descriptor.name)
    for field in descriptor.fields:
        name = _member_of(field)
        if field.name == "json_extra" or any(name == other.name for other in message.field):
            continue
        label = _PROTO.LABEL_REPEATED if field.is_repeated else _PROTO.LABEL_OPTIONAL
        added = message.field.add(name=name, number=field.number, type=field.type, label=label)
        type_name = _type_name(field)
        if type_name:
            added.type, added.type_name = _PROTO.TYPE_MESSAGE, type_name
            if type_name not in (_VALUE, _STRUCT):
                _add_message(file, field.message_type)
        elif field.enum_type is not None:
            added.type = _PROTO.TYPE_STRING


def _type_name(field: Any) -> str:
    """Return the message of a field in the schema; empty if it is a scalar."""
    text = field.GetOptions().Extensions[json_field].text
    if _member_of(field) != field.name or text not in (JSON_TEXT_UNSPECIFIED, JSON_TEXT_OBJECT):
        return _VALUE
    if text == JSON_TEXT_OBJECT:
        return _STRUCT
    if field.message_type is None:
        return ""
    return f".plain.{field.message_type.name}" if is_object(field.message_type) else _VALUE
