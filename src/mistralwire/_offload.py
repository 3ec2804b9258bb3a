"""Conversions that would block the event loop run in threads, scheduled round-robin between callers.

The cost of a conversion depends on the number of values in a document more than on its bytes, so both decide.
A caller never occupies all threads. A job that is cancelled before it starts never runs. One that has started
runs to its end, which the codec's limits bound; it delays only jobs of its own caller, and takes at most one
thread from the others.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import dataclasses
import gc
import os
import sys
import traceback
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from mistralwire.codec import ENGINE

IS_NATIVE = ENGINE == "native"
"""Whether the native engine converts, which releases the GIL for large documents."""

PYTHON_WEIGHT_MAX = 1024
"""Weight up to which the Python engine converts in the event loop: 2 ms for the costliest documents."""

LOOP_WEIGHT_MAX = 16 * 1024 if IS_NATIVE else PYTHON_WEIGHT_MAX
"""Weight up to which this process's engine converts in the event loop: 3 ms at most, in either engine."""

PYTHON_EVENT_BYTES_MAX = 2 * 1024
"""Bytes of a stream that the Python engine converts in one iteration of the event loop: 10 small chunks."""

LOOP_EVENT_BYTES_MAX = 256 * 1024 if IS_NATIVE else PYTHON_EVENT_BYTES_MAX
"""The same for this process's engine: some 1,500 small chunks with the native one."""

SWITCH_INTERVAL_S = 0.0005
"""Seconds that the loop waits for the GIL while a thread converts, in a process of our own."""

JOIN_BYTES_MAX = 1024 * 1024
"""Bytes whose parts are joined in the event loop: allocating this much takes about a millisecond."""

THREADS_MAX = max(2, min(4, os.cpu_count() or 2)) if IS_NATIVE else 2
"""Conversions in threads at one time; with the Python engine they compete with the loop for the GIL."""

# Each value has at least one of these before or in it, in JSON as on the wire, where a message or an element
# of up to 31 bytes has its length, which is a control character. Digits count, since they are the cost of a
# number.
_MARKS = bytes(range(0x20)) + b",:[{0123456789"
# Text costs little; on the wire this also bounds longer elements.
_BYTES_PER_WEIGHT = 32

_caller: contextvars.ContextVar[str] = contextvars.ContextVar("mistralwire_caller", default="")

Converted = TypeVar("Converted")

# Shared by all event loops of the process; each has its own queue.
_threads = concurrent.futures.ThreadPoolExecutor(THREADS_MAX, "mistralwire-offload")
_queues: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, FairQueue]" = weakref.WeakKeyDictionary()


def favour_loop() -> None:
    """Let the loop get the GIL from a converting thread ten times sooner than by Python's default.

    This also freezes the objects loaded so far, since a full garbage collection would block the loop. Both
    affect the whole process, so they are for programs, not for libraries.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()


def set_caller(address: str, authorization: str = "") -> None:
    """Set the caller of this task, and of the tasks that it starts, for the scheduling of conversions.

    The address has no port. The `authorization`, if it was checked, takes precedence over it: all requests
    with one key are of one caller.
    """
    # Not the key itself, which is nowhere else in memory either.
    _caller.set(f"key {hash(authorization.rsplit(maxsplit=1)[-1])}" if authorization else address)


def weight(data: bytes) -> int:
    """Estimate how many values a document has, never too few; a number counts by its digits.

    Args:
        data: JSON text, or the wire bytes of a message.
    """
    return len(data) - len(data.translate(None, _MARKS)) + len(data) // _BYTES_PER_WEIGHT


def is_light(data: bytes, weight_max: int = LOOP_WEIGHT_MAX) -> bool:
    """Check whether the weight of a document is within a bound, in less than a nanosecond a byte."""
    size = len(data)
    if size + size // _BYTES_PER_WEIGHT <= weight_max:
        return True
    return size // _BYTES_PER_WEIGHT <= weight_max and weight(data) <= weight_max


async def in_thread_if_heavy(
    data: bytes, function: Callable[..., Converted], *arguments: Any, weight_max: int = LOOP_WEIGHT_MAX
) -> Converted:
    """Call a thread-safe function that converts a document: in a thread, unless the document is light."""
    if is_light(data, weight_max):
        return function(*arguments)
    return await in_thread(function, *arguments)


async def in_thread(function: Callable[..., Converted], *arguments: Any) -> Converted:
    """Call a function in a thread, round-robin with other callers (see `set_caller`)."""
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = FairQueue(_threads, THREADS_MAX)
    return await queue.run(_caller.get(), function, *arguments)


@dataclasses.dataclass(slots=True, eq=False)
class _Job:
    caller: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]


class FairQueue:
    """Runs jobs in a bounded number of threads, round-robin between callers; for one event loop.

    A caller occupies at most all threads but one, so that no job waits for those of a single other caller.
    """

    def __init__(self, executor: concurrent.futures.Executor, running_max: int) -> None:
        self._executor = executor
        self._running_max = running_max
        self._caller_max = max(1, running_max - 1)
        # By caller, the next one first; the inner dict keeps the order of jobs and removes one in constant
        # time.
        self._waiting: dict[str, dict[_Job, None]] = {}
        self._running: collections.Counter[str] = collections.Counter()

    async def run(self, caller: str, function: Callable[..., Converted], *arguments: Any) -> Converted:
        """Call a function in a thread, in the turn of a caller; return or raise what it does.

        If the task is cancelled, the function does not run, unless it has started.
        """
        job = _Job(caller, function, arguments, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(caller, {})[job] = None
        self._start()
        try:
            result: Converted = await job.future
        except asyncio.CancelledError:
            self._drop(job)
            raise
        finally:
            # An error's traceback references this frame, and the job references the error.
            del job
        return result

    def _drop(self, job: _Job) -> None:
        jobs = self._waiting.get(job.caller, {})
        jobs.pop(job, None)
        if not jobs:
            self._waiting.pop(job.caller, None)

    def _start(self) -> None:
        while self._running.total() < self._running_max:
            caller = next((name for name in self._waiting if self._running[name] < self._caller_max), None)
            if caller is None:
                return
            jobs = self._waiting.pop(caller)
            job = next(iter(jobs))
            del jobs[job]
            if jobs:
                # Behind all other callers.
                self._waiting[caller] = jobs
            if job.future.cancelled():
                # In this iteration of the loop, so its task has not been resumed yet.
                continue
            self._running[caller] += 1
            self._executor.submit(self._work, job)

    def _work(self, job: _Job) -> None:
        result, error = None, None
        try:
            result = job.function(*job.arguments)
        except BaseException as raised:  # noqa: BLE001 - it is raised where the job is awaited
            error = raised
            # Free their locals here, rather than in the event loop with the error.
            traceback.clear_frames(error.__traceback__)
        # If the loop was closed meanwhile, nobody waits for the result.
        with contextlib.suppress(RuntimeError):
            job.future.get_loop().call_soon_threadsafe(self._end, job, result, error)
        # Its traceback references this frame, and so the document.
        del error

    def _end(self, job: _Job, result: Any, error: BaseException | None) -> None:
        self._running[job.caller] -= 1
        if not self._running[job.caller]:
            del self._running[job.caller]
        if not job.future.done():
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)
                # Marked as retrieved, even if the task is cancelled before it resumes.
                job.future.exception()
        self._start()
