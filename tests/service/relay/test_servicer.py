"""The service around the relay: tokens, certificates, limits, drain, health, observers."""

import asyncio
import logging
import pathlib
from collections.abc import Sequence

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mistralwire._methods import RELAY_SERVICE_NAME
from mistralwire.log import MemoryLog, Query, StoredResponse
from mistralwire.service import AccessLog, CallRecord, Chunks, Relay, Server, ServerConfig, create_server
from mistralwire.v1 import GetResponseRequest, ListResponsesRequest, SubscribeRequest
from mistralwire.v1 import response_relay_service_pb2_grpc as relay_grpc
from tests.service.certificates import issue, trust
from tests.service.relay.relays import (
    MEMORY,
    Producer,
    batch,
    calling,
    ending,
    follow,
    opening,
    publish,
    reason_of,
    relay_stub,
    relaying,
    until,
)
from tests.service.upstreams import HeldUpstream

TOKENS = ["a-token-of-more-than-16-bytes", "another-token-of-more-than-16-bytes"]
LIST = ListResponsesRequest()


class Ends:
    """An observer that keeps the codes of the calls that have ended."""

    def __init__(self, codes: list[str]) -> None:
        self._codes = codes

    def started(self, call: CallRecord) -> None:
        """Never called: no upstream is asked."""
        raise AssertionError(call.method)

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        """Never called."""
        raise AssertionError(call.method, chunks)

    def ended(self, call: CallRecord) -> None:
        self._codes.append(call.code)


async def test_without_a_log_all_methods_are_unimplemented() -> None:
    async with create_server(HeldUpstream(), ServerConfig(port=0)) as server, calling(server) as stub:
        for call in (publish(stub, opening()), follow(stub), stub.ListResponses(LIST)):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert reason_of(raised.value)[0] == "NO_RESPONSE_LOG"


