"""Followers of responses in this process: what is stored goes to all of them, without another read."""

import asyncio
import copy
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from mistralwire.errors import MistralwireError
from mistralwire.log._framing import skip
from mistralwire.log._response_log import Batch, Delivery, End, StoredResponse
from mistralwire.log._rules import not_found_error, truncated

# Bytes of the newest events that are kept for the followers of one response.
_TAIL_BYTES_MAX = 256 * 1024
# Bytes that a follower who is behind reads at a time: while they are not sent, they are in memory for each.
_READ_BYTES_MAX = 128 * 1024

Read = Callable[[str, int, int], Awaitable[Sequence[Batch]]]


class _Feed:
    """The newest events of one response that has followers.

    Attributes:
        last: Number of the last event that is stored.
        followers: How many follow.
    """

    def __init__(self) -> None:
        self.last = 0
        self.end: End | None = None
        self.error: MistralwireError | None = None
        self.followers = 0
        self._tail: deque[Batch] = deque()
        self._tail_bytes = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def add(self, batches: Sequence[Batch], end: End | None, last: int) -> None:
        for batch in batches:
            # After a gap, which only a reader of the log can fill, the tail begins anew.
            if self._tail and batch.first != self._tail[-1].last + 1:
                self._tail.clear()
                self._tail_bytes = 0
            self._tail.append(batch)
            self._tail_bytes += len(batch.data)
            self.last = batch.last
        while self._tail_bytes > _TAIL_BYTES_MAX and len(self._tail) > 1:
            self._tail_bytes -= len(self._tail.popleft().data)
        self.last = max(self.last, last)
        self.end = end or self.end
        if len(self._waiting) > 1:
            # After the producer has learned of it: what many followers do takes a while.
            asyncio.get_running_loop().call_soon(self.wake)
        else:
            self.wake()

    def wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def since(self, after: int) -> Sequence[Batch] | None:
        """Return the events behind a position; None if they are not all in the tail."""
        tail = self._tail
        if after >= self.last:
            return ()
        if not tail or tail[0].first > after + 1 or tail[-1].last != self.last:
            return None
        found: list[Batch] = []
        for batch in reversed(tail):
            if batch.last <= after:
                break
            found.append(batch)
        found.reverse()
        return found

    async def changed(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


class Feeds:
    """The followers of all responses of a log, in this process.

    Args:
        describe: Returns a response as it is stored.
        read: Returns batches behind a position, as `ResponseLog.read` does.
    """

    def __init__(self, describe: Callable[[str], Awaitable[StoredResponse | None]], read: Read) -> None:
        self._describe = describe
        self._read = read
        self._feeds: dict[str, _Feed] = {}

    def __contains__(self, response: str) -> bool:
        return response in self._feeds

    def add(self, response: str, batches: Sequence[Batch], end: End | None, last: int = 0) -> None:
        """Pass on what was stored.

        Batches that followers have already may be among them; those that are missing before `last`, the
        number of the last event that is stored, are read.
        """
        feed = self._feeds.get(response)
        if feed is not None:
            feed.add([batch for batch in batches if batch.last > feed.last], end, last)

    def fail(self, response: str, error: MistralwireError) -> None:
        """End the followers of a response; who comes later has another feed."""
        feed = self._feeds.pop(response, None)
        if feed is not None:
            feed.error = error
            feed.wake()

    def fail_all(self, error: MistralwireError) -> None:
        for response in list(self._feeds):
            self.fail(response, error)

    async def follow(self, response: str, after: int) -> AsyncGenerator[Delivery, None]:
        """Implement `ResponseLog.follow`."""
        feed = self._feeds.setdefault(response, _Feed())
        feed.followers += 1
        try:
            # What is stored meanwhile reaches the feed as well.
            stored = await self._describe(response)
            if stored is None:
                raise not_found_error()
            feed.last = max(feed.last, stored.last)
            feed.end = feed.end or stored.end
            while True:
                if feed.error is not None:
                    # Each follower raises one of its own: a traceback belongs to one task.
                    raise copy.copy(feed.error)
                last, end = feed.last, feed.end
                batches = feed.since(after)
                if batches is None:
                    batches = await self._read(response, after, _READ_BYTES_MAX)
                    if not batches:
                        raise not_found_error()
                if batches:
                    if batches[0].first <= after:
                        batches = [_without_known(batches[0], after), *batches[1:]]
                    after = batches[-1].last
                    is_last = end is not None and after >= last
                    yield Delivery(batches, end if is_last else None)
                    if is_last:
                        return
                elif end is not None:
                    if after > last:
                        raise truncated(last, after)
                    yield Delivery((), end)
                    return
                else:
                    await feed.changed()
        finally:
            feed.followers -= 1
            if not feed.followers and self._feeds.get(response) is feed:
                del self._feeds[response]


def _without_known(batch: Batch, after: int) -> Batch:
    return Batch(after + 1, batch.last, batch.epoch, skip(batch.data, after + 1 - batch.first))
