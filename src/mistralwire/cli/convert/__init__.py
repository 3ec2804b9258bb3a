"""The command `mistralwire convert`, and options that `inspect` shares; a run of each is a module."""

from collections.abc import Callable
from typing import Any

import click
from click.decorators import FC

from mistralwire._settings import INT32_MAX, Setting
from mistralwire.cli._options import number_type
from mistralwire.cli.convert._input import Format

__all__ = ["DOCUMENT_TYPES", "FILE", "SOURCE_FORMAT", "TYPE", "convert"]

# Whole documents of the API; --type takes every other JSON object of the contract too.
DOCUMENT_TYPES = (
    *("ChatCompletionRequest", "ChatCompletionStreamRequest", "ChatCompletionResponse"),
    *("FIMCompletionRequest", "FIMCompletionStreamRequest", "FIMCompletionResponse"),
    *("AgentsCompletionRequest", "AgentsCompletionStreamRequest"),
    *("CompletionChunk", "CompletionEvent", "ErrorResponse", "HTTPValidationError"),
)
_EPILOG = (
    f"The types of --type: {', '.join(DOCUMENT_TYPES)}, and every other message of mistralwire.v1 that is a "
    "JSON object, such as ToolCall."
)

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
number of messages, each with its length before it as a varint, as in Java's writeDelimitedTo
and parseDelimitedFrom. json and txtpb hold a single message.

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
  mistralwire convert stream.sse --accumulate --indent 2
  mistralwire convert response.json --explode -o stream.sse
  mistralwire convert requests.jsonl --keep-going -o requests.binpb --type ChatCompletionRequest

\b
Exit codes:
  0  everything was converted
  1  some of the input could not be converted
  2  the command line was invalid or incomplete
"""


def _choose_type(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    from mistralwire.cli.convert._message_types import choose_type

    return choose_type(value)


def _format_option(flag: str, name: str, what: str) -> Callable[[FC], FC]:
    return click.option(
        flag,
        name,
        type=click.Choice([format_.value for format_ in Format]),
        callback=lambda _ctx, _param, value: value and Format(value),
        help=f"Format of the {what}.",
    )


FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), required=False)
TYPE = click.option(
    "--type", "message_type", callback=_choose_type, metavar="TYPE", help="Message type of the input."
)
SOURCE_FORMAT = _format_option("--from", "source_format", "input")


@click.command(help=_CONVERT_HELP, epilog=_EPILOG)
@FILE
@TYPE
@SOURCE_FORMAT
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
    type=number_type(int, Setting(least=1, most=16)),
    metavar="N",
    help="Spaces per level in json output, from 1 to 16; a single line by default.",
)
@click.option(
    "--accumulate",
    is_flag=True,
    help="Merge the chunks of a stream into one response, written as json by default. It is a "
    "ChatCompletionResponse, unless --type names FIMCompletionResponse.",
)
@click.option(
    "--explode",
    is_flag=True,
    help="Split one response into the chunks of a stream, written as sse by default.",
)
@click.option(
    "--no-validate",
    is_flag=True,
    help="Accept any JSON object, even one that breaks the contract; what no field can hold is kept "
    "unchanged. In protobuf, accept any message of the type.",
)
@click.option(
    "--contract-revision",
    type=number_type(int, Setting(least=1, most=INT32_MAX)),
    default=1,
    show_default=True,
    metavar="N",
    help="Revision, from 1 up, of the oldest contract among the readers of the output: protobuf is written "
    "for it, and what it accepts is accepted.",
)
@click.option(
    "--keep-going",
    is_flag=True,
    help="Report what can't be converted, skip it, and continue. An sse output then lacks its [DONE].",
)
def convert(**options: Any) -> None:
    """Convert what the options name."""
    from mistralwire.cli.convert._conversion import Conversion

    Conversion(**options).run()
