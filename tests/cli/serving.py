"""How the tests run `mistralwire serve`, and other commands as processes."""

import asyncio
import contextlib
import os
import pathlib
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from typing import Any

import click.testing

from mistralwire.cli import main

REPLAY = pathlib.Path(__file__).parent.parent / "data" / "replay"
COMMAND = (sys.executable, "-m", "mistralwire", "serve")
# Of whoever runs the tests.
SETTINGS = [name for name in os.environ if name.startswith("MISTRALWIRE_")]


@contextlib.asynccontextmanager
async def serving(
    *arguments: str, command: Sequence[str] = COMMAND, env: dict[str, str] | None = None
) -> AsyncIterator[tuple[Process, str, str]]:
    """Run the command on a free port, and yield the process, the address, and the line that it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        "--port",
        "0",
        *arguments,
        stdout=PIPE,
        stderr=PIPE,
        env={**environment(), **(env or {})},
        # As a shell does it: signals from a terminal go to the group.
        process_group=0,
    )
    try:
        async with asyncio.timeout(60):
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            assert line, (await process.communicate())[1].decode()
            yield process, line.split()[2].rstrip(","), line
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        # Read to the end, so that the pipes are closed with the loop still there.
        async with asyncio.timeout(60):
            await process.communicate()


def refused(code: int, *arguments: str | pathlib.Path, command: Sequence[str] = COMMAND) -> str:
    """Run the command in this process, which ends before it listens.

    Args:
        code: The exit code that is expected: 2 for a usage error, else 1.
        arguments: What comes behind `--port 0`.
        command: The command, of which the last word counts.

    Returns:
        The message, in one line.
    """
    words = [command[-1], "--port", "0", *map(str, arguments)]
    result = click.testing.CliRunner(env=dict.fromkeys(SETTINGS)).invoke(main, words)
    assert result.exit_code == code, result.output
    return " ".join(result.stderr.partition("Error: ")[2].split())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment()
    )


@contextlib.asynccontextmanager
async def started(
    *words: str, stdin: Any = DEVNULL, stdout: Any = PIPE, **env: str
) -> AsyncIterator[Process]:
    """Run a command that ends by itself, and yield its process; what is left of it is killed."""
    command = (sys.executable, "-m", "mistralwire", *words)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=stdout, stderr=PIPE, env={**environment(), **env}
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SETTINGS}
