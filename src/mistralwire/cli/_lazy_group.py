"""A click group that imports a command when it is called."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from mistralwire._engine import check_engine
from mistralwire.cli._output import NO_ROOM, Terminated
from mistralwire.cli._wording import nearest

EXIT_INTERRUPTED = 130
_EXIT_CLOSED_PIPE = 141
_EXIT_SIGNAL = 128


class EngineError(click.ClickException):
    """The engine that MISTRALWIRE_ENGINE names can't be used."""

    exit_code = 2


class LazyGroup(click.Group):
    """Commands in modules or packages of `mistralwire.cli`, and the exit codes that all of them share.

    Args:
        summaries: One line per command, by its name. The command `name` is the object `name` of
            `mistralwire.cli.name`.
    """

    def __init__(self, *args: Any, summaries: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in alphabetical order."""
        return sorted(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; return None if there is none of this name."""
        if cmd_name not in self._summaries:
            return None
        command: click.Command = getattr(importlib.import_module(f"mistralwire.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with; the error for a misspelt one has the nearest."""
        name = args[0]
        if name not in self._summaries and not name.startswith("-") and not ctx.resilient_parsing:
            hint = (
                nearest(name, self._summaries) or f"; the commands are {', '.join(self.list_commands(ctx))}"
            )
            raise click.UsageError(f"expected a command, found {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summaries[name]) for name in self.list_commands(ctx)])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        _replace_closed_streams()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the group's own options; help and version are printed here."""
        with _exit_codes():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of the operating system becomes an exit code and a line of text."""
        if os.environ.get("NO_COLOR"):  # https://no-color.org
            ctx.color = False
        with _exit_codes():
            return super().invoke(ctx)


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except Terminated as signal:
        raise click.exceptions.Exit(_EXIT_SIGNAL + signal.number) from None
    except (ImportError, ValueError) as error:
        try:
            check_engine()
        except (ImportError, ValueError) as problem:
            raise EngineError(str(problem)) from error
        raise
    except BrokenPipeError:
        _discard_unwritten()
        raise click.exceptions.Exit(_EXIT_CLOSED_PIPE) from None
    except OSError as error:
        _discard_unwritten()
        place = error.filename or ("standard output" if error.errno in NO_ROOM else "")
        raise click.ClickException(f"{place}{': ' if place else ''}{error.strerror or error}") from error


def _discard_unwritten() -> None:
    """Discard what can't be written to standard output: it would fail again when the interpreter exits."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _replace_closed_streams() -> None:
    """Occupy the descriptors of closed standard streams, so that no file gets one of them.

    Otherwise what a library prints could end up in a file. They are opened in the wrong direction, so that
    reading and writing still fail.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)
    if sys.stderr is None:
        # Without it, click prints errors to standard output.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - open until the process exits
