"""The settings of `serve`: one definition, read from flags, the environment and a file.

`ServerConfig` and `ServeSettings` are the definition. From each of their fields comes an option, an
environment variable and a key of the file, all three by the same name; click decides between them.
"""

import dataclasses
import math
import os
import pathlib
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

from mistralwire.cli._logging import LogFormat, LogLevel
from mistralwire.cli._wording import printable
from mistralwire.service import ServerConfig, Setting

ENVIRONMENT_PREFIX = "MISTRALWIRE_SERVE_"
"""What the names of environment variables begin with; then follows the name of the setting, in capitals."""

CONFIG_VARIABLE = "MISTRALWIRE_CONFIG"
"""Environment variable that names the file."""

# A maximum above this is none that anybody has to know.
_SHOWN_MAX = 1_000_000

# The first setting of each group, in the order of the definition.
_HEADINGS = {
    "recordings": "Playback",
    "host": "Address",
    "tls_certificate": "Security",
    "reflection": "Services",
    "message_bytes_max": "Limits",
    "stream_message_chunks_max": "Streams",
    "handshake_s": "Connections",
    "keepalive_s": "Keepalive",
    "drain_s": "End",
    "workers": "Processes",
    "log_level": "Logs and metrics",
}

_F = TypeVar("_F", bound=Callable[..., Any])


