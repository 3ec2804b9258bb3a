"""A seeded search for the documents that cost most, there and back, in relation to what they may cost."""

import random
from typing import Any, NamedTuple

import orjson

from benchmarks import events, families
from benchmarks.families import FAMILIES, PLACES, Case
from benchmarks.measure import allowed_us, medians_us, seconds, show
from mistralwire.codec import ENGINE, binary_to_json, json_to_binary
from mistralwire.errors import DecodeError

BYTES_MAX = 64 * 1024
_READABLE = {b"\\ud800": b"\\ufffd", b"\\udfff": b"\\ufffd", b"\\udc00": b"\\ufffd", b"1e400": b"1e300"}
TRIES, NEIGHBOURS = 50, 25
"""Cases that are drawn of each family, and then tried around the dearest of them."""


class Found(NamedTuple):
    """One case that was measured.

    Attributes:
        name: Its family, and where the value stands.
        size: Bytes of a document.
        us: Microseconds of a conversion there and back.
        orjson_us: Those of orjson.loads and orjson.dumps.
        of_bound: Share of what is allowed; more than 1 breaks the bound.
    """

    name: str
    size: float
    us: float
    orjson_us: float
    of_bound: float


def search(seed: int = 0) -> list[dict[str, Any]]:
    """Return the dearest case that was found of each family."""
    found = []
    for family in FAMILIES:
        show(f"{ENGINE}: the dearest of {family}")
        found.append(_search(family, random.Random(f"{seed} {family}")))
    show(f"{ENGINE}: the dearest of tiny events")
    found.append(_tiny_events(random.Random(f"{seed} events")))
    return [each._asdict() for each in found]


def _search(family: str, chance: random.Random) -> Found:
    drawn = [_draw(chance) for _ in range(TRIES)]
    best = max(drawn, key=lambda parameters: _quick(family, parameters))
    around = [best, *(_vary(chance, best) for _ in range(NEIGHBOURS))]
    best = max(around, key=lambda parameters: _quick(family, parameters))
    return _measure(families.make_case(family, *best))


Parameters = tuple[str, int, int]
"""Place, size and seed."""


def _draw(chance: random.Random) -> Parameters:
    size = int(8 * (BYTES_MAX / 8) ** chance.random())
    return chance.choice(list(PLACES)), size, chance.getrandbits(32)


def _vary(chance: random.Random, parameters: Parameters) -> Parameters:
    place, size, seed = parameters
    size = min(max(int(size * 4 ** chance.uniform(-1, 1)), 8), BYTES_MAX)
    return chance.choice((place, *PLACES)), size, chance.choice((seed, chance.getrandbits(32)))


def _quick(family: str, parameters: Parameters) -> float:
    """Return the share of what is allowed, from few runs; 0 of a case that is refused."""
    case = families.make_case(family, *parameters)
    try:
        _convert(case)
    except DecodeError:
        return 0.0
    values = _values(case)
    ours = min(seconds(lambda: _convert(case)) for _ in range(3))
    theirs = min(seconds(lambda: _orjson(values)) for _ in range(3))
    return _found(case, ours * 1e6, theirs * 1e6).of_bound


def _measure(case: Case) -> Found:
    values = _values(case)
    medians = medians_us({"ours": lambda: _convert(case), "orjson": lambda: _orjson(values)}, 7)
    return _found(case, medians["ours"], medians["orjson"])


def _found(case: Case, us: float, orjson_us: float) -> Found:
    count = len(case.texts)
    size = sum(map(len, case.texts)) / count
    us, orjson_us = us / count, orjson_us / count
    return Found(f"{case.family}, {case.place}", size, us, orjson_us, us / allowed_us(orjson_us, size))


def _convert(case: Case) -> None:
    for text in case.texts:
        wire = json_to_binary(case.message_type, text, validate=False)
        binary_to_json(case.message_type, wire)


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
