"""How settings are declared and checked: one definition for programs, flags, environment variables and files.

A setting is a field of a dataclass, made by `setting_field`: its type, its default and its `Setting` are the
whole definition.
"""

import dataclasses
import pathlib
import sys
import types
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from mistralwire._addresses import check_share_port, is_loopback

INT32_MAX = 2**31 - 1
"""grpc's own bound on numbers, and on milliseconds."""

EPOCH_MAX = 2_000_000_000
"""The highest epoch of a producer: whoever ends a response in its place needs a higher one."""

BYTES_MAX = 2**40
"""The largest bound on memory that a setting takes, in bytes."""

SECONDS_MAX = 86_400.0
"""The longest time in seconds that most settings take: a day."""

KEEPALIVE_S_MAX = 7_200.0
"""The longest time in seconds between HTTP/2 keepalive pings, and for their answers."""

DEADLINE_S = 60.0
"""Default deadline of a client's call, in seconds from its start to its last chunk."""

DEADLINE_S_MAX = 366 * 24 * 3600.0
"""The longest deadline of a call, in seconds: a year. grpc takes one far beyond for one that has expired."""

UNBOUNDED = sys.float_info.max
"""The maximum of a setting that takes any finite number."""

_KIND_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    pathlib.Path: "a path",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What defines a setting beside its name, its type and its default.

    Attributes:
        help: What it means, in a sentence or two.
        metavar: Placeholder for its value in help texts.
        least: The least value, or number of elements of an array; None if there is none.
        most: The greatest value.
        is_above: Whether the value must be above `least`.
    """

    help: str = ""
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    is_above: bool = False

    def range(self, shown_most: float = BYTES_MAX) -> str:
        """Return the range in words, such as `from 0 to 65535`; maxima above `shown_most` are left out."""
        if self.least is None or self.most is None:
            return ""
        has_most = self.most <= shown_most
        if self.is_above:
            return f"above {self.least:g}" + (f" and at most {self.most:.0f}" if has_most else "")
        return f"from {self.least:g} " + (f"to {self.most:.0f}" if has_most else "up")

    def expected(self, kind: Any) -> str:
        """Return what a setting of a kind takes, such as `an integer from 0 to 65535`."""
        if get_origin(kind) is Literal:
            return f"one of {', '.join(get_args(kind))}"
        return f"{_KIND_NAMES[kind]} {self.range()}".rstrip()

    def error_of(self, kind: Any, value: Any) -> type[TypeError | ValueError] | None:
        """Return the class of the error that a value is for a setting of a kind; None if it is allowed."""
        if get_origin(kind) is Literal:
            return None if isinstance(value, str) else TypeError  # click compares it, ignoring case
        # An integer is a number, and True is neither.
        types_ = (int, float) if kind is float else kind
        if not isinstance(value, types_) or (isinstance(value, bool) and kind is not bool):
            return TypeError
        if self.least is None or self.most is None:
            return None
        is_enough = value > self.least if self.is_above else value >= self.least
        return None if is_enough and value <= self.most else ValueError


def setting_field(
    default: Any,
    help_: str = "",
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    *,
    is_above: bool = False,
) -> Any:
    """Return a dataclass field for a setting; the arguments after `default` are those of `Setting`."""
    setting = Setting(help_, metavar, least, most, is_above)
    return dataclasses.field(default=default, metadata={"setting": setting})


def count_field(default: int, help_: str = "", least: int = 1, most: float = INT32_MAX) -> Any:
    return setting_field(default, help_, "N", least, most)


def seconds_field(
    default: float, help_: str = "", most: float = SECONDS_MAX, *, is_above: bool = True
) -> Any:
    return setting_field(default, help_, "SECONDS", 0, most, is_above=is_above)


def settings_of(class_: type) -> Mapping[str, Setting]:
    """Return the settings of a class by the names of its fields, in order."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(class_)}


def kind_of(field: "dataclasses.Field[Any]") -> Any:
    """Return the type of a setting's value, apart from None: a class, a Literal, or `tuple`."""
    type_: Any = field.type
    if isinstance(type_, types.UnionType):
        type_ = next(item for item in get_args(type_) if item is not types.NoneType)
    return tuple if get_origin(type_) is tuple else type_


