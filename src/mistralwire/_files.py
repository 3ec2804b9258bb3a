"""Files that are replaced while a program runs: reading them, and seeing that they have changed."""

import errno
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO, Generic, TypeVar

from mistralwire.errors import MistralwireError, Reason

FILE_BYTES_MAX = 1024 * 1024
"""Bytes of a file: 1 MiB, far more than certificates or tokens take."""

# What the system knows of a file without reading it; None if there is none to be known of.
_Stamp = tuple[int, ...] | None

_OTHERS_READ = 0o004
# How often files that change while they are read are read again.
_READS_MAX = 3

T = TypeVar("T")


class Watched(Generic[T]):
    """What files hold, read again when one of them has changed.

    Files that can't be used leave the value as it was. The log names each problem once, and they are tried
    again whenever the value is asked for. Any thread may ask.

    Args:
        paths: The files.
        read: Reads and checks all of them; its errors quote nothing secret if they are of this package.
        what: What they are, for the log, which tells of changes and problems.
        logger: Where these go.
        check_s: How long in seconds a change may go unseen; 0 looks at the files each time.

    Raises:
        Exception: What `read` raises.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        read: Callable[[], T],
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

    def current(self) -> T:
        """Return the value as it is now: the same object for as long as the files stay the same."""
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
            if any(map(_may_wait, self._paths)):
                raise OSError(errno.ESPIPE, "a pipe or a device, which is read at the start alone")
            self._value = self._read_at_rest()
        except Exception as error:  # noqa: BLE001 - a server goes on with what it has, whatever is wrong
            # To be read again next time: it may be this process that has no room for a file just now.
            self._stamps = ()
            problem = str(error) if isinstance(error, MistralwireError) else _found(error)
            if problem != self._problem:
                self._problem = problem
                self._logger.warning("%s: what was read before stays in use: %s", self._what, problem)
        else:
            self._problem = ""
            self._logger.info("%s: read again", self._what)

    def _read_at_rest(self) -> T:
        """Read all files as they were at one moment."""
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
    """Give the error of a file that a setting names.

    Args:
        setting: Name of the setting; in upper case, it is the reason, such as `TOKEN_FILE`.
        message: What was expected, found and is to be done; nothing of the file's text.
    """
    return MistralwireError(
        f"{setting}: {message}", code="FAILED_PRECONDITION", reason=Reason[setting.upper()]
    )


def read_file(setting: str, path: pathlib.Path) -> bytes:
    """Read a file that a setting names.

    Args:
        setting: Name of the setting.
        path: Where the file is.

    Raises:
        MistralwireError: If it can't be read or is too large, with the code FAILED_PRECONDITION.
    """
    try:
        with open_file(path) as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise file_error(setting, f"expected a file, found none at {path}; check the path") from None
    except PermissionError:
        message = f"expected a file that this user may read, found {path}, which it may not; change its mode"
        raise file_error(setting, message) from None
    except OSError as error:
        raise file_error(setting, f"expected a file to read, found {path}: {_found(error)}") from None
    if len(data) > FILE_BYTES_MAX:
        raise file_error(setting, f"expected at most {FILE_BYTES_MAX} bytes, found more in {path}")
    return data


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read it.

    A pipe is read to its end, as a shell's process substitution needs it. One that nobody writes to is
    empty; `open` alone would wait for a writer, and no signal would end that.

    Args:
        path: Where the file is.

    Raises:
        OSError: If it can't be opened.
    """
    return open(path, "rb", opener=_without_waiting)


def _without_waiting(path: str, flags: int) -> int:
    # Windows has neither the flag nor such files.
    nonblocking = getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | nonblocking)
    if nonblocking:
        os.set_blocking(descriptor, True)
    return descriptor


def _may_wait(path: pathlib.Path) -> bool:
    """Check whether reading may wait for somebody who writes, and with it the event loop."""
    return path.exists() and not (path.is_file() or path.is_dir())


def is_open_to_all(path: pathlib.Path) -> bool:
    """Say whether every user of this machine may read a file, as far as its mode says."""
    try:
        return bool(path.stat().st_mode & _OTHERS_READ)
    except OSError:
        return False


def _stamps_of(paths: Sequence[pathlib.Path]) -> tuple[_Stamp, ...]:
    """Return what changes when a file is written, replaced, or its link set elsewhere, one for each file."""
    return tuple(map(_stamp_of, paths))


def _stamp_of(path: pathlib.Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _found(error: Exception) -> str:
    """Return what is wrong without the text of an error, which may quote a secret."""
    return ((error.strerror if isinstance(error, OSError) else None) or type(error).__name__).lower()
