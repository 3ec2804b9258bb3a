"""A run of `mistralwire convert`."""

import dataclasses
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal, cast

import click
from google.protobuf import text_format
from google.protobuf.message import Message

from mistralwire._protobuf import write_varint
from mistralwire.cli._output import is_direct, open_output
from mistralwire.cli._wording import counted
from mistralwire.cli.convert._input import Format, format_of_name
from mistralwire.cli.convert._message_types import RESPONSE_TYPES
from mistralwire.cli.convert._reader import Item, Reader, open_input
from mistralwire.cli.convert._report import EXIT_BAD_INPUT, Report
from mistralwire.codec import (
    Accumulator,
    SseDone,
    SseMessage,
    check_answer,
    encode_sse,
    explode,
    lift,
    lower,
    to_json,
)
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import CompletionChunk


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
        with (
            open_output(self.output) as target,
            open_input(self.file, "converting", keep_going=self.keep_going, output=target) as (
                source,
                report,
            ),
        ):
            reader = Reader(
                source,
                report,
                CompletionChunk if self.accumulate else self.message_type,
                validate=not self.no_validate,
                oldest_revision=self.contract_revision,
                delimited_options="--to jsonl, or --accumulate for a stream",
            )
            source_format, target_format = self._infer_formats(reader)
            self._check_target(source_format, target_format, to_terminal=target.isatty())
            is_sequence = source_format.is_sequence or target_format.is_sequence
            has_many = self.accumulate or (is_sequence and not self.explode)
            items = reader.read(source_format, delimited=has_many)
            if self.accumulate:
                items = self._accumulated(items, report)
            elif self.explode:
                items = _exploded(items, report)
            has_many = self.explode or (is_sequence and not self.accumulate)
            count = self._write(items, target, target_format, report, delimited=has_many)
        report.end(f"{counted(count, 'message')} converted")

    def _check_options(self) -> None:
        if self.accumulate and self.explode:
            raise click.UsageError("--accumulate undoes --explode; leave one of them out")
        merges = self.accumulate or self.explode
        if self.message_type is not None and merges:
            known = (*RESPONSE_TYPES, CompletionChunk) if self.accumulate else RESPONSE_TYPES
            if self.message_type not in known:
                option = "--accumulate" if self.accumulate else "--explode"
                names = ", ".join(type_.DESCRIPTOR.name for type_ in known)
                found = self.message_type.DESCRIPTOR.name
                raise click.UsageError(f"{option} expects one of the types {names}, found {found}")
        is_inferable = format_of_name(self.output) is not None or is_direct(self.output)
        if self.target_format is None and not merges and not is_inferable:
            raise click.UsageError(
                f"cannot infer the output format from the name {self.output}; specify it with --to"
            )

    def _infer_formats(self, reader: Reader) -> tuple[Format, Format]:
        target = self.target_format or format_of_name(self.output)
        to_sequence = self.accumulate or (target is not None and target.is_sequence and not self.explode)
        source = reader.infer_format(self.source_format, to_sequence=to_sequence)
        if self.explode:
            default = Format.SSE
        else:
            default = Format.BINPB if source.is_json and not self.accumulate else Format.JSON
        return source, target or default

    def _check_target(self, source: Format, target: Format, *, to_terminal: bool) -> None:
        if self.accumulate and target is Format.SSE:
            raise click.UsageError("--accumulate writes one response, but sse is for the chunks of a stream")
        if self.explode and target in (Format.JSON, Format.TXTPB):
            raise click.UsageError(f"--explode writes several chunks, but {target} holds one message")
        if source is target is Format.BINPB and not (self.accumulate or self.explode):
            raise click.UsageError("binpb to binpb changes nothing; name another format with --to")
        if self.names is not None and not target.is_json:
            raise click.UsageError(f"--names is for JSON, but the output is {target}")
        if self.indent is not None and target is not Format.JSON:
            raise click.UsageError(f"--indent is for json, but the output is {target}")
        if target is Format.BINPB and to_terminal:
            raise click.UsageError(
                "binpb is not for a terminal; write it to a file with -o, pipe it, or choose a text with --to"
            )

    def _accumulated(self, items: Iterator[Item], report: Report) -> Iterator[Item]:
        response_type: Any = self.message_type if self.message_type in RESPONSE_TYPES else RESPONSE_TYPES[0]
        accumulator, place = Accumulator[Any](response_type), None
        for place, item in items:
            try:
                accumulator.add(cast("CompletionChunk", item.message))
            except EncodeError as error:
                report.fail(place, str(error))
        if place is None:
            report.fail("", "expected the chunks of a stream, found none")
            return
        response = accumulator.result()
        try:
            if not self.no_validate:
                check_answer(response)
        except DecodeError as error:
            report.fail_decoding(": the response", error)
        else:
            yield "", SseMessage(response)

    def _write(
        self, items: Iterator[Item], target: BinaryIO, format_: Format, report: Report, *, delimited: bool
    ) -> int:
        """Write what is read, and return the number of messages.

        Raises:
            click.exceptions.Exit: If the report ends the run, or there is no message where there must be one.
        """
        is_single = not (format_.is_sequence or (format_ is Format.BINPB and delimited))
        count, held = 0, b""
        for place, item in items:
            if is_single and count:
                found = f"expected the end, as {format_} holds one message, found another"
                is_stream = isinstance(item.message, CompletionChunk)
                remedy = ", or --accumulate for one response" if is_stream else ""
                report.fail(place, f"{found}; choose jsonl or sse{remedy}")
                break
            try:
                data = self._encode(item, format_, delimited=delimited)
            except EncodeError as error:
                report.fail(place, str(error))
                continue
            count += 1
            if is_single:
                # Another may follow, which is an error.
                held = data
            else:
                target.write(data)
        if is_single and not count:
            if not report.failures:
                report.fail("", "expected a message, found none")
            raise click.exceptions.Exit(EXIT_BAD_INPUT)
        target.write(held)
        if format_ is Format.SSE and not report.failures:
            target.write(encode_sse(SseDone()))
        return count

    def _encode(self, item: SseMessage[Message], format_: Format, *, delimited: bool) -> bytes:
        names = self.names or "snake"
        if format_ is Format.SSE:
            return encode_sse(item, names=names)
        if format_.is_json:
            return to_json(item.message, names=names, indent=self.indent) + b"\n"
        message = lower(lift(item.message), self.contract_revision)
        if format_ is Format.TXTPB:
            # The header names the type: https://protobuf.dev/reference/protobuf/textformat-spec/#header
            descriptor = message.DESCRIPTOR
            header = f"# proto-file: {descriptor.file.name}\n# proto-message: {descriptor.full_name}\n\n"
            return (header + text_format.MessageToString(message, as_utf8=True)).encode()
        data = message.SerializeToString()
        return write_varint(len(data)) + data if delimited else data


def _exploded(items: Iterator[Item], report: Report) -> Iterator[Item]:
    is_empty = True
    for place, item in items:
        if not is_empty:
            report.fail(place, "expected the end, as --explode splits one response, found another message")
            return
        is_empty = False
        if not isinstance(item.message, RESPONSE_TYPES):
            name = item.message.DESCRIPTOR.name
            report.fail(place, f"expected a response to split into chunks, found a {name}")
            continue
        try:
            for chunk in explode(item.message):
                yield place, SseMessage(chunk)
        except EncodeError as error:
            report.fail(place, str(error))
    if is_empty:
        report.fail("", "expected a response, found none")
