"""The settings of a command as options of click."""

import math
import pathlib
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from mistralwire._settings import Setting
from mistralwire.cli._environment import is_link_value
from mistralwire.cli._settings import CONFIG_VARIABLE, SettingsDefinition, flag_of

# A maximum above this is none that anybody has to know.
_SHOWN_MAX = 1_000_000

_WAYS = (
    "Each setting has one name and can be given in three ways: a flag counts before an environment variable, "
    "that before the file, and that before the default. --print-config shows what is in effect and why."
)

_F = TypeVar("_F", bound=Callable[..., Any])


def setting_options(definition: SettingsDefinition) -> Callable[[_F], _F]:
    """Give a command an option for each setting, and the argument for the recordings."""

    def decorate(function: _F) -> _F:
        for name in reversed(definition.fields):
            if name != "recordings":
                function = _option(definition, name)(function)
        return click.argument(
            "recordings",
            cls=_SettingArgument,
            definition=definition,
            nargs=-1,
            type=_path(exists=True),
            envvar=definition.variable_of("recordings"),
            metavar="[RECORDING]...",
        )(function)

    return decorate


def _option(definition: SettingsDefinition, name: str) -> Callable[[_F], _F]:
    field, kind = definition.fields[name], definition.kind_of(name)
    setting: Setting = field.metadata["setting"]
    flag = flag_of(name)
    return click.option(
        f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag,
        name,
        cls=_SettingOption,
        definition=definition,
        type=_click_type(kind, setting),
        default=field.default,
        envvar=definition.variable_of(name),
        metavar=setting.metavar,
        help=setting.help,
    )


def _click_type(kind: Any, setting: Setting) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind), case_sensitive=False)
    if kind is pathlib.Path:
        return _path(exists=False)
    if kind is float:
        return _FiniteRange(setting.least, setting.most, setting.is_above)
    if kind is int:
        return _WholeRange(_whole(setting.least), _whole(setting.most))
    return kind


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _path(*, exists: bool) -> click.Path:
    return click.Path(exists=exists, path_type=pathlib.Path)


class _WholeRange(click.IntRange):
    """A range with a name for people."""

    name = "integer"


class _FiniteRange(click.FloatRange):
    """A range that means it: NaN is beyond no bound, and infinity is below none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number: float = super().convert(value, param, ctx)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail(f"expected a finite number, found {number}.", param, ctx)
        return number


class _SettingOption(click.Option):
    """An option whose errors name the place where the value was set."""

    def __init__(self, *args: Any, definition: SettingsDefinition, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._definition = definition

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Read the variable, unless Kubernetes has set it, for a Service that is named like the command."""
        value = super().resolve_envvar_value(ctx)
        is_link = value is not None and str(self.envvar).endswith("_PORT") and is_link_value(value)
        return None if is_link else value

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Give the flag with its meaning, its default and its range."""
        record = super().get_help_record(ctx)
        field = self._definition.fields[str(self.name)]
        default = "" if field.default is None or field.type is bool else f"default: {_plain(field.default)}"
        facts = "; ".join(filter(None, (default, _range_of(field.metadata["setting"]))))
        return record and (record[0], f"{self.help}  [{facts}]" if facts else str(self.help))

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name the flag, the variable, or the file and its key."""
        return self._definition.hint(ctx, str(self.name))


class _SettingArgument(click.Argument):
    """The same for an argument."""

    def __init__(self, *args: Any, definition: SettingsDefinition, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._definition = definition

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name the argument, the variable, or the file and its key."""
        return self._definition.hint(ctx, str(self.name))


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range_of(setting: Setting) -> str:
    if setting.least is None or setting.most is None:
        return ""
    if setting.most > _SHOWN_MAX:
        return f"from {setting.least:g}"
    return f"{'above ' if setting.is_above else ''}{setting.least:g} to {setting.most:.0f}"


def settings_command(definition: SettingsDefinition) -> type[click.Command]:
    """Give the class of a command that shows its options under the headings of its settings."""
    file = f"in the table [{definition.command}] of the file that --config or {CONFIG_VARIABLE} names"
    ways = [
        ("--drain-s 30", "a flag"),
        (f"{definition.variable_of('drain_s')}=30", "an environment variable"),
        ("drain_s = 30", file),
    ]

    class SettingsCommand(click.Command):
        def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
            records = {option.name: option.get_help_record(ctx) for option in options}
            for heading, names in definition.groups().items():
                if rows := [record for name in names if (record := records.get(name))]:
                    with formatter.section(heading):
                        formatter.write_dl(rows)
            with formatter.section("Configuration"):
                formatter.write_text(_WAYS)
                formatter.write_paragraph()
                formatter.write_dl(ways)
                formatter.write_paragraph()
                own = [name for name in records if name not in definition.fields]
                formatter.write_dl([record for name in own if (record := records[name])])

    return SettingsCommand
