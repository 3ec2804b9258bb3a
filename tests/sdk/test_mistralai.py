"""Mistral's own Python SDK, unmodified, with its server_url at the gateway."""

import asyncio
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from mistralwire.gateway import GatewayConfig
from mistralwire.upstream import DEMONSTRATION, Key, MistralUpstream, ModelCatalog, ReplayUpstream, Route
from tests.error_bodies import flat_error
from tests.gateway_stack import running_gateway
from tests.sdk import mistral_calls as calls
from tests.sdk.both_ways import (
    DATA,
    WAIT_S,
    Call,
    Stack,
    bodies,
    chunks_answer,
    gateway_to,
    recorded,
)
from tests.upstream_server import CUT, STALL, Answer, UpstreamServer, json_answer, sse_answer

pytest.importorskip("mistralai.client", reason="needs mistralai")

import httpx2
import pydantic
from mistralai.client import Mistral, errors
from mistralai.client.utils import BackoffStrategy, RetryConfig

pytestmark = [pytest.mark.sdk, pytest.mark.asyncio(loop_scope="module")]

KEY = "an-example-of-a-key"
ERROR = {
    "object": "error",
    "message": "no such",
    "type": "invalid_model",
    "param": None,
    "code": "1500",
}
MODES = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])
# What comes through both is the same, byte by byte: see test_transparency.py.
NETWORK = pytest.mark.parametrize("stack", [False], ids=["network"], indirect=True)
METHODS = pytest.mark.parametrize("method", ["chat.complete", "chat.stream"])
ANSWERS = {"chat.complete": recorded("replay/chat.json"), "chat.stream": recorded("replay/chat.sse")}
CHAT_JSON, CHAT_SSE = ANSWERS.values()
FIM_JSON = recorded("replay/fim.json")
TOOLS_JSON = recorded("documents/ChatCompletionResponse.tool_calls.json")
TOOLS_SSE = recorded("replay/tool-calls.sse")
THINKING_JSON = recorded("documents/ChatCompletionResponse.thinking.json")
THINKING_SSE = chunks_answer("CompletionChunk.first", "CompletionChunk.thinking", "CompletionChunk.last")
_PLACE = (DATA / "replay/chat.json").read_text()
PLACE_JSON = json_answer(_PLACE.replace("Grüße aus dem Archiv.", r"{\"city\": \"Łódź\"}").encode())
CHUNK = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
)
FOLDER = os.environ.get("MISTRALWIRE_CORPUS", "")


BAD = {**calls.CHAT, "max_tokens": 2**70, "n": 2**70}


class Place(pydantic.BaseModel):
    city: str


def opened(url: str, **options: Any) -> Mistral:
    return Mistral(**{"api_key": KEY, "server_url": url, **options})


def call(method: str, arguments: dict[str, Any], *, is_async: bool, **options: Any) -> Call:
    """Return a call of the SDK, by the URL of the server."""
    return lambda url: calls.ask(opened(url, **options), method, arguments, is_async=is_async)


async def failure(call: Call, url: str) -> errors.MistralError:
    with pytest.raises(errors.MistralError) as raised:
        await call(url)
    return raised.value


@MODES
@pytest.mark.parametrize(
    ("method", "arguments", "answer"),
    [
        ("chat.complete", calls.CHAT, CHAT_JSON),
        ("chat.complete", calls.TOOLS, TOOLS_JSON),
        ("chat.complete", calls.FORCED, TOOLS_JSON),
        ("chat.complete", calls.VISION, THINKING_JSON),
        ("chat.complete", calls.JSON_OBJECT, CHAT_JSON),
        ("chat.complete", calls.JSON_SCHEMA, CHAT_JSON),
        ("chat.parse", {**calls.CHAT, "response_format": Place}, PLACE_JSON),
        ("chat.stream", calls.CHAT, CHAT_SSE),
        ("chat.stream", calls.TOOLS, TOOLS_SSE),
        ("chat.stream", calls.VISION, THINKING_SSE),
        ("chat.stream", calls.JSON_SCHEMA, CHAT_SSE),
        ("chat.parse_stream", {**calls.CHAT, "response_format": Place}, CHAT_SSE),
        ("fim.complete", calls.FIM, FIM_JSON),
        ("fim.stream", calls.FIM, CHAT_SSE),
        ("agents.complete", calls.AGENT, CHAT_JSON),
        ("agents.complete", calls.AGENT_TOOLS, TOOLS_JSON),
        ("agents.stream", calls.AGENT, CHAT_SSE),
        ("agents.stream", calls.AGENT_TOOLS, TOOLS_SSE),
    ],
)
async def test_no_side_can_tell_that_the_gateway_is_there(
    stack: Stack, method: str, arguments: dict[str, Any], answer: Answer, *, is_async: bool
) -> None:
    result, [request] = await stack.same_both_ways(call(method, arguments, is_async=is_async), answer)
    path, body = bodies(request)
    assert path == f"/v1/{method.partition('.')[0]}/completions"
    assert body["stream"] is method.endswith("stream")
    assert result


