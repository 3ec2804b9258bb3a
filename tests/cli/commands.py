"""How the tests run the command."""

import os
import pathlib
import subprocess
import sys

import click.testing

from mistralwire.cli import main

DATA = pathlib.Path(__file__).parents[1] / "data" / "cli"
CHUNK = b'{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}'
PROGRAM = [sys.executable, "-m", "mistralwire"]
COMMAND = [*PROGRAM, "convert"]
TIMEOUT_S = 120
"""Timeout of a process, on a busy machine."""


def convert(*arguments: str | pathlib.Path, stdin: bytes = b"") -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, ["convert", *map(str, arguments)], input=stdin)


def converted(*arguments: str | pathlib.Path, stdin: bytes = b"") -> bytes:
    result = convert(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def run(*arguments: str | pathlib.Path, stdin: bytes = b"") -> tuple[int, bytes, str]:
    result = convert(*arguments, stdin=stdin)
    return result.exit_code, result.stdout_bytes, result.stderr


def run_in_shell(line: str, *arguments: str | pathlib.Path) -> tuple[int, str, str]:
    """Run a line of sh, where `$mistralwire` is the program and `$1` the first argument."""
    result = subprocess.run(
        ["sh", "-c", line, "sh", *map(str, arguments)],
        # Under `ulimit -f`, bytecode would be truncated, and stay so.
        env={**os.environ, "mistralwire": " ".join(PROGRAM), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    return result.returncode, result.stdout, result.stderr
