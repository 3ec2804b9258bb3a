"""The relay in the process of its client: the same calls without a socket."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from mistralwire._methods import RELAY_SERVICE_NAME
from mistralwire.client import Client
from mistralwire.errors import CallError
from mistralwire.log import MemoryLog
from mistralwire.service import LocalChannel, Relay
from mistralwire.v1 import PublishResponse, ResponseState
from tests.service.relay.relays import MEMORY, batch, ending, opening, until
from tests.service.upstreams import HeldUpstream

PUBLISH = f"/{RELAY_SERVICE_NAME}/Publish"


async def steps(*requests: object) -> AsyncIterator[bytes]:
    for request in requests:
        yield request.SerializeToString()  # type: ignore[attr-defined]


async def test_a_response_is_published_followed_read_and_deleted() -> None:
    async with Relay(MemoryLog(), MEMORY) as relay:
        channel = LocalChannel(HeldUpstream(), relay=relay)
        async with Client.on(channel) as client:
            requests = steps(opening(), batch(1, "a"), batch(2, "b"), ending())
            call = channel.stream_stream(PUBLISH)(requests, timeout=10, metadata=())
            answers = [PublishResponse.FromString(wire) async for wire in call]
            batches = [each async for each in client.subscribe_batches("r")]
            found = await client.get_response("r")
            page = await client.list_responses()
            deleted = await client.delete_response("r")
            with pytest.raises(CallError) as raised:
                await client.get_response("r")

    assert (answers[-1].acknowledged_sequence, answers[-1].ended) == (2, True)
    assert b"".join(each.data for each in batches) == batch(1, "a", "b").batch.events.SerializeToString()
    assert found.response.choices[0].message.content_string == "ab"
    assert [info.response_id for info in page.responses] == ["r"]
    assert deleted.info == found.info
    assert (raised.value.code, raised.value.reason) == ("NOT_FOUND", "RESPONSE_NOT_FOUND")


async def test_without_a_log_no_method_is_implemented() -> None:
    async with Client.on(LocalChannel(HeldUpstream())) as client:
        with pytest.raises(CallError) as raised:
            await client.list_responses()
        with pytest.raises(CallError) as streamed:
            await anext(client.subscribe_batches("r"))
    assert (raised.value.code, raised.value.reason) == ("UNIMPLEMENTED", "NO_RESPONSE_LOG")
    assert streamed.value.reason == "NO_RESPONSE_LOG"


async def test_a_call_ends_at_its_deadline_and_with_the_channel() -> None:
    async with Relay(MemoryLog(), MEMORY) as relay:
        channel = LocalChannel(HeldUpstream(), relay=relay)

        async def open_only() -> AsyncIterator[bytes]:
            yield opening().SerializeToString()
            await asyncio.Event().wait()

        late = channel.stream_stream(PUBLISH)(open_only(), timeout=0.05, metadata=())
        assert await anext(late) == b"\x08\x00"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await anext(late)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        stopped = channel.stream_stream(PUBLISH)(open_only(), timeout=10, metadata=())
        await anext(stopped)
        await channel.close()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await anext(stopped)
        assert "SERVER_STOPPING" in str(raised.value.trailing_metadata())


async def test_a_stream_that_nobody_reads_is_buffered_up_to_a_limit() -> None:
    async with Relay(MemoryLog(), MEMORY) as relay:
        channel = LocalChannel(HeldUpstream(), relay=relay)
        texts = ["x" * 100_000] * 20
        requests = steps(opening(), batch(1, *texts), ending())
        async for _ in channel.stream_stream(PUBLISH)(requests, timeout=10, metadata=()):
            pass
        subscribe = channel.unary_stream(f"/{RELAY_SERVICE_NAME}/Subscribe")
        call = subscribe(b"\x0a\x01r", timeout=10, metadata=())
        await anext(call)
        await until(lambda: call.buffered_bytes >= 256 * 1024)
        assert call.buffered_bytes < 1024 * 1024
        assert sum([len(wire) async for wire in call]) > 1_500_000


async def test_a_cancelled_call_leaves_its_response_to_the_lease() -> None:
    async with Relay(MemoryLog(), MEMORY) as relay:
        channel = LocalChannel(HeldUpstream(), relay=relay)

        async def open_only() -> AsyncIterator[bytes]:
            yield opening().SerializeToString()
            await asyncio.Event().wait()

        call = channel.stream_stream(PUBLISH)(open_only(), timeout=10, metadata=())
        await anext(call)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await anext(call)
        assert [*relay.holders] == ["/r"]
        async with Client.on(channel) as client:
            cancelled = await client.cancel_response("r")
        assert cancelled.info.state == ResponseState.RESPONSE_STATE_CANCELLED
        assert relay.holders == {}
