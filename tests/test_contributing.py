"""CONTRIBUTING.md and SECURITY.md name files, folders, packages, targets and markers that exist."""

import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
CODE = re.compile(r"`([^`\n]+)`|^    (\S.*)$", re.MULTILINE)
# A word with a slash in it, or the name of a file at the top.
PATH = re.compile(r"(?<![\w./@-])(?:\.?[\w-]+/[\w./-]*|[A-Z]+\.md|\w+\.toml|Makefile)(?![\w-])")


def _code(page: str) -> list[str]:
    """Return what a page has as code, inline or as an indented line."""
    return [inline or block for inline, block in CODE.findall((ROOT / page).read_text())]


@pytest.mark.parametrize(("page", "least"), [("CONTRIBUTING.md", 20), ("SECURITY.md", 1)])
def test_the_paths_exist(page: str, least: int) -> None:
    # Environments are made when they are needed.
    paths = {path for code in _code(page) for path in PATH.findall(code) if not path.startswith(".venv")}
    assert len(paths) >= least
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_the_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for code in _code("CONTRIBUTING.md") for name in re.findall(r"\bmake ([a-z-]+)", code)}
    assert {"quick", "test", "check"} <= named <= targets


def test_the_markers_are_those_of_the_tests() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    markers = {marker.partition(":")[0].partition("(")[0] for marker in options["markers"]}
    page = (ROOT / "CONTRIBUTING.md").read_text()
    explained = set(re.findall(r"`(\w+)`\s\(", page.partition("Markers")[2].partition("\n\n")[0]))
    assert explained == markers


def test_every_package_has_its_line_in_the_tree() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text().partition("## The tree")[2].partition("\n## ")[0]
    packages = {
        f"`src/mistralwire/{path.name}/`"
        for path in (ROOT / "src" / "mistralwire").iterdir()
        if (path / "__init__.py").is_file() and not path.name.startswith("_")
    }
    assert packages == {package for package in packages if package in tree}
