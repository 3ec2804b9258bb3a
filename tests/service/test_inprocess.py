"""The service without a socket: its callers see the same as over the network."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import grpc
import pytest

from mistralwire import to_json
from mistralwire.client import Client
from mistralwire.errors import CallError, UpstreamError
from mistralwire.service import CallRecord, Chunks, LocalChannel, ServerConfig, create_server
from mistralwire.service._call import Call
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream, Upstream
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionResponse
from tests.garbage import uncollected
from tests.service.upstreams import REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

CHAT = "/mistralwire.v1.ChatCompletionService/ChatCompletion"


class Records:
    """Keeps the records of the calls that are over."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    def started(self, call: CallRecord) -> None:
        assert call.request is not None

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        assert chunks.count == call.chunks

    def ended(self, call: CallRecord) -> None:
        self.records.append(call)


@contextlib.asynccontextmanager
async def calling(
    upstream: Upstream, config: ServerConfig | None = None, *, is_local: bool = True
) -> AsyncIterator[Client]:
    config = config or ServerConfig(port=0)
    if is_local:
        async with Client.on(LocalChannel(upstream, config)) as client:
            yield client
    else:
        async with (
            create_server(upstream, config) as server,
            Client(server.address, attempts_max=1) as client,
        ):
            yield client


async def _asked(client: Client, *, is_stream: bool, deadline_s: float | None = None) -> object:
    if is_stream:
        return await anext(client.stream(STREAM_REQUEST, deadline_s=deadline_s))
    return await client.complete(REQUEST, deadline_s=deadline_s)


async def test_answers_and_streams_are_those_of_the_upstream() -> None:
    async with calling(ReplayUpstream(DEMONSTRATION)) as client:
        response = await client.complete(REQUEST)
        chunks = [item async for item in client.stream(STREAM_REQUEST)]
        assert await client.is_serving()

    assert json.loads(to_json(response)) == json.loads((DEMONSTRATION / "answer.json").read_bytes())
    assert chunks[-1].choices[0].finish_reason


