"""Health: checks, watches, and callers that stall."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mistralwire.service import SERVICE_NAME, Server, ServerConfig, _health, create_server
from tests.service.peers import RawPeer
from tests.service.upstreams import HeldUpstream

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION_NAME = "grpc.reflection.v1alpha.ServerReflection"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with asyncio.timeout(30), create_server(HeldUpstream(), ServerConfig(port=0)) as server:
        yield server


async def check(channel: Any, name: str) -> Any:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)).status


@pytest.mark.parametrize("name", ["", SERVICE_NAME, "grpc.health.v1.Health", REFLECTION_NAME])
async def test_every_service_reports_its_health(server: Server, name: str) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await check(channel, name) == SERVING


@pytest.mark.parametrize("name", ["mistralwire", "x" * 5000, "grpc.channelz.v1.Channelz"])
async def test_a_service_that_is_not_served_is_not_found(server: Server, name: str) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, name)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_service_that_is_turned_off_is_not_found() -> None:
    config = ServerConfig(port=0, reflection=False)
    async with (
        create_server(HeldUpstream(), config) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await check(channel, REFLECTION_NAME)


@pytest.mark.parametrize("name", ["", SERVICE_NAME])
async def test_a_watcher_hears_of_the_drain_and_does_not_hold_it_up(server: Server, name: str) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(server.stop(3600))
        assert (await watch.read()).status == NOT_SERVING
        await stopping
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_watcher_of_a_service_that_is_not_served_waits_for_it(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="later"))
        assert (await watch.read()).status == SERVICE_UNKNOWN
        assert not watch.done()


@pytest.mark.slow
async def test_a_watcher_that_does_not_read_keeps_the_news_from_nobody(server: Server) -> None:
    async with (
        RawPeer(server.port, window=0) as stalled,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stalled.call(WATCH)
        await stalled.request(b"")
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(server.stop(3600))
        assert (await watch.read()).status == NOT_SERVING
        await server.stop(0)
        await stopping


async def test_bytes_that_are_no_request_get_a_status_that_says_so(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        for method, data in ((CHECK, b"\xff"), (WATCH, b"\x0a\x01\xff")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method)(data, timeout=30)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "a HealthCheckRequest" in str(caught.value.details())


async def test_a_check_whose_request_never_comes_ends() -> None:
    config = ServerConfig(port=0, request_s=0.05)
    async with (
        asyncio.timeout(30),
        create_server(HeldUpstream(), config) as server,
        RawPeer(server.port) as peer,
    ):
        peer.call(CHECK)
        assert b"CALLER_SILENT" not in await peer.ended()
        assert b"the caller was silent for 0.05 seconds" in await peer.ended()


@pytest.mark.parametrize("name", ["WATCHES_MAX", "CONNECTION_WATCHES_MAX"])
async def test_watches_beyond_the_limit_are_turned_away_and_checks_go_on(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_health, name, 1)
    async with asyncio.timeout(30), grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(health_pb2.HealthCheckRequest()).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await check(channel, "") == SERVING

        # One that ends makes room for another.
        watch.cancel()
        while True:
            another = stub.Watch(health_pb2.HealthCheckRequest())
            with contextlib.suppress(grpc.aio.AioRpcError):
                assert (await another.read()).status == SERVING
                break


async def test_a_server_that_starts_again_serves_again(server: Server) -> None:
    await server.stop(0)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await check(channel, "") == SERVING
