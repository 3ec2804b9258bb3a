"""Consumers that are slow, and many that wait: the service keeps little for them, and nobody else notices."""

import asyncio
import contextlib
import pathlib
from collections.abc import Callable

import pytest

from mistralwire.client import Publisher
from mistralwire.v1 import CompletionChunk
from tests.faults.ledger import Ledger, content
from tests.faults.services import Load, Service, consume, deliver

pytestmark = pytest.mark.chaos

NewLedger = Callable[[str], Ledger]
SLOW = 20
# Of each response, which is as long as a response may be by default, about.
EVENT_BYTES = 10_000
EVENTS = 1500
# What the service may keep for each consumer that does not read, and for anything else.
GROWTH_KIB_MAX = 64 * 1024
# The long form has ten thousand.
IDLE, IDLE_LONG = 1_000, 10_000


async def test_a_consumer_that_does_not_read_costs_nothing(
    tmp_path: pathlib.Path, new_ledger: NewLedger, seconds: float
) -> None:
    ledger = new_ledger(f"{SLOW} consumers that read nothing for a while")
    service = Service(tmp_path, "--data", str(tmp_path / "data"))
    async with service, Load(service.address, ledger, responses=1) as load:
        (response,) = load.responses

        async def publish(publisher: Publisher, events: range) -> None:
            for sequence in events:
                chunk = CompletionChunk(id=content(response, 0, sequence), object="x" * EVENT_BYTES)
                await publisher.send(chunk)
                await asyncio.sleep(seconds / EVENTS)

        async with contextlib.AsyncExitStack() as stack, load.producing.publish(response) as publisher:
            await publish(publisher, range(1, 2))
            slow = {
                ledger.consumer(response): load.producing.subscribe_batches(response) for _ in range(SLOW)
            }
            for consumer, batches in slow.items():
                await stack.enter_async_context(contextlib.aclosing(batches))
                deliver(consumer, await anext(batches))
            load.run([consume(load.consuming, ledger.consumer(response)) for _ in range(SLOW)])
            before_kib = service.memory_kib
            await publish(publisher, range(2, EVENTS + 1))
            await publisher.finish()
            ledger.acknowledge(response, EVENTS, is_end=True)
            # The others have all of it.
            await load.finish()
            assert service.memory_kib - before_kib < GROWTH_KIB_MAX
            for consumer, batches in slow.items():
                async for batch in batches:
                    deliver(consumer, batch)
    ledger.check()


async def test_many_consumers_wait_for_the_next_event(
    tmp_path: pathlib.Path, new_ledger: NewLedger, seconds: float
) -> None:
    count = IDLE_LONG if seconds >= 60 else IDLE
    ledger = new_ledger(f"{count} idle followers")
    service = Service(tmp_path, "--data", str(tmp_path / "data"), "--calls-max", str(2 * count))
    async with service, Load(service.address, ledger, responses=1, connections=10) as load:
        (response,) = load.responses
        async with load.producing.publish(response) as publisher:
            await publisher.send(CompletionChunk(id=content(response, 0, 1)))
            consumers = [ledger.consumer(response) for _ in range(count)]
            load.run(consume(load.consuming, consumer) for consumer in consumers)
            await load.begun(consumers)
            await asyncio.sleep(seconds)
            await publisher.send(CompletionChunk(id=content(response, 0, 2)))
        ledger.acknowledge(response, 2, is_end=True)
        await load.finish()
    ledger.check()
