"""Completions with the test as their service: backpressure, ends, and errors at any time."""

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import grpc
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from mistralwire._offload import LOOP_EVENT_BYTES_MAX
from mistralwire.client import Client
from mistralwire.errors import CallError, MistralwireError, Violation
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.gateway._routes import CompletionCall, read_call
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from mistralwire.v1 import ChatCompletionResponse, ChatCompletionStreamRequest
from tests.client.peers import service_of
from tests.error_bodies import flat_error
from tests.gateway.clients import DrivenCall, DrivenClient, batch, until
from tests.gateway.test_protocol import CHAT, QUESTION, connected, request_of
from tests.gateway_stack import running_gateway

WAIT_S = 30
SECRET = "a text that nobody may see"
STREAM_QUESTION = {**QUESTION, "stream": True}


@contextlib.asynccontextmanager
async def serving(client: DrivenClient, config: GatewayConfig | None = None) -> AsyncIterator[str]:
    config = config or GatewayConfig(port=0)
    async with GatewayServer(create_app(client.as_client(), config), config) as server:
        yield server.url


async def call_of(client: DrivenClient) -> DrivenCall:
    """Wait for the call of a request."""
    await until(lambda: bool(client.calls))
    return client.calls[-1]


async def test_a_caller_who_does_not_keep_up_pauses_the_source_and_resumes_it() -> None:
    client = DrivenClient()
    async with serving(client) as url, connected(url, buffer_bytes=4096) as caller:
        caller.writer.write(request_of(STREAM_QUESTION))
        call = await call_of(client)
        number = 0
        while not call.asked:
            call.sink.batch(*batch(number, content="x" * 50_000))
            number += 1
            await asyncio.sleep(0)
        assert call.asked == ["pause"]
        async with asyncio.timeout(WAIT_S):
            while "resume" not in call.asked:
                await caller.reader.read(65536)
        assert call.asked == ["pause", "resume"]
        call.sink.end()


@pytest.mark.parametrize(("ends", "asked"), [("gone", "cancel"), ("stop", "abort SERVER_STOPPING")])
async def test_an_answer_that_nobody_waits_for_any_more_ends_its_call_once(ends: str, asked: str) -> None:
    client, config = DrivenClient(), GatewayConfig(port=0)
    async with GatewayServer(create_app(client.as_client(), config), config) as server:
        async with connected(server.url) as caller:
            caller.writer.write(request_of(STREAM_QUESTION))
            call = await call_of(client)
            call.sink.batch(*batch(0))
            await caller.head()
            if ends == "stop":
                await server.stop(0)
                assert b"server_stopping" in await caller.rest()
        await until(lambda: bool(call.asked))
        # What was on its way has no effect.
        call.sink.batch(*batch(1))
        call.sink.failed(MistralwireError("late"))
        call.sink.end()
    assert call.asked == [asked]


def _answer(call: DrivenCall) -> None:
    call.sink.answer(ChatCompletionResponse(id="0", model="m").SerializeToString())


def _chunks(call: DrivenCall) -> None:
    call.sink.batch(*batch(0, 1))
    call.sink.end()


def _failure(call: DrivenCall) -> None:
    call.sink.failed(CallError("no luck", code="NOT_FOUND", reason="A_REASON"))


def _surprise(call: DrivenCall) -> None:
    raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    ("on_start", "question", "status", "text"),
    [
        (_answer, QUESTION, 200, b'"id":"0"'),
        (_chunks, STREAM_QUESTION, 200, b"data: [DONE]\n\n"),
        (_failure, STREAM_QUESTION, 404, b'"no luck"'),
        (_surprise, STREAM_QUESTION, 500, b'"internal error of the gateway"'),
    ],
)
async def test_an_answer_may_come_before_the_call_is_returned(
    on_start: Callable[[DrivenCall], None],
    question: dict[str, object],
    status: int,
    text: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        serving(DrivenClient(on_start)) as url,
        aiohttp.ClientSession(url) as session,
        session.post(CHAT, json=question) as response,
    ):
        assert response.status == status
        assert text in await response.read()
    assert SECRET not in caplog.text


async def test_bytes_of_the_service_that_are_no_chunks_end_the_stream_with_an_error() -> None:
    client = DrivenClient()
    async with serving(client) as url, connected(url) as caller:
        caller.writer.write(request_of(STREAM_QUESTION))
        call = await call_of(client)
        call.sink.batch(b"\xff\xff", 1)
        status, body = await caller.answer()
    assert (status, json.loads(body)["type"]) == (500, "upstream_unreadable")
    assert call.asked == ["cancel"]


async def test_chunks_that_a_thread_converts_hold_the_source_and_come_in_order() -> None:
    client = DrivenClient()
    large = "1," * LOOP_EVENT_BYTES_MAX
    async with serving(client) as url, connected(url) as caller:
        caller.writer.write(request_of(STREAM_QUESTION))
        call = await call_of(client)
        call.sink.batch(*batch(0))
        call.sink.batch(*batch(1, 2, content=large))
        assert call.asked == ["pause"]
        call.sink.batch(*batch(3))
        call.sink.batch(*batch(4, content=large))
        reading = asyncio.create_task(caller.reader.readexactly(3 * len(large)))
        await until(lambda: call.asked[-1] == "resume")
        call.sink.end()
        answer = await reading
        async with asyncio.timeout(WAIT_S):
            while not answer.endswith(b"0\r\n\r\n"):
                answer += await caller.reader.read(65536)
    ids = [line for line in answer.split(b"\n") if line.startswith(b"id: ")]
    assert ids == [b"id: %d" % number for number in range(5)]
    assert answer.count(large.encode()) == 3
    assert b"data: [DONE]\n\n" in answer


