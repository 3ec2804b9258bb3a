"""The documents to measure: the project's own, and recorded ones if MISTRALWIRE_CORPUS names a folder."""

import dataclasses
import json
import math
import os
import pathlib
import random
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from mistralwire import DecodeError, from_json
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionResponse, CompletionChunk

OWN = pathlib.Path(__file__).parent / "data"
TESTED = pathlib.Path(__file__).parents[1] / "tests" / "data" / "documents"
SAMPLE_SIZE = 40
PADDING = b"abcdefghijklmnopqrstuvw"
"""A value of the undocumented member `p` of a chunk: the beginning of the alphabet, of any length."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One JSON text.

    Attributes:
        kind: response, chunk or request.
        text: The text, compact or as it was recorded.
    """

    kind: str
    text: bytes


MESSAGE_TYPES: dict[str, type[Message]] = {
    "chunk": CompletionChunk,
    "response": ChatCompletionResponse,
    "request": ChatCompletionRequest,
}


def load() -> dict[str, list[Document]]:
    """Load all documents that the contract accepts, by set: `own`, and `recorded` if there is a corpus.

    Of the corpus, which MISTRALWIRE_CORPUS names, these are at most SAMPLE_SIZE a kind.
    """
    sets = {"own": list(_own())}
    corpus = os.environ.get("MISTRALWIRE_CORPUS")
    if corpus:
        sets["recorded"] = _recorded(pathlib.Path(corpus))
    return {name: list(filter(_is_accepted, documents)) for name, documents in sets.items()}


def _own() -> Iterator[Document]:
    for path in sorted(OWN.glob("*.json")):
        yield Document(path.stem.partition("_")[0], path.read_bytes())
    for kind, message_type in MESSAGE_TYPES.items():
        for path in sorted(TESTED.glob(f"{message_type.__name__}.*.json")):
            yield Document(kind, path.read_bytes())
    for text in events(stream())[::4]:
        yield Document("chunk", text)


def _recorded(root: pathlib.Path) -> list[Document]:
    responses = [path.read_bytes() for path in sorted(root.glob("chat_json/*.json"))]
    requests = [path.read_bytes() for path in sorted(root.glob("request/*.json"))]
    streams = [path.read_bytes() for path in sorted(root.glob("chat_sse/*.sse"))]
    chunks = [text for stream in streams for text in events(stream)]
    return [*_sample("chunk", chunks), *_sample("response", responses), *_sample("request", requests)]


def stream() -> bytes:
    """Return the project's own stream of server-sent events."""
    return (OWN / "stream.sse").read_bytes()


def events(stream: bytes) -> list[bytes]:
    """Return the data of a stream's events that are objects."""
    lines = (line.strip() for line in stream.splitlines())
    return [line[6:] for line in lines if line.startswith(b"data: {")]


def _sample(kind: str, texts: list[bytes]) -> list[Document]:
    step = max(1, math.ceil(len(texts) / SAMPLE_SIZE))
    return [Document(kind, text) for text in texts[::step]]


def _is_accepted(document: Document) -> bool:
    try:
        from_json(MESSAGE_TYPES[document.kind], document.text)
    except DecodeError:
        return False
    return True


def without_padding(chunk: bytes) -> bytes:
    """Return a chunk without the member `p`, as compact JSON."""
    return _compact({name: value for name, value in json.loads(chunk).items() if name != "p"})


def with_padding(chunk: bytes) -> bytes:
    """Return a chunk, compact and without `p`, with that member as its last one."""
    return b'%b,"p":"%b"}' % (chunk[:-1], PADDING)


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def different(count: int, seed: int = 0) -> list[Document]:
    """Make documents of different shapes: own ones, with members left out, added and changed."""
    chance = random.Random(seed)
    own = [(document.kind, json.loads(document.text)) for document in _own()]
    return [Document(kind, _compact(_varied(chance, value))) for kind, value in chance.choices(own, k=count)]


def _varied(chance: random.Random, value: Any) -> Any:
    if isinstance(value, dict):
        varied = {name: _varied(chance, item) for name, item in value.items() if chance.random() < 0.85}
        if chance.random() < 0.3:
            varied[f"x_{chance.getrandbits(20):x}"] = chance.choice(["text", 1, None, [], {}])
        return varied
    if isinstance(value, list):
        return [_varied(chance, item) for item in value]
    return f"{value} {chance.getrandbits(16)}" if isinstance(value, str) and " " in value else value


def large_text() -> bytes:
    """Make a response of 10 MB that is one long text."""
    return _response({"role": "assistant", "content": "All happy families are alike. " * 350_000})


def large_structure() -> bytes:
    """Make a response of 10 MB of tool calls."""
    call = {"id": "D681PevKs", "function": {"name": "weather", "arguments": '{"city": "Lyon"}'}, "index": 0}
    return _response({"role": "assistant", "content": "", "tool_calls": [call] * 98_000})


LARGE = {"one long text": large_text, "98,000 tool calls": large_structure}
"""What makes the documents of 10 MB, by name."""


def _response(message: dict[str, object]) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    document = {
        "id": "c-1",
        "object": "chat.completion",
        "model": "mistral-small-latest",
        "created": 1760000000,
    }
    return json.dumps(document | {"usage": usage, "choices": [choice]}).encode()
