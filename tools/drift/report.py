"""What `make drift` prints."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from tools.drift.compare import Difference
from tools.drift.known import Verdict
from tools.drift.sources import Reading

WIDTH = 110


def render(readings: Mapping[str, Reading], skipped: Mapping[str, str], verdict: Verdict) -> str:
    """Return the report.

    Args:
        readings: What was read, by the name of the source.
        skipped: Why other sources were not.
        verdict: The result of the comparison.
    """
    lines = [
        f"{source} {reading.version}: {len(reading.types)} types, "
        f"{sum(len(known.get(source, ())) for known in verdict.known.values())} known differences, "
        f"{len(verdict.unknown[source])} unknown"
        for source, reading in readings.items()
    ]
    lines += [f"{source}: skipped: {reason}" for source, reason in skipped.items()]
    lines += _known_lines(verdict)
    lines += _stale_lines(verdict)
    lines += _unknown_lines(readings, verdict)
    if verdict.is_clean:
        lines += ["", "The contract has not drifted."]
    return "\n".join(lines)


def _known_lines(verdict: Verdict) -> Iterator[str]:
    if verdict.known:
        yield from ("", "Known differences (tools/drift/known.toml)")
    for reason, by_source in sorted(verdict.known.items()):
        yield from ("", *_wrapped(reason, "  "))
        for sources, differences in _by_sources(by_source).items():
            yield f"    {', '.join(sources)}"
            yield from _by_text(differences)


def _by_sources(by_source: Mapping[str, list[Difference]]) -> Mapping[tuple[str, ...], list[Difference]]:
    """Return the differences by all sources that have them."""
    sources: dict[Difference, list[str]] = {}
    for source, differences in by_source.items():
        for difference in differences:
            sources.setdefault(difference, []).append(source)
    groups: dict[tuple[str, ...], list[Difference]] = {}
    for difference, names in sources.items():
        groups.setdefault(tuple(names), []).append(difference)
    return groups


def _by_text(differences: Iterable[Difference]) -> Iterator[str]:
    """Yield one paragraph for all places with the same difference."""
    places: dict[str, list[str]] = {}
    for place, what, sdk, contract in differences:
        places.setdefault(f"{what}: the SDK has {sdk}, the contract has {contract}", []).append(place)
    for text, where in places.items():
        yield from _wrapped(f"{text}: {', '.join(where)}", " " * 6)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if len(indent) < 4 else f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _stale_lines(verdict: Verdict) -> Iterator[str]:
    if verdict.stale:
        yield from ("", "Stale: tools/drift/known.toml explains what no longer differs; remove it there")
    yield from (f"  {entry.source}: {entry}" for entry in verdict.stale)


def _unknown_lines(readings: Mapping[str, Reading], verdict: Verdict) -> Iterator[str]:
    unknown = {source: differences for source, differences in verdict.unknown.items() if differences}
    if unknown:
        yield from ("", "Unknown differences: change the contract, or explain them in tools/drift/known.toml")
    for source, differences in unknown.items():
        yield f"  {source} {readings[source].version}"
        yield from (f"    {difference}" for difference in differences)