@MODES
@METHODS
@pytest.mark.parametrize(
    ("upstream_status", "status"), [(400, 400), (404, 404), (422, 422), (429, 429), (500, 503), (503, 503)]
)
async def test_errors_of_the_upstream_keep_their_body(
    stack: Stack, method: str, upstream_status: int, status: int, *, is_async: bool
) -> None:
    answer = json_answer(json.dumps(ERROR).encode(), upstream_status, retry_after="7")
    asked = call(method, calls.CHAT, is_async=is_async)
    error, _ = await stack.through(lambda url: failure(asked, url), answer)
    assert isinstance(error, errors.HTTPValidationError if status == 422 else errors.SDKError)
    assert (error.status_code, flat_error(json.loads(error.body))) == (status, ERROR)
    assert error.headers["retry-after"] == "7"


@MODES
@METHODS
async def test_a_violation_of_the_contract_reaches_the_api(stack: Stack, method: str, is_async: bool) -> None:
    await stack.same_both_ways(call(method, BAD, is_async=is_async), ANSWERS[method])


@MODES
@METHODS
async def test_a_strict_service_names_its_place(strict_stack: Stack, method: str, is_async: bool) -> None:
    asked = call(method, BAD, is_async=is_async)
    error, received = await strict_stack.through(lambda url: failure(asked, url), ANSWERS[method])
    assert not received
    assert isinstance(error, errors.HTTPValidationError)
    assert [item.loc for item in error.data.detail or []] == [["body", "max_tokens"], ["body", "n"]]
    assert all(item.msg.startswith("expected a 32-bit integer, found ") for item in error.data.detail or [])


@MODES
@METHODS
async def test_a_key_is_for_the_gateway_alone(method: str, is_async: bool, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    config = GatewayConfig(port=0, token_file=file)
    async with UpstreamServer(ANSWERS[method]) as server, gateway_to(server, config) as url:
        error = await failure(call(method, calls.CHAT, is_async=is_async, api_key="another-of-them"), url)
        assert (error.status_code, json.loads(error.body)["object"]) == (401, "error")
        assert not server.received
        assert await call(method, calls.CHAT, is_async=is_async)(url)
    [request] = server.received
    assert "authorization" not in request.headers


@MODES
@METHODS
@pytest.mark.parametrize(
    ("first", "pause_ms"),
    [
        # Nothing but the time that the upstream asks for ends this pause while the test lasts.
        (json_answer(b"{}", 429, retry_after="1"), 3_600_000),
        (json_answer(b"{}", 503), 1),
        (Answer(pieces=[CUT], is_headless=True), 1),
    ],
    ids=["rate-limit", "overload", "cut"],
)
@NETWORK
async def test_the_sdk_tries_again(
    stack: Stack, method: str, first: Answer, pause_ms: int, is_async: bool
) -> None:
    backoff = BackoffStrategy(pause_ms, pause_ms, 1.0, 60_000, jitter_ms=0)
    retries = RetryConfig("backoff", backoff, retry_connection_errors=False)
    asked = call(method, calls.CHAT, is_async=is_async, retry_config=retries)
    through = await stack.through(asked, first, ANSWERS[method])
    direct = await stack.directly(asked, ANSWERS[method])
    assert through.result == direct.result
    assert [bodies(request) for request in through.received] == [bodies(direct.received[0])] * 2


@MODES
async def test_a_timeout_of_the_sdk_frees_the_upstream(is_async: bool) -> None:
    asked = call("chat.complete", calls.CHAT, is_async=is_async, timeout_ms=300)
    async with (
        UpstreamServer(Answer(pieces=[STALL], is_headless=True)) as server,
        gateway_to(server) as url,
    ):
        with pytest.raises(httpx2.ReadTimeout):
            await asyncio.wait_for(asked(url), WAIT_S)
        await asyncio.wait_for(server.gone.wait(), WAIT_S)


async def broken(url: str, *, is_async: bool, **options: Any) -> tuple[list[Any], Exception]:
    """Read a stream up to what breaks it, and return what came, and the error."""
    events = []
    sdk = opened(url, **options)

    def blocking() -> None:
        with sdk, sdk.chat.stream(**calls.CHAT) as stream:
            for event in stream:
                events.append(calls.dumped(event))  # noqa: PERF401 - those before the error count

    async def in_loop() -> None:
        async with sdk, await sdk.chat.stream_async(**calls.CHAT) as stream:
            async for event in stream:
                events.append(calls.dumped(event))  # noqa: PERF401 - those before the error count

    with pytest.raises((httpx2.ReadTimeout, errors.ResponseValidationError)) as raised:
        await (in_loop() if is_async else asyncio.to_thread(blocking))
    return events, raised.value


@MODES
async def test_a_timeout_in_a_stream_comes_after_its_chunks(is_async: bool) -> None:
    async with UpstreamServer(sse_answer(CHUNK, STALL)) as server, gateway_to(server) as url:
        events, error = await broken(url, is_async=is_async, timeout_ms=1500)
        await asyncio.wait_for(server.gone.wait(), WAIT_S)
    assert [event["data"]["id"] for event in events] == ["1"]
    assert isinstance(error, httpx2.ReadTimeout)


@MODES
@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (b"data: %b\n\n" % json.dumps(ERROR).encode(), "invalid_model"),
        (CUT, "stream_truncated"),
        (b"data: {\n\n", "upstream_unreadable"),
    ],
    ids=["error-event", "cut", "no-json"],
)
async def test_a_stream_that_breaks_is_no_stream_that_ends(
    stack: Stack, last: Any, kind: str, is_async: bool
) -> None:
    answer = sse_answer(CHUNK, CHUNK, last)
    (events, error), _ = await stack.through(lambda url: broken(url, is_async=is_async), answer)
    assert [event["data"]["id"] for event in events] == ["1", "1"]
    assert isinstance(error, errors.ResponseValidationError)
    assert json.loads(error.body)["data"]["type"] == kind


