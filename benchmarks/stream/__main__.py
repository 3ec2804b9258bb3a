"""`make bench-stream`: measure the service against plain grpcio, print tables, write results.json.

`benchmarks/stream/__init__.py` explains what each contender does.
"""

import argparse
import dataclasses
import json
import pathlib
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any

import google.protobuf
import grpc

from benchmarks.stream import report, scenarios
from benchmarks.stream.report import Runs
from benchmarks.stream.run import run
from benchmarks.stream.scenarios import CONTENDERS, MISTRALWIRE, PLAIN, STORED, Scenario

RESULTS = pathlib.Path(__file__).parent / "results.json"
PARTS = ("saturated", "paced", "stored", "overloaded", "memory", "cancelled")
# Streams beyond which no load is tried any more.
STREAMS_MAX = 3200
TRIES = 3


class Bench:
    """Runs scenarios, interleaving the contenders."""

    def __init__(self, rounds: int, *, has_uvloop: bool, profile: pathlib.Path | None) -> None:
        self._rounds = rounds
        self._has_uvloop = has_uvloop
        self._profile = profile

    def contest(self, label: str, scenario: Scenario, contenders: Sequence[str] = CONTENDERS) -> Runs:
        runs: Runs = {contender: [] for contender in contenders}
        for number in range(self._rounds):
            for contender in contenders:
                step = f"{label}, {contender}, round {number + 1} of {self._rounds}"
                runs[contender].append(self.once(step, contender, scenario))
        return runs

    def once(self, step: str, contender: str, scenario: Scenario) -> dict[str, Any]:
        scenario = dataclasses.replace(scenario, has_uvloop=self._has_uvloop)
        if sys.stderr.isatty():
            print(f"\r{step:<78}", end="", file=sys.stderr, flush=True)
        folder = None if self._profile is None else self._profile / step.replace(", ", "/").replace(" ", "-")
        try:
            return run(contender, scenario, folder)
        finally:
            if sys.stderr.isatty():
                print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)

    def saturated(self) -> Any:
        lines = {name: self.contest(name, scenario) for name, scenario in scenarios.SATURATED.items()}
        return report.saturated(lines)

    def paced(self) -> Any:
        return report.paced(self.contest("paced", scenarios.PACED), scenarios.PACED)

    def stored(self) -> Any:
        contenders = (MISTRALWIRE, STORED)
        return report.stored(
            [
                (load, self.contest(f"stored, {load.streams} streams", load, contenders))
                for load in scenarios.STORED_LOADS
            ]
        )

    def overloaded(self) -> Any:
        loads = [scenarios.OVERLOADED]
        while not self._is_too_much(loads[-1]) and loads[-1].streams < STREAMS_MAX:
            loads.append(dataclasses.replace(loads[-1], streams=2 * loads[-1].streams))
        # The load that was asked for, and the one that plain grpcio fails at.
        chosen = loads[:1] + loads[1:][-1:]
        return report.overloaded(
            [(load, self.contest(f"overloaded, {load.streams} streams", load)) for load in chosen]
        )

    def _is_too_much(self, load: Scenario) -> bool:
        """Check whether plain grpcio fails to deliver a load in every one of several runs."""
        step = f"what is too much for {PLAIN}, {load.streams} streams"
        return all(
            report.carried(load, self.once(step, PLAIN, load)) < scenarios.CARRIED_MIN for _ in range(TRIES)
        )

    def memory(self) -> Any:
        return report.memory({name: self.contest(name, its) for name, its in scenarios.MEMORY.items()})

    def cancelled(self) -> Any:
        return report.cancel(self.contest("cancelled", scenarios.CANCEL))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench-stream", description="Measure the streaming service against plain grpcio."
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs of each contender (5)")
    parser.add_argument("--only", choices=PARTS, help="one part alone; results.json stays as it is")
    parser.add_argument("--uvloop", action="store_true", help="uvloop in all processes; needs uvloop")
    parser.add_argument(
        "--profile",
        type=pathlib.Path,
        metavar="FOLDER",
        help="folded stacks by py-spy; figures are none then",
    )
    arguments = parser.parse_args()
    bench = Bench(arguments.rounds, has_uvloop=arguments.uvloop, profile=arguments.profile)
    measures: dict[str, Callable[[], Any]] = {name: getattr(bench, name) for name in PARTS}
    if arguments.only:
        measures[arguments.only]()
        return
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "protobuf": google.protobuf.__version__,
        "event_loop": "uvloop" if arguments.uvloop else "asyncio",
        "rounds": arguments.rounds,
    }
    print(", ".join(f"{name} {value}" for name, value in results.items()))
    results |= {name: measure() for name, measure in measures.items()}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(pathlib.Path.cwd())}")


if __name__ == "__main__":
    main()
