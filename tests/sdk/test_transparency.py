"""What callers and model APIs say to each other through the gateway is what they said."""

import json
import os
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)
from tests.cases import each_case
from tests.documents import DOCUMENTS, Document
from tests.json_equality import parse_exactly
from tests.sdk.both_ways import DATA, Stack, bodies
from tests.upstream_server import Answer, Received, json_answer, sse_answer

# One gateway for all documents: what runs is the same for each.
pytestmark = [pytest.mark.sdk, pytest.mark.asyncio(loop_scope="module")]

REQUESTS = (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionStreamRequest,
    FIMCompletionRequest,
    FIMCompletionStreamRequest,
)
RESPONSES = (ChatCompletionResponse, FIMCompletionResponse)
CHAT, FIM, AGENTS = "/v1/chat/completions", "/v1/fim/completions", "/v1/agents/completions"
# By what the names of their documents begin with; all others are of chat.
PATHS = {"FIM": FIM, "Agents": AGENTS}
VERTEX = "/v1/projects/p/locations/l/publishers/mistralai/models/m"
DONE = b"data: [DONE]\n\n"
QUESTIONS: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    FIM: {"model": "m", "prompt": "def f("},
    AGENTS: {"agent_id": "ag_1", "messages": [{"role": "user", "content": "hello"}]},
}
OF_TOMORROW: dict[str, Any] = {
    "numbers": [18446744073709551617, -0.0, 1e-7, 2.50],
    "nothing": None,
    "text": "\u2028é🙂",
    "object": {},
}
FOLDER = os.environ.get("MISTRALWIRE_CORPUS")
JSON_KINDS = ("chat_json", "chat_json_doc", "literal", "openrouter_json", "openai_json")
SSE_KINDS = ("chat_sse", "chat_sse_literal", "openrouter_sse", "openai_sse")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"content-type": "application/json"}) as session:
        yield session


class Caller:
    """Sends requests as they are through a gateway."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.http = http

    async def exchanged(self, path: str, request: bytes, answer: Answer) -> tuple[bytes, Received]:
        """Send a request, and return the body of its answer, and what the model API got."""

        async def call(url: str) -> bytes:
            async with self.http.post(url + path, data=request) as response:
                body = await response.read()
            assert response.status == 200, body
            return body

        body, [received] = await self.stack.through(call, answer)
        return body, received


@pytest.fixture
def caller(stack: Stack, http: aiohttp.ClientSession) -> Caller:
    return Caller(stack, http)


def _path_of(document: Document) -> str:
    return PATHS.get(document.name.partition("Completion")[0], CHAT)


def own(*types: type[Message]) -> Any:
    """Return test parameters: the project's documents of these types, and where they belong."""
    return [
        pytest.param(_path_of(document), document.text, id=document.name)
        for document in DOCUMENTS
        if document.message_type in types
    ]


def recorded(*kinds: str) -> Any:
    """Return test parameters: the files of the corpus; none without a corpus."""
    if not FOLDER:
        return []
    files = [file for kind in kinds for file in sorted(pathlib.Path(FOLDER, kind).iterdir())]
    return [pytest.param(CHAT, file.read_bytes(), id=f"{file.parent.name}/{file.name}") for file in files]


def datas(events: bytes) -> list[Any]:
    """Return the data of a stream's events, `[DONE]` included."""
    lines = [line.removeprefix(b"data:").strip() for line in events.split(b"\n") if line.startswith(b"data:")]
    return ["[DONE]" if line == b"[DONE]" else parse_exactly(line) for line in lines]


def extended(value: Any) -> Any:
    """Return a document with an unknown member in each of its objects."""
    if isinstance(value, list):
        return [extended(item) for item in value]
    if isinstance(value, dict):
        return {name: extended(item) for name, item in value.items()} | {"of_tomorrow": OF_TOMORROW}
    return value


async def check_request(caller: Caller, path: str, request: bytes) -> None:
    if json.loads(request).get("stream"):
        answer = sse_answer(DONE)
    else:
        answer = json_answer((DATA / "replay" / ("fim.json" if path == FIM else "chat.json")).read_bytes())
    _, received = await caller.exchanged(path, request, answer)
    assert parse_exactly(received.body) == parse_exactly(request)


async def check_answer(caller: Caller, path: str, answer: bytes) -> None:
    body, _ = await caller.exchanged(path, json.dumps(QUESTIONS[path]).encode(), json_answer(answer))
    assert parse_exactly(body) == parse_exactly(answer)


async def check_stream(caller: Caller, path: str, events: bytes) -> None:
    request = json.dumps({**QUESTIONS[path], "stream": True}).encode()
    body, received = await caller.exchanged(path, request, sse_answer(events))
    assert datas(body) == datas(events)
    assert datas(events)[-1] == "[DONE]"
    assert parse_exactly(received.body) == parse_exactly(request)


@each_case(("path", "text"), own(*REQUESTS) + recorded("request"))
async def test_the_upstream_gets_the_request_that_was_sent(caller: Caller, path: str, text: bytes) -> None:
    await check_request(caller, path, text)


@each_case(("path", "text"), own(*RESPONSES) + recorded(*JSON_KINDS))
async def test_the_caller_gets_the_answer_that_was_given(caller: Caller, path: str, text: bytes) -> None:
    await check_answer(caller, path, text)


@each_case(("path", "text"), [(CHAT, DONE), *recorded(*SSE_KINDS)])
async def test_the_caller_gets_the_events_that_were_sent(caller: Caller, path: str, text: bytes) -> None:
    await check_stream(caller, path, text)


@pytest.mark.parametrize("path", QUESTIONS)
@each_case("text", [document.text for document in DOCUMENTS if document.message_type is CompletionChunk])
async def test_the_caller_gets_the_chunk_that_was_sent(caller: Caller, path: str, text: bytes) -> None:
    event = b"data: %b\n\n" % json.dumps(json.loads(text)).encode()
    await check_stream(caller, path, event * 2 + DONE)


@each_case(("path", "text"), own(*REQUESTS))
async def test_the_upstream_gets_members_that_nobody_knows(caller: Caller, path: str, text: bytes) -> None:
    await check_request(caller, path, json.dumps(extended(json.loads(text))).encode())


@each_case(("path", "text"), own(*RESPONSES))
async def test_the_caller_gets_members_that_nobody_knows(caller: Caller, path: str, text: bytes) -> None:
    await check_answer(caller, path, json.dumps(extended(json.loads(text))).encode())


@each_case(("path", "text"), own(CompletionChunk))
async def test_the_caller_gets_members_of_chunks_that_nobody_knows(
    caller: Caller, path: str, text: bytes
) -> None:
    event = b"data: %b\n\n" % json.dumps(extended(json.loads(text))).encode()
    await check_stream(caller, path, event + DONE)


@pytest.mark.parametrize(("path", "question"), [(path, QUESTIONS[path]) for path in (CHAT, FIM)])
@pytest.mark.parametrize("said", [{}, {"stream": True}], ids=["unsaid", "said"])
async def test_the_vertex_route_for_streams_asks_for_one(
    caller: Caller, path: str, question: dict[str, Any], said: dict[str, Any]
) -> None:
    request = json.dumps({**question, **said}).encode()
    _, received = await caller.exchanged(f"{VERTEX}:streamRawPredict", request, sse_answer(DONE))
    assert bodies(received) == (path, {**question, "stream": True})
