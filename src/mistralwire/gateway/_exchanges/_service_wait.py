"""Waiting for a service that can't be reached: a live read outlasts its restart, as one that is open does."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mistralwire.client import RECONNECT_S, is_service_lost
from mistralwire.errors import CallError

FIRST_SIGN_S = 1.0
"""Seconds without an answer of the service after which the status of a stream of events is sent."""

_DELAY_S_FIRST, _DELAY_S_MAX = 0.1, 2.0

Found = TypeVar("Found")


async def when_reachable(ask: Callable[[Any], Awaitable[Found]], options: Any) -> Found:
    """Ask the service, again while it can't be reached, for as long as a lost connection is opened again.

    Args:
        ask: Makes calls of the service, with the options that it is given.
        options: The options of a call; their deadline is that of all calls together.

    Returns:
        What `ask` returned.

    Raises:
        CallError: An answer of the service; or how the last call failed, if the time is over.
    """
    started_s = time.monotonic()
    deadline_s = options["deadline_s"]
    elapsed_s, delay_s = 0.0, _DELAY_S_FIRST
    while True:
        try:
            return await ask({**options, "deadline_s": max(0.001, deadline_s - elapsed_s)})
        except CallError as error:
            wait_s = max(delay_s * random.uniform(0.5, 1), error.retry_after_s or 0.0)  # noqa: S311
            resumes_s = time.monotonic() - started_s + wait_s
            # A subscription that gives up has waited itself, except for its next pause, which did not fit.
            if not is_service_lost(error) or resumes_s > min(RECONNECT_S - _DELAY_S_MAX, deadline_s):
                raise
        await asyncio.sleep(wait_s)
        delay_s = min(delay_s * 2, _DELAY_S_MAX)
        elapsed_s = time.monotonic() - started_s