async def test_the_service_is_healthy() -> None:
    async with relaying() as (_, server), grpc.aio.insecure_channel(server.address) as channel:
        request = health_pb2.HealthCheckRequest(service=RELAY_SERVICE_NAME)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_response_belongs_to_the_token_of_its_producer(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("\n".join(TOKENS))
    file.chmod(0o600)
    own, other = ([("authorization", f"Bearer {token}")] for token in TOKENS)
    async with relay_stub(service=ServerConfig(port=0, token_file=file)) as stub:
        await publish(stub, opening(), ending(), metadata=own)
        found = await stub.GetResponse(GetResponseRequest(response_id="r"), metadata=own)
        for metadata, code in ((other, grpc.StatusCode.NOT_FOUND), ([], grpc.StatusCode.UNAUTHENTICATED)):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.GetResponse(GetResponseRequest(response_id="r"), metadata=metadata)
            assert raised.value.code() is code
    assert found.info.response_id == "r"


async def test_a_response_belongs_to_the_certificate_of_its_producer(tmp_path: pathlib.Path) -> None:
    authority, callers, client_ca = trustme.CA(), trustme.CA(), tmp_path / "callers.pem"
    files = issue(authority, tmp_path)
    client_ca.write_bytes(callers.cert_pem.bytes())
    config = ServerConfig(
        port=0, tls_certificate=files.certificate, tls_key=files.key, tls_client_ca=client_ca
    )
    log = MemoryLog()
    async with relaying(service=config, log=log) as (_, server):
        target = f"localhost:{server.port}"
        async with grpc.aio.secure_channel(target, trust(authority, caller_of=callers)) as channel:
            await publish(relay_grpc.ResponseRelayServiceStub(channel), opening(), ending())
        # Another certificate of the same caller, as after a renewal.
        async with grpc.aio.secure_channel(target, trust(authority, caller_of=callers)) as channel:
            page = await relay_grpc.ResponseRelayServiceAsyncStub(channel).ListResponses(LIST)
    assert [info.response_id for info in page.responses] == ["r"]
    assert await log.describe("/r") is None


async def test_there_are_as_many_calls_as_the_limit_allows() -> None:
    ended: list[str] = []
    async with (
        relaying(service=ServerConfig(port=0, calls_max=1), observers=[Ends(ended)]) as (_, server),
        calling(server) as stub,
    ):
        async with Producer(stub, opening()) as producer:
            await producer.acknowledged(0)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.ListResponses(LIST)
        await until(lambda: ended[-1] == "CANCELLED")
        await stub.ListResponses(LIST)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(raised.value)[0] == "TOO_MANY_CALLS"


async def test_a_drain_sends_streams_to_another_server_at_once() -> None:
    async with Relay(MemoryLog(), MEMORY) as relay:
        config = ServerConfig(port=0)
        first = create_server(HeldUpstream(), config, relay=relay)
        await first.start()
        async with calling(first) as stub, Producer(stub, opening()) as producer:
            await producer.acknowledged(0)
            follower = stub.Subscribe(SubscribeRequest(response_id="r"))
            await until(lambda: relay.counts.followers == 1)
            async with asyncio.timeout(5):
                await first.stop(60)
            for read in (producer.call.read(), follower.read()):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await read
                assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
                assert reason_of(raised.value)[0] == "DRAINING"
        async with create_server(HeldUpstream(), config, relay=relay) as second, calling(second) as stub:
            answers = await publish(stub, opening(), batch(1, "a"), ending())
    assert answers[-1].ended


async def test_a_server_that_stops_at_once_ends_its_streams() -> None:
    async with relaying() as (_, server), calling(server) as stub, Producer(stub, opening()) as producer:
        await producer.acknowledged(0)
        await server.stop(0)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await producer.ended()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


class StoppingLog(MemoryLog):
    """Has its server stop while an answer is being sent."""

    server: Server

    async def list(self, query: Query) -> Sequence[StoredResponse]:
        if query.owner is not None:
            asyncio.get_running_loop().call_soon(self.server._relay_servicer.stop_calls)
        return await super().list(query)


async def test_a_compressed_call_that_ends_while_its_metadata_are_sent_keeps_its_status() -> None:
    log = StoppingLog()
    async with relaying(log=log) as (_, log.server), calling(log.server) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListResponses(LIST, metadata=[("x-accept-encoding", "gzip")], timeout=5)
    assert reason_of(raised.value)[0] == "SERVER_STOPPING"


async def test_calls_are_logged_at_their_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mistralwire.access")
    async with relay_stub(observers=[AccessLog()]) as stub:
        await publish(stub, opening(), ending(), metadata=[("x-request-id", "q1")])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await follow(stub, "none")
        call = stub.Subscribe(SubscribeRequest(response_id="r", after_sequence=0))
        await call.read()
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetResponse(GetResponseRequest())
    lines = {record.message: record for record in caplog.records if record.name == "mistralwire.access"}
    assert {*lines} == {"Publish OK", "Subscribe NOT_FOUND", "Subscribe OK", "GetResponse INVALID_ARGUMENT"}
    assert lines["Publish OK"].request_id == "q1"  # type: ignore[attr-defined]
    assert lines["Subscribe NOT_FOUND"].reason == "RESPONSE_NOT_FOUND"  # type: ignore[attr-defined]
    assert ("x-request-id", "q1") not in raised.value.trailing_metadata()


async def test_a_caller_who_leaves_ends_their_call_with_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mistralwire.access")
    async with relaying(observers=[AccessLog()]) as (relay, server), calling(server) as stub:
        async with Producer(stub, opening()) as producer:
            await producer.acknowledged(0)
            follower = stub.Subscribe(SubscribeRequest(response_id="r"))
            await until(lambda: relay.counts.followers == 1)
            follower.cancel()
        await until(lambda: len(caplog.records) == 2)
    assert {record.message for record in caplog.records} == {"Publish CANCELLED", "Subscribe CANCELLED"}
