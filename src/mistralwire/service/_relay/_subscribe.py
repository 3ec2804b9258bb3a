"""Following: consumers of a response get what is stored, in messages that they share."""

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence

from mistralwire.log import Batch
from mistralwire.service._coalesce import ChunkBuffer
from mistralwire.service._config import ServerConfig
from mistralwire.service._relay._messages import delivered, delivered_end, read_subscription
from mistralwire.service._relay._recording import Recorder
from mistralwire.service._relay._rules import RelayCounts, log_id

# Deliveries of one response whose messages are kept for its other followers, and the bytes of each.
_SHARED_MAX = 4
_SHARED_BYTES_MAX = 64 * 1024
# From so many followers of one response on, they pause between messages; and the bounds of that, in seconds.
_PACED_FOLLOWERS_MIN = 8
_SPREAD_S_FIRST, _PAUSE_S_MAX = 0.0005, 0.02


class _Followed:
    """A response that has followers: the messages that were made last.

    Attributes:
        followers: How many there are.
    """

    def __init__(self) -> None:
        self.followers = 0
        self._shared: deque[tuple[Sequence[Batch], list[bytes]]] = deque(maxlen=_SHARED_MAX)
        self._pause: asyncio.Event | None = None
        # When the first and the last follower began to wait, and the time between them before.
        self._first_s = self._last_s = 0.0
        self._spread_s = _SPREAD_S_FIRST

    def messages(
        self, batches: Sequence[Batch], make: Callable[[Sequence[Batch]], list[bytes]]
    ) -> list[bytes]:
        """Return the messages of a delivery, which other followers may have got before."""
        if self.followers == 1:
            return make(batches)
        for known, messages in self._shared:
            # Batches that are the same objects are not compared by their bytes.
            if known == batches:
                return messages
        messages = make(batches)
        if sum(map(len, messages)) <= _SHARED_BYTES_MAX:
            self._shared.append((batches, messages))
        return messages

    async def pause(self) -> None:
        """Wait after a message until three times as long has passed as all followers take for one.

        Otherwise a producer that is ahead gets one message through for one of each follower, since the event
        loop reads and writes by turns. So events add up where there are many followers and many events; one
        that comes later is delivered at once.
        """
        if self.followers < _PACED_FOLLOWERS_MIN:
            return
        loop = asyncio.get_running_loop()
        self._last_s = loop.time()
        if self._pause is None:
            self._pause = asyncio.Event()
            self._first_s = self._last_s
            loop.call_later(min(3 * self._spread_s, _PAUSE_S_MAX), self._end_pause)
        await self._pause.wait()

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.set()
            self._pause = None
            self._spread_s = self._last_s - self._first_s


class Followers:
    """The consumers of the responses of a log.

    Args:
        recorder: Follows the log for them, and notes that for the responses of calls.
        counts: Counts them.
    """

    def __init__(self, recorder: Recorder, counts: RelayCounts) -> None:
        self._recorder = recorder
        self._counts = counts
        self._followed: dict[str, _Followed] = {}

    async def subscribe(
        self, owner: str, request: bytes, config: ServerConfig, write: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Write what a consumer asks for, up to the end of the response.

        While a message is being written, what is stored waits in the log, and goes out together in the next
        one: a slow consumer holds up nobody, and costs no memory.

        Args:
            owner: Whose responses the consumer may follow.
            request: Wire bytes of a SubscribeRequest.
            config: The bounds of messages.
            write: Sends the wire bytes of a SubscribeResponse.

        Raises:
            MistralwireError: What ends the call.
        """
        response_id, after = read_subscription(request)
        id_ = log_id(owner, response_id)
        make = functools.partial(_messages_of, config)
        with self._following(id_) as followed:
            async with contextlib.aclosing(self._recorder.follow(id_, after)) as deliveries:
                async for batches, end in deliveries:
                    messages = followed.messages(batches, make) if batches else []
                    after = batches[-1].last if batches else after
                    for message in messages[:-1] if end else messages:
                        await write(message)
                    if not end:
                        await followed.pause()
                    else:
                        await write(b"".join((*messages[-1:], delivered_end(end, after))))

    @contextlib.contextmanager
    def _following(self, id_: str) -> Iterator[_Followed]:
        followed = self._followed.setdefault(id_, _Followed())
        followed.followers += 1
        self._counts.followers += 1
        try:
            yield followed
        finally:
            self._counts.followers -= 1
            followed.followers -= 1
            if not followed.followers:
                del self._followed[id_]


def _messages_of(config: ServerConfig, batches: Sequence[Batch]) -> list[bytes]:
    """Return the wire bytes of SubscribeResponses with all events, each within the bounds."""
    buffer = ChunkBuffer(config.stream_message_chunks_max, config.stream_message_bytes_max)
    for batch in batches:
        buffer.add(batch.data, batch.last - batch.first + 1)
    first = batches[0].first
    messages = []
    while buffer:
        data, count = buffer.take()
        messages.append(delivered(first, data))
        first += count
    return messages
