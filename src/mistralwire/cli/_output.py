"""Where a command writes to: never a half file under the final name."""

import contextlib
import errno
import os
import pathlib
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO

import click

from mistralwire.cli._signals import raise_when_terminated

STANDARD_OUTPUT = "-"

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write fails with where there is no room: on the disk, for this user, for this process."""

_STANDARD_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?:self|thread-self|(?P<process>\d{1,9})))/fd/(?P<number>\d{1,9})")


@contextlib.contextmanager
def open_output(name: str) -> Iterator[BinaryIO]:
    """Open a file to write, which gets its name, or replaces the one that had it, when the block ends well.

    Until then it is a temporary file in the same folder; when an exception leaves the block, SIGTERM and
    SIGHUP included, that is removed. What is written directly (see `is_direct`) is not replaced.

    Args:
        name: Path of the file; `-` for standard output.

    Yields:
        The stream.

    Raises:
        click.ClickException: If it is standard output, and that is closed.
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
            # A name that is a link stays one: what it leads to is replaced.
            with raise_when_terminated(), _replace(pathlib.Path(name).resolve()) as stream:
                yield stream
    except OSError as error:
        # Python names no file where a write fails. What the block reads fails for other reasons than these.
        if error.filename is None and error.errno in NO_ROOM and name != STANDARD_OUTPUT:
            error.filename = name
        raise


def is_direct(name: str) -> bool:
    """Say whether an output is written as it goes, instead of getting its name when all is done.

    That is what can't be replaced: standard output, pipes and devices, descriptors such as /dev/stdout, and
    the file that standard output or standard error already goes to.
    """
    if name == STANDARD_OUTPUT or _descriptor_of(name) is not None:
        return True
    path = os.path.abspath(name)
    # /dev/shm is a folder of ordinary files.
    if path.startswith(("/dev/", "/proc/")) and not path.startswith("/dev/shm/"):  # noqa: S108
        return True
    return os.path.exists(path) and not os.path.isfile(path)


def _descriptor_of(name: str) -> int | None:
    """Give the descriptor of this process that a path leads to, or None."""
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
    # To open the path instead would empty a file that is being appended to.
    try:
        return os.fdopen(os.dup(descriptor), "wb")
    except OSError as error:
        error.filename = name
        raise


@contextlib.contextmanager
def _replace(path: pathlib.Path) -> Iterator[BinaryIO]:
    if not path.parent.is_dir():
        raise click.UsageError(f"there is no folder {path.parent} to write {path.name} in; make it first")
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    # The name is known before there is a file, so that no interruption can leave one behind.
    temporary = path.parent / f".mistralwire.{secrets.token_hex(8)}"
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
