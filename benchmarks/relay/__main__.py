"""`make bench-relay`: measure response logs and the relay, print tables, write results.json.

`benchmarks/relay/__init__.py` explains what each contender does.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.measure import show
from benchmarks.relay import report
from benchmarks.relay.contenders import AT_THE_LOG, NEVER_SLOWED, ONE_IN_FLIGHT, OVER_GRPC
from benchmarks.relay.load import Scenario
from tests.faults.preloads import slow_fsync

RESULTS = pathlib.Path(__file__).parent / "results.json"
FSYNC_MS = 2.0
# Programs that no Python package brings, and where they come from.
NEEDED = {"redis-server": "redis-server", "cc": "gcc"}
RUN_S_MAX = 60.0

SATURATED = {
    "200 responses, 1 a batch": Scenario(streams=200),
    "200 responses, 16 a batch": Scenario(streams=200, batch=16),
    "200, 1 a batch, 1 to 1": Scenario(streams=200, followers=1),
    "200, 16 a batch, 1 to 1": Scenario(streams=200, batch=16, followers=1),
}
FANNED_OUT = {
    "1 to 100, 1 a batch": Scenario(streams=1, followers=100),
    "1 to 100, 16 a batch": Scenario(streams=1, batch=16, followers=100),
    "1 to 100, 64 in flight": Scenario(streams=1, in_flight=64, followers=100),
}
PACED = {
    "40 at 50 a second": Scenario(streams=40, rate=50, followers=1),
    "200 at 50 a second": Scenario(streams=200, rate=50, followers=1),
}
LOADS = {"saturated": SATURATED, "fan-out": FANNED_OUT, "paced": PACED}
# The contenders of each level; the first two are the logs of this package, of which the second is durable.
LEVELS = {"at the log": AT_THE_LOG, "over gRPC": OVER_GRPC}
PARTS = {f"{load} {level}": (LOADS[load], LEVELS[level]) for level in LEVELS for load in LOADS}


def _run(contender: str, scenario: Scenario, folder: pathlib.Path) -> dict[str, float]:
    """Return the figures of one run, in a process of its own."""
    preload = slow_fsync(folder, scenario.fsync_ms) if scenario.fsync_ms else {}
    command = [sys.executable, "-m", "benchmarks.relay.load", contender, scenario.to_json()]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env=os.environ | preload, timeout=RUN_S_MAX
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _measured(
    label: str, scenario: Scenario, contenders: Sequence[str], rounds: int, folder: pathlib.Path
) -> report.Runs:
    """Return the figures of all contenders, interleaved."""
    never = (*(NEVER_SLOWED if scenario.fsync_ms else ()), *(ONE_IN_FLIGHT if scenario.in_flight > 1 else ()))
    runs: report.Runs = {contender: [] for contender in contenders if contender not in never}
    for number in range(rounds):
        for contender, figures in runs.items():
            show(f"{label}, {contender}, round {number + 1} of {rounds}")
            figures.append(_run(contender, scenario, folder))
    show("")
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-relay", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved runs of each contender (3)")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="parts; results.json stays as it is"
    )
    arguments = parser.parse_args()
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            sys.exit(
                f"expected {program} on the PATH, found none; install it (in Debian the package {package})"
            )
    results: dict[str, Any] = {"python": platform.python_version(), "rounds": arguments.rounds}
    with tempfile.TemporaryDirectory() as folder:
        for fsync_ms in (0.0, FSYNC_MS):
            for part in arguments.only:
                figures = results.setdefault(f"{part}, fsync + {fsync_ms:.0f} ms", {})
                scenarios, contenders = PARTS[part]
                ours = contenders[1]
                print(f"\n{part}, fsync + {fsync_ms:.0f} ms; ratio: {ours} to the contender")
                for label, scenario in scenarios.items():
                    slowed = scenario.with_fsync(fsync_ms)
                    runs = _measured(label, slowed, contenders, arguments.rounds, pathlib.Path(folder))
                    figures[label] = report.show_runs(label, slowed, runs, ours)
    if arguments.only is PARTS:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        print(f"\nwritten to {RESULTS.relative_to(pathlib.Path.cwd())}")


if __name__ == "__main__":
    main()
