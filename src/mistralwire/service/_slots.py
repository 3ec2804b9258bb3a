"""The calls that the upstream gets at one time, and those that wait for their turn."""

from collections import deque
from collections.abc import Callable

from mistralwire.errors import OverloadError, Reason


class UpstreamSlots:
    """Lets so many calls through at one time, so many wait in the order of their coming, and no more.

    Args:
        calls_max: Calls at one time.
        queue_max: Calls that wait.
    """

    def __init__(self, calls_max: int, queue_max: int) -> None:
        self._free = calls_max
        self._queue_max = queue_max
        self._is_giving = False
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, on_turn: Callable[[], None]) -> None:
        """Take a slot.

        Args:
            on_turn: Called when the slot is taken: now, if one is free.

        Raises:
            OverloadError: If as many calls as may wait wait already.
        """
        if self._free and not self._waiting:
            self._free -= 1
            on_turn()
        elif len(self._waiting) < self._queue_max:
            self._waiting.append(on_turn)
        else:
            raise OverloadError(
                "the upstream has as many calls as it may have, and as many wait; try again later",
                reason=Reason.UPSTREAM_BUSY,
            )

    def leave(self, on_turn: Callable[[], None]) -> None:
        """Wait no longer."""
        self._waiting.remove(on_turn)

    def give_back(self) -> None:
        """Give a slot back; it goes to the call that has waited longest."""
        self._free += 1
        if self._is_giving:
            # A call that ends at once gives its slot back from in here; the loop below goes on.
            return
        self._is_giving = True
        try:
            while self._free and self._waiting:
                self._free -= 1
                self._waiting.popleft()()
        finally:
            self._is_giving = False
