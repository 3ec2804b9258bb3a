"""Connections: peers that lie, stall, ask too often or never answer."""

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mistralwire.client import Client
from mistralwire.service import Server, ServerConfig, create_server
from mistralwire.v1 import ChatCompletionResponse
from tests.service.peers import ACK, GOAWAY, PING, PREFACE, Frame, RawPeer
from tests.service.upstreams import REQUEST, HeldUpstream

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
        # Asked more often than twice, grpc's own limit without data.
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


async def test_calls_beyond_the_limit_are_refused_and_not_kept_waiting_unseen() -> None:
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0, calls_max=1)) as server,
        RawPeer(server.port) as peer,
    ):
        for number in range(1100):
            peer.call(COMPLETION, stream=2 * number + 1)
        for number in range(1, 1100):
            await peer.ended(2 * number + 1)
        assert not peer.closed.is_set()


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
