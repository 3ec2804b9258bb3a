"""The tables and the goals."""

from typing import Any, NamedTuple

from benchmarks.measure import BOUNDS
from benchmarks.peers import (
    BINARY_TO_JSON,
    DUMPS,
    FROM_JSON,
    JSON_FORMAT,
    JSON_TO_BINARY,
    LOADS,
    PROTOBUF_PY,
    SDK,
    TO_JSON,
)

Figures = Any
KINDS = ("chunk", "response", "request")
LOAD_MS_MAX = 15
FIRST_PASS_MAX = 1.5
PADDED_MAX = 1.2
LARGE_CPU_MAX = 0.5
LARGE_GAP_MS_MAX = 20


def verdict(is_reached: bool) -> str:
    return "yes" if is_reached else "NO"


class Line(NamedTuple):
    """One line of the table of conversions: the cost of a function relative to another.

    Attributes:
        ours: The codec's function.
        other: The function that it is compared with.
        at_most: The times of the other's cost that the native engine is to reach; None for none.
        requests_at_most: The same for requests, if it is another.
        is_speed: Whether to show how many times as fast it is, rather than its cost.
    """

    ours: str
    other: str
    at_most: float | None = None
    requests_at_most: float | None = None
    is_speed: bool = False

    @property
    def label(self) -> str:
        return f"{self.ours}, as fast as {self.other}" if self.is_speed else f"{self.ours} / {self.other}"

    def limit(self, kind: str) -> float | None:
        return self.requests_at_most if kind == "request" and self.requests_at_most else self.at_most


LINES = (
    Line(JSON_TO_BINARY, LOADS, 0.7),
    Line(FROM_JSON, LOADS, 1.3),
    Line(BINARY_TO_JSON, DUMPS, 1.3, 1.7),
    Line(TO_JSON, DUMPS, 2.7),
    Line(JSON_TO_BINARY, PROTOBUF_PY, 1 / 3, is_speed=True),
    Line(BINARY_TO_JSON, PROTOBUF_PY, 1 / 2, is_speed=True),
    Line(FROM_JSON, JSON_FORMAT, is_speed=True),
    Line(TO_JSON, JSON_FORMAT, is_speed=True),
    Line(FROM_JSON, SDK, is_speed=True),
    Line(TO_JSON, SDK, is_speed=True),
)


def conversion(engine: str, sets: Figures) -> None:
    """Print the table of conversions: one part a kind of documents, one column a set of them."""
    print(f"\nconversion, {engine} engine: microseconds a document, and its cost in relation to the other's")
    print(f"  {'':<42}{'to reach':>8}" + "".join(f"{f'{name} documents':>27}" for name in sets))
    for kind in KINDS:
        shown = [figures[kind] for figures in sets.values()]
        print(f"  {kind:<50}" + "".join(f"{each['documents']:>27}" for each in shown))
        for line in LINES:
            if any(line.other in each["us"] for each in shown):
                goal = line.limit(kind) if engine == "native" else None
                heading = _heading(line.label, goal, is_speed=line.is_speed)
                print((heading + "".join(_cell(line, each, goal) for each in shown)).rstrip())
        if kind == "chunk":
            for name in (JSON_TO_BINARY, BINARY_TO_JSON):
                goal = PADDED_MAX if engine == "native" else None
                heading = _heading(f"{name}, with p / without", goal, is_speed=False)
                cells = (_ratio(each["padded"][name], goal, is_speed=False) for each in shown)
                print((heading + "".join(f"{'':>11}{cell}" for cell in cells)).rstrip())


def _heading(label: str, goal: float | None, *, is_speed: bool) -> str:
    shown = "" if goal is None else f">= {1 / goal:.0f}x" if is_speed else f"<= {goal:.1f}"
    return f"    {label:<40}{shown:>8}"


def _cell(line: Line, figures: Figures, goal: float | None) -> str:
    if line.other not in figures["us"]:
        return f"{'-':>19}{'':>8}"
    return f"{figures['us'][line.ours]:>11.2f}" + _ratio(
        figures["times"][line.ours][line.other], goal, is_speed=line.is_speed
    )


def _ratio(times: float, goal: float | None, *, is_speed: bool) -> str:
    shown = f"{1 / times:.1f}x" if is_speed else f"{times:.2f}"
    reached = "" if goal is None else verdict(times <= goal)
    return f"{shown:>11} {reached:<4}"


