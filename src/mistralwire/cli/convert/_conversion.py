"""A run of `mistralwire convert`."""

import contextlib
import dataclasses
import io
import logging
import sys
from collections.abc import Iterator
from typing import BinaryIO, Literal, cast

import click
from google.protobuf.message import Message

from mistralwire.cli._output import is_direct, open_output
from mistralwire.cli._wording import counted, printable
from mistralwire.cli.convert._formats import Format, format_of_content, format_of_name
from mistralwire.cli.convert._input import Input
from mistralwire.cli.convert._message_types import RESPONSE_TYPES
from mistralwire.cli.convert._reader import Item, Reader
from mistralwire.cli.convert._report import EXIT_BAD_INPUT, Report, show_progress
from mistralwire.cli.convert._streams import accumulated, exploded
from mistralwire.cli.convert._writer import Writer
from mistralwire.codec import DOCUMENT_BYTES_MAX
from mistralwire.errors import EncodeError
from mistralwire.v1 import CompletionChunk

_STANDARD_INPUT = "-"

# The report has what the codec logs, with its place; without a handler, logging would print it too.
logging.getLogger("mistralwire.codec").addHandler(logging.NullHandler())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A run of the command; its fields are the options, None for what is inferred."""

    file: str | None
    message_type: type[Message] | None
    source_format: Format | None
    target_format: Format | None
    output: str
    names: Literal["snake", "camel"] | None
    indent: int | None
    no_validate: bool
    keep_going: bool
    contract_revision: int
    accumulate: bool
    explode: bool

    def run(self) -> None:
        """Convert.

        Raises:
            click.UsageError: If the options are invalid or incomplete.
            click.exceptions.Exit: If something could not be converted: 1.
        """
        self._check_options()
        has_default = self.target_format is not None or self._merges
        if not has_default and format_of_name(self.output) is None and not is_direct(self.output):
            raise click.UsageError(
                f"cannot infer the output format from the name {self.output}; specify it with --to"
            )
        name = "<stdin>" if self.file in (None, _STANDARD_INPUT) else str(self.file)
        with (
            open_input(self.file) as stream,
            open_output(self.output) as target,
            show_progress(stream, "converting", output_is_terminal=target.isatty()) as show,
        ):

            def before_read(count: int) -> None:
                # Readers of the output get everything that is done before this blocks.
                target.flush()
                if show is not None:
                    show(count)

            source = Input(stream, before_read, DOCUMENT_BYTES_MAX)
            report = Report(name, keep_going=self.keep_going, has_progress=show is not None)
            source_format, target_format = self._infer_formats(name, source)
            self._check_target(source_format, target_format, to_terminal=target.isatty())
            is_sequence = source_format.is_sequence or target_format.is_sequence
            has_many = self.accumulate or (is_sequence and not self.explode)
            items = self._reader(source, report).read(source_format, delimited=has_many)
            has_many = self.explode or (is_sequence and not self.accumulate)
            writer = self._writer(target, target_format, delimited=has_many)
            _transfer(self._merged(items, report), writer, report)
        if report.failures:
            done, failed = counted(writer.count, "message"), counted(report.failures, "failure")
            click.echo(f"{printable(name)}: {done} converted, {failed}", err=True)
            raise click.exceptions.Exit(EXIT_BAD_INPUT)

    @property
    def _merges(self) -> bool:
        """Whether the output is not what was read, message by message."""
        return self.accumulate or self.explode

    def _check_options(self) -> None:
        if self.accumulate and self.explode:
            raise click.UsageError("--accumulate undoes --explode; leave one of them out")
        if self.message_type is not None and self._merges:
            known = (*RESPONSE_TYPES, CompletionChunk) if self.accumulate else RESPONSE_TYPES
            if self.message_type not in known:
                option = "--accumulate" if self.accumulate else "--explode"
                names = ", ".join(type_.DESCRIPTOR.name for type_ in known)
                found = self.message_type.DESCRIPTOR.name
                raise click.UsageError(f"{option} expects one of the types {names}, found {found}")

    def _merged(self, items: Iterator[Item], report: Report) -> Iterator[Item]:
        if self.accumulate:
            is_response = self.message_type in RESPONSE_TYPES
            response_type = self.message_type if is_response else RESPONSE_TYPES[0]
            return accumulated(items, response_type, report, validate=not self.no_validate)
        return exploded(items, report) if self.explode else items

    def _infer_formats(self, name: str, source: Input) -> tuple[Format, Format]:
        target = self.target_format or format_of_name(self.output)
        to_sequence = self.accumulate or (target is not None and target.is_sequence and not self.explode)
        found = infer_format(self.source_format, name, source, to_sequence=to_sequence)
        if self._merges:
            return found, target or (Format.JSON if self.accumulate else Format.SSE)
        return found, target or (Format.BINPB if found.is_json else Format.JSON)

    def _check_target(self, source: Format, target: Format, *, to_terminal: bool) -> None:
        if self.accumulate and target is Format.SSE:
            raise click.UsageError("--accumulate writes one response, but sse is for the chunks of a stream")
        if self.explode and target in (Format.JSON, Format.TXTPB):
            raise click.UsageError(f"--explode writes several chunks, but {target} holds one message")
        if source is target is Format.BINPB and not self._merges:
            raise click.UsageError("binpb to binpb changes nothing; name another format with --to")
        if self.names is not None and not target.is_json:
            raise click.UsageError(f"--names is for JSON, but the output is {target}")
        if self.indent is not None and target is not Format.JSON:
            raise click.UsageError(f"--indent is for json, but the output is {target}")
        if target is Format.BINPB and to_terminal:
            raise click.UsageError(
                "binpb is not for a terminal; write it to a file with -o, pipe it, or choose a text with --to"
            )

    def _reader(self, source: Input, report: Report) -> Reader:
        return Reader(
            source,
            report,
            CompletionChunk if self.accumulate else self.message_type,
            validate=not self.no_validate,
            oldest_revision=self.contract_revision,
            delimited_options="--to jsonl, or --accumulate for a stream",
        )

    def _writer(self, target: BinaryIO, target_format: Format, *, delimited: bool) -> Writer:
        return Writer(
            target,
            target_format,
            delimited=delimited,
            names=self.names or "snake",
            indent=self.indent,
            contract_revision=self.contract_revision,
        )


def infer_format(given: Format | None, name: str, source: Input, *, to_sequence: bool) -> Format:
    """Return the format of an input: the given one, or by its name or its content; see `format_of_content`.

    Raises:
        click.UsageError: If neither shows it.
    """
    found = given or format_of_name(name)
    if found is None:
        with source.look() as content:
            found = format_of_content(content, source.item_bytes_max, to_sequence=to_sequence)
    if found is None:
        raise click.UsageError(
            f"cannot infer the input format from {name} or its content; specify it with --from"
        )
    return found


def open_input(file: str | None) -> contextlib.AbstractContextManager[io.BufferedIOBase]:
    """Open the file, or standard input for `-` or None.

    Raises:
        click.UsageError: If standard input is closed, or is a terminal that nobody asked for.
        OSError: If the file can't be read.
    """
    if file is not None and file != _STANDARD_INPUT:
        return open(file, "rb")
    if sys.stdin is None:
        raise click.UsageError("standard input is closed; name a FILE to read")
    if file is None and sys.stdin.isatty():
        raise click.UsageError(
            "expected a FILE, or standard input that is not a terminal; name a FILE, or - to type it"
        )
    return contextlib.nullcontext(cast("io.BufferedIOBase", sys.stdin.buffer))


def _transfer(items: Iterator[Item], writer: Writer, report: Report) -> None:
    """Write what is read until the end, or until the report ends the run.

    Raises:
        click.exceptions.Exit: If the report ends the run, or there is no message where there must be one.
    """
    for place, item in items:
        if writer.is_full:
            found = f"expected the end, as {writer.format} holds one message, found another"
            is_stream = isinstance(item.message, CompletionChunk)
            remedy = ", or --accumulate for one response" if is_stream else ""
            report.fail(place, f"{found}; choose jsonl or sse{remedy}")
            break
        try:
            writer.write(item)
        except EncodeError as error:
            report.fail(place, str(error))
    if writer.is_lacking:
        if not report.failures:
            report.fail("", "expected a message, found none")
        raise click.exceptions.Exit(EXIT_BAD_INPUT)
    writer.end(is_whole=not report.failures)
