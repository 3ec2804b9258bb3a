"""What tests do with a log: events of text, appended and followed."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from mistralwire.errors import MistralwireError
from mistralwire.log import Append, End, ResponseLog, framed, split
from mistralwire.v1 import ResponseState

FINISHED = End(ResponseState.RESPONSE_STATE_FINISHED)
CANCELLED = End(ResponseState.RESPONSE_STATE_CANCELLED)
FAILED = End(ResponseState.RESPONSE_STATE_FAILED, b"\x08\x0e")


def events(*texts: str) -> bytes:
    return b"".join(framed(text.encode()) for text in texts)


def append_of(id: str, first: int, *texts: str, **fields: Any) -> tuple[Append, "asyncio.Future[int]"]:
    """Return an append, and what becomes of it."""
    future = asyncio.get_running_loop().create_future()

    def done(last: int, error: MistralwireError | None) -> None:
        if error is None:
            future.set_result(last)
        else:
            future.set_exception(error)

    fields.setdefault("epoch", 0)
    return Append(id=id, first=first, count=len(texts), data=events(*texts), on_done=done, **fields), future


async def append(log: ResponseLog, id: str, first: int, *texts: str, **fields: Any) -> int:
    """Append events of these texts; return the number of the last event that is stored."""
    made, future = append_of(id, first, *texts, **fields)
    log.append([made])
    return await future


async def read(log: ResponseLog, id: str, after: int = 0) -> list[str]:
    """Return the texts of all batches behind a position, as far as they are stored."""
    texts: list[str] = []
    while batches := await log.read(id, after):
        after = batches[-1].last
        texts += (text.decode() for batch in batches for text in split(batch.data))
    return texts


class Follower:
    """Follows a response in a task, and keeps what it was told.

    Attributes:
        texts: Of the events so far.
        end: The end, once it was told.
        task: Ends with the response.
    """

    def __init__(self, log: ResponseLog, id: str, after: int = 0) -> None:
        self.texts: list[str] = []
        self.end: End | None = None
        self._last = after
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._follow(log, id))

    async def _follow(self, log: ResponseLog, id: str) -> None:
        async with contextlib.aclosing(log.follow(id, self._last)) as deliveries:
            async for batches, end in deliveries:
                for first, last, _, data in batches:
                    texts = [text.decode() for text in split(data)]
                    assert (first, last) == (self._last + 1, self._last + len(texts))
                    self._last = last
                    self.texts += texts
                self.end = end
                self._changed.set()

    async def has(self, *texts: str) -> None:
        """Wait until exactly these were told."""
        while len(self.texts) < len(texts) and not self.task.done():
            self._changed.clear()
            changed = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait([changed, self.task], return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        assert self.texts == list(texts)

    async def ended(self) -> Sequence[str]:
        """Wait for the end; return all that was told."""
        await self.task
        return self.texts

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
