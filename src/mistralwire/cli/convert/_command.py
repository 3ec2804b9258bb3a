"""`mistralwire convert`: between JSON, server-sent events and protobuf."""

from typing import Literal

import click
from google.protobuf.message import Message

from mistralwire.cli.convert._conversion import Conversion
from mistralwire.cli.convert._formats import Format
from mistralwire.cli.convert._message_types import MESSAGE_TYPES, choose_type

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
    help="File to write; standard output without it. The file appears when all is converted, not before; "
    "pipes, devices and descriptors such as /dev/stdout are written as it goes.",
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
    help="Take every JSON object, also one that breaks the contract; what no field can hold is kept whole. "
    "Of protobuf, take every message of the type.",
)
@click.option(
    "--contract-revision",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Revision of the oldest contract that readers of the output have, for which protobuf is written. "
    "What that contract accepts is accepted.",
)
@click.option(
    "--keep-going",
    is_flag=True,
    help="Report what can't be converted, leave it out, and go on. An sse output then lacks its [DONE].",
)
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
    contract_revision: int,
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

    The input is checked against the contract, protobuf as well as JSON. So no bytes at all are no message,
    unless its type has no required members.

    --from is needed where neither the file's extension nor its beginning tells the format, --type where
    the first document does not tell its type: always for binpb, never for sse, which consists of
    CompletionChunk. Without --to, the extension of the output decides; on standard output, JSON becomes
    binpb and protobuf becomes json.

    What can't be converted is reported on standard error, with what was expected and what was found:

    \b
      FILE:LINE: PATH: ...       a line of jsonl, an event of sse
      FILE: PATH: ...            a json, txtpb or binpb document
      FILE: message N: PATH: ... a message of several in binpb
      FILE:LINE: ...             text that is no JSON, or no txtpb

    An error that an upstream sent in a stream is reported too, and a stream that ends before [DONE]. If each
    choice had its finish_reason, such a stream is complete all the same, and there is but a warning. A
    message of more than 64 MiB is not converted.

    Protobuf of a newer contract has fields, enum values and alternatives that this version does not know. A
    request with any is not converted. Of an answer the rest is, with a warning: upgrade mistralwire.

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
    Conversion(
        file=file,
        message_type=message_type,
        source_format=Format(from_name) if from_name else None,
        target_format=Format(to_name) if to_name else None,
        output=output,
        names=names,
        indent=indent,
        validate=not no_validate,
        keep_going=keep_going,
        contract_revision=contract_revision,
    ).run()
