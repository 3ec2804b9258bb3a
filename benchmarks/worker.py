"""One section of the benchmark in a process of its own, with the engine that MISTRALWIRE_ENGINE names.

    python -m benchmarks.worker conversion 11

prints its figures as JSON; the second argument is the number of rounds.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.measure import show


def _conversion(rounds: int) -> Any:
    from benchmarks import conversion
    from mistralwire.codec import ENGINE

    return conversion.measure(rounds, has_peers=ENGINE == "native")


def _events(rounds: int) -> Any:
    from benchmarks import events

    return events.measure(rounds)


def _first(_rounds: int) -> Any:
    from benchmarks import process

    return process.first_pass()


def _large(rounds: int) -> Any:
    from benchmarks import process

    return process.large(min(rounds, 5))


def _worst(_rounds: int) -> Any:
    from benchmarks import worst

    return worst.search()


def _loop(_rounds: int) -> Any:
    from benchmarks import loop

    return loop.longest_holds()


# Each imports no more than it measures.
SECTIONS: dict[str, Callable[[int], Any]] = {
    "conversion": _conversion,
    "events": _events,
    "first": _first,
    "large": _large,
    "loop": _loop,
    "worst": _worst,
}


if __name__ == "__main__":
    figures = SECTIONS[sys.argv[1]](int(sys.argv[2]))
    show("")
    print(json.dumps(figures))
