"""The command `mistralwire inspect`, which reads what `convert` reads."""

from typing import Any

import click

from mistralwire.cli.convert import FILE, SOURCE_FORMAT, TYPE

_INSPECT_HELP = """Show what a document contains, and what json_format would lose.

Reads FILE, or standard input if FILE is - or absent, in the formats of "mistralwire convert", one message at
a time, so that a file may have any size. It counts the documents and their bytes as compact JSON and as
protobuf, lists what is not documented, and runs protobuf's json_format on a plain schema of the documented
members to list what that loses. Paths have [] for indexes.

\b
The object that --json prints:
  format, type         of the input; the message type of its documents
  documents            how many there are
  json_bytes           their size as compact JSON
  protobuf_bytes       their size as protobuf
  undocumented         {path: count}
  lost_by_json_format  {kind: {path: count}}; the kinds are "member dropped",
                       "null dropped", "empty array dropped", "number changed",
                       "value changed" and "refused"

At most 1,000 paths are listed; the others are counted together.

\b
Examples:
  mistralwire inspect response.json
  mistralwire inspect stream.sse --json
  mistralwire inspect requests.binpb --delimited --type ChatCompletionRequest

\b
Exit codes:
  0  everything was read
  1  some of the input could not be read, as with "mistralwire convert"
  2  the command line was invalid or incomplete
"""


@click.command(help=_INSPECT_HELP)
@FILE
@TYPE
@SOURCE_FORMAT
@click.option(
    "--delimited", is_flag=True, help="binpb holds any number of messages, each with its length before it."
)
@click.option("--no-validate", is_flag=True, help="Accept any JSON object, and any message of the type.")
@click.option("--keep-going", is_flag=True, help="Report what can't be read, skip it, and continue.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(**options: Any) -> None:
    """Inspect what the options name."""
    from mistralwire.cli.convert.inspection import Inspection  # noqa: PLC0415 - with the codec

    Inspection(**options).run()
