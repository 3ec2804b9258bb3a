"""Upstreams as a configuration file has them: the tables `[[upstreams]]`."""

import importlib
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from mistralwire.errors import MistralwireError, Reason
from mistralwire.upstream._credentials import Key
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._replay import DEMONSTRATION, ReplayUpstream
from mistralwire.upstream._routing import Route, RoutedUpstream
from mistralwire.upstream._upstream import Upstream


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_number(value: Any) -> bool:
    # An integer of TOML may be larger than any float.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


_Check = tuple[str, Callable[[Any], bool]]
_TEXT: _Check = ("a string with something in it", _is_text)
_TEXTS: _Check = (
    "an array of strings",
    lambda value: isinstance(value, list) and bool(value) and all(map(_is_text, value)),
)
_SECONDS: _Check = ("a number above 0", lambda value: _is_number(value) and value > 0)
_COUNT: _Check = ("an integer of 1 or more", lambda value: type(value) is int and value >= 1)
_WEIGHT: _Check = ("a number of 0 or more", lambda value: _is_number(value) and value >= 0)

_COMMON = {"name": _TEXT, "kind": _TEXT, "models": _TEXTS, "weight": _WEIGHT}
_HTTP = {"connect_s": _SECONDS, "first_byte_s": _SECONDS, "silence_s": _SECONDS, "attempts_max": _COUNT}
_KINDS: dict[str, dict[str, _Check]] = {
    "mistral": {**_COMMON, **_HTTP, "base_url": _TEXT, "key_env": _TEXT, "key_file": _TEXT},
    "vertex": {**_COMMON, **_HTTP, "base_url": _TEXT, "project": _TEXT, "region": _TEXT},
    "replay": {**_COMMON, "recordings": _TEXTS, "chunks_per_second": _SECONDS},
}
_REQUIRED = {"mistral": (), "vertex": ("project", "region"), "replay": ()}


def check_upstream_tables(tables: Any) -> None:
    """Check the tables [[upstreams]] of a configuration file; whether what they name is there is left open.

    Args:
        tables: What the file has as `upstreams`.

    Raises:
        MistralwireError: If a table is not as it should be, with its place; with the code
            FAILED_PRECONDITION.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise _error("upstreams: expected tables [[upstreams]], found something else")
    names: set[str] = set()
    for index, table in enumerate(tables):
        place = f"upstreams[{index}]"
        kind = _checked(place, table)
        name = table.get("name", kind)
        if name in names:
            raise _error(f"{place}.name: expected a name of its own, found one that another upstream has")
        names.add(name)


def routed_from_tables(tables: list[dict[str, Any]], folder: pathlib.Path) -> RoutedUpstream:
    """Make the upstreams that a configuration file describes.

    Args:
        tables: The tables. `kind` is `mistral`, `vertex` or `replay`; `name` is the kind unless it is given;
            `models` are patterns, all models unless given; `weight` is 1 unless given. docs/gateway.md has
            the rest.
        folder: What relative paths start from.

    Returns:
        The upstreams, behind one.

    Raises:
        MistralwireError: If a table is not as it should be, with its place, or what it names can't be used;
            with the code FAILED_PRECONDITION.
    """
    check_upstream_tables(tables)
    routes: list[Route] = []
    for index, table in enumerate(tables):
        place, kind = f"upstreams[{index}]", table["kind"]
        try:
            upstream = _MAKERS[kind](table, folder)
        except ValueError as error:
            raise _error(f"{place}: {error}") from error
        except MistralwireError as error:
            raise _error(f"{place}: {error.message}", error.reason) from error
        models, weight = tuple(table.get("models", ("*",))), float(table.get("weight", 1))
        routes.append(Route(_name(table), upstream, models, weight))
    return RoutedUpstream(routes)


def _checked(place: str, table: dict[str, Any]) -> str:
    """Check a table; give its kind."""
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        found = repr(kind[:64]) if isinstance(kind, str) else _found(kind)
        raise _error(f"{place}.kind: expected one of {', '.join(_KINDS)}, found {found}")
    known = _KINDS[kind]
    for name, value in table.items():
        if name in ("key", "api_key", "token"):
            message = "a key has no place in this file; name where it is, in key_env or key_file"
            raise _error(f"{place}.{name}: {message}")
        if name not in known:
            raise _error(f"{place}: expected of {kind} any of {', '.join(known)}, found {name[:64]!r}")
        expected, is_fit = known[name]
        if not is_fit(value):
            raise _error(f"{place}.{name}: expected {expected}, found {_found(value)}")
    for name in _REQUIRED[kind]:
        if name not in table:
            raise _error(f"{place}.{name}: expected {known[name][0]}, found none")
    if "key_env" in table and "key_file" in table:
        raise _error(f"{place}: expected key_env or key_file, found both")
    return kind


def _mistral(table: dict[str, Any], folder: pathlib.Path) -> Upstream:
    MistralUpstream = _http_class("mistralwire.upstream._http", "MistralUpstream")  # noqa: N806 - a class
    key = None
    if "key_env" in table:
        key = Key.from_environment(table["key_env"])
    elif "key_file" in table:
        key = Key.from_file(folder / table["key_file"])
    urls = {"base_url": table["base_url"]} if "base_url" in table else {}
    upstream: Upstream = MistralUpstream(**urls, key=key, settings=_settings(table), name=_name(table))
    return upstream


def _vertex(table: dict[str, Any], _: pathlib.Path) -> Upstream:
    VertexUpstream = _http_class("mistralwire.upstream._http", "VertexUpstream")  # noqa: N806 - a class
    upstream: Upstream = VertexUpstream(
        table["project"],
        table["region"],
        base_url=table.get("base_url"),
        settings=_settings(table),
        name=_name(table),
    )
    return upstream


def _replay(table: dict[str, Any], folder: pathlib.Path) -> Upstream:
    recordings = [folder / path for path in table.get("recordings", ())] or [DEMONSTRATION]
    return ReplayUpstream(recordings, chunks_per_second=table.get("chunks_per_second"))


_MAKERS = {"mistral": _mistral, "vertex": _vertex, "replay": _replay}


def _http_class(module: str, name: str) -> Any:
    """Import what replay does not need."""
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise MistralwireError(str(error), code="FAILED_PRECONDITION", reason=Reason.EXTRA_MISSING) from error


def _name(table: dict[str, Any]) -> str:
    name: str = table.get("name", table["kind"])
    return name


def _settings(table: dict[str, Any]) -> HttpSettings:
    return HttpSettings(**{name: table[name] for name in _HTTP if name in table})


def _found(value: Any) -> str:
    if value is None:
        return "none"
    names = {str: "a string", bool: "true or false", int: "an integer", float: "a number", list: "an array"}
    return names.get(type(value), "something else")


def _error(message: str, reason: str = Reason.UPSTREAMS) -> MistralwireError:
    return MistralwireError(message, code="FAILED_PRECONDITION", reason=reason)
