"""The settings of a command as click's options, and the command that has them."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import click

from mistralwire._settings import Setting, kind_of
from mistralwire.cli._options import check_environment, is_link_value, number_type
from mistralwire.cli._wording import printable
from mistralwire.cli.settings._definition import (
    BadFileError,
    SettingsDefinition,
    SettingsError,
    flag_of,
    read_settings,
    write_settings,
)
from mistralwire.errors import MistralwireError

_CONFIG_VARIABLE = "MISTRALWIRE_CONFIG"
# Greater maxima are left out of help texts: nobody has to know them.
_SHOWN_MAX = 1_000_000
_WAYS = (
    "Each setting has one name and can be given in three ways. A flag overrides an environment variable, "
    "which overrides the file, which overrides the default. --print-config shows what is in effect and why."
)


def settings_command(
    definition: SettingsDefinition,
) -> Callable[[Callable[..., Callable[[], None]]], click.Command]:
    """Make a function a command that has the settings as its options.

    The function gets the context, and an instance of each class of the definition by its name. It makes the
    remaining checks, with a SettingsError, and returns what the command runs, unless it prints them.
    """

    def decorate(function: Callable[..., Callable[[], None]]) -> click.Command:
        @click.pass_context
        @functools.wraps(function)
        def callback(ctx: click.Context, /, *, print_config: bool, **values: Any) -> None:
            check_environment(ctx)
            try:
                run = function(ctx, **definition.build(values))
                if print_config:
                    click.echo(write_settings(definition, values, ctx))
                else:
                    run()
            except ModuleNotFoundError as error:
                raise click.ClickException(str(error)) from error
            except MistralwireError as error:
                raise click.ClickException(definition.with_place(ctx, error.message)) from error
            except SettingsError as error:
                raise click.UsageError(definition.with_places(ctx, str(error)), ctx) from error

        options = [_setting_option(definition, name) for name in definition.fields if name != "recordings"]
        return _SettingsCommand(
            definition=definition,
            name=definition.command,
            callback=callback,
            help=function.__doc__,
            params=[_recordings(definition), *options, _config_option(definition), _PRINT_CONFIG],
        )

    return decorate


class _SettingsCommand(click.Command):
    """A command that shows its options under the headings of its settings."""

    def __init__(self, *, definition: SettingsDefinition, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._definition = definition

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        definition = self._definition
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = {str(option.name): option.get_help_record(ctx) for option in options}
        for heading, names in definition.groups().items():
            if rows := [record for name in names if (record := records.pop(name, None))]:
                with formatter.section(heading):
                    formatter.write_dl(rows)
        file = f"in the table [{definition.command}] of the file that --config or {_CONFIG_VARIABLE} names"
        ways = [
            ("--drain-s 30", "a flag"),
            (f"{definition.variable_of('drain_s')}=30", "an environment variable"),
            ("drain_s = 30", file),
        ]
        with formatter.section("Configuration"):
            formatter.write_text(_WAYS)
            formatter.write_paragraph()
            formatter.write_dl(ways)
            formatter.write_paragraph()
            formatter.write_dl([record for record in records.values() if record])


class _SettingParameter(click.Parameter):
    """A parameter whose errors name the place where the value was set."""

    def __init__(self, *args: Any, definition: SettingsDefinition, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._definition = definition

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return the flag, the variable, or the key and the file."""
        return self._definition.hint(ctx, str(self.name))


class _SettingArgument(_SettingParameter, click.Argument):
    """A setting that has no flag."""


class _SettingOption(_SettingParameter, click.Option):
    """A setting that has a flag."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Read the variable, unless Kubernetes has set it for a Service whose name is that of the command."""
        value = super().resolve_envvar_value(ctx)
        is_link = value is not None and str(self.envvar).endswith("_PORT") and is_link_value(value)
        return None if is_link else value

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the flag with its meaning, its default and its range."""
        record = super().get_help_record(ctx)
        field = self._definition.fields[str(self.name)]
        default = field.default
        shown = f"{default:g}" if isinstance(default, float) else default
        facts = [] if default is None or field.type is bool else [f"default: {shown}"]
        facts += filter(None, [field.metadata["setting"].range(_SHOWN_MAX)])
        return record and (record[0], f"{self.help}  [{'; '.join(facts)}]" if facts else str(self.help))


def _setting_option(definition: SettingsDefinition, name: str) -> click.Option:
    field, flag = definition.fields[name], flag_of(name)
    kind, setting = kind_of(field), field.metadata["setting"]
    return _SettingOption(
        [f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag, name],
        definition=definition,
        type=_click_type(kind, setting),
        default=field.default,
        envvar=definition.variable_of(name),
        metavar=setting.metavar,
        help=setting.help,
    )


class _SettingPath(click.Path):
    """A path; an empty one, as of a shell variable that is not set, would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("expected a path, found an empty string", param, ctx)
        return super().convert(value, param, ctx)


def _click_type(kind: Any, setting: Setting) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind), case_sensitive=False)
    if kind is pathlib.Path:
        return _SettingPath(path_type=pathlib.Path)
    return number_type(kind, setting) if kind in (int, float) else kind


def _recordings(definition: SettingsDefinition) -> click.Argument:
    return _SettingArgument(
        ["recordings"],
        definition=definition,
        nargs=-1,
        type=click.Path(exists=True, path_type=pathlib.Path),
        envvar=definition.variable_of("recordings"),
        metavar="[RECORDING]...",
    )


def _config_option(definition: SettingsDefinition) -> click.Option:
    """Return the option that names the file, whose values are the defaults of the other options."""

    def load(ctx: click.Context, param: click.Parameter, path: pathlib.Path | None) -> None:  # noqa: ARG001
        if path is None:
            return
        try:
            ctx.obj = read_settings(definition, path)
        except BadFileError as error:
            raise click.UsageError(f"{printable(str(path))}: {error}", ctx) from error
        ctx.default_map = ctx.obj.values

    return click.Option(
        ["--config"],
        type=click.Path(dir_okay=False, path_type=pathlib.Path),
        envvar=_CONFIG_VARIABLE,
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=load,
        help=f"TOML file with settings in its table [{definition.command}], and with tables [[upstreams]].",
    )


_PRINT_CONFIG = click.Option(
    ["--print-config"], is_flag=True, help="Print the configuration in effect as TOML, and exit."
)
