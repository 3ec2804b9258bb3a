"""The upstream gets so many calls at one time, so many wait in order, and the rest is turned away."""

import asyncio

import pytest

from mistralwire.errors import OverloadError
from mistralwire.service._slots import UpstreamSlots


class Call:
    """A call that holds a slot until it is told to end."""

    def __init__(self, slots: UpstreamSlots) -> None:
        self.has_slot = asyncio.Event()
        self.may_end = asyncio.Event()
        self.task = asyncio.create_task(self._run(slots))

    async def _run(self, slots: UpstreamSlots) -> None:
        async with slots:
            self.has_slot.set()
            await self.may_end.wait()


async def test_calls_wait_in_the_order_of_their_coming() -> None:
    slots = UpstreamSlots(1, 3)
    calls = [Call(slots) for _ in range(4)]
    for number, call in enumerate(calls):
        await call.has_slot.wait()
        assert not any(later.has_slot.is_set() for later in calls[number + 1 :])
        call.may_end.set()
        await call.task


async def test_a_call_beyond_the_queue_is_turned_away_at_once() -> None:
    slots = UpstreamSlots(1, 1)
    calls = [Call(slots) for _ in range(3)]
    with pytest.raises(OverloadError) as caught:
        await calls[2].task

    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "UPSTREAM_BUSY")
    assert caught.value.retry_after_s == 1
    for call in calls[:2]:
        call.may_end.set()
        await call.task


async def test_a_queue_of_none_turns_away_what_finds_no_slot() -> None:
    slots = UpstreamSlots(2, 0)
    calls = [Call(slots), Call(slots)]
    await calls[1].has_slot.wait()
    with pytest.raises(OverloadError):
        await Call(slots).task

    calls[0].may_end.set()
    await calls[0].task
    third = Call(slots)
    await third.has_slot.wait()
    for call in (calls[1], third):
        call.may_end.set()
        await call.task


async def test_a_call_that_is_cancelled_while_it_waits_leaves_its_place_to_others() -> None:
    slots = UpstreamSlots(1, 1)
    first, second = Call(slots), Call(slots)
    await first.has_slot.wait()
    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task

    third = Call(slots)
    first.may_end.set()
    await third.has_slot.wait()
    third.may_end.set()
    await asyncio.gather(first.task, third.task)


async def test_a_call_that_fails_gives_its_slot_back() -> None:
    slots = UpstreamSlots(1, 0)
    with pytest.raises(ZeroDivisionError):
        async with slots:
            raise ZeroDivisionError
    async with slots:
        pass
