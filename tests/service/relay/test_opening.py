"""Ids, idempotency keys and limits: how the response of a call begins."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from mistralwire import from_json
from mistralwire._metadata import CALLER, IDEMPOTENCY_KEY, ON_DISCONNECT, RESPONSE_ID
from mistralwire._methods import METHODS
from mistralwire._status import error_of_status
from mistralwire.errors import CallError, DecodeError, Reason, ResponseError, UpstreamError
from mistralwire.log import Delivery, KeyClaim, MemoryLog, Opening, StoredResponse, Usage
from mistralwire.service import RelayConfig
from mistralwire.service._relay import _recording, options_of
from mistralwire.service._relay._opening import request_digest
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatMessage,
    ResponseState,
    UserMessage,
)
from tests.service.relay.calls import HeldLog, Service, ids_in, metadata, serving
from tests.service.upstreams import REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

OTHER_STREAM_REQUEST = ChatCompletionStreamRequest(
    model="m", messages=[ChatMessage(user=UserMessage(role="user", content_string="bye"))]
)
OTHER_REQUEST = ChatCompletionRequest(
    model="m", messages=[ChatMessage(user=UserMessage(role="user", content_string="bye"))]
)
ANSWER = ChatCompletionResponse(id="up", model="m")

both = pytest.mark.parametrize("is_local", [True, False], ids=["in_process", "grpc"])


async def streamed(service: Service, request: Any = STREAM_REQUEST, **values: str) -> list[int]:
    """Make a call to its end; return the ids of its chunks."""
    found: list[int] = []
    async for batch in service.batches(request, **values):
        first, ids = ids_in(batch)
        assert first == len(found) + 1
        found += ids
    return found


def test_ids_policies_and_keys_are_checked() -> None:
    config = RelayConfig(log="memory", on_disconnect="keep 30")
    plain = options_of((), config)
    assert (plain.keep_s, plain.key, len(plain.response_id)) == (30, None, 37)
    assert plain.response_id != options_of((), config).response_id
    asked = options_of(
        ((RESPONSE_ID, "a-Z_9"), (ON_DISCONNECT, "cancel"), (IDEMPOTENCY_KEY, "any key!")), config
    )
    assert asked == ("a-Z_9", 0, "any key!", True)
    for name, value in (
        (RESPONSE_ID, ""),
        (RESPONSE_ID, "a/b"),
        (RESPONSE_ID, "a" * 129),
        (ON_DISCONNECT, "stay"),
        (IDEMPOTENCY_KEY, ""),
        (IDEMPOTENCY_KEY, "a" * 256),
        (IDEMPOTENCY_KEY, "\u00e9"),
        (IDEMPOTENCY_KEY, b"a"),
    ):
        with pytest.raises(DecodeError, match=f"^{name}: expected "):
            options_of(((name, value),), config)


@both
async def test_invalid_metadata_end_the_call_before_the_model_is_asked(is_local: bool) -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=is_local) as service:
        with pytest.raises(CallError) as caught:
            await streamed(service, id="a/b")
    assert (caught.value.code, caught.value.violations[0].path) == ("INVALID_ARGUMENT", RESPONSE_ID)
    assert not upstream.requests


@both
async def test_an_id_is_used_once(is_local: bool) -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=is_local) as service:
        upstream.items.put_nowait(None)
        await streamed(service, id="a")
        for values in ({}, {"key": "new"}):
            with pytest.raises(CallError) as caught:
                await streamed(service, id="a", **values)
            assert (caught.value.code, caught.value.reason) == ("ALREADY_EXISTS", Reason.RESPONSE_EXISTS)
        upstream.items.put_nowait(None)
        assert await streamed(service, key="new") == [], "the key is still free"
    assert len(upstream.requests) == 2


@both
async def test_the_same_key_joins_a_running_and_a_finished_response(is_local: bool) -> None:
    log, upstream = HeldLog(), HeldUpstream()
    async with serving(upstream, is_local=is_local, log=log) as service:
        upstream.items.put_nowait(chunk(0))
        first = service.batches(STREAM_REQUEST, id="a", key="k")
        assert ids_in(await anext(first))[1] == [0]
        joining = asyncio.create_task(streamed(service, id="b", key="k"))
        await log.followed.wait()
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(None)
        assert [number async for batch in first for number in ids_in(batch)[1]] == [1]
        assert await joining == [0, 1]
        assert await streamed(service, key="k") == [0, 1]
        assert await service.log.describe("/b") is None
    assert len(upstream.requests) == 1


async def test_a_call_that_joins_has_the_id_of_the_response() -> None:
    upstream = HeldUpstream()
    async with (
        serving(upstream, is_local=False) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        upstream.items.put_nowait(ANSWER)
        await service.client.complete(REQUEST, metadata=metadata(id="a", key="k"))
        wanted = tuple(metadata(id="b", key="k").items())
        call = channel.unary_unary(METHODS["ChatCompletion"].path)(
            REQUEST.SerializeToString(), metadata=wanted
        )
        assert ChatCompletionResponse.FromString(await call) == ANSWER
        assert dict(await call.trailing_metadata())[RESPONSE_ID] == "a"
    assert len(upstream.requests) == 1


async def test_an_answer_in_one_piece_is_joined_while_it_is_made() -> None:
    log, upstream = HeldLog(), HeldUpstream()
    async with serving(upstream, log=log) as service:
        calls = [
            asyncio.create_task(service.client.complete(REQUEST, metadata=metadata(key="k")))
            for _ in range(3)
        ]
        await upstream.started.wait()
        await log.followed.wait()
        upstream.items.put_nowait(ANSWER)
        assert await asyncio.gather(*calls) == [ANSWER] * 3
    assert len(upstream.requests) == 1


@both
async def test_another_request_under_a_key_is_refused(is_local: bool) -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=is_local) as service:
        upstream.items.put_nowait(ANSWER)
        await service.client.complete(REQUEST, metadata=metadata(key="k"))
        with pytest.raises(CallError) as caught:
            await service.client.complete(OTHER_REQUEST, metadata=metadata(key="k"))
        assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", Reason.IDEMPOTENCY_KEY_REUSED)
        # A stream is another request than an answer in one piece.
        with pytest.raises(CallError) as caught:
            await streamed(service, key="k")
        assert caught.value.reason == Reason.IDEMPOTENCY_KEY_REUSED
        # Whoever is refused leaves nothing behind.
        assert (await service.log.usage("")).running == 0
    assert len(upstream.requests) == 1


async def test_the_same_request_is_recognized_in_any_form() -> None:
    unary, stream = METHODS["ChatCompletion"], METHODS["ChatCompletionStream"]
    text = (
        '{"messages": [{"content": "hello", "role": "user"}], "model": "m", "stream": %s, "temperature": 1}'
    )
    from_text = from_json(ChatCompletionStreamRequest, text % "true")
    message = ChatCompletionStreamRequest(model="m", messages=STREAM_REQUEST.messages, temperature=1.0)
    assert await request_digest(stream, from_text) == await request_digest(stream, message)
    assert await request_digest(stream, STREAM_REQUEST) != await request_digest(stream, message)
    assert await request_digest(unary, REQUEST) != await request_digest(stream, STREAM_REQUEST)
    assert from_text.stream, "the request itself is as it was"


@pytest.mark.parametrize("same_id", [True, False])
@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_response_that_ended_before_its_first_event_frees_its_key(
    same_id: bool, is_cancelled: bool
) -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as service:
        call = asyncio.create_task(streamed(service, id="a", key="k"))
        await upstream.started.wait()
        if is_cancelled:
            service.relay.holders["/a"].cancel_response()
        else:
            upstream.items.put_nowait(UpstreamError("broken"))
        with pytest.raises(CallError):
            await call
        # All of them at once, and one alone asks again.
        retries = [
            asyncio.create_task(streamed(service, id="a" if same_id else f"b{number}", key="k"))
            for number in range(3)
        ]
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(None)
        assert await asyncio.gather(*retries) == [[1]] * 3
    assert len(upstream.requests) == 2


async def test_the_id_of_a_response_that_failed_before_its_first_event_is_free_again() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as service:
        upstream.items.put_nowait(UpstreamError("broken"))
        with pytest.raises(CallError, match="broken"):
            await streamed(service, id="a")
        retries = [asyncio.create_task(streamed(service, id="a")) for _ in range(2)]
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(None)
        outcomes = await asyncio.gather(*retries, return_exceptions=True)
    assert [1] in outcomes
    assert [each.reason for each in outcomes if isinstance(each, CallError)] == [Reason.RESPONSE_EXISTS]
    assert len(upstream.requests) == 2


async def test_a_response_that_failed_later_is_joined_with_its_failure() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as service:
        broken = UpstreamError("broken", status=429, retry_after_s=3, reason=Reason.UPSTREAM_RATE_LIMITED)
        upstream.items.put_nowait(chunk(0))
        upstream.items.put_nowait(broken)
        for _ in range(2):
            batches = service.batches(STREAM_REQUEST, key="k")
            assert ids_in(await anext(batches)) == (1, [0])
            with pytest.raises(CallError, match="broken") as caught:
                await anext(batches)
            error = caught.value
            assert (error.reason, error.upstream_status) == (Reason.UPSTREAM_RATE_LIMITED, 429)
            assert error.retry_after_s == 3.0
    assert len(upstream.requests) == 1


async def test_a_response_that_was_cancelled_later_is_joined() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as service:
        upstream.items.put_nowait(chunk(0))
        batches = service.batches(STREAM_REQUEST, id="a", key="k")
        await anext(batches)
        service.relay.holders["/a"].cancel_response()
        await batches.aclose()
        with pytest.raises(CallError) as caught:
            await streamed(service, key="k")
        assert caught.value.reason == Reason.RESPONSE_CANCELLED
    assert len(upstream.requests) == 1


async def test_keys_and_ids_belong_to_their_owner() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as service:
        for caller in ("one", "two"):
            upstream.items.put_nowait(ANSWER)
            await service.client.complete(REQUEST, metadata={CALLER: caller, **metadata(id="a", key="k")})
    assert len(upstream.requests) == 2


async def test_a_caller_has_a_limited_number_of_running_responses() -> None:
    upstream = HeldUpstream()
    async with serving(upstream, caller_responses_max=1) as service:
        upstream.items.put_nowait(chunk(0))
        batches = service.batches(STREAM_REQUEST, key="k", id="a")
        await anext(batches)
        for values in ({}, {"key": "other"}):
            with pytest.raises(CallError) as caught:
                await streamed(service, **values)
            assert (caught.value.code, caught.value.reason) == (
                "RESOURCE_EXHAUSTED",
                Reason.TOO_MANY_RESPONSES,
            )
        # Who joins needs no room, and what was refused takes none.
        joining = asyncio.create_task(streamed(service, key="k"))
        upstream.items.put_nowait(None)
        assert await joining == [0]
        upstream.items.put_nowait(None)
        assert await streamed(service, key="other") == []
        await batches.aclose()


@both
@pytest.mark.parametrize("is_resumable", [False, True], ids=["plain", "resumable"])
async def test_the_batches_of_a_stored_stream_have_its_id(is_local: bool, is_resumable: bool) -> None:
    async with serving(EagerUpstream(300), is_local=is_local) as service:
        batches = service.client.stream_batches(STREAM_REQUEST, resumable=is_resumable)
        found = [batch.response_id async for batch in batches]
        [info] = (await service.client.list_responses()).responses
        assert len(found) > 1
        assert {*found} == {info.response_id}


@both
async def test_a_call_beyond_the_stored_bytes_of_its_caller_is_answered_and_not_stored(
    is_local: bool,
) -> None:
    upstream = EagerUpstream(3, "x" * 500)
    async with serving(upstream, is_local=is_local, caller_bytes_max=1500) as service:
        assert await streamed(service, id="a") == [0, 1, 2]
        await service.ended("a")
        batches = [batch async for batch in service.batches(STREAM_REQUEST, id="b")]
        assert [(*ids_in(batch), batch.response_id) for batch in batches] == [(None, [0, 1, 2], "")]
        assert (service.relay.counts.not_stored, [*service.relay.holders]) == (1, [])
        assert await service.log.describe("/b") is None


@both
async def test_a_whole_answer_beyond_the_stored_bytes_of_its_caller_is_not_stored(is_local: bool) -> None:
    upstream = HeldUpstream()
    async with serving(upstream, is_local=is_local, caller_bytes_max=1) as service:
        for id_ in ("a", "b"):
            upstream.items.put_nowait(ANSWER)
            assert await service.client.complete(REQUEST, metadata=metadata(id=id_)) == ANSWER
            await service.ended("a")
        assert service.relay.counts.not_stored == 1
        assert await service.log.describe("/b") is None


async def test_a_call_with_a_key_beyond_the_stored_bytes_of_its_caller_is_refused() -> None:
    upstream = EagerUpstream(1, "x" * 2000)
    async with serving(upstream, caller_bytes_max=1500) as service:
        await streamed(service, id="a", key="k")
        with pytest.raises(CallError) as caught:
            await streamed(service, key="other")
        assert (caught.value.code, caught.value.reason) == (
            "RESOURCE_EXHAUSTED",
            Reason.TOO_MANY_STORED_BYTES,
        )
        assert await streamed(service, key="k") == [0], "who joins needs no room"
        with pytest.raises(CallError) as caught:
            await streamed(service, id="a")
        assert caught.value.reason == Reason.RESPONSE_EXISTS
        assert service.relay.counts.not_stored == 0


async def test_responses_are_stored_again_once_their_caller_has_room() -> None:
    async with serving(EagerUpstream(1, "x" * 2000), caller_bytes_max=1500) as service:
        await streamed(service, id="a")
        await service.ended("a")
        [(first, _)] = [ids_in(batch) async for batch in service.batches(STREAM_REQUEST)]
        assert first is None
        await service.client.delete_response("a")
        assert await streamed(service, id="b") == [0]
        assert (await service.ended("b")).last == 1


async def test_calls_beyond_the_stored_bytes_are_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(EagerUpstream(1, "x" * 2000), caller_bytes_max=1500) as service:
        for _ in range(6):
            async for _ in service.batches(STREAM_REQUEST):
                pass
        monkeypatch.setattr(_recording, "_WITHOUT_BYTES_LOG_S", 0.0)
        async for _ in service.batches(STREAM_REQUEST):
            pass
    assert [record.getMessage() for record in caplog.records] == [
        "the stored responses of a caller have 1500 bytes, the limit: new ones are answered and not stored "
        f"({count} since this was last logged); delete some, lower keep_days, or raise caller_bytes_max"
        for count in (1, 5)
    ]


class SlowLog(MemoryLog):
    """Opens nothing before the test lets it.

    Attributes:
        error: What it raises instead.
    """

    def __init__(self, error: ResponseError | None = None) -> None:
        super().__init__()
        self.may_open, self.has_opened = asyncio.Event(), asyncio.Event()
        self.is_opening = asyncio.Event()
        self.error = error

    async def open(self, opening: Opening) -> StoredResponse:
        self.is_opening.set()
        if self.error is not None:
            raise self.error
        await self.may_open.wait()
        stored = await super().open(opening)
        self.has_opened.set()
        return stored


NO_LOG = ResponseError("no disk", code="UNAVAILABLE", reason=Reason.LOG_UNAVAILABLE)


@pytest.mark.parametrize("has_keys", [False, True])
async def test_a_burst_has_as_many_running_responses_as_its_caller_may(has_keys: bool) -> None:
    log, upstream = SlowLog(), HeldUpstream()
    async with serving(upstream, log=log, caller_responses_max=2) as service:
        keys = [{"key": str(number)} if has_keys else {} for number in range(5)]
        calls = [asyncio.create_task(streamed(service, **key)) for key in keys]
        await asyncio.sleep(0.01)
        log.may_open.set()
        refused = itertools.islice(asyncio.as_completed(calls, timeout=10), 3)
        for call in refused:
            with pytest.raises(CallError) as caught:
                await call
            assert caught.value.reason == Reason.TOO_MANY_RESPONSES
        for _ in range(2):
            upstream.items.put_nowait(None)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes.count([]) == 2
        # What was refused has kept no place.
        assert (await log.usage("")).running == 0


async def test_a_response_that_could_not_be_opened_takes_no_place() -> None:
    async with serving(EagerUpstream(3), log=SlowLog(NO_LOG), caller_responses_max=1) as service:
        for _ in range(2):
            await unstored(service)
        assert (await service.log.usage("")).running == 0


async def test_an_opening_that_is_cut_off_takes_no_place() -> None:
    log, upstream = SlowLog(), HeldUpstream()
    async with serving(upstream, log=log) as service:
        call = asyncio.create_task(streamed(service))
        await log.is_opening.wait()
        assert (await log.usage("")).running == 1
        # As when the event loop is stopped.
        tasks = [*service.relay.recorder._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert (await log.usage("")).running == 0
        call.cancel()
        await asyncio.wait([call])


@both
async def test_the_model_is_asked_while_the_response_is_opened_and_the_caller_gets_one_that_is(
    is_local: bool,
) -> None:
    log, upstream = SlowLog(), EagerUpstream(3)
    async with serving(upstream, is_local=is_local, log=log) as service:
        call = asyncio.create_task(streamed(service, id="a"))
        await upstream.closed.wait()
        await asyncio.sleep(0.01)
        assert not call.done()
        log.may_open.set()
        assert await call == [0, 1, 2]
        stored = await service.ended("a")
        assert stored.end is not None
        assert (stored.end.state, stored.last) == (ResponseState.RESPONSE_STATE_FINISHED, 3)


async def unstored(service: Service) -> None:
    """Make a call whose response is not stored: it has no id."""
    batches = [ids_in(batch) async for batch in service.batches(STREAM_REQUEST, id="a")]
    assert batches == [(None, [0, 1, 2])]


async def test_a_log_that_opens_nothing_loses_the_response_and_not_the_answer() -> None:
    async with serving(EagerUpstream(3), log=SlowLog(NO_LOG)) as service:
        await unstored(service)
        await asyncio.sleep(0.01)
        assert (service.relay.counts.not_stored, service.relay.holders) == (1, {})
        assert await service.log.describe("/a") is None


async def test_a_response_that_is_opened_too_late_does_not_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistralwire.service._relay._opening.LOG_WAIT_S_MAX", 0.05)
    monkeypatch.setattr(_recording, "_END_RETRY_S", 0.01)
    log = SlowLog()
    async with serving(EagerUpstream(3), log=log) as service:
        await unstored(service)
        log.may_open.set()
        await log.has_opened.wait()
        stored = await service.ended("a")
        assert stored.end is not None
        assert (stored.end.state, stored.last) == (ResponseState.RESPONSE_STATE_FAILED, 0)


class LateLog(MemoryLog):
    """Answers nothing before the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def usage(self, owner: str, space: Any = "response") -> Usage:
        await self.may_answer.wait()
        return await super().usage(owner, space)


