"""Recordings: the responses of calls on their way into the log, while their callers get them at once."""

import asyncio
import contextlib
import logging
import math
import weakref
from collections import Counter, deque
from collections.abc import AsyncGenerator, Collection, Coroutine, MutableMapping
from typing import Any, Protocol

from mistralwire._methods import Method
from mistralwire._protobuf import read_varint, write_varint
from mistralwire.errors import MistralwireError, OverloadError, Reason, ResponseError
from mistralwire.log import Append, Delivery, End, ResponseLog, StoredResponse
from mistralwire.service._config import RelayConfig
from mistralwire.service._relay._rules import (
    CANCELLED,
    FINISHED,
    LOG_FAILURES,
    LOG_WAIT_S_MAX,
    OVERTAKEN,
    UNSTORED_BYTES_MAX,
    UPSTREAM_ID_CHARS_MAX,
    Holder,
    RelayCounts,
    append_end,
    cancelled_error,
    check_size,
    failure,
    response_id_of,
)
from mistralwire.v1 import FIMCompletionResponse, ResponseState

FOLLOWED, UNFOLLOWED = "followed", "unfollowed"
"""Tell a node that a response of its has one follower more, or less: at which node, and its id in the log."""

# Seconds for another node to answer.
_NODE_S = 0.3
# Seconds between two attempts to store the end of a response that the log has not taken.
_END_RETRY_S = 1.0
# Responses that wait for their end; beyond them, none is opened in a log that fails.
_UNENDED_MAX = 1000
# Seconds between two log lines about callers whose stored responses have as many bytes as they may.
_WITHOUT_BYTES_LOG_S = 60.0
# Of the fields of a ResponseEvents.
_RESPONSE_TAG, _FIM_TAG = b"\x12", b"\x1a"
# The field `id` of a chunk and of whole responses.
_ID_NUMBER = 2
_WITH_LENGTH = 2

_logger = logging.getLogger(__name__)


class RecordedCall(Protocol):
    """A call whose response is recorded."""

    def hold(self) -> None:
        """Pause the upstream, since the log is behind."""

    def release(self) -> None:
        """Resume the upstream."""

    def abort(self, error: Exception) -> None: ...

    def opened(self) -> None:
        """Learn that the log has the response."""

    def unrecorded(self) -> None:
        """Learn that the response is stored no further."""

    def expire(self) -> None:
        """End, since nobody has come back for the response."""


