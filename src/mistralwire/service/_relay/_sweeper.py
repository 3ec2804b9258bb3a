"""Keeping the log tidy: responses that lost their node, that are too old, or lie in many small batches."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

from mistralwire.errors import MistralwireError, log_unexpected
from mistralwire.log import Batch, Query, ResponseLog, StoredResponse
from mistralwire.service._config import RelayConfig
from mistralwire.service._relay._publish import Publishers
from mistralwire.service._relay._recording import Recorder
from mistralwire.service._relay._rules import Holder, end_now, failure, lost_error

# Seconds between two looks at what there is to do, and between two searches for what is too old.
_SWEEP_S = 1.0
_EXPIRE_S = 60.0
# Seconds without an answer of the log after which it may have been away, and other nodes with it.
_AWAY_S = 0.5
# Seconds from the end of a response until it is folded: its followers have read it by then.
_FOLD_S = 10.0
# Responses that wait to be folded; beyond them the oldest stay as they are.
_FOLDS_MAX = 10_000
_FOLD_BYTES_MAX = 256 * 1024
_PAGE = 500
# Responses that are ended at one time: a log stores them together.
_AT_ONCE = 100
_DAY_S = 86_400.0

_logger = logging.getLogger(__name__)


class Sweeper:
    """Does what time brings about in a log, and what other nodes have left behind.

    Args:
        log: The log.
        config: How long a response is kept.
        publishers: Hold the published responses whose node is gone.
        recorder: Has the responses of calls, whose followers may be at a node that is gone.
        holders: What produces the running responses of this process, by their ids in the log.
    """

    def __init__(
        self,
        log: ResponseLog,
        config: RelayConfig,
        publishers: Publishers,
        recorder: Recorder,
        holders: Mapping[str, Holder],
    ) -> None:
        self._log = log
        self._config = config
        self._publishers = publishers
        self._recorder = recorder
        self._holders = holders
        self._ended: deque[tuple[float, str]] = deque(maxlen=_FOLDS_MAX)

    def ended(self, id_: str) -> None:
        """Learn that a response of this process has ended, to be folded in a while."""
        self._ended.append((time.monotonic() + _FOLD_S, id_))

    async def run(self) -> None:
        """Sweep until it is cancelled."""
        expires_s = 0.0
        while True:
            with self._logging():
                await self.take_orphans()
                await self._recorder.check_followers()
                if time.monotonic() >= expires_s:
                    expires_s = time.monotonic() + _EXPIRE_S
                    await self.delete_expired()
                await self.fold_ended()
            await asyncio.sleep(_SWEEP_S)

    @contextlib.contextmanager
    def _logging(self) -> Iterator[None]:
        try:
            yield
        except MistralwireError as error:
            # It is tried again.
            _logger.info("the response log could not be swept: %s", error.message)
        except Exception as error:  # noqa: BLE001 - the next sweep may succeed
            log_unexpected(_logger, "the response log could not be swept", error)

    async def take_orphans(self) -> None:
        """Fail the responses of calls whose node is gone, and hold the published ones for their producers.

        What others have ended while this node was not heard loses its producer.
        """
        alive = {self._log.node: True}
        held = {id_: holder for id_, holder in self._holders.items() if holder.is_settled}
        query = Query(is_running=True, oldest_first=True, limit=_PAGE, is_approximate=True)
        async for page in self._pages(query):
            for stored in page:
                held.pop(stored.id, None)
            for node in {stored.node for stored in page} - alive.keys():
                alive[node] = await self._log.is_alive(node)
            orphans = [
                stored for stored in page if not alive[stored.node] or self._publishers.has_producer(stored)
            ]
            for at in range(0, len(orphans), _AT_ONCE):
                await asyncio.gather(*map(self._take, orphans[at : at + _AT_ONCE]))
        for id_, holder in held.items():
            await self._compare(id_, holder)

    async def _compare(self, id_: str, holder: Holder) -> None:
        """Inform the producer of a response that is not among those that run, if others have ended it."""
        with self._logging():
            stored = await self._log.describe(id_)
            if holder.is_settled and (stored is None or stored.end is not None):
                holder.overtaken(stored)

    async def _take(self, stored: StoredResponse) -> None:
        # Another node may be faster, and the log may fail: the next sweep sees what is left.
        with self._logging():
            if stored.is_published:
                await self._publishers.adopt(stored)
                return
            began_s = time.monotonic()
            newest = await self._log.describe(stored.id)
            if time.monotonic() - began_s > _AWAY_S and await self._log.is_alive(stored.node):
                return
            if newest is not None and newest.end is None and newest.node == stored.node:
                await end_now(self._log, newest, failure(lost_error()))
                self.ended(stored.id)

    async def delete_expired(self) -> None:
        """Delete the responses that ended more than `keep_days` ago."""
        before_s = time.time() - self._config.keep_days * _DAY_S
        query = Query(is_running=False, ended_before_s=before_s, oldest_first=True, limit=_PAGE)
        async for page in self._pages(query):
            for stored in page:
                # Another node, or its owner, may be faster.
                with self._logging():
                    await self._log.delete(stored.id)

    async def _pages(self, query: Query) -> AsyncIterator[Sequence[StoredResponse]]:
        while page := await self._log.list(query):
            yield page
            if len(page) < query.limit:
                return
            query = dataclasses.replace(query, after=(page[-1].created_s, page[-1].id))

    async def fold_ended(self) -> None:
        """Fold the responses that ended a while ago."""
        while self._ended and self._ended[0][0] <= time.monotonic():
            _, id_ = self._ended.popleft()
            with self._logging():
                await self._fold(id_)

    async def _fold(self, id_: str) -> None:
        stored = await self._log.describe(id_)
        if stored is None or stored.end is None:
            return
        batches: list[Batch] = []
        while (batches[-1].last if batches else 0) < stored.last:
            found = await self._log.read(id_, batches[-1].last if batches else 0)
            if not found:
                return
            batches += found
        folded = fold(batches)
        if len(folded) < len(batches):
            # Its owner may have deleted it since, and begun another one with its id.
            await self._log.fold(id_, folded, revision=stored.revision)


def fold(batches: Iterable[Batch]) -> list[Batch]:
    """Return fewer batches with the same events, which keep their numbers and their bytes.

    Events are not merged: a consumer that resumes between two of them would get some text twice or never.
    """
    folded: list[Batch] = []
    parts: list[bytes] = []
    size = 0
    for batch in batches:
        size += len(batch.data)
        if folded and folded[-1].epoch == batch.epoch and size <= _FOLD_BYTES_MAX:
            parts.append(batch.data)
            folded[-1] = folded[-1]._replace(last=batch.last)
        else:
            if folded:
                folded[-1] = folded[-1]._replace(data=b"".join(parts))
            folded.append(batch)
            parts, size = [batch.data], len(batch.data)
    if folded:
        folded[-1] = folded[-1]._replace(data=b"".join(parts))
    return folded
