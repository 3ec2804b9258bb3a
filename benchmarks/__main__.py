"""`make bench`: measure the codec against its peers, print a table, write benchmarks/results.json."""

import argparse
import gc
import json
import pathlib
import platform
import statistics
import sys
import time

from benchmarks import documents, process
from benchmarks.peers import CODEC, JSON_FORMAT, JSON_FORMAT_COMPACT, ORJSON, SDK, Contest, Peers, Run
from mistralwire.codec import ENGINE

RESULTS = pathlib.Path(__file__).parent / "results.json"
# What the codec is to reach on the median document: times as fast as these, and at most so many times the
# cost of orjson.
TARGETS = {
    ("read", JSON_FORMAT): 8.0,
    ("read", SDK): 3.0,
    ("read", ORJSON): 6.0,
    ("write", JSON_FORMAT): 6.0,
    ("write", SDK): 3.0,
}

LOAD_MS_MAX = 15
"""What making all plans and packing them for the native engine may take."""

# Microseconds by contender, for one document.
Times = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="interleaved runs of each contender (11)")
    rounds = parser.parse_args().rounds
    print(f"codec: {ENGINE} engine" + ("" if ENGINE == "native" else "; make native builds the other"))
    peers = Peers()
    contests = [peers.contest(document) for document in documents.load()]
    read, write = _measure(contests, rounds)
    kinds = [contest.document.kind for contest in contests]
    results: dict[str, object] = {
        "engine": ENGINE,
        "python": platform.python_version(),
        "documents": {kind: kinds.count(kind) for kind in ("response", "chunk", "request")},
        "median_bytes": statistics.median(len(contest.document.text) for contest in contests),
    }
    for name, times in (("read", read), ("write", write)):
        results[name] = _report(name, times, kinds)
    imports = process.import_times_ms(rounds)
    memory = process.peak_memory_mb()
    results |= {"import_ms": imports, "peak_memory_mb": memory}
    _report_process(imports, memory)
    if ENGINE == "native":
        results["load_ms"] = process.load_time_ms(rounds)
        print(f"\nloading the native engine: {results['load_ms']:.1f} ms (at most {LOAD_MS_MAX})")
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(pathlib.Path.cwd())}")


def _measure(contests: list[Contest], rounds: int) -> tuple[list[Times], list[Times]]:
    read: list[Times] = []
    write: list[Times] = []
    for number, contest in enumerate(contests, 1):
        if sys.stderr.isatty():
            print(f"\rmeasuring document {number} of {len(contests)}", end="", file=sys.stderr, flush=True)
        read.append(_medians_us(contest.read, rounds))
        write.append(_medians_us(contest.write, rounds))
    if sys.stderr.isatty():
        print("\r" + " " * 50 + "\r", end="", file=sys.stderr)
    return read, write


def _medians_us(runs: dict[str, Run], rounds: int) -> Times:
    """Run the contenders in turns, and give the median time of one call of each, in microseconds."""
    repeats = {name: _repeats(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    gc.collect()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            times[name].append((time.perf_counter() - start) / repeats[name] * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def _repeats(run: Run) -> int:
    """Warm up, and give how many calls take about half a millisecond."""
    for _ in range(12):
        run()
    start = time.perf_counter()
    for _ in range(5):
        run()
    return max(3, int(0.0005 / ((time.perf_counter() - start) / 5)))


def _report(name: str, times: list[Times], kinds: list[str]) -> dict[str, object]:
    """Print one table; give its figures."""
    peers = [CODEC, JSON_FORMAT, JSON_FORMAT_COMPACT, SDK, ORJSON]
    peers = [peer for peer in peers if any(peer in row for row in times)]
    print(f"\n{name}: microseconds a document (median), and what the codec is in relation to each")
    print(f"  {'documents':<14}{'n':>5}" + "".join(f"{peer:>24}" for peer in peers))
    result: dict[str, object] = {}
    for kind in ("response", "chunk", "request", "all"):
        rows = [row for row, its in zip(times, kinds, strict=True) if kind in (its, "all")]
        if not rows:
            continue
        figures = {peer: _figures(rows, peer) for peer in peers}
        cells = "".join(f"{_cell(peer, *figures[peer]):>24}" for peer in figures)
        print(f"  {kind:<14}{len(rows):>5}{cells}")
        result[kind] = {peer: {"us": us, "ratio": ratio, "n": n} for peer, (us, ratio, n) in figures.items()}
        if kind == "all":
            targets = "".join(f"{_target(name, peer, figures[peer][1]):>24}" for peer in figures)
            print(f"  {'to reach':<19}{targets}".rstrip())
    return result


def _figures(rows: list[Times], peer: str) -> tuple[float, float, int]:
    """Give a contender's median time, the median of the ratio to the codec's, and its documents."""
    both = [row for row in rows if peer in row]
    if not both:
        return float("nan"), float("nan"), 0
    ratio = statistics.median(
        row[CODEC] / row[peer] if peer == ORJSON else row[peer] / row[CODEC] for row in both
    )
    return statistics.median(row[peer] for row in both), ratio, len(both)


def _cell(peer: str, us: float, ratio: float, n: int) -> str:
    if not n:
        return "-"
    if peer == CODEC:
        return f"{us:.2f}"
    return f"{us:.2f} ({ratio:.1f}x {'its cost' if peer == ORJSON else 'faster'})"


def _target(name: str, peer: str, ratio: float) -> str:
    target = TARGETS.get((name, peer))
    if target is None:
        return ""
    reached = ratio <= target if peer == ORJSON else ratio >= target
    return f"{'at most' if peer == ORJSON else 'at least'} {target:.0f}x: {'yes' if reached else 'NO'}"


def _report_process(imports: dict[str, float], memory: dict[str, dict[str, float]]) -> None:
    print("\nimport: milliseconds (median)")
    for name, milliseconds in imports.items():
        print(f"  {name:<28}{milliseconds:>8.1f}")
    print("\nreading a document of 10 MB: what it adds to the peak memory, in MB")
    for document, readers in memory.items():
        print(
            f"  {document:<28}" + "  ".join(f"{name} {megabytes:.0f}" for name, megabytes in readers.items())
        )


if __name__ == "__main__":
    main()
