"""Whether a service takes calls: by its health check, and without one."""

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2

from mistralwire.client import DEADLINE_S_MAX, TOKEN_REFUSED, Client
from mistralwire.errors import CallError
from mistralwire.service import SERVICE_NAME, ServerConfig, create_server
from mistralwire.v1 import ChatCompletionResponse
from tests.client.peers import RawPeer, answer_of, message, started
from tests.listeners import accepting
from tests.service.upstreams import REQUEST, HeldUpstream

WAIT_S = 30
SHORT_S = 0.2


@contextlib.asynccontextmanager
async def foreign_health(check: Callable[[bytes, Any], Awaitable[bytes]]) -> AsyncIterator[str]:
    """Serve a health check of the test's own."""
    handler = grpc.unary_unary_rpc_method_handler(check)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    async with started(server) as target:
        yield target


async def test_a_service_that_takes_calls_is_serving() -> None:
    async with (
        create_server(HeldUpstream(), ServerConfig(port=0)) as server,
        Client(server.address) as client,
    ):
        assert await client.is_serving()
        assert await client.is_serving(deadline_s=WAIT_S)


async def test_a_service_that_drains_is_not_serving_though_it_answers() -> None:
    upstream = HeldUpstream()
    config = ServerConfig(port=0, drain_s=WAIT_S, drain_notice_s=WAIT_S)
    async with create_server(upstream, config) as server, Client(server.address) as client:
        call = asyncio.create_task(client.complete(REQUEST))
        await asyncio.wait_for(upstream.started.wait(), WAIT_S)
        assert await client.is_serving()
        stopping = asyncio.create_task(server.stop())
        assert not await client.is_serving()
        upstream.items.put_nowait(ChatCompletionResponse(id="before"))
        upstream.items.put_nowait(ChatCompletionResponse(id="during"))
        assert ((await call).id, (await client.complete(REQUEST)).id) == ("before", "during")
        await server.stop(0)
        await stopping
        assert not await client.is_serving(deadline_s=SHORT_S)


async def test_a_service_that_comes_back_is_serving_again() -> None:
    async with create_server(HeldUpstream(), ServerConfig(port=0)) as server:
        port = server.port
        client = Client(server.address)
        assert await client.is_serving()
    assert not await client.is_serving(deadline_s=SHORT_S)
    async with create_server(HeldUpstream(), ServerConfig(port=port)), asyncio.timeout(WAIT_S):
        # grpc reconnects after its own backoff.
        while not await client.is_serving(deadline_s=SHORT_S):
            pass
    await client.close()


async def test_nobody_there_is_not_serving(closed_port: int) -> None:
    async with Client(f"127.0.0.1:{closed_port}") as client:
        assert not await client.is_serving(deadline_s=SHORT_S)


async def test_silence_is_not_serving_once_the_deadline_is_over() -> None:
    peer = RawPeer(answer_of())
    async with peer.listening() as target, Client(target, attempts_max=1) as client, asyncio.timeout(WAIT_S):
        assert not await client.is_serving(deadline_s=SHORT_S)
    assert peer.calls == 1


async def test_the_deadline_of_the_client_counts_without_one_for_the_call() -> None:
    async with (
        RawPeer(None).listening() as target,
        Client(target, deadline_s=SHORT_S) as client,
        asyncio.timeout(WAIT_S),
    ):
        assert not await client.is_serving()


@pytest.mark.parametrize("name", health_pb2.HealthCheckResponse.ServingStatus.keys())
async def test_only_one_of_the_states_is_serving(name: str) -> None:
    asked: list[bytes] = []

    async def check(request: bytes, context: Any) -> bytes:
        asked.append(request)
        status = health_pb2.HealthCheckResponse.ServingStatus.Value(name)
        return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())

    async with foreign_health(check) as target, Client(target) as client:
        assert await client.is_serving() is (name == "SERVING")
    assert health_pb2.HealthCheckRequest.FromString(asked[0]).service == SERVICE_NAME


@pytest.mark.parametrize("answer", [b"", b"\x08\x63", b"\x08", b"\xff"], ids=["none", "99", "cut", "garbage"])
async def test_an_answer_that_says_nothing_is_not_serving(answer: bytes) -> None:
    async def check(request: bytes, context: Any) -> bytes:
        return answer

    async with foreign_health(check) as target, Client(target) as client:
        assert await client.is_serving() is False


async def test_an_answer_without_a_message_is_not_serving() -> None:
    trailers = b"\x00\x0bgrpc-status\x010"
    for answer in (answer_of(trailers=trailers), answer_of(message(b""), trailers=trailers)):
        async with RawPeer(answer).listening() as target, Client(target) as client:
            assert not await client.is_serving(deadline_s=WAIT_S)


async def test_a_service_without_a_health_check_counts_as_serving() -> None:
    async with started(grpc.aio.server()) as target, Client(target) as client:
        assert await client.is_serving(deadline_s=WAIT_S)
        assert await client.why_not_serving(deadline_s=WAIT_S) is None


