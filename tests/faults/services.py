"""Services that are killed and started again, and producers and consumers that go on meanwhile."""

import asyncio
import contextlib
import os
import pathlib
import secrets
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Self

from mistralwire.client import Client, EventBatch
from mistralwire.log import split
from mistralwire.v1 import CompletionChunk
from tests.cli.serving import COMMAND
from tests.faults.ledger import Consumer, Ledger, PrintedLedger, content
from tests.log.nats_servers import free_ports

RESPONSES = 50
# Longer than any fault lasts here.
RECONNECT_S = 120.0
# Of a producer, between two events: about as a model does it.
PAUSE_S = 0.05


def responses_of(prefix: str, count: int) -> list[str]:
    """Return the ids of responses that belong together."""
    return [f"{prefix}-{number}" for number in range(count)]


class Service:
    """A process of `mistralwire serve`; an async context manager.

    Args:
        folder: Where its log file is.
        arguments: Further words of the command line.
        inside: What the command begins with, to run elsewhere.
        host: Where it listens.
        env: What its environment has besides.

    Attributes:
        address: Where it listens, with the port.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        *arguments: str,
        inside: Sequence[str] = (),
        host: str = "127.0.0.1",
        env: Mapping[str, str] | None = None,
    ) -> None:
        (port,) = free_ports(1)
        self.address = f"{host}:{port}"
        self._log = folder / f"service-{port}.log"
        self._command = [*inside, *COMMAND, "--host", host, "--port", str(port), *arguments]
        self._env = os.environ | (env or {})
        self._process: Process | None = None

    @property
    def memory_kib(self) -> int:
        """Memory that it occupies now."""
        assert self._process is not None
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=PIPE, stderr=log, env=self._env
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        assert line.startswith(b"listening"), self._log.read_text()

    async def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            # Reads the pipe to its end, too.
            await self._process.communicate()
            self._process = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()


async def produce(
    client: Client, ledger: Ledger | PrintedLedger, response: str, stop: asyncio.Event, *, epoch: int = 0
) -> None:
    """Publish a response until it is to end; what is acknowledged goes to the ledger."""
    async with client.publish(response, epoch=epoch, reconnect_s=RECONNECT_S) as publisher:
        # What the producer before had stored, and perhaps never knew.
        ledger.acknowledge(response, publisher.acknowledged_sequence, epoch=epoch - 1)
        while not stop.is_set():
            sequence = publisher.last_sequence + 1
            ledger.send(response, sequence)
            await publisher.send(CompletionChunk(id=content(response, epoch, sequence)))
            ledger.acknowledge(response, publisher.acknowledged_sequence, epoch=epoch)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PAUSE_S)
        await publisher.finish()
        ledger.acknowledge(response, publisher.acknowledged_sequence, epoch=epoch, is_end=True)


async def consume(client: Client, consumer: Consumer) -> None:
    """Follow a response to its end."""
    async for batch in client.subscribe_batches(consumer.response, reconnect_s=RECONNECT_S):
        deliver(consumer, batch)


def deliver(consumer: Consumer, batch: EventBatch) -> None:
    """Note what a consumer got."""
    chunks = map(CompletionChunk.FromString, split(batch.data))
    consumer.got(batch.first_sequence, [chunk.id for chunk in chunks])
    consumer.has_ended = batch.end is not None


class Load:
    """Producers, and consumers of what they publish; half of these join late. An async context manager.

    Args:
        target: Where the services are.
        ledger: Gets what is acknowledged, and what is delivered.

    Attributes:
        producing: A client for producers.
        consuming: A client for consumers.
        responses: What is published.
    """

    def __init__(
        self, target: str, ledger: Ledger, *, responses: int = RESPONSES, connections: int = 2
    ) -> None:
        # Connections of their own, so that consumers do not wait for what producers send.
        self.producing, self.consuming = (
            Client(target, insecure=True, connections=connections) for _ in range(2)
        )
        self.responses = responses_of(secrets.token_hex(4), responses)
        self._ledger = ledger
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.producing.close()
        await self.consuming.close()

    async def begin(self) -> None:
        """Start the producers of all responses and a consumer of each, and wait until they are at work."""
        self.run(produce(self.producing, self._ledger, response, self._stop) for response in self.responses)
        await self.join()

    async def join(self) -> None:
        """Let a consumer of each response join, and wait until all have events."""
        await self.until(lambda: len(self._ledger.responses) == len(self.responses))
        consumers = [self._ledger.consumer(response) for response in self.responses]
        self.run(consume(self.consuming, consumer) for consumer in consumers)
        # Whoever has had no answer at all gives up soon.
        await self.begun(consumers)

    def run(self, coroutines: Iterable[Coroutine[None, None, None]]) -> None:
        """Run producers or consumers; `finish` waits for them."""
        self._tasks += [asyncio.create_task(coroutine) for coroutine in coroutines]

    async def begun(self, consumers: Sequence[Consumer]) -> None:
        """Wait until all consumers have events."""
        await self.until(lambda: all(consumer.last for consumer in consumers))

    async def recovered(self) -> None:
        """Wait until each producer has gone on after the last fault."""
        await self.until(lambda: self._ledger.has_recovered)

    async def until(self, is_reached: Callable[[], bool]) -> None:
        """Wait for something; an error of a producer or a consumer is raised."""
        async with asyncio.timeout(RECONNECT_S):
            while not is_reached():
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def finish(self) -> None:
        """End all responses, and wait until everybody knows."""
        self._stop.set()
        async with asyncio.timeout(RECONNECT_S):
            await asyncio.gather(*self._tasks)
