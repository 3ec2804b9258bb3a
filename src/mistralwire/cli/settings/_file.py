"""The settings of a command as a TOML file: reading it, and writing one."""

import dataclasses
import json
import os
import pathlib
import textwrap
import tomllib
from collections.abc import Mapping
from typing import Any

import click

from mistralwire._files import open_file
from mistralwire._settings import kind_of, problem_in_file
from mistralwire.cli._wording import nearest, printable
from mistralwire.cli.settings._definition import SettingsDefinition
from mistralwire.errors import MistralwireError

_TABLES = ("serve", "gateway")
_UPSTREAMS = "upstreams"
# Far more than any configuration needs: the path may be that of a device.
_FILE_BYTES_MAX = 1024 * 1024


class BadFileError(Exception):
    """A file that holds no settings; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class SettingsFile:
    """A configuration file, without the tables of other commands.

    Attributes:
        path: Where it is.
        values: The values of settings by their names. Paths are absolute; those in the file start from its
            folder.
        upstreams: The tables [[upstreams]], with absolute paths too.
    """

    path: pathlib.Path
    values: dict[str, Any]
    upstreams: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The path as messages have it."""
        return printable(str(self.path))


def read_settings(definition: SettingsDefinition, path: pathlib.Path) -> SettingsFile:
    """Read the settings of a command from a file.

    Raises:
        BadFileError: If it can't be read, is not TOML, or contains something that is not a setting.
    """
    document = _parse_file(path)
    command, folder = definition.command, _absolute(path).parent
    upstreams = document.pop(_UPSTREAMS, [])
    for name, value in document.items():
        if not isinstance(value, dict):
            raise BadFileError(
                f"expected tables such as [{command}], found the key {_quoted_key(name)} outside"
            )
        if name not in _TABLES:
            known = ", ".join(f"[{name}]" for name in _TABLES)
            raise BadFileError(f"expected the tables {known}, [[{_UPSTREAMS}]], found [{printable(name)}]")
    values = {}
    for name, value in document.get(command, {}).items():
        field = definition.fields.get(name)
        if field is None:
            near = nearest(name, definition.fields)
            raise BadFileError(f"{_quoted_key(name)} is not a setting of [{command}]{near}")
        if problem := problem_in_file(kind_of(field), field.metadata["setting"], value):
            raise BadFileError(f"{name}: {problem}")
        values[name] = _placed(value, folder) if kind_of(field) in (pathlib.Path, tuple) else value
    if upstreams != []:
        from mistralwire.upstream import check_upstream_tables  # noqa: PLC0415 - with the codec

        try:
            check_upstream_tables(upstreams)
        except MistralwireError as error:
            raise BadFileError(error.message) from error
    for table in upstreams:
        for name in ("key_file", "recordings"):
            if name in table:
                table[name] = _placed(table[name], folder)
    return SettingsFile(path, values, upstreams)


def _parse_file(path: pathlib.Path) -> dict[str, Any]:
    try:
        with open_file(path) as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise BadFileError(f"can't be read: {(error.strerror or 'unknown error').lower()}") from error
    if len(data) > _FILE_BYTES_MAX:
        raise BadFileError(f"expected at most {_FILE_BYTES_MAX} bytes, found more")
    try:
        return tomllib.loads(data.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadFileError(f"not TOML: expected UTF-8, found other bytes (at line {line})") from error
    except (ValueError, RecursionError) as error:
        # ValueError beside TOMLDecodeError: integers with more digits than Python reads.
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadFileError(f"not TOML: {reason}") from error


def _quoted_key(text: str) -> str:
    return json.dumps(text if len(text) <= 64 else f"{text[:61]}...", ensure_ascii=False)


def _placed(paths: str | list[str], folder: pathlib.Path) -> Any:
    return str(folder / paths) if isinstance(paths, str) else [str(folder / path) for path in paths]


def _absolute(path: pathlib.Path) -> pathlib.Path:
    """Return a path that means the same from everywhere; links are kept."""
    return pathlib.Path(os.path.abspath(path))


def write_settings(definition: SettingsDefinition, values: Mapping[str, Any], ctx: click.Context) -> str:
    """Return the configuration in effect as a file that `read_settings` takes.

    Args:
        definition: The settings.
        values: The values of all of them.
        ctx: The run that they come from.

    Returns:
        The file: each setting below its help, with the origin of its value; then the upstreams.

    Raises:
        click.ClickException: If a path is not UTF-8, which TOML can't hold.
    """
    lines = [f"[{definition.command}]"]
    for heading, names in definition.groups().items():
        lines += ["", f"## {heading}"]
        for name in names:
            help_ = definition.fields[name].metadata["setting"].help
            lines += ["", *textwrap.wrap(help_, 100, initial_indent="# ", subsequent_indent="# ")]
            value, origin = values[name], definition.origin_of(ctx, name)
            lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml(value)}  # {origin}")
    for table in ctx.obj.upstreams if ctx.obj else ():
        lines += ["", f"[[{_UPSTREAMS}]]", *(f"{name} = {_toml(value)}" for name, value in table.items())]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    text = str(_absolute(value)) if isinstance(value, pathlib.Path) else value
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise click.ClickException(
            f"expected text that TOML can hold, found bytes that are not UTF-8: {printable(text)}"
        )
    # JSON's strings are TOML's, except for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
