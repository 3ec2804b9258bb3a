"""Answers of an upstream on their way to the wire: what a program made is checked, and delivered."""

import types
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.message import Message

from mistralwire import codec
from mistralwire.client import Client
from mistralwire.service import LocalChannel, ServerConfig, create_server
from mistralwire.upstream import CallContext, _answers
from mistralwire.upstream._answers import CHECKS_PER_S, Answers
from mistralwire.v1 import (
    ChatCompletionChoice,
    ChatCompletionResponse,
    CompletionChunk,
    CompletionResponseStreamChoice,
    JsonExtra,
    UsageInfo,
)
from tests.service.upstreams import REQUEST, STREAM_REQUEST, HeldUpstream

REMEDY = "correct the upstream, and try its answers with mistralwire.check"
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
    texts = [record.getMessage() for record in caplog.records if record.name == _answers.__name__]
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
    assert not Answers(Relaying()).are_prepared(1)


async def test_what_keeps_the_contract_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    answers = Answers(HeldUpstream())
    assert answers.prepare(WHOLE, 1) is WHOLE
    assert places(caplog) == []


def test_so_many_are_checked_in_a_second_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(now_s=1_000.0)
    checked: list[Message] = []

    def check(message: Message) -> list[Any]:
        checked.append(message)
        return codec.check(message)

    monkeypatch.setattr(_answers, "time", types.SimpleNamespace(monotonic=lambda: clock.now_s))
    monkeypatch.setattr(_answers, "codec", types.SimpleNamespace(check=check, lower=codec.lower))
    answers = Answers(HeldUpstream())
    for second in (1, 2, 3):
        for _ in range(3 * CHECKS_PER_S):
            assert answers.prepare(BROKEN_CHUNK, 1) is BROKEN_CHUNK
        assert len(checked) == second * CHECKS_PER_S
        clock.now_s += 1.0


def test_no_more_places_are_logged_than_a_bound(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_answers, "_PLACES_MAX", 3)
    answers = Answers(HeldUpstream())
    for _ in range(2):
        answers.prepare(BROKEN, 1)
        answers.prepare(BROKEN_CHUNK, 1)
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
