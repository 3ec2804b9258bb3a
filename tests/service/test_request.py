"""Where requests are checked: in the service, unless the upstream judges them itself."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from mistralwire import from_json
from mistralwire.client import Client
from mistralwire.errors import CallError
from mistralwire.service import SERVICE_NAME, ServerConfig, create_server
from mistralwire.service import _request as request_module
from mistralwire.upstream import HttpSettings, MistralUpstream, Route, RoutedUpstream
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionStreamRequest,
    ChatMessage,
    FIMCompletionRequest,
)
from tests.gateway_stack import running_gateway
from tests.service.upstreams import MESSAGES, HeldUpstream, status_of
from tests.upstream_server import UpstreamServer, json_answer, sse_answer

CHAT = "/v1/chat/completions"
BROKEN = {
    "model": 7,
    "messages": [{"role": "user", "content": 5, "new": 10**30}],
    "temperature": "warm",
    "n": None,
}
PATHS = {"model", "messages[0].content", "temperature"}
DETAIL = [["body", "model"], ["body", "messages", 0, "content"], ["body", "temperature"]]
ANSWER = json_answer(b'{"id":"1","model":"m","choices":[{"index":0}]}')
STREAM = sse_answer(b'data: {"id":"1","model":"m","choices":[]}\n\n', b"data: [DONE]\n\n")
ONCE = HttpSettings(attempts_max=1)
WAYS = pytest.mark.parametrize("is_embedded", [False, True], ids=["network", "embedded"])


@contextlib.asynccontextmanager
async def asking(server: UpstreamServer) -> AsyncIterator[MistralUpstream]:
    upstream = MistralUpstream(server.url, settings=ONCE)
    try:
        yield upstream
    finally:
        await upstream.close()


@contextlib.asynccontextmanager
async def serving(upstream: Any, *, strict: bool = False) -> AsyncIterator[Client]:
    async with (
        create_server(upstream, ServerConfig(port=0, strict=strict)) as server,
        Client(server.address, deadline_s=30, attempts_max=1) as client,
    ):
        yield client


async def posted(url: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.post(url + CHAT, json=body) as response:
        text = await response.text()
        return response.status, json.loads(text) if "json" in response.content_type else text


def misfit(request_type: type[Message] = ChatCompletionRequest, **members: Any) -> Any:
    return from_json(request_type, json.dumps({**BROKEN, **members}), validate=False)


@pytest.mark.parametrize("is_routed", [False, True])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_upstream_that_judges_gets_the_request_as_it_came(is_stream: bool, is_routed: bool) -> None:
    async with UpstreamServer(STREAM if is_stream else ANSWER) as server, asking(server) as asked:
        upstream = RoutedUpstream([Route("a", asked, ("*",))]) if is_routed else asked
        async with serving(upstream) as client:
            if is_stream:
                request = misfit(ChatCompletionStreamRequest, stream=True)
                assert [chunk.id async for chunk in client.stream(request)] == ["1"]
            else:
                assert (await client.complete(misfit())).id == "1"

    assert [json.loads(each.body) for each in server.received] == [
        {**BROKEN, "stream": True} if is_stream else BROKEN
    ]


@WAYS
@pytest.mark.parametrize("is_stream", [False, True])
async def test_it_gets_it_so_from_the_edge_too(is_stream: bool, is_embedded: bool) -> None:
    body = {**BROKEN, "stream": is_stream}
    async with (
        UpstreamServer(STREAM if is_stream else ANSWER) as server,
        asking(server) as upstream,
        running_gateway(upstream, is_embedded=is_embedded) as url,
    ):
        status, _ = await posted(url, body)

    assert status == 200
    assert [json.loads(each.body) for each in server.received] == [body]


async def test_what_it_says_of_the_request_is_the_answer() -> None:
    said = {"object": "error", "message": "no such model", "type": "invalid_model", "code": "1500"}
    async with (
        UpstreamServer(json_answer(json.dumps(said).encode(), 422)) as server,
        asking(server) as upstream,
        running_gateway(upstream) as url,
    ):
        status, body = await posted(url, BROKEN)

    assert (status, body["message"], body["code"]) == (422, "no such model", "1500")


async def test_strict_checks_for_every_upstream() -> None:
    async with (
        UpstreamServer(ANSWER) as server,
        asking(server) as upstream,
        serving(upstream, strict=True) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.complete(misfit())
        with pytest.raises(CallError) as caught_too:
            await anext(client.stream(misfit(ChatCompletionStreamRequest)))

    for error in (caught.value, caught_too.value):
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "CONTRACT_VIOLATION")
        assert {violation.path for violation in error.violations} == PATHS
    assert server.received == []


@WAYS
async def test_strict_is_422_at_the_edge_with_the_detail_of_any_upstream(is_embedded: bool) -> None:
    config = ServerConfig(port=0, strict=True)
    async with (
        UpstreamServer(ANSWER) as server,
        asking(server) as upstream,
        running_gateway(upstream, service=config, is_embedded=is_embedded) as url,
    ):
        strict = await posted(url, BROKEN)
    async with running_gateway(HeldUpstream(), is_embedded=is_embedded) as url:
        own = await posted(url, BROKEN)

    assert strict == own
    status, body = strict
    assert (status, [each["loc"] for each in body["detail"]]) == (422, DETAIL)
    assert server.received == []


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside one that judges"])
async def test_an_upstream_of_a_program_never_sees_what_breaks_the_contract(beside: bool) -> None:
    own = HeldUpstream()
    async with UpstreamServer(ANSWER) as server, asking(server) as judging:
        routes = [Route("own", own, ("*",)), Route("judging", judging, ("*",))]
        async with serving(RoutedUpstream(routes) if beside else own) as client:
            with pytest.raises(CallError) as caught:
                await client.complete(misfit())

    assert caught.value.code == "INVALID_ARGUMENT"
    assert {violation.path for violation in caught.value.violations} == PATHS
    assert (own.requests, server.received) == ([], [])


UNKNOWN_NUMBER: Any = 99
UNKNOWN_FIELD = b"\xc2\xbb\x01\x01x"
NEWER = {
    "a field": ChatCompletionRequest(model="m", messages=MESSAGES).SerializeToString() + UNKNOWN_FIELD,
    "an enum number": ChatCompletionRequest(
        model="m", messages=MESSAGES, service_tier=UNKNOWN_NUMBER
    ).SerializeToString(),
    "an alternative": ChatCompletionRequest(model="m").SerializeToString()
    + ChatCompletionRequest(messages=[ChatMessage.FromString(UNKNOWN_FIELD)]).SerializeToString(),
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("wire", NEWER.values(), ids=NEWER)
async def test_content_of_a_newer_contract_is_refused_whoever_judges(
    wire: bytes, is_stream: bool, strict: bool
) -> None:
    async with (
        UpstreamServer(ANSWER) as server,
        asking(server) as upstream,
        create_server(upstream, ServerConfig(port=0, strict=strict)) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        method = f"/{SERVICE_NAME}/ChatCompletion"
        complete: Any = channel.unary_unary(method)
        stream: Any = channel.unary_stream(f"{method}Stream")
        asked = stream(wire, timeout=30).read() if is_stream else complete(wire, timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked

    info = error_details_pb2.ErrorInfo()
    status = status_of(caught.value)
    assert any(detail.Unpack(info) for detail in status.details)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONTRACT_NEWER")
    assert server.received == []


async def test_the_bound_on_values_counts_for_every_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_module, "REQUEST_VALUES_MAX", 100)
    request = FIMCompletionRequest(model="m", prompt="x", stop_array={"items": ["y"] * 101})
    async with UpstreamServer(ANSWER) as server, asking(server) as upstream, serving(upstream) as client:
        with pytest.raises(CallError, match="at most 100 values") as caught:
            await client.complete(request)

    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "LIMIT_EXCEEDED")
    assert server.received == []
