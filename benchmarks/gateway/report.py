"""The tables, and which goals were reached."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.gateway import hangup
from benchmarks.gateway.scenarios import (
    DIRECT,
    EMBEDDED,
    GATEWAYS,
    LOADS,
    OF_ONE_WORKER_MAX,
    OF_SMG_MAX,
    SHARE_MAX,
    SMG,
    VARIANTS,
    WORKER_LOADS,
    WORKERS,
    Load,
)
from benchmarks.stream.report import median_of, verdict

# The figures of each run, by contender.
Runs = dict[str, list[dict[str, Any]]]
Figures = dict[str, Any]

_ONE, _TWO = WORKERS.values()


def loads(measured: dict[str, Runs]) -> Figures:
    """Print the cost of a unit of each load, and return it by load and contender."""
    costs = {name: {who: _costs(LOADS[name], runs, who) for who in runs} for name, runs in measured.items()}
    _print_costs("processor time of all processes of a gateway, microseconds a unit", costs, GATEWAYS)
    _print_costs("our gateway in other places", costs, VARIANTS)
    _print_rates(measured)
    return {
        name: {who: _rounded(statistics.median(its)) for who, its in by_contender.items() if its}
        | ({"of_smg": _rounded(_ratio(by_contender))} if _is_comparable(by_contender) else {})
        for name, by_contender in costs.items()
    }


def _costs(load: Load, runs: Runs, name: str) -> list[float]:
    """Return the cost of a unit, round by round: microseconds, or the milliseconds that are added."""
    if not load.is_latency:
        return [figures["cpu_us"] for figures in runs[name]]
    if name == DIRECT or DIRECT not in runs:
        return []
    pairs = zip(runs[name], runs[DIRECT], strict=True)
    return [its["median_ms"] - direct["median_ms"] for its, direct in pairs]


def _is_comparable(costs: dict[str, list[float]]) -> bool:
    return bool(costs.get(EMBEDDED) and costs.get(SMG))


def _ratio(costs: dict[str, list[float]]) -> float:
    """Return the median of the rounds' ratios of our cost to smg's."""
    return statistics.median(a / b for a, b in zip(costs[EMBEDDED], costs[SMG], strict=True))


def _print_costs(title: str, costs: dict[str, dict[str, list[float]]], contenders: Sequence[str]) -> None:
    names = [name for name in contenders if any(by_contender.get(name) for by_contender in costs.values())]
    if not names:
        return
    has_goals = EMBEDDED in names and SMG in names
    heads = "".join(f"{name:>15}" for name in names)
    print(
        f"\n{title}\n  {'':<28}{heads}{'of smg':>9}{'goal':>6}"
        if has_goals
        else f"\n{title}\n  {'':<28}{heads}"
    )
    for load, by_contender in costs.items():
        medians = [statistics.median(its) if (its := by_contender.get(name)) else None for name in names]
        if not any(medians):
            continue
        cells = "".join(f"{'' if median is None else _significant(median):>15}" for median in medians)
        goal = ""
        if has_goals and _is_comparable(by_contender):
            ratio, most = _ratio(by_contender), OF_SMG_MAX[load]
            goal = f"{ratio:>9.2f}{most:>6.1f}  {verdict(ratio <= most)}"
        print(f"  {LOADS[load].title:<28}{cells}{goal}")


def _print_rates(measured: dict[str, Runs]) -> None:
    """Print the throughput of loads that only the gateway limits."""
    rated = {load: runs for load, runs in measured.items() if not any(LOADS[load].gaps_ms or ())}
    rated = {load: runs for load, runs in rated.items() if not LOADS[load].is_latency}
    if not rated:
        return
    names = [name for name in (*GATEWAYS, *VARIANTS) if any(name in runs for runs in rated.values())]
    print(f"\nunits a second\n  {'':<28}" + "".join(f"{name:>15}" for name in names))
    for load, runs in rated.items():
        cells = [
            f"{median_of(runs, name, 'units_per_second'):,.0f}" if name in runs else "" for name in names
        ]
        print(f"  {LOADS[load].title:<28}" + "".join(f"{cell:>15}" for cell in cells))


def workers(measured: dict[str, Runs]) -> Figures:
    """Print how two workers share a load, and their cost of a chunk; return the figures by load."""
    print(
        f"\ntwo workers\n  {'':<28}{'us, one':>15}{'us, two':>15}{'of one':>9}{'goal':>6}"
        f"{'':>5}{'largest share':>15}{'goal':>6}"
    )
    results: Figures = {}
    for load, runs in measured.items():
        one, two = ([figures["cpu_us"] for figures in runs[name]] for name in (_ONE, _TWO))
        ratio = statistics.median(b / a for a, b in zip(one, two, strict=True))
        largest = statistics.median(figures["shares"][0] for figures in runs[_TWO])
        most = OF_ONE_WORKER_MAX[load]
        results[load] = {
            "cpu_us": [_rounded(statistics.median(its)) for its in (one, two)],
            "of_one": _rounded(ratio),
            "largest_share": _rounded(largest),
        }
        print(
            f"  {WORKER_LOADS[load].title:<28}{_significant(statistics.median(one)):>15}"
            f"{_significant(statistics.median(two)):>15}{ratio:>9.2f}{most:>6.1f}  "
            f"{verdict(ratio <= most):<3}{largest:>15.2f}{SHARE_MAX:>6.2f}  {verdict(largest <= SHARE_MAX)}"
        )
    return results


def hang_ups(figures: dict[str, float]) -> Figures:
    """Print how long hang-ups take; return the figures."""
    longest_ms = figures["longest_ms"]
    reach = f"at most {hangup.LONGEST_MS_MAX:.0f}: {verdict(longest_ms <= hangup.LONGEST_MS_MAX)}"
    print(f"\nhang-ups of {hangup.COUNT} callers in mid-stream, milliseconds until the model API sees it")
    print(f"  median {figures['median_ms']:.2f}, longest {longest_ms:.2f} ({reach})")
    return {name: _rounded(value) for name, value in figures.items()}


def _significant(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