@pytest.mark.skipif(not FOLDER, reason="MISTRALWIRE_CORPUS names no folder of recorded bodies")
@pytest.mark.parametrize(
    ("kind", "method", "answer_of"),
    [("chat_json", "chat.complete", json_answer), ("chat_sse", "chat.stream", sse_answer)],
)
@NETWORK
async def test_the_sdk_reads_recorded_answers_the_same(
    stack: Stack, kind: str, method: str, answer_of: Callable[[bytes], Answer]
) -> None:
    # One client for all calls: to make one takes longer than to use it.
    with httpx2.Client() as client:
        async with httpx2.AsyncClient() as async_client:
            asked = call(method, calls.CHAT, is_async=True, client=client, async_client=async_client)
            for path in sorted(pathlib.Path(FOLDER, kind).iterdir()):  # noqa: ASYNC240 - a local folder
                answer = answer_of(path.read_bytes())
                through = await stack.through(lambda url: outcome(asked, url), answer)
                direct = await stack.directly(lambda url: outcome(asked, url), answer)
                assert through.result == direct.result, path.name


async def outcome(call: Call, url: str) -> Any:
    """Return the result of a call, or where the SDK finds the answer wrong."""
    try:
        return await call(url)
    except errors.ResponseValidationError as error:
        cause: Any = error.cause
        return [(item["loc"], item["type"]) for item in cause.errors()]


LISTED = {
    "object": "list",
    "data": [
        {
            "id": "mistral-small-latest",
            "object": "model",
            "created": 1700000000,
            "owned_by": "mistralai",
            "type": "base",
            "capabilities": {"completion_chat": True, "vision": True},
            "max_context_length": 131072,
            "aliases": ["mistral-small-2506"],
            "name": "mistral-small-2506",
        },
        # As vLLM lists one.
        {"id": "org/model", "object": "model", "created": 1700000001, "owned_by": "vllm", "permission": []},
    ],
}


