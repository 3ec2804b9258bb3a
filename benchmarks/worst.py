"""A seeded search for the documents that cost most, there and back, relative to their limit."""

import random
from typing import Any, Literal, NamedTuple

import orjson

from benchmarks import events
from benchmarks.measure import allowed_us, medians_us, seconds, show
from mistralwire.codec import ENGINE, binary_to_json, json_to_binary
from mistralwire.errors import DecodeError
from tests import families
from tests.families import FAMILIES, PLACES, Case

BYTES_MAX = 64 * 1024
_SPELLINGS: tuple[Literal["snake", "camel"], ...] = ("snake", "camel")
_READABLE = {b"\\ud800": b"\\ufffd", b"\\udfff": b"\\ufffd", b"\\udc00": b"\\ufffd", b"1e400": b"1e300"}
TRIES, NEIGHBOURS, FINALISTS = 100, 50, 4
"""Cases that are drawn of each family, tried around the most expensive of them, and measured in full."""


class Found(NamedTuple):
    """One case that was measured.

    Attributes:
        name: Its family, and where the value stands.
        size: Bytes of a document.
        us: Microseconds of a conversion there and back.
        orjson_us: Those of orjson.loads and orjson.dumps.
        of_bound: Share of the limit; more than 1 breaks it.
    """

    name: str
    size: float
    us: float
    orjson_us: float
    of_bound: float


def search(seed: int = 0) -> list[dict[str, Any]]:
    """Return the most expensive case that was found of each family."""
    found = []
    for family in FAMILIES:
        show(f"{ENGINE}: the most expensive of {family}")
        found.append(_search(family, random.Random(f"{seed} {family}")))
    show(f"{ENGINE}: the most expensive of tiny events")
    found.append(_tiny_events(random.Random(f"{seed} events")))
    show(f"{ENGINE}: the most expensive stream to accumulate")
    found.append(_accumulated(random.Random(f"{seed} accumulated")))
    return [each._asdict() for each in found]


def _search(family: str, chance: random.Random) -> Found:
    drawn = [_draw(chance) for _ in range(TRIES)]
    best = max(drawn, key=lambda choice: _quick(family, choice))
    around = [best, *(_vary(chance, best) for _ in range(NEIGHBOURS))]
    around.sort(key=lambda choice: _quick(family, choice))
    # A quick run may have been disturbed: the first of several is found by measuring them.
    found = [_measure(choice, family) for choice in around[-FINALISTS:]]
    return max(found, key=lambda each: each.of_bound)


class Choice(NamedTuple):
    """The parameters that a search varies.

    Attributes:
        place: Where the value stands.
        size: Bytes of the value, about.
        seed: What else the family leaves to chance.
        validate: Whether the document is validated.
        names: The spelling of names that is written.
    """

    place: str
    size: int
    seed: int
    validate: bool
    names: Literal["snake", "camel"]

    def case(self, family: str) -> Case:
        """Return the documents of a family."""
        return families.make_case(family, self.place, self.size, self.seed)


def _draw(chance: random.Random) -> Choice:
    size = int(8 * (BYTES_MAX / 8) ** chance.random())
    place, seed = chance.choice(list(PLACES)), chance.getrandbits(32)
    return Choice(place, size, seed, chance.random() < 0.3, chance.choice(_SPELLINGS))


def _vary(chance: random.Random, choice: Choice) -> Choice:
    return Choice(
        place=chance.choice((choice.place, *PLACES)),
        size=min(max(int(choice.size * 4 ** chance.uniform(-1, 1)), 8), BYTES_MAX),
        seed=chance.choice((choice.seed, chance.getrandbits(32))),
        validate=choice.validate,
        names=chance.choice((choice.names, *_SPELLINGS)),
    )


def _quick(family: str, choice: Choice) -> float:
    """Return the share of the limit, from few runs; 0 for a case that is refused."""
    case = choice.case(family)
    try:
        _convert(case, choice)
    except DecodeError:
        return 0.0
    values = _values(case)
    ours = min(seconds(lambda: _convert(case, choice)) for _ in range(3))
    theirs = min(seconds(lambda: _orjson(values)) for _ in range(3))
    return _found(case, ours * 1e6, theirs * 1e6).of_bound


def _measure(choice: Choice, family: str) -> Found:
    case = choice.case(family)
    values = _values(case)
    medians = medians_us({"ours": lambda: _convert(case, choice), "orjson": lambda: _orjson(values)}, 7)
    return _found(case, medians["ours"], medians["orjson"])


def _found(case: Case, us: float, orjson_us: float) -> Found:
    count = len(case.texts)
    size = sum(map(len, case.texts)) / count
    us, orjson_us = us / count, orjson_us / count
    return Found(f"{case.family}, {case.place}", size, us, orjson_us, us / allowed_us(orjson_us, size))


def _convert(case: Case, choice: Choice) -> None:
    for text in case.texts:
        wire = json_to_binary(case.message_type, text, validate=choice.validate)
        binary_to_json(case.message_type, wire, names=choice.names)


def _values(case: Case) -> list[tuple[bytes, Any]]:
    return [(text, orjson.loads(text)) for text in map(_readable, case.texts)]


def _readable(text: bytes) -> bytes:
    """Return a document of the same length that orjson reads."""
    for odd, plain in _READABLE.items():
        text = text.replace(odd, plain)
    return text


def _orjson(values: list[tuple[bytes, Any]]) -> None:
    for text, value in values:
        orjson.loads(text)
        orjson.dumps(value)


def _tiny_events(chance: random.Random) -> Found:
    seeds = [chance.getrandbits(32) for _ in range(TRIES)]
    best = max(seeds, key=lambda seed: _measure_events(seed, rounds=1).of_bound)
    return _measure_events(best, rounds=7)


def _measure_events(seed: int, rounds: int) -> Found:
    size, us, orjson_us = events.there_and_back(families.tiny_events(seed), rounds)
    return Found("tiny events", size, us, orjson_us, us / allowed_us(orjson_us, size))


def _accumulated(chance: random.Random) -> Found:
    seeds = [chance.getrandbits(32) for _ in range(TRIES)]
    best = max(seeds, key=lambda seed: _measure_accumulated(seed, rounds=1).of_bound)
    return _measure_accumulated(best, rounds=7)


def _measure_accumulated(seed: int, rounds: int) -> Found:
    size, us, orjson_us = events.accumulated(families.pieces_of_streams(seed), rounds)
    # Streams are put together in Python, whichever engine converts their chunks.
    return Found("a stream put together", size, us, orjson_us, us / allowed_us(orjson_us, size, "python"))
