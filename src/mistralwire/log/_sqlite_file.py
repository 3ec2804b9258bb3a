"""The folder of a log in SQLite: its lock, and the layout of its database."""

import contextlib
import os
import pathlib
import sqlite3

from mistralwire.errors import MistralwireError, Reason

# Script n brings an empty database (0), or one of layout n, to layout n + 1.
LAYOUTS = (
    """
    create table responses (
        number integer primary key,
        id text not null,
        owner text not null,
        space text not null,
        kind integer not null,
        is_published integer not null,
        model text not null,
        created_s real not null,
        epoch integer not null,
        node text not null,
        last integer not null,
        size integer not null,
        end_state integer,
        end_status blob,
        ended_s real,
        upstream_id text not null,
        state blob not null,
        revision integer not null
    );
    create unique index responses_by_id on responses (id);
    create index responses_by_owner on responses (owner, space, created_s, id, size);
    create index responses_by_time on responses (space, created_s, id);
    create index responses_by_upstream_id on responses (owner, upstream_id) where upstream_id != '';
    create table batches (
        response integer not null,
        first integer not null,
        last integer not null,
        epoch integer not null,
        crc32 integer not null,
        data blob not null
    );
    create unique index batches_by_first on batches (response, first);
    create table keys (
        owner text not null,
        key text not null,
        digest blob not null,
        id text not null,
        primary key (owner, key)
    ) without rowid;
    create index keys_by_id on keys (id);
    """,
    """
    create table to_remove (response integer primary key);
    """,
)
# "mwlg", in the header of the file.
_APPLICATION_ID = 0x6D776C67
_FILE = "responses.db"
# Not that of batches, which may be large: each batch has a checksum.
_CHECKED_TABLES = {"responses", "keys", "to_remove"}
_LOCK = "lock"


class Folder:
    """A folder with a database that this process alone uses, until it is closed.

    Raises:
        MistralwireError: With the reason RESPONSE_LOG if it can't be used; nothing in it is changed then.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._connections: list[sqlite3.Connection] = []
        try:
            _make(path)
            for name in (_LOCK, _FILE):
                # SQLite's own files beside it have the mode of the database.
                (path / name).touch(mode=0o600)
            # SQLite locks files on every system, and the lock ends with the process.
            self._lock = sqlite3.connect(
                path / _LOCK, isolation_level=None, check_same_thread=False, timeout=0
            )
        except (OSError, sqlite3.Error) as error:
            cause = "a file has its name" if isinstance(error, FileExistsError) else str(error)
            raise _refused(path, f"can't be used: {cause}; name another one") from error
        try:
            _lock(self._lock, path)
            _prepare(path)
            self._files = {name: os.stat(path / name) for name in (_LOCK, _FILE)}
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Raise an OSError if another process has removed a file, or put another in its place.

        SQLite would go on with a database that has no name, and all of it would be gone with the process;
        and a lock that has no name keeps nobody else from the folder.
        """
        with contextlib.suppress(OSError):
            if all(os.path.samestat(stat, os.stat(self._path / name)) for name, stat in self._files.items()):
                return
        # Callers see it, but need not see the path.
        raise OSError("its folder was removed, moved or replaced; put it back, or restart the service")

    def connect(self) -> sqlite3.Connection:
        """Open the database, to be used by one thread at a time."""
        connection = _connect(self._path)
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close all connections, then let others have the folder."""
        for connection in (*self._connections, self._lock):
            connection.close()


def _make(path: pathlib.Path) -> None:
    """Make a folder whose name survives a power loss; SQLite sees to the names of its files."""
    if path.is_dir():
        return
    _make(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix":
        parent = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _refused(path: pathlib.Path, cause: str) -> MistralwireError:
    return MistralwireError(
        f"the folder {path} of the response log {cause}",
        code="FAILED_PRECONDITION",
        reason=Reason.RESPONSE_LOG,
    )


def is_full(error: Exception) -> bool:
    """Check whether SQLite failed because the disk is full."""
    return getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def unusable(path: pathlib.Path, error: sqlite3.Error) -> MistralwireError:
    """Return the error for a database that SQLite can't read, or can't write to."""
    if is_full(error):
        return _refused(path, "is on a full disk; make room on it")
    is_damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )
    remedy = "restore it, or remove it" if is_damaged else "check its disk, and who may write to it"
    return _refused(path, f"has a database that can't be used: {error}; {remedy}")


def _lock(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    try:
        connection.execute("pragma journal_mode=memory")
        connection.execute("begin exclusive")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise _refused(path, f"has a file {_LOCK} of something else; remove it") from error
        raise _refused(
            path, "is used by another process; stop that one, or give this one a folder of its own"
        ) from error


def _prepare(path: pathlib.Path) -> None:
    """Create the database, or bring it to this layout."""
    try:
        layout = _layout(path)
        with contextlib.closing(_connect(path)) as connection:
            mode = connection.execute("pragma journal_mode=wal").fetchone()[0]
            if mode != "wal":
                raise _refused(path, "is on a file system without shared memory; name another one")
            _migrate(connection, layout)
    except sqlite3.Error as error:
        raise unusable(path, error) from error


def _layout(path: pathlib.Path) -> int:
    """Return the layout of the database, which is not changed; 0 if there is none."""
    file = path / _FILE
    if not file.exists() or not file.stat().st_size:
        return 0
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        application, layout = (
            connection.execute(f"pragma {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if layout > len(LAYOUTS):
            raise _refused(
                path, f"has the layout {layout}: expected {len(LAYOUTS)} or an older one; upgrade mistralwire"
            )
        found = _schema(connection)
        if (application, found) != (_APPLICATION_ID if layout else 0, _schema_of(layout)):
            raise _refused(path, "has a database with other tables; restore it, or name another folder")
        for table in {name for name, _ in found} & _CHECKED_TABLES:
            damage = connection.execute(f"pragma quick_check({table})").fetchone()[0]
            if damage != "ok":
                raise _refused(path, f"has a damaged database: {damage}; restore it, or name another folder")
    return int(layout)


def _schema(connection: sqlite3.Connection) -> set[tuple[str, str | None]]:
    return set(connection.execute("select name, sql from sqlite_schema"))


def _schema_of(layout: int) -> set[tuple[str, str | None]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for script in LAYOUTS[:layout]:
            connection.executescript(script)
        return _schema(connection)


def _migrate(connection: sqlite3.Connection, layout: int) -> None:
    if layout == len(LAYOUTS):
        return
    scripts = "".join(LAYOUTS[layout:])
    try:
        connection.executescript(
            f"begin immediate; {scripts} pragma application_id = {_APPLICATION_ID};"
            f"pragma user_version = {len(LAYOUTS)}; commit;"
        )
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise


def _connect(path: pathlib.Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path / _FILE, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=60.0
    )
    for pragma in ("synchronous=full", "fullfsync=1", "wal_autocheckpoint=0", "cell_size_check=1"):
        connection.execute(f"pragma {pragma}")
    return connection
