"""Publishing: responses whose producers are elsewhere, connected or expected back."""

import asyncio
import functools
import logging
import time
from collections.abc import Coroutine, MutableMapping
from typing import Any, Protocol

from mistralwire._status import error_of_status
from mistralwire._timeouts import Timeouts
from mistralwire.errors import (
    MistralwireError,
    OverloadError,
    Reason,
    ResponseError,
    log_unexpected,
)
from mistralwire.log import (
    Append,
    End,
    Opening,
    ResponseLog,
    StoredResponse,
    ended_error,
    not_found_error,
    skip,
    stale_error,
)
from mistralwire.service._config import RelayConfig
from mistralwire.service._relay._messages import (
    PublishedBatch,
    PublishedEnd,
    PublishOpening,
    acknowledgement,
    read_step,
    sequence_violation,
    step_violation,
)
from mistralwire.service._relay._rules import (
    CANCELLED,
    LOG_FAILURES,
    LOG_WAIT_S_MAX,
    OVERTAKEN,
    UNSTORED_BYTES_MAX,
    Holder,
    RelayCounts,
    cancelled_error,
    check_size,
    end_now,
    end_over,
    failure,
    log_id,
    lost_error,
    reserve,
)
from mistralwire.v1 import ResponseState

REPLACED = "replaced"
"""Asks a node to release a response, followed by the epoch of its producer and the id in the log."""

# Seconds until a lease that has expired is looked at again, if the log could not be used.
_LEASE_RETRY_S = 1.0
_CHUNK_TAG = b"\x0a"

_logger = logging.getLogger(__name__)


class MessageStream(Protocol):
    """The connection of a call: messages of its caller, and those for them."""

    async def read(self) -> bytes | None:
        """Return the next message; None behind the last one."""

    async def write(self, wire: bytes) -> None:
        """Send a message."""


