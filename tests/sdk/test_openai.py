"""OpenAI's Python SDK, unmodified, with its base_url at the gateway: many callers of Mistral's API use it."""

import asyncio
import json
import pathlib
from typing import Any

import pytest

from mistralwire.gateway import GatewayConfig
from mistralwire.upstream import HttpSettings, MistralUpstream, ModelCatalog, Route
from tests.error_bodies import flat_error
from tests.gateway_stack import running_gateway
from tests.sdk import mistral_calls as calls
from tests.sdk.both_ways import (
    WAIT_S,
    Call,
    Stack,
    bodies,
    chunks_answer,
    gateway_to,
    recorded,
)
from tests.upstream_server import CUT, STALL, Answer, UpstreamServer, json_answer, sse_answer

pytest.importorskip("openai", reason="needs openai")

import openai

pytestmark = [pytest.mark.sdk, pytest.mark.asyncio(loop_scope="module")]

KEY = "an-example-of-a-key"
ERROR = {"object": "error", "message": "no such", "type": "invalid_model", "param": None, "code": "1500"}
MODES = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])
STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
CHAT_JSON, CHAT_SSE = recorded("replay/chat.json"), recorded("replay/chat.sse")
TOOLS_JSON = recorded("documents/ChatCompletionResponse.tool_calls.json")
TOOLS_SSE = recorded("replay/tool-calls.sse")
USAGE_SSE = chunks_answer("CompletionChunk.first", "CompletionChunk.text", "CompletionChunk.usage_only")
CHUNK = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n'
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
# What this SDK's callers send, and Mistral's API does not document.
OWN = {
    "model": "mistral-small-latest",
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "me"},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]},
    ],
    "max_completion_tokens": 5,
    "seed": 7,
    "user": "somebody",
    "logit_bias": {"50256": -100},
    "store": False,
    "extra_body": {"safe_prompt": True, "of_tomorrow": {"n": [1, None, "ü"]}},
}

BAD = {**calls.CHAT, "n": "two", "messages": [{"role": "user", "content": 5}]}


def call(
    arguments: dict[str, Any],
    *,
    is_async: bool,
    stream: bool = False,
    chunks: list[Any] | None = None,
    **options: Any,
) -> Call:
    """Return a call of the SDK, by the URL of the server.

    The call returns the answer, or the chunks, as plain data; these are in `chunks` too if the stream breaks.
    """
    taken: list[Any] = [] if chunks is None else chunks
    given: dict[str, Any] = {**arguments, "stream": True} if stream else arguments

    def blocking(base_url: str) -> Any:
        with openai.OpenAI(base_url=base_url, **{"api_key": KEY, "max_retries": 0, **options}) as sdk:
            answer: Any = sdk.chat.completions.create(**given)
            if not stream:
                return calls.dumped(answer)
            for chunk in answer:
                taken.append(calls.dumped(chunk))  # noqa: PERF401 - what was taken before an error stays
            return taken

    async def in_loop(base_url: str) -> Any:
        async with openai.AsyncOpenAI(
            base_url=base_url, **{"api_key": KEY, "max_retries": 0, **options}
        ) as sdk:
            answer: Any = await sdk.chat.completions.create(**given)
            if not stream:
                return calls.dumped(answer)
            async for chunk in answer:
                taken.append(calls.dumped(chunk))  # noqa: PERF401 - what was taken before an error stays
            return taken

    async def called(url: str) -> Any:
        return await (in_loop(f"{url}/v1") if is_async else asyncio.to_thread(blocking, f"{url}/v1"))

    return called


@MODES
@pytest.mark.parametrize(
    ("arguments", "answer", "stream"),
    [
        (calls.CHAT, CHAT_JSON, False),
        (calls.CHAT, CHAT_SSE, True),
        (calls.TOOLS, TOOLS_JSON, False),
        (calls.FORCED, TOOLS_SSE, True),
        (calls.JSON_OBJECT, CHAT_JSON, False),
        (calls.JSON_SCHEMA, CHAT_SSE, True),
        (OWN, CHAT_JSON, False),
        ({**OWN, "stream_options": {"include_usage": True}}, USAGE_SSE, True),
    ],
)
async def test_no_side_can_tell_that_the_gateway_is_there(
    stack: Stack, arguments: dict[str, Any], answer: Answer, *, stream: bool, is_async: bool
) -> None:
    result, [request] = await stack.same_both_ways(call(arguments, is_async=is_async, stream=stream), answer)
    path, body = bodies(request)
    assert path == "/v1/chat/completions"
    assert body.get("stream", False) is stream
    assert result


async def test_members_that_nobody_knows_are_there_in_the_sdk(stack: Stack) -> None:
    result, _ = await stack.through(call(calls.CHAT, is_async=True), CHAT_JSON)
    assert result["undocumented"] == {"big": 123456789012345678901234567890}


