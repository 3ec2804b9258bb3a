"""Many timers of few lengths, nearly all of which are stopped before they expire."""

import asyncio
from collections.abc import Callable

# Beyond so many lengths, one that is not in use is forgotten at once.
_KEPT_MAX = 16


class Timeouts:
    """Starts and stops timers at the cost of an entry in a dict each; for one event loop.

    Those of one length expire in the order of their starts, so they share one timer of the loop. It stays
    when they are stopped, for those that follow.
    """

    def __init__(self) -> None:
        self._queues: dict[float, _Queue] = {}

    def start(self, delay_s: float, owner: object, expired: Callable[[], None]) -> float:
        """Start a timer.

        Args:
            delay_s: Seconds until it expires.
            owner: Whose it is; one has at most one of each length.
            expired: Called when it expires.

        Returns:
            When it expires, in that of the event loop.
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
            if not queue.running and len(self._queues) > _KEPT_MAX:
                queue.close()
                del self._queues[delay_s]


class _Queue:
    """The timers of one length.

    Attributes:
        running: Time and callback of each by its owner, the one that expires first at the front.
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
            self._timer = self._loop.call_at(due_s, self._look)
        return due_s

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Call those that have expired, and wait for the next one."""
        now_s = self._loop.time()
        try:
            while (first := next(iter(self.running.items()), None)) is not None:
                owner, (due_s, expired) = first
                if due_s > now_s:
                    break
                del self.running[owner]
                expired()
        finally:
            # Until here it counts as set, so that none that is started meanwhile sets it for itself.
            due_s, _ = next(iter(self.running.values()), (0.0, None))
            self._timer = self._loop.call_at(due_s, self._look) if self.running else None
