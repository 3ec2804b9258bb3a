"""Fuzz the codec: any bytes are read, or refused with its one documented error; never anything else.

The first byte of an input says what to do with the rest: read it as one message type or another, strictly or
not, as a stream of server-sent events, or as protobuf wire bytes. What is read without validation must come
back the same. The tests' documents are where it starts; half of its mutations are of bytes, half of JSON.

Run it with `make fuzz`; arguments are libFuzzer's: `-max_total_time=60`, or a folder to keep inputs in.
"""

import contextlib
import decimal
import json
import pathlib
import random
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import atheris

with atheris.instrument_imports(include=["mistralwire.codec"]):
    from mistralwire.codec import (
        SseDecoder,
        binary_to_json,
        from_dict,
        from_json,
        json_to_binary,
        to_dict,
        to_json,
    )
    from mistralwire.codec._plan import MessagePlan, plan_for
    from mistralwire.errors import DecodeError, EncodeError
    from mistralwire.v1 import (
        ChatCompletionRequest,
        ChatCompletionResponse,
        CompletionChunk,
        ErrorResponse,
        FunctionCall,
        ModerationLlmv2CategoryThresholds,
        ReferenceChunk,
        ResourceChunk,
        UsageInfo,
    )

MESSAGE_TYPES = (
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    ErrorResponse,
    FunctionCall,
    ModerationLlmv2CategoryThresholds,
    ReferenceChunk,
    ResourceChunk,
    UsageInfo,
)


def exact(text: str) -> tuple[str, decimal.Decimal | str]:
    """Give a number so that it equals only the same number, and no boolean."""
    try:
        return "number", decimal.Decimal(text)
    except decimal.InvalidOperation:
        return "number", text.lower()


def parse(text: bytes) -> Any:
    """Parse JSON without loss."""
    return json.loads(text, parse_int=exact, parse_float=exact)


def spells_a_member_in_camel_case(plan: MessagePlan, value: Any, depth: int = 0) -> bool:
    """Say whether writing may give a member another name than it had."""
    if isinstance(value, list):
        return any(spells_a_member_in_camel_case(plan, item, depth) for item in value)
    if not isinstance(value, dict):
        return False
    return any("_" not in key and key != key.lower() for key in value) or any(
        spells_a_member_in_camel_case(plan, item, depth + 1) for item in value.values()
    )


def fuzz_lax(message_type: Any, data: bytes) -> None:
    """Check that what is read without validation comes back the same."""
    try:
        first = from_json(message_type, data, validate=False)
    except DecodeError:
        return
    written = to_json(first)
    original = parse(data)
    if not spells_a_member_in_camel_case(plan_for(message_type), original):
        assert parse(written) == original, written
    assert binary_to_json(message_type, json_to_binary(message_type, data, validate=False)) == written
    again = from_json(message_type, to_json(first, names="camel", indent=1), validate=False)
    assert parse(to_json(again)) == parse(written)
    try:
        values = to_dict(first)
    except EncodeError:
        return
    assert parse(to_json(from_dict(message_type, values, validate=False))) == parse(written)


def fuzz_strict(message_type: Any, data: bytes) -> None:
    """Check that validation accepts or refuses, and never loses anything."""
    with contextlib.suppress(DecodeError):
        assert from_json(message_type, data) == from_json(message_type, data, validate=False)


def fuzz_stream(message_type: Any, data: bytes) -> None:
    """Check that a stream gives events or a DecodeError, however it is cut."""
    outcomes = []
    for size in (max(len(data), 1), 1, 7):
        decoder = SseDecoder(message_type, validate=False)
        events: list[Any] = []
        for start in range(0, len(data), size):
            drain(decoder.feed(data[start : start + size]), events)
        try:
            drain(decoder.close(), events)
        except DecodeError as error:
            events.append(str(error))
        drain(decoder, events)
        outcomes.append(events)
    assert outcomes[0] == outcomes[1] == outcomes[2]


def drain(decoder: Iterator[Any], events: list[Any]) -> None:
    """Add what the decoder gives, the text of its errors included."""
    while True:
        try:
            events.append(next(decoder))
        except StopIteration:
            return
        except DecodeError as error:
            events.append(str(error))


def fuzz_wire(message_type: Any, data: bytes) -> None:
    """Check that wire bytes have a JSON form, which reads as the same JSON, or a documented error."""
    try:
        text = binary_to_json(message_type, data)
    except (DecodeError, EncodeError):
        return
    assert parse(to_json(from_json(message_type, text, validate=False))) == parse(text)


TARGETS = (fuzz_lax, fuzz_strict, fuzz_stream, fuzz_wire)


def test_one_input(data: bytes) -> None:
    """Do what the first byte says with the rest."""
    if data:
        target, message_type = divmod(data[0], len(MESSAGE_TYPES))
        TARGETS[target % len(TARGETS)](MESSAGE_TYPES[message_type], data[1:])


def mutate(data: bytes, size_max: int, seed: int) -> bytes:
    """Change an input: its bytes, or one value of its JSON."""
    chance = random.Random(seed)
    try:
        value = json.loads(data[1:].removeprefix(b"data: "))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or chance.random() < 0.5:
        return bytes(atheris.Mutate(data, size_max))
    mutate_value(chance, value)
    text = json.dumps(value).encode()
    event = b"data: " + text + b"\n\n" if data[1:6] == b"data:" else text
    return (data[:1] + event)[:size_max]


def mutate_value(chance: random.Random, container: Any) -> None:
    """Replace, drop, double or rename one value, anywhere in a container."""
    steps = list(container) if isinstance(container, dict) else list(range(len(container)))
    if not steps:
        return
    step = chance.choice(steps)
    child = container[step]
    if isinstance(child, dict | list) and child and chance.random() < 0.7:
        mutate_value(chance, child)
        return
    action = chance.randrange(4)
    if action == 0:
        del container[step]
    elif action == 1 and isinstance(container, dict):
        container[chance.choice(NAMES)] = container.pop(step)
    elif action == 2 and isinstance(container, list):
        container.append(child)
    else:
        container[step] = chance.choice(VALUES)


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, 5e-324, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30),
    *(
        "",
        "a",
        "é",
        "😀",
        "\ud800",
        "text",
        "stop",
        "assistant",
        [],
        {},
        [[]],
        [{}],
        [None],
        {"type": "text"},
    ),
)
NAMES = sorted(
    {name for message_type in MESSAGE_TYPES for name in plan_for(message_type).by_name} | {"", "x", "p"}
)


def write_seeds(folder: pathlib.Path) -> None:
    """Write the tests' documents as inputs for every target."""
    documents = pathlib.Path(__file__).parents[1] / "tests" / "data" / "documents"
    for path in documents.glob("*.json"):
        text = json.dumps(json.loads(path.read_text())).encode()
        names = [message_type.DESCRIPTOR.name for message_type in MESSAGE_TYPES]
        name = path.name.partition(".")[0]
        if name in names:
            wire = json_to_binary(MESSAGE_TYPES[names.index(name)], text, validate=False)
            for target, body in enumerate((text, text, b"data: " + text + b"\n\n", wire)):
                first = bytes([target * len(MESSAGE_TYPES) + names.index(name)])
                (folder / f"{path.stem}.{target}").write_bytes(first + body)


def main() -> None:
    """Fuzz until libFuzzer is told to stop."""
    with tempfile.TemporaryDirectory() as folder:
        write_seeds(pathlib.Path(folder))
        # The first folder is where libFuzzer keeps what it finds; the caller's own goes before ours.
        atheris.Setup([*sys.argv, folder], test_one_input, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
