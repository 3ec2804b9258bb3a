"""The settings of a command, how messages name them, and the TOML file that holds them."""

import dataclasses
import json
import os
import pathlib
import re
import textwrap
import tomllib
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from mistralwire._files import open_file
from mistralwire._settings import kind_of, problem_in_file
from mistralwire.cli._wording import nearest, printable
from mistralwire.errors import MistralwireError

_TABLES = ("serve", "gateway")
_UPSTREAMS = "upstreams"
# Far more than any configuration needs: the path may be that of a device.
_FILE_BYTES_MAX = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class SettingsDefinition:
    """The settings of a command.

    Attributes:
        command: Name of the command, which its table in the file and its variables have too.
        classes: Dataclasses whose fields are settings, in the order in which they are shown, by the names of
            the arguments that the command gets.
        headings: Headings for groups of settings, by the name of the first setting of each group.
    """

    command: str
    classes: Mapping[str, type]
    headings: Mapping[str, str]

    @property
    def fields(self) -> dict[str, "dataclasses.Field[Any]"]:
        """The fields of all settings, by their names, in order."""
        return {field.name: field for class_ in self.classes.values() for field in dataclasses.fields(class_)}

    def groups(self) -> dict[str, list[str]]:
        """Return the names of the settings under their headings, in order."""
        result: dict[str, list[str]] = {}
        heading = ""
        for name in self.fields:
            heading = self.headings.get(name, heading)
            result.setdefault(heading, []).append(name)
        return result

    def variable_of(self, name: str) -> str:
        """Return the environment variable of a setting."""
        return f"MISTRALWIRE_{self.command.upper()}_{name.upper()}"

    def build(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return an instance of each class, made of click's values, by its name.

        Raises:
            SettingsError: If values contradict each other; the message names the settings.
        """
        try:
            return {
                name: class_(**{field.name: values[field.name] for field in dataclasses.fields(class_)})
                for name, class_ in self.classes.items()
            }
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def with_places(self, ctx: click.Context, message: str) -> str:
        """Replace each name of a setting in a message by the place where it was set, or else its flag."""
        # Quoted text and parts of other words are somebody's values; after an article it is a plain noun.
        name = rf"(?<![\w'\"./-])(?<!\bthe )(?<!\ba )(?<!\ban )(?:{'|'.join(self.fields)})(?![\w'\"/-]|\.\w)"
        return re.sub(name, lambda match: self.hint(ctx, match[0]), message)

    def with_place(self, ctx: click.Context, message: str) -> str:
        """Replace the name that a message begins with by the place where it was set.

        The rest may have words that are names of settings too.
        """
        if message.startswith("upstreams[") and ctx.obj is not None:
            return f"{ctx.obj.name}: {message}"
        name, separator, rest = message.partition(": ")
        return f"{self.hint(ctx, name)}: {rest}" if separator and name in self.fields else message

    def origin_of(self, ctx: click.Context, name: str) -> str:
        """Return where the value of a setting comes from: `default`, a flag, a variable, or a file."""
        match ctx.get_parameter_source(name):
            case ParameterSource.COMMANDLINE | ParameterSource.ENVIRONMENT:
                return self.hint(ctx, name)
            case ParameterSource.DEFAULT_MAP:
                return str(ctx.obj.name)
        return "default"

    def hint(self, ctx: click.Context | None, name: str) -> str:
        """Return what a setting was set by: its flag, its variable, or its key and the file."""
        match ctx and ctx.get_parameter_source(name):
            case ParameterSource.ENVIRONMENT:
                return self.variable_of(name)
            case ParameterSource.DEFAULT_MAP if ctx is not None:
                return f"{name} in {ctx.obj.name}"
        return flag_of(name)


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return "RECORDING" if name == "recordings" else f"--{name.replace('_', '-')}"


class SettingsError(ValueError):
    """Settings that contradict each other, or can't be used; the message names them."""


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
    return pathlib.Path(os.path.abspath(path))  # links are kept


def write_settings(definition: SettingsDefinition, values: Mapping[str, Any], ctx: click.Context) -> str:
    """Return the values of all settings in a run, with their origins, as a file that `read_settings` takes.

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
