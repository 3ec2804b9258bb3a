"""Group commit: changes of many responses are stored together, by atomic batches.

What is added while a batch is in flight goes into the next one. The last message of a response's subject is
the fence: a change is stored only behind the state that it was decided on. No server knows our writes by
ids; after a refusal or without an answer the last message tells whether it is ours.
"""

import asyncio
import copy
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.log._nats._connection import (
    EXPECTED_LAST,
    ROLLUP,
    TTL,
    Connection,
    NoAnswerError,
    Outgoing,
    RefusedError,
    full_error,
)
from mistralwire.log._nats._index import Index
from mistralwire.log._nats._records import HEADER, Record, decode, digest, encode, encode_deleted, parts
from mistralwire.log._response_log import Batch, StoredResponse
from mistralwire.log._rules import replace, unavailable

# A stream takes 50 atomic batches at a time, from all nodes.
_BATCHES_IN_FLIGHT_MAX = 2
# Of the 1,000 that a server takes.
_BATCH_MESSAGES_MAX = 800
_BATCH_BYTES_MAX = 8 * 1024 * 1024
_RESPONSES_MAX = 350
# With one server, a batch takes the time of several messages on their own: it has files of its own.
_SINGLE_MESSAGES_MAX = 8
# What the headers of a message may need of its size.
_HEADER_BYTES = 16 * 1024
_RETRY_S = 0.05
_RETRY_S_MAX = 0.5
# Attempts to store a batch that a server refuses, before its disk may be the cause.
_ATTEMPTS_UNTIL_SUSPECT = 3
# How long a deleted response is remembered, for nodes that followed it.
_TOMBSTONE_TTL = "60s"

Changed = tuple[StoredResponse | None, Sequence[Batch]]


@dataclasses.dataclass(slots=True)
class Change:
    """A change of one response.

    Attributes:
        id: The response.
        apply: Returns what it makes of the stored response: its new state, None if it is deleted, the same
            one if nothing changes; and the batches that are stored. It raises a ResponseError.
        done: Called when it is stored, or can't be.
        is_append: Whether it may be stored in one message with others.
        is_fold: Whether its batches replace all others.
        deadline_s: When it fails.
    """

    id: str
    apply: Callable[[StoredResponse | None], Changed]
    done: Callable[[StoredResponse | None, MistralwireError | None], None]
    is_append: bool = False
    is_fold: bool = False
    deadline_s: float = 0.0


@dataclasses.dataclass(slots=True)
class _Write:
    """What is stored of one response by one atomic batch: its changes, each with the state behind it."""

    id: str
    token: str
    expected: int
    response: StoredResponse | None
    batches: Sequence[Batch]
    changes: list[tuple[Change, StoredResponse | None]]
    has_marker: bool
    messages: list[Outgoing]


