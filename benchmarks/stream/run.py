"""One run: a server, a load generator, each a process of its own."""

import json
import pathlib
import subprocess
import sys
from typing import Any

from benchmarks.stream.scenarios import Scenario

RUN_S_MAX = 120.0
# Samples a second.
_PROFILE_RATE = "250"


def run(contender: str, scenario: Scenario, profile: pathlib.Path | None = None) -> dict[str, Any]:
    """Give the figures of one contender in one scenario.

    Args:
        contender: Who.
        scenario: What.
        profile: A folder for py-spy's samples of both processes while they run, as `server.folded`
            and `client.folded`; None for none. Profiling costs time: such figures are no results.

    Raises:
        RuntimeError: If a process fails; it has said why on stderr.
    """
    arguments = [contender, scenario.to_json()]
    with _start("benchmarks.stream.server", *arguments) as server:
        try:
            port = _line_of(server)
            with _start("benchmarks.stream.load", *arguments, port, str(server.pid)) as load:
                profilers = [] if profile is None else _profile(profile, scenario, server.pid, load.pid)
                try:
                    output, _ = load.communicate(timeout=RUN_S_MAX)
                finally:
                    load.kill()
                    for profiler in profilers:
                        profiler.wait()
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


def _profile(folder: pathlib.Path, scenario: Scenario, *pids: int) -> list["subprocess.Popen[bytes]"]:
    folder.mkdir(parents=True, exist_ok=True)
    duration = str(round(scenario.warm_s + scenario.window_s))
    py_spy = str(pathlib.Path(sys.executable).with_name("py-spy"))
    command = [py_spy, "record", "--native", "--threads", "--format", "raw", "--rate", _PROFILE_RATE]
    return [
        subprocess.Popen(
            [*command, "--duration", duration, "--output", str(folder / f"{side}.folded"), "--pid", str(pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for side, pid in zip(("server", "client"), pids, strict=True)
    ]
