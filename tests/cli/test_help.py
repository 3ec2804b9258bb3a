import importlib.metadata
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mistralwire.cli import main
from mistralwire.cli.convert import DOCUMENT_TYPES
from mistralwire.cli.convert._message_types import MESSAGE_TYPES
from mistralwire.codec import ENGINE
from mistralwire.v1 import CONTRACT_REVISION

from .commands import TIMEOUT_S

COMMANDS = main.list_commands(click.Context(main))


def help_of(*names: str) -> str:
    result = CliRunner().invoke(main, [*names, "--help"], prog_name="mistralwire", terminal_width=100)
    assert result.exit_code == 0
    return result.output


def test_the_help_lists_every_command_with_what_it_does() -> None:
    text = help_of()
    for name in COMMANDS:
        line = next(line for line in text.splitlines() if line.startswith(f"  {name} "))
        assert line.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_list_fits_the_help_of_the_command(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    summary = next(line for line in help_of().splitlines() if line.startswith(f"  {name} "))
    first_words = summary.split(maxsplit=1)[1].rstrip(".")
    assert command is not None
    assert (command.help or "").startswith(first_words)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_and_exit_codes(name: str) -> None:
    text = help_of(name)
    assert text.count(f"    mistralwire {name}") + text.count(f"| mistralwire {name} ") >= 1
    assert "Exit codes:" in text
    assert "\b" not in text


def test_the_help_of_convert_explains_every_format_and_names_the_types_of_documents() -> None:
    words = help_of("convert").replace(",", " ").replace(".\n", "\n").split()
    assert {"json", "jsonl", "sse", "binpb", "txtpb", *DOCUMENT_TYPES} <= set(words)
    assert set(DOCUMENT_TYPES) <= MESSAGE_TYPES.keys()


def test_the_version_is_that_of_the_package_and_names_the_engine() -> None:
    result = CliRunner().invoke(main, ["--version"])
    version = importlib.metadata.version("mistralwire")
    assert result.output == f"mistralwire {version}, contract revision {CONTRACT_REVISION}, {ENGINE} engine\n"


@pytest.mark.process
def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "mistralwire", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    assert result.stdout.startswith("Usage: mistralwire ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("convrt", "expected a command, found 'convrt'; did you mean convert?"),
        ("x", f"expected a command, found 'x'; the commands are {', '.join(COMMANDS)}"),
    ],
)
def test_an_unknown_command_is_a_usage_error_with_the_nearest(name: str, expected: str) -> None:
    result = CliRunner().invoke(main, [name])
    assert result.exit_code == 2
    assert result.output.endswith(f"Error: {expected}\n")


def loaded_by(program: str) -> set[str]:
    """Return the modules that a program has imported at its end."""
    program = f"import sys\n{program}\nprint(*sys.modules, file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    return set(result.stderr.split())


HELP = f"""
from mistralwire.cli import main
for arguments in {[["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]}:
    main(arguments, standalone_mode=False)
"""


@pytest.mark.process
def test_help_and_version_import_neither_grpc_nor_protobuf_nor_a_web_framework() -> None:
    heavy = {"google.protobuf", "grpc", "httptools", "mistralwire.codec", "starlette", "uvicorn", "uvloop"}
    assert loaded_by(HELP) & heavy == set()


PRINTED = """
from mistralwire.cli._answers import TextPrinter
from mistralwire.v1 import CompletionChunk, CompletionResponseStreamChoice, DeltaMessage
printer = TextPrinter(sys.stdout)
delta = DeltaMessage(content_string="text")
printer.add(CompletionChunk(choices=[CompletionResponseStreamChoice(delta=delta)]))
printer.end(is_complete=True)
"""


@pytest.mark.process
def test_a_call_that_is_answered_with_text_imports_neither_an_engine_nor_plans() -> None:
    loaded = loaded_by(PRINTED)
    assert "grpc" in loaded
    heavy = {
        "difflib",
        "grpc_health.v1.health_pb2",
        "mistralwire.client._sync",
        "mistralwire.codec._native",
        "mistralwire.codec._plan",
    }
    assert loaded & heavy == set()


@pytest.mark.parametrize(
    "said",
    [
        "An answer is converted without them, with a warning",
        "lacks its [DONE]",
        "FILE:LINE: PATH",
        "FILE: PATH",
        "written directly",
    ],
)
def test_the_help_of_convert_says_what_happens_at_the_edges(said: str) -> None:
    assert said in " ".join(help_of("convert").split())


def test_the_help_says_how_signals_end_it() -> None:
    text = help_of()
    for code in ("129", "130", "141", "143"):
        assert f"\n    {code}  " in text
    assert text.count("serve and gateway shut down gracefully, with 0") == 2