@pytest.mark.slow
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_that_is_over_is_freed_without_the_garbage_collector(is_stream: bool) -> None:
    async with calling(ReplayUpstream(DEMONSTRATION)) as client:
        with uncollected(Call) as left:
            if is_stream:
                assert [item async for item in client.stream(STREAM_REQUEST)]
            else:
                await client.complete(REQUEST)
            # The task of the upstream ends.
            for _ in range(3):
                await asyncio.sleep(0)
            assert not left()


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError("slow down", code="RESOURCE_EXHAUSTED", reason="RATE_LIMITED", retry_after_s=7.0),
        RuntimeError("a text that nobody may see"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_is_the_same_as_over_the_network(error: BaseException) -> None:
    seen = []
    for is_local in (True, False):
        upstream = HeldUpstream()
        async with calling(upstream, is_local=is_local) as client:
            upstream.items.put_nowait(error)
            with pytest.raises(CallError) as of_answer:
                await client.complete(REQUEST, request_id="an-id")
            upstream.items.put_nowait(chunk(0))
            upstream.items.put_nowait(error)
            chunks = client.stream(STREAM_REQUEST, request_id="an-id")
            assert (await anext(chunks)).id == "0"
            with pytest.raises(CallError) as of_stream:
                await anext(chunks)
        seen.append([vars(caught.value) | {"text": str(caught.value)} for caught in (of_answer, of_stream)])

    assert seen[0] == seen[1]


async def test_a_request_that_breaks_the_contract_gets_its_violations() -> None:
    seen = []
    for is_local in (True, False):
        async with calling(HeldUpstream(), is_local=is_local) as client:
            with pytest.raises(CallError) as caught:
                await client.complete(ChatCompletionRequest(model="m"))
        seen.append((caught.value.code, caught.value.reason, caught.value.violations))

    assert seen[0] == seen[1]
    assert [violation.path for violation in seen[0][2]] == ["messages"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_deadline_ends_the_call_and_the_upstream(is_stream: bool) -> None:
    upstream = HeldUpstream()
    async with calling(upstream) as client:
        with pytest.raises(CallError) as caught:
            await _asked(client, is_stream=is_stream, deadline_s=0.05)
        async with asyncio.timeout(30):
            await upstream.closed.wait()

    assert (caught.value.code, str(caught.value)) == ("DEADLINE_EXCEEDED", "Deadline Exceeded")
    assert upstream.contexts[0].deadline_s is not None


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_caller_that_is_cancelled_cancels_the_upstream(is_stream: bool) -> None:
    upstream, records = HeldUpstream(), Records()
    async with Client.on(LocalChannel(upstream, observers=[records])) as client:
        task = asyncio.create_task(_asked(client, is_stream=is_stream))
        async with asyncio.timeout(30):
            await upstream.started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await upstream.closed.wait()

    assert [record.code for record in records.records] == ["CANCELLED"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_closing_ends_running_calls_and_those_that_come_later(is_stream: bool) -> None:
    upstream = HeldUpstream()
    client = Client.on(LocalChannel(upstream))
    running = asyncio.create_task(_asked(client, is_stream=is_stream))
    async with asyncio.timeout(30):
        await upstream.started.wait()
        await client.close()
        for task in (running, asyncio.create_task(_asked(client, is_stream=is_stream))):
            with pytest.raises(CallError) as caught:
                await task
            assert (caught.value.code, caught.value.reason) == ("CANCELLED", "CLIENT_CLOSED")
        await upstream.closed.wait()


async def test_a_channel_that_is_closed_ends_its_calls_and_takes_no_more() -> None:
    upstream = HeldUpstream()
    channel = LocalChannel(upstream)
    client = Client.on(channel)
    running = asyncio.create_task(client.complete(REQUEST))
    async with asyncio.timeout(30):
        await upstream.started.wait()
        await channel.close()
        with pytest.raises(CallError) as ended:
            await running

    with pytest.raises(CallError) as refused:
        await client.complete(REQUEST)
    with pytest.raises(CallError) as refused_stream:
        await anext(client.stream(STREAM_REQUEST))
    assert not await client.is_serving()
    assert (ended.value.code, ended.value.reason) == ("UNAVAILABLE", "SERVER_STOPPING")
    assert {refused.value.code, refused_stream.value.code} == {"UNAVAILABLE"}


async def test_a_caller_that_takes_nothing_stops_the_upstream() -> None:
    upstream = EagerUpstream(None, "x" * 1000)
    config = ServerConfig(stream_buffer_bytes_max=100_000, caller_idle_s=0.2)
    async with calling(upstream, config) as client:
        batches = client.stream_batches(STREAM_REQUEST)
        await anext(batches)
        async with asyncio.timeout(30):
            await upstream.closed.wait()
        with pytest.raises(CallError) as caught:
            async for _ in batches:
                pass

    # The buffer of the call, the queue of the channel, and the message between.
    assert upstream.produced < 2000
    assert caught.value.reason == "CALLER_SILENT"


async def test_chunks_that_wait_are_taken_together() -> None:
    upstream = HeldUpstream()
    async with calling(upstream) as client:
        batches = client.stream_batches(STREAM_REQUEST)
        upstream.items.put_nowait(chunk(0))
        first = await anext(batches)
        for number in range(1, 301):
            upstream.items.put_nowait(chunk(number))
        await upstream.items.join()
        second = await anext(batches)
        upstream.items.put_nowait(None)
        rest = [item async for item in batches]

    assert [item.id for item in first] == ["0"]
    assert [item.id for item in second] == [str(number) for number in range(1, 301)]
    assert rest == []


async def test_calls_beyond_the_bound_are_refused() -> None:
    upstream = HeldUpstream()
    async with calling(upstream, ServerConfig(calls_max=1)) as client:
        running = asyncio.create_task(client.complete(REQUEST))
        async with asyncio.timeout(30):
            await upstream.started.wait()
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)
        upstream.items.put_nowait(ChatCompletionResponse(id="r"))
        assert (await running).id == "r"

    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")


async def test_observers_hear_of_calls() -> None:
    records = Records()
    channel = LocalChannel(EagerUpstream(3), observers=[records])
    async with Client.on(channel) as client:
        received = [item.id async for item in client.stream(STREAM_REQUEST, request_id="an-id")]

    [record] = records.records
    assert received == ["0", "1", "2"]
    assert (record.method, record.request_id, record.peer, record.code, record.chunks) == (
        "ChatCompletionStream",
        "an-id",
        "in-process",
        "OK",
        3,
    )


async def test_a_channel_of_grpc_can_be_given_too() -> None:
    async with create_server(ReplayUpstream(DEMONSTRATION), ServerConfig(port=0)) as server:
        channel = grpc.aio.insecure_channel(server.address)
        async with Client.on(channel) as client:
            assert (await client.complete(REQUEST)).model == "mistral-small-latest"


async def test_a_channel_that_was_not_used_is_closed_too() -> None:
    channel = LocalChannel(HeldUpstream())
    await Client.on(channel).close()
    async with Client.on(channel) as other:
        assert not await other.is_serving()


def test_a_method_that_is_not_there_is_an_error() -> None:
    channel = LocalChannel(HeldUpstream())
    for path in ("/other.Service/ChatCompletion", f"{CHAT}s"):
        with pytest.raises(KeyError):
            channel.unary_unary(path)
        with pytest.raises(KeyError):
            channel.unary_stream(path)
