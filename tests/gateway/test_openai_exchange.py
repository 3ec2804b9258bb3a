"""The OpenAI-compatible edge, with the test as its service; docs/openai.md describes it."""

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from mistralwire.codec import from_dict, from_json, to_dict
from mistralwire.errors import CallError, UpstreamViolation, Violation
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.gateway._openai import _exchange as exchange_module
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    CompletionChunk,
)
from tests.error_bodies import broken_body
from tests.gateway.clients import DrivenCall, DrivenClient, batch, until

CHAT = "/openai/v1/chat/completions"
QUESTION = {
    "model": "m",
    "messages": [{"role": "developer", "content": "Be short."}],
    "max_completion_tokens": 5,
    "store": False,
}
STREAM_QUESTION = {**QUESTION, "stream": True, "stream_options": {"include_usage": True}}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
THOUGHT = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
    {"type": "text", "text": "Hi"},
]
CONFIG = GatewayConfig(port=0, openai=True)


@contextlib.asynccontextmanager
async def edge(
    on_start: Callable[[DrivenCall], None] | None = None,
    config: GatewayConfig = CONFIG,
    *,
    is_wrapped: bool = False,
) -> AsyncIterator[tuple[aiohttp.ClientSession, DrivenClient]]:
    client = DrivenClient(on_start)
    app: Any = create_app(client.as_client(), config, models=["m", "a/b"])

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    async with (
        GatewayServer(call if is_wrapped else app, config) as server,
        aiohttp.ClientSession(server.url) as session,
    ):
        yield session, client


def chunk_of(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> CompletionChunk:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    document = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return from_json(CompletionChunk, json.dumps(document | more))


def send(call: DrivenCall, *chunks: CompletionChunk) -> None:
    call.sink.batch(ChatCompletionStreamResponse(chunks=chunks).SerializeToString(), len(chunks))


def answer(call: DrivenCall) -> None:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": THOUGHT},
        "finish_reason": "model_length",
    }
    document = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    response = from_json(ChatCompletionResponse, json.dumps(document | {"usage": USAGE}))
    call.sink.headers({"mistral-correlation-id": "1"})
    call.sink.answer(response.SerializeToString())


def stream(call: DrivenCall) -> None:
    send(call, chunk_of({"role": "assistant", "content": ""}, p="abc"), chunk_of({"content": THOUGHT}))
    send(call, chunk_of({"content": "!"}, "stop", usage=USAGE))
    call.sink.end()


def chunks_in(body: bytes) -> list[Any]:
    """Return what the events of a stream have; they have nothing else."""
    events = body.split(b"\n\n")
    assert events.pop() == b""
    assert all(event.startswith(b"data: ") and b"\n" not in event for event in events)
    datas = [event.removeprefix(b"data: ") for event in events]
    return [data if data == b"[DONE]" else json.loads(data) for data in datas]


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["direct", "asgi"])
async def test_an_answer_has_openais_form_and_the_service_gets_mistrals(is_wrapped: bool) -> None:
    async with (
        edge(answer, is_wrapped=is_wrapped) as (session, client),
        session.post(CHAT, json=QUESTION) as response,
    ):
        assert response.status == 200
        assert response.headers["mistral-correlation-id"] == "1"
        assert response.headers["x-ignored-members"] == "store"
        assert await response.json() == {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "usage": USAGE,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "length",
                    "message": {"role": "assistant", "content": "Hi", "reasoning_content": "Hm."},
                }
            ],
        }
    [call] = client.calls
    assert to_dict(ChatCompletionRequest.FromString(call.wire)) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}],
        "max_tokens": 5,
    }


async def test_pages_may_read_which_members_were_dropped() -> None:
    config = GatewayConfig(port=0, openai=True, cors_origins="https://page.example")
    headers = {"origin": "https://page.example"}
    async with (
        edge(answer, config) as (session, _),
        session.post(CHAT, json=QUESTION, headers=headers) as response,
    ):
        assert "x-ignored-members" in response.headers["access-control-expose-headers"].split(", ")


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["direct", "asgi"])
async def test_a_stream_has_openais_form(is_wrapped: bool) -> None:
    async with (
        edge(stream, is_wrapped=is_wrapped) as (session, client),
        session.post(CHAT, json=STREAM_QUESTION) as response,
    ):
        assert response.content_type == "text/event-stream"
        assert response.headers["x-ignored-members"] == "store"
        *chunks, end = chunks_in(await response.read())
    # The service would write events of Mistral's form.
    assert client.calls[0].events is None
    assert end == b"[DONE]"
    assert all(chunk.pop("object") == "chat.completion.chunk" for chunk in chunks)
    assert all(chunk.pop(name) for chunk in chunks for name in ("id", "created", "model"))
    assert chunks.pop() == {"choices": [], "usage": USAGE}
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm."},
        {"content": "Hi"},
        {"content": "!"},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]