class Publication:
    """A response whose producer is elsewhere: connected, or expected back; a Holder.

    Args:
        publishers: What all of them share.
        id: The response in the log.
        epoch: Epoch of its producer.
        last: Number of its last event.
        size: Bytes of its events.
        is_whole: Whether it has a whole response.

    Attributes:
        is_connected: Whether its producer is connected.
        has_ended: Whether its end is stored.
        is_ending: Whether its end is on its way into the log.
        upstream_id: Empty: what somebody else produced has no upstream here.
    """

    upstream_id = ""

    def __init__(
        self,
        publishers: "Publishers",
        id: str,
        epoch: int,
        *,
        last: int = 0,
        size: int = 0,
        is_whole: bool = False,
    ) -> None:
        self.id = id
        self.epoch = epoch
        self.is_connected = self.has_ended = self.is_ending = False
        self._publishers = publishers
        self._is_whole = is_whole
        self._sent = self._acknowledged = last
        self._size = size
        self._unstored = 0
        self._error: MistralwireError | None = None
        self._is_refused = False
        self._changed = asyncio.Event()
        self._room: asyncio.Future[None] | None = None

    # For the call of the producer.

    async def run(self, stream: MessageStream) -> None:
        """Store what a producer sends, and acknowledge it, until the end.

        Raises:
            MistralwireError: If the producer must not go on.
        """
        self.is_connected = True
        reading = asyncio.create_task(self._read(stream))
        try:
            await self._acknowledge(stream)
        finally:
            self.is_connected = False
            reading.cancel()
            self._publishers.left(self)

    async def _acknowledge(self, stream: MessageStream) -> None:
        """Send the highest event that is stored, whenever it has grown while the last message was sent."""
        sent = -1
        while True:
            self._changed.clear()
            last, error = self._acknowledged, self._error
            has_ended = self.has_ended and error is None
            if has_ended or last > sent:
                await stream.write(acknowledgement(last, has_ended=has_ended))
                if has_ended:
                    return
                sent = last
            elif error is not None:
                raise error
            else:
                await self._changed.wait()

    async def _read(self, stream: MessageStream) -> None:
        try:
            while (wire := await stream.read()) is not None:
                step = read_step(wire)
                if isinstance(step, PublishedEnd):
                    if step.last not in (None, self._sent):
                        raise sequence_violation(self._sent, step.last)
                    self._append_end(step.end)
                    return
                if not isinstance(step, PublishedBatch):
                    raise step_violation("a batch or the end behind the first message", "another open")
                self._add(step)
                if self._unstored >= UNSTORED_BYTES_MAX:
                    await self._wait_for_room()
            raise step_violation("the end as the last message", "the end of the call")
        except MistralwireError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - it ends the call
            log_unexpected(_logger, "a producer could not be read", error)
            self._fail(MistralwireError("internal error of the service"))

    def _add(self, batch: PublishedBatch) -> None:
        if self._error is not None:
            return
        last, size = batch.first + batch.events - 1, len(batch.data)
        if self._is_whole and last > 1:
            raise step_violation("the end, as a whole response is the only event", "a batch")
        # A gap is for the log to refuse, however far beyond a limit it goes.
        is_new = batch.first <= self._sent + 1 <= last
        try:
            if is_new:
                # What is sent again counts once.
                new_size = self._size + len(skip(batch.data, self._sent + 1 - batch.first))
                check_size(last, new_size, self._publishers.config)
        except OverloadError as error:
            # It can never go on, so its followers learn that now.
            self._append_end(failure(error))
            raise
        if is_new:
            self._sent = last
            self._size = new_size
            self._is_whole = batch.is_whole
        self._unstored += size
        self._publishers.log.append(
            [
                Append(
                    id=self.id,
                    epoch=self.epoch,
                    first=batch.first,
                    count=batch.events,
                    data=batch.data,
                    upstream_id=batch.upstream_id if batch.first == 1 else "",
                    model=batch.model if batch.first == 1 else "",
                    on_done=functools.partial(self._stored, batch.events, size, time.monotonic()),
                )
            ]
        )

    def _append_end(self, end: End) -> None:
        self.is_ending = True
        self._publishers.log.append(
            [Append(id=self.id, epoch=self.epoch, first=self._sent + 1, end=end, on_done=self._stored_end)]
        )

    async def _wait_for_room(self) -> None:
        """Read no further until the log has caught up, unless it stores nothing for a while."""
        while self._unstored >= UNSTORED_BYTES_MAX and self._error is None:
            self._room = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(LOG_WAIT_S_MAX):
                    await self._room
            except TimeoutError:
                raise self._not_stored("it is too slow") from None

    def _not_stored(self, cause: str) -> OverloadError:
        self._publishers.counts.not_stored += 1
        return OverloadError(
            f"the response log can't store the response now: {cause}; go on later after the last event that "
            "was acknowledged",
            reason=Reason.NOT_STORED,
        )

    # From the log.

    def _stored(
        self, count: int, size: int, sent_s: float, last: int, error: MistralwireError | None
    ) -> None:
        self._unstored -= size
        if error is None:
            self._acknowledged = max(self._acknowledged, last)
            self._publishers.counts.stored(count, time.monotonic() - sent_s)
            self._changed.set()
        else:
            self._refused(error)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _stored_end(self, last: int, error: MistralwireError | None) -> None:
        self.is_ending = False
        if error is None:
            self.has_ended = True
            self._acknowledged = max(self._acknowledged, last)
            self._publishers.ended(self)
            self._changed.set()
        else:
            self._refused(error)
            if not self.is_connected:
                self._publishers.left(self)

    def _refused(self, error: MistralwireError) -> None:
        """End the call of the producer with what the log reports first."""
        if self._is_refused:
            return
        self._is_refused = True
        if error.reason in LOG_FAILURES:
            self._fail(self._not_stored(error.message))
        elif error.reason in OVERTAKEN:
            self._publishers.run(self._find_out(error))
        else:
            if error.reason == Reason.EVENT_TOO_LARGE:
                # It can never go on.
                self._publishers.run(self._end_over(failure(error)))
            self._fail(error)

    async def _find_out(self, error: MistralwireError) -> None:
        """End the call of the producer, which the log has refused, by what others have done."""
        try:
            stored = await self._publishers.log.describe(self.id)
        except ResponseError as raised:
            error = raised
        else:
            if stored is not None and stored.end is not None:
                self.overtaken(stored)
                return
        self._fail(error)

    def _fail(self, error: MistralwireError) -> None:
        """End the call of the producer; the first error counts."""
        self._error = self._error or error
        self._changed.set()

    # From the relay.

    def cancel_response(self) -> None:
        """End the response as cancelled, and the call of its producer with RESPONSE_CANCELLED."""
        if self.has_ended or self.is_ending:
            return
        if self.is_connected and self._error is None:
            self._append_end(CANCELLED)
            self._fail(cancelled_error())
        else:
            self._publishers.run(self._end_over(CANCELLED))

    async def _end_over(self, end: End) -> None:
        """End the response behind whatever of it the log has."""
        log = self._publishers.log
        stored = await log.describe(self.id)
        if stored is not None:
            await end_over(log, stored, end)
        self._publishers.ended(self)

    @property
    def is_settled(self) -> bool:
        return not (self.has_ended or self.is_ending or self._unstored or self._error)

    def overtaken(self, stored: StoredResponse | None) -> None:
        """End the call of the producer by what others have done with the response."""
        self._publishers.ended(self)
        self._fail(not_found_error() if stored is None else _ended_error(stored))

    def grew_to(self, last: int) -> bool:
        """Learn which event is the last one; return whether a producer has sent any by another node."""
        known, self._acknowledged = self._acknowledged, last
        return last > known

    def replaced(self, epoch: int) -> None:
        """End the call of the producer: another one, or the same one again, has opened the response."""
        self._fail(stale_error(epoch))