def check_settings(values: Any) -> None:
    """Check the type and the range of each setting of a dataclass whose fields are settings.

    Raises:
        TypeError: If a value has another type; the message names the setting.
        ValueError: If a value is out of its range.
    """
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        if value is not None or field.default is not None:
            _check_setting(field.name, value, kind_of(field), field.metadata["setting"])


def checked_count(name: str, value: int, least: float, most: float) -> int:
    """Return a value if it is an integer in a range; see `checked_number`."""
    _check_setting(name, value, int, Setting(least=least, most=most))
    return value


def checked_number(name: str, value: float, least: float, most: float, *, is_above: bool = False) -> float:
    """Return a value if it is a number in a range, otherwise raise TypeError or ValueError with its name."""
    _check_setting(name, value, float, Setting(least=least, most=most, is_above=is_above))
    return value


def _check_setting(name: str, value: Any, kind: Any, setting: Setting) -> None:
    if error := setting.error_of(kind, value):
        raise error(f"{name} must be {setting.expected(kind)}, not {value!r}")


def problem_in_file(kind: Any, setting: Setting, value: Any) -> str:
    """Return what is wrong with a value of a TOML file, as `expected ..., found ...`; empty if nothing is.

    Paths are strings there, and no string is empty. None is quoted: it may be a key in the wrong place.
    """
    if kind is tuple:
        expected = "a non-empty array of strings" if setting.least else "an array of strings"
        is_fit = isinstance(value, list) and len(value) >= (setting.least or 0) and all(map(_is_text, value))
    elif kind in (str, pathlib.Path):
        expected, is_fit = "a non-empty string without null characters", _is_text(value)
    else:
        expected, is_fit = setting.expected(kind), setting.error_of(kind, value) is None
    return "" if is_fit else f"expected {expected}, found {found_in_file(value)}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def found_in_file(value: object) -> str:
    """Return what a value of a TOML file is, such as `a string`; only booleans and numbers are quoted."""
    if isinstance(value, bool | int | float):
        return str(value).lower()[:24]
    if value in ("", []):
        return "an empty array" if value == [] else "an empty string"
    names = {str: "a string", list: "an array", dict: "a table", types.NoneType: "none"}
    return names.get(type(value), "a date or time")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ListenSettings:
    """The settings that every server has; the help of each field says what it means.

    Raises:
        TypeError: If a value has another type.
        ValueError: If a value is out of its range, or values contradict each other; the message names them.
    """

    host: str = setting_field("127.0.0.1", "Address to listen on.", "HOST")
    port: int = setting_field(0, "Port to listen on; 0 for any free port.", "PORT", 0, 65_535)
    share_port: bool = setting_field(
        False, "Let other processes of the same user listen on the same port; each gets some connections."
    )
    insecure: bool = setting_field(False, "Allow plaintext on an address that other machines can reach.")

    tls_certificate: pathlib.Path | None = setting_field(
        None, "PEM file with the certificate chain of the server. Reloaded when it changes.", "FILE"
    )
    tls_key: pathlib.Path | None = setting_field(None, "PEM file with the private key of the server.", "FILE")
    token_file: pathlib.Path | None = setting_field(
        None,
        "File with the bearer tokens of callers, one per line; # begins a comment. Reloaded when it changes.",
        "FILE",
    )
    upstream_key_shared: bool = setting_field(
        False,
        "Callers share the upstream's key: withhold its rate-limit headers, except those about retries.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        check_share_port("share_port", is_shared=self.share_port)
        has_tls = self.tls_certificate is not None
        if not self.host:
            raise ValueError(
                "host must not be empty; 127.0.0.1 is this machine, 0.0.0.0 all of its addresses"
            )
        if not self.host.isprintable():
            raise ValueError(f"host must be an address or a name such as 127.0.0.1, not {self.host!r}")
        if has_tls != (self.tls_key is not None):
            raise ValueError("tls_certificate and tls_key go together: expected both or none, found one")
        if self.insecure and has_tls:
            raise ValueError("expected insecure or tls_certificate, found both")
        if not is_loopback(self.host) and not self.insecure and not has_tls:
            raise ValueError(
                f"host must be a loopback address such as 127.0.0.1, not {self.host!r}: requests from other "
                "machines would be plaintext; set tls_certificate and tls_key, or insecure to allow that"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)
