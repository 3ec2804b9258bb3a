"""Environment variables of a command that nobody reads."""

import os

import click

from mistralwire.cli._wording import nearest, printable


def check_environment(ctx: click.Context) -> None:
    """Refuse variables that look like those of a command and are none: a typing error would go unseen.

    Args:
        ctx: The run of the command. Its variables begin with `MISTRALWIRE_` and its name.

    Raises:
        click.UsageError: If a variable begins like those of the command, and no option reads it.
    """
    name = str(ctx.command.name)
    prefix = f"MISTRALWIRE_{name.upper()}_"
    known = [str(param.envvar) for param in ctx.command.params if param.envvar]
    for variable in sorted(os.environ):
        if variable.startswith(prefix) and variable not in known:
            message = f"environment variable {printable(variable)} is no setting of {name}; unset it"
            raise click.UsageError(f"{message}{nearest(variable, known)}", ctx)
