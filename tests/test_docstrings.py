"""The docstrings of the public names, as Sphinx and mkdocstrings render them."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

import mistralwire

pytestmark = pytest.mark.process

PACKAGES = ("errors", "codec", "client", "service", "upstream", "gateway")
SPHINX = """
project = "mistralwire"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
"""
MKDOCS = """
site_name: mistralwire
theme: {name: mkdocs}
plugins:
- mkdocstrings:
    handlers:
      python:
        options: {docstring_style: google, separate_signature: false}
"""


def build(package: str, *arguments: str, folder: pathlib.Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    source = pathlib.Path(mistralwire.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-m", package, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(source), "MISTRALWIRE_ENGINE": "python"},
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_sphinx_renders_them_without_a_warning(tmp_path: pathlib.Path) -> None:
    (tmp_path / "conf.py").write_text(SPHINX)
    modules = [
        f".. automodule:: mistralwire.{name}\n   :members:\n   :imported-members:\n" for name in PACKAGES
    ]
    (tmp_path / "index.rst").write_text("\n".join(["API", "===", *modules]))
    options = ("-q", "-W", "--keep-going", "-b", "html")
    build("sphinx", *options, str(tmp_path), str(tmp_path / "out"), folder=tmp_path)


def test_mkdocstrings_renders_them_without_a_warning(tmp_path: pathlib.Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text(MKDOCS)
    page = "\n".join(["# API", *(f"::: mistralwire.{name}" for name in PACKAGES)])
    (tmp_path / "docs" / "index.md").write_text(page)
    build("mkdocs", "build", "--strict", "--quiet", folder=tmp_path)
