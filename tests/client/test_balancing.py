"""Calls over several servers: round-robin, and failover."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from mistralwire.client import Client, SyncClient
from mistralwire.errors import CallError, MistralwireError, Reason
from mistralwire.service import CallRecord, Chunks, Server, ServerConfig, create_server
from mistralwire.v1 import ChatCompletionStreamRequest
from tests.service.upstreams import STREAM_REQUEST, EagerUpstream


async def started(upstream: EagerUpstream) -> Server:
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    return server


async def test_calls_take_turns_and_go_on_when_a_server_is_gone() -> None:
    upstreams = [EagerUpstream(1), EagerUpstream(1)]
    servers = [await started(upstream) for upstream in upstreams]
    target = "ipv4:" + ",".join(server.address for server in servers)
    async with asyncio.timeout(60), Client(target) as client:

        async def call() -> list[str]:
            return [item.id async for item in client.stream(STREAM_REQUEST)]

        # The second connection may take a moment longer than the first.
        while not all(upstream.produced for upstream in upstreams):
            assert await call() == ["0"]
        before = [upstream.produced for upstream in upstreams]
        for _ in range(10):
            assert await call() == ["0"]
        assert [upstream.produced for upstream in upstreams] == [count + 5 for count in before]

        await servers[0].stop(0)
        before = [upstream.produced for upstream in upstreams]
        for _ in range(10):
            assert await call() == ["0"]
        assert [upstream.produced for upstream in upstreams] == [before[0], before[1] + 10]
        await servers[1].stop(0)


class Peers:
    """Records the peer of each call: each connection has a port of its own."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def started(self, call: CallRecord) -> None:
        self.seen.append(call.peer)

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        pass

    def ended(self, call: CallRecord) -> None:
        pass


@pytest.mark.parametrize("connections", [1, 3])
async def test_calls_take_turns_among_the_connections(connections: int) -> None:
    peers = Peers()
    server = create_server(EagerUpstream(1), ServerConfig(port=0), [peers])
    async with asyncio.timeout(60), server, Client(server.address, connections=connections) as client:
        for _ in range(9):
            assert [item.id async for item in client.stream(STREAM_REQUEST)] == ["0"]

    assert len(set(peers.seen)) == connections
    assert peers.seen == peers.seen[:connections] * (9 // connections)


class Ended:
    """A sink that waits for the end of a stream."""

    def __init__(self) -> None:
        self.end_or_error: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def headers(self, headers: Mapping[str, str]) -> None:
        pass

    def batch(self, wire: bytes, count: int) -> None:
        pass

    def answer(self, wire: bytes) -> None:
        raise AssertionError("a stream has no unary response")

    def end(self) -> None:
        self.end_or_error.set_result(None)

    def failed(self, error: MistralwireError) -> None:
        self.end_or_error.set_exception(error)


@pytest.mark.parametrize("connections", [2, 3])
async def test_calls_for_a_sink_take_turns_among_the_connections_too(connections: int) -> None:
    peers = Peers()
    server = create_server(EagerUpstream(1), ServerConfig(port=0), [peers])
    async with asyncio.timeout(60), server, Client(server.address, connections=connections) as client:
        for _ in range(6):
            sink = Ended()
            client.start(ChatCompletionStreamRequest, STREAM_REQUEST.SerializeToString(), sink)
            await sink.end_or_error

    assert len(set(peers.seen)) == connections
    assert peers.seen == peers.seen[:connections] * (6 // connections)


async def test_a_client_without_an_event_loop_has_several_connections_too() -> None:
    peers = Peers()

    def use(target: str) -> None:
        with SyncClient(target, connections=3) as client:
            for _ in range(6):
                assert [item.id for item in client.stream(STREAM_REQUEST)] == ["0"]

    server = create_server(EagerUpstream(1), ServerConfig(port=0), [peers])
    async with asyncio.timeout(60), server:
        await asyncio.to_thread(use, server.address)

    assert len(set(peers.seen)) == 3
    assert peers.seen == peers.seen[:3] * 2


async def test_closing_ends_the_calls_of_all_connections() -> None:
    upstream = EagerUpstream(None)
    async with asyncio.timeout(60), create_server(upstream, ServerConfig(port=0)) as server:
        client = Client(server.address, connections=2)
        streams = [client.stream(STREAM_REQUEST) for _ in range(2)]
        for stream in streams:
            await anext(stream)
        await client.close()
        for stream in streams:
            with pytest.raises(CallError) as caught:
                async for _ in stream:
                    pass
            assert caught.value.reason == Reason.CLIENT_CLOSED


class NameServer(asyncio.DatagramProtocol):
    """Resolves every name to one address.

    Source: https://www.rfc-editor.org/rfc/rfc1035#section-4
    """

    def __init__(self) -> None:
        self.address = "127.0.0.1"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\x00", 12) + 5
        question, is_for_ipv4 = data[12:end], data[end - 4 : end - 2] == b"\x00\x01"
        answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04"
        answer += bytes(map(int, self.address.split(".")))
        counts = b"\x00\x01" + (b"\x00\x01" if is_for_ipv4 else b"\x00\x00") + b"\x00\x00\x00\x00"
        reply = data[:2] + b"\x81\x80" + counts + question + (answer if is_for_ipv4 else b"")
        self._transport.sendto(reply, addr)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        try:
            yield transport.get_extra_info("sockname")[1]
        finally:
            transport.close()


@pytest.mark.slow
async def test_a_name_is_looked_up_again_when_its_address_fails() -> None:
    names, upstreams = NameServer(), [EagerUpstream(1), EagerUpstream(1)]
    first = await started(upstreams[0])
    second = create_server(upstreams[1], ServerConfig(host="127.0.0.2", port=first.port))
    await second.start()
    async with asyncio.timeout(60), names.serving() as name_port:
        target = f"dns://127.0.0.1:{name_port}/completions.test:{first.port}"
        async with Client(target, insecure=True) as client:
            assert [item.id async for item in client.stream(STREAM_REQUEST)] == ["0"]
            names.address = "127.0.0.2"
            await first.stop(0)
            assert [item.id async for item in client.stream(STREAM_REQUEST)] == ["0"]
    await second.stop(0)

    assert [upstream.produced for upstream in upstreams] == [1, 1]
