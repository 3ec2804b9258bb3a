"""One run: a server, a load generator, each a process of its own."""

import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.stream.scenarios import Scenario

RUN_S_MAX = 120.0
# Samples a second.
_PROFILE_RATE = "250"


def run(contender: str, scenario: Scenario, profile: pathlib.Path | None = None) -> dict[str, Any]:
    """Return the figures of one contender in one scenario.

    Args:
        contender: The contender to measure.
        scenario: The scenario to run.
        profile: A folder for py-spy's samples of both processes while they run, as `server.folded`
            and `client.folded`; None for none. Profiling costs time: such figures are no results.

    Raises:
        RuntimeError: If a process fails; it has said why on stderr.
    """
    arguments = [contender, scenario.to_json()]
    with _start("benchmarks.stream.server", *arguments) as server:
        try:
            port = _line_of(server)
            with (
                _start("benchmarks.stream.load", *arguments, port, str(server.pid)) as load,
                _recorded(profile, scenario, server.pid, load.pid),
            ):
                try:
                    output, _ = load.communicate(timeout=RUN_S_MAX)
                finally:
                    load.kill()
            if load.returncode:
                raise RuntimeError(f"the load generator failed with {contender}, {scenario.to_json()}")
        finally:
            server.kill()
    figures: dict[str, Any] = json.loads(output)
    return figures


def _start(module: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True)


def _line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError("the server failed before it listened")
    return line


@contextlib.contextmanager
def _recorded(folder: pathlib.Path | None, scenario: Scenario, *pids: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for side, pid in zip(("server", "client"), pids, strict=True):
                path = folder / f"{side}.folded"
                stack.enter_context(record_stacks(path, scenario.warm_s + scenario.window_s, pid))
        yield


@contextlib.contextmanager
def record_stacks(path: pathlib.Path, seconds: float, pid: int) -> Iterator[None]:
    """Write py-spy's samples of a process as folded stacks, from now on; leaving waits for their end.

    Args:
        path: The file.
        seconds: How long.
        pid: The process.
    """
    py_spy = str(pathlib.Path(sys.executable).with_name("py-spy"))
    command = [py_spy, "record", "--native", "--threads", "--format", "raw", "--rate", _PROFILE_RATE]
    arguments = ["--duration", str(round(seconds)), "--output", str(path), "--pid", str(pid)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, *arguments], stdout=quiet, stderr=quiet):
        yield
