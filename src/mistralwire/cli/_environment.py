"""Environment variables that are no settings, although they look like it."""

import os
import re

import click

from mistralwire.cli._wording import nearest, printable

# Kubernetes sets these in each pod for each Service of its namespace, after the name of the Service:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_LINK = re.compile(
    r"_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
_LINK_VALUE = re.compile(r"(?:tcp|udp|sctp)://\S+:\d+")


def is_link_value(value: str) -> bool:
    """Check whether a value is one that Kubernetes sets for `NAME_PORT`, such as `tcp://10.0.0.1:8000`."""
    return _LINK_VALUE.fullmatch(value) is not None


def check_environment(ctx: click.Context) -> None:
    """Refuse variables that begin like those of a command, but that no option reads: likely a misspelling.

    Args:
        ctx: The run of the command. Its variables begin with `MISTRALWIRE_` and its name.

    Raises:
        click.UsageError: If there is such a variable.
    """
    name = str(ctx.command.name)
    prefix = f"MISTRALWIRE_{name.upper()}"
    known = [str(param.envvar) for param in ctx.command.params if param.envvar]
    found = sorted(variable for variable in os.environ if variable.startswith(f"{prefix}_"))
    services = [
        variable.removesuffix("_PORT")
        for variable in found
        if variable.endswith("_PORT") and is_link_value(os.environ[variable])
    ]
    for variable in found:
        is_link = any(_LINK.fullmatch(variable.removeprefix(service)) for service in services)
        if variable not in known and not is_link:
            message = f"environment variable {printable(variable)} is not a setting of {name}"
            raise click.UsageError(f"{message}{nearest(variable, known) or '; unset it'}", ctx)
