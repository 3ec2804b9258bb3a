"""Timing: interleaved contenders, medians, and progress on a terminal."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mistralwire.codec import ENGINE

Run = Callable[[], object]


class Bound(NamedTuple):
    """The most that a document may cost: a multiple of orjson's cost, or a fixed allowance.

    Attributes:
        times: Times of orjson.loads plus orjson.dumps.
        us: Microseconds that are always allowed.
        ns_per_byte: Nanoseconds a byte of the document that are always allowed beside them.
    """

    times: float
    us: float
    ns_per_byte: float


BOUNDS = {"native": Bound(3, 3, 20), "python": Bound(100, 60, 0)}
"""The bounds by engine: of documents there and back, and of events."""


def allowed_us(orjson_us: float, size: float, engine: str = ENGINE) -> float:
    """Return the microseconds that an engine may take for a document of that many bytes."""
    bound = BOUNDS[engine]
    return max(bound.times * orjson_us, bound.us + bound.ns_per_byte * size / 1e3)


def medians_us(runs: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """Interleave contenders; return the median time of one call of each, in microseconds."""
    repeats = {name: _repeats(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    gc.collect()
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run, repeats[name]) / repeats[name] * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def seconds(run: Run, repeats: int = 1) -> float:
    """Return the time of that many calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return time.perf_counter() - start


def _repeats(run: Run) -> int:
    """Warm up; return how many calls take about half a millisecond."""
    once = seconds(run)
    if once > 0.0005:
        return 1
    seconds(run, 10)
    return max(1, int(0.0005 / (seconds(run, 5) / 5)))


def show(step: str) -> None:
    """Show on a terminal what is being measured; an empty step clears the line."""
    if sys.stderr.isatty():
        print(f"\r{step:<78}" + ("" if step else "\r"), end="", file=sys.stderr, flush=True)
