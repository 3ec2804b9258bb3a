"""Conversions that would hold the event loop: large ones run in threads, which callers take in turns.

What a conversion costs follows from the values of a document rather than from its bytes, so both decide. A
caller never has all threads: where several wait, each gets one in turn. A job that is cancelled before it has
begun never runs. One that has begun runs to its end, which the codec's limits bound; it delays only what its
own caller asks for, and at worst takes one thread from the others.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
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
"""Weight up to which the Python engine converts in the event loop: 2 ms for the dearest documents."""

LOOP_WEIGHT_MAX = 16 * 1024 if IS_NATIVE else PYTHON_WEIGHT_MAX
"""Weight up to which this process's engine converts in the event loop: 3 ms at most, in either engine."""

PYTHON_EVENT_BYTES_MAX = 2 * 1024
"""Bytes of a stream that the Python engine converts in one turn of the event loop: some 10 small chunks."""

LOOP_EVENT_BYTES_MAX = 256 * 1024 if IS_NATIVE else PYTHON_EVENT_BYTES_MAX
"""The same for this process's engine: some 1,500 small chunks with the native one."""

SWITCH_INTERVAL_S = 0.0005
"""How long the loop waits for the GIL where a thread converts, in a process of our own."""

JOIN_BYTES_MAX = 1024 * 1024
"""Bytes whose parts are joined in the event loop: new memory costs most, a millisecond for so much."""

THREADS_MAX = max(2, min(4, os.cpu_count() or 2)) if IS_NATIVE else 2
"""Conversions in threads at one time; with the Python engine they compete with the loop for the GIL."""

# Each value has at least one of these before or in it, in JSON as on the wire: there a message or an element
# of up to 31 bytes has its length, which is a control character. Digits count, since numbers cost by them.
_MARKS = bytes(range(0x20)) + b",:[{0123456789"
# Text costs little, but something; on the wire it is also a bound for longer elements.
_BYTES_A_WEIGHT = 32

# Who asked for the work of this context.
_caller: contextvars.ContextVar[str] = contextvars.ContextVar("mistralwire_caller", default="")

R = TypeVar("R")

# All event loops of a process share the threads, and each has its queue.
_threads = concurrent.futures.ThreadPoolExecutor(THREADS_MAX, "mistralwire-offload")
_queues: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, FairQueue]" = weakref.WeakKeyDictionary()


