"""The differences that are meant, and why: known.toml."""

import dataclasses
import fnmatch
import pathlib
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from tools.drift.compare import Difference

KNOWN_FILE = pathlib.Path(__file__).with_name("known.toml")


@dataclasses.dataclass(frozen=True)
class Known:
    """Differences that are meant, in one source and at one pattern of places.

    Attributes:
        source: Name of the source.
        place: Pattern of the places, with `*` for any text, like the next three.
        what: What differs there.
        sdk: What the SDK has there.
        contract: What the contract has there.
        reason: Why.
    """

    source: str
    place: str
    what: str
    sdk: str
    contract: str
    reason: str

    def covers(self, source: str, difference: Difference) -> bool:
        """Return whether a difference of a source is one of these."""
        patterns = (self.place, self.what, self.sdk, self.contract)
        return source == self.source and all(map(fnmatch.fnmatchcase, difference, patterns))

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: the SDK has {self.sdk}, the contract has {self.contract}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        unknown: Unknown differences by source.
        known: Known differences by reason and source.
        stale: Entries that no difference matches.
    """

    unknown: Mapping[str, list[Difference]]
    known: Mapping[str, Mapping[str, list[Difference]]]
    stale: list[Known]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is unknown or stale."""
        return not self.stale and not any(self.unknown.values())


def load_known(path: pathlib.Path = KNOWN_FILE) -> list[Known]:
    """Return the known differences, one entry for each source and place."""
    document: list[dict[str, Any]] = tomllib.loads(path.read_text())["known"]
    return [
        Known(
            source, place, entry["what"], entry.get("sdk", "*"), entry.get("contract", "*"), known["reason"]
        )
        for known in document
        for entry in known["differences"]
        for source in entry["sources"]
        for place in entry["places"]
    ]


def judge(differences: Mapping[str, Iterable[Difference]], known: Iterable[Known]) -> Verdict:
    """Separate known differences from unknown ones, and find stale entries.

    Args:
        differences: The differences by the name of their source.
        known: The known differences; those of sources that were not read are ignored.
    """
    unknown: dict[str, list[Difference]] = {source: [] for source in differences}
    explained: dict[str, dict[str, list[Difference]]] = {}
    unused = [entry for entry in known if entry.source in differences]
    entries = list(unused)
    for source, found in differences.items():
        for difference in found:
            matching = [entry for entry in entries if entry.covers(source, difference)]
            unused = [entry for entry in unused if entry not in matching]
            if matching:
                explained.setdefault(matching[0].reason, {}).setdefault(source, []).append(difference)
            else:
                unknown[source].append(difference)
    return Verdict(unknown, explained, unused)
