"""Conversions in threads: which are light, scheduling between callers, and jobs nobody waits for."""

import asyncio
import concurrent.futures
import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire import _offload
from mistralwire._offload import FairQueue, in_thread_if_heavy, is_light, set_caller, weight
from mistralwire.v1 import ChatCompletionRequest, ChatMessage, UserMessage

_SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner), max_leaves=60
)


def _count(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(items) + sum(map(_count, items))


@given(_VALUES)
def test_the_weight_of_json_is_no_less_than_its_values(value: Any) -> None:
    assert weight(orjson.dumps(value)) >= _count(value)


@pytest.mark.parametrize("text", ["", "x" * 31, "x" * 32, "x" * 1000])
def test_the_weight_of_a_message_is_no_less_than_its_elements(text: str) -> None:
    message: Message = ChatCompletionRequest(
        messages=[ChatMessage(user=UserMessage(content_string=text))] * 100, stop_array={"items": [text] * 50}
    )
    assert weight(message.SerializeToString()) >= 150


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", True),
        (b"," * 9, True),
        (b"," * 10, True),
        (b"," * 11, False),
        (b"1e10" * 3 + b"1", True),
        (b"1e10" * 4, False),
        (b"x" * 11, True),
        (b"x" * 351, True),
        (b"x" * 352, False),
    ],
)
def test_values_and_bytes_decide_what_is_light(data: bytes, expected: bool) -> None:
    assert is_light(data, 10) is expected


async def test_what_is_light_is_converted_in_the_loop_and_the_rest_in_a_thread() -> None:
    def convert_one(number: int) -> tuple[int, threading.Thread]:
        return number, threading.current_thread()

    assert await in_thread_if_heavy(b"," * 10, convert_one, 1, weight_max=10) == (1, threading.main_thread())
    number, thread = await in_thread_if_heavy(b"," * 11, convert_one, 2, weight_max=10)
    assert number == 2
    assert thread is not threading.main_thread()


class OddError(BaseException):
    """An unexpected exception."""


@pytest.mark.parametrize("error", [ValueError("no"), OddError("no")])
@pytest.mark.parametrize("weight_max", [0, 10])
async def test_what_a_conversion_raises_is_raised_where_it_is_awaited(
    error: BaseException, weight_max: int
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await in_thread_if_heavy(b",", fail, weight_max=weight_max)
    assert caught.value is error


class HeldThreads(concurrent.futures.Executor):
    """Runs submitted jobs when the test asks for it."""

    def __init__(self) -> None:
        self.submitted: list[Callable[[], Any]] = []

    def submit(self, fn: Any, /, *arguments: Any, **options: Any) -> concurrent.futures.Future[Any]:
        self.submitted.append(lambda: fn(*arguments, **options))
        return concurrent.futures.Future()

    async def finish(self, index: int = 0) -> None:
        """Run a job to its end, and report that to the queue."""
        self.submitted.pop(index)()
        await _settle()


class Jobs:
    """Jobs of a queue, by name: the name begins with its caller, and is what the job returns.

    Attributes:
        begun: The names of those that a thread has run, in order.
    """

    def __init__(self, running_max: int) -> None:
        self.threads = HeldThreads()
        self.begun: list[str] = []
        self.tasks: dict[str, asyncio.Task[str]] = {}
        self._queue = FairQueue(self.threads, running_max)

    async def ask(self, *names: str) -> None:
        for name in names:
            run = self._queue.run(name[0], self._convert, name)
            self.tasks[name] = asyncio.create_task(run)
        await _settle()

    async def cancel(self, *names: str) -> None:
        for name in names:
            self.tasks[name].cancel()
        await _settle()

    def _convert(self, name: str) -> str:
        self.begun.append(name)
        return name


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_jobs_run_than_there_are_threads() -> None:
    jobs = Jobs(3)
    await jobs.ask("a1", "b1", "c1", "d1", "e1")
    assert len(jobs.threads.submitted) == 3
    for _ in range(5):
        assert len(jobs.threads.submitted) <= 3
        await jobs.threads.finish()
    assert [await task for task in jobs.tasks.values()] == ["a1", "b1", "c1", "d1", "e1"]


async def test_a_caller_never_has_all_threads() -> None:
    jobs = Jobs(3)
    await jobs.ask("a1", "a2", "a3", "a4")
    assert len(jobs.threads.submitted) == 2
    await jobs.ask("b1")
    assert len(jobs.threads.submitted) == 3
    await jobs.threads.finish(2)
    assert jobs.begun == ["b1"]
    # The third thread stays free for others.
    assert len(jobs.threads.submitted) == 2


async def test_a_single_thread_serves_everybody() -> None:
    jobs = Jobs(1)
    await jobs.ask("a1", "a2", "a3", "b1")
    for _ in range(4):
        assert len(jobs.threads.submitted) == 1
        await jobs.threads.finish()
    assert jobs.begun == ["a1", "a2", "b1", "a3"]


async def test_callers_take_turns() -> None:
    jobs = Jobs(2)
    await jobs.ask("x1", *(f"a{number}" for number in range(4)), "b1", "b2", "c1")
    # The first of x holds its thread; the others share the second one.
    for _ in range(7):
        await jobs.threads.finish(1)
    assert jobs.begun == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]


