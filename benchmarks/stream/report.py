"""The tables, and which goals were reached."""

import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.stream import scenarios
from benchmarks.stream.scenarios import CONTENDERS, MISTRALWIRE, PLAIN, STORED, Scenario

# The figures of each run, by contender.
Runs = dict[str, list[dict[str, Any]]]
Figures = dict[str, Any]


def verdict(is_reached: bool) -> str:
    return "yes" if is_reached else "NO"


def median_of(runs: Runs, contender: str, name: str) -> float:
    return float(statistics.median(figures[name] for figures in runs[contender]))


def saturated(lines: dict[str, Runs]) -> Figures:
    """Print delivered chunks a second; the ratio is the median of the ratios round by round."""
    print("\nsaturated: chunks a second that the caller gets (median)")
    print(f"  {'':<22}{MISTRALWIRE:>14}{PLAIN:>15}{'ratio':>9}   {'to reach':<11}processors: server, client")
    result: Figures = {}
    for name, runs in lines.items():
        pairs = zip(*(runs[contender] for contender in CONTENDERS), strict=True)
        ratio = statistics.median(a["chunks_per_second"] / b["chunks_per_second"] for a, b in pairs)
        rates = {contender: median_of(runs, contender, "chunks_per_second") for contender in CONTENDERS}
        target = scenarios.SATURATED_TARGETS.get(name)
        reach = "" if target is None else f"{target:.0f}x: {verdict(ratio >= target)}"
        print(
            f"  {name:<22}{rates[MISTRALWIRE]:>14,.0f}{rates[PLAIN]:>15,.0f}{ratio:>8.1f}x   {reach:<11}"
            + "; ".join(_processors(runs, contender) for contender in CONTENDERS)
        )
        result[name] = rates | {"ratio": ratio}
    return result


def _processors(runs: Runs, contender: str) -> str:
    server, client = (median_of(runs, contender, f"{side}_cpu") for side in ("server", "client"))
    return f"{server:.2f}, {client:.2f}"


_PACED = (
    ("due, median", "delay_median_ms"),
    ("due, 99th percentile", "delay_p99_ms"),
    ("given, median", "transit_median_ms"),
    ("given, 99th percentile", "transit_p99_ms"),
)


def paced(runs: Runs, scenario: Scenario) -> Figures:
    """Print the delays of a load that both carry easily."""
    print(f"\npaced: {_load(scenario)}: milliseconds from a chunk being due, or given, to the caller")
    print(f"  {'':<22}{MISTRALWIRE:>14}{PLAIN:>15}   to reach")
    result: Figures = {}
    for label, name in _PACED:
        ours, plain = (median_of(runs, contender, name) for contender in CONTENDERS)
        spread = _spread(figures[name] for figures in runs[PLAIN])
        reach = f"no more: {no_more(ours, plain, spread)}"
        print(f"  {label:<22}{ours:>14.2f}{plain:>15.2f}   {reach}; plain grpcio's own spread {spread:.2f}")
        result[name] = {MISTRALWIRE: ours, PLAIN: plain, "spread": spread}
    for side in ("server", "client"):
        ours, plain = (median_of(runs, contender, f"{side}_cpu") for contender in CONTENDERS)
        print(f"  {f'processors, {side}':<22}{ours:>14.2f}{plain:>15.2f}")
        result[f"{side}_cpu"] = {MISTRALWIRE: ours, PLAIN: plain}
    return result


def stored(lines: list[tuple[Scenario, Runs]]) -> Figures:
    """Print the delays of the caller's own stream, stored and not."""
    results: Figures = {}
    for scenario, runs in lines:
        print(f"\nstored: {_load(scenario)}: milliseconds from a chunk being due, or given, to the caller")
        print(f"  {'':<22}{'not stored':>14}{'stored':>15}   to reach")
        result: Figures = {}
        for label, name in _PACED:
            without, its = (median_of(runs, contender, name) for contender in (MISTRALWIRE, STORED))
            is_reached = its <= without + scenarios.STORED_MS_MAX
            reach = f"+ {scenarios.STORED_MS_MAX}: {verdict(is_reached)}" if "median" in name else ""
            print(f"  {label:<22}{without:>14.2f}{its:>15.2f}   {reach}")
            result[name] = {"not stored": without, STORED: its}
        per_chunk = [
            median_of(runs, contender, "server_cpu") / median_of(runs, contender, "chunks_per_second") * 1e6
            for contender in (MISTRALWIRE, STORED)
        ]
        print(f"  {'processor, us a chunk':<22}{per_chunk[0]:>14.1f}{per_chunk[1]:>15.1f}")
        result["server_cpu_us"] = {"not stored": per_chunk[0], STORED: per_chunk[1]}
        results[_load(scenario)] = result
    return results


def _spread(values: Iterable[float]) -> float:
    """Return the interquartile range; of fewer than four values, the range."""
    ordered = sorted(values)
    if len(ordered) < 4:
        return ordered[-1] - ordered[0]
    first, _, third = statistics.quantiles(ordered, n=4)
    return third - first


def no_more(ours: float, plain: float, spread: float) -> str:
    """Check whether a delay is no more than the other: a difference within the other's spread is a tie."""
    if ours <= plain:
        return "yes"
    return "yes, a tie" if ours - plain <= spread else "NO"


