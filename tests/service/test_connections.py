"""Connections: peers that violate the protocol, stall, ping too often, or never answer."""

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mistralwire.client import Client
from mistralwire.errors import CallError
from mistralwire.service import Server, ServerConfig, create_server
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk
from tests.service.peers import ACK, CANCEL, GOAWAY, PING, PREFACE, RST_STREAM, Frame, RawPeer
from tests.service.upstreams import REQUEST, STREAM_REQUEST, HeldUpstream

COMPLETION = "/mistralwire.v1.ChatCompletionService/ChatCompletion"
TOO_MANY_PINGS = b"too_many_pings"


def serve(**settings: Any) -> Server:
    return create_server(HeldUpstream(), ServerConfig(port=0, **settings))


async def is_serving(server: Server) -> bool:
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        PREFACE[:11],
        PREFACE,
        PREFACE + b"\0\0\x06\x04",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(range(256)) * 64,
    ],
    ids=["nothing", "half a preface", "no settings", "half a frame", "http/1", "garbage"],
)
async def test_a_peer_that_never_sets_up_its_connection_is_disconnected(start: bytes) -> None:
    async with asyncio.timeout(30), serve(handshake_s=0.2) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(start)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        assert await is_serving(server)


async def test_a_peer_that_does_not_answer_is_disconnected() -> None:
    async with (
        asyncio.timeout(30),
        serve(keepalive_s=0.05, keepalive_timeout_s=0.05) as server,
        RawPeer(server.port, answers_pings=False) as peer,
    ):
        await peer.received(PING)
        await peer.closed.wait()


async def test_a_call_of_a_peer_that_does_not_answer_is_cancelled_with_its_upstream() -> None:
    upstream = HeldUpstream()
    config = ServerConfig(port=0, keepalive_s=0.05, keepalive_timeout_s=0.05)
    async with (
        asyncio.timeout(30),
        create_server(upstream, config) as server,
        RawPeer(server.port, answers_pings=False) as peer,
    ):
        peer.call(COMPLETION)
        await peer.request(REQUEST.SerializeToString())
        await upstream.started.wait()
        await upstream.closed.wait()
        await peer.closed.wait()


async def test_a_peer_that_answers_stays_connected() -> None:
    async with (
        asyncio.timeout(30),
        serve(keepalive_s=0.05, keepalive_timeout_s=20.0) as server,
        RawPeer(server.port) as peer,
    ):
        # More than two pings, grpc's own limit without data.
        await peer.received(PING, count=5)
        assert not peer.closed.is_set()


async def test_a_peer_that_asks_too_often_is_disconnected() -> None:
    async with asyncio.timeout(30), serve() as server, RawPeer(server.port) as peer:
        for number in range(5):
            peer.send(Frame(PING, 0, 0, bytes([number] * 8)))
        assert (await peer.received(GOAWAY)).payload.endswith(TOO_MANY_PINGS)
        await peer.closed.wait()


async def test_a_peer_may_ask_as_often_as_the_setting_says() -> None:
    async with (
        asyncio.timeout(30),
        serve(keepalive_caller_s_min=0.001) as server,
        RawPeer(server.port) as peer,
    ):
        for number in range(10):
            peer.send(Frame(PING, 0, 0, bytes([number] * 8)))
            await peer.received(PING, ACK, count=number + 1)
            await asyncio.sleep(0.01)
        assert not any(frame.kind == GOAWAY for frame in peer.frames)


@pytest.mark.slow
async def test_a_client_whose_keepalive_is_too_eager_loses_its_connection() -> None:
    upstream = HeldUpstream()
    options = [
        ("grpc.keepalive_time_ms", 100),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_retries", 0),
    ]
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0)) as server,
        grpc.aio.insecure_channel(server.address, options) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(COMPLETION)(REQUEST.SerializeToString(), timeout=30)
        await upstream.closed.wait()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "ping" in str(caught.value.details()).lower()


async def test_a_connection_without_calls_is_closed_in_the_end() -> None:
    async with (
        asyncio.timeout(30),
        serve(connection_idle_s=0.1) as server,
        RawPeer(server.port) as peer,
    ):
        await peer.received(GOAWAY)
        await peer.closed.wait()


@pytest.mark.parametrize("metadata", [[("x", "y")] * 10_000, [("x", "y" * 100_000)]], ids=["many", "long"])
async def test_a_call_with_enormous_metadata_is_turned_away_alone(metadata: list[tuple[str, str]]) -> None:
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(COMPLETION)(REQUEST.SerializeToString(), metadata=metadata, timeout=30)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert upstream.requests == []

        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        call = channel.unary_unary(COMPLETION, response_deserializer=ChatCompletionResponse.FromString)
        assert (await call(REQUEST.SerializeToString(), timeout=30)).id == "1"


