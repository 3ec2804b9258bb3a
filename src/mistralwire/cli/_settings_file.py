"""The settings of a command as a TOML file: reading it, and writing one."""

import json
import pathlib
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

import click

from mistralwire._files import open_file
from mistralwire._settings import Setting
from mistralwire.cli._settings import CONFIG_VARIABLE, SettingsDefinition, absolute
from mistralwire.cli._upstreams import UPSTREAMS_META
from mistralwire.cli._wording import nearest, printable
from mistralwire.errors import MistralwireError
from mistralwire.upstream import check_upstream_tables

_TABLES = ("serve", "gateway")
_UPSTREAMS = "upstreams"
# Far beyond any configuration, and no burden: someone may name a device.
_FILE_BYTES_MAX = 1024 * 1024


def config_option(definition: SettingsDefinition) -> Callable[..., Any]:
    """Give a command the option that names its file; what is in it are the defaults of the others."""

    def load(ctx: click.Context, param: click.Parameter, path: pathlib.Path | None) -> None:  # noqa: ARG001
        if path is None:
            return
        ctx.meta[CONFIG_VARIABLE] = path
        try:
            ctx.default_map, ctx.meta[UPSTREAMS_META] = read_settings(definition, path)
        except _BadFileError as error:
            raise click.UsageError(f"{printable(str(path))}: {error}", ctx) from error

    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=pathlib.Path),
        envvar=CONFIG_VARIABLE,
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=load,
        help=f"TOML file with settings in its table [{definition.command}], and [[{_UPSTREAMS}]] to ask.",
    )


class _BadFileError(Exception):
    """A file that holds no settings; the text says why."""


def read_settings(
    definition: SettingsDefinition, path: pathlib.Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read the settings of a command from a file.

    Args:
        definition: The settings.
        path: The file.

    Returns:
        The values of the right types, by the names of their settings, and the tables [[upstreams]]. Paths are
        absolute: in the file they are relative to its folder.

    Raises:
        _BadFileError: If it can't be read, is not TOML, or has something in it that is no setting.
    """
    document = _parse(path)
    table, upstreams = definition.command, document.pop(_UPSTREAMS, [])
    for name, value in document.items():
        if not isinstance(value, dict):
            raise _BadFileError(f"expected tables such as [{table}], found the key {_quoted(name)} outside")
        if name not in _TABLES:
            known = ", ".join(f"[{name}]" for name in _TABLES)
            raise _BadFileError(f"expected the tables {known}, [[{_UPSTREAMS}]], found [{printable(name)}]")
    result = {}
    for name, value in document.get(table, {}).items():
        if name not in definition.fields:
            raise _BadFileError(
                f"{_quoted(name)} is no setting of [{table}]{nearest(name, definition.fields)}"
            )
        kind = definition.kind_of(name)
        if expected := _expected(kind, value):
            raise _BadFileError(f"{name}: expected {expected}, found {_found(value)}")
        result[name] = _placed(kind, value, path)
    return result, _placed_upstreams(upstreams, path)


def _placed_upstreams(tables: Any, path: pathlib.Path) -> list[dict[str, Any]]:
    if tables == []:
        return []
    try:
        check_upstream_tables(tables)
    except MistralwireError as error:
        raise _BadFileError(error.message) from error
    kinds = {"key_file": pathlib.Path, "recordings": tuple}
    return [
        {name: _placed(kinds.get(name), value, path) for name, value in table.items()} for table in tables
    ]


def _parse(path: pathlib.Path) -> dict[str, Any]:
    try:
        with open_file(path) as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _BadFileError(f"can't be read: {(error.strerror or 'unknown error').lower()}") from error
    if len(data) > _FILE_BYTES_MAX:
        raise _BadFileError(f"expected at most {_FILE_BYTES_MAX} bytes, found more")
    try:
        return tomllib.loads(data.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _BadFileError(f"not TOML: expected UTF-8, found other bytes (at line {line})") from error
    except (ValueError, RecursionError) as error:
        # ValueError beside TOMLDecodeError: integers with more digits than Python reads.
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _BadFileError(f"not TOML: {reason}") from error


def _expected(kind: Any, value: Any) -> str:
    """Say what a setting takes, if it does not take this value; ranges are left to the options."""
    if kind is bool:
        return "" if isinstance(value, bool) else "true or false"
    if kind is int:
        return "" if type(value) is int else "an integer"
    if kind is float:
        return "" if type(value) in (int, float) else "a number"
    if kind is tuple:
        is_list = isinstance(value, list) and all(map(_is_text, value))
        return "" if is_list else "an array of strings"
    if get_origin(kind) is Literal:
        return "" if isinstance(value, str) else f"one of {', '.join(get_args(kind))}"
    return "" if _is_text(value) else "a string with something in it, and no null character"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _found(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the string {_quoted(value)}"
    if isinstance(value, int | float):
        return f"the number {value:g}" if isinstance(value, float) else "an integer"
    if isinstance(value, list):
        return "an array"
    return "a table" if isinstance(value, dict) else "a date or time"


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= 64 else f"{text[:61]}...", ensure_ascii=False)


def _placed(kind: Any, value: Any, path: pathlib.Path) -> Any:
    folder = absolute(path).parent
    if kind is pathlib.Path:
        return str(folder / value)
    return [str(folder / item) for item in value] if kind is tuple else value


def write_settings(definition: SettingsDefinition, values: Mapping[str, Any], ctx: click.Context) -> str:
    """Write settings as a file that `read_settings` takes.

    Args:
        definition: The settings.
        values: The values of all of them.
        ctx: The run that they come from.

    Returns:
        The file: each setting below its help, with the place that its value comes from; then the upstreams.

    Raises:
        click.ClickException: If a path is not UTF-8, which TOML can't hold.
    """
    lines = [f"[{definition.command}]"]
    for heading, names in definition.groups().items():
        lines += ["", f"## {heading}"]
        for name in names:
            setting: Setting = definition.fields[name].metadata["setting"]
            lines += ["", *textwrap.wrap(setting.help, 100, initial_indent="# ", subsequent_indent="# ")]
            value, origin = values[name], definition.origin_of(ctx, name)
            lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml(value)}  # {origin}")
    for table in ctx.meta.get(UPSTREAMS_META, ()):
        lines += ["", f"[[{_UPSTREAMS}]]", *(f"{name} = {_toml(value)}" for name, value in table.items())]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    text = str(absolute(value)) if isinstance(value, pathlib.Path) else value
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise click.ClickException(
            f"expected text that TOML can hold, found bytes that are not UTF-8: {printable(text)}"
        )
    # JSON's strings are TOML's, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
