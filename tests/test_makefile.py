"""`make` with a Python that is too old, and after it; and `make demo`."""

import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from tests.downloads import skipped_without_answer
from tools.downloads import download

pytestmark = pytest.mark.process

ROOT = pathlib.Path(__file__).parents[1]
TOO_OLD = f"""#!/bin/sh
# The Python of these tests, which takes itself for an older one.
[ "$1" = -c ] && exec {sys.executable} -c "import sys; sys.version_info = (3, 10, 9, 'final', 0)
$2"
exec {sys.executable} "$@"
"""


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "proto").mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text(TOO_OLD)
    old.chmod(0o755)
    return tmp_path


def make(checkout: pathlib.Path, python: pathlib.Path | str) -> subprocess.CompletedProcess[str]:
    # Nothing is installed: this is about what comes before.
    return subprocess.run(
        ["make", "--no-print-directory", f"PYTHON={python}", "PIP=-c pass", ".venv/.installed"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_python_that_is_too_old_is_refused_before_anything_is_made(checkout: pathlib.Path) -> None:
    before = sorted(checkout.iterdir())
    result = make(checkout, checkout / "old-python")
    assert result.returncode != 0
    expected = "expected Python 3.11 or newer, found 3.10; run make PYTHON=python3.11 .venv/.installed"
    assert result.stderr.splitlines()[0] == expected
    assert result.stdout == ""
    assert sorted(checkout.iterdir()) == before


def test_what_an_older_python_left_is_made_again_and_kept_from_then_on(checkout: pathlib.Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(checkout / "old-python", python)
    result = make(checkout, sys.executable)
    assert result.returncode == 0, result.stderr
    assert not python.read_bytes().startswith(b"#!")

    (checkout / ".venv" / "kept").touch()
    (checkout / ".venv" / ".installed").unlink()
    assert make(checkout, sys.executable).returncode == 0
    assert (checkout / ".venv" / ".installed").exists()
    assert (checkout / ".venv" / "kept").exists()


@pytest.mark.parametrize(
    "shell", ["sh", "bash"]
)  # in which commands in the background take signals differently
def test_ctrl_c_ends_the_demonstration_with_one_line(checkout: pathlib.Path, shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    (checkout / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "demo.py", checkout / "tools")
    with subprocess.Popen(
        ["make", "--no-print-directory", f"PYTHON={sys.executable}", f"SHELL={path}", "demo"],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("installing mistralwire into .venv-demo, once: ")
        os.killpg(process.pid, signal.SIGINT)
        # To the end of the pipe: no process is left that could write to it.
        line, *others = process.stdout.read().splitlines()
    assert line == "interrupted"
    # If the shell has ended before make gets to run, make misses it, and complains.
    assert all(other.startswith("make: *** ") for other in others)
    assert process.returncode == (2 if others else -signal.SIGINT)


@pytest.mark.slow
def test_the_demonstration_installs_what_it_needs_and_takes_the_engine_that_there_is(
    checkout: pathlib.Path,
) -> None:
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    for name in ("src", "proto", "tools"):
        shutil.copytree(
            ROOT / name, checkout / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules")
        )
    if engine := importlib.util.find_spec("mistralwire_native"):
        assert engine.origin
        folder = pathlib.Path(engine.origin).parent
        version = "python{}.{}".format(*sys.version_info)
        shutil.copytree(folder, checkout / ".venv" / "lib" / version / "site-packages" / folder.name)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with skipped_without_answer("make demo"):
        command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", "demo"]
        shown = download(command, cwd=checkout, env=environment)

    installed = checkout / ".venv-demo"
    assert shown.startswith("installing mistralwire into .venv-demo, once: ")
    assert ".venv-demo/bin/mistralwire gateway" in shown
    assert f"{'native' if engine else 'python'} engine" in shown
    size = sum(path.lstat().st_size for path in installed.rglob("*"))
    assert 30_000_000 < size < 90_000_000
    assert (installed / "bin" / "uvicorn").exists()
    assert not (installed / "bin" / "pytest").exists()
