"""Commands that download: a registry that does not answer is told from everything else that fails."""

import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import pytest

from tests.downloads import skipped_without_answer
from tools import downloads

pytestmark = pytest.mark.process

ROOT = pathlib.Path(__file__).parents[1]


def failing_first(folder: pathlib.Path, times: int, said: str) -> list[str]:
    """Return a command that fails that many times with a line, and notes each run in the file `runs`."""
    program = f"""
    import pathlib, sys
    runs = pathlib.Path({str(folder / "runs")!r})
    count = len(runs.read_text()) if runs.exists() else 0
    runs.write_text("." * (count + 1))
    if count < {times}:
        sys.exit({said!r})
    print("done")
    """
    return [sys.executable, "-c", textwrap.dedent(program)]


def test_a_registry_that_does_not_answer_is_asked_once_more(tmp_path: pathlib.Path) -> None:
    assert downloads.download(failing_first(tmp_path, 1, "npm error code ETIMEDOUT")) == "done\n"
    assert (tmp_path / "runs").read_text() == ".."


def test_one_that_does_not_answer_twice_is_an_error_of_one_line(tmp_path: pathlib.Path) -> None:
    with pytest.raises(downloads.RegistryError) as caught:
        downloads.download(failing_first(tmp_path, 2, "npm error code ETIMEDOUT"))
    assert (tmp_path / "runs").read_text() == ".."
    message = str(caught.value)
    assert message.startswith("the registry did not answer 2 times: ")
    assert message.endswith(": npm error code ETIMEDOUT")


def test_a_command_that_does_not_end_counts_as_one_that_got_no_answer() -> None:
    with pytest.raises(downloads.RegistryError, match=r"no end after 0\.2 seconds"):
        downloads.download([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.2)


def test_any_other_failure_is_not_repeated_and_shows_its_output(tmp_path: pathlib.Path) -> None:
    with pytest.raises(downloads.CommandError, match=r"exit code 1\n(?s:.*)the lock file does not match"):
        downloads.download(failing_first(tmp_path, 1, "the lock file does not match"))
    assert (tmp_path / "runs").read_text() == "."


@pytest.mark.parametrize(
    ("said", "code"),
    [("", 0), ("read: connection reset by peer", downloads.NO_ANSWER), ("a typing error", 1)],
)
def test_the_command_line_exits_with_what_happened(
    said: str, code: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "NOT_RUN", tmp_path / "build" / "not-run.txt")
    command = failing_first(tmp_path, 2 if said else 0, said)
    assert downloads.main(["the tests with Node.js", *command]) == code
    if code == downloads.NO_ANSWER:
        [line] = (tmp_path / "build" / "not-run.txt").read_text().splitlines()
        assert line.startswith("the tests with Node.js: the registry did not answer 2 times: ")


def test_what_was_not_run_is_listed_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "NOT_RUN", tmp_path / "build" / "not-run.txt")
    for line in ("go: a", "java: b", "go: a"):
        downloads.note_not_run(line)
    assert downloads.NOT_RUN.read_text() == "go: a\njava: b\n"


def test_a_test_that_gets_no_answer_is_skipped_and_listed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "NOT_RUN", tmp_path / "build" / "not-run.txt")
    with pytest.raises(pytest.skip.Exception) as skipped, skipped_without_answer("tests of the wheel"):
        downloads.download(failing_first(tmp_path, 2, "Read timed out"))
    assert (tmp_path / "runs").read_text() == ".."
    [line] = downloads.NOT_RUN.read_text().splitlines()
    assert line == skipped.value.msg
    assert line.startswith("tests of the wheel: the registry did not answer 2 times: ")


NPM_LOCK = """{"name": "a", "lockfileVersion": 3, "packages": {
  "": {"name": "a", "dependencies": {"left-pad": "1.3.0"}},
  "node_modules/left-pad": {"version": "1.3.0", "integrity": "sha512-AAAA"}}}"""
CARGO_CONFIG = """
[source.crates-io]
replace-with = "closed"
[source.closed]
registry = "sparse+http://127.0.0.1:{port}/"
[net]
retry = 0
"""


@pytest.mark.parametrize("client", ["pip", "npm", "go", "cargo"])
def test_what_each_client_says_of_a_closed_port_is_understood(
    client: str, tmp_path: pathlib.Path, closed_port: int
) -> None:
    url = f"http://127.0.0.1:{closed_port}/"
    (tmp_path / "package.json").write_text('{"name": "a", "dependencies": {"left-pad": "1.3.0"}}')
    (tmp_path / "package-lock.json").write_text(NPM_LOCK)
    (tmp_path / "go.mod").write_text("module a.example/a\n\ngo 1.21\n")
    (tmp_path / ".cargo").mkdir()
    (tmp_path / ".cargo" / "config.toml").write_text(CARGO_CONFIG.format(port=closed_port))
    commands = {
        "pip": [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"),
            *("--retries", "1", "--index-url", url, "a-package"),
        ],
        "npm": ["npm", "ci", "--registry", url, "--fetch-retries=0", "--cache", str(tmp_path / "cache")],
        "go": ["go", "mod", "download", "golang.org/x/mod@v0.20.0"],
        "cargo": ["cargo", "install", "--root", str(tmp_path), "a-crate"],
    }
    if client != "pip" and shutil.which(client) is None:
        pytest.skip(f"{client} is not installed")
    environment = {
        **os.environ,
        "GOPROXY": url,
        "GOFLAGS": "-mod=mod",
        "GONOSUMDB": "*",
        "GOMODCACHE": str(tmp_path),
        "CARGO_HOME": str(tmp_path / ".cargo"),
    }
    with pytest.raises(downloads.RegistryError):
        downloads.download(commands[client], cwd=tmp_path, env=environment)


def test_it_needs_nothing_but_the_standard_library() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            str(ROOT / "tools" / "downloads.py"),
            "a test",
            sys.executable,
            "-c",
            "pass",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
