"""Several processes on one log: followed, cancelled and taken over from anywhere."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from mistralwire.client import Client
from mistralwire.log import NatsLog
from mistralwire.service import LocalChannel, Relay, RelayConfig
from mistralwire.v1 import CancelResponseRequest, ResponseState, SubscribeRequest
from tests.log.nats_servers import NatsServer, running
from tests.service.relay.calls import metadata
from tests.service.relay.relays import (
    Producer,
    batch,
    calling,
    ending,
    events_of,
    follow,
    opening,
    publish,
    reason_of,
    relaying,
    until,
)
from tests.service.upstreams import STREAM_REQUEST, HeldUpstream
from tests.service.upstreams import chunk as numbered

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running(NatsServer(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@contextlib.asynccontextmanager
async def two_nodes(nats: NatsServer, lease_s: float = 30.0) -> AsyncIterator[list[tuple[Relay, Any]]]:
    """Run two services on one log; yield each with a stub."""
    stream = f"s{secrets.token_hex(8)}"
    config = RelayConfig(log=nats.url, lease_s=lease_s)
    async with contextlib.AsyncExitStack() as stack:
        nodes = []
        for _ in range(2):
            log = NatsLog(nats.url, monitor_urls=[nats.monitor_url], stream=stream)
            relay, server = await stack.enter_async_context(relaying(config, log=log))
            nodes.append((relay, await stack.enter_async_context(calling(server))))
        yield nodes


async def test_a_response_is_followed_and_cancelled_on_another_node(nats: NatsServer) -> None:
    async with two_nodes(nats) as [(held, here), (following, there)]:
        async with Producer(here, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
            follower = there.Subscribe(SubscribeRequest(response_id="r"))
            assert (await follower.read()).first_sequence == 1
            cancelled = await there.CancelResponse(CancelResponseRequest(response_id="r"))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await producer.ended()
            message = await follower.read()
        await until(lambda: not held.holders)
    # The holder has ended it, not the canceller, at the next epoch.
    assert cancelled.info.epoch == 0
    assert cancelled.info.state == message.end.state == ResponseState.RESPONSE_STATE_CANCELLED
    assert reason_of(raised.value)[0] == "RESPONSE_CANCELLED"
    assert following.holders == {}


async def test_a_producer_that_waits_learns_that_another_node_has_its_response(nats: NatsServer) -> None:
    async with two_nodes(nats) as [(held, here), (_, there)]:
        async with Producer(here, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
            answers = await publish(there, opening(epoch=1), batch(2, "b"), ending())
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await producer.ended()
        assert held.holders == {}
        assert len(events_of(await follow(here))) == 2
    assert answers[-1].ended
    assert reason_of(raised.value) == ("STALE_EPOCH", {"contract_revision": "1", "epoch": "1"})


async def test_another_node_waits_for_the_producer_of_a_node_that_is_gone(nats: NatsServer) -> None:
    async with two_nodes(nats) as [(gone, here), (left, there)]:
        async with Producer(here, opening(), batch(1, "a")) as producer:
            await producer.acknowledged(1)
        await until(lambda: bool(gone.holders))
        await gone.close()
        await until(lambda: bool(left.holders))
        answers = await publish(there, opening(), batch(2, "b"), ending())
        assert left.holders == {}
    assert (answers[0].acknowledged_sequence, answers[-1].acknowledged_sequence) == (1, 2)


async def test_a_producer_whose_node_was_not_heard_for_a_while_keeps_its_response(nats: NatsServer) -> None:
    async with (
        two_nodes(nats, lease_s=3.0) as [(_, here), (other, there)],
        Producer(here, opening(), batch(1, "a")) as producer,
    ):
        await producer.acknowledged(1)
        stored = await other.log.describe("/r")
        assert stored is not None
        await other.publishers.adopt(stored)
        # Its lease expires, in which the producer sends nothing.
        await until(lambda: not other.holders)
        await producer.send(batch(2, "b"), ending())
        await producer.ended()
        messages = await follow(there)
    assert len(events_of(messages)) == 2
    assert messages[-1].end.state == ResponseState.RESPONSE_STATE_FINISHED


async def test_a_follower_on_another_node_is_the_caller_being_back(nats: NatsServer) -> None:
    upstream = HeldUpstream()
    async with (
        two_nodes(nats) as [(held, _), (_, there)],
        Client.on(LocalChannel(upstream, relay=held)) as client,
    ):
        upstream.items.put_nowait(numbered(0))
        wanted = metadata(id="kept", on_disconnect="keep 1")
        async with contextlib.aclosing(client.stream(STREAM_REQUEST, metadata=wanted)) as chunks:
            await anext(chunks)
        follower = there.Subscribe(SubscribeRequest(response_id="kept"))
        assert (await follower.read()).first_sequence == 1
        await asyncio.sleep(1.1)
        assert not upstream.closed.is_set()
        follower.cancel()
        await upstream.closed.wait()
