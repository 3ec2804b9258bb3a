"""How the tests run two workers of a command, and watch them."""

import asyncio
import contextlib
import os
import re
import select
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence

from .serving import COMMAND, serving

STARTED = re.compile(rb"worker (\d+) is process (\d+)")
TWO = ("--workers", "2")


class Errors:
    """What the processes write to standard error, line by line."""

    def __init__(self, process: Process) -> None:
        assert process.stderr is not None
        self._stream = process.stderr
        self.text = b""

    async def line(self) -> bytes:
        line = await self._stream.readline()
        self.text += line
        return line

    async def started(self) -> tuple[int, int]:
        """Wait for the next worker that has started, and return its number and its process."""
        while line := await self.line():
            if match := STARTED.search(line):
                return int(match[1]), int(match[2])
        raise AssertionError(self.text.decode())

    async def logged_by(self, pattern: re.Pattern[bytes]) -> int:
        """Wait for the next line that matches; return the process that logged it, the first group."""
        while line := await self.line():
            if match := pattern.search(line):
                return int(match[1])
        raise AssertionError(self.text.decode())

    async def rest(self) -> bytes:
        while await self.line():
            pass
        return self.text


@contextlib.asynccontextmanager
async def working(
    *arguments: str, command: Sequence[str] = COMMAND
) -> AsyncIterator[tuple[Process, str, Errors, dict[int, int]]]:
    """Run two workers; yield the process above them, the address, the errors, and the workers by number."""
    async with asyncio.timeout(60), serving(*TWO, *arguments, command=command) as (process, address, line):
        assert line.startswith(f"listening on {address} with 2 workers, ")
        errors = Errors(process)
        pids = dict([await errors.started(), await errors.started()])
        assert set(pids) == {0, 1}
        try:
            yield process, address, errors, pids
        finally:
            for pid in pids.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


async def gone(pid: int) -> None:
    """Wait for the end of a process that is no child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await asyncio.to_thread(select.select, [descriptor], [], [], 50)
        assert select.select([descriptor], [], [], 0)[0], f"process {pid} goes on"
    finally:
        os.close(descriptor)


async def signal_twice(process: Process, pids: dict[int, int], number: signal.Signals) -> None:
    """Send a signal while one of the workers is busy, then another; wait for the end of all."""
    process.send_signal(number)
    # The one that is not busy has ended: the first signal has come through.
    ended = [asyncio.create_task(gone(pid)) for pid in pids.values()]
    await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    process.send_signal(number)
    await asyncio.gather(*ended)
    await process.wait()
