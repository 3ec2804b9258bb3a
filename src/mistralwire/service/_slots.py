"""The calls that the upstream gets at one time, and those that wait for their turn."""

import asyncio

from mistralwire.errors import OverloadError, Reason


class UpstreamSlots:
    """Lets so many calls through at one time, so many wait in the order of their coming, and no more.

    A context manager: entering takes a slot, leaving gives it back.

    Args:
        calls_max: Calls at one time.
        queue_max: Calls that wait.
    """

    def __init__(self, calls_max: int, queue_max: int) -> None:
        self._semaphore = asyncio.Semaphore(calls_max)
        self._queue_max = queue_max
        self._waiting = 0

    async def __aenter__(self) -> None:
        """Take a slot, now or when one is free.

        Raises:
            OverloadError: If as many calls as may wait wait already.
        """
        if not self._semaphore.locked():
            await self._semaphore.acquire()  # without waiting
            return
        if self._waiting >= self._queue_max:
            raise OverloadError(
                "the upstream has as many calls as it may have, and as many wait; try again later",
                reason=Reason.UPSTREAM_BUSY,
            )
        self._waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        """Give the slot back."""
        self._semaphore.release()
