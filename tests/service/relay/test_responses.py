"""Stored responses over gRPC: read, listed, cancelled and deleted, by their owners alone."""

import asyncio
import base64
from typing import Any

import grpc
import pytest

from mistralwire import accumulate
from mistralwire.errors import CallError, Reason, ResponseError
from mistralwire.log import Append, End, MemoryLog, Opening, Query, StoredResponse, _local
from mistralwire.service import RelayConfig
from mistralwire.v1 import (
    CancelResponseRequest,
    ChatCompletionResponse,
    CompletionChunk,
    DeleteResponseRequest,
    FIMCompletionResponse,
    GetResponseRequest,
    ListResponsesRequest,
    PublishOpen,
    PublishRequest,
    ResponseKind,
    ResponseState,
    SubscribeRequest,
)
from tests.service.relay.calls import HeldLog, metadata, serving
from tests.service.relay.relays import (
    Producer,
    batch,
    calling,
    chunk,
    ending,
    opening,
    publish,
    reason_of,
    relay_stub,
    relaying,
    until,
)
from tests.service.upstreams import REQUEST, STREAM_REQUEST, HeldUpstream
from tests.service.upstreams import chunk as chunk_of

CANCELLED = ResponseState.RESPONSE_STATE_CANCELLED
FAILED, FINISHED = ResponseState.RESPONSE_STATE_FAILED, ResponseState.RESPONSE_STATE_FINISHED
RUNNING = ResponseState.RESPONSE_STATE_RUNNING
ALICE, BOB = [[("x-mistralwire-caller", name)] for name in ("alice", "bob")]


async def test_a_running_response_is_read_as_far_as_it_is() -> None:
    async with relay_stub() as stub, Producer(stub, opening()) as producer:
        await producer.acknowledged(0)
        empty = await stub.GetResponse(GetResponseRequest(response_id="r"))
        await producer.send(batch(1, "a", "b"))
        await producer.acknowledged(2)
        found = await stub.GetResponse(GetResponseRequest(response_id="r"))
        by_upstream = await stub.GetResponse(GetResponseRequest(response_id="cmpl-1"))

    assert empty.WhichOneof("whole") is None
    assert found.response == accumulate([chunk("a"), chunk("b")])
    info = found.info
    assert (info.state, info.last_sequence, info.upstream_id) == (RUNNING, 2, "cmpl-1")
    assert not info.HasField("ended")
    assert by_upstream == found


async def test_a_long_response_is_accumulated_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    from mistralwire import _offload

    threads: list[Any] = []
    in_thread = _offload.in_thread

    async def observed(function: Any, *arguments: Any) -> Any:
        threads.append(function)
        return await in_thread(function, *arguments)

    monkeypatch.setattr(_offload, "in_thread", observed)
    async with relay_stub() as stub:
        await publish(stub, opening(), batch(1, *["word "] * 2000), ending())
        found = await stub.GetResponse(GetResponseRequest(response_id="r"))
    assert found.response.choices[0].message.content_string == "word " * 2000
    assert len(threads) == 1


async def test_only_what_is_known_about_a_response_costs_no_reading() -> None:
    class UnreadLog(MemoryLog):
        async def read(self, id: str, after: int = 0, bytes_max: int = 0) -> Any:
            raise AssertionError("nothing is read")

    async with relay_stub(log=UnreadLog()) as stub:
        await publish(stub, opening(), batch(1, "a"), ending())
        for id_ in ("r", "cmpl-1"):
            found = await stub.GetResponse(GetResponseRequest(response_id=id_, info_only=True))
            assert found.WhichOneof("whole") is None
            assert (found.info.response_id, found.info.last_sequence) == ("r", 1)


