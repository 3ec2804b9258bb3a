"""`make bench`: measure the codec against its peers, print tables, write benchmarks/results.json."""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from typing import Any

from benchmarks import process, report
from benchmarks.measure import show

RESULTS = pathlib.Path(__file__).parent / "results.json"
FRESH_PROCESSES = 5
SECTIONS = ("conversion", "events", "first", "large", "process", "worst", "loop")
# Too slow in Python to say more than the others do.
NATIVE_ONLY = ("large",)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="interleaved runs of each contender (11)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="what to measure (all)")
    arguments = parser.parse_args()
    has_native = importlib.util.find_spec("mistralwire_native") is not None
    engines = ("native", "python") if has_native else ("python",)
    if not has_native:
        print("the native engine is not built: run `make native`; only the Python engine is measured")
    results: dict[str, Any] = {"python": platform.python_version()}
    for section in SECTIONS:
        if section not in arguments.only:
            continue
        if section == "process":
            results[section] = _process(arguments.rounds, has_native=has_native)
            continue
        results[section] = {}
        for engine in engines if section not in NATIVE_ONLY else engines[:1]:
            figures = _measured(section, engine, arguments.rounds)
            getattr(report, section)(engine, figures)
            results[section][engine] = figures
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(pathlib.Path.cwd())}")


def _measured(section: str, engine: str, rounds: int) -> Any:
    if section != "first":
        return _worker(section, engine, rounds)
    runs = [_worker(section, engine, rounds) for _ in range(FRESH_PROCESSES)]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _worker(section: str, engine: str, rounds: int) -> Any:
    command = [sys.executable, "-m", "benchmarks.worker", section, str(rounds)]
    environment = os.environ | {"MISTRALWIRE_ENGINE": engine}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(run.stdout)


def _process(rounds: int, *, has_native: bool) -> dict[str, Any]:
    imports, memory = process.import_times_ms(rounds), process.peak_memory_mb()
    figures: dict[str, Any] = {"import_ms": imports, "peak_memory_mb": memory}
    if has_native:
        figures["load_ms"] = process.load_time_ms(rounds)
    show("")
    if has_native:
        report.load(figures["load_ms"])
    report.processes(imports, memory)
    return figures


if __name__ == "__main__":
    main()
