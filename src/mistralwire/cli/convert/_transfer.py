"""From a reader to a writer, with a report of what failed."""

from collections.abc import Iterator

import click

from mistralwire.cli._failures import Failure
from mistralwire.cli._wording import printable
from mistralwire.cli.convert._progress import Progress
from mistralwire.cli.convert._reader import Item, Record, Remark
from mistralwire.cli.convert._writer import Writer
from mistralwire.errors import EncodeError

EXIT_BAD_INPUT = 1

_WARNINGS_MAX = 100


class Report:
    """Prints failures as they come, and counts them.

    Args:
        file: Name of the input.
        progress: Where lines are printed.
        keep_going: Whether to go on after a failure.

    Attributes:
        failures: How many there were.
    """

    def __init__(self, file: str, progress: Progress, *, keep_going: bool) -> None:
        self._file = file
        self._progress = progress
        self._keep_going = keep_going
        self.failures = 0
        self._warned: set[str] = set()

    def warn(self, record: Record) -> None:
        """Print where a message holds content of a newer contract, the first of each kind alone."""
        for line in record.newer:
            kind = line.partition(", found ")[2]
            if kind not in self._warned and len(self._warned) < _WARNINGS_MAX:
                self._warned.add(kind)
                self._print_warning(record.place, line)

    def remark(self, remark: Remark) -> None:
        """Print a remark."""
        self._print_warning(remark.place, remark.text)

    def _print_warning(self, place: str, text: str) -> None:
        self._progress.print(printable(f"{self._file}{place}: warning: {text}"))

    def add(self, failure: Failure) -> None:
        """Print and count a failure.

        Raises:
            click.exceptions.Exit: If it is the end of the run: 1.
        """
        for problem in failure.problems:
            self._progress.print(printable(f"{self._file}{failure.place}: {problem}"))
        self.failures += 1
        if not self._keep_going:
            raise click.exceptions.Exit(EXIT_BAD_INPUT)


def transfer(items: Iterator[Item], writer: Writer, report: Report) -> None:
    """Write what was read until the end, a final failure, or the first failure of a report that ends then.

    Raises:
        click.exceptions.Exit: If the output would be no whole one.
        click.UsageError: If the options leave open what the input is.
    """
    for item in items:
        if isinstance(item, Remark):
            report.remark(item)
            continue
        failure = item if isinstance(item, Failure) else _write(item, writer)
        if isinstance(item, Record):
            report.warn(item)
        if failure is not None:
            report.add(failure)
            if failure.final:
                break
    if writer.is_lacking:
        if report.failures == 0:
            report.add(Failure("", ("expected a message, found none",)))
        raise click.exceptions.Exit(EXIT_BAD_INPUT)
    writer.end(is_whole=report.failures == 0)


def _write(record: Record, writer: Writer) -> Failure | None:
    if writer.is_full:
        problem = (
            f"expected the end, as {writer.format} holds one message, found another; choose jsonl or sse"
        )
        return Failure(record.place, (problem,), final=True)
    try:
        writer.write(record)
    except EncodeError as error:
        return Failure(record.place, (str(error),))
    return None
