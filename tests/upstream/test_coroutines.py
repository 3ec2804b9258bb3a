"""Upstreams of coroutines: chunks are encoded, and responses checked and delivered."""

import types
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.message import Message

from mistralwire import codec
from mistralwire.client import Client
from mistralwire.service import LocalChannel, ServerConfig, create_server
from mistralwire.upstream import CallContext, _coroutines
from mistralwire.upstream._coroutines import CHECKS_PER_S, ResponseCheck, encode_chunk
from mistralwire.v1 import (
    ChatCompletionChoice,
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    CompletionChunk,
    CompletionResponseStreamChoice,
    FIMCompletionStreamResponse,
    JsonExtra,
    UsageInfo,
)
from tests.service.upstreams import REQUEST, STREAM_REQUEST, HeldUpstream, chunk

REMEDY = "correct the upstream, and test its answers with mistralwire.check"
BROKEN = ChatCompletionResponse(
    id="r", model="m", choices=[ChatCompletionChoice(index=0), ChatCompletionChoice(index=1)]
)
BROKEN_CHUNK = CompletionChunk(id="c", choices=[CompletionResponseStreamChoice()])
WHOLE = ChatCompletionResponse(
    id="r",
    object="chat.completion",
    model="m",
    created=1,
    usage=UsageInfo(),
    choices=[ChatCompletionChoice(index=0, finish_reason="FINISH_REASON_STOP")],
)


class Relaying:
    """Passes on what an API answered."""

    relays_answers = True

    async def complete(self, request: Any, context: CallContext) -> ChatCompletionResponse:
        return BROKEN

    async def stream(self, request: Any, context: CallContext) -> AsyncIterator[CompletionChunk]:
        yield BROKEN_CHUNK


def places(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the places that were logged, each with its remedy."""
    texts = [record.getMessage() for record in caplog.records if record.name == _coroutines.__name__]
    assert all(REMEDY in text for text in texts)
    return [text.partition(" at ")[2].partition(":")[0] for text in texts]


async def test_what_a_program_answers_is_delivered_and_each_place_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream = HeldUpstream()
    async with create_server(upstream, ServerConfig(port=0)) as server, Client(server.address) as client:
        for _ in range(2):
            upstream.items.put_nowait(BROKEN)
            assert await client.complete(REQUEST) == BROKEN
            for item in (BROKEN_CHUNK, BROKEN_CHUNK, None):
                upstream.items.put_nowait(item)
            assert [chunk async for chunk in client.stream(STREAM_REQUEST)] == [BROKEN_CHUNK] * 2

    assert places(caplog) == [
        "ChatCompletionResponse.choices[].finish_reason",
        "ChatCompletionResponse.object",
        "ChatCompletionResponse.usage",
        "ChatCompletionResponse.created",
        "CompletionChunk.choices[].index",
        "CompletionChunk.model",
    ]


@pytest.mark.parametrize("is_embedded", [True, False])
async def test_what_an_api_answered_is_not_looked_at(
    is_embedded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with create_server(Relaying(), ServerConfig(port=0)) as server:
        channel = LocalChannel(Relaying())
        async with Client.on(channel) if is_embedded else Client(server.address) as client:
            assert await client.complete(REQUEST) == BROKEN
            assert [chunk async for chunk in client.stream(STREAM_REQUEST)] == [BROKEN_CHUNK]
    assert places(caplog) == []


def test_what_keeps_the_contract_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    ResponseCheck().check(WHOLE)
    assert places(caplog) == []


def test_so_many_are_checked_in_a_second_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(now_s=1_000.0)
    checked: list[Message] = []

    def check(message: Message) -> list[Any]:
        checked.append(message)
        return codec.check(message)

    monkeypatch.setattr(_coroutines, "time", types.SimpleNamespace(monotonic=lambda: clock.now_s))
    monkeypatch.setattr(_coroutines, "codec", types.SimpleNamespace(check=check))
    response_check = ResponseCheck()
    for second in (1, 2, 3):
        for _ in range(3 * CHECKS_PER_S):
            response_check.check(BROKEN_CHUNK)
        assert len(checked) == second * CHECKS_PER_S
        clock.now_s += 1.0


def test_no_more_places_are_logged_than_a_bound(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_coroutines, "_PLACES_MAX", 3)
    response_check = ResponseCheck()
    for _ in range(2):
        response_check.check(BROKEN)
        response_check.check(BROKEN_CHUNK)
    assert len(places(caplog)) == 3


async def test_a_message_that_can_not_be_written_is_the_program_s_own_fault_and_delivered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = ChatCompletionResponse(id="r", json_extra=JsonExtra(members="{"))
    upstream = HeldUpstream()
    upstream.items.put_nowait(odd)
    async with create_server(upstream, ServerConfig(port=0)) as server, Client(server.address) as client:
        assert await client.complete(REQUEST) == odd
    assert "ChatCompletionResponse.json_extra" in places(caplog)


@pytest.mark.parametrize("length", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_an_encoded_chunk_is_an_element_of_a_stream_response(length: int) -> None:
    item = chunk(7, "x" * length)

    assert encode_chunk(item) == ChatCompletionStreamResponse(chunks=[item]).SerializeToString()
    assert encode_chunk(item) == FIMCompletionStreamResponse(chunks=[item]).SerializeToString()
