"""The command `mistralwire convert`: its options, and a run of it."""

import contextlib
import dataclasses
import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal, cast

import click
from click.decorators import FC
from google.protobuf.message import Message

from mistralwire.cli._output import is_direct, open_output
from mistralwire.cli._wording import counted, printable
from mistralwire.cli.convert._detection import (
    MESSAGE_TYPES,
    Format,
    choose_type,
    format_of_content,
    format_of_name,
)
from mistralwire.cli.convert._input import Input
from mistralwire.cli.convert._reader import Item, Reader
from mistralwire.cli.convert._report import EXIT_BAD_INPUT, Report, show_progress
from mistralwire.cli.convert._writer import Writer
from mistralwire.codec import DOCUMENT_BYTES_MAX
from mistralwire.errors import EncodeError

_STANDARD_INPUT = "-"

# The report has what the codec logs, with its place; without a handler, logging would print it too.
logging.getLogger("mistralwire.codec").addHandler(logging.NullHandler())

_CONVERT_HELP = """Convert between JSON, server-sent events and protobuf, without loss.

Reads FILE, or standard input if FILE is - or absent. It converts one message at a time, so that a file may
have any size.

\b
Formats, and the file extensions that stand for them:
  json   one JSON document (.json)
  jsonl  one JSON document per line (.jsonl, .ndjson)
  sse    server-sent events with "data: {...}" and a final "data: [DONE]" (.sse)
  binpb  protobuf wire bytes (.binpb)
  txtpb  one message in protobuf's text format (.txtpb)

binpb is a single message if the other side is json or txtpb. If the other side is jsonl or sse, it is any
number of messages, each with its length before it as a varint, as Java's writeDelimitedTo and
parseDelimitedFrom have it. json and txtpb hold a single message.

The input is checked against the contract, protobuf as well as JSON. An empty input is therefore not a
message, unless its type has no required members.

--from is needed if neither the file's extension nor its beginning shows the format, --type if the first
document does not show its type: always for binpb, never for sse, which consists of CompletionChunk. Without
--to, the extension of the output decides; on standard output, JSON becomes binpb and protobuf becomes json.

What can't be converted is reported on standard error, with what was expected and what was found:

\b
  FILE:LINE: PATH: ...       a line of jsonl, an event of sse
  FILE: PATH: ...            a json, txtpb or binpb document
  FILE: message N: PATH: ... one of several messages in binpb
  FILE:LINE: ...             text that is not valid JSON or txtpb

An error that an upstream sent in a stream is reported too, and so is a stream that ends before [DONE]; but if
each choice had its finish_reason, the stream is treated as complete, with a warning. A message of more than
64 MiB is not converted.

Protobuf of a newer contract has fields, enum values and alternatives that this version does not know. A
request with any of them is not converted. An answer is converted without them, with a warning: upgrade
mistralwire.

\b
Examples:
  mistralwire convert response.json -o response.binpb
  mistralwire convert response.binpb --type ChatCompletionResponse --to json --indent 2
  mistralwire convert stream.sse --to jsonl | head -n 1
  mistralwire convert requests.jsonl --keep-going -o requests.binpb --type ChatCompletionRequest

\b
Exit codes:
  0  everything was converted
  1  some of the input could not be converted
  2  the command line was invalid or incomplete
"""


def _choose_format(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Format | None:
    return Format(value) if value else None


def _format_option(flag: str, name: str, what: str) -> Callable[[FC], FC]:
    choice = click.Choice([format_.value for format_ in Format])
    return click.option(flag, name, type=choice, callback=_choose_format, help=f"Format of the {what}.")


@click.command(help=_CONVERT_HELP, epilog=f"The types of --type: {', '.join(MESSAGE_TYPES)}.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), required=False)
@click.option(
    "--type", "message_type", callback=choose_type, metavar="TYPE", help="Message type of the input."
)
@_format_option("--from", "source_format", "input")
@_format_option("--to", "target_format", "output")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    metavar="FILE",
    help="File to write; standard output by default. The file appears when everything is converted; "
    "pipes, devices and descriptors such as /dev/stdout are written directly.",
)
@click.option(
    "--names",
    type=click.Choice(["snake", "camel"]),
    help="Spelling of member names in JSON output: finish_reason, as in the API and by default, or "
    "finishReason, as in the SDKs. Input may have either.",
)
@click.option(
    "--indent",
    type=click.IntRange(1, 16),
    metavar="N",
    help="Spaces per level in json output; a single line by default.",
)
@click.option(
    "--no-validate",
    is_flag=True,
    help="Accept any JSON object, even one that breaks the contract; what no field can hold is kept "
    "unchanged. In protobuf, accept any message of the type.",
)
@click.option(
    "--contract-revision",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Revision of the oldest contract among the readers of the output: protobuf is written for it, and "
    "what it accepts is accepted.",
)
@click.option(
    "--keep-going",
    is_flag=True,
    help="Report what can't be converted, leave it out, and continue. An sse output then lacks its [DONE].",
)
def convert(**options: Any) -> None:
    """Convert what the options name."""
    _Conversion(**options).run()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Conversion:
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

    def run(self) -> None:
        """Convert.

        Raises:
            click.UsageError: If the options are invalid or incomplete.
            click.exceptions.Exit: If something could not be converted: 1.
        """
        if self.target_format is None and format_of_name(self.output) is None and not is_direct(self.output):
            raise click.UsageError(
                f"cannot infer the output format from the name {self.output}; specify it with --to"
            )
        name = "<stdin>" if self.file in (None, _STANDARD_INPUT) else str(self.file)
        with (
            _open_input(self.file) as stream,
            open_output(self.output) as target,
            show_progress(stream, output_is_terminal=target.isatty()) as show,
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
            delimited = source_format.is_sequence or target_format.is_sequence
            reader = self._reader(source, report)
            writer = self._writer(target, target_format, delimited=delimited)
            _transfer(reader.read(source_format, delimited=delimited), writer, report)
        if report.failures:
            done, failed = counted(writer.count, "message"), counted(report.failures, "failure")
            click.echo(f"{printable(name)}: {done} converted, {failed}", err=True)
            raise click.exceptions.Exit(EXIT_BAD_INPUT)

    def _infer_formats(self, name: str, source: Input) -> tuple[Format, Format]:
        target = self.target_format or format_of_name(self.output)
        found = self.source_format or format_of_name(name)
        if found is None:
            to_sequence = target is not None and target.is_sequence
            with source.look() as content:
                found = format_of_content(content, source.item_bytes_max, to_sequence=to_sequence)
        if found is None:
            raise click.UsageError(
                f"cannot infer the input format from {name} or its content; specify it with --from"
            )
        return found, target or (Format.BINPB if found.is_json else Format.JSON)

    def _check_target(self, source: Format, target: Format, *, to_terminal: bool) -> None:
        if source is target is Format.BINPB:
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
            self.message_type,
            validate=not self.no_validate,
            oldest_revision=self.contract_revision,
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


def _open_input(file: str | None) -> contextlib.AbstractContextManager[io.BufferedIOBase]:
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
            report.fail(place, f"{found}; choose jsonl or sse")
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