@MODES
@STREAMS
@pytest.mark.parametrize(
    ("upstream_status", "error_type"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_errors_of_the_upstream_keep_their_body(
    stack: Stack,
    upstream_status: int,
    error_type: type[openai.APIStatusError],
    *,
    stream: bool,
    is_async: bool,
) -> None:
    answer = json_answer(json.dumps(ERROR).encode(), upstream_status, retry_after="7")
    with pytest.raises(error_type) as raised:
        await stack.through(call(calls.CHAT, is_async=is_async, stream=stream), answer)
    error = raised.value
    assert (flat_error(error.response.json()), error.response.headers["retry-after"]) == (ERROR, "7")
    assert (error.code, error.type) == ("1500", "invalid_model")


@MODES
@STREAMS
@pytest.mark.parametrize(
    ("attempts_max", "status", "requests"),
    # Twice by the upstream's client, or three times by the SDK; never the one times the other.
    [(2, 503, 2), (1, 503, 3), (2, 401, 1), (1, 402, 1)],
)
async def test_attempts_do_not_multiply(
    attempts_max: int, status: int, requests: int, *, stream: bool, is_async: bool
) -> None:
    asked = call(calls.CHAT, is_async=is_async, stream=stream, max_retries=2)
    settings = HttpSettings(attempts_max=attempts_max)
    async with (
        UpstreamServer(json_answer(b"{}", status)) as server,
        gateway_to(server, settings=settings) as url,
    ):
        with pytest.raises(openai.InternalServerError) as raised:
            await asked(url)
    assert raised.value.status_code == (503 if status == 503 else 500)
    assert len(server.received) == requests


@MODES
async def test_the_sdk_waits_for_a_limit_that_is_longer_than_the_heartbeat(is_async: bool) -> None:
    """It gets the status in time; as an event behind a comment the limit would end the call."""
    answers = json_answer(b"{}", 429, retry_after="1"), chunks_answer("CompletionChunk.text")
    asked = call(calls.CHAT, is_async=is_async, stream=True, max_retries=1)
    config = GatewayConfig(port=0, heartbeat_s=0.5)
    async with (
        UpstreamServer(*answers) as server,
        gateway_to(server, config, HttpSettings(attempts_max=3)) as url,
    ):
        assert len(await asked(url)) == 1
    assert len(server.received) == 2


@MODES
@STREAMS
async def test_a_violation_of_the_contract_reaches_the_api(
    stack: Stack, stream: bool, is_async: bool
) -> None:
    asked = call(BAD, is_async=is_async, stream=stream)
    await stack.same_both_ways(asked, CHAT_SSE if stream else CHAT_JSON)


@MODES
@STREAMS
async def test_a_strict_service_names_its_place(strict_stack: Stack, stream: bool, is_async: bool) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        await strict_stack.through(call(BAD, is_async=is_async, stream=stream), CHAT_JSON)
    detail = raised.value.response.json()["detail"]
    assert [item["loc"] for item in detail] == [["body", "messages", 0, "content"], ["body", "n"]]


async def test_the_models_of_the_upstream_are_listed_and_found() -> None:
    # As llama.cpp lists one.
    listed = {"data": [{"id": "org/model", "created": 5, "owned_by": "llamacpp", "meta": {"n_params": 7}}]}
    async with UpstreamServer(json_answer(json.dumps(listed).encode())) as server:
        upstream = MistralUpstream(server.url)
        catalog = ModelCatalog([Route("api", upstream)])
        async with running_gateway(upstream, models=catalog) as url:

            def asked() -> tuple[Any, Any]:
                with openai.OpenAI(api_key=KEY, base_url=f"{url}/v1") as sdk:
                    return sdk.models.list().data, sdk.models.retrieve("org/model")

            models, model = await asyncio.to_thread(asked)
        await upstream.close()
    assert [model] == models
    assert (model.id, model.object, model.created, model.owned_by) == ("org/model", "model", 5, "llamacpp")


@MODES
async def test_a_key_is_for_the_gateway_alone(is_async: bool, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    config = GatewayConfig(port=0, token_file=file)
    async with UpstreamServer(CHAT_JSON) as server, gateway_to(server, config) as url:
        with pytest.raises(openai.AuthenticationError):
            await call(calls.CHAT, is_async=is_async, api_key="another-of-them")(url)
        assert not server.received
        assert await call(calls.CHAT, is_async=is_async)(url)
    [request] = server.received
    assert "authorization" not in request.headers


@MODES
@STREAMS
@pytest.mark.parametrize("first", [json_answer(b"{}", 429, retry_after="1"), json_answer(b"{}", 503)])
async def test_the_sdk_tries_again(stack: Stack, first: Answer, stream: bool, is_async: bool) -> None:
    asked = call(calls.CHAT, is_async=is_async, stream=stream, max_retries=1)
    answer = CHAT_SSE if stream else CHAT_JSON
    through, direct = await stack.through(asked, first, answer), await stack.directly(asked, answer)
    assert through.result == direct.result
    assert [bodies(request) for request in through.received] == [bodies(direct.received[0])] * 2


@MODES
@STREAMS
async def test_a_timeout_of_the_sdk_frees_the_upstream(stream: bool, is_async: bool) -> None:
    asked = call(calls.CHAT, is_async=is_async, stream=stream, timeout=0.5)
    async with (
        UpstreamServer(Answer(pieces=[STALL], is_headless=True)) as server,
        gateway_to(server) as url,
    ):
        with pytest.raises(openai.APITimeoutError):
            await asked(url)
        await asyncio.wait_for(server.gone.wait(), WAIT_S)


@MODES
async def test_a_stream_that_breaks_raises_after_its_chunks(stack: Stack, is_async: bool) -> None:
    chunks: list[Any] = []
    asked = call(calls.CHAT, is_async=is_async, stream=True, chunks=chunks)
    with pytest.raises(openai.APIError, match="expected the stream to end with") as raised:
        await stack.through(asked, sse_answer(CHUNK, CHUNK, CUT))
    assert [chunk["id"] for chunk in chunks] == ["1", "1"]
    assert raised.value.type == "stream_truncated"
