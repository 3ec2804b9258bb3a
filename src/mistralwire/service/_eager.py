"""A coroutine whose first step is taken at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class EagerCall:
    """Runs a coroutine beside the code that starts it, from where that code stands.

    A task begins with the next turn of the event loop, and that turn would be a part of each chunk's delay.
    This is as much of a task as a coroutine needs that waits for futures. Python 3.12 has eager tasks, 3.11
    has not.

    Args:
        coroutine: What to run. It must not ask for the current task.
        on_done: Called at its end with what it raised, or None; not if it ends before `start` returns.
    """

    __slots__ = ("_coroutine", "_future", "_on_done")

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], on_done: Callable[[BaseException | None], None]
    ) -> None:
        self._coroutine = coroutine
        self._on_done = on_done
        self._future: asyncio.Future[Any] | None = None

    def start(self) -> bool:
        """Run it up to where it waits for the first time.

        Returns:
            Whether it has ended, without any waiting.

        Raises:
            Exception: What it raised before it waited.
        """
        try:
            self._wait_for(self._coroutine.send(None))
        except StopIteration:
            return True
        return False

    def cancel(self) -> None:
        """Cancel what it waits for, as the cancellation of a task does."""
        if self._future is not None:
            self._future.cancel()

    def _wait_for(self, future: asyncio.Future[Any] | None) -> None:
        self._future = future
        if future is None:
            # A single turn of the loop.
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            # That somebody waits for it was seen: the protocol between futures and tasks.
            future._asyncio_future_blocking = False
            future.add_done_callback(self._go_on)

    def _go_on(self, _: object = None) -> None:
        self._future = None
        try:
            self._wait_for(self._coroutine.send(None))
        except StopIteration:
            self._on_done(None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is handed on
            self._on_done(error)
