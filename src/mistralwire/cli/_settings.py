"""The settings of a command: one definition, read from flags, the environment and a file.

The fields of dataclasses are the definition. From each of them comes an option, an environment variable and a
key of the file, all three by the same name; click decides between them.
"""

import dataclasses
import os
import pathlib
import re
import types
from collections.abc import Mapping
from typing import Any, get_args, get_origin

import click
from click.core import ParameterSource

from mistralwire.cli._wording import printable

CONFIG_VARIABLE = "MISTRALWIRE_CONFIG"
"""Environment variable that names the file."""


@dataclasses.dataclass(frozen=True, slots=True)
class SettingsDefinition:
    """The settings of a command.

    Attributes:
        command: Name of the command: that of its table in the file, and in the names of its variables.
        classes: Dataclasses whose fields are settings, in the order in which they are shown.
        headings: What the groups are called, by the first setting of each.
    """

    command: str
    classes: tuple[type, ...]
    headings: Mapping[str, str]

    @property
    def fields(self) -> dict[str, "dataclasses.Field[Any]"]:
        """The fields of all settings, by their names, in order."""
        return {field.name: field for class_ in self.classes for field in dataclasses.fields(class_)}

    def groups(self) -> dict[str, list[str]]:
        """Give the names of the settings under their headings, in order."""
        result: dict[str, list[str]] = {}
        heading = ""
        for name in self.fields:
            heading = self.headings.get(name, heading)
            result.setdefault(heading, []).append(name)
        return result

    def kind_of(self, name: str) -> Any:
        """Give the type of a setting's value, apart from None: a class, a Literal, or `tuple`."""
        type_ = self.fields[name].type
        if isinstance(type_, types.UnionType):
            type_ = next(item for item in get_args(type_) if item is not types.NoneType)
        return tuple if get_origin(type_) is tuple else type_

    def variable_of(self, name: str) -> str:
        """Give the environment variable of a setting."""
        return f"MISTRALWIRE_{self.command.upper()}_{name.upper()}"

    def build(self, values: Mapping[str, Any], ctx: click.Context) -> list[Any]:
        """Make settings of what click gives, an instance of each class.

        Raises:
            click.UsageError: If values do not go together.
        """
        try:
            return [
                class_(**{field.name: values[field.name] for field in dataclasses.fields(class_)})
                for class_ in self.classes
            ]
        except ValueError as error:
            raise click.UsageError(self.in_words_of(ctx, str(error)), ctx) from error

    def in_words_of(self, ctx: click.Context, message: str) -> str:
        """Put flags in the place of the names of settings, and where each was set if not by its flag."""
        names = "|".join(self.fields)
        origins: dict[str, str] = {}

        def flag(match: re.Match[str]) -> str:
            origin = self.origin_of(ctx, match[0])
            if origin not in ("default", flag_of(match[0])):
                origins[flag_of(match[0])] = origin
            return flag_of(match[0])

        # What stands in quotes, or is a part of another word, is somebody's value.
        text = re.sub(rf"(?<![\w'\"./-])(?:{names})(?![\w'\"/-]|\.\w)", flag, message)
        places = "; ".join(f"{name} is set by {origin}" for name, origin in origins.items())
        return f"{text} ({places})" if places else text

    def with_place(self, ctx: click.Context, message: str) -> str:
        """Put the place where a setting was set in the place of its name, if a message begins with one.

        One that begins with a table [[upstreams]] gets the name of its file.
        """
        if message.startswith("upstreams[") and (file := ctx.meta.get(CONFIG_VARIABLE)) is not None:
            return f"{printable(str(file))}: {message}"
        name, separator, rest = message.partition(": ")
        return f"{self.hint(ctx, name)}: {rest}" if separator and name in self.fields else message

    def origin_of(self, ctx: click.Context, name: str) -> str:
        """Say where the value of a setting comes from: `default`, a flag, a variable, or a file."""
        match ctx.get_parameter_source(name):
            case ParameterSource.COMMANDLINE:
                return flag_of(name)
            case ParameterSource.ENVIRONMENT:
                return self.variable_of(name)
            case ParameterSource.DEFAULT_MAP:
                return printable(str(ctx.meta[CONFIG_VARIABLE]))
            case _:
                return "default"

    def hint(self, ctx: click.Context | None, name: str) -> str:
        """Name what a setting was set by: the flag, the variable, or the file and its key."""
        source = ctx and ctx.get_parameter_source(name)
        if ctx is None or source not in (ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP):
            return flag_of(name)
        is_file = source is ParameterSource.DEFAULT_MAP
        return f"{name} in {self.origin_of(ctx, name)}" if is_file else self.variable_of(name)


def flag_of(name: str) -> str:
    """Give the flag of a setting."""
    return "RECORDING" if name == "recordings" else f"--{name.replace('_', '-')}"


def absolute(path: str | os.PathLike[str]) -> pathlib.Path:
    """Give a path that means the same from everywhere; links stay as they are."""
    return pathlib.Path(os.path.abspath(path))