def events(engine: str, rows: Figures) -> None:
    """Print the cost of an event of a stream."""
    print(f"\nevents, {engine} engine: microseconds an event; {_bound(engine)}")
    print(f"  {'':<38}{'bytes':>7}{'us':>10}{'orjson':>10}{'ratio':>8}")
    for row in rows:
        _print_bounded(f"{row['stream']}, {row['step']}", row)


def worst(engine: str, rows: Figures) -> None:
    """Print the most expensive document of each family, there and back."""
    print(f"\nmost expensive documents found, {engine} engine, there and back: {_bound(engine)}")
    print(f"  {'':<38}{'bytes':>7}{'us':>10}{'orjson':>10}{'ratio':>8}")
    for row in rows:
        _print_bounded(row["name"], row)


def _bound(engine: str) -> str:
    bound = BOUNDS[engine]
    allowed = f"{bound.us:g} us" + (f" + {bound.ns_per_byte:g} ns a byte" if bound.ns_per_byte else "")
    return f"at most {bound.times:g} times orjson.loads + orjson.dumps, or {allowed}"


def _print_bounded(name: str, row: Figures) -> None:
    ratio = row["us"] / row["orjson_us"]
    reached = verdict(row["of_bound"] <= 1)
    print(
        f"  {name:<38}{row['size']:>7.0f}{row['us']:>10.2f}{row['orjson_us']:>10.2f}{ratio:>8.1f}  {reached}"
    )


def first(engine: str, figures: Figures) -> None:
    """Print the cost of the first pass over different documents."""
    ratio = figures["first_us"] / figures["second_us"]
    print(
        f"\n2,000 different documents, {engine} engine, there and back: the very first "
        f"{figures['first_call_us']:.0f} us; a document of the first pass {figures['first_us']:.2f} us, "
        f"of the second {figures['second_us']:.2f}\n"
        f"  first / second: {ratio:.2f}, to reach <= {FIRST_PASS_MAX}: {verdict(ratio <= FIRST_PASS_MAX)}"
    )


def large(engine: str, sets: Figures) -> None:
    """Print processor time and the longest gap of another thread, for documents of 10 MB."""
    print(f"\n10 MB, {engine} engine: ms of processor time, / orjson's; longest gap of another thread in ms")
    for name, figures in sets.items():
        for step, each in figures.items():
            other = figures["orjson.dumps" if step in (BINARY_TO_JSON, "orjson.dumps") else "orjson.loads"]
            ratio = each["cpu_ms"] / other["cpu_ms"]
            cells = f"  {name:<22}{step:<18}{each['cpu_ms']:>8.1f}{ratio:>8.2f}"
            is_goal = engine == "native" and step == JSON_TO_BINARY
            cpu = f"<= {LARGE_CPU_MAX}: {verdict(ratio <= LARGE_CPU_MAX)}" if is_goal else ""
            gap = f"~ {LARGE_GAP_MS_MAX}: {verdict(each['gap_ms'] <= LARGE_GAP_MS_MAX)}" if is_goal else ""
            print(f"{cells}  {cpu:<12}{each['gap_ms']:>8.1f}  {gap}".rstrip())


def load(milliseconds: float) -> None:
    """Print the time that loading the native engine takes."""
    reached = verdict(milliseconds <= LOAD_MS_MAX)
    print(f"\nloading the native engine: {milliseconds:.1f} ms, to reach <= {LOAD_MS_MAX}: {reached}")


def processes(imports: dict[str, float], memory: dict[str, dict[str, float]]) -> None:
    """Print the time of imports, and what a large document adds to the peak memory."""
    print(
        "\nimport, ms: " + "; ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in imports.items())
    )
    print("reading 10 MB, MB added to the peak memory:")
    for document, readers in memory.items():
        print(f"  {document:<22}" + "; ".join(f"{name} {mb:.0f}" for name, mb in readers.items()))


def loop(engine: str, figures: Figures) -> None:
    """Print how long the gateway's event loop was held under each kind of traffic."""
    print(f"\nlongest hold of the gateway's event loop, {engine} engine, in milliseconds")
    print(f"  {'hostile traffic':<34}{'hold':>8}{'delay':>8}{'small request':>16}{'answered':>10}")
    for name, each in figures.items():
        times = f"{each['hold_ms']:>8.1f}{each['delay_ms']:>8.1f}{each['light_ms']:>16.1f}"
        print(f"  {name:<34}{times}{each['light']:>10}")
    print("  hold: processor time of the loop's thread; delay: with waits for the GIL and a processor")
