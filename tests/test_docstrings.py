"""The docstrings of the public names, as Sphinx renders them; mkdocstrings does in `make docs`."""

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