async def test_metadata_up_to_the_setting_is_taken() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    async with (
        create_server(upstream, ServerConfig(port=0, metadata_bytes_max=64 * 1024)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        metadata = [("x", "y" * 60_000)]
        await channel.unary_unary(COMPLETION)(REQUEST.SerializeToString(), metadata=metadata, timeout=30)


@pytest.mark.slow
async def test_heads_without_requests_take_no_place_of_other_calls_and_give_way_to_later_ones() -> None:
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(240),
        # Longer than the test takes on a busy machine: the last head waits for its request until the end.
        create_server(upstream, ServerConfig(port=0, request_s=600)) as server,
        RawPeer(server.port) as attacker,
        Client(server.address) as client,
    ):
        for number in range(1100):
            attacker.call(COMPLETION, stream=2 * number + 1)
        # A quarter of arriving_max stays, and a few that grpcio 1.80 hands over with the next calls at times.
        for number in range(1100 - 256 - 16):
            await attacker.ended(2 * number + 1)
        # Once: HPACK does not repeat it.
        assert any(b"many requests are still arriving" in frame.payload for frame in attacker.frames)
        for _ in range(100):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        answers = await asyncio.gather(*(client.complete(REQUEST) for _ in range(100)))
        # The last of them may still send its request.
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        await attacker.request(REQUEST.SerializeToString(), stream=2 * 1099 + 1)
        await attacker.ended(2 * 1099 + 1)
        assert not attacker.closed.is_set()
    assert [answer.id for answer in answers] == ["1"] * 100
    assert len(upstream.requests) == 101


@pytest.mark.slow
async def test_calls_that_a_connection_opens_and_resets_fail_no_other_callers_call() -> None:
    upstream = HeldUpstream()
    for _ in range(200):
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    async with (
        asyncio.timeout(120),
        create_server(upstream, ServerConfig(port=0)) as server,
        RawPeer(server.port) as attacker,
        Client(server.address, attempts_max=1) as client,
    ):
        # Connected.
        await client.complete(REQUEST)
        calls: list[asyncio.Task[ChatCompletionResponse]] = []
        for number in range(20_000):
            stream = 2 * number + 1
            attacker.call(COMPLETION, stream=stream)
            attacker.send(Frame(RST_STREAM, 0, stream, CANCEL))
            if number % 200 == 0:
                calls.append(asyncio.create_task(client.complete(REQUEST)))
                await asyncio.sleep(0)
        answers = await asyncio.gather(*calls)
    assert [answer.id for answer in answers] == ["1"] * 100


async def test_other_connections_are_served_while_several_take_all_that_may_arrive() -> None:
    upstream = HeldUpstream()
    config = ServerConfig(port=0, arriving_max=8, calls_max=1)
    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(create_server(upstream, config))
        for _ in range(5):
            attacker = await stack.enter_async_context(RawPeer(server.port))
            for number in range(3):
                attacker.call(COMPLETION, stream=2 * number + 1)
            # Two of a connection stay.
            await attacker.ended(1)
        client = await stack.enter_async_context(Client(server.address))
        for _ in range(10):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
            assert (await client.complete(REQUEST)).id == "1"


@pytest.mark.slow
async def test_a_thousand_streams_on_one_connection_run_at_once() -> None:
    upstream = HeldUpstream()
    config = ServerConfig(port=0, upstream_calls_max=1000)
    async with (
        asyncio.timeout(120),
        create_server(upstream, config) as server,
        Client(server.address, deadline_s=120) as client,
    ):

        async def read() -> list[CompletionChunk]:
            return [item async for item in client.stream(STREAM_REQUEST)]

        streams = [asyncio.create_task(read()) for _ in range(1000)]
        while len(upstream.requests) < 1000:
            assert not any(stream.done() for stream in streams)
            await asyncio.sleep(0.05)
        for _ in range(1000):
            upstream.items.put_nowait(None)
        assert await asyncio.gather(*streams) == [[]] * 1000


async def test_calls_that_have_arrived_are_bounded_by_calls_max_wherever_they_come_from() -> None:
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(60),
        create_server(upstream, ServerConfig(port=0, calls_max=1)) as server,
        RawPeer(server.port) as slow,
        Client(server.address) as client,
    ):
        slow.call(COMPLETION)
        running = asyncio.create_task(client.complete(REQUEST))
        await upstream.started.wait()
        await slow.request(REQUEST.SerializeToString())
        assert b"grpc-status\x018" in await slow.ended()
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert (await running).id == "1"
    assert len(upstream.requests) == 1


async def test_requests_of_all_calls_are_bounded_in_bytes_until_their_calls_end() -> None:
    upstream = HeldUpstream()
    size = REQUEST.ByteSize()
    async with (
        asyncio.timeout(60),
        create_server(upstream, ServerConfig(port=0, bodies_bytes_max=2 * size + size // 2)) as server,
        Client(server.address) as client,
    ):
        running = [asyncio.create_task(client.complete(REQUEST)) for _ in range(2)]
        while len(upstream.requests) < 2:  # noqa: ASYNC110 - the list tells nobody
            await asyncio.sleep(0.01)
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)
        error = caught.value
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_BYTES")
        assert error.retry_after_s == 1
        for _ in range(2):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        await asyncio.gather(*running)
        for _ in range(5):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
            await client.complete(REQUEST)
    assert len(upstream.requests) == 7


async def test_servers_share_a_port_only_if_both_are_told_to() -> None:
    async with serve(share_port=True) as first:
        config = ServerConfig(port=first.port, share_port=True)
        async with create_server(HeldUpstream(), config) as second:
            assert second.port == first.port
        with pytest.raises(Exception, match="is in use; stop what listens there"):
            await create_server(HeldUpstream(), ServerConfig(port=first.port)).start()

    async with serve() as first:
        with pytest.raises(Exception, match="is in use; stop what listens there"):
            await create_server(HeldUpstream(), ServerConfig(port=first.port, share_port=True)).start()


async def test_shared_connections_are_spread() -> None:
    upstreams = [HeldUpstream(), HeldUpstream()]
    for upstream in upstreams:
        for _ in range(100):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    async with create_server(upstreams[0], ServerConfig(port=0, share_port=True)) as first:
        config = ServerConfig(port=first.port, share_port=True)
        async with create_server(upstreams[1], config):
            for _ in range(100):
                async with Client(first.address) as client:
                    await client.complete(REQUEST)
    assert all(upstream.requests for upstream in upstreams)
