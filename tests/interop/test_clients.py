"""Clients in other languages, generated from the contract, against a real `mistralwire serve`.

The docstring of `peers.py` has the command line that all of them answer to.
"""

import asyncio
import itertools
import json
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message

from mistralwire import from_json, to_json
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    CompletionChunk,
)
from tests.interop import oddities
from tests.interop.languages import Language
from tests.interop.peers import call, model_api
from tests.interop.processes import WAIT_S
from tests.json_equality import parse_exactly
from tests.upstream_server import CUT, STALL, Answer, json_answer, sse_answer

pytestmark = pytest.mark.interop

M = TypeVar("M", bound=Message)

# What each client asks, as the model API must get it.
REQUEST = {
    "model": "mistral-small-latest",
    "messages": [{"role": "user", "content": "Grüezi 👋"}],
    "temperature": 0,
    "random_seed": 9007199254740993,
}
RESPONSE: dict[str, Any] = {
    "id": "chat-1",
    "object": "chat.completion",
    "created": 1759000000,
    "model": "mistral-small-latest",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Salü 👩‍🚀"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16},
}
STOP = {"number": 1, "string": "stop"}
UNLISTED = {"number": 127, "string": "content_filter"}


def chunk(number: int, text: str = "", finish_reason: str | None = None) -> bytes:
    """Return a chunk as the API sends it, as a server-sent event."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    document = {"id": str(number), "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(document).encode()


def response(**choice: Any) -> Answer:
    """Return the usual response with other members in its choice."""
    return json_answer(json.dumps({**RESPONSE, "choices": [{**RESPONSE["choices"][0], **choice}]}).encode())


DONE = b"data: [DONE]\n\n"


async def test_it_gets_an_answer_and_asks_what_it_meant_to(language: Language) -> None:
    async with model_api(response()) as (api, address):
        outcome = await call(language, address, "unary", "an-id")

    assert outcome == {
        "code": "OK",
        "request_id": "an-id",
        "id": "chat-1",
        "text": "Salü 👩‍🚀",
        "finish_reason": STOP,
        "total_tokens": 16,
    }
    [received] = api.received
    assert parse_exactly(received.body) == parse_exactly(json.dumps(REQUEST))


async def test_it_gets_a_stream_and_sees_which_chunk_is_the_last(language: Language) -> None:
    usage_only = b'data: {"id":"3","model":"m","choices":[],"usage":{"total_tokens":5}}\n\n'
    pieces = (chunk(0, "Salü"), 0.05, chunk(1, " 👩‍🚀"), chunk(2, finish_reason="stop"), usage_only, DONE)
    async with model_api(sse_answer(*pieces)) as (api, address):
        outcome = await call(language, address, "stream", "another-id")

    assert outcome.pop("messages") in range(1, 5)
    assert outcome == {
        "code": "OK",
        "request_id": "another-id",
        "chunks": 4,
        "text": "Salü 👩‍🚀",
        "finish_reasons": [None, None, STOP],
    }
    [received] = api.received
    assert parse_exactly(received.body) == parse_exactly(json.dumps({**REQUEST, "stream": True}))


async def test_it_gets_thousands_of_chunks_in_order_and_several_in_a_message(language: Language) -> None:
    texts = [f" {number}" for number in range(5_000)]
    events = b"".join(chunk(number, text) for number, text in enumerate(texts))
    async with model_api(sse_answer(events, chunk(5_000, finish_reason="stop"), DONE)) as (_, address):
        outcome = await call(language, address, "stream", "an-id")

    assert (outcome["code"], outcome["chunks"]) == ("OK", 5_001)
    assert outcome["text"] == "".join(texts)
    assert outcome["messages"] < 5_001


async def test_a_reason_to_stop_that_is_not_listed_is_one_all_the_same(language: Language) -> None:
    pieces = (chunk(0, "I"), chunk(1, finish_reason="content_filter"), DONE)
    answers = response(finish_reason="content_filter"), sse_answer(*pieces)
    async with model_api(*answers) as (_, address):
        unary = await call(language, address, "unary", "an-id")
        stream = await call(language, address, "stream", "an-id")

    assert unary["finish_reason"] == UNLISTED
    assert stream["finish_reasons"] == [None, UNLISTED]


async def test_it_reads_where_its_request_breaks_the_contract(language: Language) -> None:
    async with model_api(response(), strict=True) as (_, address):
        outcome = await call(language, address, "broken")

    assert outcome["code"] == "INVALID_ARGUMENT"
    assert (outcome["reason"], outcome["domain"]) == ("CONTRACT_VIOLATION", "mistralwire")
    violations = {item["field"]: item["description"] for item in outcome["violations"]}
    assert {"model", "messages[1].content"} <= violations.keys()
    assert all(violations.values())
    assert outcome["retry_after_s"] is None
    assert outcome["request_id"]
    assert "id" not in outcome


async def test_it_reads_when_to_try_again(language: Language) -> None:
    error = {"object": "error", "message": "trop tôt: 休み", "type": "rate_limited", "code": "1300"}
    answer = json_answer(json.dumps(error).encode(), status=429, retry_after="7")
    async with model_api(answer) as (_, address):
        outcome = await call(language, address, "unary", "an-id")

    assert outcome["code"] == "RESOURCE_EXHAUSTED"
    assert "trop tôt: 休み" in outcome["message"]
    assert (outcome["reason"], outcome["violations"]) == ("UPSTREAM_RATE_LIMITED", [])
    assert outcome["retry_after_s"] == 7
    assert outcome["request_id"] == "an-id"


async def test_it_reads_why_a_stream_broke_after_the_chunks_before(language: Language) -> None:
    async with model_api(sse_answer(chunk(0, "Salü"), chunk(1, " tout"), CUT)) as (_, address):
        outcome = await call(language, address, "stream", "an-id")

    assert (outcome["chunks"], outcome["text"]) == (2, "Salü tout")
    assert (outcome["code"], outcome["reason"]) == ("UNAVAILABLE", "STREAM_TRUNCATED")


async def test_its_deadline_ends_the_request_to_the_model_api(language: Language) -> None:
    async with model_api(Answer(pieces=[STALL], is_headless=True)) as (api, address):
        # Long enough for a runtime that starts slowly: the deadline counts from before the connection.
        outcome = await call(language, address, "deadline", "5000")
        async with asyncio.timeout(WAIT_S):
            await api.gone.wait()

    assert outcome["code"] == "DEADLINE_EXCEEDED"
    assert len(api.received) == 1


async def test_a_stream_that_it_cancels_ends_the_request_to_the_model_api(language: Language) -> None:
    async with model_api(sse_answer(chunk(0, "Salü"), STALL)) as (api, address):
        outcome = await call(language, address, "cancel", "1")
        async with asyncio.timeout(WAIT_S):
            await api.gone.wait()

    assert (outcome["code"], outcome["chunks"], outcome["text"]) == ("CANCELLED", 1, "Salü")


async def test_a_stream_that_it_cancels_while_chunks_pour_in_ends_the_request_too(language: Language) -> None:
    pouring = (chunk(number, "x" * 1_000) for number in range(10_000_000))
    answer = Answer(headers={"content-type": "text/event-stream"}, pieces=pouring)
    async with model_api(answer) as (api, address):
        outcome = await call(language, address, "cancel", "3")
        async with asyncio.timeout(WAIT_S):
            await api.gone.wait()

    assert outcome["code"] == "CANCELLED"
    assert outcome["chunks"] >= 3


async def test_odd_documents_reach_the_model_api_and_come_back_as_they_were(language: Language) -> None:
    requests = dict(zip(oddities.RESPONSES, itertools.cycle(oddities.REQUESTS.values()), strict=False))
    assert set(requests.values()) == set(oddities.REQUESTS.values())
    async with model_api(*map(json_answer, oddities.RESPONSES.values())) as (api, address):
        outcomes = [
            await call(language, address, "relay", stdin=_bytes(_message(ChatCompletionRequest, document)))
            for document in requests.values()
        ]

    received = [parse_exactly(request.body) for request in api.received]
    assert dict(zip(requests, received, strict=True)) == _parsed(requests)
    answers = [ChatCompletionResponse.FromString(outcome["bytes"]) for outcome in outcomes]
    written = [parse_exactly(to_json(answer)) for answer in answers]
    assert dict(zip(oddities.RESPONSES, written, strict=True)) == _parsed(oddities.RESPONSES)


@pytest.mark.parametrize("document", oddities.REFUSED_REQUESTS.values(), ids=list(oddities.REFUSED_REQUESTS))
async def test_a_request_is_the_same_after_parsing_and_serializing(
    language: Language, document: bytes
) -> None:
    await _assert_kept(language, _message(ChatCompletionRequest, document))


async def test_all_chunks_of_a_message_are_the_same_after_parsing_and_serializing(language: Language) -> None:
    chunks = [_message(CompletionChunk, document) for document in oddities.CHUNKS.values()]
    await _assert_kept(language, ChatCompletionStreamResponse(chunks=chunks, first_sequence=7))


async def _assert_kept(language: Language, message: Message) -> None:
    name = message.DESCRIPTOR.name
    outcome = await call(language, "-", "reencode", name, stdin=_bytes(message))
    # Protobuf leaves the order of fields on the wire to each library; all else has to be the same.
    assert len(outcome["bytes"]) == message.ByteSize()
    assert _bytes(type(message).FromString(outcome["bytes"])) == _bytes(message)


def _message(kind: type[M], document: bytes) -> M:
    return from_json(kind, document, validate=False)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _parsed(documents: dict[str, bytes]) -> dict[str, Any]:
    return {name: parse_exactly(document) for name, document in documents.items()}
