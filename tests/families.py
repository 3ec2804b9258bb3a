"""Families of documents that may be expensive to convert: for the benchmark, for fuzzing and for tests.

Each family makes JSON values of about a given size; a place puts a value into a document. All documents are
JSON objects, so that reading without validation accepts them, unless they are beyond a limit.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from google.protobuf.message import Message

from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    ErrorResponse,
    UsageInfo,
)

NUMBERS = (
    *("0", "1", "-0", "1.0", "0.1", "1e100", "-1E+2", "1e400", "5e-324", "2.2250738585072011e-308"),
    *("2147483648", "9007199254740993", "18446744073709551616", "0.1000000000000000055", "9" * 40),
)
_ESCAPES = ("\\n", '\\"', "\\\\", "\\/", "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\u0000")
_MISFITS = (
    "1",
    "null",
    "true",
    '"a"',
    "[]",
    "{}",
    "[null]",
    '{"type":5}',
    '{"role":"?"}',
    '{"index":"a"}',
    "1e3",
)
_BOTH_SPELLINGS = (
    '{"finishReason":"x","finish_reason":"stop"}',
    '{"finish_reason":"new","finishReason":1}',
    '{"toolCalls":1,"tool_calls":[{"id":"a"}]}',
    '{"toolCalls":[],"tool_calls":1}',
)
_NAMES = (
    *("id", "object", "model", "usage", "choices", "index", "delta", "message", "role", "content", "type"),
    *("tool_calls", "toolCalls", "finish_reason", "prompt_tokens", "promptTokens", "temperature", "x"),
)

Make = Callable[[random.Random, int], str]

PLACES: dict[str, tuple[type[Message], str]] = {
    "unknown member": (CompletionChunk, '{"x":%s}'),
    "deep unknown member": (CompletionChunk, '{"choices":[{"index":0,"delta":{"x":%s}}]}'),
    "content": (CompletionChunk, '{"choices":[{"index":0,"delta":{"content":%s}}]}'),
    "choices": (ChatCompletionResponse, '{"choices":%s}'),
    "arguments": (
        ChatCompletionResponse,
        '{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":%s}}]}}]}',
    ),
    "parameters": (
        ChatCompletionRequest,
        '{"tools":[{"type":"function","function":{"name":"f","parameters":{"x":%s}}}]}',
    ),
    "messages": (ChatCompletionRequest, '{"model":"m","messages":%s}'),
    "stop": (ChatCompletionRequest, '{"stop":%s}'),
    "error": (ErrorResponse, '{"message":%s}'),
    "count": (UsageInfo, '{"prompt_tokens":%s}'),
}
"""Where a value stands: the message type, and the document around the value."""


class Case(NamedTuple):
    """Documents that are converted one after the other.

    Attributes:
        family: The family of the value in them.
        place: Where it stands.
        message_type: What the documents are read as.
        texts: The documents.
    """

    family: str
    place: str
    message_type: type[Message]
    texts: list[bytes]


def _object(members: Iterable[str]) -> str:
    return f"{{{','.join(members)}}}"


def _list(size: int, items: Iterator[str]) -> str:
    parts: list[str] = []
    length = 0
    while length < size:
        parts.append(next(items))
        length += len(parts[-1]) + 1
    return f"[{','.join(parts)}]"


def _choices(chance: random.Random, items: tuple[str, ...]) -> Iterator[str]:
    # A few of them, so that a search can find the most expensive one.
    few = chance.sample(items, chance.randint(1, 3))
    while True:
        yield chance.choice(few)


def _repeated(item: str) -> Make:
    return lambda _, size: f"[{','.join([item] * (size // (len(item) + 1) + 1))}]"


def _members(chance: random.Random, size: int, width: int) -> str:
    value = chance.choice(("1", '"text"', "null", "[]", "{}", "1.0", "1e100"))
    return _object(f'"{at:0{width}}":{value}' for at in range(size // (width + 8) + 1))


def _number_words(chance: random.Random, size: int) -> str:
    word = chance.choice([*NUMBERS, *("NaN", "Infinity", "-", "1e", "e5", "123abc")]) + chance.choice(" ,")
    return f'"{word * (size // len(word) + 1)}"'


def _string(chance: random.Random, size: int, parts: tuple[str, ...]) -> str:
    item = next(_choices(chance, parts)) + chance.choice(("", "a", "text " * 5))
    return f'"{item * (size // len(item) + 1)}"'


def _nested(chance: random.Random, size: int) -> str:
    start, end, levels = chance.choice((("[", "]", 1), ('{"a":', "}", 1), ('[{"x":', "}]", 2)))
    depth = min(chance.choice((10, 90, 180)), size // len(start) + 1) // levels
    one = start * depth + "1" + end * depth
    return f"[{','.join([one] * max(size // len(one), 1))}]"


def _long_names(chance: random.Random, size: int) -> str:
    width = chance.choice((60, 600, 6_000))
    return _members(chance, max(size, width), width)


def _repeated_names(chance: random.Random, size: int) -> str:
    names = chance.sample(_NAMES, chance.randint(1, 4))
    value = chance.choice(_MISFITS)
    count = size // (len(names[0]) + len(value) + 4) + 1
    return _object(f'"{names[at % len(names)]}":{value}' for at in range(count))


def _shape(chance: random.Random, size: int) -> str:
    count = min(chance.randint(1, 12), size // 12 + 1)
    names = [chance.choice((*_NAMES, f"x{chance.getrandbits(30)}")) for _ in range(count)]
    members = {name: chance.choice((*_MISFITS, '"text"', "0", "1.5")) for name in names}
    return _object(f'"{name}":{value}' for name, value in members.items())


FAMILIES: dict[str, Make] = {
    "numbers": lambda chance, size: _list(size, _choices(chance, NUMBERS)),
    "number-like words": _number_words,
    "[{},{},...]": _repeated("{}"),
    "[1,1,...]": _repeated("1"),
    "lists of misfits": lambda chance, size: _list(size, _choices(chance, _MISFITS)),
    "deep nesting": _nested,
    "unknown members": lambda chance, size: _members(chance, size, 4),
    "long names": _long_names,
    "escapes": lambda chance, size: _string(chance, size, _ESCAPES),
    "lone surrogates": lambda chance, size: _string(chance, size, ("\\ud800", "\\udfff", "\\udc00\\ud800")),
    "names given twice": _repeated_names,
    "both spellings": lambda chance, size: _list(size, _choices(chance, _BOTH_SPELLINGS)),
    "new shapes": _shape,
}
"""What makes a JSON value of about so many bytes, by the name of the family."""

SHAPES = 100
"""Documents of one case of new shapes."""


def make_case(family: str, place: str, size: int, seed: int) -> Case:
    """Make the case of a seed.

    Args:
        family: A name of FAMILIES.
        place: A name of PLACES.
        size: Bytes of the value, about.
        seed: The case is the same for the same seed.
    """
    chance = random.Random(seed)
    message_type, around = PLACES[place]
    count = SHAPES if family == "new shapes" else 1
    texts = [(around % FAMILIES[family](chance, size)).encode() for _ in range(count)]
    return Case(family, place, message_type, texts)


def sample(seed: int, size: int = 60) -> Iterator[Case]:
    """Yield a small case of each family in each place."""
    for family in FAMILIES:
        for place in PLACES:
            yield make_case(family, place, size, seed)


_PIECE_MEMBERS = (
    ('"index":%(number)d,', '"index":0,', '"index":-%(number)d,'),
    ('"id":"i%(number)d",', '"id":"i%(at)d",', '"id":"same",'),
    ("f", "%(at)d", "ab", ""),
)
_PIECES = (
    '{"index":0,"delta":{"tool_calls":[{%(members)s"function":{"name":"%(name)s","arguments":"{"}}]}}',
    '{"index":%(number)d,"delta":{"content":"a","x":"%(name)s"}}',
    '{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]}]}}',
    '{"index":0,"delta":{"details":[{%(members)s"type":"%(name)s","text":"a"}],"name":"%(name)s"}}',
    '{"index":0,"delta":{"a":{"b":{"signature":"%(name)s","c":[{%(members)s"d":"%(name)s"}]}}}}',
)


def pieces_of_streams(seed: int, count: int = 500) -> list[bytes]:
    """Return the chunks of a stream whose pieces may be expensive to find a place for.

    Args:
        seed: What is left to chance: how many calls, choices and entries are open, in which order their
            pieces come, and which of index, id and name these have.
        count: The number of pieces.
    """
    chance = random.Random(seed)
    # What is drawn does not depend on the count.
    template, share, group = (
        chance.choice(_PIECES),
        chance.choice((0.0, 0.25, 1.0)),
        chance.choice((1, 10, 500)),
    )
    indexes, ids, names = (chance.choice(("", *templates)) for templates in _PIECE_MEMBERS)
    numbers = [number % (int(share * count) + 1) for number in range(count)]
    if chance.random() < 0.5:
        chance.shuffle(numbers)
    pieces = []
    for at, number in enumerate(numbers):
        values = {"number": number, "at": at}
        members = (indexes + ids) % values
        pieces.append(template % (values | {"members": members, "name": names % values}))
    groups = [pieces[first : first + group] for first in range(0, count, group)]
    return [b'{"choices":[%b]}' % ",".join(choices).encode() for choices in groups]


def tiny_events(seed: int, count: int = 500) -> bytes:
    """Return a stream of server-sent events whose data is next to nothing."""
    chance = random.Random(seed)
    datas = ("{}", '{"x":1}', '{"id":""}', '{"choices":[]}', '{"choices":null}', '{"usage":null}')
    few = chance.sample(datas, chance.randint(1, len(datas)))
    return b"".join(b"data: %b\n\n" % chance.choice(few).encode() for _ in range(count))
