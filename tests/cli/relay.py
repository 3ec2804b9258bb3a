"""How the tests run the commands for stored responses."""

import asyncio
import contextlib
from asyncio.subprocess import Process

from click.testing import CliRunner

from mistralwire.cli import main

from .serving import REPLAY, SETTINGS, started

CHAT, PACED = str(REPLAY / "chat.sse"), str(REPLAY / "paced.sse")


async def invoke(target: str, command: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command in a thread, which starts sooner than a process; return its code and what it prints."""
    runner = CliRunner(env=dict.fromkeys(SETTINGS))
    words = [command, "--target", target, *arguments]
    async with asyncio.timeout(60):
        result = await asyncio.to_thread(runner.invoke, main, words)
    return result.exit_code, result.stdout, result.stderr


def running(target: str, command: str, *arguments: str) -> contextlib.AbstractAsyncContextManager[Process]:
    """Run a command as a process."""
    return started(command, "--target", target, *arguments)
