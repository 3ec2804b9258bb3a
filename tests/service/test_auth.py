"""Bearer tokens: who may call, and what happens when the file changes or can't be used."""

import asyncio
import logging
import pathlib
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mistralwire._serving import tokens as token_module
from mistralwire.errors import MistralwireError
from mistralwire.service import CallRecord, Chunks, Server, ServerConfig, create_server
from mistralwire.v1 import ChatCompletionResponse
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc
from tests.service.peers import RawPeer
from tests.service.upstreams import REQUEST, HeldUpstream, status_of

TOKEN = "a-token.of_more~than+16/bytes=="
OTHER = "another-token-of-more-than-16-bytes"
NEW = "a-new-token-of-more-than-16-bytes"


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "tokens"
    path.write_text(f"# of the gateway\n{TOKEN}\n\n  {OTHER}  # of the batch jobs\n")
    path.chmod(0o600)
    return path


class Observer:
    """Keeps the record of a call each time that it is notified."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    def started(self, call: CallRecord) -> None:
        self.records.append(call)

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        self.records.append(call)

    def ended(self, call: CallRecord) -> None:
        self.records.append(call)


def write(file: pathlib.Path, text: str | None) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


def serve(file: pathlib.Path, upstream: HeldUpstream | None = None, *observers: Observer) -> Server:
    return create_server(upstream or HeldUpstream(), ServerConfig(port=0, token_file=file), observers)


async def complete(server: Server, *authorization: str | bytes) -> Any:
    """Call the service with these values."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = service_grpc.ChatCompletionServiceAsyncStub(channel)
        metadata = [("authorization", value) for value in authorization]
        return await stub.ChatCompletion(REQUEST, timeout=30, metadata=metadata)


async def refused(server: Server, *authorization: str | bytes) -> str:
    """Call the service with these values, which it rejects; return the reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await complete(server, *authorization)
    return reason_of(caught.value)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status_of(error).details)
    assert info.domain == "mistralwire"
    return str(info.reason)


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer {OTHER}", f"BEARER  {TOKEN}"])
async def test_a_call_with_a_token_of_the_file_is_answered(file: pathlib.Path, value: str) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    async with serve(file, upstream) as server:
        assert (await complete(server, value)).id == "1"


async def test_a_call_without_one_is_refused_and_the_upstream_hears_nothing(
    file: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upstream, observer = HeldUpstream(), Observer()
    async with serve(file, upstream, observer) as server:
        assert await refused(server) == "TOKEN_MISSING"
        assert await refused(server, "Basic YTpi") == "TOKEN_MISSING"
        assert await refused(server, TOKEN) == "TOKEN_MISSING"
        assert await refused(server, "Bearer") == "TOKEN_INVALID"
        assert await refused(server, "Bearer a-wrong-secret") == "TOKEN_INVALID"
        assert await refused(server, f"Bearer {TOKEN[:-1]}") == "TOKEN_INVALID"
        assert await refused(server, f"Bearer {TOKEN} {TOKEN}") == "TOKEN_INVALID"
        assert await refused(server, f"Bearer {TOKEN}", "Bearer other") == "TOKEN_INVALID"

    assert upstream.requests == []
    assert [(call.method, call.code) for call in observer.records] == [
        ("ChatCompletion", "UNAUTHENTICATED")
    ] * 8
    for secret in (TOKEN, OTHER, "a-wrong-secret", "YTpi"):
        assert secret not in caplog.text
        assert not any(secret in str(call.error) for call in observer.records)


async def test_a_call_is_refused_before_its_request_has_come(file: pathlib.Path) -> None:
    methods = [
        "/mistralwire.v1.ChatCompletionService/ChatCompletionStream",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/no.such.Service/Method",
        "/",
        "x",
    ]
    async with asyncio.timeout(30), serve(file) as server, RawPeer(server.port) as peer:
        for number, method in enumerate(methods):
            peer.call(method, stream=2 * number + 1)
        for number in range(len(methods)):
            assert await peer.ended(2 * number + 1)


async def test_a_name_of_a_method_that_a_caller_made_up_reaches_no_observer(file: pathlib.Path) -> None:
    observer = Observer()
    async with serve(file, None, observer) as server, grpc.aio.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/mistralwire.v1.ChatCompletionService/MadeUp")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=30)

    assert reason_of(caught.value) == "TOKEN_MISSING"
    assert observer.records == []


async def test_a_refusal_by_any_service_has_the_id_of_the_call(file: pathlib.Path) -> None:
    methods = (
        "/mistralwire.v1.ChatCompletionService/ChatCompletion",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/no.such.Service/Method",
    )
    async with serve(file) as server, grpc.aio.insecure_channel(server.address) as channel:
        for method in methods:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method)(b"", timeout=30, metadata=[("x-request-id", "mine")])
            assert ("x-request-id", "mine") in tuple(caught.value.trailing_metadata())


async def test_reflection_needs_a_token(file: pathlib.Path) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async with serve(file) as server, grpc.aio.insecure_channel(server.address) as channel:
        info = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await info(iter([request]), timeout=30).read()
        assert reason_of(caught.value) == "TOKEN_MISSING"

        call = info(iter([request]), timeout=30, metadata=[("authorization", f"Bearer {TOKEN}")])
        assert (await call.read()).list_services_response.service


async def test_health_checks_need_none(file: pathlib.Path) -> None:
    async with serve(file) as server, grpc.aio.insecure_channel(server.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_changed_file_counts_without_a_restart(
    file: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_module, "CHECK_S", 0.0)
    upstream = HeldUpstream()
    async with serve(file, upstream) as server:
        write(file, f"{NEW}\n")
        assert await refused(server, f"Bearer {TOKEN}") == "TOKEN_INVALID"
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert (await complete(server, f"Bearer {NEW}")).id == "1"


async def test_a_server_without_its_file_does_not_start(tmp_path: pathlib.Path) -> None:
    server = serve(tmp_path / "none")
    with pytest.raises(MistralwireError, match=f"found none at {tmp_path}/none") as caught:
        await server.start()
    assert caught.value.reason == "TOKEN_FILE"


async def test_tokens_that_travel_in_plain_text_are_warned_of(
    file: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = ServerConfig(host="0.0.0.0", port=0, insecure=True, token_file=file)
    async with create_server(HeldUpstream(), config):
        pass
    assert "tokens are sent in plaintext" in caplog.text


async def test_without_tokens_no_call_pays_for_them(file: pathlib.Path) -> None:
    assert create_server(HeldUpstream(), ServerConfig(port=0))._interceptors() == []
    assert len(serve(file)._interceptors()) == 1
