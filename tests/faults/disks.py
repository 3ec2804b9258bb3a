"""Disks for tests: one that loses its power, and one that is full."""

import contextlib
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Literal

from tests.faults.power_fs import SWITCH


class PowerDisk:
    """A disk whose power can be cut: it forgets what no fsync covered; see `power_fs`.

    Attributes:
        folder: Where it is mounted.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    @property
    def syncs(self) -> int:
        """Number of fsyncs so far."""
        return int((self.folder / SWITCH[1:]).read_bytes())

    def cut(self, share: float = 0) -> None:
        """Cut the power; no process uses the disk.

        Args:
            share: How much of what no fsync covered is kept all the same, from 0 to 1.
        """
        (self.folder / SWITCH[1:]).write_text(str(share))


@contextlib.contextmanager
def power_disk(folder: pathlib.Path, names: Literal["posix", "own"] = "posix") -> Iterator[PowerDisk]:
    """Mount a disk at a folder that exists; for `names` see `power_fs`."""
    server = subprocess.Popen([sys.executable, "-m", "tests.faults.power_fs", folder, names])
    try:
        while not folder.is_mount():
            assert server.poll() is None, "the file system has ended; see standard error"
            time.sleep(0.01)
        yield PowerDisk(folder)
    finally:
        subprocess.run([shutil.which("fusermount3") or "fusermount", "-u", "-z", folder], check=False)
        server.kill()
        server.wait()


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, size_kib: int) -> Iterator[None]:
    """Mount a disk of a size at a folder that exists."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def filled(folder: pathlib.Path) -> Iterator[None]:
    """Leave no room on a small disk for a while."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    ballast.unlink()
