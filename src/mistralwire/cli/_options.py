"""Options that several commands have, and the environment variables that set them."""

import contextlib
import os
import re
from collections.abc import Callable
from typing import Any

import click
from click.decorators import FC

from mistralwire._settings import DEADLINE_S_MAX, Setting
from mistralwire.cli._wording import nearest, printable

# Kubernetes sets these in each pod for each Service of its namespace, after the name of the Service:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_LINK = re.compile(
    r"_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
_LINK_VALUE = re.compile(r"(?:tcp|udp|sctp)://\S+:\d+")


def setting(command: str, name: str, **attributes: Any) -> Callable[[FC], FC]:
    """Declare an option that an environment variable can set too."""
    variable = f"MISTRALWIRE_{command.upper()}_{name.upper().replace('-', '_')}"
    return click.option(f"--{name}", envvar=variable, show_envvar=True, **attributes)


def target_option(command: str, **attributes: Any) -> Callable[[FC], FC]:
    """Declare the option for the address of a service."""
    return setting(
        command,
        "target",
        metavar="TARGET",
        help="The service: host:port, dns:///host:port, unix:path. The default port is 443.",
        **attributes,
    )


def connection_options(command: str) -> Callable[[FC], FC]:
    """Declare the options for the token and for TLS."""
    files = {
        "token-file": "File with the bearer token, the first one in it; # begins a comment.",
        "tls-ca": "PEM file with the certificate authorities to trust for the service.",
        "tls-certificate": "PEM file with a client certificate, for mutual TLS.",
        "tls-key": "PEM file with the private key of the client certificate.",
    }
    path = click.Path(exists=True, dir_okay=False)

    def decorate(function: FC) -> FC:
        insecure = "Use plaintext even to other machines."
        function = click.option("--insecure", is_flag=True, default=None, help=insecure)(function)
        for name, text in reversed(files.items()):
            function = setting(command, name, type=path, metavar="FILE", help=text)(function)
        return function

    return decorate


def number_type(kind: type[int | float], setting: Setting) -> Callable[[Any], int | float]:
    """Return the type of an option that takes a number, whose error has its range in words."""

    def convert(value: Any) -> int | float:
        with contextlib.suppress(ValueError, OverflowError):
            number = kind(value)
            if not setting.error_of(kind, number):
                return number
        raise click.BadParameter(f"expected {setting.expected(kind)}, found {value!r}")

    return convert


def seconds_option(name: str, default: float, text: str) -> Callable[[FC], FC]:
    """Declare the option for a time limit, which is checked before anything is read or sent."""
    return click.option(
        f"--{name}",
        f"{name}_s",
        type=float,
        callback=_check_seconds,
        default=default,
        metavar="SECONDS",
        help=f"{text}  [default: {default:g}]",
    )


def _check_seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not 0 < value <= DEADLINE_S_MAX:  # NaN is not in the range
        message = f"expected seconds above 0, at most {DEADLINE_S_MAX:.0f}, found {value:g}"
        raise click.BadParameter(message, ctx=ctx, param=param)
    return value


def is_link_value(value: str) -> bool:
    """Check whether a value is one that Kubernetes sets for `NAME_PORT`, such as `tcp://10.0.0.1:8000`."""
    return _LINK_VALUE.fullmatch(value) is not None


def check_environment(ctx: click.Context) -> None:
    """Refuse variables that begin like those of a command, but that no option reads: likely a misspelling.

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
