"""A response log in a database of SQLite: what it acknowledges survives crashes and power losses."""

import asyncio
import os
import pathlib
import queue
import sqlite3
import sys
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mistralwire.errors import MistralwireError, ResponseError
from mistralwire.log._feeds import Feeds
from mistralwire.log._local import LocalNode, position
from mistralwire.log._response_log import (
    Append,
    Batch,
    Delivery,
    KeyClaim,
    Opening,
    Query,
    StoredResponse,
)
from mistralwire.log._rules import not_found_error, unavailable
from mistralwire.log._sqlite_file import Folder, unusable
from mistralwire.log._sqlite_writer import (
    COLUMNS,
    Commit,
    Task,
    Transaction,
    Writer,
    storage_error,
    stored_response,
)

T = TypeVar("T")
_READERS = 4
_SWITCH_INTERVAL_S = 0.0005
_NUMBER_OF_ID = "(select number from responses where id = :id)"
# The number and the batches are of one snapshot, since a fold changes both.
_READ = f"""
    select first, last, epoch, crc32, data from batches
    where response = {_NUMBER_OF_ID} and first >= coalesce((
        select max(first) from batches where response = {_NUMBER_OF_ID} and first <= :after + 1
    ), 0) and last > :after order by first
"""  # noqa: S608