def overloaded(lines: list[tuple[Scenario, Runs]]) -> Figures:
    """Print the figures of a load near capacity, or beyond it."""
    print("\noverloaded: what is delivered of what is offered, and how late")
    print(
        f"  {'':<38}{'offered/s':>10}{'delivered/s':>13}{'carried':>9}{'median ms':>11}{'p99 ms':>9}"
        f"{'ms/s':>8}{'RSS MB':>8}{'growth':>8}   to reach"
    )
    result: Figures = {}
    for scenario, runs in lines:
        result[_load(scenario)] = {
            contender: _overload_line(scenario, contender, runs) for contender in CONTENDERS
        }
    print("  ms/s: by how much the delay grows in each second of the window")
    return result


def _overload_line(scenario: Scenario, contender: str, runs: Runs) -> Figures:
    figures = summary(scenario, contender, runs)
    reach = ""
    if contender == MISTRALWIRE:
        reach = (
            f"carried {verdict(figures['carried'] >= scenarios.CARRIED_MIN)}, "
            f"p99 under {scenarios.DELAY_P99_MS_MAX:.0f} {verdict(is_in_time(figures))}, "
            f"flat {verdict(figures['rss_growth'] <= scenarios.RSS_GROWTH_MAX)}"
        )
    print(
        f"  {_load(scenario) + ', ' + contender:<38}{scenario.streams * scenario.rate:>10,.0f}"
        f"{figures['chunks_per_second']:>13,.0f}{figures['carried']:>9.1%}{figures['delay_median_ms']:>11.1f}"
        f"{figures['delay_p99_ms']:>9.0f}{figures['delay_growth_ms']:>8.0f}{figures['rss_mb']:>8.0f}"
        f"{figures['rss_growth']:>8.1%}   {reach}".rstrip()
    )
    return figures


def summary(scenario: Scenario, contender: str, runs: Runs) -> Figures:
    """Return the medians of a paced load."""
    names = ("chunks_per_second", "delay_median_ms", "delay_p99_ms", "server_cpu", "client_cpu")
    result: Figures = {name: median_of(runs, contender, name) for name in names}
    result["carried"] = carried(scenario, result)
    seconds = [figures["delay_by_second_ms"] for figures in runs[contender]]
    result["delay_growth_ms"] = statistics.median((its[-1] - its[0]) / (len(its) - 1) for its in seconds)
    memory = [figures["server_rss_mb"] for figures in runs[contender]]
    result["rss_mb"] = statistics.median(its[-1] for its in memory)
    result["rss_growth"] = statistics.median(its[-1] / its[0] - 1 for its in memory)
    return result


def is_in_time(figures: Figures) -> bool:
    return bool(figures["delay_p99_ms"] < scenarios.DELAY_P99_MS_MAX)


def carried(scenario: Scenario, figures: Figures) -> float:
    """Return the share of the offered chunks that was delivered."""
    return float(figures["chunks_per_second"] / (scenario.streams * scenario.rate))


def memory(lines: dict[str, Runs]) -> Figures:
    """Print the memory that a stream adds to the two processes."""
    print("\nmemory: KB that one open stream adds, halfway through the window and at its end")
    titles = [f"{contender}, {side}" for contender in CONTENDERS for side in ("server", "client")]
    print(f"  {'':<22}" + "".join(f"{title:>23}" for title in titles))
    result: Figures = {}
    for name, runs in lines.items():
        figures = {
            contender: {key: median_of(runs, contender, key) for key in runs[contender][0]}
            for contender in CONTENDERS
        }
        cells = [
            f"{figures[contender][f'{side}_kb_early']:,.0f}, {figures[contender][f'{side}_kb_end']:,.0f}"
            for contender in CONTENDERS
            for side in ("server", "client")
        ]
        print(f"  {name:<22}" + "".join(f"{cell:>23}" for cell in cells))
        result[name] = figures
    return result


def cancel(runs: Runs) -> Figures:
    """Print the time from cancelling a call to its upstream being closed."""
    print("\ncancelled: milliseconds from the caller's cancelling to the upstream being closed")
    print(f"  {'':<22}{MISTRALWIRE:>14}{PLAIN:>15}   to reach")
    median = {contender: median_of(runs, contender, "cancel_median_ms") for contender in CONTENDERS}
    # The worst of all, not the median of the worst.
    worst = {contender: max(its["cancel_max_ms"] for its in runs[contender]) for contender in CONTENDERS}
    print(f"  {'median':<22}{median[MISTRALWIRE]:>14.2f}{median[PLAIN]:>15.2f}")
    reach = f"under {scenarios.CANCEL_MS_MAX:.0f}: {verdict(worst[MISTRALWIRE] < scenarios.CANCEL_MS_MAX)}"
    print(f"  {'longest':<22}{worst[MISTRALWIRE]:>14.2f}{worst[PLAIN]:>15.2f}   {reach}")
    return {"median_ms": median, "longest_ms": worst}


def _load(scenario: Scenario) -> str:
    return f"{scenario.streams} streams of {scenario.rate:.0f}/s"
