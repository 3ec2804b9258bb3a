"""What the log in SQLite keeps beyond its process, and what it refuses to open."""

import asyncio
import os
import pathlib
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.log import Batch, Opening, Query, SqliteLog, Usage, _sqlite_file, _sqlite_writer
from tests.log.exchanges import FAILED, FINISHED, Follower, append, append_of, events, read

DATABASE = "responses.db"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "deep" / "log"


@pytest.fixture
async def log(folder: pathlib.Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(folder)
    await log.start()
    yield log
    await log.close()


async def _refusal(folder: pathlib.Path) -> MistralwireError:
    with pytest.raises(MistralwireError) as caught:
        await SqliteLog(folder).start()
    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", Reason.RESPONSE_LOG)
    assert str(folder) in caught.value.message
    return caught.value


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    """Return what is stored, without what a reader makes: an empty write-ahead log, and its index."""
    paths = [path for path in folder.iterdir() if path.stat().st_size and not path.name.endswith("-shm")]
    return {path.name: path.read_bytes() for path in paths}


async def _filled(folder: pathlib.Path) -> None:
    log = SqliteLog(folder)
    await log.start()
    await log.open(Opening(id="running", owner="o", epoch=4, is_published=True, model="m", state=b"s"))
    await append(log, "running", 1, "a", "b", epoch=4, upstream_id="up")
    await append(log, "running", 3, "c", epoch=4)
    await append(log, "running", 4, "d", epoch=4)
    await log.open(Opening(id="ended", owner="o"))
    await append(log, "ended", 1, "x", end=FAILED, model="n")
    await log.claim_key("o", "k", b"d", "running")
    await log.close()


async def test_the_folder_is_for_its_owner_alone(log: SqliteLog, folder: pathlib.Path) -> None:
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    names = set(os.listdir(folder))
    assert {stat.S_IMODE(os.stat(folder / name).st_mode) for name in names} == {0o600}
    assert names == {"lock", DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}


async def test_everything_is_there_after_a_restart(folder: pathlib.Path) -> None:
    await _filled(folder)
    log = SqliteLog(folder)
    await log.start()
    running, ended = await log.describe("running"), await log.describe("ended")
    assert running is not None
    assert (running.last, running.size, running.epoch) == (4, len(events(*"abcd")), 4)
    assert (running.upstream_id, running.state, running.model) == ("up", b"s", "m")
    assert running.is_published
    assert running.node != log.node
    assert running.revision == 4
    assert ended is not None
    assert (ended.end, ended.last, ended.model) == (FAILED, 1, "n")
    assert await read(log, "running") == list("abcd")
    assert await log.usage("o") == Usage(1, len(events(*"abcdx")), 2)
    assert [response.id for response in await log.list(Query(owner="o"))] == ["ended", "running"]
    assert not (await log.claim_key("o", "k", b"d", "other")).is_new
    assert await log.find("o", "up") == "running"
    assert await append(log, "running", 5, "e", epoch=4, end=FINISHED) == 5
    assert await Follower(log, "running", 3).ended() == ["d", "e"]
    await log.close()


async def test_a_key_whose_response_was_never_opened_is_free_after_a_restart(folder: pathlib.Path) -> None:
    for _ in range(2):
        log = SqliteLog(folder)
        await log.start()
        assert (await log.claim_key("o", "k", b"d", "r")).is_new
        await log.close()


async def test_what_was_acknowledged_survives_a_process_that_is_killed(
    log: SqliteLog, tmp_path: pathlib.Path, folder: pathlib.Path
) -> None:
    await log.open(Opening(id="r"))
    for number in range(1, 21):
        await append(log, "r", number, str(number))
    # The files are as a process leaves them that ends here.
    shutil.copytree(folder, tmp_path / "left")
    left = SqliteLog(tmp_path / "left")
    await left.start()
    assert await read(left, "r") == [str(number) for number in range(1, 21)]
    await left.close()


async def test_a_folder_has_one_log(log: SqliteLog, folder: pathlib.Path) -> None:
    assert "another process" in (await _refusal(folder)).message
    await log.open(Opening(id="r"))
    await log.close()
    again = SqliteLog(folder)
    await again.start()
    assert await again.describe("r") is not None
    await again.close()


@pytest.mark.process
async def test_another_process_is_refused_while_the_log_is_open(log: SqliteLog, folder: pathlib.Path) -> None:
    program = "import asyncio, sys, mistralwire.log as log; asyncio.run(log.SqliteLog(sys.argv[1]).start())"
    refused = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, folder, stderr=subprocess.PIPE
    )
    _, stderr = await refused.communicate()
    assert f"the folder {folder} of the response log is used by another process" in stderr.decode()