class Writer:
    """Stores the changes of one node.

    Attributes:
        refusal: Why nothing is stored.
        is_closed: Whether nothing is stored any more.

    Args:
        connection: The connection.
        stream: Name of the stream.
        node: Name of the node.
        away_s: Seconds for which changes wait for servers.
        index: What the node knows of the responses; the writer keeps it up to date.
        on_stored: Called with a response and its new batches, once they are stored.
        on_full: Called when nothing is stored since a disk is full, or was.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        stream: str,
        node: str,
        away_s: float,
        index: Index,
        on_stored: Callable[[str, StoredResponse | None, Sequence[Batch]], None],
        on_full: Callable[[], None],
    ) -> None:
        self.refusal: MistralwireError | None = None
        self.is_closed = False
        self._connection = connection
        self._stream = stream
        self._node = node
        self._away_s = away_s
        self._index = index
        self._on_stored = on_stored
        self._on_full = on_full
        self._changes: dict[str, deque[Change]] = {}
        self._ready: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._numbers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to store."""
        self._tasks = [asyncio.create_task(self._run()) for _ in range(_BATCHES_IN_FLIGHT_MAX)]

    async def close(self) -> None:
        """Store what was added, and nothing else."""
        self.is_closed = True
        if self._tasks:
            await self._idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, change: Change) -> None:
        """Store a change, after the earlier ones of its response."""
        if self.is_closed or self.refusal is not None:
            _report(change, None, self._refusal())
            return
        change.deadline_s = asyncio.get_running_loop().time() + self._away_s
        changes = self._changes.get(change.id)
        if changes is None:
            # Responses that a batch in flight changes are here as well.
            changes = self._changes[change.id] = deque()
            self._ready[change.id] = None
            self._idle.clear()
            self._wake.set()
        changes.append(change)

    def _refusal(self) -> MistralwireError:
        if self.refusal is None:
            return unavailable("it is closed")
        if self.refusal.reason != Reason.LOG_FULL:
            return unavailable(self.refusal.message)
        # Each caller raises its own: one for all would collect their tracebacks.
        return copy.copy(self.refusal)

    async def load(self, id: str) -> Record | None:
        """Return the last message of a response.

        Raises:
            NoAnswerError: Without an answer.
        """
        try:
            stored = await self._connection.last(self.subject(id))
        except RefusedError as error:
            raise NoAnswerError(str(error)) from error
        return None if stored is None else decode(stored)

    def subject(self, id: str) -> str:
        """Return the subject of a response."""
        return f"{self._stream}.r.{digest(id)}"

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            ids = list(itertools.islice(self._ready, _RESPONSES_MAX))
            for id in ids:
                del self._ready[id]
            if not self._ready:
                self._wake.clear()
            if ids:
                await self._store(ids)

    async def _store(self, ids: Sequence[str]) -> None:
        """Store what was added to some responses up to now."""
        writes: list[_Write] = []
        refused: list[str] = []
        for id in ids:
            found = self._index.get(id)
            write = self._prepare(id, found, 0 if found is None else found.revision, is_certain=False)
            if write is not None:
                writes.append(write)
            elif self._changes[id]:
                refused.append(id)
        for group in _groups(writes):
            await self._commit(group)
        # An error is reported only after a look at what is stored: another node may have changed it.
        for group in _groups([write for id in refused if (write := await self._reload(id))]):
            await self._commit(group)
        for id in ids:
            if self._changes[id]:
                self._ready[id] = None
                self._wake.set()
            else:
                del self._changes[id]
        if not self._changes:
            self._idle.set()

    async def _reload(self, id: str) -> _Write | None:
        while True:
            try:
                record = await self.load(id)
            except NoAnswerError as error:
                if self._is_late(self._changes[id][0]):
                    self._fail(self._changes[id], error)
                    self._changes[id].clear()
                    return None
                await self._connection.pause(_RETRY_S_MAX)
            else:
                return self._prepare_anew(id, record)

    def _prepare_anew(self, id: str, record: Record | None) -> _Write | None:
        if record is None or record.response is None:
            self._index.remove(id)
            return self._prepare(id, None, 0 if record is None else record.sequence, is_certain=True)
        self._index.put(record.response)
        return self._prepare(id, record.response, record.sequence, is_certain=True)

    def _prepare(
        self,
        id: str,
        found: StoredResponse | None,
        expected: int,
        *,
        is_certain: bool,
    ) -> _Write | None:
        """Decide on the changes of a response; None if there is nothing to store, or nothing to decide on."""
        changes = self._changes[id]
        taken: list[tuple[Change, StoredResponse | None]] = []
        batches: list[Batch] = []
        response = found
        is_fold = False
        size = 0
        while changes and not is_fold:
            change = changes[0]
            if taken and not change.is_append:
                break
            try:
                changed, new = change.apply(response)
            except ResponseError as error:
                if taken or not is_certain:
                    break
                changes.popleft()
                _report(change, response, error)
                continue
            if changed is response and not taken:
                if not is_certain and not change.is_append:
                    break
                changes.popleft()
                _report(change, response)
                continue
            size += sum(len(batch.data) for batch in new)
            is_other_epoch = bool(batches and new and batches[-1].epoch != new[0].epoch)
            if taken and (size > _BATCH_BYTES_MAX or is_other_epoch):
                break
            changes.popleft()
            taken.append((change, changed))
            batches += new
            response = changed
            is_fold = change.is_fold
            if not change.is_append:
                break
        if not taken:
            return None
        if not is_fold and len(batches) > 1:
            data = b"".join(batch.data for batch in batches)
            batches = [Batch(batches[0].first, batches[-1].last, batches[0].epoch, data)]
        token = f"{self._node}.{next(self._numbers)}"
        has_marker = _is_marked_anew(found, response)
        write = _Write(id, token, expected, response, batches, taken, has_marker, [])
        # One more than fit shows that they don't: a large state would be in each.
        messages = self._messages(write, is_fold=is_fold)
        write.messages = list(itertools.islice(messages, _BATCH_MESSAGES_MAX + 1))
        return write

    def _messages(self, write: _Write, *, is_fold: bool) -> Iterator[Outgoing]:
        name = digest(write.id)
        subject, marker_subject = f"{self._stream}.r.{name}", f"{self._stream}.i.{name}"
        response = write.response
        headers = {EXPECTED_LAST: str(write.expected)}
        if response is None:
            gone = {HEADER: encode_deleted(write.token, write.id), ROLLUP: "sub", TTL: _TOMBSTONE_TTL}
            yield Outgoing(subject, {**headers, **gone}, b"")
            yield Outgoing(marker_subject, gone, b"")
            return
        if is_fold:
            headers[ROLLUP] = "sub"
        # Each piece is a message with the state, behind the events.
        behind = len(response.state) + (0 if response.end is None else len(response.end.status))
        bytes_max = self._connection.payload_bytes_max - _HEADER_BYTES - behind
        pieces = [piece for batch in write.batches for piece in parts(batch, bytes_max)]
        for number, piece in enumerate(pieces or [None], 1):
            described = response
            if piece is not None and number < len(pieces) and not is_fold:
                described = replace(response, last=piece.last, end=None)
            headers[HEADER], payload = encode(write.token, described, piece)
            yield Outgoing(subject, headers, payload)
            headers = {}
        if write.has_marker:
            header, payload = encode(write.token, response, None)
            yield Outgoing(marker_subject, {HEADER: header, ROLLUP: "sub"}, payload)

    async def _commit(self, writes: list[_Write]) -> None:
        """Store writes together; those that other nodes interfere with, one by one and at once."""
        contended: deque[str] = deque()
        attempt = 0
        while writes or contended:
            if not writes:
                write = await self._reload(contended.popleft())
                writes = [] if write is None else [write]
            for write in [write for write in writes if not self._fits(write)]:
                writes.remove(write)
                self._fail_write(write, _too_large(self._connection.payload_bytes_max))
            failed, error = await self._send(writes)
            if error is not None:
                full = await self._full(error, attempt)
                writes = await self._resolve(failed, error, full, contended)
            else:
                writes = []
            if writes and not contended:
                attempt += 1
                await self._connection.pause(min(_RETRY_S * attempt, _RETRY_S_MAX))

    async def _send(self, writes: Sequence[_Write]) -> tuple[Sequence[_Write], Exception | None]:
        """Store writes in one batch, or a few without one; return those that are not known to be stored."""
        is_batch = len(writes) > _SINGLE_MESSAGES_MAX or any(len(write.messages) > 1 for write in writes)
        groups = [writes] if is_batch else [[write] for write in writes]
        messages = [[message for write in group for message in write.messages] for group in groups]
        outcomes = await asyncio.gather(*map(self._connection.store, messages), return_exceptions=True)
        failed: list[_Write] = []
        failure: Exception | None = None
        for group, its_messages, outcome in zip(groups, messages, outcomes, strict=True):
            if isinstance(outcome, (NoAnswerError, RefusedError)):
                failed += group
                failure = outcome
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            sequence = outcome - len(its_messages)
            for write in group:
                sequence += len(write.messages)
                self._stored(write, sequence - write.has_marker)
        return failed, failure

    def _fits(self, write: _Write) -> bool:
        bytes_max = self._connection.payload_bytes_max
        return len(write.messages) <= _BATCH_MESSAGES_MAX and all(
            len(message.data) + sum(map(len, message.headers.values())) + 512 <= bytes_max
            for message in write.messages
        )

    async def _full(self, error: Exception, attempt: int) -> ResponseError | None:
        """Return the error for a log without room, if that is why writes have failed."""
        if isinstance(error, RefusedError) and error.is_full:
            return full_error(error)
        is_silent = isinstance(error, NoAnswerError)
        if is_silent or attempt >= _ATTEMPTS_UNTIL_SUSPECT:
            refused = await self._connection.missing_room(for_batches=not is_silent)
            if refused is not None:
                self.refusal = full_error(refused)
                self._on_full()
                return self.refusal
        return None

    async def _resolve(
        self,
        writes: Sequence[_Write],
        error: Exception,
        full: ResponseError | None,
        contended: deque[str],
    ) -> list[_Write]:
        """Find out which writes are stored; return those to send again, and add those to decide anew."""
        again: list[_Write] = []
        for write, record in zip(writes, await self._load_all(writes), strict=True):
            sequence = record.sequence if isinstance(record, Record) else 0
            if isinstance(record, Record) and record.token == write.token:
                self._stored(write, sequence)
            elif self._is_late(write.changes[0][0]):
                self._fail_write(write, record if isinstance(record, NoAnswerError) else full or error)
            elif isinstance(record, NoAnswerError) or (sequence == write.expected and full is None):
                again.append(write)
            elif sequence == write.expected and full is not None:
                self._fail_write(write, full)
            else:
                self._changes[write.id].extendleft(change for change, _ in reversed(write.changes))
                contended.append(write.id)
        return again

    async def _load_all(self, writes: Sequence[_Write]) -> list[Record | NoAnswerError | None]:
        found = await asyncio.gather(*(self.load(write.id) for write in writes), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, NoAnswerError):
                raise each
        return found  # type: ignore[return-value] # mypy does not narrow the elements

    def _stored(self, write: _Write, sequence: int) -> None:
        response = write.response
        if response is None:
            self._index.remove(write.id)
        else:
            response = replace(response, revision=sequence)
            self._index.put(response)
        self._on_stored(write.id, response, write.batches)
        for change, state in write.changes:
            _report(change, response if state is write.response else state)

    def _fail(self, changes: Sequence[Change], error: Exception) -> None:
        failure = error if isinstance(error, MistralwireError) else unavailable(str(error))
        for change in changes:
            _report(change, self._index.get(change.id), failure)

    def _fail_write(self, write: _Write, error: Exception) -> None:
        self._fail([change for change, _ in write.changes], error)

    @staticmethod
    def _is_late(change: Change) -> bool:
        return change.deadline_s < asyncio.get_running_loop().time()


