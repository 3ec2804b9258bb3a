"""The server: addresses, reflection, channelz, limits, drain."""

import asyncio
import re
import socket
import sys
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from mistralwire.client import Client
from mistralwire.errors import CallError, MistralwireError
from mistralwire.service import (
    SERVICE_NAME,
    CallObserver,
    CallRecord,
    Chunks,
    Server,
    ServerConfig,
    create_server,
)
from mistralwire.upstream import CallContext, CompletionRequest, CompletionResponse
from mistralwire.v1 import ChatCompletionResponse
from tests.service.peers import DATA, GOAWAY, HEADERS, RawPeer
from tests.service.upstreams import REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

COMPLETION = "/mistralwire.v1.ChatCompletionService/ChatCompletion"
SERVING = health_pb2.HealthCheckResponse.SERVING


def health_stub(channel: Any) -> Any:
    return health_pb2_grpc.HealthStub(channel)


async def test_reflection_gives_the_whole_contract() -> None:
    def look(address: str) -> tuple[list[str], list[str]]:
        with grpc.insecure_channel(address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            service = pool.FindServiceByName(SERVICE_NAME)
            request = pool.FindMessageTypeByName("mistralwire.v1.ChatCompletionRequest")
            assert "messages" in request.fields_by_name
            return sorted(database.get_services()), sorted(method.name for method in service.methods)

    async with create_server(HeldUpstream(), ServerConfig(port=0)) as server:
        services, methods = await asyncio.to_thread(look, server.address)

    assert services == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "mistralwire.v1.ChatCompletionService",
        "mistralwire.v1.ResponseRelayService",
    ]
    assert methods == [
        *("AgentsCompletion", "AgentsCompletionStream"),
        *("ChatCompletion", "ChatCompletionStream"),
        *("FIMCompletion", "FIMCompletionStream"),
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_an_address_beyond_this_machine_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host must be a loopback address"):
        create_server(HeldUpstream(), ServerConfig(host=host))


async def test_an_address_beyond_this_machine_works_when_asked_for() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    async with (
        create_server(upstream, ServerConfig(host="0.0.0.0", port=0, insecure=True)) as server,
        Client(f"127.0.0.1:{server.port}") as client,
    ):
        assert (await client.complete(REQUEST)).id == "1"


async def test_an_ipv6_address_is_written_with_brackets() -> None:
    server = create_server(HeldUpstream(), ServerConfig(host="::1", port=50051))

    assert server.address == "[::1]:50051"


async def test_a_port_that_is_taken_is_an_error_and_not_shared() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MistralwireError, match=f"^127.0.0.1:{port} is in use; ") as caught:
            await create_server(HeldUpstream(), ServerConfig(port=port)).start()
    assert caught.value.reason == "CANNOT_LISTEN"

    async with create_server(HeldUpstream(), ServerConfig(port=0)) as server:
        with pytest.raises(MistralwireError, match="is in use"):
            await create_server(HeldUpstream(), ServerConfig(port=server.port)).start()


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("name.invalid", "found 'name.invalid', which does not resolve"),
        ("192.0.2.1", "found 192.0.2.1:0: cannot assign requested address"),
    ],
)
async def test_an_address_that_is_not_of_this_machine_is_told_from_one_in_use(
    host: str, message: str
) -> None:
    with pytest.raises(MistralwireError, match=message) as caught:
        await create_server(HeldUpstream(), ServerConfig(host=host, port=0, insecure=True)).start()

    assert caught.value.reason == "CANNOT_LISTEN"


async def test_a_server_that_could_not_start_can_try_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = create_server(HeldUpstream(), ServerConfig(port=taken.getsockname()[1]))
        with pytest.raises(MistralwireError, match="is in use"):
            await server.start()
        await server.stop()

    async with server, grpc.aio.insecure_channel(server.address) as channel:
        answer = await health_stub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == SERVING


@pytest.mark.parametrize(
    "arguments",
    [
        {"port": -1},
        {"port": 65_536},
        {"message_bytes_max": 0},
        {"message_bytes_max": 2**31},
        {"calls_max": 0},
        {"calls_max": 2**31},
        {"host": ""},
    ],
)
def test_an_argument_out_of_its_range_is_refused(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name} must" if name != "host" else "loopback|must not be empty"):
        create_server(HeldUpstream(), ServerConfig(**arguments))


