"""Several upstreams behind one: which is asked, by what share, and when the next one is."""

import asyncio
import collections
import dataclasses
import logging
import random
from collections.abc import AsyncIterator

import pytest

from mistralwire.errors import UpstreamError
from mistralwire.upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    Route,
    RoutedUpstream,
    Upstream,
)
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
)
from tests.service.upstreams import EagerUpstream, HeldUpstream

CONTEXT = CallContext(request_id="an-id")
STREAM_REQUEST = ChatCompletionStreamRequest(model="m")
PASSED_ON = (
    *("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "UNIMPLEMENTED"),
)
FINAL = ("INVALID_ARGUMENT", "NOT_FOUND", "ABORTED", "PERMISSION_DENIED", "INTERNAL")


class Named:
    """Answers with its name, or fails: at once, or after some chunks.

    Attributes:
        asked: What it was asked, and with which context.
        closed: How often it was closed.
        ended: How many streams are over.
    """

    def __init__(self, name: str, error: UpstreamError | None = None, *, chunks: int = 0) -> None:
        self.asked: list[tuple[object, CallContext]] = []
        self.closed = 0
        self.ended = 0
        self._name = name
        self._error = error
        self._chunks = chunks

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        self.asked.append((request, context))
        if self._error is not None:
            raise self._error
        return ChatCompletionResponse(id=self._name)

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        self.asked.append((request, context))
        try:
            for _ in range(self._chunks):
                yield CompletionChunk(id=self._name)
            if self._error is not None:
                raise self._error
        finally:
            self.ended += 1

    async def close(self) -> None:
        self.closed += 1


def _routed(*upstreams: Upstream) -> RoutedUpstream:
    """Put upstreams behind one, to be asked in this order: weight 0 leaves nothing to chance."""
    return RoutedUpstream([Route(str(index), upstream, weight=0) for index, upstream in enumerate(upstreams)])


async def _asked(routed: RoutedUpstream, model: str) -> str:
    return (await routed.complete(ChatCompletionRequest(model=model), CONTEXT)).id


async def _streamed(routed: RoutedUpstream) -> list[str]:
    return [chunk.id async for chunk in routed.stream(STREAM_REQUEST, CONTEXT)]


@pytest.fixture
def _seeded() -> None:
    random.seed(4)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("codestral-latest", "exact"),
        ("codestral-2501", "glob"),
        ("devstral-small", "glob"),
        ("mistral-tiny-1", "question"),
        ("mistral-tiny-12", "any"),
        ("open-a", "range"),
        ("open-d", "any"),
        ("Codestral-latest", "any"),
        ("", "any"),
    ],
)
async def test_patterns_say_where_a_model_goes(model: str, name: str) -> None:
    patterns = {
        "exact": ("codestral-latest",),
        "glob": ("codestral-2*", "devstral-*"),
        "question": ("mistral-tiny-?",),
        "range": ("open-[a-c]",),
    }
    routes = [Route(name, Named(name), models) for name, models in patterns.items()]
    routed = RoutedUpstream([Route("any", Named("any"), weight=0), *routes])
    assert await _asked(routed, model) == name


