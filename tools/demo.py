"""`make demo`: an environment that has only what `mistralwire demo` needs, and the demonstration in it.

The shell of make ends this program with SIGTERM at Ctrl-C. Each step is a process group of its own, which is
killed then: otherwise pip and others would print a traceback each.
"""

import os
import pathlib
import signal
import subprocess
import sys

FOLDER = pathlib.Path(".venv-demo").absolute()
PYTHON = FOLDER / "bin" / "python"
STAMP = FOLDER / ".installed"
ENGINE = pathlib.Path("lib", "python{}.{}".format(*sys.version_info), "site-packages", "mistralwire_native")

_running: list[subprocess.Popen[bytes]] = []
_stopped: list[int] = []


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: _stop(number))
    if not STAMP.exists() or STAMP.stat().st_mtime < pathlib.Path("pyproject.toml").stat().st_mtime:
        print(
            f"installing mistralwire into {FOLDER.name}, once: 70 MB, half a minute with pip's cache",
            flush=True,
        )
        _run(sys.executable, "-m", "venv", "--clear", FOLDER)
        options = ["--disable-pip-version-check", *([] if sys.stdout.isatty() else ["--quiet"])]
        _run(PYTHON, "-m", "pip", "install", *options, "--editable", ".[gateway]")
        STAMP.touch()
    _link_native_engine()
    _run(PYTHON, "-m", "mistralwire", "demo")


def _link_native_engine() -> None:
    """Link the engine that `make native` has built into .venv, if it has."""
    link, built = FOLDER / ENGINE, pathlib.Path(".venv").absolute() / ENGINE
    if not link.exists():
        link.unlink(missing_ok=True)  # a link to an engine that is gone
        if built.is_dir():
            link.symlink_to(built)


def _run(*words: str | pathlib.Path) -> None:
    """Run one step; exit if it fails."""
    _running[:] = [subprocess.Popen(words, start_new_session=True)]
    if _stopped:
        _stop(_stopped[0])
    status = _running[0].wait()
    if _stopped:
        if sys.stdout.isatty():
            # pip may have hidden the cursor, in the middle of a line.
            print("\r\x1b[K\x1b[?25h", end="", flush=True)
        sys.exit(128 + _stopped[0])
    if status:
        sys.exit(status)


def _stop(number: int) -> None:
    """Kill the step that runs; if it is being started, `_run` does."""
    _stopped.append(number)
    for process in _running:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
