"""Read files that may be replaced while the program runs, and reload them when they change."""

import errno
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Generic, TypeVar

from mistralwire.errors import MistralwireError, Reason

FILE_BYTES_MAX = 1024 * 1024
"""Bytes of a file: 1 MiB, far more than certificates or tokens need."""

# Device, inode, size and times of a file; None if there is none.
_Stamp = tuple[int, ...] | None

_OTHERS_READ = 0o004
# Attempts to read files that change while they are read.
_READS_MAX = 3

Content = TypeVar("Content")


class Watched(Generic[Content]):
    """The content of files, reloaded when one of them changes. Thread-safe.

    While the files are invalid the previous content stays in use. Each problem is logged once, and the files
    are read again on the next access.

    Args:
        paths: The files.
        read: Reads and checks all of them, and raises whatever is wrong at first. The text of its
            MistralwireErrors is logged, so it must quote no secret.
        what: What the files are, for the log.
        logger: Logs reloads and problems.
        check_s: Seconds within which a change is noticed; 0 checks the files on each access.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        read: Callable[[], Content],
        what: str,
        logger: logging.Logger,
        *,
        check_s: float = 0.0,
    ) -> None:
        self._paths = paths
        self._read = read
        self._what = what
        self._logger = logger
        self._check_s = check_s
        self._checked_s = time.monotonic()
        self._lock = threading.Lock()
        self._problem = ""
        self._stamps: tuple[_Stamp, ...] = ()
        self._value = self._read_at_rest()

    def current(self) -> Content:
        """Return the current content: the same object until the files change."""
        with self._lock:
            if self._check_s:
                now_s = time.monotonic()
                if now_s < self._checked_s + self._check_s:
                    return self._value
                self._checked_s = now_s
            if _stamps_of(self._paths) != self._stamps:
                self._read_again()
            return self._value

    def _read_again(self) -> None:
        try:
            if any(map(_may_block, self._paths)):
                raise OSError(errno.ESPIPE, "a pipe or a device, which is read at the start alone")
            self._value = self._read_at_rest()
        except Exception as error:  # noqa: BLE001 - a server goes on with what it has, whatever is wrong
            # Read again next time: the failure may be transient, such as too many open files.
            self._stamps = ()
            problem = str(error) if isinstance(error, MistralwireError) else file_problem(error)
            if problem != self._problem:
                self._problem = problem
                self._logger.warning("%s: the previous content stays in use: %s", self._what, problem)
        else:
            self._problem = ""
            self._logger.info("%s: reloaded", self._what)

    def _read_at_rest(self) -> Content:
        """Read all files in one consistent state."""
        for _ in range(_READS_MAX):
            self._stamps = _stamps_of(self._paths)
            try:
                value = self._read()
            except MistralwireError:
                if _stamps_of(self._paths) == self._stamps:
                    raise
            else:
                if _stamps_of(self._paths) == self._stamps:
                    return value
        return self._read()


def file_error(setting: str, message: str) -> MistralwireError:
    """Return the error for a file named by a setting, whose name in upper case is the reason.

    The message says what was expected, what was found and what to do; it must not quote the file.
    """
    return MistralwireError(
        f"{setting}: {message}", code="FAILED_PRECONDITION", reason=Reason[setting.upper()]
    )


def read_file(setting: str, path: pathlib.Path) -> bytes:
    """Read a file named by a setting; a MistralwireError if it can't be read, or is too large."""
    try:
        with open_file(path) as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise file_error(setting, f"expected a file, found none at {path}; check the path") from None
    except PermissionError:
        message = f"expected a file that this user may read, found {path}, which it may not; change its mode"
        raise file_error(setting, message) from None
    except OSError as error:
        raise file_error(setting, f"expected a file to read, found {path}: {file_problem(error)}") from None
    if len(data) > FILE_BYTES_MAX:
        raise file_error(setting, f"expected at most {FILE_BYTES_MAX} bytes, found more in {path}")
    return data


def uncommented_lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers, from 1, without comments, which # begins, and blanks."""
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), 1):
        if text := line.partition("#")[0].strip():
            yield number, text


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, without blocking; an OSError if it can't be opened.

    A pipe is read to its end, as a shell's process substitution needs it. A FIFO without a writer is empty,
    where `open` would block uninterruptibly.
    """
    return open(path, "rb", opener=_open_nonblocking)


def _open_nonblocking(path: str, flags: int) -> int:
    # Windows has neither the flag nor such files.
    nonblocking = getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | nonblocking)
    if nonblocking:
        os.set_blocking(descriptor, True)
    return descriptor


def _may_block(path: pathlib.Path) -> bool:
    """Check for a pipe or a device: reading one may block, and the event loop with it."""
    return path.exists() and not (path.is_file() or path.is_dir())


def is_open_to_all(path: pathlib.Path) -> bool:
    """Check whether the mode of a file lets every user of this machine read it."""
    try:
        return bool(path.stat().st_mode & _OTHERS_READ)
    except OSError:
        return False


def _stamps_of(paths: Sequence[pathlib.Path]) -> tuple[_Stamp, ...]:
    """Return a stamp for each file, which changes when it is written or replaced, or its link retargeted."""
    return tuple(map(_stamp_of, paths))


def _stamp_of(path: pathlib.Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def file_problem(error: Exception) -> str:
    """Describe an error without its text, which may quote a secret."""
    return ((error.strerror if isinstance(error, OSError) else None) or type(error).__name__).lower()