def _garbage(folder: pathlib.Path) -> None:
    (folder / DATABASE).write_bytes(b"no database" * 1000)


def _cut(folder: pathlib.Path) -> None:
    data = (folder / DATABASE).read_bytes()
    (folder / DATABASE).write_bytes(data[: len(data) // 2])


def _altered(*statements: str) -> Callable[[pathlib.Path], None]:
    def alter(folder: pathlib.Path) -> None:
        connection = sqlite3.connect(folder / DATABASE)
        connection.executescript(";".join(statements))
        connection.close()

    return alter


def _damaged(table: str, at: int = 8) -> Callable[[pathlib.Path], None]:
    def damage(folder: pathlib.Path) -> None:
        """Overwrite the first page of a table, from a byte on: the number of its rows is at 3."""
        connection = sqlite3.connect(folder / DATABASE)
        query = "select rootpage from sqlite_schema where name = ?"
        page = connection.execute(query, (table,)).fetchone()[0]
        connection.close()
        with (folder / DATABASE).open("r+b") as file:
            file.seek((page - 1) * 4096 + at)
            file.write(b"\xff" * 200)

    return damage


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (_altered("pragma user_version = 1000"), "has the layout 1000: expected"),
        (_garbage, "not a database"),
        (_cut, "malformed"),
        (_damaged("responses"), "damaged"),
        (_damaged("batches"), "malformed"),
        (_damaged("to_remove", 3), "damaged"),
        (_altered("drop table keys"), "other tables"),
        (_altered("pragma application_id = 7"), "other tables"),
        (_altered("pragma user_version = 0"), "other tables"),
    ],
    ids=[
        "newer",
        "garbage",
        "cut",
        "damaged responses",
        "damaged events",
        "damaged removals",
        "table missing",
        "another program's",
        "no layout",
    ],
)
async def test_what_is_newer_or_damaged_is_refused_and_left_as_it_is(
    folder: pathlib.Path, damage: Callable[[pathlib.Path], None], cause: str
) -> None:
    await _filled(folder)
    damage(folder)
    before = _files(folder)
    assert cause in (await _refusal(folder)).message
    assert _files(folder) == before


async def test_a_lock_that_is_another_file_is_refused(folder: pathlib.Path) -> None:
    await _filled(folder)
    (folder / "lock").write_bytes(b"something else" * 100)
    assert "has a file lock of something else; remove it" in (await _refusal(folder)).message


async def test_a_folder_that_can_not_be_made_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    assert "a file has its name; name another one" in (await _refusal(tmp_path / "file")).message
    assert "name another one" in (await _refusal(tmp_path / "file" / "log")).message


