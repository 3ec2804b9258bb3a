"""The documents that are measured: the project's own, and recorded ones where a folder of them is named."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator

from google.protobuf.message import Message

from mistralwire import DecodeError, from_json
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionResponse, CompletionChunk

OWN = pathlib.Path(__file__).parent / "data"
TESTED = pathlib.Path(__file__).parents[1] / "tests" / "data" / "documents"
SAMPLE_SIZE = 40


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
    "response": ChatCompletionResponse,
    "chunk": CompletionChunk,
    "request": ChatCompletionRequest,
}


def load() -> list[Document]:
    """Load all documents that the contract accepts, at most SAMPLE_SIZE recorded ones a kind."""
    documents = list(_own())
    corpus = os.environ.get("MISTRALWIRE_CORPUS")
    if corpus:
        root = pathlib.Path(corpus)
        documents += _sample(
            "response", [path.read_bytes() for path in sorted(root.glob("chat_json/*.json"))]
        )
        documents += _sample("request", [path.read_bytes() for path in sorted(root.glob("request/*.json"))])
        streams = (path.read_bytes() for path in sorted(root.glob("chat_sse/*.sse")))
        documents += _sample("chunk", [text for stream in streams for text in _events(stream)])
    return [document for document in documents if _is_accepted(document)]


def _own() -> Iterator[Document]:
    for path in sorted(OWN.glob("*.json")):
        yield Document(path.stem.partition("_")[0], path.read_bytes())
    for kind, message_type in MESSAGE_TYPES.items():
        for path in sorted(TESTED.glob(f"{message_type.__name__}.*.json")):
            yield Document(kind, path.read_bytes())
    for path in sorted(OWN.glob("*.sse")):
        for text in _events(path.read_bytes())[::4]:
            yield Document("chunk", text)


def _events(stream: bytes) -> list[bytes]:
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


def large_text() -> bytes:
    """Make a response of 10 MB that is one long text."""
    return _response({"role": "assistant", "content": "All happy families are alike. " * 350_000})


def large_structure() -> bytes:
    """Make a response of 10 MB of tool calls."""
    call = {"id": "D681PevKs", "function": {"name": "weather", "arguments": '{"city": "Lyon"}'}, "index": 0}
    return _response({"role": "assistant", "content": "", "tool_calls": [call] * 98_000})


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
