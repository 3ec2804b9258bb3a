"""Timers that share one timer of the event loop, and idle timers."""

import asyncio
import weakref
from collections.abc import Callable

import pytest

from mistralwire._timeouts import IdleTimer, Timeouts

SHORT_S, LONG_S = 0.02, 0.04


def _heard(heard: list[str], name: str) -> Callable[[], None]:
    return lambda: heard.append(name)


async def test_timers_expire_in_the_order_of_their_times() -> None:
    timeouts, heard = Timeouts(), list[str]()
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    for name in ("a", "b"):
        timeouts.start(LONG_S, name, _heard(heard, name))
    due_s = timeouts.start(LONG_S, "last", done.set)
    timeouts.start(SHORT_S, "short", _heard(heard, "short"))
    await done.wait()
    assert heard == ["short", "a", "b"]
    assert started_s + LONG_S <= due_s <= loop.time() + 0.001


async def test_one_that_is_stopped_does_not_expire() -> None:
    timeouts, heard = Timeouts(), list[str]()
    done = asyncio.Event()
    for name in ("a", "b"):
        timeouts.start(SHORT_S, name, _heard(heard, name))
    timeouts.stop(SHORT_S, "a")
    timeouts.stop(SHORT_S, "none")
    timeouts.stop(1.0, "a")
    timeouts.start(SHORT_S, "last", done.set)
    await done.wait()
    assert heard == ["b"]


async def test_one_that_is_started_by_another_that_expires_has_its_whole_time() -> None:
    timeouts, heard = Timeouts(), list[str]()
    done = asyncio.Event()
    first_is_over = False

    def start_another() -> None:
        nonlocal first_is_over
        first_is_over = True
        timeouts.start(SHORT_S, "another", done.set)

    timeouts.start(SHORT_S, "first", start_another)
    timeouts.start(SHORT_S, "second", _heard(heard, "second"))
    await done.wait()
    assert first_is_over
    assert heard == ["second"]


async def test_a_callback_that_raises_leaves_the_others() -> None:
    timeouts, done, raised = Timeouts(), asyncio.Event(), list[str]()

    def fail() -> None:
        raise ZeroDivisionError

    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: raised.append(type(context["exception"]).__name__)
    )
    timeouts.start(SHORT_S, "a", fail)
    timeouts.start(SHORT_S, "b", done.set)
    await done.wait()
    assert raised == ["ZeroDivisionError"]


async def test_all_of_one_length_take_one_timer_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, timers = asyncio.get_running_loop(), 0

    def call_at(*arguments: object) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return original(*arguments)  # type: ignore[arg-type]

    original = loop.call_at
    monkeypatch.setattr(loop, "call_at", call_at)
    timeouts = Timeouts()
    for number in range(100):
        timeouts.start(60.0, number, lambda: None)
        timeouts.stop(60.0, number)
    assert timers == 1
    # Lengths that are not used any more are not kept.
    for number in range(100):
        timeouts.start(60.0 + number, number, lambda: None)
        timeouts.stop(60.0 + number, number)
    assert len(timeouts._queues) <= 17


async def test_an_idle_timer_expires_once_after_its_last_start() -> None:
    timer, heard, loop = IdleTimer(), list[str](), asyncio.get_running_loop()
    done = asyncio.Event()
    # Far from its end, on a machine that does much else, too.
    timer.start(25 * SHORT_S, _heard(heard, "first"))
    await asyncio.sleep(SHORT_S)
    restarted_s = loop.time()
    timer.start(25 * SHORT_S, done.set)
    assert timer.is_running
    await done.wait()
    assert loop.time() >= restarted_s + 25 * SHORT_S
    assert not timer.is_running
    assert not heard


async def test_an_idle_timer_expires_earlier_if_it_is_restarted_with_less() -> None:
    timer, done = IdleTimer(), asyncio.Event()
    timer.start(3600, pytest.fail)
    timer.start(SHORT_S, done.set)
    async with asyncio.timeout(30):
        await done.wait()


@pytest.mark.parametrize("end", [IdleTimer.stop, IdleTimer.close])
async def test_an_idle_timer_that_has_ended_does_not_expire_until_it_is_started(
    end: Callable[[IdleTimer], None],
) -> None:
    timer, heard, done = IdleTimer(), list[str](), asyncio.Event()
    timer.start(SHORT_S, _heard(heard, "ended"))
    end(timer)
    await asyncio.sleep(2 * SHORT_S)
    assert not heard
    timer.start(SHORT_S, done.set)
    await done.wait()


async def test_an_idle_timer_that_restarts_in_its_callback_goes_on() -> None:
    timer, heard, done = IdleTimer(), list[str](), asyncio.Event()

    def again() -> None:
        heard.append("again")
        timer.start(SHORT_S, again if len(heard) < 3 else done.set)

    timer.start(SHORT_S, again)
    await done.wait()
    assert heard == ["again"] * 3


@pytest.mark.parametrize("is_shared", [False, True])
async def test_an_idle_timer_that_is_put_off_expires_at_the_later_time(is_shared: bool) -> None:
    timer, loop, done = IdleTimer(), asyncio.get_running_loop(), asyncio.Event()
    timer.start(SHORT_S, done.set, Timeouts() if is_shared else None)
    timer.due_s = due_s = loop.time() + LONG_S
    await done.wait()
    assert loop.time() >= due_s - 0.001


@pytest.mark.parametrize("end", [IdleTimer.stop, IdleTimer.close])
async def test_an_idle_timer_that_shares_one_can_be_restarted_or_ended(
    end: Callable[[IdleTimer], None],
) -> None:
    timer, ended, timeouts, done = IdleTimer(), IdleTimer(), Timeouts(), asyncio.Event()
    timer.start(3600, pytest.fail, timeouts)
    timer.start(SHORT_S, done.set, timeouts)
    ended.start(SHORT_S, pytest.fail, timeouts)
    end(ended)
    async with asyncio.timeout(30):
        await done.wait()


@pytest.mark.parametrize("is_shared", [False, True])
async def test_an_idle_timer_that_is_closed_refers_to_nothing(is_shared: bool) -> None:
    class Owner:
        def expired(self) -> None: ...

    owner, timer, timeouts = Owner(), IdleTimer(), Timeouts()
    timer.start(3600, owner.expired, timeouts if is_shared else None)
    released = weakref.ref(owner)
    del owner
    assert released() is not None
    timer.close()
    assert released() is None