async def test_violations_of_the_service_that_the_body_does_not_have_are_passed_on() -> None:
    client = DrivenClient()
    violation = Violation("messages[0].role", "another role", "this one")
    async with serving(client) as url, connected(url) as caller:
        caller.writer.write(request_of())
        call = await call_of(client)
        call.sink.failed(CallError("no", code="INVALID_ARGUMENT", violations=[violation]))
        status, body = await caller.answer()
    assert status == 422
    assert json.loads(body)["detail"][0]["loc"] == ["body", "messages", 0, "role"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_the_service_cancels_is_answered_with_503_and_made_once(*, stream: bool) -> None:
    calls = 0

    async def cancel(context: Any) -> None:
        nonlocal calls
        calls += 1
        await context.abort(grpc.StatusCode.CANCELLED, "")

    config = GatewayConfig(port=0)
    async with (
        asyncio.timeout(WAIT_S),
        service_of(cancel) as target,
        Client(target) as client,
        GatewayServer(create_app(client, config), config) as server,
        connected(server.url) as caller,
    ):
        caller.writer.write(request_of({**QUESTION, "stream": stream}))
        status, body = await caller.answer()
    assert (status, flat_error(json.loads(body))["type"]) == (503, "call_cancelled")
    assert calls == 1


async def test_the_service_gets_the_trace_and_what_the_caller_sent() -> None:
    client = DrivenClient(_chunks)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving(client) as url, connected(url) as caller:
        caller.writer.write(request_of(STREAM_QUESTION, headers=f"traceparent: {trace}\r\ntracestate: \r\n"))
        await caller.head()
    [call] = client.calls
    # The deadline is 600 seconds, and the first comment is due after 15.
    assert call.metadata == {"traceparent": trace, "x-retry-time-left-ms": "585000"}
    assert call.request_type is ChatCompletionStreamRequest
    assert ChatCompletionStreamRequest.FromString(call.wire).stream is True


async def test_a_caller_who_hangs_up_while_the_body_is_read_causes_no_call(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "mistralwire.gateway.access")
    may_read, has_read = threading.Event(), threading.Event()

    def read(*arguments: Any) -> CompletionCall:
        may_read.wait(WAIT_S)
        call = read_call(*arguments)
        has_read.set()
        return call

    monkeypatch.setattr("mistralwire.gateway._exchanges._completion_exchange.read_call", read)
    client = DrivenClient()
    async with serving(client) as url:
        async with connected(url) as caller:
            caller.writer.write(request_of({**QUESTION, "more": "x" * 1_000_000}))
            await caller.writer.drain()
            # Its body has arrived once another request was answered.
            async with connected(url) as other:
                other.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                await other.answer()
        await until(lambda: bool(caplog.records))
        may_read.set()
        await asyncio.to_thread(has_read.wait, WAIT_S)
        await asyncio.sleep(0)
    [record] = caplog.records
    assert vars(record)["http_status"] == 499
    assert not client.calls


async def test_middleware_that_a_program_adds_sees_completions() -> None:
    client, config = DrivenClient(_answer), GatewayConfig(port=0)
    app = create_app(client.as_client(), config)
    seen = []

    class Watching:
        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["path"])
            await self._app(scope, receive, send)

    app.add_middleware(Watching)
    async with GatewayServer(app, config) as server, connected(server.url) as caller:
        caller.writer.write(request_of())
        assert (await caller.answer())[0] == 200
    assert seen == [CHAT]


async def test_the_application_can_be_mounted_in_another_one() -> None:
    app = create_app(DrivenClient(_chunks).as_client())
    outer = Starlette(routes=[Mount("/llm", app)])
    async with GatewayServer(outer, GatewayConfig(port=0)) as server, connected(server.url) as caller:
        caller.writer.write(request_of(STREAM_QUESTION, path=f"/llm{CHAT}"))
        await caller.head()
        events = await caller.reader.readuntil(b"0\r\n\r\n")
    assert [events.count(part) for part in (b"id: 0\n", b"id: 1\n", b"data: [DONE]\n\n")] == [1, 1, 1]


@pytest.mark.parametrize("origins", ["*", "https://a.example", "https://b.example,https://a.example"])
async def test_pages_may_read_what_they_may_read_through_asgi(origins: str) -> None:
    config = GatewayConfig(port=0, cors_origins=origins)
    answers = []
    for is_wrapped in (False, True):
        async with (
            running_gateway(ReplayUpstream(DEMONSTRATION), config, is_wrapped=is_wrapped) as url,
            aiohttp.ClientSession(url) as session,
            session.post(CHAT, json=QUESTION, headers={"origin": "https://a.example"}) as response,
        ):
            names = ["access-control-allow-origin", "access-control-expose-headers"]
            # Newer versions of Starlette say so in any case.
            names += ["vary"] if origins != "*" else []
            answers.append((response.status, [response.headers[name] for name in names]))
    assert answers[0] == answers[1]
    assert answers[0][0] == 200
