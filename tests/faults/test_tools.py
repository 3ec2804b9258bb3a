"""The tools do what the tests with them rely on."""

import errno
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.faults import needs
from tests.faults.disks import PowerDisk, power_disk, small_disk
from tests.faults.networks import namespace
from tests.faults.preloads import WallClock, slow_fsync

pytestmark = pytest.mark.chaos


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> Iterator[PowerDisk]:
    needs.fuse()
    with power_disk(tmp_path) as disk:
        yield disk


def sync(path: pathlib.Path) -> None:
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def test_a_power_loss_takes_what_no_fsync_covered(disk: PowerDisk) -> None:
    kept, grown, unnamed = (disk.folder / name for name in ("kept", "grown", "unnamed"))
    for path in (kept, grown):
        path.write_text("synced")
        sync(path)
    sync(disk.folder)
    unnamed.write_text("synced, but its name is not")
    sync(unnamed)
    kept.rename(disk.folder / "renamed")
    with grown.open("a") as file:
        file.write(", and more")
    assert sorted(path.name for path in disk.folder.iterdir()) == ["grown", "renamed", "unnamed"]
    assert grown.read_text() == "synced, and more"
    disk.cut()
    assert {path.name: path.read_text() for path in disk.folder.iterdir()} == {
        "kept": "synced",
        "grown": "synced",
    }
    assert disk.syncs == 4


def test_a_power_loss_may_leave_some_of_it(disk: PowerDisk) -> None:
    path = disk.folder / "file"
    path.write_bytes(bytes(1000))
    sync(path)
    sync(disk.folder)
    with path.open("rb+", buffering=0) as file:
        for _ in range(1000):
            file.write(b"1")
    disk.cut(0.5)
    assert 300 < path.read_bytes().count(b"1") < 700


def test_writes_of_a_file_that_is_opened_for_it_need_no_fsync(disk: PowerDisk) -> None:
    file = os.open(disk.folder / "file", os.O_CREAT | os.O_WRONLY | os.O_DSYNC)
    os.write(file, b"durable")
    os.close(file)
    sync(disk.folder)
    disk.cut()
    assert (disk.folder / "file").read_bytes() == b"durable"


def test_each_fsync_is_slowed_down(tmp_path: pathlib.Path) -> None:
    needs.compiler()
    program = "import os, sys; [os.fsync(sys.stdin) for _ in range(10)]"
    with (tmp_path / "file").open("w+") as file:
        before = time.monotonic()
        env = os.environ | slow_fsync(tmp_path, 50)
        subprocess.run([sys.executable, "-c", program], env=env, stdin=file, check=True)
    assert time.monotonic() - before > 0.5


def test_a_clock_is_set_while_its_process_runs(tmp_path: pathlib.Path) -> None:
    needs.compiler()
    clock = WallClock(tmp_path)
    program = "import time\nwhile True: input(); print(time.time(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | clock.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def clocks() -> tuple[float, float]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            day, monotonic = process.stdout.readline().split()
            return float(day), float(monotonic)

        before = clocks()
        clock.jump(-86400)
        after = clocks()
        process.kill()
    assert after[0] < before[0] - 86000
    assert after[1] >= before[1]


def test_a_cable_is_pulled_and_plugged_in() -> None:
    needs.namespaces()
    with namespace() as inside, socket.create_server((inside.outside, 0)) as server:
        program = f"import socket; socket.create_connection({server.getsockname()}).sendall(input().encode())"
        with subprocess.Popen(
            [*inside.command, sys.executable, "-c", program], stdin=subprocess.PIPE, text=True
        ) as process:
            connection, _ = server.accept()
            with connection:
                inside.pull()
                process.communicate("sent")
                connection.setblocking(False)
                with pytest.raises(BlockingIOError):
                    connection.recv(100)
                connection.settimeout(30)
                inside.plug()
                assert connection.recv(100) == b"sent"


def test_a_small_disk_is_full_soon(tmp_path: pathlib.Path) -> None:
    needs.mounts()
    with small_disk(tmp_path, 64):
        with pytest.raises(OSError, match="No space left") as caught, (tmp_path / "file").open("wb") as file:
            file.write(bytes(100_000))
        assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
