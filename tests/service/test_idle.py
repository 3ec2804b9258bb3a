"""The timer goes off when nothing came for as long as it was awaited, and only then."""

import asyncio

from mistralwire.service._idle import IdleTimer
from tests.clock import JumpingLoop


def run(script: list[tuple[float, str]], limit_s: float = 10) -> float | None:
    """Do each step at its time; give the time at which the timer went off, None if it did not."""

    async def main() -> float | None:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        with IdleTimer(limit_s, lambda: times.append(loop.time())) as timer:
            for when_s, name in script:
                await asyncio.sleep(when_s - loop.time())
                if name != "end":
                    getattr(timer, name)()
        assert timer.has_gone_off is bool(times)
        return times[0] if times else None

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main())


def test_it_goes_off_at_its_limit() -> None:
    assert run([(0, "wait"), (100, "end")]) == 10


def test_it_begins_anew_with_each_wait() -> None:
    assert run([(0, "wait"), (9, "wait"), (18, "wait"), (100, "end")]) == 28


def test_it_never_goes_off_at_rest() -> None:
    assert run([(100, "end")]) is None
    assert run([(5, "wait"), (6, "rest"), (100, "end")]) is None


def test_a_wait_after_a_rest_has_the_whole_limit() -> None:
    assert run([(0, "wait"), (5, "rest"), (23, "wait"), (100, "end")]) == 33


def test_it_does_not_go_off_after_its_end() -> None:
    assert run([(0, "wait"), (9, "end")]) is None
