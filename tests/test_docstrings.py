"""The docstrings of the public names, as Sphinx renders them; mkdocstrings does in `make docs`."""

import importlib
import importlib.util
import inspect
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

import mistralwire

PACKAGES = ("errors", "codec", "client", "service", "upstream", "gateway")
SPHINX = """
project = "mistralwire"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
"""


def functions() -> Iterator[Any]:
    """Yield the public functions and methods of the public packages."""
    for package in (*PACKAGES, "log"):
        module = importlib.import_module(f"mistralwire.{package}")
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if inspect.isclass(value):
                yield from (
                    member
                    for key, member in vars(value).items()
                    if inspect.isfunction(member) and key[0] != "_"
                )
            elif inspect.isfunction(value):
                yield value


def arguments_of(function: Any) -> set[str]:
    """Return the names of a function's arguments; for options in a TypedDict, also of its keys."""
    names = set()
    for name, parameter in inspect.signature(function).parameters.items():
        names.add(name)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            for options in get_args(get_type_hints(function).get(name)):
                names |= set(get_type_hints(options))
    return names


def test_arguments_that_are_documented_exist() -> None:
    documented = 0
    for function in functions():
        section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.getdoc(function) or "", re.MULTILINE)
        if section is not None:
            names = set(re.findall(r"^    (\w+):", section[1], re.MULTILINE))
            assert names <= arguments_of(function), function
            documented += len(names)
    assert documented > 50


@pytest.mark.process
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="sphinx is not installed")
def test_sphinx_renders_them_without_a_warning(tmp_path: pathlib.Path) -> None:
    (tmp_path / "conf.py").write_text(SPHINX)
    modules = [
        f".. automodule:: mistralwire.{name}\n   :members:\n   :imported-members:\n" for name in PACKAGES
    ]
    (tmp_path / "index.rst").write_text("\n".join(["API", "===", *modules]))
    options = ("-q", "-W", "--keep-going", "-b", "html")
    source = pathlib.Path(mistralwire.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, tmp_path, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(source), "MISTRALWIRE_ENGINE": "python"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
