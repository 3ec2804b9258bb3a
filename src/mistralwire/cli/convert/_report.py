"""What `convert` and `inspect` print on standard error: failures, warnings and progress."""

import contextlib
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import IO

import click

from mistralwire.cli._documents import describe_violations
from mistralwire.cli._wording import counted, printable
from mistralwire.errors import DecodeError

EXIT_BAD_INPUT = 1

_WARNINGS_MAX = 100
_MIB = 1024 * 1024
_PROGRESS_FROM_BYTES = 16 * _MIB
_COUNTER_STEP_BYTES = 4 * _MIB
_CLEAR_LINE = "\r\x1b[K"

# The report has what the codec logs, with its place; without a handler, logging would print it too.
logging.getLogger("mistralwire.codec").addHandler(logging.NullHandler())


class Report:
    """Prints failures and warnings, and counts the failures.

    Args:
        file: Name of the input.
        keep_going: Whether to continue after a failure.
        has_progress: Whether the terminal's last line shows progress, in whose place lines are printed.
    """

    def __init__(self, file: str, *, keep_going: bool, has_progress: bool) -> None:
        self.file = file
        self._keep_going = keep_going
        self._before_line = _CLEAR_LINE if has_progress else ""
        self._warned: set[str] = set()
        self.failures = 0

    def fail(self, place: str, *problems: str) -> None:
        """Print and count a failure.

        Args:
            place: Where it is in the file, to follow the file's name: `:12` or `: message 3`; may be empty.
            problems: What is wrong, one line each.

        Raises:
            click.exceptions.Exit: If the run ends with the first failure.
        """
        for problem in problems:
            self._print(place, problem)
        self.failures += 1
        if not self._keep_going:
            raise click.exceptions.Exit(EXIT_BAD_INPUT)

    def fail_decoding(self, place: str, error: DecodeError, *, part: str = "", hint: str = "") -> None:
        """Print and count a failure to decode a document, with a hint on its last line.

        See `fail` and `describe_violations`.
        """
        place, problems = describe_violations(error, place, part=part)
        self.fail(place, *problems[:-1], problems[-1] + hint)

    def warn(self, place: str, text: str) -> None:
        """Print a warning: the first one of each finding, at most 100 in all."""
        kind = text.partition(", found ")[2]
        if kind not in self._warned and len(self._warned) < _WARNINGS_MAX:
            self._warned.add(kind)
            self._print(place, f"warning: {text}")

    def end(self, *done: str) -> None:
        """Print a summary, what was done before the number of failures, and exit if there were failures."""
        if self.failures:
            summary = ", ".join((*done, counted(self.failures, "failure")))
            click.echo(f"{printable(self.file)}: {summary}", err=True)
            raise click.exceptions.Exit(EXIT_BAD_INPUT)

    def _print(self, place: str, text: str) -> None:
        click.echo(self._before_line + printable(f"{self.file}{place}: {text}"), err=True)


@contextlib.contextmanager
def show_progress(
    stream: IO[bytes], label: str, output: IO[bytes] | None
) -> Iterator[Callable[[int], None] | None]:
    """Show progress if standard error is a terminal, the output is not, and the input is long.

    For a file it is a progress bar; for a pipe, whose length is unknown, the number of bytes read. Yields
    what to call with the number of bytes read in all; None if no progress is shown.
    """
    size = _file_size(stream)
    is_short = size is not None and size < _PROGRESS_FROM_BYTES
    if not sys.stderr.isatty() or (output is not None and output.isatty()) or is_short:
        yield None
    elif size is not None:
        with click.progressbar(length=size, label=label, file=sys.stderr) as bar:
            yield lambda count: bar.update(count - bar.pos)
    else:
        with _counter(label) as show:
            yield show


@contextlib.contextmanager
def _counter(label: str) -> Iterator[Callable[[int], None]]:
    """Show how many bytes were read, once they are many."""
    read_bytes, shown_at = 0, _PROGRESS_FROM_BYTES

    def print_count() -> None:
        click.echo(f"{_CLEAR_LINE}{label}  {read_bytes // _MIB} MiB read", nl=False, err=True)

    def show(count: int) -> None:
        nonlocal read_bytes, shown_at
        read_bytes = count
        if count >= shown_at:
            shown_at = count + _COUNTER_STEP_BYTES
            print_count()

    try:
        yield show
    finally:
        if read_bytes >= _PROGRESS_FROM_BYTES:
            print_count()
            click.echo(err=True)


def _file_size(stream: IO[bytes]) -> int | None:
    """Return the size of a regular file in bytes; None for anything else."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