async def test_chunks_that_a_thread_converts_come_in_order() -> None:
    def send_large(call: DrivenCall) -> None:
        call.sink.batch(*batch(0))
        call.sink.batch(*batch(1, 2, content="x" * 10_000))
        call.sink.batch(*batch(3))
        call.sink.end()

    async with edge(send_large) as (session, _), session.post(CHAT, json=STREAM_QUESTION) as response:
        *chunks, _ = chunks_in(await response.read())
    assert [chunk["id"] for chunk in chunks] == ["0", "1", "2", "3"]


async def test_numbers_that_python_would_change_are_unchanged() -> None:
    long = "123456789012345678901234567890"

    def answer_long(call: DrivenCall) -> None:
        call.sink.answer(
            from_json(ChatCompletionResponse, f'{{"n":{long}}}', validate=False).SerializeToString()
        )

    tools = f'[{{"type":"function","function":{{"name":"f","parameters":{{"maximum":{long}}}}}}}]'
    body = f'{{"model":"m","messages":[],"tools":{tools}}}'
    async with edge(answer_long) as (session, client), session.post(CHAT, data=body) as response:
        assert f'"n":{long}' in await response.text()
    request = ChatCompletionRequest.FromString(client.calls[0].wire)
    assert request.tools[0].function.function.parameters == f'{{"maximum":{long}}}'


async def test_a_large_request_is_written_by_the_thread_that_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = []

    def write(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return from_dict(*arguments, **options)

    monkeypatch.setattr(exchange_module, "from_dict", write)
    messages = [{"role": "user", "content": "\ud800" + "x" * 100_000}]
    async with (
        edge(answer) as (session, _),
        session.post(CHAT, json={"model": "m", "messages": messages}) as response,
    ):
        assert response.status == 200
    assert [thread is threading.main_thread() for thread in threads] == [False]


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["direct", "asgi"])
@pytest.mark.parametrize("question", [QUESTION, STREAM_QUESTION], ids=["one", "stream"])
@pytest.mark.parametrize(
    ("error", "status", "converted"),
    [
        (
            CallError(
                "no such model",
                code="INVALID_ARGUMENT",
                reason="UPSTREAM_INVALID_REQUEST",
                metadata={
                    "http_status": "400",
                    "upstream_members": '{"type":"invalid_model","param":"model","code":"1500","odd":1}',
                },
            ),
            400,
            {"type": "invalid_request_error", "param": "model", "code": "invalid_model", "odd": 1},
        ),
        (
            CallError(
                "too long",
                code="INVALID_ARGUMENT",
                metadata={"http_status": "400", "upstream_members": '{"code":"context_length_exceeded"}'},
            ),
            400,
            {"type": "invalid_request_error", "param": None, "code": "context_length_exceeded"},
        ),
        (
            CallError(
                "body: Extra inputs are not permitted",
                code="INVALID_ARGUMENT",
                reason="UPSTREAM_INVALID_REQUEST",
                metadata={"http_status": "422"},
                upstream_violations=[UpstreamViolation("tools[0].odd", "Extra inputs are not permitted")],
            ),
            400,
            {"type": "invalid_request_error", "param": "tools[0].odd", "code": "upstream_invalid_request"},
        ),
        (
            CallError("no", code="INVALID_ARGUMENT", violations=[Violation("a[0].b", "another", "this")]),
            400,
            {"type": "invalid_request_error", "param": "a[0].b", "code": "invalid_argument"},
        ),
        (
            CallError(
                "slow down",
                code="RESOURCE_EXHAUSTED",
                reason="UPSTREAM_RATE_LIMITED",
                metadata={"http_status": "429"},
                retry_after_s=7,
            ),
            429,
            {"type": "rate_limit_error", "param": None, "code": "upstream_rate_limited"},
        ),
        (
            CallError("gone", code="UNAVAILABLE", reason="UPSTREAM_FAILED", metadata={"http_status": "500"}),
            503,
            {"type": "server_error", "param": None, "code": "upstream_failed"},
        ),
    ],
)
async def test_errors_have_openais_form(
    is_wrapped: bool, question: dict[str, Any], error: CallError, status: int, converted: dict[str, Any]
) -> None:
    async with (
        edge(lambda call: call.sink.failed(error), is_wrapped=is_wrapped) as (session, _),
        session.post(CHAT, json=question) as response,
    ):
        body = await response.json()
        assert response.status == status
        assert response.headers.get("retry-after") == ("7" if status == 429 else None)
    assert body == {"error": {"message": body["error"]["message"], **converted}}
    assert error.violations or body["error"]["message"].endswith(error.message.partition(": ")[2])


async def test_an_error_behind_chunks_is_an_event_and_breaks_the_stream() -> None:
    def fail(call: DrivenCall) -> None:
        send(call, chunk_of({"content": "a"}))
        call.sink.failed(CallError("no luck", code="UNAVAILABLE", reason="UPSTREAM_FAILED"))

    async with edge(fail) as (session, _), session.post(CHAT, json=STREAM_QUESTION) as response:
        first, last = chunks_in(await broken_body(response))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
    assert last == {
        "error": {"message": "no luck", "type": "server_error", "param": None, "code": "upstream_failed"}
    }


