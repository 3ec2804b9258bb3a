"""A progress bar on standard error, for people who wait for a long input."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any

import click

_SHOWN_FROM_BYTES = 16 * 1024 * 1024


class Progress:
    """Shows how much of an input was read, and prints lines without running into that.

    Args:
        bar: The bar, or None to show nothing.
    """

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar
        self._shown_bytes = 0

    def advance(self, count: int) -> None:
        """Show that `count` bytes were read in all."""
        if self._bar is not None and count > self._shown_bytes:
            self._bar.update(count - self._shown_bytes)
            self._shown_bytes = count

    def print(self, line: str) -> None:
        """Print a line on standard error, in place of the bar, which comes back below."""
        clear = "\r\x1b[K" if self._bar is not None else ""
        click.echo(clear + line, err=True)


@contextlib.contextmanager
def show_progress(stream: Any, *, output_is_terminal: bool) -> Iterator[Progress]:
    """Show a bar if standard error is a terminal, the output is not, and the input is a long file.

    Args:
        stream: The input.
        output_is_terminal: Whether the output goes to a terminal too.
    """
    size = _file_size(stream)
    if not sys.stderr.isatty() or output_is_terminal or size < _SHOWN_FROM_BYTES:
        yield Progress()
        return
    with click.progressbar(length=size, label="converting", file=sys.stderr) as bar:
        yield Progress(bar)


def _file_size(stream: Any) -> int:
    """Give the size of a regular file in bytes; 0 for anything else."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, AttributeError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
