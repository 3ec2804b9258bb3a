"""What followers cost."""

import asyncio
import contextlib
import pathlib
import tracemalloc
from collections.abc import Iterator

import pytest

from mistralwire.log import Batch, MemoryLog, Opening, SqliteLog
from tests.log.exchanges import FINISHED, Follower, append

EVENT_BYTES = 50_000


@contextlib.contextmanager
def _traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def test_a_follower_that_reads_nothing_costs_no_more_with_each_event(tmp_path: pathlib.Path) -> None:
    log = SqliteLog(tmp_path / "log")
    await log.start()
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a")
    deliveries = log.follow("r")
    await anext(deliveries)
    with _traced():
        for number in range(2, 102):
            await append(log, "r", number, str(number % 10) * EVENT_BYTES)
        held = tracemalloc.get_traced_memory()[0]
    assert held < 20 * EVENT_BYTES
    await append(log, "r", 102, "z", end=FINISHED)
    lasts = [delivery.batches[-1].last async for delivery in deliveries]
    assert lasts == sorted(lasts)
    assert lasts[-1] == 102
    await log.close()


async def test_followers_of_one_response_share_its_bytes() -> None:
    log = MemoryLog()
    await log.open(Opening(id="r"))
    found: list[Batch] = []

    async def follow() -> None:
        async for delivery in log.follow("r"):
            found.extend(delivery.batches)

    tasks = [asyncio.create_task(follow()) for _ in range(100)]
    await asyncio.sleep(0)
    await append(log, "r", 1, "a", end=FINISHED)
    await asyncio.gather(*tasks)
    assert len(found) == 100
    assert len({id(batch.data) for batch in found}) == 1


async def test_followers_that_have_left_an_idle_response_are_forgotten() -> None:
    log = MemoryLog()
    await log.open(Opening(id="r"))
    staying = Follower(log, "r")
    for _ in range(100):
        leaving = Follower(log, "r")
        await asyncio.sleep(0)
        await leaving.stop()
    assert len(log._feeds._feeds["r"]._waiting) == 1
    await staying.stop()
    assert not log._feeds._feeds


async def test_followers_of_a_closed_log_raise_errors_of_their_own() -> None:
    log = MemoryLog()
    await log.open(Opening(id="r"))
    followers = [Follower(log, "r") for _ in range(3)]
    await asyncio.sleep(0)
    await log.close()
    errors = await asyncio.gather(*(follower.task for follower in followers), return_exceptions=True)
    assert len({id(error) for error in errors}) == 3


@pytest.mark.slow
async def test_ten_thousand_idle_followers_cost_little_and_miss_nothing() -> None:
    log = MemoryLog()
    for name in range(100):
        await log.open(Opening(id=str(name)))
    with _traced():
        followers = [Follower(log, str(number % 100)) for number in range(10_000)]
        await asyncio.sleep(0)
        held = tracemalloc.get_traced_memory()[0]
    assert held < 10_000 * 8_000
    for name in range(100):
        await append(log, str(name), 1, str(name), end=FINISHED)
    for number, follower in enumerate(followers):
        assert await follower.ended() == [str(number % 100)]


async def test_a_follower_who_is_behind_reads_a_little_at_a_time(tmp_path: pathlib.Path) -> None:
    log = SqliteLog(tmp_path / "log")
    await log.start()
    await log.open(Opening(id="r"))
    for number in range(1, 41):
        await append(log, "r", number, "a" * EVENT_BYTES, end=FINISHED if number == 40 else None)
    sizes = [sum(len(batch.data) for batch in delivery.batches) async for delivery in log.follow("r")]
    assert sum(sizes) >= 40 * EVENT_BYTES
    assert max(sizes) < 6 * EVENT_BYTES
    await log.close()