async def test_a_log_that_answers_nothing_holds_up_a_call_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mistralwire.service._relay._opening.LOG_WAIT_S_MAX", 0.05)
    log = LateLog()
    async with serving(EagerUpstream(3), log=log) as service:
        await unstored(service)
        assert service.relay.counts.not_stored == 1
        log.may_answer.set()
        await asyncio.sleep(0.01)
        assert await log.describe("/a") is None


async def test_of_two_calls_with_one_id_at_the_same_time_one_is_refused() -> None:
    log, upstream = SlowLog(), EagerUpstream(3)
    async with serving(upstream, log=log) as service:
        calls = [asyncio.create_task(streamed(service, id="a")) for _ in range(2)]
        await asyncio.sleep(0.01)
        log.may_open.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [0, 1, 2] in outcomes
    assert [each.reason for each in outcomes if isinstance(each, CallError)] == [Reason.RESPONSE_EXISTS]
    assert upstream.produced == 3


async def test_a_call_whose_id_another_node_has_used_meanwhile_is_refused() -> None:
    log, upstream = SlowLog(), HeldUpstream()
    async with serving(upstream, log=log) as service:
        call = asyncio.create_task(streamed(service, id="a"))
        await upstream.started.wait()
        await MemoryLog.open(log, Opening(id="/a"))
        log.may_open.set()
        with pytest.raises(CallError) as caught:
            await call
        assert caught.value.reason == Reason.RESPONSE_EXISTS
        await upstream.closed.wait()
        assert (await service.stored("a")).end is None


