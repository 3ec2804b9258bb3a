"""How settings are defined: one definition for programs, flags, environment and file."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

INT32_MAX = 2**31 - 1
"""grpc's own bound on numbers, and on milliseconds."""

BYTES_MAX = 2**40
"""The most that bounds on memory take, in bytes."""

SECONDS_MAX = 86_400.0
"""The longest time in seconds that most settings take: a day."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What is to be known of one setting beside its name, its type and its default.

    Attributes:
        help: What it means, in a sentence or two.
        metavar: What its value is called.
        least: The least value; None if there is no order.
        most: The greatest value.
        is_above: Whether `least` itself is too little.
    """

    help: str
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    is_above: bool = False


def setting_field(
    default: Any,
    help_: str,
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    *,
    is_above: bool = False,
) -> Any:
    """Give a field of a settings class; the arguments are those of Setting, after its default."""
    setting = Setting(help_, metavar, least, most, is_above)
    return dataclasses.field(default=default, metadata={"setting": setting})


def count_field(default: int, help_: str, least: int = 1, most: int = INT32_MAX) -> Any:
    """Give a field that is a whole number."""
    return setting_field(default, help_, "N", least, most)


def seconds_field(default: float, help_: str, most: float = SECONDS_MAX, *, is_above: bool = True) -> Any:
    """Give a field that is a time in seconds."""
    return setting_field(default, help_, "SECONDS", 0, most, is_above=is_above)


def settings_of(class_: type) -> Mapping[str, Setting]:
    """Give the settings of a class by the names of its fields, in order."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(class_)}


def check_settings(values: Any) -> None:
    """Check the type and the range of each setting.

    Args:
        values: An instance of a class whose fields are settings.

    Raises:
        TypeError: If a value is of another type; the message names the setting.
        ValueError: If it is out of its range.
    """
    for name, setting in settings_of(type(values)).items():
        _check(name, getattr(values, name), values.__dataclass_fields__[name].type, setting)


def _check(name: str, value: Any, type_: Any, setting: Setting) -> None:
    if value is None and type_ in (pathlib.Path | None, bool | None, str | None):
        return
    if type_ in (float, int):
        check = checked_number if type_ is float else checked_count
        least = -math.inf if setting.least is None else setting.least
        most = math.inf if setting.most is None else setting.most
        check(name, value, least, most, is_above=setting.is_above)
    elif type_ in (str, str | None):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {value!r}")
    elif type_ in (bool, bool | None):
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}")
    elif not isinstance(value, pathlib.Path):
        raise TypeError(f"{name} must be a pathlib.Path, not {value!r}")


def checked_count(name: str, value: int, least: float, most: float, *, is_above: bool = False) -> int:
    """Return a value if it is a whole number within a range; as `checked_number`."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an integer, not {value!r}")
    checked_number(name, value, least, most, is_above=is_above)
    return value


def checked_number(name: str, value: float, least: float, most: float, *, is_above: bool = False) -> float:
    """Return a value if it is a number within a range.

    Args:
        name: What to call it in errors.
        value: The value.
        least: The least value.
        most: The greatest value.
        is_above: Whether `least` itself is too little.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of the range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    is_within = least < value <= most if is_above else least <= value <= most
    if not is_within:
        start = f"above {least:g}, at most" if is_above else f"{least:g} to"
        raise ValueError(f"{name} must be {start} {most:.0f}, not {value!r}")
    return value