async def test_a_request_for_an_agent_goes_where_its_id_matches() -> None:
    models, agents = Named("models"), Named("agents", chunks=1)
    routed = RoutedUpstream([Route("models", models, ("mistral-*",)), Route("agents", agents, ("ag_*",))])
    request = AgentsCompletionRequest(agent_id="ag_1")
    assert (await routed.complete(request, CONTEXT)).id == "agents"
    stream = routed.stream(AgentsCompletionStreamRequest(agent_id="ag_1"), CONTEXT)
    assert [chunk.id async for chunk in stream] == ["agents"]
    with pytest.raises(UpstreamError) as raised:
        await routed.complete(AgentsCompletionRequest(agent_id="other"), CONTEXT)
    assert (raised.value.code, raised.value.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert models.asked == []


async def test_a_model_without_a_route_is_not_found() -> None:
    upstream = Named("only")
    routed = RoutedUpstream([Route("only", upstream, ("mistral-*",))])
    with pytest.raises(UpstreamError) as raised:
        await _asked(routed, "other")
    with pytest.raises(UpstreamError) as streamed:
        await _streamed(routed)
    for error in (raised.value, streamed.value):
        assert (error.code, error.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert upstream.asked == []


@pytest.mark.usefixtures("_seeded")
async def test_each_route_gets_the_share_that_its_weight_says() -> None:
    weights = {"a": 6.0, "b": 3.0, "c": 1.0, "spare": 0.0}
    routed = RoutedUpstream([Route(name, Named(name), weight=weight) for name, weight in weights.items()])
    shares = collections.Counter([await _asked(routed, "m") for _ in range(2000)])
    # Five standard deviations at most.
    assert {name: shares[name] for name in weights} == {
        "a": pytest.approx(1200, abs=110),
        "b": pytest.approx(600, abs=103),
        "c": pytest.approx(200, abs=68),
        "spare": 0,
    }


@pytest.mark.usefixtures("_seeded")
async def test_the_next_route_is_drawn_by_weight_as_well() -> None:
    routed = RoutedUpstream(
        [
            Route("down", Named("down", UpstreamError("no")), weight=1e9),
            Route("a", Named("a"), weight=3),
            Route("b", Named("b"), weight=1),
        ]
    )
    shares = collections.Counter([await _asked(routed, "m") for _ in range(1000)])
    assert shares["a"] == pytest.approx(750, abs=69)
    assert shares.total() == shares["a"] + shares["b"]


async def test_weight_0_is_asked_last_and_in_the_given_order() -> None:
    error = UpstreamError("no")
    down, spare, another = Named("down", error), Named("spare", error), Named("another")
    routed = RoutedUpstream(
        [
            Route("spare", spare, weight=0),
            Route("another", another, weight=0),
            Route("down", down, weight=0.1),
        ]
    )
    for _ in range(20):
        assert await _asked(routed, "m") == "another"
    assert len(down.asked) == len(spare.asked) == 20


@pytest.mark.parametrize("code", PASSED_ON)
async def test_a_failure_that_is_the_upstreams_own_goes_to_the_next(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = UpstreamError("a text that may quote", code=code, reason="A_REASON")
    first, second = Named("first", error), Named("second", chunks=2)
    routed = _routed(first, second)
    with caplog.at_level(logging.WARNING, "mistralwire"):
        assert await _asked(routed, "m") == "second"
        assert await _streamed(routed) == ["second"] * 2
    for (first_request, first_context), (request, context) in zip(first.asked, second.asked, strict=True):
        assert first_request is request
        assert first_context == dataclasses.replace(context, has_alternative=True)
    assert {context for _, context in second.asked} == {CONTEXT}
    assert first.ended == 1
    # What the second answers breaks the contract, which is logged too.
    messages = [message for message in caplog.messages if message.startswith("upstream ")]
    assert messages == [f"upstream 0 failed with {code}, A_REASON; trying the next one"] * 2


@pytest.mark.parametrize("code", FINAL)
async def test_a_failure_that_is_the_requests_own_is_final(code: str) -> None:
    error = UpstreamError("no", code=code)
    second = Named("second", chunks=1)
    routed = _routed(Named("first", error), second)
    with pytest.raises(UpstreamError) as raised:
        await _asked(routed, "m")
    with pytest.raises(UpstreamError) as streamed:
        await _streamed(routed)
    assert raised.value is streamed.value is error
    assert second.asked == []


async def test_the_last_failure_is_the_one_that_is_told() -> None:
    errors = [UpstreamError("first"), UpstreamError("last", code="RESOURCE_EXHAUSTED", retry_after_s=7)]
    routed = _routed(*(Named("down", error) for error in errors))
    with pytest.raises(UpstreamError) as raised:
        await _asked(routed, "m")
    with pytest.raises(UpstreamError) as streamed:
        await _streamed(routed)
    assert raised.value is streamed.value is errors[-1]


async def test_nothing_is_tried_again_behind_the_first_chunk() -> None:
    first, second = Named("first", UpstreamError("broken"), chunks=1), Named("second", chunks=1)
    chunks = _routed(first, second).stream(STREAM_REQUEST, CONTEXT)
    assert (await anext(chunks)).id == "first"
    with pytest.raises(UpstreamError, match="broken"):
        await anext(chunks)
    assert (first.ended, second.asked) == (1, [])


async def test_a_stream_without_a_chunk_is_no_failure() -> None:
    second = Named("second", chunks=1)
    assert await _streamed(_routed(Named("first"), second)) == []
    assert second.asked == []


async def test_an_abandoned_stream_ends_that_of_its_upstream() -> None:
    upstream = EagerUpstream(None)
    chunks = _routed(upstream).stream(STREAM_REQUEST, CONTEXT)
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]
    assert upstream.closed.is_set()


async def test_a_cancelled_call_is_not_taken_for_a_failure() -> None:
    held, second = HeldUpstream(), Named("second")
    call = asyncio.create_task(_asked(_routed(held, second), "m"))
    await held.started.wait()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert held.closed.is_set()
    assert second.asked == []


async def test_all_upstreams_are_closed_that_can_be() -> None:
    first, last = Named("first"), Named("last")
    async with _routed(first, EagerUpstream(1), last) as routed:
        assert len(routed.routes) == 3
        assert (first.closed, last.closed) == (0, 0)
    assert (first.closed, last.closed) == (1, 1)


def test_names_of_models_are_those_without_a_wildcard() -> None:
    routed = RoutedUpstream(
        [Route("a", Named("a"), ("z", "m-*", "b")), Route("b", Named("b"), ("b", "m-?", "[x]"))]
    )
    assert routed.models == ("b", "z")


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_what_is_no_weight_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=r"weight must be 0 or more and finite"):
        Route("a", Named("a"), weight=weight)


def test_a_route_has_a_pattern_and_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"models must have a pattern"):
        Route("a", Named("a"), ())
    for routes in ([], [Route("a", Named("a")), Route("a", Named("b"))]):
        with pytest.raises(ValueError, match=r"at least one route, each with a unique name"):
            RoutedUpstream(routes)
