"""The settings of a command, and how messages name them."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource


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
            ValueError: If values contradict each other; the message names the settings.
        """
        return {
            name: class_(**{field.name: values[field.name] for field in dataclasses.fields(class_)})
            for name, class_ in self.classes.items()
        }

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
            case ParameterSource.COMMANDLINE:
                return flag_of(name)
            case ParameterSource.ENVIRONMENT:
                return self.variable_of(name)
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