def favour_loop() -> None:
    """Let the loop get the GIL soon while a thread converts: ten times sooner than is usual for Python.

    What the process has loaded is also left out of garbage collections, a full one of which holds the loop.
    Both are for the whole process, and so for programs that own theirs.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()


def set_caller(address: str, authorization: str = "") -> None:
    """Say who asks for what this task, and the tasks that it starts, convert in threads.

    Args:
        address: The caller's address, without a port.
        authorization: Their `authorization` if it was checked, which counts before the address: all of one
            key are one caller.
    """
    # Not the key itself: nothing else in memory shows it either.
    _caller.set(f"key {hash(authorization.rsplit(maxsplit=1)[-1])}" if authorization else address)


def weight(data: bytes) -> int:
    """Return about how many values a document has, rather too many; a number counts by its digits.

    Args:
        data: JSON text, or the wire bytes of a message.
    """
    return len(data) - len(data.translate(None, _MARKS)) + len(data) // _BYTES_A_WEIGHT


def is_light(data: bytes, weight_max: int = LOOP_WEIGHT_MAX) -> bool:
    """Check whether the weight of a document is within a bound, at less than a nanosecond a byte.

    Args:
        data: JSON text, or the wire bytes of a message.
        weight_max: The bound.
    """
    size = len(data)
    if size + size // _BYTES_A_WEIGHT <= weight_max:
        return True
    return size // _BYTES_A_WEIGHT <= weight_max and weight(data) <= weight_max


async def convert(
    data: bytes, function: Callable[..., R], *arguments: Any, weight_max: int = LOOP_WEIGHT_MAX
) -> R:
    """Call a function that converts a document: in the event loop if it is light, otherwise in a thread.

    Args:
        data: The document, as JSON text or wire bytes: its weight decides.
        function: The function; it must not touch what belongs to the event loop.
        arguments: Its arguments.
        weight_max: Weight up to which it runs in the event loop.

    Returns:
        What the function returns.

    Raises:
        BaseException: What the function raises.
    """
    if is_light(data, weight_max):
        return function(*arguments)
    return await in_thread(function, *arguments)


async def in_thread(function: Callable[..., R], *arguments: Any) -> R:
    """Call a function in a thread, in turn with other callers (see `set_caller`); otherwise as `convert`."""
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = FairQueue(_threads, THREADS_MAX)
    return await queue.run(_caller.get(), function, *arguments)


class _Job:
    """A call that waits for a thread, or runs in one."""

    __slots__ = ("arguments", "caller", "function", "future")

    def __init__(
        self,
        caller: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        future: asyncio.Future[Any],
    ) -> None:
        self.caller = caller
        self.function = function
        self.arguments = arguments
        self.future = future


class FairQueue:
    """Runs calls in a bounded number of threads, in turns between callers; it belongs to one event loop.

    A caller has at most all threads but one, so that another's call never waits for those of a single caller.

    Args:
        executor: The threads.
        running_max: Calls that run at one time, 1 or more.
    """

    def __init__(self, executor: concurrent.futures.Executor, running_max: int) -> None:
        self._executor = executor
        self._running_max = running_max
        self._caller_max = max(1, running_max - 1)
        # By caller, who has the next turn first; a dict for the order of jobs, and to drop one at once.
        self._waiting: dict[str, dict[_Job, None]] = {}
        self._running: collections.Counter[str] = collections.Counter()

    async def run(self, caller: str, function: Callable[..., R], *arguments: Any) -> R:
        """Call a function in a thread.

        Args:
            caller: Who asked for it.
            function: The function.
            arguments: Its arguments.

        Returns:
            What it returns.

        Raises:
            asyncio.CancelledError: If the task is cancelled; the function then does not run, unless it has
                begun.
            BaseException: What the function raises.
        """
        job = _Job(caller, function, arguments, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(caller, {})[job] = None
        self._start()
        try:
            result: R = await job.future
        except asyncio.CancelledError:
            self._drop(job)
            raise
        finally:
            # An error's traceback holds this frame, and the job holds the error.
            del job
        return result

    def _drop(self, job: _Job) -> None:
        """Forget a job that waits, and what it holds."""
        jobs = self._waiting.get(job.caller, {})
        jobs.pop(job, None)
        if not jobs:
            self._waiting.pop(job.caller, None)

    def _start(self) -> None:
        """Start as many jobs as there is room for."""
        while self._running.total() < self._running_max:
            caller = next((name for name in self._waiting if self._running[name] < self._caller_max), None)
            if caller is None:
                return
            jobs = self._waiting.pop(caller)
            job = next(iter(jobs))
            del jobs[job]
            if jobs:
                # Behind all others who wait.
                self._waiting[caller] = jobs
            if job.future.cancelled():
                # In this turn of the loop; its task has not heard of it yet.
                continue
            self._running[caller] += 1
            self._executor.submit(self._work, job)

    def _work(self, job: _Job) -> None:
        """Run a job, in its thread."""
        result, error = None, None
        try:
            result = job.function(*job.arguments)
        except BaseException as raised:  # noqa: BLE001 - it is raised where the job is awaited
            error = raised
            # What they hold is freed here, rather than in the event loop with the error.
            traceback.clear_frames(error.__traceback__)
        # The loop is closed where a program ended meanwhile: nobody waits for the result.
        with contextlib.suppress(RuntimeError):
            job.future.get_loop().call_soon_threadsafe(self._end, job, result, error)
        # Its traceback holds this frame, and so the document.
        del error

    def _end(self, job: _Job, result: Any, error: BaseException | None) -> None:
        """Hand over what came of a job, and start the next."""
        self._running[job.caller] -= 1
        if not self._running[job.caller]:
            del self._running[job.caller]
        if not job.future.done():
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)
                # Retrieved, whether or not the task is cancelled before it hears of it.
                job.future.exception()
        self._start()