@pytest.mark.parametrize(
    "arguments", [{"host": None}, {"host": b"::1"}, {"port": "5"}, {"port": 5.0}, {"calls_max": True}]
)
def test_an_argument_of_another_type_is_refused(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(TypeError, match=rf"{name} must be an? (integer from \d+ to \d+|string), not "):
        create_server(HeldUpstream(), ServerConfig(**arguments))


@pytest.mark.parametrize("drain_s", [-1, float("nan"), float("inf")])
async def test_a_drain_without_an_end_is_refused(drain_s: float) -> None:
    async with create_server(HeldUpstream(), ServerConfig(port=0)) as server:
        with pytest.raises(ValueError, match="drain_s must be 0 or more and finite"):
            await server.stop(drain_s)


async def test_a_running_stream_ends_well_while_the_server_drains() -> None:
    upstream = HeldUpstream()
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), Client(server.address, attempts_max=1) as client:
        chunks = client.stream(STREAM_REQUEST)
        upstream.items.put_nowait(chunk(0))
        assert (await anext(chunks)).id == "0"

        stopping = asyncio.create_task(server.stop(30))
        upstream.items.put_nowait(chunk(1))
        assert (await anext(chunks)).id == "1"
        upstream.items.put_nowait(None)
        assert [item async for item in chunks] == []
        await stopping

        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)
    assert caught.value.code == "UNAVAILABLE"


async def test_a_call_that_outlives_the_drain_is_cancelled_with_its_upstream() -> None:
    upstream = HeldUpstream()
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), Client(server.address, attempts_max=1) as client:
        call = asyncio.create_task(client.complete(REQUEST))
        await upstream.started.wait()
        await server.stop(0)
        await upstream.closed.wait()
        with pytest.raises(CallError):
            await call


async def test_stopping_a_server_that_never_started_does_nothing() -> None:
    await create_server(HeldUpstream(), ServerConfig(port=0)).stop()


async def test_a_call_beyond_the_limit_is_turned_away() -> None:
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0, calls_max=1)) as server,
        Client(server.address, attempts_max=1) as client,
    ):
        first = asyncio.create_task(client.complete(REQUEST))
        await upstream.started.wait()
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert (await first).id == "1"

    assert caught.value.code == "RESOURCE_EXHAUSTED"