@pytest.mark.parametrize("size", [1, 10_000], ids=["in the loop", "in a thread"])
async def test_chunks_before_one_that_has_no_json_form_are_sent(size: int) -> None:
    bad = chunk_of({"content": "b"})
    bad.json_extra.members = "{"

    def send_bad(call: DrivenCall) -> None:
        send(call, chunk_of({"content": "a" * size}), bad)

    async with edge(send_bad) as (session, _), session.post(CHAT, json=STREAM_QUESTION) as response:
        first, last = chunks_in(await broken_body(response))
    assert first["choices"][0]["delta"]["content"] == "a" * size
    assert last["error"]["code"] == "upstream_unreadable"


@pytest.mark.parametrize("question", [QUESTION, STREAM_QUESTION], ids=["one", "stream"])
async def test_bytes_of_the_service_that_are_no_message_are_an_error(question: dict[str, Any]) -> None:
    def send_bytes(call: DrivenCall) -> None:
        if question is QUESTION:
            call.sink.answer(b"\xff\xff")
        else:
            call.sink.batch(b"\xff\xff", 1)

    async with edge(send_bytes) as (session, _), session.post(CHAT, json=question) as response:
        assert (await response.json())["error"]["code"] == "upstream_unreadable"
        assert response.status == 500


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"odd":1e9999999999999999999}'])
async def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    async with edge() as (session, _), session.post(CHAT, data=body) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] in ("contract_violation", "not_json", "invalid_argument")


async def test_callers_need_a_key(tmp_path: Any) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-twenty-characters\n")
    keys.chmod(0o600)
    config = GatewayConfig(port=0, openai=True, token_file=keys)
    expected = {"type": "authentication_error", "param": None, "code": "invalid_api_key"}
    async with edge(answer, config) as (session, _):
        for method, path in (("POST", CHAT), ("GET", "/openai/v1/models")):
            async with session.request(method, path, json=QUESTION) as response:
                assert response.status == 401
                error = (await response.json())["error"]
                assert error.items() >= expected.items()
            headers = {"authorization": "Bearer a-key-of-twenty-characters"}
            async with session.request(method, path, json=QUESTION, headers=headers) as response:
                assert response.status == 200


async def test_models_have_openais_form() -> None:
    async with edge() as (session, _):
        async with session.get("/openai/v1/models") as response:
            models = await response.json()
        assert models["object"] == "list"
        assert [model["id"] for model in models["data"]] == ["a/b", "m"]
        async with session.get("/openai/v1/models/a/b") as response:
            assert await response.json() == models["data"][0]
            assert models["data"][0].items() >= {"object": "model", "owned_by": "mistralai"}.items()
        async with session.get("/openai/v1/models/odd") as response:
            assert response.status == 404
            assert (await response.json())["error"].items() >= {
                "type": "invalid_request_error",
                "code": "model_not_found",
            }.items()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/openai/v1/embeddings", 404, "no_such_route"),
        ("GET", "/openai/v1", 404, "no_such_route"),
        ("GET", CHAT, 405, "method_not_allowed"),
    ],
)
async def test_other_paths_below_it_are_errors_in_openais_form(
    method: str, path: str, status: int, code: str
) -> None:
    async with edge() as (session, _), session.request(method, path) as response:
        assert response.status == status
        body = await response.json()
    assert [*body] == ["error"]
    assert body["error"]["code"] == code
    assert f"{method} {path}" in body["error"]["message"]


@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("GET", "/openai/v1/models")])
async def test_it_is_off_by_default(method: str, path: str) -> None:
    async with (
        edge(answer, GatewayConfig(port=0)) as (session, client),
        session.request(method, path, json=QUESTION) as response,
    ):
        assert response.status == 404
        assert (await response.json())["message"].endswith(": that needs --openai")
    assert client.calls == []


@pytest.mark.parametrize("path", [f"{CHAT}/", f"{CHAT}?api-version=1"])
async def test_a_slash_and_a_query_behind_its_path_do_not_count(path: str) -> None:
    async with edge(answer) as (session, _), session.post(path, json=QUESTION) as response:
        assert response.status == 200


async def test_its_paths_cannot_be_passed_through() -> None:
    GatewayConfig(passthrough_paths="/openai/v1/embeddings")
    with pytest.raises(ValueError, match="not the gateway's own routes, not '/openai/v1/embeddings'"):
        GatewayConfig(openai=True, passthrough_paths="/openai/v1/embeddings")


async def test_a_silent_stream_gets_comments_and_the_log_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mistralwire.gateway.access")
    config = GatewayConfig(port=0, openai=True, heartbeat_s=0.01)
    async with edge(None, config) as (session, client):
        asking = asyncio.create_task(session.post(CHAT, json=STREAM_QUESTION).__aenter__())
        await until(lambda: bool(client.calls))
        response = await asking
        assert await response.content.readline() == b": keep-alive\n"
        stream(client.calls[0])
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
        await until(lambda: bool(caplog.records))
    fields = vars(caplog.records[-1])
    assert fields["message"] == f"POST {CHAT}"
    assert (fields["http_status"], fields["model"], fields["chunks"]) == (200, "m", 3)
