"""Traces of processes that `opentelemetry-instrument` has started: which span is whose parent."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any, NamedTuple

import aiohttp
import pytest

from .serving import REPLAY, serving

pytestmark = pytest.mark.process

pytest.importorskip("opentelemetry.instrumentation.auto_instrumentation", reason="needs opentelemetry-distro")

RUN = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
INSTRUMENT = (sys.executable, "-c", RUN, sys.executable)
GATEWAY = (*INSTRUMENT, "-m", "mistralwire", "gateway")
SERVE = (*INSTRUMENT, "-m", "mistralwire", "serve")
# Spans are written at the end of the process.
EXPORT = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_BSP_SCHEDULE_DELAY": "600000",
}
ALONE = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "starlette"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLERS = {
    "tracecontext": {"traceparent": f"00-{TRACE}-{SPAN}-01"},
    "b3": {"b3": f"{TRACE}-{SPAN}-1"},
    "b3multi": {"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "1"},
}
QUESTION = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "hi"}]}
RPC = "mistralwire.v1.ChatCompletionService/ChatCompletion"
MODEL = "chat mistral-small-latest"
PROGRAM = """
import asyncio, sys
from opentelemetry import trace
from mistralwire.client import Client, SyncClient
from mistralwire.v1 import ChatCompletionRequest, ChatMessage, UserMessage

message = ChatMessage(user=UserMessage(content_string="hi"))
request = ChatCompletionRequest(model="mistral-small-latest", messages=[message])
tracer = trace.get_tracer("program")

async def ask():
    async with Client(sys.argv[1]) as client:
        with tracer.start_as_current_span("asynchronous"):
            await client.complete(request)

asyncio.run(ask())
with SyncClient(sys.argv[1]) as client, tracer.start_as_current_span("synchronous"):
    client.complete(request)
"""


class Span(NamedTuple):
    """What a test wants to know of a span."""

    name: str
    trace: str
    id: str
    parent: str | None


def spans_in(output: bytes) -> list[Span]:
    """Return the spans that the console exporter has written."""
    return [
        Span(
            span["name"],
            span["context"]["trace_id"].removeprefix("0x"),
            span["context"]["span_id"].removeprefix("0x"),
            None if span["parent_id"] is None else span["parent_id"].removeprefix("0x"),
        )
        for text in re.findall(r"^\{\n.*?^\}$", output.decode(), re.DOTALL | re.MULTILINE)
        if "context" in (span := json.loads(text))
    ]


def named(spans: list[Span], name: str) -> Span:
    (span,) = (span for span in spans if span.name == name)
    return span


async def ended(process: Process) -> list[Span]:
    """End a process; return its spans."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return spans_in(output)


async def ask(url: str, headers: dict[str, str], **members: Any) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/v1/chat/completions", json={**QUESTION, **members}, headers=headers) as response,
    ):
        await response.read()
        assert response.status == 200


@pytest.mark.parametrize("propagator", CALLERS)
async def test_the_spans_of_an_embedded_gateway_are_below_the_callers(propagator: str) -> None:
    env = {**EXPORT, **ALONE, "OTEL_PROPAGATORS": propagator}
    async with serving(str(REPLAY / "chat.json"), command=GATEWAY, env=env) as (process, url, _):
        await ask(url, CALLERS[propagator])
        spans = await ended(process)

    rpc, model = named(spans, RPC), named(spans, MODEL)
    assert (rpc.trace, rpc.parent) == (TRACE, SPAN)
    assert (model.trace, model.parent) == (TRACE, rpc.id)


@pytest.mark.parametrize("headers", [{}, CALLERS["b3"]], ids=["new", "callers"])
async def test_the_spans_of_an_embedded_gateway_are_below_that_of_its_http_request(
    headers: dict[str, str],
) -> None:
    package = pytest.importorskip("opentelemetry.instrumentation.starlette.package")
    if package._instruments == ("starlette ~= 0.13.0",):
        pytest.skip("the instrumentation is for an older Starlette")
    env = {**EXPORT, "OTEL_PROPAGATORS": "b3"}
    async with serving(str(REPLAY / "chat.sse"), command=GATEWAY, env=env) as (process, url, _):
        await ask(url, headers, stream=True)
        spans = await ended(process)

    http, rpc = named(spans, "POST /v1/chat/completions"), named(spans, f"{RPC}Stream")
    assert {span.trace for span in spans} == {http.trace}
    assert http.parent == (SPAN if headers else None)
    assert (rpc.parent, named(spans, MODEL).parent) == (http.id, rpc.id)


async def test_a_trace_goes_through_gateway_and_service() -> None:
    env = {**EXPORT, **ALONE, "OTEL_PROPAGATORS": "b3multi"}
    async with serving(str(REPLAY / "chat.json"), command=SERVE, env=env) as (service, target, _):
        async with serving("--service", target, command=GATEWAY, env=env) as (gateway, url, _):
            await ask(url, CALLERS["b3multi"])
            assert await ended(gateway) == []
        spans = await ended(service)

    rpc = named(spans, RPC)
    assert (rpc.trace, rpc.parent) == (TRACE, SPAN)
    assert (named(spans, MODEL).trace, named(spans, MODEL).parent) == (TRACE, rpc.id)


async def test_the_current_span_of_a_program_is_the_parent_of_the_services() -> None:
    env = {**EXPORT, "OTEL_PROPAGATORS": "b3"}
    async with serving(str(REPLAY / "chat.json"), command=SERVE, env=env) as (service, target, _):
        program = await asyncio.create_subprocess_exec(
            *(*INSTRUMENT, "-c", PROGRAM, target), stdout=PIPE, env={**os.environ, **env}
        )
        async with asyncio.timeout(60):
            own = spans_in((await program.communicate())[0])
        spans = await ended(service)

    assert program.returncode == 0
    parents = {(span.trace, span.id) for span in own}
    assert {span.name for span in own} == {"asynchronous", "synchronous"}
    assert {(span.trace, span.parent) for span in spans if span.name == RPC} == parents
