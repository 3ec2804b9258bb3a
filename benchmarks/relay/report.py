"""The tables."""

import statistics

from benchmarks.relay.load import Scenario

# The figures of each run, by contender.
Runs = dict[str, list[dict[str, float]]]

# Columns: heading, name of the figure, digits behind the point.
_SATURATED = (
    ("stored/s", "stored_per_second", 0),
    ("delivered/s", "delivered_per_second", 0),
    ("acked p50 ms", "acknowledged_p50_ms", 1),
    ("p99", "acknowledged_p99_ms", 1),
    ("cpu us", "cpu_us", 1),
)
_PACED = (
    ("stored/s", "stored_per_second", 0),
    ("delay p50 ms", "delivered_p50_ms", 2),
    ("p99", "delivered_p99_ms", 2),
    ("acked p50 ms", "acknowledged_p50_ms", 2),
    ("p99", "acknowledged_p99_ms", 2),
    ("cpu us", "cpu_us", 1),
)


def show_runs(label: str, scenario: Scenario, runs: Runs, ours: str) -> dict[str, dict[str, float]]:
    """Print a row for each contender, with the ratio of ours to it; return its medians."""
    columns = _PACED if scenario.rate else _SATURATED
    ratio = "stored_per_second" if not scenario.followers else "delivered_per_second"
    print(f"  {label:<26}" + "".join(f"{heading:>14}" for heading, _, _ in columns) + f"{'ratio':>9}")
    results = {}
    for contender, figures in runs.items():
        medians = {name: statistics.median(run[name] for run in figures) for name in figures[0]}
        pairs = zip(runs[ours], figures, strict=True)
        medians["ratio"] = statistics.median(own[ratio] / max(1.0, theirs[ratio]) for own, theirs in pairs)
        cells = "".join(f"{medians.get(name, 0.0):>14,.{digits}f}" for _, name, digits in columns)
        print(f"    {contender:<24}{cells}{medians['ratio']:>8.1f}x", flush=True)
        results[contender] = medians
    return results
