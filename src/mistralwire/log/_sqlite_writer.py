"""What a commit to a log in SQLite stores, the one thread that writes, and the one that makes checkpoints."""

import asyncio
import contextlib
import dataclasses
import logging
import queue
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.log._response_log import Append, Batch, End, KeyClaim, Opening, Space, StoredResponse
from mistralwire.log._rules import (
    appended,
    check_revision,
    folded,
    not_found_error,
    opened,
    replace,
    unavailable,
)
from mistralwire.log._sqlite_file import Folder, is_full

# What `stored_response` takes.
COLUMNS = (
    "number, id, owner, space, kind, is_published, model, created_s, epoch, node, last, size, end_state,"
    " end_status, ended_s, upstream_id, state, revision"
)
_CREATE = f"insert into responses ({COLUMNS}) values ({', '.join('?' * 18)})"  # noqa: S608
_FIND = f"select {COLUMNS} from responses where id = ?"  # noqa: S608
_RUNNING = f"select {COLUMNS} from responses where end_state is null"  # noqa: S608
_CHANGE = (
    "update responses set model = ?, epoch = ?, node = ?, last = ?, size = ?, end_state = ?, end_status = ?,"
    " ended_s = ?, upstream_id = ?, state = ?, revision = ? where number = ?"
)
# The batches since `responses.last`, which is written when the rest of the row changes.
_SINCE = """
    select max(batches.last), sum(length(data)), count(*)
    from batches where response = ? and first > ?
"""
_BATCH_COLUMNS = 6
# What a commit deletes at most; deleting a long response at once would hold up all other commits.
_REMOVED_ROWS_MAX = 512
_REMOVED_BYTES_MAX = 2 * 1024 * 1024
# Pages that are copied from the write-ahead log to the database together: 8 MiB.
_CHECKPOINT_PAGES = 2048
_PAGE_BYTES = 4096
# How many of the deleted batches share a page, roughly: batches of other responses are between them.
_ROWS_A_PAGE = 4

_logger = logging.getLogger(__name__)

Effect: TypeAlias = tuple[Callable[..., None], *tuple[Any, ...]]
Deliver: TypeAlias = Callable[[Append, StoredResponse, Batch | None], None]
Row: TypeAlias = tuple[int, StoredResponse]


@dataclasses.dataclass(slots=True)
class Commit:
    """What a commit has changed, for the event loop.

    Attributes:
        responses: The responses that changed; None for those that were deleted.
        ended: Owners and spaces, with the change of the bytes and the number of their ended responses.
        effects: Functions to call, in order, with their arguments.
    """

    responses: dict[str, StoredResponse | None] = dataclasses.field(default_factory=dict)
    ended: list[tuple[str, Space, int, int]] = dataclasses.field(default_factory=list)
    effects: list[Effect] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Task:
    """A change other than an append.

    Attributes:
        run: Makes the change; the future gets what it returns.
        effect: What is called in the event loop once that is committed.
    """

    run: Callable[["Transaction"], object]
    future: asyncio.Future[Any]
    effect: Effect | None = None


def stored_response(row: Sequence[Any]) -> StoredResponse:
    """Return the response of a row of `COLUMNS`."""
    _, id, owner, space, kind, is_published, model, created_s, epoch, node, last, size = row[:12]
    end_state, end_status, ended_s, upstream_id, state, revision = row[12:]
    return StoredResponse(
        id=id,
        owner=owner,
        epoch=epoch,
        space=space,
        kind=kind,
        is_published=bool(is_published),
        model=model,
        node=node,
        last=last,
        size=size,
        end=None if end_state is None else End(end_state, end_status),
        created_s=created_s,
        ended_s=ended_s,
        upstream_id=upstream_id,
        state=state,
        revision=revision,
    )


