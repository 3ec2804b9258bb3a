"""The command line: one file a command, loaded when it is called.

`main` is the whole of it. What a command needs is imported with the command, so that `mistralwire convert`
never imports grpc.
"""

import importlib.metadata
import os

import click

from mistralwire.cli._lazy_group import LazyGroup, import_codec
from mistralwire.v1 import CONTRACT_REVISION

__all__ = ["main"]

# The native part of grpc writes to standard error by itself, whatever else is written there. It reads this
# variable when it is loaded, which this module comes before. Who wants to see its lines sets another value.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

_COMMANDS = {
    "call": "Ask a service for a completion.",
    "convert": "Convert between JSON, server-sent events and protobuf.",
    "gateway": "Serve the HTTP API at the edge, with gRPC behind it.",
    "proto": "Write the contract as a folder that can be vendored as it is.",
    "serve": "Serve chat completions over gRPC.",
}


def _print_version(context: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if not is_asked or context.resilient_parsing:
        return
    engine = import_codec().ENGINE
    version = importlib.metadata.version("mistralwire")
    click.echo(f"mistralwire {version}, contract revision {CONTRACT_REVISION}, {engine} engine")
    context.exit()


@click.command(
    cls=LazyGroup,
    summaries=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version, the contract's revision and the codec's engine, and exit.",
)
def main() -> None:
    """The Protobuf/gRPC interchange layer for Mistral chat completions.

    \b
    Examples:
      mistralwire convert response.json -o response.binpb
      curl -sN ... | mistralwire convert --from sse --to jsonl
      mistralwire proto --out contract
      mistralwire serve
      mistralwire call "What is the weather in Paris?"
      mistralwire gateway

    \b
    Exit codes of every command:
      0    done
      1    the input or the surroundings were at fault; the message says which
      2    the command line was at fault, or MISTRALWIRE_ENGINE
      129  ended by SIGHUP, as when a terminal closes
      130  interrupted by Ctrl-C; serve and gateway then end as they should, with 0
      141  whatever read the output closed it, as in "| head"
      143  ended by SIGTERM; serve and gateway then end as they should, with 0
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
