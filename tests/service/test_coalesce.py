"""A coroutine that is started eagerly runs as in a task, except for its first step."""

import asyncio

import pytest

from mistralwire.service._coalesce import EagerCall


async def test_it_runs_up_to_where_it_waits_at_once_and_then_to_its_end() -> None:
    steps: list[str] = []
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def work() -> None:
        steps.append("started")
        steps.append(await future)
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        steps.append("ended")

    def on_done(error: BaseException | None) -> None:
        assert error is None
        done.set()

    assert not EagerCall(work(), on_done).start()
    assert steps == ["started"]
    future.set_result("went on")
    await done.wait()
    assert steps == ["started", "went on", "ended"]


async def test_what_waits_for_nothing_is_over_when_it_was_started() -> None:
    async def work() -> None:
        pass

    assert EagerCall(work(), lambda error: pytest.fail("called")).start()


async def test_an_error_before_the_first_wait_is_raised_where_it_was_started() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        EagerCall(work(), lambda error: pytest.fail("called")).start()


@pytest.mark.parametrize("error", [LookupError(), asyncio.CancelledError()])
async def test_a_later_error_is_handed_on(error: BaseException) -> None:
    errors: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def work() -> None:
        await asyncio.sleep(0)
        raise error

    EagerCall(work(), errors.put_nowait).start()
    assert await errors.get() is error


async def test_cancelling_it_cancels_what_it_waits_for() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    errors: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def work() -> None:
        await future

    call = EagerCall(work(), errors.put_nowait)
    call.start()
    call.cancel()
    assert isinstance(await errors.get(), asyncio.CancelledError)
    assert future.cancelled()
    # No effect on one that is over.
    call.cancel()
