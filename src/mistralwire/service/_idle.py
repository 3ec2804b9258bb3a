"""A timer that goes off when nothing has happened for some time."""

import asyncio
import math
from collections.abc import Callable
from typing import Self


class IdleTimer:
    """Calls back once, when it was awaited for so long and nothing came.

    Made for loops that go round a million times: `wait` and `rest` note the time and no more. The one timer
    behind it looks at the note when it is due, and sets itself anew for what is left.

    As a context manager it begins at rest, and ends without a call.

    Args:
        limit_s: The time, in seconds.
        on_idle: What to call, in the event loop.

    Attributes:
        has_gone_off: Whether it has called.
    """

    __slots__ = ("_handle", "_limit_s", "_loop", "_on_idle", "_since_s", "_time", "has_gone_off")

    def __init__(self, limit_s: float, on_idle: Callable[[], object]) -> None:
        self.has_gone_off = False
        self._limit_s = limit_s
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._since_s = math.inf

    def __enter__(self) -> Self:
        """Begin, at rest."""
        self._handle = self._loop.call_later(self._limit_s, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._handle.cancel()

    def wait(self) -> None:
        """Note that something is waited for from now on."""
        self._since_s = self._time()

    def rest(self) -> None:
        """Note that nothing is waited for."""
        self._since_s = math.inf

    def _look(self) -> None:
        left_s = self._since_s + self._limit_s - self._time()
        if left_s <= 0:
            self.has_gone_off = True
            self._on_idle()
        else:
            self._handle = self._loop.call_later(min(left_s, self._limit_s), self._look)
