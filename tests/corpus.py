"""Recorded HTTP bodies, for the tests that a folder of them is given to.

The folder, named by the environment variable MISTRALWIRE_CORPUS, has one folder a kind of body (`chat_json`,
`chat_sse`, `request`, `error`, ..). It is no part of the project.
"""

import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from google.protobuf.message import Message

from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    ErrorResponse,
)
from tests.cases import each_case

EXPECTED_FAILURES = pathlib.Path(__file__).parent / "expected_failures.txt"

_FOLDER = os.environ.get("MISTRALWIRE_CORPUS")
_NO_FOLDER = "MISTRALWIRE_CORPUS names no folder of recorded bodies"
MISTRAL = ("chat_json", "chat_sse", "request")
ALL = (
    *MISTRAL,
    *("chat_json_doc", "chat_sse_literal", "literal", "error", "error_quoted"),
    *("openrouter_json", "openrouter_sse", "openrouter_error", "openai_json", "openai_sse", "openai_error"),
)


class Body(NamedTuple):
    """One JSON document of the corpus.

    Attributes:
        name: Its file in the corpus; for an event of a stream followed by `#` and its number, from 0.
        message_type: What it is.
        text: The JSON.
    """

    name: str
    message_type: type[Message]
    text: bytes


def _bodies(kind: str) -> Iterator[Body]:
    for path in sorted(pathlib.Path(_FOLDER or "", kind).iterdir()):
        name = f"{kind}/{path.name}"
        if path.suffix == ".sse":
            lines = path.read_bytes().splitlines()
            datas = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
            documents = [data for data in datas if data != b"[DONE]"]
            yield from (Body(f"{name}#{at}", CompletionChunk, text) for at, text in enumerate(documents))
        else:
            text = path.read_bytes()
            yield Body(name, _type_of(kind, text), text)


def _type_of(kind: str, text: bytes) -> type[Message]:
    if "error" in kind:
        return ErrorResponse
    if kind == "request":
        return ChatCompletionStreamRequest if json.loads(text).get("stream") else ChatCompletionRequest
    return ChatCompletionResponse


def files(kinds: tuple[str, ...]) -> list[Any]:
    """Return test parameters: the bodies of each file, with its name; one that skips without a corpus."""
    if not _FOLDER:
        skip = pytest.mark.skip(reason=_NO_FOLDER)
        return [pytest.param([], marks=skip, id="no corpus")]
    by_file: dict[str, list[Body]] = {}
    for kind in kinds:
        for body in _bodies(kind):
            by_file.setdefault(body.name.partition("#")[0], []).append(body)
    return [pytest.param(bodies, id=name) for name, bodies in by_file.items()]


def each_file(kinds: tuple[str, ...]) -> Callable[[Callable[..., Any]], Any]:
    """Run a test for each file, with its bodies as `bodies`; without a corpus it is skipped."""
    return each_case("bodies", files(kinds)) if _FOLDER else pytest.mark.skip(reason=_NO_FOLDER)


def mistral_files() -> list[Any]:
    """Return the recordings of Mistral's own API, as `files` does."""
    return files(MISTRAL)


def expected_failures() -> dict[str, str]:
    """Return the names of the bodies that break the contract, each with the reason."""
    lines = EXPECTED_FAILURES.read_text().splitlines()
    listed = (line.partition(": ") for line in lines if line and not line.startswith("#"))
    return {name: reason for name, _, reason in listed}
