"""The output of a command: a stream, or a file that gets its name when it is complete."""

import contextlib
import errno
import os
import pathlib
import re
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import BinaryIO

import click

STANDARD_OUTPUT = "-"

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a write without room: on the disk, for this user, for this process."""

_STANDARD_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?:self|thread-self|(?P<process>\d{1,9})))/fd/(?P<number>\d{1,9})")


class Terminated(BaseException):
    """The process was asked to terminate, which it does after its cleanup.

    Args:
        number: Number of the signal, such as SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def open_output(name: str) -> Iterator[BinaryIO]:
    """Open a file to write, which replaces the file of its name when the block succeeds.

    Until then it is a temporary file in the same folder, which is removed if the block raises, or SIGTERM or
    SIGHUP ends it. An output that is written directly (see `is_direct`) is not replaced.

    Args:
        name: Path of the file; `-` for standard output.

    Yields:
        The stream.

    Raises:
        click.ClickException: If it is standard output, which is closed.
        click.UsageError: If the folder does not exist.
        OSError: If the file can't be written.
    """
    try:
        if name == STANDARD_OUTPUT:
            if sys.stdout is None:
                raise click.ClickException("standard output is closed; name a file to write with -o")
            try:
                yield sys.stdout.buffer
            finally:
                sys.stdout.buffer.flush()
        elif is_direct(name):
            with _open_directly(name) as stream:
                yield stream
        else:
            # A link stays a link; its target is replaced.
            with _raise_when_terminated(), _replace(pathlib.Path(name).resolve()) as stream:
                yield stream
    except OSError as error:
        # A failed write does not name its file. A failed read in the block has other errors than these.
        if error.filename is None and error.errno in NO_ROOM and name != STANDARD_OUTPUT:
            error.filename = name
        raise


def is_direct(name: str) -> bool:
    """Return whether an output is written directly, not as a file that replaces another at the end.

    It is, if it can't be replaced: standard output, pipes and devices, descriptors such as /dev/stdout, and
    the file that standard output or standard error already goes to.
    """
    if name == STANDARD_OUTPUT or _descriptor_of(name) is not None:
        return True
    path = os.path.abspath(name)
    # /dev/shm has regular files.
    if path.startswith(("/dev/", "/proc/")) and not path.startswith("/dev/shm/"):  # noqa: S108
        return True
    return os.path.exists(path) and not os.path.isfile(path)


def _descriptor_of(name: str) -> int | None:
    """Return the descriptor of this process that a path names, or None."""
    path = os.path.abspath(name)
    if path in _STANDARD_STREAMS:
        return _STANDARD_STREAMS[path]
    match = _DESCRIPTOR.fullmatch(path)
    if match and match["process"] in (None, str(os.getpid())):
        return int(match["number"])
    return next((number for number in (1, 2) if _is_file_of(path, number)), None)


def _is_file_of(path: str, descriptor: int) -> bool:
    try:
        status = os.stat(path)
        return stat.S_ISREG(status.st_mode) and os.path.samestat(status, os.fstat(descriptor))
    except OSError:
        return False


def _open_directly(name: str) -> BinaryIO:
    descriptor = _descriptor_of(name)
    if descriptor is None:
        return open(name, "wb")
    # Opening the path instead would truncate a file that is being appended to.
    try:
        return os.fdopen(os.dup(descriptor), "wb")
    except OSError as error:
        error.filename = name
        raise


@contextlib.contextmanager
def _replace(path: pathlib.Path) -> Iterator[BinaryIO]:
    if not path.parent.is_dir():
        raise click.UsageError(
            f"expected a folder {path.parent} for {path.name}, found none; create it first"
        )
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    # The name is known before the file exists, so that no interruption can leave one behind.
    temporary = path.parent / f".mistralwire.{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(temporary, flags, 0o666 if mode is None else 0o600), "wb") as stream:
            yield stream
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _raise_when_terminated() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into Terminated while the block runs.

    A signal that is ignored (SIGHUP under nohup) or has another handler stays so. Outside of the main thread,
    where Python handles no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGTERM", "SIGHUP")  # Windows lacks the second
    candidates = [getattr(signal, name) for name in names if hasattr(signal, name)]
    numbers = [number for number in candidates if signal.getsignal(number) is signal.Handlers.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        # A second one must not interrupt the cleanup.
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number)

    try:
        for number in numbers:
            signal.signal(number, end)
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