async def test_the_kind_of_a_response_is_that_of_what_is_read() -> None:
    fim = PublishRequest(open=PublishOpen(response_id="r", kind=ResponseKind.RESPONSE_KIND_FIM))
    async with relay_stub() as stub:
        await publish(stub, fim, batch(1, "a"), ending())
        found = await stub.GetResponse(GetResponseRequest(response_id="r"))
    assert isinstance(found.fim_response, FIMCompletionResponse)
    assert found.fim_response.choices[0].message.content_string == "a"
    assert found.info.kind == ResponseKind.RESPONSE_KIND_FIM


async def test_what_another_caller_has_does_not_exist() -> None:
    async with relay_stub() as stub:
        await publish(stub, opening(), batch(1, "a"), ending(), metadata=ALICE)
        calls = [
            stub.GetResponse(GetResponseRequest(response_id="r"), metadata=BOB),
            stub.GetResponse(GetResponseRequest(response_id="cmpl-1"), metadata=BOB),
            stub.CancelResponse(CancelResponseRequest(response_id="r"), metadata=BOB),
            stub.DeleteResponse(DeleteResponseRequest(response_id="r"), metadata=BOB),
            stub.Subscribe(SubscribeRequest(response_id="r"), metadata=BOB).read(),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            assert reason_of(raised.value)[0] == "RESPONSE_NOT_FOUND"
        theirs = await stub.ListResponses(ListResponsesRequest(), metadata=BOB)
        await publish(stub, opening(), ending(), metadata=BOB)
        own = await stub.GetResponse(GetResponseRequest(response_id="r"), metadata=ALICE)
    assert not theirs.responses
    assert own.info.last_sequence == 1


async def test_a_page_looks_at_a_bounded_number_of_responses_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = MemoryLog()
    looked_at = 0
    matches = _local.matches

    def counted(query: Query, stored: StoredResponse) -> bool:
        nonlocal looked_at
        looked_at += 1
        return matches(query, stored)

    monkeypatch.setattr(_local, "matches", counted)
    rare = {0: "a", 1: "b", 1400: "a", 2499: "a"}
    async with relay_stub(log=log) as stub:
        for number in range(2500):
            id_ = f"/{number}"
            await log.open(Opening(id=id_, model=rare.get(number, "m")))
            end = End(FAILED if number in rare else FINISHED)
            log.append([Append(id=id_, epoch=0, first=1, end=end)])
        await asyncio.sleep(0)
        cases: list[tuple[dict[str, Any], list[str]]] = [
            ({"state": FAILED}, ["2499", "1400", "1", "0"]),
            ({"model": "a"}, ["2499", "1400", "0"]),
            ({"model": "b", "state": FAILED}, ["1"]),
            ({"model": "b", "state": CANCELLED}, []),
        ]
        for filters, expected in cases:
            ids: list[str] = []
            token = ""
            while True:
                looked_at = 0
                request = ListResponsesRequest(page_size=1, page_token=token, **filters)
                page = await stub.ListResponses(request)
                assert looked_at <= 1200
                assert len(page.responses) <= 1
                ids += [info.response_id for info in page.responses]
                token = page.next_page_token
                if not token:
                    break
            assert ids == expected


async def test_responses_are_listed_in_pages() -> None:
    async with relay_stub() as stub:
        for number in range(5):
            await publish(stub, opening(f"r{number}"), ending())
        async with Producer(stub, opening("running")) as producer:
            await producer.acknowledged(0)
            for oldest_first in (False, True):
                ids: list[str] = []
                token = ""
                while True:
                    request = ListResponsesRequest(page_size=2, page_token=token, oldest_first=oldest_first)
                    page = await stub.ListResponses(request)
                    assert len(page.responses) == 2
                    ids += [info.response_id for info in page.responses]
                    token = page.next_page_token
                    if not token:
                        break
                expected = ["r0", "r1", "r2", "r3", "r4", "running"]
                assert ids == (expected if oldest_first else expected[::-1])
            running = await stub.ListResponses(ListResponsesRequest(state=RUNNING))
            of_model = await stub.ListResponses(ListResponsesRequest(model="other"))
    assert [info.response_id for info in running.responses] == ["running"]
    assert not of_model.responses


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ListResponsesRequest(page_size=0), "page_size"),
        (ListResponsesRequest(page_size=101), "page_size"),
        (ListResponsesRequest(page_token="?"), "page_token"),
        (ListResponsesRequest(page_token=base64.urlsafe_b64encode(b"x y").decode()), "page_token"),
        (ListResponsesRequest(state=77), "state"),  # type: ignore[arg-type]
    ],
)
async def test_a_page_that_does_not_exist_is_refused(request_: ListResponsesRequest, path: str) -> None:
    async with relay_stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListResponses(request_)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(raised.value.details()).startswith(f"{path}: expected ")


