"""A file system in memory that forgets, on demand, what no fsync covered.

`python -m tests.faults.power_fs FOLDER NAMES` serves it until FOLDER is unmounted. An fsync of a file covers
its content. With `posix` for NAMES, as POSIX has it, only an fsync of a folder covers the names in it: a new
file whose folder was not synced is gone after a power loss, a renamed one has its old name, a removed one is
back. With `own` an fsync of a file covers its own name too, and those of the folders above it, as ext4, XFS
and btrfs have it; they keep still more.

`/.power` in it is the switch. Who writes a share from 0 to 1 to it cuts the power: of the changes of a file
since its last fsync, each is kept with this probability, independently of the others, since a disk may write
them in any order. Who reads it gets the number of fsyncs.
"""

import errno
import os
import random
import stat
import sys
import time
from typing import Any, TypeAlias

import mfusepy

SWITCH = "/.power"


class _File:
    def __init__(self, mode: int) -> None:
        self.mode = stat.S_IFREG | mode
        self.changed_ns = time.time_ns()
        self.data = bytearray()
        self._durable = bytearray()
        # Offset and bytes of a write, or a length to truncate to.
        self._pending: list[tuple[int, bytes] | int] = []

    def change(self, change: tuple[int, bytes] | int) -> None:
        _apply(self.data, change)
        self._pending.append(change)
        self.changed_ns = time.time_ns()

    def sync(self) -> None:
        for change in self._pending:
            _apply(self._durable, change)
        self._pending.clear()

    def cut(self, share: float) -> None:
        self._pending = [change for change in self._pending if random.random() < share]
        self.sync()
        self.data = self._durable.copy()


class _Folder:
    def __init__(self, mode: int) -> None:
        self.mode = stat.S_IFDIR | mode
        self.changed_ns = time.time_ns()
        self.names: dict[str, _Node] = {}
        self._durable: dict[str, _Node] = {}

    def sync(self) -> None:
        self._durable = self.names.copy()

    def sync_name(self, name: str) -> None:
        self._durable[name] = self.names[name]

    def cut(self, share: float) -> None:
        self.names = self._durable.copy()
        for node in self.names.values():
            node.cut(share)


_Node: TypeAlias = _File | _Folder


def _apply(data: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del data[change:]
        data.extend(bytes(change - len(data)))
    else:
        offset, new = change
        data.extend(bytes(max(0, offset - len(data))))
        data[offset : offset + len(new)] = new


class _PowerFS(mfusepy.Operations):  # type: ignore[misc]
    """What the kernel asks; names of methods and parameters are FUSE's."""

    use_ns = True

    def __init__(self, *, are_own_names_covered: bool) -> None:
        self._are_own_names_covered = are_own_names_covered
        self._root = _Folder(0o755)
        self._syncs = 0
        self._opened: dict[int, tuple[_File, int]] = {}
        self._last_opened = 0

    def _node(self, path: str) -> _Node:
        node: _Node = self._root
        for name in filter(None, path.split("/")):
            if not isinstance(node, _Folder) or name not in node.names:
                raise mfusepy.FuseOSError(errno.ENOENT)
            node = node.names[name]
        return node

    def _file(self, path: str) -> _File:
        node = self._node(path)
        if not isinstance(node, _File):
            raise mfusepy.FuseOSError(errno.EISDIR)
        return node

    def _place(self, path: str) -> tuple[_Folder, str]:
        parent, _, name = path.rpartition("/")
        folder = self._node(parent)
        if not isinstance(folder, _Folder):
            raise mfusepy.FuseOSError(errno.ENOTDIR)
        return folder, name

    def _open(self, file: _File, flags: int) -> int:
        if flags & os.O_TRUNC:
            file.change(0)
        self._last_opened += 1
        self._opened[self._last_opened] = file, flags
        return self._last_opened

    def _sync(self, path: str, file: _File) -> None:
        self._syncs += 1
        file.sync()
        while self._are_own_names_covered and path != "/":
            folder, name = self._place(path)
            folder.sync_name(name)
            path = path.rpartition("/")[0] or "/"

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == SWITCH:
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": 20}
        node = self._node(path)
        return {
            "st_mode": node.mode,
            "st_nlink": 1,
            "st_size": len(node.data) if isinstance(node, _File) else 0,
            "st_mtime": node.changed_ns,
            "st_ctime": node.changed_ns,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
        }

    def readdir(self, path: str, fh: int) -> list[str]:
        node = self._node(path)
        return [".", "..", *node.names] if isinstance(node, _Folder) else []

    def mkdir(self, path: str, mode: int) -> int:
        folder, name = self._place(path)
        folder.names[name] = _Folder(stat.S_IMODE(mode))
        return 0

    def rmdir(self, path: str) -> int:
        folder, name = self._place(path)
        node = folder.names[name]
        if isinstance(node, _Folder) and node.names:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        del folder.names[name]
        return 0

    def create(self, path: str, mode: int, fi: int = 0) -> int:
        folder, name = self._place(path)
        file = folder.names[name] = _File(stat.S_IMODE(mode))
        return self._open(file, fi)

    def open(self, path: str, flags: int) -> int:
        return 0 if path == SWITCH else self._open(self._file(path), flags)

    def release(self, path: str, fh: int) -> int:
        self._opened.pop(fh, None)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        if path == SWITCH:
            return b"%-20d" % self._syncs
        return bytes(self._opened[fh][0].data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if path == SWITCH:
            self._root.cut(float(data))
            return len(data)
        file, flags = self._opened[fh]
        file.change((offset, data))
        if flags & os.O_DSYNC:
            self._sync(path, file)
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        if path != SWITCH:
            self._file(path).change(length)
        return 0

    def unlink(self, path: str) -> int:
        folder, name = self._place(path)
        del folder.names[name]
        return 0

    def rename(self, old: str, new: str) -> int:
        source, old_name = self._place(old)
        target, new_name = self._place(new)
        target.names[new_name] = source.names.pop(old_name)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._sync(path, self._opened[fh][0])
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._syncs += 1
        self._node(path).sync()
        return 0

    def chmod(self, path: str, mode: int) -> int:
        node = self._node(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._node(path).changed_ns = times[1] if times else time.time_ns()
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        blocks = 1 << 20
        return {"f_bsize": 4096, "f_blocks": blocks, "f_bavail": blocks, "f_bfree": blocks, "f_namemax": 255}


if __name__ == "__main__":
    # What the kernel would keep of names and sizes is wrong after a power loss.
    mfusepy.FUSE(
        _PowerFS(are_own_names_covered=sys.argv[2] == "own"),
        sys.argv[1],
        foreground=True,
        nothreads=True,
        attr_timeout=0,
        entry_timeout=0,
    )
