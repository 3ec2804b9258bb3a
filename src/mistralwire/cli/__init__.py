"""The command line: `main`, and one module or package per command.

A command is imported when it is called, with everything that it needs: `mistralwire convert` never imports
grpc.
"""

import os

import click

from mistralwire._engine import check_engine
from mistralwire.cli._lazy_group import LazyGroup
from mistralwire.v1 import CONTRACT_REVISION

__all__ = ["main"]

# grpc's native library writes to standard error on its own. It reads this variable when it is loaded, which
# is after this module. A user who wants to see its lines sets another value.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# The command `name` is the object of that name in `mistralwire.cli.name`. The summary begins its help.
_COMMANDS = {
    "call": "Ask a service for a completion.",
    "convert": "Convert between JSON, server-sent events and protobuf.",
    "demo": "Show on one screen what mistralwire does.",
    "follow": "Print a response that a service stores, as it is produced.",
    "gateway": "Serve Mistral's HTTP API, in front of a service.",
    "health": "Check whether a service or a gateway accepts requests.",
    "inspect": "Show what a document contains, and what json_format would lose.",
    "proto": "Write the contract as a folder that can be vendored unchanged.",
    "publish": "Publish a recorded response at a service that stores it.",
    "responses": "List, show, cancel or delete the responses that a service stores.",
    "serve": "Serve chat completions over gRPC.",
}


def _print_version(context: click.Context, _parameter: click.Parameter, is_set: bool) -> None:
    if not is_set or context.resilient_parsing:
        return
    import importlib.metadata  # noqa: PLC0415 - slow, and for the version alone

    version = importlib.metadata.version("mistralwire")
    click.echo(f"mistralwire {version}, contract revision {CONTRACT_REVISION}, {check_engine()} engine")
    context.exit()


_MAIN_HELP = """Mistral chat completions as Protobuf over gRPC, without loss.

\b
Examples:
  mistralwire convert response.json -o response.binpb
  curl -sN ... | mistralwire convert --from sse --to jsonl
  mistralwire inspect response.json
  mistralwire proto --out contract
  mistralwire serve
  mistralwire call "What is the weather in Paris?"
  mistralwire gateway
  mistralwire responses
  mistralwire health --url http://127.0.0.1:8080

\b
Exit codes of every command:
  0    success
  1    invalid input, or a system error; the message says which
  2    invalid command line, or invalid MISTRALWIRE_ENGINE
  129  terminated by SIGHUP, as when a terminal closes
  130  interrupted by Ctrl-C; serve and gateway shut down gracefully, with 0
  141  the output was closed by its reader, as by | head
  143  terminated by SIGTERM; serve and gateway shut down gracefully, with 0
"""


@click.command(
    cls=LazyGroup,
    help=_MAIN_HELP,
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
    """Run a command."""
