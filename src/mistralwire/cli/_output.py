"""Where a command writes to: never a half file under the final name."""

import contextlib
import os
import pathlib
import stat
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import click

STANDARD_OUTPUT = "-"


@contextlib.contextmanager
def open_output(name: str) -> Iterator[BinaryIO]:
    """Open a file to write, which gets its name, or replaces the one that had it, when the block ends well.

    Until then it is a temporary file in the same folder; when an exception leaves the block, that is removed.
    What is no regular file (a pipe, a device) is written directly.

    Args:
        name: Path of the file; `-` for standard output.

    Yields:
        The stream.

    Raises:
        click.UsageError: If the folder does not exist.
        OSError: If the file can't be written.
    """
    if name == STANDARD_OUTPUT:
        try:
            yield sys.stdout.buffer
        finally:
            sys.stdout.buffer.flush()
        return
    path = pathlib.Path(name)
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()
    if not path.parent.is_dir():
        raise click.UsageError(f"there is no folder {path.parent} to write {path.name} in; make it first")
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
    descriptor, temporary = tempfile.mkstemp(prefix=".mistralwire.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    # The only way to ask is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
