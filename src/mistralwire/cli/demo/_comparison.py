"""What changes in a JSON document on its way to protobuf and back."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]


def changes(before: Any, after: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield each place that changed, with the JSON that is there now, `lost` or `added`.

    Args:
        before: A parsed JSON document.
        after: The document that came back.
        path: The place of both.
    """
    match before, after:
        case dict(), dict():
            for name in before | after:
                if name in before and name in after:
                    yield from changes(before[name], after[name], (*path, name))
                else:
                    yield (*path, name), "lost" if name in before else "added"
        case list(), list() if len(before) == len(after):
            for index, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from changes(one, other, (*path, index))
        case _:
            # 1 and 1.0 are equal, but not the same JSON.
            if type(before) is not type(after) or before != after:
                yield path, json.dumps(after)


def outline(
    value: dict[str, Any], changed: Mapping[Path, object], path: Path = ()
) -> Iterator[tuple[str, Path]]:
    """Yield the lines that show an object, each with its place: a line for each change, few for the rest.

    Args:
        value: A parsed JSON object.
        changed: The places that changed.
        path: The place of the object.
    """
    indent = "  " * sum(isinstance(step, str) for step in path)
    same: list[str] = []
    for name, item, place in _members(value, changed, path):
        if not _is_in(place, changed):
            same.append(f"{name}: {json.dumps(item)}")
            continue
        if same:
            yield indent + ", ".join(same), path
            same = []
        if place in changed or not isinstance(item, dict):
            yield f"{indent}{name}: {json.dumps(item)}", place
        else:
            yield f"{indent}{name}", path
            yield from outline(item, changed, place)
    if same:
        yield indent + ", ".join(same), path


def _members(
    value: dict[str, Any], changed: Mapping[Path, object], path: Path
) -> Iterator[tuple[str, Any, Path]]:
    """Yield members; in place of a list that changed inside, its elements; and of an object, its only one."""
    for name, item in value.items():
        place = (*path, name)
        if isinstance(item, list) and place not in changed and _is_in(place, changed):
            for index, element in enumerate(item):
                yield f"{name}[{index}]", element, (*place, index)
        elif isinstance(item, dict) and len(item) == 1 and place not in changed:
            yield from ((f"{name}.{inner}", *rest) for inner, *rest in _members(item, changed, place))
        else:
            yield name, item, place


def _is_in(place: Path, changed: Mapping[Path, object]) -> bool:
    """Check whether a place, or one inside it, changed."""
    return any(other[: len(place)] == place for other in changed)