def _report(change: Change, response: StoredResponse | None, error: MistralwireError | None = None) -> None:
    # Not from here: what a caller raises there must not end the writer.
    asyncio.get_running_loop().call_soon(change.done, response, error)


def _groups(writes: Sequence[_Write]) -> Iterator[list[_Write]]:
    """Yield writes in groups that atomic batches can have."""
    group: list[_Write] = []
    count = size = 0
    for write in writes:
        write_size = sum(len(message.data) for message in write.messages)
        if group and (
            count + len(write.messages) > _BATCH_MESSAGES_MAX or size + write_size > _BATCH_BYTES_MAX
        ):
            yield group
            group, count, size = [], 0, 0
        group.append(write)
        count += len(write.messages)
        size += write_size
    if group:
        yield group


def _is_marked_anew(found: StoredResponse | None, response: StoredResponse | None) -> bool:
    """Check whether lists change, so that all nodes must know."""
    if found is None or response is None:
        return True
    if response.end is not None and found.size != response.size:
        return True
    return (found.node, found.epoch, found.end, found.upstream_id, found.model) != (
        response.node,
        response.epoch,
        response.end,
        response.upstream_id,
        response.model,
    )


def _too_large(bytes_max: int) -> ResponseError:
    return ResponseError(
        f"expected an event, with the state and the status of its response, of less than {bytes_max} bytes, "
        "found more; send smaller events, or raise `max_payload` of the NATS servers",
        code="INVALID_ARGUMENT",
        reason=Reason.EVENT_TOO_LARGE,
    )
