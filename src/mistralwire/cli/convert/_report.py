"""What `convert` prints on standard error: failures, warnings and progress."""

import contextlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator

import click

from mistralwire.cli._documents import describe_violations
from mistralwire.cli._wording import printable
from mistralwire.errors import DecodeError

EXIT_BAD_INPUT = 1

_WARNINGS_MAX = 100
_MIB = 1024 * 1024
_PROGRESS_FROM_BYTES = 16 * _MIB
_COUNTER_STEP_BYTES = 4 * _MIB
_CLEAR_LINE = "\r\x1b[K"


class Report:
    """Prints failures and warnings, and counts the failures.

    Args:
        file: Name of the input.
        keep_going: Whether to continue after a failure.
        has_progress: Whether the terminal's last line shows progress, in whose place lines are printed.

    Attributes:
        file: Name of the input.
        failures: How many failures there were.
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
        """Print and count a failure to decode a document; see `fail`.

        Args:
            place: See `fail`.
            error: The error of the codec.
            part: See `describe_violations`.
            hint: What to append to the last line.
        """
        place, problems = describe_violations(error, place, part=part)
        self.fail(place, *problems[:-1], problems[-1] + hint)

    def warn(self, place: str, text: str) -> None:
        """Print a warning: the first one of each finding, at most 100 in all."""
        kind = text.partition(", found ")[2]
        if kind not in self._warned and len(self._warned) < _WARNINGS_MAX:
            self._warned.add(kind)
            self._print(place, f"warning: {text}")

    def _print(self, place: str, text: str) -> None:
        click.echo(self._before_line + printable(f"{self.file}{place}: {text}"), err=True)


@contextlib.contextmanager
def show_progress(
    stream: io.BufferedIOBase, label: str, *, output_is_terminal: bool
) -> Iterator[Callable[[int], None] | None]:
    """Show progress if standard error is a terminal, the output is not, and the input is long.

    For a file it is a progress bar; for a pipe, whose length is unknown, the number of bytes read.

    Args:
        stream: The input.
        label: What is done, such as `converting`.
        output_is_terminal: Whether the output goes to a terminal too.

    Yields:
        What to call with the number of bytes read in all; None if no progress is shown.
    """
    size = _file_size(stream)
    is_short = size is not None and size < _PROGRESS_FROM_BYTES
    if not sys.stderr.isatty() or output_is_terminal or is_short:
        yield None
    elif size is not None:
        with click.progressbar(length=size, label=label, file=sys.stderr) as bar:
            yield lambda count: bar.update(count - bar.pos)
    else:
        counter = _Counter(label)
        try:
            yield counter.show
        finally:
            counter.end()


class _Counter:
    """Shows how many bytes were read, once they are many."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._count = 0
        self._shown_at = _PROGRESS_FROM_BYTES

    def show(self, count: int) -> None:
        self._count = count
        if count >= self._shown_at:
            self._shown_at = count + _COUNTER_STEP_BYTES
            self._print()

    def end(self) -> None:
        if self._count >= _PROGRESS_FROM_BYTES:
            self._print()
            click.echo(err=True)

    def _print(self) -> None:
        click.echo(f"{_CLEAR_LINE}{self._label}  {self._count // _MIB} MiB read", nl=False, err=True)


def _file_size(stream: io.BufferedIOBase) -> int | None:
    """Return the size of a regular file in bytes, or None for anything else."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
