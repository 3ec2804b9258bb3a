"""What inputs look like, where fuzzing starts from, and how JSON is changed."""

import base64
import json
import pathlib
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.message import Message

from mistralwire.codec import json_to_binary
from mistralwire.codec._native import pack
from mistralwire.codec._plan import plan_for
from mistralwire.codec._sse._framer import stream_layout
from mistralwire.errors import DecodeError
from mistralwire.v1 import CompletionChunk, ErrorResponse, UsageInfo
from tests import families
from tests.documents import DOCUMENTS
from tests.strategies import MESSAGE_TYPES
from tools.vectors import load, message_type

PACKED, _INDEX = pack(map(plan_for, MESSAGE_TYPES))
"""The plans of all messages, packed for the targets in Rust."""


_CHUNK = plan_for(CompletionChunk)
STREAM = (_INDEX[_CHUNK], _INDEX[plan_for(ErrorResponse)], *stream_layout(_CHUNK)[1:])
"""What targets in Rust are to know of streams: the indices of chunk and error body, and fields of a chunk."""


class Input(NamedTuple):
    """One input of a target.

    Attributes:
        message_type: The type to read the data as.
        mode: Options of the target, as bits.
        data: The rest.
    """

    message_type: type[Message]
    mode: int
    data: bytes


def decode(data: bytes) -> Input | None:
    """Read an input of a target in Python; None if it is too short."""
    if len(data) < 2:
        return None
    return Input(MESSAGE_TYPES[data[0] % len(MESSAGE_TYPES)], data[1], data[2:])


def encode(item: Input) -> bytes:
    """Write an input for a target in Python."""
    return bytes([MESSAGE_TYPES.index(item.message_type), item.mode]) + item.data


def encode_for_rust(item: Input) -> bytes:
    """Write an input for a target in Rust, which knows the index of a plan."""
    return bytes([_INDEX[plan_for(item.message_type)], item.mode]) + item.data


# What servers send although it is not JSON, or rarely written JSON.
_NO_JSON = (
    b'\xef\xbb\xbf{"prompt_tokens":1.0,"x":[NaN,{"y":-Infinity}],"total_tokens":Infinity}',
    b'{"prompt_tokens":2147483647.000E0,"x":9007199254740993.0,}',
    b'{"a":"\\ud800","b":[1 2],\'c\':/**/tru}',
)


def texts() -> Iterator[Input]:
    """Yield JSON texts: documents of the tests, the vectors and the expensive families, in both modes."""
    found = [(document.message_type, document.text) for document in DOCUMENTS]
    for case in (*load("documents"), *load("refused")):
        text = base64.b64decode(case["json_base64"]) if "json_base64" in case else case["json"].encode()
        found.append((message_type(case), text))
    found += [(case.message_type, case.texts[0]) for case in families.sample(0)]
    found += [(its_type, b"{}") for its_type in MESSAGE_TYPES]
    found += [(UsageInfo, text) for text in _NO_JSON]
    for its_type, text in found:
        yield from (Input(its_type, mode, text) for mode in (0, 1))


def wires() -> Iterator[Input]:
    """Yield wire bytes: those of the texts, and of the vectors' programs."""
    for item in texts():
        try:
            yield item._replace(data=json_to_binary(item.message_type, item.data, validate=False))
        except DecodeError:
            continue
    for case in load("programs"):
        yield from (Input(message_type(case), mode, base64.b64decode(case["wire"])) for mode in (0, 1))


def streams() -> Iterator[Input]:
    """Yield streams: those of the vectors, and one of tiny events."""
    yield Input(CompletionChunk, 0, families.tiny_events(0, count=5))
    for case in load("streams"):
        yield Input(message_type(case), int(case["validate"]), case["sse"].encode())


PYTHON_SEEDS = {"convert": texts, "wire": wires, "sse": streams}
RUST_SEEDS = {"rust-from_json": texts, "rust-to_json": wires, "rust-sse": streams}
"""Where each target starts from, in Python and in Rust."""


def write_seeds(target: str, folder: pathlib.Path) -> None:
    """Write a target's seeds into a folder, a file each."""
    write = encode_for_rust if target in RUST_SEEDS else encode
    for number, item in enumerate((PYTHON_SEEDS | RUST_SEEDS)[target]()):
        (folder / f"{number:04}").write_bytes(write(item))


def mutated(data: bytes, seed: int) -> bytes | None:
    """Return an input with one value of its JSON changed; None if its data is no object."""
    chance = random.Random(seed)
    head, body = data[:2], data[2:]
    prefix, suffix = (b"data: ", b"\n\n") if body.startswith(b"data: ") else (b"", b"")
    body, end, rest = body.removeprefix(prefix).partition(b"\n\n") if prefix else (body, b"", b"")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    _mutate(chance, value)
    return head + prefix + json.dumps(value).encode() + (end or suffix) + rest


def _mutate(chance: random.Random, container: Any) -> None:
    """Replace, drop, double or rename one value, anywhere in a container."""
    steps = list(container) if isinstance(container, dict) else list(range(len(container)))
    if not steps:
        if isinstance(container, dict):
            container[chance.choice(NAMES)] = chance.choice(VALUES)
        return
    step = chance.choice(steps)
    child = container[step]
    if isinstance(child, dict | list) and child and chance.random() < 0.7:
        _mutate(chance, child)
        return
    action = chance.randrange(5)
    if action == 0:
        del container[step]
    elif action == 1 and isinstance(container, dict):
        container[chance.choice(NAMES)] = container.pop(step)
    elif action == 2 and isinstance(container, list):
        container.append(child)
    elif action == 3 and isinstance(container, dict):
        container[chance.choice(NAMES)] = child
    else:
        container[step] = chance.choice(VALUES)


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, 5e-324, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30),
    *("", "a", "é", "😀", "\ud800", "\x00", "text", "stop", "assistant", "function"),
    *([], {}, [[]], [{}], [None], ["a", 1], {"type": "text"}, {"type": "?"}, {"role": "user"}),
)
NAMES = sorted({name for each in MESSAGE_TYPES for name in plan_for(each).by_name} | {"", "x", "p"})
