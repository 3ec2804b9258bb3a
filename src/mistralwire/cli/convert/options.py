"""Options that `convert` and `inspect` share."""

from collections.abc import Callable
from typing import Any

import click
from click.decorators import FC

from mistralwire.cli.convert._formats import Format


def _choose_format(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Format | None:
    return Format(value) if value else None


def _choose_type(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    from mistralwire.cli.convert._message_types import choose_type  # noqa: PLC0415 - with the contract

    return choose_type(ctx, param, value)


def _format_option(flag: str, name: str, what: str) -> Callable[[FC], FC]:
    choice = click.Choice([format_.value for format_ in Format])
    return click.option(flag, name, type=choice, callback=_choose_format, help=f"Format of the {what}.")


TYPE = click.option(
    "--type", "message_type", callback=_choose_type, metavar="TYPE", help="Message type of the input."
)
SOURCE_FORMAT = _format_option("--from", "source_format", "input")
TARGET_FORMAT = _format_option("--to", "target_format", "output")
