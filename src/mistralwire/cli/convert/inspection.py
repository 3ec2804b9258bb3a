"""A run of `mistralwire inspect`: what a document or a capture holds."""

import collections
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import click
from google.protobuf.message import Message

from mistralwire.cli._wording import counted, printable
from mistralwire.cli.convert._conversion import infer_format, open_input
from mistralwire.cli.convert._formats import Format
from mistralwire.cli.convert._input import Input
from mistralwire.cli.convert._json_format import is_object, losses_of, member_of
from mistralwire.cli.convert._reader import Reader
from mistralwire.cli.convert._report import EXIT_BAD_INPUT, Report, show_progress
from mistralwire.codec import DOCUMENT_BYTES_MAX, to_json
from mistralwire.errors import EncodeError

# Names come from the input; beyond this number they are counted together.
_PATHS_MAX = 1_000
_OTHER_PATHS = "(other paths)"


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
        name = "<stdin>" if self.file in (None, "-") else str(self.file)
        with (
            open_input(self.file) as stream,
            show_progress(stream, "inspecting", output_is_terminal=False) as show,
        ):
            source = Input(stream, show or (lambda _: None), DOCUMENT_BYTES_MAX)
            report = Report(name, keep_going=self.keep_going, has_progress=show is not None)
            format_ = infer_format(self.source_format, name, source, to_sequence=False)
            reader = Reader(
                source,
                report,
                self.message_type,
                validate=not self.no_validate,
                oldest_revision=1,
                delimited_options="--delimited",
            )
            findings = Findings(format_)
            for place, item in reader.read(format_, delimited=self.delimited):
                try:
                    findings.add(item.message)
                except EncodeError as error:
                    report.fail(place, str(error))
        if not findings.documents and not report.failures:
            report.fail("", "expected a message, found none")
        click.echo(json.dumps(findings.as_dict()) if self.as_json else findings.table(name))
        if report.failures:
            click.echo(f"{printable(name)}: {counted(report.failures, 'failure')}", err=True)
            raise click.exceptions.Exit(EXIT_BAD_INPUT)


class Findings:
    """What was found so far; its size does not grow with the input.

    Args:
        format_: The format of the input.

    Attributes:
        documents: The number of messages.
    """

    def __init__(self, format_: Format) -> None:
        self._format = format_
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
        for path in undocumented(message):
            self._undocumented[_bounded(self._undocumented, path, _OTHER_PATHS)] += 1
        for kind, path in losses_of(message.DESCRIPTOR, text):
            self._lost[_bounded(self._lost, (kind, path), (kind, _OTHER_PATHS))] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the findings in the form of --json."""
        lost: dict[str, dict[str, int]] = {}
        for (kind, path), count in sorted(self._lost.items()):
            lost.setdefault(kind, {})[path] = count
        return {
            "format": self._format.value,
            "type": self._type_name,
            "documents": self.documents,
            "json_bytes": self._json_bytes,
            "protobuf_bytes": self._protobuf_bytes,
            "undocumented": dict(sorted(self._undocumented.items())),
            "lost_by_json_format": lost,
        }

    def table(self, name: str) -> str:
        """Return the findings as aligned text, with headings in bold."""
        share = f", {self._protobuf_bytes / self._json_bytes:.0%} of it" if self._json_bytes else ""
        lines = [
            click.style(f"{printable(name)}: {self._type_name or 'no message'}", bold=True),
            *_rows(
                [
                    ("format", self._format.value),
                    ("documents", f"{self.documents:,}"),
                    ("as JSON", f"{self._json_bytes:,} bytes"),
                    ("as protobuf", f"{self._protobuf_bytes:,} bytes{share}"),
                ]
            ),
        ]
        undocumented = [(path, f"{count:,}") for path, count in sorted(self._undocumented.items())]
        lines += _section("undocumented, kept by mistralwire", undocumented)
        lost = [(f"{path or '(document)'}: {kind}", count) for (kind, path), count in self._lost.items()]
        lines += _section("lost by json_format", [(text, f"{count:,}") for text, count in sorted(lost)])
        return "\n".join(lines)


def _bounded(counts: collections.Counter[Any], key: Any, other: Any) -> Any:
    return key if key in counts or len(counts) < _PATHS_MAX else other


def _section(title: str, rows: list[tuple[str, str]]) -> list[str]:
    return ["", click.style(title, bold=True), *(_rows(rows) or ["  nothing"])]


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(printable(name)) for name, _ in rows), default=0)
    return [f"  {printable(name):<{width}}  {value}" for name, value in rows]


def undocumented(message: Message, path: str = "") -> Iterator[str]:
    """Yield the paths of what the contract has no field for, with `[]` for indexes.

    That is members, strings outside an enum, and objects with an unknown tag.

    Args:
        message: The message.
        path: Where it is.
    """
    for field, value in message.ListFields():
        if field.name == "json_extra":
            yield from _extra_members(message, value.members, path)
        elif field.name == "unknown_json":
            yield path
        elif field.message_type is not None:
            place = _place_of(field, path)
            for item in value if field.is_repeated else [value]:
                yield from undocumented(item, place)


def _place_of(field: Any, path: str) -> str:
    if not is_object(field.containing_type):
        # A union or an array is the value of its member itself.
        return f"{path}[]" if field.is_repeated else path
    name = member_of(field)
    return f"{path}{'.' if path else ''}{name}{'[]' if field.is_repeated else ''}"


def _extra_members(message: Message, members: str, path: str) -> Iterator[str]:
    known = {member_of(field): field for field in message.DESCRIPTOR.fields}
    # Only names are used; an int of more than 4,300 digits would be refused.
    for name in json.loads(members, parse_int=float) if members else ():
        field = known.get(name)
        # Numbers that a double does not hold are kept there too.
        if field is None or field.enum_type is not None:
            yield f"{path}{'.' if path else ''}{name}"
