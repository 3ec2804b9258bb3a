"""Server-sent events and accumulation, by event, beside orjson on the data of the same events."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from benchmarks import documents
from benchmarks.measure import Run, allowed_us, medians_us, show
from mistralwire.codec import (
    ENGINE,
    Accumulator,
    SseBatchDecoder,
    SseDecoder,
    SseMessage,
    batch_to_sse,
    encode_sse,
    from_json,
)
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk
from tests import families

Figures = dict[str, Any]


def measure(rounds: int) -> list[Figures]:
    """Return the figures of decoding, encoding and accumulating events, for streams of two kinds."""
    streams = {"chunks": documents.stream(), "tiny events": families.tiny_events(0)}
    rows = []
    for name, stream in streams.items():
        show(f"{ENGINE}: events, {name}")
        rows += _measure(name, stream, rounds)
    return rows


def _measure(name: str, stream: bytes, rounds: int) -> list[Figures]:
    messages = _decode([stream])
    pieces = [event + b"\n\n" for event in stream.split(b"\n\n") if event]
    texts = documents.events(stream)
    values = [orjson.loads(text) for text in texts]
    batch = _batch([stream])
    runs: dict[str, Run] = {
        "decode": lambda: _decode([stream]),
        "decode, a piece each": lambda: _decode(pieces),
        "encode": lambda: _each(encode_sse, messages),
        "accumulate": lambda: _accumulate(messages),
        "to one batch": lambda: _batch([stream]),
        "to batches, a piece each": lambda: _batch(pieces),
        "of one batch": lambda: batch_to_sse(batch),
        "orjson.loads": lambda: _each(orjson.loads, texts),
        "orjson.dumps": lambda: _each(orjson.dumps, values),
    }
    medians = {step: us / len(texts) for step, us in medians_us(runs, rounds).items()}
    size = sum(map(len, texts)) / len(texts)
    orjson_us = medians.pop("orjson.loads") + medians.pop("orjson.dumps")
    return [
        {
            "stream": name,
            "step": step,
            "size": size,
            "us": us,
            "orjson_us": orjson_us,
            "of_bound": us / allowed_us(orjson_us, size),
        }
        for step, us in medians.items()
    ]


def _decode(pieces: list[bytes]) -> list[CompletionChunk]:
    decoder = SseDecoder(CompletionChunk, validate=False)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [event.message for event in events if isinstance(event, SseMessage)]


def _batch(pieces: list[bytes]) -> bytes:
    decoder = SseBatchDecoder(CompletionChunk, validate=False)
    return b"".join([decoder.feed(piece).wire for piece in pieces])


def _each(call: Callable[[Any], object], items: Iterable[Any]) -> None:
    # Keeps no results: as in a stream, their memory is free for the next one.
    for item in items:
        call(item)


def _accumulate(messages: list[CompletionChunk]) -> ChatCompletionResponse:
    accumulator = Accumulator(ChatCompletionResponse)
    for message in messages:
        accumulator.add(message)
    return accumulator.result()


def there_and_back(stream: bytes, rounds: int) -> tuple[float, float, float]:
    """Measure the round trip of an event of a stream.

    Returns:
        Bytes of its data, microseconds of decoding and encoding it, and those of orjson for its data.
    """
    texts = documents.events(stream)
    values = [orjson.loads(text) for text in texts]
    runs: dict[str, Run] = {
        "ours": lambda: _each(encode_sse, _decode([stream])),
        "loads": lambda: _each(orjson.loads, texts),
        "dumps": lambda: _each(orjson.dumps, values),
    }
    us = {name: each / len(texts) for name, each in medians_us(runs, rounds).items()}
    return sum(map(len, texts)) / len(texts), us["ours"], us["loads"] + us["dumps"]


def accumulated(texts: list[bytes], rounds: int) -> tuple[float, float, float]:
    """Measure accumulating a chunk of a stream.

    Returns:
        Bytes of its JSON, microseconds of adding it up, and those of orjson for its JSON, there and back.
    """
    messages = [from_json(CompletionChunk, text, validate=False) for text in texts]
    values = [orjson.loads(text) for text in texts]
    runs: dict[str, Run] = {
        "ours": lambda: _accumulate(messages),
        "loads": lambda: _each(orjson.loads, texts),
        "dumps": lambda: _each(orjson.dumps, values),
    }
    us = {name: each / len(texts) for name, each in medians_us(runs, rounds).items()}
    return sum(map(len, texts)) / len(texts), us["ours"], us["loads"] + us["dumps"]