@MODES
async def test_the_models_of_the_upstream_are_listed_and_found(*, is_async: bool) -> None:
    async with UpstreamServer(json_answer(json.dumps(LISTED).encode())) as server:
        upstream = MistralUpstream(server.url)
        catalog = ModelCatalog([Route("api", upstream)])
        async with running_gateway(upstream, models=catalog) as url:

            async def asked(method: str, **arguments: str) -> Any:
                sdk = Mistral(api_key=KEY, server_url=url)
                return await calls.ask(sdk, f"models.{method}", arguments, is_async=is_async)

            listed = await asked("list")
            alias = await asked("retrieve", model_id="mistral-small-2506")
            model = await asked("retrieve", model_id="org/model")
        await upstream.close()
    assert [card["id"] for card in listed["data"]] == ["mistral-small-latest", "org/model"]
    assert listed["data"][0]["capabilities"]["vision"] is True
    assert (alias["id"], alias["max_context_length"]) == ("mistral-small-latest", 131072)
    assert (model["id"], model["owned_by"]) == ("org/model", "vllm")


async def test_the_models_are_listed() -> None:
    def listed(url: str) -> list[tuple[str, str]]:
        with Mistral(api_key=KEY, server_url=url) as sdk:
            return [(card.id, card.type) for card in sdk.models.list().data or []]

    upstream = ReplayUpstream(DEMONSTRATION)
    async with running_gateway(upstream, models=("codestral-latest", "mistral-small-latest")) as url:
        models = await asyncio.to_thread(listed, url)
    assert models == [("codestral-latest", "base"), ("mistral-small-latest", "base")]


EMBEDDED = {"id": "e", "object": "list", "model": "mistral-embed", "data": [{"index": 0, "embedding": [0.5]}]}
MODERATED = {"id": "m", "model": "mistral-moderation-latest", "results": [{"categories": {"x": False}}]}
READ = {
    "model": "mistral-ocr-latest",
    "pages": [{"index": 0, "markdown": "# A", "images": [], "dimensions": None}],
    "usage_info": {"pages_processed": 1},
}
HEARD = {
    "model": "voxtral-mini-latest",
    "text": "Hello.",
    "language": "en",
    "segments": [],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
USAGE = {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0}


@MODES
@pytest.mark.parametrize(
    ("method", "path", "arguments", "answer"),
    [
        (
            *("embeddings.create", "/v1/embeddings", {"model": "mistral-embed", "inputs": ["a"]}),
            {**EMBEDDED, "usage": USAGE},
        ),
        (
            *("classifiers.moderate", "/v1/moderations"),
            *({"model": "mistral-moderation-latest", "inputs": ["a"]}, MODERATED),
        ),
        (
            *("ocr.process", "/v1/ocr"),
            {
                "model": "mistral-ocr-latest",
                "document": {"type": "document_url", "document_url": "https://example.org/a.pdf"},
            },
            READ,
        ),
        (
            *("audio.transcriptions.complete", "/v1/audio/transcriptions"),
            {
                "model": "voxtral-mini-latest",
                "file": {"file_name": "a.mp3", "content": b"\xff\xfb\x00" * 100_000},
            },
            HEARD,
        ),
    ],
)
async def test_calls_that_the_contract_does_not_have_reach_the_upstream(
    method: str, path: str, arguments: dict[str, Any], answer: dict[str, Any], *, is_async: bool
) -> None:
    async with UpstreamServer(json_answer(json.dumps(answer).encode())) as server:
        upstream = MistralUpstream(server.url, key=Key("the-key-of-the-service", "a test"))
        async with running_gateway(upstream, forward=[Route("api", upstream)]) as url:
            results = []
            for target in (server.url, url):
                sdk = Mistral(api_key=KEY, server_url=target)
                results.append(
                    await asyncio.wait_for(_outer(sdk, method, arguments, is_async=is_async), WAIT_S)
                )
        await upstream.close()
    direct, through = server.received
    assert results[1] == results[0]
    assert (through.method, through.path, through.headers["authorization"]) == (
        *("POST", path),
        "Bearer the-key-of-the-service",
    )
    boundary = [
        each.headers["content-type"].partition("boundary=")[2].encode() or b"-" for each in server.received
    ]
    assert through.body.replace(boundary[1], b"-") == direct.body.replace(boundary[0], b"-")


async def _outer(sdk: Mistral, method: str, arguments: dict[str, Any], *, is_async: bool) -> Any:
    """Call a method that may be nested, such as `audio.transcriptions.complete`."""
    outer, _, name = method.rpartition(".")
    api: Any = sdk
    for part in outer.split("."):
        api = getattr(api, part)
    if is_async:
        async with sdk:
            return calls.dumped(await getattr(api, f"{name}_async")(**arguments))
    with sdk:
        return calls.dumped(await asyncio.to_thread(getattr(api, name), **arguments))
