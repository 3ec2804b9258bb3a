"""Upstreams from a configuration file: the tables `[[upstreams]]`, checked and made."""

import dataclasses
import pathlib
from typing import Any

from mistralwire._settings import UNBOUNDED, Setting, found_in_file, kind_of, problem_in_file
from mistralwire.errors import MistralwireError, Reason
from mistralwire.upstream._credentials import Key
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._replay import DEMONSTRATION, ReplayUpstream
from mistralwire.upstream._routing import Route, RoutedUpstream
from mistralwire.upstream._upstream import Upstream

# What each key of a table takes: a type and a range.
_STRING = (str, Setting())
_STRINGS = (tuple, Setting(least=1))
_HTTP_KEYS = {
    field.name: (kind_of(field), field.metadata["setting"])
    for field in dataclasses.fields(HttpSettings)
    if field.name != "answer_bytes_max"
}
_COMMON_KEYS = {
    "name": _STRING,
    "kind": _STRING,
    "models": _STRINGS,
    "weight": (float, Setting(least=0, most=UNBOUNDED)),
}
_PACE = (float, Setting(least=0, most=UNBOUNDED, is_above=True))
_KEYS: dict[str, dict[str, tuple[Any, Setting]]] = {
    "mistral": {**_COMMON_KEYS, **_HTTP_KEYS, "base_url": _STRING, "key_env": _STRING, "key_file": _STRING},
    "vertex": {**_COMMON_KEYS, **_HTTP_KEYS, "base_url": _STRING, "project": _STRING, "region": _STRING},
    "replay": {**_COMMON_KEYS, "recordings": _STRINGS, "chunks_per_second": _PACE},
}
_REQUIRED_KEYS = {"mistral": (), "vertex": ("project", "region"), "replay": ()}


def check_upstream_tables(tables: Any) -> None:
    """Check the tables [[upstreams]] of a configuration file, but not the keys and files that they name.

    Args:
        tables: The value of `upstreams` in the file.

    Raises:
        MistralwireError: If a table is invalid, with its index and key; with the code FAILED_PRECONDITION.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise _table_error("upstreams: expected tables [[upstreams]], found something else")
    names: set[str] = set()
    for index, table in enumerate(tables):
        place = f"upstreams[{index}]"
        _check_table(place, table)
        if (name := _table_name(table)) in names:
            raise _table_error(f"{place}.name: expected a unique name, found one that another upstream has")
        names.add(name)


def routed_from_tables(tables: list[dict[str, Any]], folder: pathlib.Path) -> RoutedUpstream:
    """Make the upstreams that a configuration file describes.

    Args:
        tables: The tables. `kind` is `mistral`, `vertex` or `replay`; `name` defaults to the kind, `models`,
            which are patterns, to all models, and `weight` to 1. docs/gateway.md has the rest.
        folder: The folder that relative paths start from.

    Returns:
        One upstream that routes calls to those of the tables.

    Raises:
        MistralwireError: If a table is invalid, with its index and key, or something that it names can't be
            used; with the code FAILED_PRECONDITION.
    """
    check_upstream_tables(tables)
    routes: list[Route] = []
    for index, table in enumerate(tables):
        place, kind = f"upstreams[{index}]", table["kind"]
        try:
            upstream = _MAKERS[kind](table, folder)
        except ValueError as error:
            raise _table_error(f"{place}: {error}") from error
        except MistralwireError as error:
            raise _table_error(f"{place}: {error.message}", error.reason) from error
        except ModuleNotFoundError as error:
            raise _table_error(f"{place}: {error}", Reason.EXTRA_MISSING) from error
        models, weight = tuple(table.get("models", ("*",))), float(table.get("weight", 1))
        routes.append(Route(_table_name(table), upstream, models, weight))
    return RoutedUpstream(routes)


def _check_table(place: str, table: dict[str, Any]) -> None:
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in _KEYS:
        found = repr(kind[:64]) if isinstance(kind, str) else found_in_file(kind)
        raise _table_error(f"{place}.kind: expected one of {', '.join(_KEYS)}, found {found}")
    known = _KEYS[kind]
    for name, value in table.items():
        if name in ("key", "api_key", "token"):
            message = "expected no key in this file, found one; name its place with key_env or key_file"
            raise _table_error(f"{place}.{name}: {message}")
        if name not in known:
            expected = f"a key of the kind {kind} ({', '.join(known)})"
            raise _table_error(f"{place}: expected {expected}, found {name[:64]!r}")
        if problem := problem_in_file(*known[name], value):
            raise _table_error(f"{place}.{name}: {problem}")
    for name in _REQUIRED_KEYS[kind]:
        if name not in table:
            raise _table_error(f"{place}.{name}: {problem_in_file(*known[name], None)}")
    if "key_env" in table and "key_file" in table:
        raise _table_error(f"{place}: expected key_env or key_file, found both")


def _mistral(table: dict[str, Any], folder: pathlib.Path) -> Upstream:
    from mistralwire.upstream._http import MistralUpstream  # noqa: PLC0415 - needs an extra

    key = None
    if "key_env" in table:
        key = Key.from_environment(table["key_env"])
    elif "key_file" in table:
        key = Key.from_file(folder / table["key_file"])
    urls = {"base_url": table["base_url"]} if "base_url" in table else {}
    return MistralUpstream(**urls, key=key, settings=_http_settings(table), name=_table_name(table))


def _vertex(table: dict[str, Any], _: pathlib.Path) -> Upstream:
    from mistralwire.upstream._http import VertexUpstream  # noqa: PLC0415 - needs an extra

    return VertexUpstream(
        table["project"],
        table["region"],
        base_url=table.get("base_url"),
        settings=_http_settings(table),
        name=_table_name(table),
    )


def _replay(table: dict[str, Any], folder: pathlib.Path) -> Upstream:
    recordings = [folder / path for path in table.get("recordings", ())] or [DEMONSTRATION]
    return ReplayUpstream(recordings, chunks_per_second=table.get("chunks_per_second"))


_MAKERS = {"mistral": _mistral, "vertex": _vertex, "replay": _replay}


def _table_name(table: dict[str, Any]) -> str:
    name: str = table.get("name", table["kind"])
    return name


def _http_settings(table: dict[str, Any]) -> HttpSettings:
    return HttpSettings(**{name: table[name] for name in _HTTP_KEYS if name in table})


def _table_error(message: str, reason: str = Reason.UPSTREAMS) -> MistralwireError:
    return MistralwireError(message, code="FAILED_PRECONDITION", reason=reason)