class Removal:
    """Deletes batches as far as one commit may: up to 512, until they have 2 MiB."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows_left = _REMOVED_ROWS_MAX
        self._bytes_left = _REMOVED_BYTES_MAX

    @property
    def is_spent(self) -> bool:
        """Whether batches may be left of what was removed last."""
        return self._rows_left <= 0 or self._bytes_left <= 0

    @property
    def pages(self) -> int:
        """How many pages that wrote, roughly."""
        size = _REMOVED_BYTES_MAX - self._bytes_left
        return (_REMOVED_ROWS_MAX - self._rows_left) // _ROWS_A_PAGE + size // _PAGE_BYTES

    def remove(self, number: int) -> None:
        """Delete batches of a response that nobody reads any more."""
        query = "select first, length(data) from batches where response = ? order by first limit ?"
        last = None
        for first, size in self._connection.execute(query, (number, self._rows_left)).fetchall():
            if self._bytes_left <= 0:
                break
            last = first
            self._rows_left -= 1
            self._bytes_left -= size
        if last is not None:
            self._connection.execute("delete from batches where response = ? and first <= ?", (number, last))


class Transaction:
    """Changes that are committed together: by one INSERT if they are all batches.

    Args:
        connection: To the database; nobody else writes to it.
        running: The responses that run, with the numbers of their rows.
        number: That of the next row.
        node: Name of this process.
        deliver: Becomes the effect of an append, with the response as it is then, and the batch that is new.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        running: dict[str, Row],
        number: int,
        node: str,
        deliver: Deliver,
    ) -> None:
        self.connection = connection
        self.node = node
        self.now_s = time.time()
        self._deliver = deliver
        self.number = number
        self.commit = Commit()
        self._running = running
        self._changed: dict[str, Row | None] = {}
        self._stale: dict[str, None] = {}
        self._batches: list[Any] = []
        self._removal = Removal(connection)
        self.has_to_remove = False

    def find(self, id: str) -> Row | None:
        """Return a response as this transaction leaves it."""
        if id in self._changed:
            return self._changed[id]
        return self._running.get(id) or self._ended(id)

    def _ended(self, id: str) -> Row | None:
        found = self.connection.execute(_FIND, (id,)).fetchone()
        return None if found is None else (found[0], stored_response(found))

    def run(self, task: "Task") -> None:
        try:
            value = task.run(self)
        except ResponseError as error:
            self.commit.effects.append((settle, task.future, None, error))
            return
        if task.effect is not None:
            self.commit.effects.append(task.effect)
        self.commit.effects.append((settle, task.future, value, None))

    def append_known(self, work: Sequence[Append | Task]) -> Sequence[Append | Task]:
        """Take the appends to responses that run, up to the first change that needs the database.

        Returns:
            That change and those behind it.
        """
        for at, item in enumerate(work):
            if not isinstance(item, Append) or item.id not in self._running:
                return work[at:]
            self.append(item)
        return ()

    def append(self, append: Append) -> None:
        row = self.find(append.id)
        if row is None:
            self.commit.effects.append((append.on_done, 0, not_found_error()))
            return
        number, response = row
        try:
            changed, batch = appended(append, response, self.now_s)
        except ResponseError as error:
            self.commit.effects.append((append.on_done, response.last, error))
            return
        if changed is not response:
            self._change(number, response, changed, batch)
        self.commit.effects.append((self._deliver, append, changed, batch))

    def _change(
        self, number: int, response: StoredResponse, changed: StoredResponse, batch: Batch | None
    ) -> None:
        self._changed[changed.id] = number, changed
        if batch is not None:
            first, last, epoch, data = batch
            self._batches += (number, first, last, epoch, None, data)
        if (
            changed.end is not response.end
            or changed.epoch != response.epoch
            or changed.upstream_id is not response.upstream_id
            or changed.model is not response.model
            or changed.state is not response.state
        ):
            self._stale[changed.id] = None
            if changed.end is not None and response.end is None:
                self.commit.ended.append((changed.owner, changed.space, changed.size, 1))

    def open(self, opening: Opening) -> StoredResponse:
        row = self.find(opening.id)
        response = opened(opening, row and row[1], self.node, self.now_s)
        if row is None:
            self.begin()
            number, self.number = self.number, self.number + 1
            self.connection.execute(_CREATE, _row(number, response))
            self._changed[opening.id] = number, response
        elif response is not row[1]:
            self._changed[opening.id] = row[0], response
            self._stale[opening.id] = None
        return response

    def delete(self, id: str, revision: int | None) -> None:
        number, response = self._required(id)
        check_revision(response, revision)
        self.flush()
        self._remove_batches(number)
        self.connection.execute("delete from responses where number = ?", (number,))
        self.connection.execute("delete from keys where id = ?", (id,))
        self._changed[id] = None
        if response.end is not None:
            self.commit.ended.append((response.owner, response.space, -response.size, -1))

    def fold(self, id: str, batches: Sequence[Batch], revision: int | None) -> None:
        number, response = self._required(id)
        changed = folded(response, batches, revision)
        self.flush()
        self._remove_batches(number)
        folded_number, self.number = self.number, self.number + 1
        self.connection.execute("update responses set number = ? where number = ?", (folded_number, number))
        for first, last, epoch, data in batches:
            self._batches += (folded_number, first, last, epoch, None, data)
        self._changed[id] = folded_number, changed
        self._stale[id] = None
        self.commit.ended.append((response.owner, response.space, changed.size - response.size, 0))

    def _remove_batches(self, number: int) -> None:
        """Delete the batches of a number, which nobody reads from now on, or leave some to the writer."""
        self._removal.remove(number)
        if self._removal.is_spent:
            self.connection.execute("insert into to_remove values (?)", (number,))
            self.has_to_remove = True

    def claim_key(self, owner: str, key: str, digest: bytes, id: str) -> KeyClaim:
        self.begin()
        found = self.connection.execute(
            "select id, digest from keys where owner = ? and key = ?", (owner, key)
        ).fetchone()
        if found is not None:
            return KeyClaim(found[0], found[1], is_new=False)
        self.connection.execute("insert into keys values (?, ?, ?, ?)", (owner, key, digest, id))
        return KeyClaim(id, digest, is_new=True)

    def release_key(self, owner: str, key: str, id: str) -> None:
        self.begin()
        self.connection.execute("delete from keys where owner = ? and key = ? and id = ?", (owner, key, id))

    def _required(self, id: str) -> Row:
        row = self.find(id)
        if row is None:
            raise not_found_error()
        return row

    def begin(self) -> None:
        if not self.connection.in_transaction:
            self.connection.execute("begin immediate")

    def flush(self) -> None:
        """Execute what was collected, within a transaction."""
        self.begin()
        self._insert()
        for id in self._stale:
            row = self._changed[id]
            if row is not None:
                number, response = row
                values = _row(number, response)
                self.connection.execute(_CHANGE, (values[6], *values[8:], number))
        self._stale.clear()

    def _insert(self) -> None:
        rows_max = self.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // _BATCH_COLUMNS
        values, self._batches = self._batches, []
        values[4::_BATCH_COLUMNS] = map(zlib.crc32, values[5::_BATCH_COLUMNS])
        for start in range(0, len(values), rows_max * _BATCH_COLUMNS):
            part = values[start : start + rows_max * _BATCH_COLUMNS]
            rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * (len(part) // _BATCH_COLUMNS))
            self.connection.execute(f"insert into batches values {rows}", part)  # noqa: S608

    def finish(self) -> int:
        """Commit; return how many pages that wrote, roughly."""
        pages = len(self._batches) // _BATCH_COLUMNS
        pages += sum(map(len, self._batches[_BATCH_COLUMNS - 1 :: _BATCH_COLUMNS])) // _PAGE_BYTES
        if self._stale or self.connection.in_transaction or pages > 1000:
            self.flush()
            self.connection.execute("commit")
        elif self._batches:
            self._insert()
        for id, row in self._changed.items():
            if row is None or row[1].end is not None:
                self._running.pop(id, None)
            else:
                self._running[id] = row
            self.commit.responses[id] = None if row is None else row[1]
        return pages + len(self._changed) + self._removal.pages


def _row(number: int, response: StoredResponse) -> tuple[Any, ...]:
    """Return the values of `COLUMNS`."""
    end_state, end_status = response.end or (None, None)
    return (
        number,
        response.id,
        response.owner,
        response.space,
        response.kind,
        response.is_published,
        response.model,
        response.created_s,
        response.epoch,
        response.node,
        response.last,
        response.size,
        end_state,
        end_status,
        response.ended_s,
        response.upstream_id,
        response.state,
        response.revision,
    )


# What arrived, the transaction that has a part of it, and the rest.
_Work: TypeAlias = tuple[Sequence[Append | Task], Transaction, Sequence[Append | Task]]


class Writer:
    """Stores changes in a thread; a commit takes all that arrived during the previous one.

    The event loop makes the rows of the appends, so that the thread needs the interpreter's lock little: a
    thread that made them would wait for the loop, and the loop for it, many times a commit.

    Args:
        folder: Of the database.
        node: Name of this process.
        on_commit: Called in the event loop after each commit, failed ones included.
        deliver: See `Transaction`.
    """

    def __init__(
        self, folder: Folder, node: str, on_commit: Callable[[Commit], None], deliver: Deliver
    ) -> None:
        self._check = folder.check
        self._connection = folder.connect()
        self._connection.execute(f"pragma journal_size_limit={_CHECKPOINT_PAGES * _PAGE_BYTES}")
        self._connection.execute("pragma cache_size=-16384")
        self._node = node
        self._on_commit = on_commit
        self._deliver = deliver
        self._running: dict[str, Row] = {}
        self._number = 0
        # Whether the table `to_remove` has rows, and why they could not be removed last time.
        self._has_to_remove = False
        # What was logged last, until the same works again.
        self._problem = self._removal_problem = ""
        # For the event loop: what arrives, whether a commit is running, and whether that is all.
        self._arrived: list[Append | Task] = []
        self._is_busy = self._is_closed = False
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        # Held during a commit, and for the end of a checkpoint.
        self._lock = threading.Lock()
        self._pages = 0
        self._checkpoints: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._threads = (
            threading.Thread(target=self._write, name="mistralwire-log", daemon=True),
            threading.Thread(
                target=self._checkpoint,
                args=(folder.connect(),),
                name="mistralwire-log-checkpoint",
                daemon=True,
            ),
        )

    def load(self) -> Commit:
        """Read what is stored, before the writer is started."""
        execute = self._connection.execute
        commit = Commit()
        for row in execute(_RUNNING).fetchall():
            response = stored_response(row)
            last, size, count = execute(_SINCE, (row[0], response.last)).fetchone()
            if count:
                response = replace(
                    response,
                    last=last,
                    size=response.size + size,
                    revision=response.revision + count,
                )
            self._running[response.id] = row[0], response
            commit.responses[response.id] = response
        commit.ended += execute(
            "select owner, space, sum(size), count(*) from responses where end_state is not null"
            " group by owner, space"
        ).fetchall()
        execute("delete from keys where id not in (select id from responses)")
        self._has_to_remove = bool(execute("select exists (select * from to_remove)").fetchone()[0])
        # A response with the number of one that is not removed yet would have its batches, or lose its own.
        self._number = 1 + max(
            execute(f"select coalesce(max({column}), 0) from {table}").fetchone()[0]  # noqa: S608
            for table, column in (("responses", "number"), ("batches", "response"), ("to_remove", "response"))
        )
        return commit

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        for thread in self._threads:
            thread.start()

    def put(self, *items: Append | Task) -> None:
        """Add changes, in the event loop."""
        self._arrived += items
        if not self._is_busy:
            self._begin()

    def close(self) -> None:
        """Store what has arrived, then end the threads; in the event loop, and nothing is added later."""
        self._is_closed = True
        if not self._is_busy:
            self._begin()

    def join(self) -> None:
        """Wait until the threads have ended, while the event loop runs."""
        for thread in self._threads:
            thread.join()

    def _begin(self) -> None:
        """Hand over what has arrived; no commit is running."""
        work, self._arrived = self._arrived, []
        self._is_busy = bool(work)
        if not work:
            if self._is_closed:
                self._queue.put(None)
            return
        transaction = Transaction(self._connection, self._running, self._number, self._node, self._deliver)
        try:
            rest = transaction.append_known(work)
        except Exception as error:  # noqa: BLE001 - those that wait are told, and the log goes on
            self._loop.call_soon(self._committed, self._failed(work, error))
        else:
            self._queue.put((work, transaction, rest))

    def _committed(self, commit: Commit) -> None:
        self._begin()
        self._on_commit(commit)

    def _write(self) -> None:
        while (work := self._next_work()) is not None:
            commit = self._stored(*work)
            try:
                self._loop.call_soon_threadsafe(self._committed, commit)
            except RuntimeError:  # the event loop was closed before the log
                break
        self._checkpoints.put(False)

    def _next_work(self) -> _Work | None:
        """Wait for work, and remove what is left of deleted and folded responses until there is some."""
        while self._has_to_remove and self._queue.empty():
            if not self._remove_some():
                # Tried again after the next commit; a checkpoint may have made room by then.
                self._checkpoints.put(True)
                break
        return self._queue.get()

    def _remove_some(self) -> bool:
        """Delete batches in a commit of its own; return whether that worked."""
        execute = self._connection.execute
        removal = Removal(self._connection)
        try:
            with self._committing():
                execute("begin immediate")
                while found := execute("select response from to_remove").fetchone():
                    removal.remove(*found)
                    if removal.is_spent:
                        break
                    execute("delete from to_remove where response = ?", found)
                execute("commit")
        except Exception as error:  # noqa: BLE001 - the thread goes on
            problem = _problem(error)
            if problem != self._removal_problem:
                self._removal_problem = problem
                _logger.warning(
                    "the response log could not remove deleted events, and will try again: %s", problem
                )
            return False
        self._removal_problem = ""
        self._has_to_remove = found is not None
        self._wrote(removal.pages)
        return True

    def _wrote(self, pages: int) -> None:
        self._pages += pages
        if self._pages >= _CHECKPOINT_PAGES:
            self._pages = 0
            self._checkpoints.put(True)

    @contextlib.contextmanager
    def _committing(self) -> Iterator[None]:
        """Hold the lock for a commit, and roll back what failed."""
        with self._lock:
            self._roll_back()
            try:
                yield
            except BaseException:
                with contextlib.suppress(Exception):  # it may lack memory; the next commit does it
                    self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.rollback()

    def _stored(
        self, work: Sequence[Append | Task], transaction: Transaction, rest: Sequence[Append | Task]
    ) -> Commit:
        try:
            self._check()
            with self._committing():
                for item in rest:
                    if isinstance(item, Append):
                        transaction.append(item)
                    else:
                        transaction.run(item)
                pages = transaction.finish()
        except Exception as error:  # noqa: BLE001 - those that wait are told, and the thread goes on
            self._checkpoints.put(True)
            return self._failed(work, error)
        if self._problem:
            self._problem = ""
            _logger.warning("the response log stores changes again")
        self._number = transaction.number
        self._has_to_remove |= transaction.has_to_remove
        self._wrote(pages)
        return transaction.commit

    def _failed(self, work: Sequence[Append | Task], error: Exception) -> Commit:
        problem = _problem(error)
        if problem != self._problem:
            self._problem = problem
            _logger.error("the response log could not store changes: %s", problem)
        commit = Commit()
        for item in work:
            failure = storage_error(error)
            if isinstance(item, Append):
                row = self._running.get(item.id)
                commit.effects.append((item.on_done, 0 if row is None else row[1].last, failure))
            else:
                commit.effects.append((settle, item.future, None, failure))
        return commit

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        while self._checkpoints.get():
            try:
                connection.execute("pragma wal_checkpoint(passive)")
                # What was written meanwhile is little; then the log begins anew.
                with self._lock:
                    connection.execute("pragma wal_checkpoint(passive)")
            except sqlite3.Error as error:
                _logger.warning("the response log could not be copied to its database: %s", str(error))


def settle(future: asyncio.Future[Any], value: object, error: MistralwireError | None) -> None:
    """Set the outcome of a task."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def storage_error(error: Exception, response: str = "") -> ResponseError:
    """Return the error for a failure of SQLite, with the response that was read."""
    if is_full(error):
        return ResponseError(
            "the disk of the response log is full; make room on it, then retry",
            code="RESOURCE_EXHAUSTED",
            reason=Reason.LOG_FULL,
        )
    problem = _problem(error)
    return unavailable(f"{problem}, at the response {response}" if response else problem)


def _problem(error: Exception) -> str:
    return str(error) or type(error).__name__  # a MemoryError has no text