async def test_a_request_beyond_the_limit_is_turned_away() -> None:
    upstream = HeldUpstream()
    async with (
        create_server(upstream, ServerConfig(port=0, message_bytes_max=REQUEST.ByteSize() - 1)) as server,
        Client(server.address, attempts_max=1) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert upstream.requests == []


async def services_of(server: Server) -> list[str]:
    """Ask by reflection."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        # Request and half-close in one step: a later write may fail with INTERNAL where the call is refused.
        call = channel.unary_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        answer = await call(reflection_pb2.ServerReflectionRequest(list_services=""), timeout=30).read()
        return sorted(service.name for service in answer.list_services_response.service)


@pytest.mark.parametrize(
    ("settings", "is_reflected"),
    [
        ({}, True),
        ({"reflection": False}, False),
        ({"host": "0.0.0.0", "insecure": True}, False),
        ({"host": "0.0.0.0", "insecure": True, "reflection": True}, True),
    ],
)
async def test_reflection_is_for_this_machine_unless_told_otherwise(
    settings: dict[str, Any], is_reflected: bool
) -> None:
    async with create_server(HeldUpstream(), ServerConfig(port=0, **settings)) as server:
        if is_reflected:
            assert SERVICE_NAME in await services_of(server)
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await services_of(server)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_channelz_tells_of_connections_where_it_is_asked_for() -> None:
    async with (
        create_server(HeldUpstream(), ServerConfig(port=0, channelz=True)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        assert "grpc.channelz.v1.Channelz" in await services_of(server)
        stub = channelz_pb2_grpc.ChannelzStub(channel)
        answer = await stub.GetServers(channelz_pb2.GetServersRequest(), timeout=30)
        assert any(item.listen_socket for item in answer.server)

    async with create_server(HeldUpstream(), ServerConfig(port=0)) as server:
        assert "grpc.channelz.v1.Channelz" not in await services_of(server)


async def test_channelz_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc_channelz.v1", None)
    server = create_server(HeldUpstream(), ServerConfig(port=0, channelz=True))
    with pytest.raises(MistralwireError, match=r"pip install '\.\[channelz\]'") as caught:
        await server.start()
    assert caught.value.code == "FAILED_PRECONDITION"


async def test_a_server_that_runs_does_not_start_again() -> None:
    async with create_server(HeldUpstream(), ServerConfig(port=0)) as server:
        with pytest.raises(RuntimeError, match=r"found one on 127\.0\.0\.1:"):
            await server.start()


async def test_new_calls_are_refused_while_the_server_drains() -> None:
    upstream = HeldUpstream()
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with (
        asyncio.timeout(30),
        Client(server.address, attempts_max=1) as client,
        RawPeer(server.port) as peer,
    ):
        chunks = client.stream(STREAM_REQUEST)
        upstream.items.put_nowait(chunk(0))
        assert (await anext(chunks)).id == "0"
        stopping = asyncio.create_task(server.stop(30))
        # A peer that ignores the GOAWAY, like one that has not received it yet.
        await peer.received(GOAWAY)
        peer.call(COMPLETION)
        trailers = await peer.ended()
        # grpc itself answers these with UNAVAILABLE or CANCELLED, or closes the connection.
        assert peer.closed.is_set() or re.search(rb"grpc-status(\x0214|\x011)", trailers)
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)
        assert caught.value.code == "UNAVAILABLE"
        upstream.items.put_nowait(None)
        assert [item async for item in chunks] == []
        await stopping
    assert len(upstream.requests) == 1


async def test_a_call_that_comes_before_the_stop_is_refused_behind_the_end_of_its_connection() -> None:
    upstream = HeldUpstream()
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), RawPeer(server.port) as peer:
        stopping = asyncio.create_task(server.stop(30))
        peer.call(COMPLETION)
        trailers = await peer.ended()
        await stopping
        goodbye = next(index for index, frame in enumerate(peer.frames) if frame.kind == GOAWAY)
        refusal = next(index for index, frame in enumerate(peer.frames) if frame.kind == HEADERS)

    assert goodbye < refusal
    # Name and value, each preceded by its length.
    assert b"grpc-status\x0214" in trailers
    assert b"grpc-retry-pushback-ms\x03150" in trailers
    assert not upstream.requests


async def test_a_call_that_comes_before_the_stop_has_a_reason_and_a_time_to_retry() -> None:
    observed: list[str] = []

    class Observer(CallObserver):
        def started(self, record: CallRecord) -> None: ...

        def chunks(self, record: CallRecord, chunks: Chunks) -> None: ...

        def ended(self, record: CallRecord) -> None:
            observed.append(record.code)

    server = create_server(HeldUpstream(), ServerConfig(port=0), [Observer()])
    await server.start()
    async with asyncio.timeout(30), Client(server.address, attempts_max=1) as client:
        await client.is_serving()
        stopping = asyncio.create_task(server.stop(30))
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)
        await stopping
    error = caught.value
    assert (error.code, error.reason, error.retry_after_s) == ("UNAVAILABLE", "DRAINING", 0.15)
    assert observed == ["UNAVAILABLE"]


@pytest.mark.parametrize("drain_s", [0, 0.05])
async def test_a_call_that_comes_as_the_time_to_drain_is_over_is_refused_too(drain_s: float) -> None:
    server = create_server(HeldUpstream(), ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), Client(server.address, attempts_max=1) as client:
        call = asyncio.create_task(client.complete(REQUEST))
        await server.stop(drain_s)
        with pytest.raises(CallError) as caught:
            await call
    assert caught.value.code == "UNAVAILABLE"


async def test_a_stream_that_outlives_the_drain_ends_for_its_caller_too() -> None:
    upstream = HeldUpstream()
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), Client(server.address, attempts_max=1) as client:
        chunks = client.stream(STREAM_REQUEST)
        upstream.items.put_nowait(chunk(0))
        assert (await anext(chunks)).id == "0"
        await server.stop(0.05)
        with pytest.raises(CallError) as caught:
            await anext(chunks)
        await upstream.closed.wait()
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "SERVER_STOPPING")


@pytest.mark.slow
async def test_a_reader_that_stalls_does_not_keep_the_server_from_stopping() -> None:
    upstream = EagerUpstream(None)
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), RawPeer(server.port, window=1000) as peer:
        peer.call(COMPLETION + "Stream")
        await peer.request(STREAM_REQUEST.SerializeToString())
        await peer.received(DATA)
        await server.stop(0.05)
        await upstream.closed.wait()
        await peer.closed.wait()


class StubbornUpstream(HeldUpstream):
    """Ignores its cancellation."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled, self.may_end = asyncio.Event(), asyncio.Event()

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        try:
            return await super().complete(request, context)
        except asyncio.CancelledError:
            self.cancelled.set()
            await self.may_end.wait()
            raise


async def test_an_upstream_that_does_not_care_keeps_neither_its_caller_nor_the_server() -> None:
    upstream = StubbornUpstream()
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), Client(server.address, attempts_max=1) as client:
        call = asyncio.create_task(client.complete(REQUEST))
        await upstream.started.wait()
        await server.stop(0)
        with pytest.raises(CallError) as caught:
            await call
        await upstream.cancelled.wait()
        upstream.may_end.set()
    assert caught.value.code in ("UNAVAILABLE", "CANCELLED")


@pytest.mark.slow
async def test_the_shortest_of_several_stops_counts() -> None:
    upstream = HeldUpstream()
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), Client(server.address, attempts_max=1) as client:
        call = asyncio.create_task(client.complete(REQUEST))
        await upstream.started.wait()
        patient = [asyncio.create_task(server.stop(3600)) for _ in range(3)]
        await asyncio.gather(server.stop(0), server.stop(0.01), *patient)
        with pytest.raises(CallError):
            await call
    await server.stop()


async def test_a_stop_that_is_given_up_goes_on_with_the_next() -> None:
    upstream = HeldUpstream()
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), Client(server.address, attempts_max=1) as client:
        call = asyncio.create_task(client.complete(REQUEST))
        await upstream.started.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.stop(3600), 0.01)
        await server.stop(0)
        with pytest.raises(CallError):
            await call
