"""Mistral's SDK for Vertex AI, unmodified, whose requests are led to the gateway by its HTTP client."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mistralwire.service import ServerConfig
from mistralwire.upstream import VertexUpstream
from tests.error_bodies import flat_error
from tests.gateway_stack import running_gateway
from tests.sdk import mistral_calls as calls
from tests.sdk.both_ways import ONCE, Call, Stack, bodies, recorded
from tests.upstream_server import Answer, UpstreamServer, json_answer

pytest.importorskip("mistralai.gcp.client", reason="needs mistralai with its extra gcp")

import google.auth.credentials
import httpx2
from mistralai.gcp.client import MistralGCP, errors

pytestmark = [pytest.mark.sdk, pytest.mark.asyncio(loop_scope="module")]

PREFIX = "/v1/projects/a-project/locations/europe-west4/publishers/mistralai/models"
MODES = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])
METHODS = pytest.mark.parametrize("method", ["chat.complete", "chat.stream", "fim.complete", "fim.stream"])
CHAT_JSON, CHAT_SSE = recorded("replay/chat.json"), recorded("replay/chat.sse")
CALLS = pytest.mark.parametrize(
    ("method", "arguments", "answer"),
    [
        ("chat.complete", calls.CHAT, CHAT_JSON),
        ("chat.complete", calls.TOOLS, recorded("documents/ChatCompletionResponse.tool_calls.json")),
        ("chat.stream", calls.CHAT, CHAT_SSE),
        ("chat.stream", calls.TOOLS, recorded("replay/tool-calls.sse")),
        ("fim.complete", calls.FIM, recorded("replay/fim.json")),
        ("fim.stream", calls.FIM, CHAT_SSE),
    ],
)


class StaticCredentials(google.auth.credentials.Credentials):
    """Credentials that are good for ever."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token = "a-vertex-token"

    def refresh(self, request: Any) -> None:
        raise AssertionError("expected no refresh of credentials that are valid, found one")


def led_to(url: str) -> tuple[httpx2.Client, httpx2.AsyncClient]:
    """Return HTTP clients that send everything to one server, whatever the host."""
    target = httpx2.URL(url)

    def lead(request: httpx2.Request) -> None:
        assert request.url.host == "europe-west4-aiplatform.googleapis.com"
        request.url = request.url.copy_with(scheme=target.scheme, host=target.host, port=target.port)

    async def lead_async(request: httpx2.Request) -> None:
        lead(request)

    return (
        httpx2.Client(event_hooks={"request": [lead]}),
        httpx2.AsyncClient(event_hooks={"request": [lead_async]}),
    )


def call(method: str, arguments: dict[str, Any], *, is_async: bool) -> Call:
    """Return a call of the SDK, by the URL of the server."""

    async def called(url: str) -> Any:
        client, async_client = led_to(url)
        with client:
            async with async_client:
                sdk = MistralGCP(
                    project_id="a-project", access_token="a-token", client=client, async_client=async_client
                )
                return await calls.ask(sdk, method, arguments, is_async=is_async)

    return called


@contextlib.asynccontextmanager
async def in_front_of_vertex(*, strict: bool = False) -> AsyncIterator[Stack]:
    """Run a gateway in front of Vertex AI."""
    async with UpstreamServer() as server:
        upstream = VertexUpstream(
            "a-project", "europe-west4", credentials=StaticCredentials(), base_url=server.url, settings=ONCE
        )
        try:
            async with running_gateway(upstream, service=ServerConfig(port=0, strict=strict)) as url:
                yield Stack(server, url)
        finally:
            await upstream.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def vertex_stack() -> AsyncIterator[Stack]:
    """Run a gateway in front of Vertex AI."""
    async with in_front_of_vertex() as stack:
        yield stack


@MODES
@CALLS
async def test_neither_side_can_tell_that_the_gateway_stands_before_vertex(
    vertex_stack: Stack, method: str, arguments: dict[str, Any], answer: Answer, *, is_async: bool
) -> None:
    asked = call(method, arguments, is_async=is_async)
    _, [request] = await vertex_stack.same_both_ways(asked, answer)
    specifier = "streamRawPredict" if method.endswith("stream") else "rawPredict"
    assert request.path == f"{PREFIX}/{arguments['model']}:{specifier}"
    assert request.headers["authorization"] == "Bearer a-vertex-token"


@MODES
@CALLS
async def test_requests_for_vertex_reach_the_public_api(
    stack: Stack, method: str, arguments: dict[str, Any], answer: Answer, *, is_async: bool
) -> None:
    asked = call(method, arguments, is_async=is_async)
    direct, through = await stack.directly(asked, answer), await stack.through(asked, answer)
    assert through.result == direct.result
    [(path, body)], [(_, expected)] = map(bodies, through.received), map(bodies, direct.received)
    assert (path, body) == (f"/v1/{method.partition('.')[0]}/completions", expected)
    assert "authorization" not in through.received[0].headers


@MODES
async def test_a_model_with_a_version_has_the_name_that_vertex_knows(
    vertex_stack: Stack, is_async: bool
) -> None:
    asked = call("chat.complete", {**calls.CHAT, "model": "mistral-large-2407"}, is_async=is_async)
    _, [request] = await vertex_stack.through(asked, CHAT_JSON)
    assert request.path == f"{PREFIX}/mistral-large@2407:rawPredict"
    assert json.loads(request.body)["model"] == "mistral-large"


@MODES
@METHODS
async def test_errors_have_their_status_and_body(vertex_stack: Stack, method: str, is_async: bool) -> None:
    error = {"object": "error", "message": "slower", "type": "rate_limited", "param": None, "code": "1300"}
    arguments = calls.FIM if method.startswith("fim") else calls.CHAT
    refusal = json_answer(json.dumps(error).encode(), 429, retry_after="7")
    with pytest.raises(errors.SDKError) as raised:
        await vertex_stack.through(call(method, arguments, is_async=is_async), refusal)
    assert (raised.value.status_code, flat_error(json.loads(raised.value.body))) == (429, error)
    assert raised.value.headers["retry-after"] == "7"


def bad(method: str) -> dict[str, Any]:
    """Return arguments that break the contract."""
    return {**(calls.FIM if method.startswith("fim") else calls.CHAT), "max_tokens": 2**70}


@MODES
@METHODS
async def test_a_violation_of_the_contract_reaches_vertex(
    vertex_stack: Stack, method: str, is_async: bool
) -> None:
    answer = CHAT_SSE if method.endswith("stream") else CHAT_JSON
    await vertex_stack.same_both_ways(call(method, bad(method), is_async=is_async), answer)


@MODES
@METHODS
async def test_a_strict_service_names_its_place(method: str, is_async: bool) -> None:
    async with in_front_of_vertex(strict=True) as stack:
        with pytest.raises(errors.HTTPValidationError) as raised:
            await stack.through(call(method, bad(method), is_async=is_async), CHAT_JSON)
        assert not stack.server.received
    assert [item.loc for item in raised.value.data.detail or []] == [["body", "max_tokens"]]
