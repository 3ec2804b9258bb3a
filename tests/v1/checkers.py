"""Type checkers, run on programs as their authors run them: against an installed package."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence

import mistralwire

PYRIGHT = pathlib.Path(__file__).parent / "pyright" / "node_modules" / "pyright" / "index.js"
WAIT_S = 300
_MYPY_ERROR = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)")

Error = tuple[str, int, str]
"""The name of a file, a line and what is wrong there."""


def make_environment(folder: pathlib.Path, *stubs: str) -> pathlib.Path:
    """Make an environment with mistralwire, protobuf, grpcio and these packages of stubs.

    Returns:
        Its interpreter.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    installed = pathlib.Path(mistralwire.__file__).parent
    shutil.copytree(installed, packages / "mistralwire", ignore=shutil.ignore_patterns("__pycache__"))
    (packages / "google").mkdir()
    for name in ("google.protobuf", "google._upb", "grpc"):
        (packages / name.replace(".", "/")).symlink_to(_folder_of(name))
    for name in stubs:
        (packages / name).symlink_to(_folder_of("google.protobuf").parents[1] / name)
        assert (packages / name).is_dir(), name
    return folder / "bin" / "python"


def _folder_of(package: str) -> pathlib.Path:
    spec = importlib.util.find_spec(package)
    assert spec, package
    assert spec.submodule_search_locations, package
    return pathlib.Path(next(iter(spec.submodule_search_locations)))


def mypy(python: pathlib.Path, programs: Sequence[pathlib.Path]) -> list[Error]:
    """Run `mypy --strict` without configuration and return its errors."""
    options = ["--strict", "--config-file=", "--no-error-summary", "--python-executable", str(python)]
    cache = ["--cache-dir", str(python.parents[1] / "mypy_cache")]
    output = _run([sys.executable, "-m", "mypy", *options, *cache], programs)
    lines = [line for line in output.splitlines() if ": note: " not in line]
    matches = [_MYPY_ERROR.fullmatch(line) for line in lines]
    return [(match["file"], int(match["line"]), match["text"]) for match in matches if match]


def pyright(python: pathlib.Path, programs: Sequence[pathlib.Path]) -> list[Error]:
    """Run pyright in strict mode and return its errors."""
    configuration = programs[0].parent / "pyrightconfig.json"
    configuration.write_text('{"typeCheckingMode": "strict"}')
    output = _run(["node", str(PYRIGHT), "--outputjson", "--pythonpath", str(python)], programs)
    found = json.loads(output)["generalDiagnostics"]
    return [
        (pathlib.Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"])
        for each in found
        if each["severity"] == "error"
    ]


def _run(command: Sequence[str], programs: Sequence[pathlib.Path]) -> str:
    """Run a checker where the programs are, away from the sources and configuration of this repository."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MYPY"))
    }
    run = subprocess.run(
        [*command, *(path.name for path in programs)],
        cwd=programs[0].parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert run.returncode in {0, 1}, run.stdout + run.stderr  # 1: it found errors
    return run.stdout