async def test_an_older_layout_is_migrated(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _filled(folder)
    _altered("drop table to_remove", "pragma user_version = 1")(folder)
    newer = "alter table responses add column note text not null default 'n'; update responses set note = id;"
    monkeypatch.setattr(_sqlite_file, "LAYOUTS", (*_sqlite_file.LAYOUTS, newer))
    log = SqliteLog(folder)
    await log.start()
    assert await read(log, "running") == list("abcd")
    await log.close()
    connection = sqlite3.connect(folder / DATABASE)
    assert connection.execute("pragma user_version").fetchone() == (len(_sqlite_file.LAYOUTS),)
    assert connection.execute("select note from responses order by note").fetchall() == [
        ("ended",),
        ("running",),
    ]
    connection.close()


async def test_a_migration_that_fails_changes_nothing(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(folder)
    with monkeypatch.context() as patch:
        broken = "delete from batches; insert into nowhere values (1);"
        patch.setattr(_sqlite_file, "LAYOUTS", (*_sqlite_file.LAYOUTS, broken))
        assert "nowhere" in (await _refusal(folder)).message
    log = SqliteLog(folder)
    await log.start()
    assert await read(log, "running") == list("abcd")
    await log.close()


async def test_damaged_events_fail_their_response_alone(folder: pathlib.Path) -> None:
    await _filled(folder)
    _altered("update batches set data = x'0a0178' where first = 3")(folder)
    log = SqliteLog(folder)
    await log.start()
    for made in (read(log, "running"), Follower(log, "running").ended()):
        with pytest.raises(ResponseError) as caught:
            await made
        assert caught.value.reason == Reason.LOG_UNAVAILABLE
        assert "the events 3 to 3 of the response running are damaged" in caught.value.message
    assert await read(log, "running", 3) == ["d"]
    assert await read(log, "ended") == ["x"]
    assert await append(log, "running", 5, "e", epoch=4) == 5
    await log.close()


async def test_lost_events_are_found_by_their_numbers(folder: pathlib.Path) -> None:
    await _filled(folder)
    _altered("delete from batches where first = 3")(folder)
    log = SqliteLog(folder)
    await log.start()
    with pytest.raises(ResponseError) as caught:
        await read(log, "running")
    assert "the response running are damaged" in caught.value.message
    await log.close()


async def test_what_waits_for_a_commit_is_in_the_next_one_and_is_acknowledged_at_once(
    log: SqliteLog, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.open(Opening(id="r"))
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    call_soon_threadsafe = loop.call_soon_threadsafe

    def counted(callback: Any, *arguments: Any, **options: Any) -> asyncio.Handle:
        calls.append(callback)
        return call_soon_threadsafe(callback, *arguments, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    blocking = sqlite3.connect(folder / DATABASE, isolation_level=None)
    blocking.execute("begin immediate")
    first, first_done = append_of("r", 1, "1")
    log.append([first])
    rest = [append_of("r", number, str(number)) for number in range(2, 101)]
    log.append([made for made, _ in rest])
    assert not calls
    blocking.execute("rollback")
    blocking.close()
    assert await first_done == 1
    assert await asyncio.gather(*(future for _, future in rest)) == list(range(2, 101))
    assert len(calls) == 2


async def test_an_append_behind_another_change_of_the_same_commit_meets_what_that_leaves(
    log: SqliteLog,
) -> None:
    await log.open(Opening(id="r"))
    before, before_done = append_of("r", 1, "a")
    log.append([before])
    deletion = asyncio.create_task(log.delete("r"))
    await asyncio.sleep(0)
    after, after_done = append_of("r", 2, "b")
    log.append([after])
    assert await before_done == 1
    await deletion
    with pytest.raises(ResponseError) as caught:
        await after_done
    assert caught.value.code == "NOT_FOUND"


async def test_an_append_that_can_not_be_applied_fails_its_commit_and_is_no_end(log: SqliteLog) -> None:
    await log.open(Opening(id="r"))
    made, done = append_of("r", 1, "a")
    made.data = None  # type: ignore[assignment]
    log.append([made])
    with pytest.raises(ResponseError) as caught:
        await done
    assert caught.value.reason == Reason.LOG_UNAVAILABLE
    assert await append(log, "r", 1, "a") == 1


async def test_a_failed_commit_leaves_nothing_behind(log: SqliteLog, folder: pathlib.Path) -> None:
    await log.open(Opening(id="r", owner="o"))
    await append(log, "r", 1, "a")
    before = await log.describe("r")
    follower = Follower(log, "r")
    await follower.has("a")
    _altered("create trigger failing before insert on batches begin select raise(abort, 'no'); end")(folder)
    appends = [append_of("r", 2, "b"), append_of("r", 3, "c", end=FINISHED)]
    log.append([made for made, _ in appends])
    opening = asyncio.create_task(log.open(Opening(id="s")))
    for future in (future for _, future in appends):
        with pytest.raises(ResponseError) as caught:
            await future
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", Reason.LOG_UNAVAILABLE)
    await asyncio.wait([opening])
    _altered("drop trigger failing")(folder)
    assert await log.describe("r") == before
    assert await log.usage("o") == Usage(1, len(events("a")), 1)
    assert await append(log, "r", 2, "B", end=FINISHED) == 2
    assert await follower.ended() == ["a", "B"]


async def test_a_full_disk_is_told_and_is_no_end(log: SqliteLog, caplog: pytest.LogCaptureFixture) -> None:
    await log.open(Opening(id="r"))
    assert log._writer is not None
    pages = log._writer._connection.execute("pragma page_count").fetchone()[0]
    log._writer._connection.execute(f"pragma max_page_count = {pages + 2}")
    assert await append(log, "r", 1, "x" * 4000) == 1
    for _ in range(2):
        with pytest.raises(ResponseError) as caught:
            await append(log, "r", 2, "x" * 40_000)
        assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", Reason.LOG_FULL)
    log._writer._connection.execute(f"pragma max_page_count = {pages + 100}")
    assert await append(log, "r", 2, "y") == 2
    assert caplog.messages == [
        "the response log could not store changes: database or disk is full",
        "the response log stores changes again",
    ]
    assert await read(log, "r", 1) == ["y"]


def _gone(folder: pathlib.Path) -> None:
    folder.rename(folder.with_name("moved"))


def _replaced(folder: pathlib.Path) -> None:
    _gone(folder)
    folder.mkdir()
    (folder / "responses.db").touch()


def _put_back(folder: pathlib.Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name("moved").rename(folder)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file that is open can't be removed")
async def test_of_two_logs_without_a_lock_between_them_one_stores_nothing(folder: pathlib.Path) -> None:
    first, second = SqliteLog(folder), SqliteLog(folder)
    await first.start()
    (folder / "lock").unlink()
    await second.start()
    with pytest.raises(ResponseError) as caught:
        await first.open(Opening(id="r"))
    assert caught.value.reason == Reason.LOG_UNAVAILABLE
    await second.open(Opening(id="r"))
    assert await append(second, "r", 1, "a") == 1
    await first.close()
    await second.close()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file that is open can't be moved")
@pytest.mark.parametrize("lose", [_gone, _replaced])
async def test_nothing_is_acknowledged_while_the_folder_is_gone(
    log: SqliteLog, folder: pathlib.Path, lose: Callable[[pathlib.Path], None]
) -> None:
    await log.open(Opening(id="r"))
    lose(folder)
    with pytest.raises(ResponseError) as caught:
        await append(log, "r", 1, "a")
    assert caught.value.reason == Reason.LOG_UNAVAILABLE
    assert "put it back" in caught.value.message
    assert str(folder) not in caught.value.message
    _put_back(folder)
    assert await append(log, "r", 1, "a", end=FINISHED) == 1


async def test_appends_beyond_the_variables_of_one_statement_are_one_commit(log: SqliteLog) -> None:
    limit = sqlite3.connect(":memory:")
    rows = limit.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // 6 + 2
    limit.close()
    await log.open(Opening(id="r"))
    await log.open(Opening(id="s"))
    await append(log, "r", 1, *("x",) * rows, end=FINISHED)
    event = events("x")
    await log.fold("r", [Batch(number, number, 0, event) for number in range(1, rows + 1)])
    assert sum(batch.last - batch.first + 1 for batch in await log.read("r", rows - 10)) == 10


def _rows(folder: pathlib.Path, table: str = "batches") -> int:
    connection = sqlite3.connect(folder / DATABASE)
    (count,) = connection.execute(f"select count(*) from {table}").fetchone()
    connection.close()
    return int(count)


async def _removed(folder: pathlib.Path, left: int) -> None:
    """Wait until so many batches are left, and nothing is to be removed."""
    async with asyncio.timeout(30):
        while (_rows(folder), _rows(folder, "to_remove")) != (left, 0):  # noqa: ASYNC110 - a thread does it
            await asyncio.sleep(0.01)


async def _ten_batches(log: SqliteLog, id: str, *, length: int = 1) -> list[str]:
    """Store a response with an event a batch; return the texts."""
    await log.open(Opening(id=id))
    texts = [str(number) * length for number in range(10)]
    for number, text in enumerate(texts, 1):
        await append(log, id, number, text)
    await append(log, id, 11, end=FINISHED)
    return texts


def _watch(log: SqliteLog, folder: pathlib.Path, see: Callable[[str], None]) -> sqlite3.Connection:
    """Call a function with `+` or `-` and the number of each event, before it is inserted or deleted.

    Returns:
        The connection that does this.
    """
    assert log._writer is not None
    log._writer._connection.create_function("see", 1, see)
    _altered(
        "create trigger inserting before insert on batches begin select see('+' || new.first); end",
        "create trigger deleting before delete on batches begin select see('-' || old.first); end",
    )(folder)
    return log._writer._connection


_NOT_WATCHED = _altered("drop trigger inserting", "drop trigger deleting")


async def test_an_append_does_not_wait_until_a_long_response_is_removed(
    log: SqliteLog, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_writer, "_REMOVED_ROWS_MAX", 2)
    await _ten_batches(log, "long")
    await log.open(Opening(id="r"))
    loop = asyncio.get_running_loop()
    made, stored = append_of("r", 1, "x")
    is_waiting = threading.Event()
    seen: list[str] = []

    def send() -> None:
        log.append([made])
        is_waiting.set()

    def see(change: str) -> None:
        seen.append(change)
        if change == "-5":
            loop.call_soon_threadsafe(send)
            is_waiting.wait(30)

    _watch(log, folder, see)
    await log.delete("long")
    with pytest.raises(ResponseError, match="no such response"):
        await log.read("long")
    assert await stored == 1
    await _removed(folder, 1)
    assert seen == ["-1", "-2", "-3", "-4", "-5", "-6", "+1", "-7", "-8", "-9", "-10"]
    assert await read(log, "r") == ["x"]


async def test_a_commit_removes_few_large_batches(
    log: SqliteLog, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_writer, "_REMOVED_BYTES_MAX", 10_000)
    await _ten_batches(log, "long", length=4_000)
    commits = [0]

    def see(change: str) -> None:
        commits[-1] += 1

    def trace(statement: str) -> None:
        if statement == "commit":
            commits.append(0)

    writer = _watch(log, folder, see)
    writer.set_trace_callback(trace)
    await log.delete("long")
    await _removed(folder, 0)
    writer.set_trace_callback(None)
    assert commits == [3, 3, 3, 1, 0]


@pytest.mark.parametrize("error", [MemoryError(), ValueError("no")], ids=["memory", "another"])
async def test_a_folded_response_is_read_while_its_batches_can_not_be_removed(
    log: SqliteLog,
    folder: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    monkeypatch.setattr(_sqlite_writer, "_REMOVED_ROWS_MAX", 1)
    texts = await _ten_batches(log, "long")
    await log.open(Opening(id="r"))
    attempts = 0
    is_failing = True

    def see(change: str) -> None:
        nonlocal attempts
        if change == "-2":
            attempts += 1
            if is_failing:
                raise error

    _watch(log, folder, see)
    await log.fold("long", [Batch(1, 5, 0, events(*texts[:5])), Batch(6, 10, 0, events(*texts[5:]))])
    number = 0
    while attempts < 3:
        number += 1
        assert await append(log, "r", number, "x") == number
    assert await read(log, "long") == texts
    assert await read(log, "long", 5) == texts[5:]
    assert caplog.text.count("could not remove deleted events, and will try again") == 1
    is_failing = False
    await append(log, "r", number + 1, "x")
    await _removed(folder, 2 + number + 1)
    assert await read(log, "long") == texts


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_a_new_response_has_nothing_of_one_that_was_not_removed_before_a_restart(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, is_forgotten: bool
) -> None:
    monkeypatch.setattr(_sqlite_writer, "_REMOVED_ROWS_MAX", 1)
    log = SqliteLog(folder)
    await log.start()
    await _ten_batches(log, "long")

    def see(change: str) -> None:
        if change == "-2":
            raise ValueError(change)

    _watch(log, folder, see)
    await log.delete("long")
    await log.close()
    _NOT_WATCHED(folder)
    if is_forgotten:
        _altered("delete from to_remove")(folder)
    assert _rows(folder) == 9
    log = SqliteLog(folder)
    await log.start()
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a")
    assert await read(log, "r") == ["a"]
    await _removed(folder, 10 if is_forgotten else 1)
    await log.close()


async def test_the_write_ahead_log_is_copied_to_the_database_while_events_come(
    log: SqliteLog, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_writer, "_CHECKPOINT_PAGES", 64)
    await log.open(Opening(id="r"))
    for number in range(1, 1001):
        await append(log, "r", number, "x" * 10_000)
        sizes = [os.stat(folder / f"{DATABASE}{suffix}").st_size for suffix in ("", "-wal")]
        if sizes[0] > 2 * sizes[1]:
            return
    pytest.fail(f"expected a database that grows, and a log that does not, found {sizes} bytes")


async def test_threads_take_turns_faster_while_the_log_is_open(folder: pathlib.Path) -> None:
    before = sys.getswitchinterval()
    # A log that another test has abandoned may have changed it.
    sys.setswitchinterval(0.005)
    try:
        log = SqliteLog(folder)
        await log.start()
        assert sys.getswitchinterval() < 0.005
        await log.close()
        assert sys.getswitchinterval() == 0.005
    finally:
        sys.setswitchinterval(before)


async def test_a_log_that_is_closed_says_so(folder: pathlib.Path) -> None:
    log = SqliteLog(folder)
    await log.start()
    await log.open(Opening(id="r"))
    appends = [append_of("r", number, "a") for number in range(1, 11)]
    log.append([made for made, _ in appends])
    await log.close()
    assert [await future for _, future in appends] == list(range(1, 11))
    for made in (append(log, "r", 11, "b"), log.read("r"), log.open(Opening(id="s")), log.describe("x")):
        with pytest.raises(ResponseError) as caught:
            await made
        assert caught.value.reason == Reason.LOG_UNAVAILABLE