class Publishers:
    """The responses that others publish in this process.

    Args:
        log: Where they are stored.
        config: The limits.
        holders: What produces the running responses of this process.
        counts: Counts what happens.
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
        self._holders = holders
        self._leases = Timeouts()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def close(self) -> None:
        """Forget the leases, and wait for what is on its way into the log."""
        self._is_closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LOG_WAIT_S_MAX)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine whose errors are those of the log, which are logged."""
        task = asyncio.create_task(self._logged(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _logged(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except MistralwireError as error:
            _logger.warning("a published response could not be ended: %s", error.message)

    async def publish(self, owner: str, stream: MessageStream, first: bytes | None) -> None:
        """Run the call of a producer; `first` is its first message.

        Raises:
            MistralwireError: What ends the call.
        """
        opening = None if first is None else read_step(first)
        if not isinstance(opening, PublishOpening):
            found = "the end of the call" if first is None else "another step"
            raise step_violation("open as the first message", found)
        task = asyncio.create_task(self._open(owner, opening))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            # Whatever the log has opened gets a holder, though the producer may be gone by then.
            publication = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._abandoned)
            raise
        await publication.run(stream)

    def _abandoned(self, opened: "asyncio.Task[Publication]") -> None:
        if not opened.cancelled() and opened.exception() is None:
            self.left(opened.result())

    async def _open(self, owner: str, opening: PublishOpening) -> Publication:
        id_ = log_id(owner, opening.response_id)
        found = await self.log.describe(id_)
        if found is None:
            await reserve(self.log, id_, owner, self.config)
        try:
            stored = await self.log.open(
                Opening(id=id_, owner=owner, epoch=opening.epoch, kind=opening.kind, is_published=True)
            )
            is_whole = stored.last == 1 and await self._is_whole(id_)
        except ResponseError as error:
            if error.reason in LOG_FAILURES and id_ not in self._holders:
                # It may be open all the same.
                self._hold_for_producer(Publication(self, id_, opening.epoch))
            raise
        finally:
            if found is None:
                self.log.unreserve(id_, owner)
        # An end of its own has its own epoch.
        is_of_others = stored.end is not None and stored.epoch > opening.epoch
        if is_of_others or stored.response_state == ResponseState.RESPONSE_STATE_CANCELLED:
            raise _ended_error(stored)
        publication = Publication(
            self, id_, stored.epoch, last=stored.last, size=stored.size, is_whole=is_whole
        )
        if stored.end is None:
            self._hold(publication)
            if found is not None and found.node != self.log.node:
                self.run(self._tell(found.node, publication))
        return publication

    async def _is_whole(self, id_: str) -> bool:
        batches = await self.log.read(id_, 0, 1)
        return bool(batches) and not batches[0].data.startswith(_CHUNK_TAG)

    async def _tell(self, node: str, publication: Publication) -> None:
        """Inform the node that held a response that this one does now."""
        request = f"{REPLACED} {publication.epoch} {publication.id}"
        await self.log.ask(node, request.encode(), LOG_WAIT_S_MAX)

    def _hold(self, publication: Publication) -> None:
        previous = self._holders.get(publication.id)
        if isinstance(previous, Publication):
            if previous.epoch > publication.epoch:
                raise stale_error(previous.epoch)
            self._leases.stop(self.config.lease_s, previous)
            previous.replaced(publication.epoch)
        self._holders[publication.id] = publication

    def replaced(self, id_: str, epoch: int) -> None:
        """Learn that another node holds a response, with a producer of this epoch."""
        held = self._holders.get(id_)
        if isinstance(held, Publication) and held.epoch <= epoch:
            del self._holders[id_]
            self._leases.stop(self.config.lease_s, held)
            held.replaced(epoch)

    def has_producer(self, stored: StoredResponse) -> bool:
        """Check whether a response has its producer here, though another node has adopted it.

        That node did not hear this one for a while, and would end the response after its lease.
        """
        held = self._holders.get(stored.id)
        is_connected = isinstance(held, Publication) and held.is_connected and held.epoch == stored.epoch
        return is_connected and stored.node != self.log.node

    async def adopt(self, stored: StoredResponse) -> None:
        """Hold a response whose node is gone, for its producer to come back; or one that has it here."""
        opening = Opening(id=stored.id, owner=stored.owner, epoch=stored.epoch, is_published=True)
        opened = await self.log.open(opening)
        if opened.end is None and opened.id not in self._holders:
            self._hold_for_producer(Publication(self, opened.id, opened.epoch, last=opened.last))

    def _hold_for_producer(self, publication: Publication) -> None:
        """Hold a response without its producer, which has `lease_s` to come back."""
        self._holders[publication.id] = publication
        self.left(publication)

    def left(self, publication: Publication) -> None:
        """Wait for the producer to come back, unless the response has ended, or another call has it."""
        is_held = self._holders.get(publication.id) is publication
        if is_held and not publication.has_ended and not publication.is_ending:
            self._leases.start(self.config.lease_s, publication, functools.partial(self._expire, publication))

    def ended(self, publication: Publication) -> None:
        """Learn that the end of a response is stored."""
        if self._holders.get(publication.id) is publication:
            del self._holders[publication.id]
            self._leases.stop(self.config.lease_s, publication)
            self.counts.end(publication.id)

    def _expire(self, publication: Publication) -> None:
        if not self._is_closed and self._holders.get(publication.id) is publication:
            self.run(self._end_lost(publication))

    async def _end_lost(self, publication: Publication) -> None:
        """End a response whose producer has not come back; the log decides if it does just now."""
        try:
            stored = await self.log.describe(publication.id)
            is_ours = stored is not None and stored.end is None and stored.node == self.log.node
            if stored is not None and is_ours:
                # A takeover that seemed to fail has no other holder than this one.
                has_other_epoch, publication.epoch = publication.epoch != stored.epoch, stored.epoch
                if publication.grew_to(stored.last) or has_other_epoch:
                    self.left(publication)
                    return
                await end_now(self.log, stored, failure(lost_error()))
        except ResponseError:
            self._leases.start(_LEASE_RETRY_S, publication, functools.partial(self._expire, publication))
            raise
        self.ended(publication)


def _ended_error(stored: StoredResponse) -> ResponseError:
    """Return the error for a producer whose response others have ended."""
    if stored.end is not None and stored.response_state == ResponseState.RESPONSE_STATE_FAILED:
        return ended_error(error_of_status(stored.end.status).reason)
    is_cancelled = stored.response_state == ResponseState.RESPONSE_STATE_CANCELLED
    return cancelled_error() if is_cancelled else ended_error()