@pytest.mark.parametrize("other", [None, OTHER_STREAM_REQUEST], ids=["the same request", "another"])
async def test_a_response_whose_key_another_node_is_about_to_claim_is_joined(
    other: ChatCompletionStreamRequest | None,
) -> None:
    class HeldClaim(MemoryLog):
        def __init__(self) -> None:
            super().__init__()
            self.may_claim = asyncio.Event()
            self.is_claiming = asyncio.Event()
            self.followed = asyncio.Event()

        def follow(self, id: str, after: int = 0) -> AsyncGenerator[Delivery, None]:
            self.followed.set()
            return super().follow(id, after)

        async def claim_key(self, owner: str, key: str, digest: bytes, id: str) -> KeyClaim:
            if not self.is_claiming.is_set():
                self.is_claiming.set()
                await self.may_claim.wait()
            return await super().claim_key(owner, key, digest, id)

    log, upstream = HeldClaim(), EagerUpstream(3)
    async with serving(upstream, log=log) as here, serving(upstream, log=log) as there:
        first = asyncio.create_task(streamed(here, id="a", key="k"))
        await log.is_claiming.wait()
        second = asyncio.create_task(streamed(there, other or STREAM_REQUEST, id="a", key="k"))
        if other is None:
            await log.followed.wait()
        else:
            with pytest.raises(CallError) as caught:
                await second
            assert caught.value.reason == Reason.IDEMPOTENCY_KEY_REUSED
        log.may_claim.set()
        assert await first == [0, 1, 2]
        if other is None:
            assert await second == [0, 1, 2]
        assert upstream.produced == 3