async def test_a_cancelled_job_that_waits_never_runs_and_frees_its_place() -> None:
    jobs = Jobs(2)
    await jobs.ask("a1", "a2", "a3", "b1", "b2")
    await jobs.cancel("a2", "b2")
    await jobs.threads.finish()
    await jobs.threads.finish()
    await jobs.threads.finish()
    assert jobs.begun == ["a1", "b1", "a3"]
    assert jobs.threads.submitted == []
    assert {name for name, task in jobs.tasks.items() if task.cancelled()} == {"a2", "b2"}


async def test_a_waiting_job_that_is_cancelled_as_a_thread_becomes_free_never_runs() -> None:
    jobs = Jobs(1)
    await jobs.ask("a1", "a2", "b1")
    # The thread's end comes first: the cancelled tasks have not run again by then.
    jobs.threads.submitted.pop()()
    jobs.tasks["a2"].cancel()
    jobs.tasks["b1"].cancel()
    await _settle()
    assert jobs.begun == ["a1"]
    assert jobs.threads.submitted == []
    await jobs.ask("b2")
    await jobs.threads.finish()
    assert jobs.begun == ["a1", "b2"]


async def test_a_cancelled_job_that_runs_keeps_its_thread_and_frees_it_at_its_end() -> None:
    jobs = Jobs(2)
    await jobs.ask("a1", "a2")
    await jobs.cancel("a1")
    assert jobs.tasks["a1"].cancelled()
    assert len(jobs.threads.submitted) == 1
    await jobs.threads.finish()
    assert len(jobs.threads.submitted) == 1
    await jobs.threads.finish()
    assert await jobs.tasks["a2"] == "a2"


async def test_real_threads_are_bounded_over_many_callers() -> None:
    running, most = 0, 0
    lock = threading.Lock()
    has_filled = threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == _offload.THREADS_MAX:
                has_filled.set()
        # All threads are in use at one time.
        assert has_filled.wait(30)
        with lock:
            running -= 1

    async def ask(number: int) -> None:
        set_caller(f"10.0.0.{number}")
        await _offload.in_thread(work)

    await asyncio.gather(*(ask(number) for number in range(20)))
    assert most == _offload.THREADS_MAX


def test_a_process_of_our_own_waits_less_for_the_gil_and_for_the_garbage_collector() -> None:
    usual_s = sys.getswitchinterval()
    try:
        _offload.favour_loop()
        assert sys.getswitchinterval() == pytest.approx(_offload.SWITCH_INTERVAL_S)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        sys.setswitchinterval(usual_s)


class Held:
    """A conversion that waits until it may go on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._may_go_on = threading.Event()
        self.has_begun = asyncio.Event()

    def __call__(self) -> None:
        self._loop.call_soon_threadsafe(self.has_begun.set)
        assert self._may_go_on.wait(30)

    def let_go_on(self) -> None:
        self._may_go_on.set()


async def _ask_as(address: str, authorization: str, function: Callable[[], Any]) -> Any:
    set_caller(address, authorization)
    return await _offload.in_thread(function)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (("10.0.0.1", ""), ("10.0.0.1", ""), True),
        (("10.0.0.1", ""), ("10.0.0.2", ""), False),
        (("10.0.0.1", "Bearer k1"), ("10.0.0.2", "bearer  k1 "), True),
        (("10.0.0.1", "Bearer k1"), ("10.0.0.1", "Bearer k2"), False),
    ],
)
async def test_a_caller_is_a_key_or_else_an_address(
    monkeypatch: pytest.MonkeyPatch, first: tuple[str, str], second: tuple[str, str], is_same: bool
) -> None:
    threads = HeldThreads()
    queue = FairQueue(threads, 2)
    monkeypatch.setitem(_offload._queues, asyncio.get_running_loop(), queue)
    tasks = [asyncio.create_task(_ask_as(*caller, lambda: None)) for caller in (first, second)]
    await _settle()
    assert len(threads.submitted) == (1 if is_same else 2)
    while threads.submitted:
        await threads.finish()
    await asyncio.gather(*tasks)


def test_a_loop_that_ends_before_a_job_leaves_the_threads_to_the_next_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def abandon() -> Held:
        held = Held()
        task = asyncio.create_task(_offload.in_thread(held))
        await held.has_begun.wait()
        task.cancel()
        return held

    async def ask() -> str:
        return await _offload.in_thread(lambda: "done")

    held = asyncio.run(abandon())
    held.let_go_on()
    assert asyncio.run(ask()) == "done"
    assert caplog.records == []