class SqliteLog(LocalNode):
    """Keeps responses in a folder that this process alone uses; see `ResponseLog`.

    Commits are durable once they are acknowledged: the write-ahead log of SQLite is flushed to the disk for
    each. All that arrives during one commit is in the next one.

    While it is open, Python's threads take turns each half millisecond (`sys.setswitchinterval`), since a
    commit waits for its turn several times.

    Args:
        folder: Made if it does not exist, with the mode 0700; the files in it have the mode 0600.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = pathlib.Path(folder)
        self._feeds = Feeds(self.describe, self.read)
        self._folder: Folder | None = None
        self._writer: Writer | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._connections: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._switch_interval_s = sys.getswitchinterval()

    async def start(self) -> None:
        """Open the database; see `ResponseLog`."""
        loop = asyncio.get_running_loop()
        readers = ThreadPoolExecutor(_READERS, thread_name_prefix="mistralwire-log-reader")
        try:
            writer, commit = await loop.run_in_executor(readers, self._open)
        except BaseException:
            readers.shutdown()
            raise
        self._readers = readers
        self._stored(commit)
        self._switch_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(min(self._switch_interval_s, _SWITCH_INTERVAL_S))
        writer.start(loop)
        self._writer = writer

    def _open(self) -> tuple[Writer, Commit]:
        folder = Folder(self._path)
        try:
            for _ in range(_READERS):
                self._connections.put(folder.connect())
            writer = Writer(folder, self.node, self._stored, self._deliver)
            commit = writer.load()
        except sqlite3.Error as error:
            folder.close()
            raise unusable(self._path, error) from error
        self._folder = folder
        return writer, commit

    async def close(self) -> None:
        """Store what was appended, and close the database; see `ResponseLog`."""
        writer, self._writer = self._writer, None
        readers, self._readers = self._readers, None
        if writer is None or readers is None or self._folder is None:
            return
        loop = asyncio.get_running_loop()
        writer.close()
        await loop.run_in_executor(readers, writer.join)
        self._feeds.fail_all(unavailable("it is closed"))
        sys.setswitchinterval(self._switch_interval_s)
        await asyncio.to_thread(readers.shutdown)
        self._folder.close()

    def _stored(self, commit: Commit) -> None:
        """Apply what was committed, in the event loop."""
        for id, response in commit.responses.items():
            if response is None or response.end is not None:
                self._index.remove(id)
            else:
                self._index.put(response)
        for owner, space, size, count in commit.ended:
            self._index.charge(owner, space, (0, size, count))
        loop = asyncio.get_running_loop()
        for function, *arguments in commit.effects:
            try:
                function(*arguments)
            except Exception as error:  # noqa: BLE001 - it is the caller's; the others go on
                loop.call_exception_handler({"message": f"{function} has failed", "exception": error})

    def _deliver(self, append: Append, response: StoredResponse, batch: Batch | None) -> None:
        if append.id in self._feeds:
            self._feeds.add(append.id, () if batch is None else (batch,), response.end)
        append.on_done(response.last, None)

    def append(self, appends: Sequence[Append]) -> None:
        """Append to responses; see `ResponseLog`."""
        if self._writer is None:
            loop = asyncio.get_running_loop()
            for append in appends:
                loop.call_soon(append.on_done, 0, _closed())
            return
        self._writer.put(*appends)

    async def open(self, opening: Opening) -> StoredResponse:
        """Create a response, or take it over; see `ResponseLog`."""
        return await self._write(lambda transaction: transaction.open(opening))

    async def delete(self, id: str, *, revision: int | None = None) -> None:
        """Delete a response; see `ResponseLog`."""

        def delete(transaction: Transaction) -> None:
            transaction.delete(id, revision)

        await self._write(delete, self._feeds.fail, id, not_found_error())

    async def claim_key(self, owner: str, key: str, digest: bytes, id: str) -> KeyClaim:
        """Claim a key; see `ResponseLog`."""
        return await self._write(lambda transaction: transaction.claim_key(owner, key, digest, id))

    async def release_key(self, owner: str, key: str, id: str) -> None:
        """Release a key; see `ResponseLog`."""
        await self._write(lambda transaction: transaction.release_key(owner, key, id))

    async def fold(self, id: str, batches: Sequence[Batch], *, revision: int | None = None) -> None:
        """Replace the batches of a response that has ended; see `ResponseLog`."""
        await self._write(lambda transaction: transaction.fold(id, batches, revision))

    async def _write(self, run: Callable[[Transaction], T], *effect: Any) -> T:
        if self._writer is None:
            raise _closed()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.put(Task(run, future, effect or None))
        return await future

    async def read(self, id: str, after: int = 0, bytes_max: int = 1024 * 1024) -> list[Batch]:
        """Return batches behind a position; see `ResponseLog`."""

        def read(connection: sqlite3.Connection) -> list[Batch]:
            rows = connection.execute(_READ, {"id": id, "after": after})
            try:
                batches = _batches(id, rows, bytes_max)
            finally:
                rows.close()
            if batches or connection.execute("select 1 from responses where id = ?", (id,)).fetchone():
                return batches
            raise not_found_error()

        return await self._read(read, id)

    def follow(self, id: str, after: int = 0) -> AsyncGenerator[Delivery, None]:
        """Yield events as they are stored; see `ResponseLog`."""
        return self._feeds.follow(id, after)

    def fail_followers(self, id: str, error: MistralwireError) -> None:
        """End the followers of a response in this process; see `ResponseLog`."""
        self._feeds.fail(id, error)

    async def describe(self, id: str) -> StoredResponse | None:
        """Return a response; None if it does not exist."""
        if id in self._index:
            return self._index.get(id)
        found = await self._select("where id = ?", id)
        return self._index.get(id) or next(iter(found), None)

    async def list(self, query: Query) -> Sequence[StoredResponse]:
        """Return responses in their order."""
        found = {} if query.is_running is False else {each.id: each for each in self._index.list(query)}
        if query.is_running is not True:
            # Those that ended meanwhile are in both.
            found |= {each.id: each for each in await self._select(*_condition(query))}
        ordered = sorted(found.values(), key=position, reverse=not query.oldest_first)
        return ordered[: query.limit]

    async def find(self, owner: str, upstream_id: str) -> str | None:
        """Return the id of an owner's newest response with an upstream's id."""
        condition = (
            "where owner = ? and upstream_id = ? and upstream_id != ''"
            " order by created_s desc, id desc limit 1"
        )
        found = await self._select(condition, owner, upstream_id)
        return next((response.id for response in found), None)

    async def _select(self, condition: str, *values: Any) -> Sequence[StoredResponse]:
        def select(connection: sqlite3.Connection) -> Sequence[StoredResponse]:
            rows = connection.execute(f"select {COLUMNS} from responses {condition}", values)  # noqa: S608
            return [stored_response(row) for row in rows.fetchall()]

        return await self._read(select)

    async def _read(self, read: Callable[[sqlite3.Connection], T], response: str = "") -> T:
        """Read in a thread, on a connection that nobody else uses meanwhile."""
        if self._readers is None:
            raise _closed()

        def on_connection() -> T:
            connection = self._connections.get()
            try:
                return read(connection)
            except sqlite3.Error as error:
                raise storage_error(error, response) from error
            finally:
                self._connections.put(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, on_connection)


def _closed() -> ResponseError:
    return unavailable("it is closed")


def _batches(id: str, rows: Iterator[Any], bytes_max: int) -> list[Batch]:
    found: list[Batch] = []
    size = 0
    for first, last, epoch, crc32, data in rows:
        if zlib.crc32(data) != crc32 or (found and first != found[-1].last + 1):
            raise unavailable(f"the events {first} to {last} of the response {id} are damaged")
        size += len(data)
        if found and size > bytes_max:
            break
        found.append(Batch(first, last, epoch, data))
    return found


def _condition(query: Query) -> tuple[Any, ...]:
    """Return the condition for those of a query that have ended, and its values."""
    order, behind = ("asc", ">") if query.oldest_first else ("desc", "<")
    conditions: dict[str, Sequence[Any]] = {"end_state is not null": (), "space = ?": (query.space,)}
    if query.owner is not None:
        conditions["owner = ?"] = (query.owner,)
    if query.ended_before_s is not None:
        # None ended before it was created, and the index has that.
        conditions["ended_s < ? and created_s < ?"] = (query.ended_before_s, query.ended_before_s)
    if query.after is not None:
        conditions[f"(created_s, id) {behind} (?, ?)"] = query.after
    values = [value for values in conditions.values() for value in values]
    sql = f"where {' and '.join(conditions)} order by created_s {order}, id {order} limit ?"
    return sql, *values, query.limit