async def test_an_id_that_becomes_free_while_a_key_is_claimed_is_used() -> None:
    class OtherNode(MemoryLog):
        async def claim_key(self, owner: str, key: str, digest: bytes, id: str) -> KeyClaim:
            claim = await super().claim_key(owner, key, digest, id)
            stored = await self.describe(id)
            if stored is not None and stored.node == "other":
                # The model of another call with this id has failed.
                await self.delete(id)
            return claim

    log = OtherNode()
    async with serving(EagerUpstream(3), log=log) as service:
        log.node, node = "other", log.node
        await log.open(Opening(id="/a"))
        log.node = node
        assert await streamed(service, id="a", key="k") == [0, 1, 2]


@pytest.mark.parametrize("error", [None, NO_LOG], ids=["slow", "fails"])
async def test_without_the_log_a_key_promises_nothing_so_the_call_is_refused(
    error: ResponseError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistralwire.service._relay._opening.LOG_WAIT_S_MAX", 0.05)
    monkeypatch.setattr(_recording, "_END_RETRY_S", 0.01)
    log, upstream = SlowLog(error), EagerUpstream(3)
    async with serving(upstream, log=log) as service:
        with pytest.raises(CallError) as caught:
            await streamed(service, id="a", key="k")
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", Reason.LOG_UNAVAILABLE)
        assert upstream.produced == 0
        log.error = None
        log.may_open.set()
        if error is None:
            await log.has_opened.wait()
            await service.ended("a")
        monkeypatch.undo()
        assert await streamed(service, id="a", key="k") == [0, 1, 2]


async def test_calls_that_were_refused_while_they_waited_for_a_key_open_nothing_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = SlowLog()
    async with serving(EagerUpstream(3), log=log) as service:
        with monkeypatch.context() as patched:
            patched.setattr("mistralwire.service._relay._opening.LOG_WAIT_S_MAX", 0.05)
            calls = [streamed(service, key="k") for _ in range(10)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {each.reason for each in outcomes if isinstance(each, CallError)} == {Reason.LOG_UNAVAILABLE}
        log.may_open.set()
        assert await streamed(service, id="a", key="k") == [0, 1, 2]
        # That of the call that waited for the log, and this one.
        assert (await log.usage("")).total == 2


class UnansweredLog(MemoryLog):
    """Opens a response, but can't say so."""

    async def open(self, opening: Opening) -> StoredResponse:
        await super().open(opening)
        raise NO_LOG


async def test_a_response_that_is_open_unknown_to_its_call_does_not_stay_open() -> None:
    async with serving(EagerUpstream(3), log=UnansweredLog()) as service:
        await unstored(service)
        stored = await service.ended("a")
        assert stored.last == 0


class AwayLog(MemoryLog):
    """Can't be reached."""

    opened = 0

    async def open(self, opening: Opening) -> StoredResponse:
        self.opened += 1
        raise NO_LOG

    async def describe(self, id: str) -> StoredResponse | None:
        raise NO_LOG


async def test_a_log_that_is_away_for_long_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_recording, "_UNENDED_MAX", 2)
    log = AwayLog()
    async with serving(EagerUpstream(3), log=log) as service:
        for _ in range(5):
            assert [ids_in(batch) async for batch in service.batches(STREAM_REQUEST)] == [(None, [0, 1, 2])]
        with pytest.raises(CallError) as caught:
            await streamed(service, key="k")
        assert caught.value.reason == Reason.LOG_UNAVAILABLE
        assert (log.opened, len(service.relay.holders)) == (2, 2)
        assert service.relay.counts.not_stored == 5


class UnclaimableLog(MemoryLog):
    async def claim_key(self, owner: str, key: str, digest: bytes, id: str) -> KeyClaim:
        raise NO_LOG


async def test_a_response_whose_key_can_not_be_claimed_does_not_stay_open() -> None:
    async with serving(EagerUpstream(3), log=UnclaimableLog()) as service:
        with pytest.raises(CallError) as caught:
            await streamed(service, id="a", key="k")
        assert caught.value.reason == Reason.LOG_UNAVAILABLE
        assert (await service.ended("a")).last == 0
        await asyncio.sleep(0.01)
        assert service.relay.holders == {}


async def test_a_caller_who_leaves_while_their_key_is_claimed_never_asks_the_model() -> None:
    log, upstream = SlowLog(), HeldUpstream()
    async with serving(upstream, log=log, on_disconnect="finish") as service:
        call = asyncio.create_task(streamed(service, id="a", key="k"))
        await log.is_opening.wait()
        call.cancel()
        await asyncio.wait([call])
        log.may_open.set()
        await log.has_opened.wait()
        stored = await service.ended("a")
        assert stored.end is not None
        assert stored.end.state == ResponseState.RESPONSE_STATE_CANCELLED
    assert not upstream.requests


async def test_a_server_that_stops_while_a_key_is_claimed_is_why_the_response_failed() -> None:
    log, upstream = SlowLog(), HeldUpstream()
    async with serving(upstream, log=log, is_local=False) as service:
        call = asyncio.create_task(streamed(service, id="a", key="k"))
        await log.is_opening.wait()
        await service.server.stop(0)
        with pytest.raises(CallError) as caught:
            await call
        log.may_open.set()
        await log.has_opened.wait()
        stored = await service.ended("a")
        assert stored.end is not None
        failure = error_of_status(stored.end.status)
        assert (failure.reason, failure.message) == (caught.value.reason, caught.value.message)
        assert failure.reason == Reason.SERVER_STOPPING
    assert not upstream.requests