class Recording:
    """The response of one call on its way into the log; a Holder.

    The events of one turn of the event loop, and the end with them, are one append.

    Args:
        recorder: Passes on the appends.
        call: The call.
        id: The response in the log.
        keep_s: Seconds for which the response waits for a caller who has gone; infinity to finish it.
        wait_s: Seconds for which the log may still hold up the call.
        is_open: Whether the log has it; otherwise nothing is appended before `opened`.

    Attributes:
        is_open: As the argument.
    """

    __slots__ = (
        "_accepted",
        "_call",
        "_end",
        "_events",
        "_followers",
        "_gone",
        "_held_since_s",
        "_holding",
        "_is_detached",
        "_is_dropped",
        "_is_queued",
        "_keep_s",
        "_keeping",
        "_loop",
        "_next",
        "_parts",
        "_recorder",
        "_sent",
        "_size",
        "_unstored",
        "_upstream_id",
        "_wait_s",
        "id",
        "is_open",
    )

    def __init__(
        self,
        recorder: "Recorder",
        call: RecordedCall,
        id: str,
        *,
        keep_s: float,
        wait_s: float,
        is_open: bool = True,
    ) -> None:
        self.id = id
        self.is_open = is_open
        self._recorder = recorder
        self._call: RecordedCall | None = call
        self._loop = asyncio.get_running_loop()
        # All of the response so far, whether it is stored or not.
        self._events = self._size = 0
        # How many of them are to be stored, the next one to be appended, and what is appended then.
        self._accepted = 0
        self._next = 1
        self._parts: list[bytes] = []
        self._end: End | None = None
        self._is_queued = False
        self._upstream_id = ""
        # Events, bytes and time of each append under way.
        self._sent: deque[tuple[int, int, float]] = deque()
        self._unstored = 0
        # Whether nothing more of it is appended.
        self._is_dropped = False
        self._wait_s = wait_s
        self._held_since_s = 0.0
        self._holding: asyncio.TimerHandle | None = None
        self._keep_s = keep_s
        self._keeping: asyncio.TimerHandle | None = None
        self._is_detached = False
        # By their nodes, and which of these are gone.
        self._followers: Counter[str] = Counter()
        self._gone: Collection[str] = ()

    # From the call.

    def batch(self, wire: bytes, count: int) -> None:
        """Store events, one or more."""
        if not self._events:
            self._upstream_id = _upstream_id_in(wire)
        self._events += count
        self._size += len(wire)
        if self._end is not None or self._is_dropped:
            return
        try:
            check_size(self._events, self._size, self._recorder.config)
        except OverloadError as error:
            # The answer goes on.
            self._close(failure(error))
            if self._call is not None:
                self._call.unrecorded()
            return
        self._accepted = self._events
        self._parts.append(wire)
        self._unstored += len(wire)
        self._queue()
        if self._unstored >= UNSTORED_BYTES_MAX and self._holding is None:
            self._hold()

    def finish(self) -> None:
        self._close(FINISHED)

    def cancel(self) -> None:
        self._close(CANCELLED)

    def fail(self, error: BaseException, request_id: str = "") -> None:
        if self._end is None:
            self._close(failure(error, request_id))

    def leave(self) -> None:
        """Learn that the call is over; its end was recorded."""
        self._call = None
        self._stop_holding()
        self._stop_keeping()

    def detach(self) -> bool:
        """Let the response go on without its caller; return whether it does."""
        if not self._keep_s or self._is_detached or self._is_dropped or self._end is not None:
            return False
        self._is_detached = True
        self._keep_unless_followed()
        return True

    @property
    def outlives_caller(self) -> bool:
        """Whether the response goes on without its caller, at least for a while."""
        return self._keep_s > 0

    # From the relay.

    def cancel_response(self) -> None:
        """Store the end CANCELLED, and end the call; no effect once the response has ended."""
        if self._end is None or self._is_dropped:
            self.cancel()
            if self._call is not None:
                self._call.abort(cancelled_error())

    @property
    def following_nodes(self) -> Collection[str]:
        """The nodes at which somebody follows the response."""
        return self._followers.keys()

    def follow(self, node: str) -> None:
        """Learn that somebody follows the response at a node, until `unfollow`."""
        self._followers[node] += 1
        self._keep_unless_followed()

    def unfollow(self, node: str) -> None:
        # Another node may tell of one that this response never had.
        self._followers[node] -= 1
        self._followers = +self._followers
        self._keep_unless_followed()

    def nodes_gone(self, nodes: Collection[str]) -> None:
        """Learn which nodes are gone: nobody follows there, unless they come back."""
        self._gone = nodes
        self._keep_unless_followed()

    # From the recorder.

    @property
    def is_settled(self) -> bool:
        return self.is_open and self._end is None and not (self._is_dropped or self._is_queued or self._sent)

    @property
    def is_ending(self) -> bool:
        return self._end is not None and not self._is_dropped

    @property
    def upstream_id(self) -> str:
        return self._upstream_id

    @property
    def is_appending(self) -> bool:
        """Whether the log has not reported on its opening, or on all appends."""
        return bool(self._sent) or not self.is_open

    def opened(self) -> None:
        """Append what came meanwhile, now that the log has the response."""
        self.is_open = True
        if not self._is_dropped and (self._parts or self._end is not None):
            self._queue()
        if not self._is_dropped and self._call is not None:
            self._call.opened()

    def not_opened(self, error: Exception) -> None:
        """Go on without the log; or end the call, if somebody else has used its id at the same time."""
        self.is_open = True
        if isinstance(error, ResponseError) and error.reason == Reason.RESPONSE_EXISTS:
            self._stop_storing()
            self._recorder.ended(self)
            if self._call is not None:
                self._call.abort(error)
        else:
            self.drop(str(error))

    def take(self) -> Append | None:
        """Return what is appended next; None for nothing."""
        self._is_queued = False
        if self._is_dropped or not self.is_open:
            return None
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        first, self._next = self._next, self._accepted + 1
        self._sent.append((self._next - first, len(data), self._loop.time()))
        return Append(
            id=self.id,
            epoch=0,
            first=first,
            count=self._next - first,
            data=data,
            end=self._end,
            upstream_id=self._upstream_id if first == 1 else "",
            on_done=self._stored,
        )

    def end_behind(self, last: int) -> End:
        """Return the end of a response of which the log has nothing behind this event."""
        if self._end is not None and (self._end is CANCELLED or last == self._events):
            return self._end
        return failure(_not_stored_error())

    def drop(self, cause: str) -> None:
        """Store no more of the response, and end it as soon as the log takes that."""
        if self._is_dropped:
            return
        self._recorder.count(self.id, cause)
        self._recorder.dropped(self)
        self._stop_storing()
        self._end = self._end or failure(_not_stored_error())
        if self._call is not None:
            self._call.unrecorded()

    def overtaken(self, stored: StoredResponse | None) -> None:
        """Learn how somebody else has ended the response; None if it is gone."""
        self._stop_storing()
        self._recorder.ended(self)
        if self._call is None:
            return
        if stored is not None and stored.response_state == ResponseState.RESPONSE_STATE_CANCELLED:
            self._call.abort(cancelled_error())
        else:
            self._recorder.count(self.id, "somebody else has ended the response")
            self._call.unrecorded()

    def _stored(self, _: int, error: MistralwireError | None) -> None:
        events, size, appended_s = self._sent.popleft()
        self._unstored -= size
        if error is None:
            self._recorder.counts.stored(events, self._loop.time() - appended_s)
        if self._is_dropped:
            return
        if error is None:
            if self._unstored < UNSTORED_BYTES_MAX:
                self._stop_holding()
            if self._end is not None and not self._is_queued and not self._sent:
                self._recorder.ended(self)
        elif error.reason in OVERTAKEN:
            self._stop_storing()
            self._recorder.overtaken(self)
        else:
            self.drop(error.message)

    def _stop_storing(self) -> None:
        self._is_dropped = True
        self._parts.clear()
        self._stop_holding()

    def _close(self, end: End) -> None:
        """End behind the events so far; the first end counts."""
        if self._end is None:
            self._end = end
            if not self._is_dropped:
                self._queue()

    def _queue(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            self._recorder.queue(self)

    # Timers, of which a response has none while all goes well.

    def _hold(self) -> None:
        """Pause the upstream until the log has caught up, or there is no time left for that."""
        if self._wait_s <= 0 or self._call is None:
            self.drop("the log is too slow")
            return
        self._held_since_s = self._loop.time()
        self._holding = self._loop.call_later(self._wait_s, self.drop, "the log is too slow")
        self._call.hold()

    def _stop_holding(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
            self._wait_s -= self._loop.time() - self._held_since_s
            if self._call is not None:
                self._call.release()

    def _keep_unless_followed(self) -> None:
        """Wait for somebody to come back, once the caller and all followers have left."""
        if any(node not in self._gone for node in self._followers):
            self._stop_keeping()
        elif (
            self._is_detached
            and self._keeping is None
            and self._keep_s != math.inf
            and self._call is not None
        ):
            self._keeping = self._loop.call_later(self._keep_s, self._call.expire)

    def _stop_keeping(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None


class Recorder:
    """Stores the responses of the calls of a process.

    Args:
        log: Where they are stored.
        config: The limits.
        holders: What produces the running responses, by their ids in the log.
        counts: Counts what is stored, and what is not.
    """

    def __init__(
        self,
        log: ResponseLog,
        config: RelayConfig,
        holders: MutableMapping[str, Holder],
        counts: RelayCounts,
    ) -> None:
        self.log = log
        self.config = config
        self.counts = counts
        self._locks: weakref.WeakValueDictionary[tuple[str, ...], asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._holders = holders
        self._queue: list[Recording] = []
        # Those that nobody has ended in the log.
        self._unended: list[Recording] = []
        self._ending: asyncio.Task[None] | None = None
        self._is_closed = False
        # Responses without bytes since the last log line about them, and its time.
        self._without_bytes, self._without_bytes_logged_s = 0, -math.inf
        # Strong references: the event loop has none.
        self._tasks: set[asyncio.Task[object]] = set()

    async def close(self) -> None:
        """Append what is left, once the calls are over."""
        self._is_closed = True
        if self._ending is not None:
            self._ending.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LOG_WAIT_S_MAX)
        self._append()

    def run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine that `close` waits for."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lock(self, *names: str) -> asyncio.Lock:
        """Return the lock for an id, or for an idempotency key and its owner, in this process."""
        return self._locks.setdefault(names, asyncio.Lock())

    def is_held(self, id: str) -> bool:
        return id in self._holders

    @property
    def has_room(self) -> bool:
        """Whether another response may be opened: a log that fails for long must not fill the memory."""
        return len(self._unended) < _UNENDED_MAX

    def begin(self, recording: Recording) -> None:
        """Learn of a response that is open."""
        self._holders[recording.id] = recording

    def queue(self, recording: Recording) -> None:
        """Append what a recording has, at the end of this turn of the event loop: of all in one call."""
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._append)
        self._queue.append(recording)

    def _append(self) -> None:
        queue, self._queue = self._queue, []
        appends = [append for recording in queue if (append := recording.take()) is not None]
        if appends:
            self.log.append(appends)

    def ended(self, recording: Recording) -> None:
        """Learn that the log has the end of a response, or somebody else's."""
        if self._holders.get(recording.id) is recording:
            del self._holders[recording.id]
            self.counts.end(recording.id)

    def overtaken(self, recording: Recording) -> None:
        """Find out how somebody else has ended a response."""
        self.ended(recording)
        self.run(self._find_end(recording))

    def dropped(self, recording: Recording) -> None:
        """End a response that is stored no further as soon as the log takes that: nobody waits for ever."""
        self._unended.append(recording)
        if not self._is_closed and (self._ending is None or self._ending.done()):
            self._ending = asyncio.create_task(self._end_dropped())

    def count(self, id: str, cause: str) -> None:
        """Count a response that is stored no further, or not at all."""
        self.counts.not_stored += 1
        _logger.warning("the response %s is stored no further: %s", response_id_of(id), cause)

    def count_without_bytes(self) -> None:
        """Count a response that is not stored, since its caller has `caller_bytes_max` stored."""
        self.counts.not_stored += 1
        self._without_bytes += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - self._without_bytes_logged_s >= _WITHOUT_BYTES_LOG_S:
            _logger.warning(
                "the stored responses of a caller have %d bytes, the limit: new ones are answered and not "
                "stored (%d since this was last logged); delete some, lower keep_days, or raise "
                "caller_bytes_max",
                self.config.caller_bytes_max,
                self._without_bytes,
            )
            self._without_bytes, self._without_bytes_logged_s = 0, now_s

    async def follow(self, id: str, after: int = 0) -> AsyncGenerator[Delivery, None]:
        """Follow a response of the log; one whose caller has gone goes on while somebody does."""
        recording = self.held(id)
        node = None
        if recording is not None:
            recording.follow(self.log.node)
        try:
            if recording is None and (node := await self._holder_of(id)) is not None:
                await self._tell(node, FOLLOWED, id)
            async with contextlib.aclosing(self.log.follow(id, after)) as deliveries:
                async for delivery in deliveries:
                    yield delivery
        finally:
            if recording is not None:
                recording.unfollow(self.log.node)
            elif node is not None:
                # Also if it has not answered: it may have heard of the follower all the same.
                self.run(self._tell(node, UNFOLLOWED, id))

    def held(self, id: str) -> Recording | None:
        """Return the recording of a response of this process; None if it has none."""
        holder = self._holders.get(id)
        return holder if isinstance(holder, Recording) else None

    async def _holder_of(self, id: str) -> str | None:
        """Return the other node that answers a call with a response; None if none does."""
        if self.config.is_embedded:
            return None
        stored = await self.log.describe(id)
        if stored is None or stored.end is not None or stored.is_published or stored.node == self.log.node:
            return None
        return stored.node

    async def _tell(self, node: str, what: str, id: str) -> None:
        """Notify a node of a follower that has come or gone."""
        await self.log.ask(node, f"{what} {self.log.node} {id}".encode(), _NODE_S)

    async def check_followers(self) -> None:
        """Find out which of the nodes are gone whose consumers follow responses of this one."""
        followed = [
            holder
            for holder in self._holders.values()
            if isinstance(holder, Recording) and holder.following_nodes
        ]
        nodes = list({node for recording in followed for node in recording.following_nodes})
        alive = await asyncio.gather(*map(self.log.is_alive, nodes))
        gone = {node for node, is_alive in zip(nodes, alive, strict=True) if not is_alive}
        for recording in followed:
            recording.nodes_gone(gone)

    async def _find_end(self, recording: Recording) -> None:
        try:
            stored = await self.log.describe(recording.id)
        except ResponseError:
            stored = None
        recording.overtaken(stored)

    async def _end_dropped(self) -> None:
        while True:
            for recording in list(self._unended):
                if not recording.is_appending and await self._end(recording):
                    self._unended.remove(recording)
                    self.ended(recording)
                else:
                    # Nobody waits until the log takes the end.
                    self.log.fail_followers(recording.id, _not_stored_error())
            if not self._unended:
                return
            await asyncio.sleep(_END_RETRY_S)

    async def _end(self, recording: Recording) -> bool:
        """End a response behind what the log has of it; return False if the log fails."""
        try:
            stored = await self.log.describe(recording.id)
            # It may never have been opened, and another call may have used its id since.
            is_own = self._holders.get(recording.id) is recording
            if is_own and stored is not None and stored.end is None and stored.node == self.log.node:
                end = recording.end_behind(stored.last)
                await append_end(self.log, recording.id, end, epoch=0, first=stored.last + 1)
        except ResponseError as error:
            return error.reason not in LOG_FAILURES
        return True


def _not_stored_error() -> ResponseError:
    message = (
        "the response is stored no further: the log failed, was too slow, or can't store an event so large"
    )
    return ResponseError(message, code="UNAVAILABLE", reason=Reason.NOT_STORED)


def response_event(method: Method, wire: bytes) -> bytes:
    """Return the event of a whole response, from its wire bytes."""
    tag = _FIM_TAG if method.response_type is FIMCompletionResponse else _RESPONSE_TAG
    return b"".join((tag, write_varint(len(wire)), wire))


def _upstream_id_in(wire: bytes) -> str:
    """Return the id in the first of some events, or an empty string."""
    _, at = read_varint(wire, 0)
    length, at = read_varint(wire, at)
    end = at + length
    while at < end:
        tag, at = read_varint(wire, at)
        if tag & 7 != _WITH_LENGTH:
            # What precedes the id has a length; without an id this ends the search.
            return ""
        length, at = read_varint(wire, at)
        if tag >> 3 == _ID_NUMBER:
            return wire[at : at + length][:UPSTREAM_ID_CHARS_MAX].decode(errors="ignore")
        at += length
    return ""
