"""Reading the events of a response from a position."""

import asyncio
from collections import OrderedDict
from functools import partial

from mistralwire.log._nats._connection import Connection
from mistralwire.log._nats._records import HEADER, decode
from mistralwire.log._nats._writer import Writer
from mistralwire.log._response_log import Batch
from mistralwire.log._rules import not_found_error, unavailable

_MESSAGES_MAX = 256
_POSITIONS_MAX = 10_000
# What these messages may have beside their events: headers, statuses and states.
_BESIDE_EVENTS_BYTES = 256 * 1024
# A replica may be behind the leader for a moment.
_LAG_S = 0.02
_LAG_S_MAX = 10.0


class Reader:
    """Reads batches from any replica.

    Args:
        connection: The connection.
        writer: Knows the subjects, and the last messages.
    """

    def __init__(self, connection: Connection, writer: Writer) -> None:
        self._connection = connection
        self._writer = writer
        # The sequence of the message that ends with an event, for those who read on from there.
        self._positions: OrderedDict[tuple[str, int], int] = OrderedDict()

    async def read(self, id: str, after: int, bytes_max: int) -> list[Batch]:
        """Return batches behind a position; see `ResponseLog.read`."""
        return await self._connection.persist(partial(self._read, id, after, bytes_max))

    async def _read(self, id: str, after: int, bytes_max: int) -> list[Batch]:
        known = self._positions.get((id, after))
        if known is not None or not after:
            found = await self._batches(id, (known or 0) + 1, after, bytes_max)
            if found and found[0].first <= after + 1:
                return found
        waited_s = 0.0
        while True:
            last = await self._writer.load(id)
            if last is None or last.response is None:
                raise not_found_error()
            if last.response.last <= after:
                return []
            sequence = await self._search(id, after, last.sequence) if after else 1
            found = await self._batches(id, sequence, after, bytes_max)
            if found and found[0].first <= after + 1:
                return found
            if waited_s > _LAG_S_MAX:
                raise unavailable("no replica has the newest events")
            await asyncio.sleep(_LAG_S)
            waited_s += _LAG_S

    async def _batches(self, id: str, sequence: int, after: int, bytes_max: int) -> list[Batch]:
        """Return batches behind a position from the messages that follow a sequence."""
        found: list[Batch] = []
        size = 0
        while True:
            stored, left = await self._connection.batch(
                {
                    "seq": sequence,
                    "next_by_subj": self._writer.subject(id),
                    "batch": _MESSAGES_MAX,
                    "max_bytes": bytes_max + _BESIDE_EVENTS_BYTES,
                }
            )
            for message in stored:
                batch = decode(message).batch if HEADER in message.headers else None
                if batch is None or batch.last <= after:
                    continue
                size += len(batch.data)
                # Those behind a gap were folded while the batch was read.
                if found and (size > bytes_max or batch.first != found[-1].last + 1):
                    break
                found.append(batch)
                sequence = message.sequence
            if found:
                self._remember(id, found[-1].last, sequence)
                return found
            if not stored or not left:
                return []
            sequence = stored[-1].sequence + 1

    def _remember(self, id: str, last: int, sequence: int) -> None:
        self._positions[id, last] = sequence
        self._positions.move_to_end((id, last))
        if len(self._positions) > _POSITIONS_MAX:
            self._positions.popitem(last=False)

    async def _search(self, id: str, after: int, highest: int) -> int:
        """Return a sequence before the message with the event behind a position, close to it."""
        low, high = 1, highest
        while low < high:
            middle = (low + high) // 2
            stored, _ = await self._connection.batch(
                {"seq": middle, "next_by_subj": self._writer.subject(id), "batch": 1}
            )
            record = decode(stored[0]) if stored else None
            if record is None or record.response is None:
                high = middle
                continue
            last = record.batch.last if record.batch is not None else record.response.last
            if last > after:
                high = middle
            else:
                low = record.sequence + 1
        return low
