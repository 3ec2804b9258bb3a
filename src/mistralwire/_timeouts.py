"""Timers that nearly always stop or restart before they expire."""

import asyncio
import math
from collections.abc import Callable

# Beyond so many lengths, the queue of one that is not in use is dropped at once.
_QUEUES_MAX = 16


class IdleTimer:
    """A timer that is restarted often, at the cost of an assignment, for the event loop that runs.

    The loop's own timer is moved to the new time only when it expires.

    Attributes:
        due_s: When it expires, on the clock of the event loop; assign a later time to put it off.
    """

    __slots__ = ("_delay_s", "_expired", "_handle", "_loop", "_timeouts", "_wakes_s", "due_s")

    def __init__(self) -> None:
        self.due_s = self._wakes_s = math.inf
        self._loop = asyncio.get_running_loop()
        self._expired: Callable[[], object] | None = None
        self._handle: asyncio.TimerHandle | None = None
        # Where it shares the loop's timer, and for which delay.
        self._timeouts: Timeouts | None = None
        self._delay_s = 0.0

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor has expired."""
        return self._expired is not None

    def start(
        self, delay_s: float, expired: Callable[[], object], timeouts: "Timeouts | None" = None
    ) -> None:
        """Start or restart the timer: it calls `expired` in `delay_s` seconds.

        With `timeouts`, timers that start with the same delay share one timer of the loop at first.
        """
        self._expired = expired
        if timeouts is not None and self._wakes_s == math.inf:
            self._timeouts, self._delay_s = timeouts, delay_s
            self.due_s = self._wakes_s = timeouts.start(delay_s, self, self._wake)
            return
        self.due_s = self._loop.time() + delay_s
        if self.due_s < self._wakes_s:
            self._disarm()
            self._arm()

    def stop(self) -> None:
        """Stop the timer; the loop's own stays for the next start."""
        self._expired = None

    def close(self) -> None:
        """Stop the timer, and the loop's own."""
        self._expired = None
        self._disarm()

    def _arm(self) -> None:
        self._wakes_s = self.due_s
        self._handle = self._loop.call_at(self.due_s, self._wake)

    def _disarm(self) -> None:
        self._wakes_s = math.inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._timeouts is not None:
            self._timeouts.stop(self._delay_s, self)
            self._timeouts = None

    def _wake(self) -> None:
        self._disarm()
        expired = self._expired
        if expired is None:
            return
        if self.due_s > self._loop.time():
            self._arm()
        else:
            self._expired = None
            expired()


class Timeouts:
    """Many timers of few lengths, each at the cost of a dict entry; for one event loop.

    Timers of one length expire in the order of their starts, so they share one timer of the loop. It stays
    when they are stopped, for those that follow.
    """

    def __init__(self) -> None:
        self._queues: dict[float, _Queue] = {}

    def start(self, delay_s: float, owner: object, expired: Callable[[], None]) -> float:
        """Start a timer; return when it expires, on the clock of the event loop.

        An owner has at most one timer of each length.
        """
        queue = self._queues.get(delay_s)
        if queue is None:
            queue = self._queues[delay_s] = _Queue(delay_s)
        return queue.add(owner, expired)

    def stop(self, delay_s: float, owner: object) -> None:
        """Stop a timer; no effect if it has expired."""
        queue = self._queues.get(delay_s)
        if queue is not None:
            queue.running.pop(owner, None)
            if not queue.running and len(self._queues) > _QUEUES_MAX:
                queue.close()
                del self._queues[delay_s]


class _Queue:
    """The timers of one length.

    Attributes:
        running: Expiry and callback of each by its owner, the next to expire at the front.
    """

    __slots__ = ("_delay_s", "_loop", "_timer", "running")

    def __init__(self, delay_s: float) -> None:
        self.running: dict[object, tuple[float, Callable[[], None]]] = {}
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, owner: object, expired: Callable[[], None]) -> float:
        due_s = self._loop.time() + self._delay_s
        self.running[owner] = (due_s, expired)
        if self._timer is None:
            self._timer = self._loop.call_at(due_s, self._expire)
        return due_s

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        """Call back the timers that have expired, and wait for the next one."""
        now_s = self._loop.time()
        try:
            while (first := next(iter(self.running.items()), None)) is not None:
                owner, (due_s, expired) = first
                if due_s > now_s:
                    break
                del self.running[owner]
                expired()
        finally:
            # Until here the loop's timer counts as set, so that none started meanwhile sets it.
            due_s, _ = next(iter(self.running.values()), (0.0, None))
            self._timer = self._loop.call_at(due_s, self._expire) if self.running else None
