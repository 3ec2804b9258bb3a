"""How the tests run the commands for stored responses."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator

from click.testing import CliRunner

from mistralwire.cli import main

from .serving import REPLAY, SETTINGS, environment

CHAT, PACED = str(REPLAY / "chat.sse"), str(REPLAY / "paced.sse")


async def invoke(target: str, command: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command in a thread, which starts sooner than a process; return its code and what it prints."""
    runner = CliRunner(env=dict.fromkeys(SETTINGS))
    words = [command, "--target", target, *arguments]
    async with asyncio.timeout(60):
        result = await asyncio.to_thread(runner.invoke, main, words)
    return result.exit_code, result.stdout, result.stderr


@contextlib.asynccontextmanager
async def running(target: str, command: str, *arguments: str) -> AsyncIterator[Process]:
    """Run a command as a process."""
    words = (sys.executable, "-m", "mistralwire", command, "--target", target, *arguments)
    process = await asyncio.create_subprocess_exec(
        *words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment()
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
