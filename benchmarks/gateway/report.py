"""The tables, and what counts as reached."""

import statistics
from typing import Any

from benchmarks.gateway import hangup
from benchmarks.gateway.scenarios import (
    ADDED_MAX,
    CHUNKS,
    CHUNKS_MIN,
    CONTENDERS,
    DIRECT,
    EMBEDDED,
    LITELLM,
    LOADS,
    MANY,
    ONE,
    STREAMS,
)
from benchmarks.stream.report import median_of, verdict

# The figures of each run, by contender.
Runs = dict[str, list[dict[str, Any]]]
Figures = dict[str, Any]


def all_of(measured: dict[str, Runs], hang_ups: Figures) -> Figures:
    """Print the tables and what is reached; give the figures."""
    results = figures(measured) | {"hang_ups": hang_ups}
    hangup.show(hang_ups)
    print("\nto reach, embedded")
    for load in (ONE, MANY):
        share = results[load][EMBEDDED]["added_of_litellm"]
        reach = f"at most {ADDED_MAX:.2f} of LiteLLM's: {verdict(share <= ADDED_MAX)}"
        print(f"  {f'added time, {load}':<30}{reach} ({share:.3f})")
    ratio = results[STREAMS][EMBEDDED]["of_litellm"]
    reach = f"at least {CHUNKS_MIN:.0f}x LiteLLM's: {verdict(ratio >= CHUNKS_MIN)}"
    print(f"  {f'chunks a second, {STREAMS}':<30}{reach} ({ratio:.1f}x)")
    longest_ms = hang_ups["longest_ms"]
    reach = f"at most {hangup.LONGEST_MS_MAX:.0f} ms: {verdict(longest_ms <= hangup.LONGEST_MS_MAX)}"
    print(f"  {'longest hang-up':<30}{reach} ({longest_ms:.1f} ms)")
    return results


def figures(measured: dict[str, Runs]) -> Figures:
    """Print the tables; give the figures, by load and contender."""
    results: Figures = {}
    for load, runs in measured.items():
        print_load = _streams if LOADS[load].is_stream else _requests
        results[load] = print_load(load, runs)
    return results


def _requests(load: str, runs: Runs) -> Figures:
    """Print what a request takes, and what of that a contender adds."""
    print(f"\nrequests, {load}: milliseconds (median), and what is added to the direct way")
    print(
        f"  {'':<16}{'median':>9}{'99th perc.':>12}{'added':>9}{'of LiteLLM':>12}"
        f"{'requests/s':>12}{'processor us':>14}"
    )
    results: Figures = {}
    for name in (name for name in CONTENDERS if name in runs):
        row = {
            key: median_of(runs, name, key)
            for key in ("median_ms", "p99_ms", "requests_per_second", "cpu_us")
        }
        row |= _added(runs, name)
        results[name] = row
        print(
            f"  {name:<16}{row['median_ms']:>9.3f}{row['p99_ms']:>12.3f}{_cell(row, 'added_ms', '9.3f')}"
            f"{_cell(row, 'added_of_litellm', '12.3f')}{row['requests_per_second']:>12,.0f}"
            f"{_processor(name, row)}"
        )
    return results


def _added(runs: Runs, name: str) -> Figures:
    """Give what a contender adds, and its ratio to LiteLLM's; medians over the rounds."""
    if name == DIRECT or DIRECT not in runs:
        return {}
    added = _by_round(runs, name)
    row: Figures = {"added_ms": statistics.median(added)}
    if LITELLM in runs:
        row["added_of_litellm"] = _ratio(added, _by_round(runs, LITELLM))
    return row


def _by_round(runs: Runs, name: str) -> list[float]:
    pairs = zip(runs[name], runs[DIRECT], strict=True)
    return [its["median_ms"] - direct["median_ms"] for its, direct in pairs]


def _ratio(its: list[float], peers: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(its, peers, strict=True))


def _streams(load: str, runs: Runs) -> Figures:
    """Print chunks a second."""
    print(f"\n{load} of {CHUNKS} chunks each: chunks a second that the caller gets (median)")
    print(f"  {'':<16}{'chunks/s':>12}{'of LiteLLM':>12}{'in a stream':>13}{'processor us':>14}")
    results: Figures = {}
    for name in (name for name in CONTENDERS if name in runs):
        row = {
            key: median_of(runs, name, key) for key in ("chunks_per_second", "chunks_per_stream", "cpu_us")
        }
        if LITELLM in runs and name != LITELLM:
            rates = [[its["chunks_per_second"] for its in runs[who]] for who in (name, LITELLM)]
            row["of_litellm"] = _ratio(*rates)
        results[name] = row
        print(
            f"  {name:<16}{row['chunks_per_second']:>12,.0f}{_cell(row, 'of_litellm', '11.1f', 'x')}"
            f"{row['chunks_per_stream']:>13.0f}{_processor(name, row)}"
        )
    return results


def _cell(row: Figures, key: str, form: str, unit: str = "") -> str:
    width = int(form.partition(".")[0])
    return f"{row[key]:>{form}}{unit}" if key in row else " " * (width + len(unit))


def _processor(name: str, row: Figures) -> str:
    """Give the processor time of a request or a chunk; the direct way has nobody in between."""
    return "" if name == DIRECT else f"{row['cpu_us']:>14,.0f}"