@contextlib.asynccontextmanager
async def secure(name: str, authority: trustme.CA) -> AsyncIterator[str]:
    """Serve TLS with a certificate for a name; yield the target."""
    issued = authority.issue_cert(name)
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def _cause(target: str, **options: Any) -> str | None:
    async with Client(target, **options) as client:
        return await client.why_not_serving(deadline_s=WAIT_S)


async def test_the_cause_names_what_is_wrong_with_a_certificate(tmp_path: pathlib.Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    trusted, foreign = tmp_path / "ca.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(trusted)
    other.cert_pem.write_to_path(foreign)

    async with secure("127.0.0.1", authority) as target:
        assert await _cause(target, tls_ca=trusted) is None
        unknown = await _cause(target, tls_ca=foreign)
        plain = await _cause(target, insecure=True)
    async with secure("elsewhere.example", authority) as target:
        named = await _cause(target, tls_ca=trusted)
    async with started(grpc.aio.server()) as target:
        without = await _cause(target, tls_ca=trusted)

    assert unknown == "bad certificate: unable to get local issuer certificate"
    assert named == "bad certificate: it is for another name"
    assert plain == "connection closed: it may require TLS or a client certificate"
    assert without == "it does not speak TLS"


async def test_the_cause_names_what_is_wrong_with_an_address(
    closed_port: int, tmp_path: pathlib.Path
) -> None:
    def hang_up(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with accepting(hang_up) as address:
        foreign = await _cause(address)

    assert await _cause(f"127.0.0.1:{closed_port}") == "connection refused"
    assert await _cause("nowhere.invalid:1", insecure=True) == "its name can't be resolved"
    assert await _cause(f"unix:{tmp_path / 'none'}") == "no such socket"
    assert foreign == "it does not speak gRPC, or only over TLS"


async def test_the_cause_of_silence_is_that_it_timed_out() -> None:
    async with RawPeer(None).listening() as target, Client(target) as client, asyncio.timeout(WAIT_S):
        assert await client.why_not_serving(deadline_s=SHORT_S) == "timed out"


async def test_a_service_that_refuses_the_token_is_not_serving(tmp_path: pathlib.Path) -> None:
    known, file = "a-token-of-the-service", tmp_path / "tokens"
    file.write_text(known)
    config = ServerConfig(port=0, token_file=file)
    async with create_server(HeldUpstream(), config) as server:
        for token in (None, "another-token-of-it"):
            async with Client(server.address, token=token) as client:
                assert await client.why_not_serving() == TOKEN_REFUSED
                assert not await client.is_serving()
        async with Client(server.address, token=known) as client:
            assert await client.is_serving()


async def test_a_token_that_is_refused_later_is_found_out_by_a_call(tmp_path: pathlib.Path) -> None:
    calls: list[str] = []

    async def answer(request: bytes, context: Any) -> bytes:
        calls.append("call")
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token has expired")
        raise AssertionError("unreachable")

    async def serve(request: bytes, context: Any) -> bytes:
        return bytes(health_pb2.HealthCheckResponse(status="SERVING").SerializeToString())

    async def probe(request: bytes, context: Any) -> bytes:
        calls.append("probe")
        code = grpc.StatusCode.UNAUTHENTICATED if "call" in calls else grpc.StatusCode.UNIMPLEMENTED
        await context.abort(code, "")
        raise AssertionError("unreachable")

    methods = {"ChatCompletion": answer, "CheckToken": probe}
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    health = {"Check": grpc.unary_unary_rpc_method_handler(serve)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
        )
    )
    async with started(server) as target, Client(target, token="t0ken") as client:
        assert await client.is_serving()
        assert await client.is_serving()
        with pytest.raises(CallError):
            await client.complete(REQUEST)
        assert await client.why_not_serving() == TOKEN_REFUSED

    # While the token is known to be accepted, only the health check is called.
    assert calls == ["probe", "call", "probe"]


async def test_a_health_check_that_does_not_know_the_service_is_not_serving() -> None:
    async def check(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        raise AssertionError("unreachable")

    async with foreign_health(check) as target, Client(target) as client:
        assert await client.is_serving() is False


async def test_a_check_that_is_cancelled_leaves_the_service() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def check(request: bytes, context: Any) -> bytes:
        arrived.set()
        try:
            return await asyncio.Future()
        finally:
            gone.set()

    async with foreign_health(check) as target, Client(target) as client, asyncio.timeout(WAIT_S):
        call = asyncio.create_task(client.is_serving())
        await arrived.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        await gone.wait()


@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), DEADLINE_S_MAX * 2])
async def test_what_is_no_deadline_is_refused(deadline_s: float) -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="deadline_s must be"):
            await client.is_serving(deadline_s=deadline_s)


async def test_a_client_that_is_closed_asks_nobody() -> None:
    async with create_server(HeldUpstream(), ServerConfig(port=0)) as server:
        client = Client(server.address)
        await client.close()
        assert await client.is_serving() is False