async def test_a_cancel_ends_the_call_of_the_producer_and_its_followers() -> None:
    async with relaying() as (relay, server), calling(server) as stub:
        async with Producer(stub, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
            follower = stub.Subscribe(SubscribeRequest(response_id="r", after_sequence=1))
            await until(lambda: relay.counts.followers == 1)
            cancelled = await stub.CancelResponse(CancelResponseRequest(response_id="r"))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await producer.ended()
            message = await follower.read()
        again = await stub.CancelResponse(CancelResponseRequest(response_id="r"))
        assert relay.holders == {}
    assert (cancelled.info.state, cancelled.info.last_sequence, cancelled.info.epoch) == (CANCELLED, 1, 0)
    assert raised.value.code() is grpc.StatusCode.CANCELLED
    assert reason_of(raised.value)[0] == "RESPONSE_CANCELLED"
    assert message.end.state == CANCELLED
    assert again.info == cancelled.info


class DumbHolder:
    """Produces a response, and does not listen."""

    is_settled = is_ending = False
    upstream_id = ""

    def overtaken(self, stored: StoredResponse | None) -> None:
        """Ignore it."""

    def cancel_response(self) -> None:
        """Ignore it."""


@pytest.mark.parametrize("is_held", [True, False])
async def test_if_nobody_answers_the_canceller_ends_the_response(
    is_held: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mistralwire.service._relay import _responses

    monkeypatch.setattr(_responses, "_HOLDER_S", 0.05)
    log = MemoryLog()
    async with relaying(log=log) as (relay, server), calling(server) as stub:
        await log.open(Opening(id="/r"))
        if is_held:
            relay.holders["/r"] = DumbHolder()
        cancelled = await stub.CancelResponse(CancelResponseRequest(response_id="r"))
    assert (cancelled.info.state, cancelled.info.epoch) == (CANCELLED, 1)


async def test_a_response_that_ends_while_it_is_cancelled_keeps_its_end() -> None:
    async with (
        relaying() as (relay, server),
        calling(server) as stub,
        Producer(stub, opening()) as producer,
    ):
        await producer.acknowledged(0)
        await producer.send(ending())
        await until(lambda: not relay.holders)
        cancelled = await stub.CancelResponse(CancelResponseRequest(response_id="r"))
    assert cancelled.info.state == ResponseState.RESPONSE_STATE_FINISHED


async def test_a_response_that_runs_is_not_deleted() -> None:
    async with relay_stub() as stub:
        async with Producer(stub, opening()) as producer:
            await producer.acknowledged(0)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.DeleteResponse(DeleteResponseRequest(response_id="r"))
            await producer.send(ending())
            await producer.ended()
        deleted = await stub.DeleteResponse(DeleteResponseRequest(response_id="r"))
        page = await stub.ListResponses(ListResponsesRequest())
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(raised.value)[0] == "RESPONSE_RUNNING"
    assert deleted.info.response_id == "r"
    assert not page.responses


@pytest.mark.parametrize("response_id", ["mine", "up"])
async def test_a_caller_who_has_an_answer_reads_and_deletes_it_whole(response_id: str) -> None:
    upstream, log = HeldUpstream(), HeldLog()
    answer = ChatCompletionResponse(id="up", model="m")
    async with serving(upstream, log=log) as service:
        log.is_held = True
        upstream.items.put_nowait(answer)
        assert await service.client.complete(REQUEST, metadata=metadata(id="mine")) == answer
        getting = asyncio.create_task(service.client.get_response(response_id))
        await log.followed.wait()
        log.release()
        found = await getting
        log.followed.clear()
        log.is_held = True
        upstream.items.put_nowait(answer)
        await service.client.complete(REQUEST, metadata=metadata(id="second"))
        deleting = asyncio.create_task(service.client.delete_response("second"))
        await log.followed.wait()
        log.release()
        deleted = await deleting
    assert (found.info.response_id, found.info.state, found.response) == ("mine", FINISHED, answer)
    assert deleted.info.state == FINISHED


async def test_the_upstreams_id_is_that_of_the_caller_who_has_it() -> None:
    upstream, log = HeldUpstream(), HeldLog()
    async with serving(upstream, log=log) as service:
        log.is_held = True
        upstream.items.put_nowait(chunk_of(7))
        stream = service.batches(STREAM_REQUEST, id="mine")
        await anext(stream)
        with pytest.raises(CallError, match="no such response"):
            await service.client.get_response("7", metadata={"x-mistralwire-caller": "bob"})
        getting = asyncio.create_task(service.client.get_response("7"))
        await log.followed.wait()
        log.release()
        found = await getting
        await stream.aclose()
    assert (found.info.response_id, found.info.state, found.info.last_sequence) == ("mine", RUNNING, 1)


async def test_the_upstreams_id_may_be_stored_while_it_is_looked_for() -> None:
    class BusyLog(HeldLog):
        async def find(self, owner: str, upstream_id: str) -> str | None:
            found = await super().find(owner, upstream_id)
            self.release()
            await until(lambda: not service.relay.holders)
            return found

    upstream, log = HeldUpstream(), BusyLog()
    async with serving(upstream, log=log) as service:
        log.is_held = True
        answer = ChatCompletionResponse(id="up", model="m")
        upstream.items.put_nowait(answer)
        await service.client.complete(REQUEST, metadata=metadata(id="mine"))
        found = await service.client.get_response("up")
    assert found.response == answer


async def test_a_log_that_does_not_store_an_end_holds_up_nobody_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mistralwire.service._relay import _responses

    monkeypatch.setattr(_responses, "LOG_WAIT_S_MAX", 0.05)
    upstream, log = HeldUpstream(), HeldLog()
    async with serving(upstream, log=log) as service:
        log.is_held = True
        upstream.items.put_nowait(ChatCompletionResponse(id="up", model="m"))
        await service.client.complete(REQUEST, metadata=metadata(id="mine"))
        found = await service.client.get_response("mine")
        with pytest.raises(CallError, match="still runs"):
            await service.client.delete_response("mine")
        log.release()
    assert found.info.state == RUNNING


async def test_a_log_that_fails_is_unavailable() -> None:
    class FailingLog(MemoryLog):
        async def describe(self, id: str) -> Any:
            raise ResponseError("it is gone", code="UNAVAILABLE", reason=Reason.LOG_UNAVAILABLE)

    async with relay_stub(RelayConfig(log="memory"), log=FailingLog()) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetResponse(GetResponseRequest(response_id="r"))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(raised.value)[0] == "LOG_UNAVAILABLE"


async def test_a_chunk_of_a_newer_contract_is_relayed_whole() -> None:
    newer = CompletionChunk.FromString(chunk("a").SerializeToString() + b"\xfa\x3e\x03new")
    request = batch(1, "a")
    request.batch.events.chunks[0].CopyFrom(newer)
    async with relay_stub() as stub:
        await publish(stub, opening(), request, ending())
        message = await stub.Subscribe(SubscribeRequest(response_id="r")).read()
    assert message.events.chunks[0].SerializeToString() == newer.SerializeToString()
