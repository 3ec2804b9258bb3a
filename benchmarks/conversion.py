"""Conversion of whole documents: the codec, orjson and the peers, in interleaved runs."""

import functools
import statistics
from typing import Any

from benchmarks import documents
from benchmarks.documents import MESSAGE_TYPES, Document
from benchmarks.measure import medians_us, show
from benchmarks.peers import Contest, Peers, contest
from mistralwire.codec import ENGINE, binary_to_json, json_to_binary

Times = dict[str, float]
"""Microseconds of one document, by contender."""

WITH, WITHOUT = "with p", "without"


def measure(rounds: int, *, has_peers: bool) -> dict[str, Any]:
    """Return the median times and ratios of all contenders, by set of documents and kind.

    Args:
        rounds: Interleaved runs of each contender.
        has_peers: Whether to measure the third-party peers too.

    Returns:
        For each set and kind: the number of documents, `us`, the median time of each contender, and `times`,
        the median over the documents of a contender's time in relation to another's. For chunks beside it
        `padded`: what the member `p` adds.
    """
    peers = Peers() if has_peers else None
    result: dict[str, Any] = {}
    for name, loaded in documents.load().items():
        result[name] = {}
        for kind in MESSAGE_TYPES:
            its_documents = [document for document in loaded if document.kind == kind]
            step = f"{ENGINE}: {name} documents, {kind}"
            contests = [contest(document) for document in its_documents]
            for each in contests:
                if peers is not None:
                    peers.join(each)
            result[name][kind] = _figures([_times(each, rounds, step) for each in contests])
        chunks = [document for document in loaded if document.kind == "chunk"]
        result[name]["chunk"]["padded"] = _padded(chunks, rounds)
    return result


def _times(each: Contest, rounds: int, step: str) -> Times:
    show(step)
    return medians_us(each.read, rounds) | medians_us(each.write, rounds)


def _figures(rows: list[Times]) -> dict[str, Any]:
    names = {name for row in rows for name in row}
    us = {name: statistics.median(row[name] for row in rows if name in row) for name in sorted(names)}
    times = {
        name: {
            other: statistics.median(row[name] / row[other] for row in rows if name in row and other in row)
            for other in sorted(names - {name})
            if any(name in row and other in row for row in rows)
        }
        for name in sorted(names)
    }
    return {"documents": len(rows), "us": us, "times": times}


def _padded(chunks: list[Document], rounds: int) -> dict[str, float]:
    """Return the median over chunks of the time with `p` in relation to that without, each way."""
    read: list[float] = []
    write: list[float] = []
    for document in chunks:
        show(f"{ENGINE}: chunks with p")
        message_type, bare = MESSAGE_TYPES[document.kind], documents.without_padding(document.text)
        texts = {WITH: documents.with_padding(bare), WITHOUT: bare}
        wires = {name: json_to_binary(message_type, text) for name, text in texts.items()}
        readers = {
            name: functools.partial(json_to_binary, message_type, text) for name, text in texts.items()
        }
        writers = {
            name: functools.partial(binary_to_json, message_type, wire) for name, wire in wires.items()
        }
        for runs, ratios in ((readers, read), (writers, write)):
            us = medians_us(runs, rounds)
            ratios.append(us[WITH] / us[WITHOUT])
    return {"json_to_binary": statistics.median(read), "binary_to_json": statistics.median(write)}
