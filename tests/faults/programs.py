"""Processes that use a log, and reading what is in it once they are gone."""

import asyncio
import itertools
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from mistralwire.log import Batch, ResponseLog, split
from tests.faults.appending import open_log
from tests.faults.ledger import Ledger

_PRODUCERS = 20


def rounds(seconds: float, least: int = 3) -> Iterator[int]:
    """Count rounds of a scenario as long as there is time, and a few in any case."""
    end_s = time.monotonic() + seconds
    for number in itertools.count():
        if number >= least and time.monotonic() >= end_s:
            return
        yield number


class Program:
    """A process of producers, whose acknowledgements go to a ledger.

    Attributes:
        errors: Reasons of the errors that its producers got.
    """

    def __init__(self, process: Process, ledger: Ledger) -> None:
        self.process = process
        self.errors: list[str] = []
        self._ledger = ledger
        self._has_ended = False
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def appending(
        cls, target: Mapping[str, Any], ledger: Ledger, env: Mapping[str, str] | None = None
    ) -> Self:
        """Start one of `appending`; see `open_log` for the target."""
        return await cls._start(ledger, "appending", json.dumps(target), str(_PRODUCERS), env=env)

    @classmethod
    async def publishing(cls, target: str, ledger: Ledger, epoch: int, responses: Sequence[str]) -> Self:
        """Start one of `publishing`."""
        return await cls._start(ledger, "publishing", target, str(epoch), *responses)

    @classmethod
    async def _start(
        cls, ledger: Ledger, module: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> Self:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"tests.faults.{module}", *arguments),
            stdout=PIPE,
            env=os.environ | (env or {}),
        )
        return cls(process, ledger)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            match json.loads(line):
                case ["send", response, sequence]:
                    self._ledger.send(response, sequence)
                case ["acknowledge", response, last, epoch, is_end]:
                    self._ledger.acknowledge(response, last, epoch=epoch, is_end=is_end)
                case ["error", reason]:
                    self.errors.append(reason)
            async with self._changed:
                self._changed.notify_all()
        self._has_ended = True
        async with self._changed:
            self._changed.notify_all()

    async def acknowledged(self, count: int) -> None:
        """Wait until that many events more are acknowledged, by whomever."""
        expected = self._ledger.acknowledged_count + count
        await self._until(lambda: self._ledger.acknowledged_count >= expected)

    async def recovered(self) -> None:
        """Wait until each producer has gone on after the last fault."""
        await self._until(lambda: self._ledger.has_recovered)

    async def refused(self, reason: str) -> None:
        """Wait for an error."""
        await self._until(lambda: reason in self.errors)

    async def _until(self, is_reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: is_reached() or self._has_ended)
        assert not self._has_ended, "the process has ended; see standard error"

    async def kill(self) -> None:
        """Kill it, and read what it has printed; its producers have to recover."""
        self.process.kill()
        await self.process.wait()
        await self._reading
        self._ledger.fault()


async def deliver_stored(target: Mapping[str, Any], ledger: Ledger) -> None:
    """Read all responses of a ledger from a log that nobody else uses, to a new consumer each."""
    log = open_log(target)
    await log.start()
    try:
        for response in ledger.responses:
            consumer = ledger.reader(response)
            while batches := await _read(log, response, consumer.last):
                for batch in batches:
                    consumer.got(batch.first, [event.decode() for event in split(batch.data)])
    finally:
        await log.close()


async def _read(log: ResponseLog, response: str, after: int) -> Sequence[Batch]:
    return () if await log.describe(response) is None else await log.read(response, after)
