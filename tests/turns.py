"""Counting the turns of an event loop."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def counted_turns() -> Iterator[Callable[[], int]]:
    """Count the turns that another task gets while the block runs; yield what returns them."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    try:
        yield lambda: turns
    finally:
        counting.cancel()
