"""Figures of the source tree that grow unseen: cycles, crowded packages, shared names, long functions."""

import ast
import collections
import graphlib
import pathlib
import statistics
from collections.abc import Iterator

import mistralwire

ROOT = pathlib.Path(mistralwire.__file__).parent
FILES_MAX = 12
SHARED_NAMES_MAX = 25
FUNCTION_LINES_P90_MAX = 22
# Packages with more files than FILES_MAX, and why.
CROWDED = {".": "what several packages share, each file an idea of its own, beside these packages"}


def _is_written(path: pathlib.Path) -> bool:
    """Check whether a file is written by hand."""
    return "_pb2" not in path.name and path.relative_to(ROOT).as_posix() != "v1/_docs.py"


def _name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(ROOT.rglob("*.py")) if _is_written(path)}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def _imports(name: str) -> set[str]:
    """Return the modules of the package that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= children & MODULES.keys()
            # `from package import module` needs the package alone to find the module.
            if not children <= MODULES.keys():
                found.add(node.module)
    return (found & MODULES.keys()) - {name}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: _imports(name) for name in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from error


def _may_import(name: str, imported: str) -> bool:
    """Check whether a module sees all names in the path of another: a private one is for its own package."""
    parts = imported.split(".")
    owners = [
        ".".join(parts[:at]) for at, part in enumerate(parts) if part.startswith("_") and part != "__main__"
    ]
    return all(name == owner or name.startswith(f"{owner}.") for owner in owners)


def test_private_modules_are_imported_by_their_own_package_alone() -> None:
    foreign = [
        f"{name} imports {imported}"
        for name in MODULES
        for imported in sorted(_imports(name))
        if not _may_import(name, imported)
    ]
    assert foreign == []


def test_what_is_private_is_seen_from_inside_alone() -> None:
    assert _may_import("mistralwire.a.b._c", "mistralwire.a._d")
    assert _may_import("mistralwire.a", "mistralwire._b")
    assert not _may_import("mistralwire.a._b", "mistralwire.c._d")
    assert not _may_import("mistralwire.a._b", "mistralwire.a._c._d")


def test_no_package_is_crowded() -> None:
    files = collections.Counter(
        path.parent.relative_to(ROOT).as_posix() for path in MODULES.values() if path.name != "__init__.py"
    )
    crowded = {package: count for package, count in files.items() if count > FILES_MAX}
    assert crowded.keys() <= CROWDED.keys(), crowded


def _top_level_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case _:
                pass


def test_few_names_stand_in_several_modules() -> None:
    modules: dict[str, set[str]] = collections.defaultdict(set)
    for module, tree in TREES.items():
        for name in _top_level_names(tree):
            modules[name].add(module)
    several = {name: sorted(found) for name, found in modules.items() if len(found) > 1 and name != "__all__"}
    assert len(several) <= SHARED_NAMES_MAX, several


def test_functions_are_short() -> None:
    lines = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert statistics.quantiles(lines, n=10)[-1] <= FUNCTION_LINES_P90_MAX
