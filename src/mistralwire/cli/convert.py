"""`mistralwire convert`: between JSON, server-sent events and protobuf."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Literal, cast

import click
from google.protobuf.message import Message

from mistralwire.cli._formats import Format, default_output, format_of_content, format_of_name
from mistralwire.cli._message_types import MESSAGE_TYPES, TypeChoice, choose_type
from mistralwire.cli._output import STANDARD_OUTPUT, open_output
from mistralwire.cli._progress import show_progress
from mistralwire.cli._records import Reader
from mistralwire.cli._source import Readable, Source
from mistralwire.cli._transfer import EXIT_BAD_INPUT, Report, transfer
from mistralwire.cli._writer import Writer
from mistralwire.codec import DOCUMENT_BYTES_MAX

_STANDARD_INPUT = "-"
_FORMATS = click.Choice([format_.value for format_ in Format])


@click.command(epilog=f"The types of --type: {', '.join(MESSAGE_TYPES)}.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), required=False)
@click.option(
    "--type", "message_type", callback=choose_type, metavar="TYPE", help="Message type of the input."
)
@click.option("--from", "from_name", type=_FORMATS, help="Format of the input.")
@click.option("--to", "to_name", type=_FORMATS, help="Format of the output.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    metavar="FILE",
    help="File to write; standard output without it. The file appears when all is converted, not before.",
)
@click.option(
    "--names",
    type=click.Choice(["snake", "camel"]),
    help="Spelling of member names in JSON output: finish_reason, the API's and the default, or "
    "finishReason, the SDKs'. Input may have either.",
)
@click.option(
    "--indent",
    type=click.IntRange(1, 16),
    metavar="N",
    help="Spaces a level in json output; one line without.",
)
@click.option(
    "--no-validate",
    is_flag=True,
    help="Take every JSON object, also one that breaks the contract; what no field can hold is kept whole.",
)
@click.option("--keep-going", is_flag=True, help="Report what can't be converted, leave it out, and go on.")
def convert(
    *,
    file: str | None,
    message_type: type[Message] | None,
    from_name: str | None,
    to_name: str | None,
    output: str,
    names: Literal["snake", "camel"] | None,
    indent: int | None,
    no_validate: bool,
    keep_going: bool,
) -> None:
    """Convert between JSON, server-sent events and protobuf, without loss.

    Reads FILE, or standard input if it is - or absent, one message after the other, so that a file of any
    size can be converted.

    \b
    Formats, and the file extensions that they are known by:
      json   one JSON document (.json)
      jsonl  a JSON document a line (.jsonl, .ndjson)
      sse    server-sent events with "data: {...}" and a final "data: [DONE]" (.sse)
      binpb  protobuf wire bytes (.binpb)
      txtpb  one message in protobuf's text format (.txtpb)

    binpb is one message when the other side is json or txtpb. When the other side is jsonl or sse, it is any
    number of messages with the length of each before it as a varint, as Java's writeDelimitedTo and
    parseDelimitedFrom have it. Several messages don't fit into json and txtpb.

    --from is needed where neither the file's extension nor its beginning tells the format, --type where
    the first document does not tell its type: always for binpb, never for sse, which consists of
    CompletionChunk. Without --to, the extension of the output decides, else JSON becomes binpb and protobuf
    becomes json.

    What can't be converted is reported on standard error as FILE:LINE: PATH: what was expected, what was
    found. binpb has no lines: there, messages are counted. So is an error that an upstream sent in a stream,
    and a stream that ends before [DONE]. A message of more than 64 MiB is not converted.

    \b
    Examples:
      mistralwire convert response.json -o response.binpb
      mistralwire convert response.binpb --type ChatCompletionResponse --to json --indent 2
      mistralwire convert stream.sse --to jsonl | head -n 1
      mistralwire convert requests.jsonl --keep-going -o requests.binpb --type ChatCompletionRequest

    \b
    Exit codes:
      0  all was converted
      1  some of the input could not be converted
      2  the command line was wrong, or left open what it has to say
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    name = "<stdin>" if file in (None, _STANDARD_INPUT) else str(file)
    to_terminal = output == STANDARD_OUTPUT and sys.stdout.isatty()
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_open_input(file))
        target = stack.enter_context(open_output(output))
        progress = stack.enter_context(show_progress(stream, output_is_terminal=to_terminal))

        def before_read(count: int) -> None:
            # Whoever reads the output gets what is done before this waits for more input.
            target.flush()
            progress.advance(count)

        source = Source(stream, before_read, DOCUMENT_BYTES_MAX)
        source_format = Format(from_name) if from_name else _guess_format(name, source)
        target_format = _choose_target(source_format, to_name, output)
        _check_target(source_format, target_format, names, indent, to_terminal)
        delimited = source_format.is_sequence or target_format.is_sequence
        reader = Reader(source, TypeChoice(message_type, name), validate=not no_validate)
        writer = Writer(target, target_format, delimited=delimited, names=names or "snake", indent=indent)
        report = Report(name, progress, keep_going=keep_going)
        transfer(reader.read(source_format, delimited=delimited), writer, report)
    if report.failures:
        click.echo(f"{name}: {writer.count} messages converted, {report.failures} failures", err=True)
        raise click.exceptions.Exit(EXIT_BAD_INPUT)


@contextlib.contextmanager
def _open_input(file: str | None) -> Iterator[Readable]:
    if file is not None and file != _STANDARD_INPUT:
        with open(file, "rb") as stream:
            yield stream
        return
    if file is None and sys.stdin.isatty():
        raise click.UsageError(
            "there is no FILE, and standard input is a terminal; name a FILE, or - to type it"
        )
    yield cast("Readable", sys.stdin.buffer)


def _guess_format(name: str, source: Source) -> Format:
    guess = format_of_name(name) or format_of_content(*source.beginning())
    if guess is None:
        raise click.UsageError(
            f"neither the name of {name} nor its beginning tells its format; say which with --from"
        )
    return guess


def _choose_target(source_format: Format, to_name: str | None, output: str) -> Format:
    if to_name is not None:
        return Format(to_name)
    return format_of_name(output) or default_output(source_format)


def _check_target(
    source: Format, target: Format, names: str | None, indent: int | None, to_terminal: bool
) -> None:
    if source is target is Format.BINPB:
        raise click.UsageError("binpb to binpb changes nothing; say with --to what it is to become")
    if names is not None and not target.is_json:
        raise click.UsageError(f"--names is about JSON, and the output is {target}")
    if indent is not None and target is not Format.JSON:
        raise click.UsageError(f"--indent is about json, and the output is {target}")
    if target is Format.BINPB and to_terminal:
        raise click.UsageError(
            "binpb is not for a terminal; write it to a file with -o, pipe it, or choose a text with --to"
        )
