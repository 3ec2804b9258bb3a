"""`make bench-gateway`: measure the gateway against its peers, print tables, write results.json.

`benchmarks/gateway/__init__.py` explains what is measured and how.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.gateway import contenders, hangup, litellm, report, rivals
from benchmarks.gateway.contenders import Contender
from benchmarks.gateway.report import Runs
from benchmarks.gateway.scenarios import (
    DIRECT,
    EMBEDDED,
    GATEWAYS,
    JITTERED,
    LITELLM,
    LOADS,
    REQUEST,
    UNPACED,
    VARIANTS,
    WORKER_LOADS,
    WORKERS,
    WORKERS_LOAD,
    Job,
    Load,
)
from benchmarks.stream.run import record_stacks
from mistralwire.codec import ENGINE

RESULTS = pathlib.Path(__file__).parent / "results.json"
RUN_S_MAX = 120.0
# How long each contender is warmed up before anything counts.
_WARM_UP_SHARE = 0.3
_PROFILE_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One load, and the contenders that carry it.

    Attributes:
        name: The name of the load.
        load: The load to generate.
        contenders: The contenders, by name.
        is_of_workers: Whether it compares numbers of workers.
    """

    name: str
    load: Load
    contenders: tuple[str, ...]
    is_of_workers: bool = False


def _cases(only: Sequence[str], who: Sequence[str]) -> list[Case]:
    """Return the cases to run.

    Args:
        only: The names of the loads.
        who: The names of the contenders.
    """
    cases = []
    for name, load in LOADS.items():
        # Variants have no goals: the load that is nearest to another one is left out.
        names = [one for one in who if name != JITTERED or one not in VARIANTS]
        if name in only:
            cases.append(Case(name, load, (DIRECT, *names) if load.is_latency else tuple(names)))
    if WORKERS_LOAD in only and contenders.has_workers():
        cases += [Case(name, load, tuple(WORKERS.values()), True) for name, load in WORKER_LOADS.items()]
    return cases


class Bench:
    """Runs the cases, interleaving the contenders of each.

    Args:
        running: The contenders.
        cases: The cases to run.
        rounds: How many rounds.
    """

    def __init__(self, running: dict[str, Contender], cases: Sequence[Case], rounds: int) -> None:
        self._running = running
        self._cases = cases
        self._rounds = rounds

    def measure(self) -> list[tuple[Case, Runs]]:
        """Return the figures of all rounds, by case and contender."""
        self._warm_up()
        results: list[tuple[Case, Runs]] = [
            (case, {name: [] for name in case.contenders}) for case in self._cases
        ]
        for number in range(self._rounds):
            for case, runs in results:
                # In reverse every second round, so that no contender is always last.
                for name in case.contenders if number % 2 else reversed(case.contenders):
                    step = f"round {number + 1} of {self._rounds}: {case.load.title}, {name}"
                    with _progress(step):
                        runs[name].append(_run(name, self._running[name], case.load))
        return results

    def profile(self, folder: pathlib.Path) -> None:
        """Write folded stacks of our gateway under each load."""
        folder.mkdir(parents=True, exist_ok=True)
        contender = self._running[EMBEDDED]
        for case in self._cases:
            load = dataclasses.replace(case.load, window_s=_PROFILE_S)
            path = folder / f"{case.name}.folded"
            with _progress(case.load.title), record_stacks(path, _PROFILE_S, contender.pids[0]):
                _run(EMBEDDED, contender, load)
            print(path)

    def _warm_up(self) -> None:
        for name, contender in self._running.items():
            for load in (LOADS[REQUEST], LOADS[UNPACED]):
                with _progress(f"warming up: {name}"):
                    _run(name, contender, dataclasses.replace(load, window_s=load.window_s * _WARM_UP_SHARE))


@contextlib.contextmanager
def _progress(step: str) -> Iterator[None]:
    """Show progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{step:<70}", end="", file=sys.stderr, flush=True)
    yield
    if sys.stderr.isatty():
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)


def _run(name: str, contender: Contender, load: Load) -> dict[str, Any]:
    """Run one load once, and return its figures."""
    job = Job(port=contender.port, pids=contender.pids, key=contender.key, load=load)
    command = [sys.executable, "-m", "benchmarks.gateway.load", job.to_json()]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=RUN_S_MAX, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed with {name}, {load.title}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of all contenders."""
    versions = {
        "python": platform.python_version(),
        "engine": ENGINE,
        "uvicorn": importlib.metadata.version("uvicorn"),
        **rivals.versions(),
    }
    pinned = re.search(r"==(\S+)", litellm.REQUIREMENTS.read_text())
    return versions | ({LITELLM: pinned[1]} if LITELLM in names and pinned else {})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-gateway",
        description="Measure the gateway against smg, ferrogw and Envoy. Whole runs write results.json.",
    )
    parser.add_argument("--rounds", type=int, default=4, help="interleaved runs of each contender (4)")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*LOADS, WORKERS_LOAD],
        metavar="LOAD",
        help="%(choices)s; may repeat",
    )
    parser.add_argument(
        "--with",
        action="append",
        dest="who",
        choices=[*GATEWAYS, *VARIANTS],
        metavar="NAME",
        help="these contenders and no others; may repeat",
    )
    parser.add_argument("--litellm", action="store_true", help="LiteLLM's proxy too; needs .venv-litellm")
    parser.add_argument(
        "--profile",
        type=pathlib.Path,
        metavar="FOLDER",
        help="folded stacks of our gateway by py-spy, no figures",
    )
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    who = arguments.who or [name for name in (*GATEWAYS, *VARIANTS) if name != LITELLM or arguments.litellm]
    if arguments.profile is not None:
        who = [EMBEDDED]
    cases = _cases(arguments.only or [*LOADS, WORKERS_LOAD], who)
    facts: dict[str, Any] = {**_versions(who), "rounds": arguments.rounds}
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    names = list(dict.fromkeys(name for case in cases for name in case.contenders))
    with tempfile.TemporaryDirectory() as folder, contenders.running(names, pathlib.Path(folder)) as running:
        bench = Bench(running, cases, arguments.rounds)
        if arguments.profile is not None:
            bench.profile(arguments.profile)
            return
        measured = bench.measure()
    results = facts | {
        "loads": report.loads({case.name: runs for case, runs in measured if not case.is_of_workers})
    }
    if of_workers := {case.name: runs for case, runs in measured if case.is_of_workers}:
        results["workers"] = report.workers(of_workers)
    if arguments.only or arguments.who:
        return
    results["hang_ups"] = report.hang_ups(hangup.measure())
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(pathlib.Path.cwd())}")


if __name__ == "__main__":
    main()
