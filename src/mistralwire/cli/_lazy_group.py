"""A click group that imports a command when the command is called."""

import importlib
import os
import sys
from typing import Any

import click

_EXIT_INTERRUPTED = 130
_EXIT_CLOSED_PIPE = 141


class LazyGroup(click.Group):
    """Commands that are modules of `mistralwire.cli`, and the exit codes that all of them share.

    Args:
        summaries: One line a command, by its name. The command `name` is the object `name` in the module
            `mistralwire.cli.name`.
    """

    def __init__(self, *args: Any, summaries: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names in alphabetical order."""
        return sorted(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command; None if there is none of this name."""
        if cmd_name not in self._summaries:
            return None
        command: click.Command = getattr(importlib.import_module(f"mistralwire.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summaries[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the operating system reports becomes an exit code and a line of text."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(_EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # What is still in the buffer of stdout would fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(_EXIT_CLOSED_PIPE) from None
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{place}{error.strerror or error}") from error
