"""One run of `convert`: what its options mean."""

import contextlib
import dataclasses
import logging
import sys
from collections.abc import Iterator
from typing import Literal, cast

import click
from google.protobuf.message import Message

from mistralwire.cli._output import is_direct, open_output
from mistralwire.cli._wording import counted, printable
from mistralwire.cli.convert._formats import Format, default_output, format_of_content, format_of_name
from mistralwire.cli.convert._input import Readable, Source
from mistralwire.cli.convert._message_types import TypeChoice
from mistralwire.cli.convert._progress import show_progress
from mistralwire.cli.convert._reader import Reader
from mistralwire.cli.convert._transfer import EXIT_BAD_INPUT, Report, transfer
from mistralwire.cli.convert._writer import Writer
from mistralwire.codec import DOCUMENT_BYTES_MAX

_STANDARD_INPUT = "-"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """From a file to a file.

    Attributes:
        file: Path of the input; `-` or None for standard input.
        message_type: Type of its messages, or None to guess.
        source_format: Its format, or None to guess.
        target_format: The format to write, or None to guess.
        output: Path of the output; `-` for standard output.
        names: Spelling of member names, or None for the default.
        indent: Spaces a level, or None for one line.
        validate: Whether to enforce the contract.
        keep_going: Whether to go on after a failure.
        contract_revision: Revision of the oldest contract that the output's readers have.
    """

    file: str | None
    message_type: type[Message] | None
    source_format: Format | None
    target_format: Format | None
    output: str
    names: Literal["snake", "camel"] | None
    indent: int | None
    validate: bool
    keep_going: bool
    contract_revision: int

    def run(self) -> None:
        """Convert.

        Raises:
            click.UsageError: If the options are wrong or leave something open.
            click.exceptions.Exit: If something could not be converted: 1.
        """
        name = "<stdin>" if self.file in (None, _STANDARD_INPUT) else str(self.file)
        target_format = self.target_format or _target_of_name(self.output)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_quiet_codec())
            stream = stack.enter_context(_open_input(self.file))
            target = stack.enter_context(open_output(self.output))
            progress = stack.enter_context(show_progress(stream, output_is_terminal=target.isatty()))

            def before_read(count: int) -> None:
                # Whoever reads the output gets what is done before this waits for more input.
                target.flush()
                progress.advance(count)

            source = Source(stream, before_read, DOCUMENT_BYTES_MAX)
            to_sequence = target_format is not None and target_format.is_sequence
            source_format = self.source_format or _guess_format(name, source, to_sequence=to_sequence)
            target_format = target_format or default_output(source_format)
            _check_target(source_format, target_format, self.names, self.indent, target.isatty())
            delimited = source_format.is_sequence or target_format.is_sequence
            types = TypeChoice(self.message_type, name)
            reader = Reader(source, types, validate=self.validate, oldest_revision=self.contract_revision)
            writer = Writer(
                target,
                target_format,
                delimited=delimited,
                names=self.names or "snake",
                indent=self.indent,
                contract_revision=self.contract_revision,
            )
            report = Report(name, progress, keep_going=self.keep_going)
            transfer(reader.read(source_format, delimited=delimited), writer, report)
        if report.failures:
            done, failed = counted(writer.count, "message"), counted(report.failures, "failure")
            click.echo(f"{printable(name)}: {done} converted, {failed}", err=True)
            raise click.exceptions.Exit(EXIT_BAD_INPUT)


@contextlib.contextmanager
def _quiet_codec() -> Iterator[None]:
    """Keep what the codec logs of losses from standard error, where the report has them with their places."""
    logger, handler = logging.getLogger("mistralwire.codec"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _open_input(file: str | None) -> Iterator[Readable]:
    if file is not None and file != _STANDARD_INPUT:
        with open(file, "rb") as stream:
            yield stream
        return
    if sys.stdin is None:
        raise click.UsageError("standard input is closed; name a FILE to read")
    if file is None and sys.stdin.isatty():
        raise click.UsageError(
            "there is no FILE, and standard input is a terminal; name a FILE, or - to type it"
        )
    yield cast("Readable", sys.stdin.buffer)


def _guess_format(name: str, source: Source, *, to_sequence: bool) -> Format:
    guess = format_of_name(name) or format_of_content(
        source.first_line(), source.byte_after_first_line, to_sequence=to_sequence
    )
    if guess is None:
        raise click.UsageError(
            f"neither the name of {name} nor its beginning tells its format; say which with --from"
        )
    return guess


def _target_of_name(output: str) -> Format | None:
    """Give the format that the output's name tells; None if it may be the default one."""
    target = format_of_name(output)
    if target is None and not is_direct(output):
        raise click.UsageError(f"the name of {output} tells no format to write; say which with --to")
    return target


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
