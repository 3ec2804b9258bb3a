"""Options of the commands that call a service: its address, TLS and the token."""

import contextlib
from collections.abc import Callable
from typing import Any

import click
from click.decorators import FC

from mistralwire._settings import DEADLINE_S_MAX, Setting


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


def check_seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Check a time limit before anything is read or sent: a click callback. NaN is not in the range."""
    if not 0 < value <= DEADLINE_S_MAX:
        message = f"expected seconds above 0, at most {DEADLINE_S_MAX:.0f}, found {value:g}"
        raise click.BadParameter(message, ctx=ctx, param=param)
    return value