def _told(*arguments: Any, **more: Any) -> dict[str, Setting]:
    return {"setting": Setting(*arguments, **more)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    """What `serve` is told beside the settings of the server.

    The help of each field says what it means.
    """

    recordings: tuple[pathlib.Path, ...] = dataclasses.field(
        default=(), metadata=_told("Files and folders to play; without any, a demonstration.", "RECORDING")
    )
    chunks_per_second: float | None = dataclasses.field(
        default=None,
        metadata=_told(
            "Pace of the streams. Without it they are played with the pauses they were recorded with.",
            *("N", 0, 1_000_000),
            is_above=True,
        ),
    )
    workers: int = dataclasses.field(
        default=1,
        metadata=_told(
            "Processes that share the port, on Linux; each has limits of its own.", *("N", 1, 1024)
        ),
    )
    log_level: LogLevel = dataclasses.field(
        default="info", metadata=_told("Least level that is logged, to standard error.")
    )
    log_format: LogFormat = dataclasses.field(
        default="text", metadata=_told("What a line of the log looks like.")
    )
    prometheus_port: int | None = dataclasses.field(
        default=None,
        metadata=_told(
            "Port to serve metrics for Prometheus on; with workers, the first one's: each other one has the "
            "next. Needs the extra otel.",
            *("PORT", 1, 65_535),
        ),
    )
    prometheus_host: str = dataclasses.field(
        default="127.0.0.1",
        metadata=_told("Address to serve metrics on, in plain HTTP to whoever asks.", "HOST"),
    )

    def __post_init__(self) -> None:
        """Check what depends on each other."""
        if self.prometheus_port is not None and self.prometheus_port + self.workers - 1 > 65_535:
            raise ValueError("prometheus_port leaves too few ports above it for workers: each needs one")
        if not self.prometheus_host:
            raise ValueError("prometheus_host must not be empty; 127.0.0.1 is this machine")


_CLASSES = (ServeSettings, ServerConfig)


def _fields() -> dict[str, "dataclasses.Field[Any]"]:
    """Give the fields of all settings, in the order in which they are shown."""
    own = {field.name: field for field in dataclasses.fields(ServeSettings)}
    before = ("recordings", "chunks_per_second")
    server = {field.name: field for field in dataclasses.fields(ServerConfig)}
    return {name: own[name] for name in before} | server | own


FIELDS: Mapping[str, "dataclasses.Field[Any]"] = _fields()
"""The fields of all settings, by their names."""


def groups() -> dict[str, list[str]]:
    """Give the names of the settings under their headings, in order."""
    result: dict[str, list[str]] = {}
    heading = ""
    for name in FIELDS:
        heading = _HEADINGS.get(name, heading)
        result.setdefault(heading, []).append(name)
    return result


def kind_of(name: str) -> Any:
    """Give the type of a setting's value, apart from None: a class, a Literal, or `tuple` for recordings."""
    type_ = FIELDS[name].type
    if isinstance(type_, types.UnionType):
        type_ = next(item for item in get_args(type_) if item is not types.NoneType)
    return tuple if get_origin(type_) is tuple else type_


def variable_of(name: str) -> str:
    """Give the environment variable of a setting."""
    return f"{ENVIRONMENT_PREFIX}{name.upper()}"


def flag_of(name: str) -> str:
    """Give the flag of a setting."""
    return "RECORDING" if name == "recordings" else f"--{name.replace('_', '-')}"


def build(values: Mapping[str, Any], ctx: click.Context) -> tuple[ServeSettings, ServerConfig]:
    """Make settings of what click gives.

    Raises:
        click.UsageError: If values do not go together.
    """
    serve_settings, config = (
        {field.name: values[field.name] for field in dataclasses.fields(class_)} for class_ in _CLASSES
    )
    try:
        return ServeSettings(**serve_settings), ServerConfig(**config)
    except ValueError as error:
        raise click.UsageError(in_words_of(ctx, str(error)), ctx) from error


def in_words_of(ctx: click.Context, message: str) -> str:
    """Put flags in the place of the names of settings, and where each was set if not by its flag."""
    names = "|".join(FIELDS)
    origins: dict[str, str] = {}

    def flag(match: re.Match[str]) -> str:
        origin = origin_of(ctx, match[0])
        if origin not in ("default", flag_of(match[0])):
            origins[flag_of(match[0])] = origin
        return flag_of(match[0])

    # What stands in quotes, or is a part of another word, is somebody's value.
    text = re.sub(rf"(?<![\w'\"./-])(?:{names})(?![\w'\"/-]|\.\w)", flag, message)
    places = "; ".join(f"{name} is set by {origin}" for name, origin in origins.items())
    return f"{text} ({places})" if places else text


def with_place(ctx: click.Context, message: str) -> str:
    """Put the place where a setting was set in the place of its name, if a message begins with one."""
    name, separator, rest = message.partition(": ")
    return f"{_hint(ctx, name)}: {rest}" if separator and name in FIELDS else message


def origin_of(ctx: click.Context, name: str) -> str:
    """Say where the value of a setting comes from: `default`, a flag, a variable, or a file."""
    match ctx.get_parameter_source(name):
        case ParameterSource.COMMANDLINE:
            return flag_of(name)
        case ParameterSource.ENVIRONMENT:
            return variable_of(name)
        case ParameterSource.DEFAULT_MAP:
            return printable(str(ctx.meta[CONFIG_VARIABLE]))
        case _:
            return "default"


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
            self.fail("expected a finite number, found another.", param, ctx)
        return number


class _SettingOption(click.Option):
    """An option whose errors name the place where the value was set."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Give the flag with its meaning, its default and its range."""
        record = super().get_help_record(ctx)
        field = FIELDS[str(self.name)]
        default = "" if field.default is None or field.type is bool else f"default: {_plain(field.default)}"
        facts = "; ".join(filter(None, (default, _range_of(field.metadata["setting"]))))
        return record and (record[0], f"{self.help}  [{facts}]" if facts else str(self.help))

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name the flag, the variable, or the file and its key."""
        return _hint(ctx, str(self.name))


class _SettingArgument(click.Argument):
    """The same for an argument."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name the argument, the variable, or the file and its key."""
        return _hint(ctx, str(self.name))


def _hint(ctx: click.Context | None, name: str) -> str:
    source = ctx and ctx.get_parameter_source(name)
    if ctx is None or source not in (ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP):
        return flag_of(name)
    return f"{name} in {origin_of(ctx, name)}" if source is ParameterSource.DEFAULT_MAP else variable_of(name)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range_of(setting: Setting) -> str:
    if setting.least is None or setting.most is None:
        return ""
    if setting.most > _SHOWN_MAX:
        return f"from {setting.least:g}"
    return f"{'above ' if setting.is_above else ''}{setting.least:g} to {setting.most:.0f}"


def setting_options(function: _F) -> _F:
    """Give a command an option for each setting, and the argument for the recordings."""
    for name in reversed(list(FIELDS)):
        if name != "recordings":
            function = _option(name)(function)
    return click.argument(
        "recordings",
        cls=_SettingArgument,
        nargs=-1,
        type=_path(exists=True),
        envvar=variable_of("recordings"),
        metavar="[RECORDING]...",
    )(function)


def _option(name: str) -> Callable[[_F], _F]:
    field, kind = FIELDS[name], kind_of(name)
    setting: Setting = field.metadata["setting"]
    flag = flag_of(name)
    return click.option(
        f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag,
        name,
        cls=_SettingOption,
        type=_click_type(kind, setting),
        default=field.default,
        envvar=variable_of(name),
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


class SettingsCommand(click.Command):
    """A command that shows its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options, those of the settings by their groups."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = {option.name: option.get_help_record(ctx) for option in options}
        sections = groups() | {"Configuration": [name for name in records if name and name not in FIELDS]}
        for heading, names in sections.items():
            if rows := [record for name in names if (record := records.get(name))]:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def absolute(path: str | os.PathLike[str]) -> pathlib.Path:
    """Give a path that means the same from everywhere; links stay as they are."""
    return pathlib.Path(os.path.abspath(path))
