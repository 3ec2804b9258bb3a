"""Whether an upstream can be reached, for whoever asks often."""

import asyncio
import time
from collections.abc import Awaitable, Callable

GOOD_S = 30.0
"""For how long an upstream that answered counts as one that does, in seconds."""

BAD_S = 2.0
"""The same for one that did not."""


class UpstreamProbe:
    """Asks an upstream whether it answers, seldom: its result is used for some time, and by all who wait.

    Args:
        ask: The upstream's `probe`, which returns why it does not answer, or None; None for an upstream that
            has none, which counts as one that answers.
    """

    def __init__(self, ask: Callable[[], Awaitable[str | None]] | None) -> None:
        self._ask = ask
        self._cause: str | None = None
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def why_not(self) -> str | None:
        """Return why the upstream does not answer; None if it does."""
        if self._ask is None:
            return None
        async with self._lock:
            if time.monotonic() >= self._until_s:
                self._cause = await self._ask()
                self._until_s = time.monotonic() + (GOOD_S if self._cause is None else BAD_S)
            return self._cause
