"""Progress on standard error, for people who wait for a long input."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, Protocol

import click

_MIB = 1024 * 1024
_SHOWN_FROM_BYTES = 16 * _MIB
_COUNTER_STEP_BYTES = 4 * _MIB
_CLEAR_LINE = "\r\x1b[K"


class _Display(Protocol):
    def update(self, n_steps: int, /) -> None: ...


class Progress:
    """Shows how much of an input was read, and prints lines without running into that.

    Args:
        display: What shows it, or None to show nothing.
    """

    def __init__(self, display: _Display | None = None) -> None:
        self._display = display
        self._shown_bytes = 0

    def advance(self, count: int) -> None:
        """Show that `count` bytes were read in all."""
        if self._display is not None and count > self._shown_bytes:
            self._display.update(count - self._shown_bytes)
            self._shown_bytes = count

    def print(self, line: str) -> None:
        """Print a line on standard error, in place of what is shown, which comes back below."""
        clear = _CLEAR_LINE if self._display is not None else ""
        click.echo(clear + line, err=True)


class _Counter:
    """Shows how many bytes of an input of unknown length were read, once they are many."""

    def __init__(self) -> None:
        self._count = 0
        self._shown_at = _SHOWN_FROM_BYTES

    def update(self, n_steps: int, /) -> None:
        self._count += n_steps
        if self._count >= self._shown_at:
            self._shown_at = self._count + _COUNTER_STEP_BYTES
            self._show()

    def end(self) -> None:
        if self._count >= _SHOWN_FROM_BYTES:
            self._show()
            click.echo(err=True)

    def _show(self) -> None:
        click.echo(f"{_CLEAR_LINE}converting  {self._count // _MIB} MiB read", nl=False, err=True)


@contextlib.contextmanager
def show_progress(stream: Any, *, output_is_terminal: bool) -> Iterator[Progress]:
    """Show progress if standard error is a terminal, the output is not, and the input is long.

    A bar for a file; for a pipe, whose length nobody knows, the bytes read.

    Args:
        stream: The input.
        output_is_terminal: Whether the output goes to a terminal too.
    """
    size = _file_size(stream)
    is_short = size is not None and size < _SHOWN_FROM_BYTES
    if not sys.stderr.isatty() or output_is_terminal or is_short:
        yield Progress()
    elif size is not None:
        with click.progressbar(length=size, label="converting", file=sys.stderr) as bar:
            yield Progress(bar)
    else:
        counter = _Counter()
        try:
            yield Progress(counter)
        finally:
            counter.end()


def _file_size(stream: Any) -> int | None:
    """Give the size of a regular file in bytes; None for anything else."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, AttributeError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
