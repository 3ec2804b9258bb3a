"""Calls are reported to a real OpenTelemetry SDK, by the semantic conventions."""

import asyncio
import contextlib
import contextvars
import json
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from mistralwire import to_dict
from mistralwire.client import Client
from mistralwire.errors import UpstreamError
from mistralwire.service import CallRecord, Chunks, LocalChannel, ServerConfig, create_server
from mistralwire.service._observers import _semconv as semconv
from mistralwire.service._observers._call_telemetry import GAPS_EVERY, GAPS_MAX, CallTelemetry
from mistralwire.upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    Upstream,
    finish_reasons_of,
)
from mistralwire.upstream._coroutines import encode_chunk, observed_in
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatMessage,
    CompletionChunk,
    CompletionResponseStreamChoice,
    DeltaMessage,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FinishReason,
    PromptTokensDetails,
    ResponseFormat,
    ResponseFormatType,
    UsageInfo,
    UserMessage,
)
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc
from tests.service.upstreams import MESSAGES, REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

STOP = FinishReason.FINISH_REASON_STOP
LENGTH = FinishReason.FINISH_REASON_LENGTH
METHOD = "mistralwire.v1.ChatCompletionService"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRETS = ("secret-prompt", "secret-answer", "secret-error", "secret-stop", "secret-value")


class Telemetry:
    """An observer with an SDK of its own, and what that SDK exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader])
        self.observer = CallTelemetry(self.tracers, self.meters)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans that ended, by their names."""
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def points(self, name: str) -> list[Any]:
        """Return the data points of a metric."""
        data = self._reader.get_metrics_data()
        scopes = (
            [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        )
        metrics = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        return [point for metric in metrics for point in metric.data.data_points]

    def point(self, name: str) -> Any:
        """Return the data point of a metric that has one."""
        (point,) = self.points(name)
        return point

    def everything(self) -> str:
        """Return everything that was reported, as text."""
        data = self._reader.get_metrics_data()
        spans = [span.to_json() for span in self._exporter.get_finished_spans()]
        return "\n".join([*spans, data.to_json() if data else ""])


class Ends:
    """Signals that a call is over: its caller knows a moment before."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[CallRecord] = asyncio.Queue()

    def started(self, call: CallRecord) -> None: ...

    def chunks(self, call: CallRecord, chunks: Chunks) -> None: ...

    def ended(self, call: CallRecord) -> None:
        self.calls.put_nowait(call)


def stub_of(channel: grpc.aio.Channel) -> Any:
    stub: Any = service_grpc.ChatCompletionServiceStub
    return stub(channel)


class Service:
    """A service that is being called."""

    def __init__(self, stub: Any, telemetry: Telemetry, ends: Ends) -> None:
        self.stub = stub
        self.telemetry = telemetry
        self._ends = ends

    async def ended(self) -> Telemetry:
        """Wait for the end of a call."""
        await self._ends.calls.get()
        return self.telemetry


@contextlib.asynccontextmanager
async def serving(upstream: Upstream, config: ServerConfig | None = None) -> AsyncIterator[Service]:
    telemetry, ends = Telemetry(), Ends()
    async with (
        asyncio.timeout(30),
        create_server(upstream, config or ServerConfig(port=0), (telemetry.observer, ends)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield Service(stub_of(channel), telemetry, ends)


async def read(call: Any) -> list[CompletionChunk]:
    return [chunk async for message in call for chunk in message.chunks]


def held(*items: CompletionResponse | CompletionChunk | BaseException | None) -> HeldUpstream:
    upstream = HeldUpstream()
    for item in items:
        upstream.items.put_nowait(item)
    return upstream


def choice(reason: FinishReason | None = None, index: int = 0) -> CompletionResponseStreamChoice:
    return CompletionResponseStreamChoice(
        index=index, delta=DeltaMessage(content_string="secret-answer"), finish_reason=reason
    )


def last_chunk(reason: FinishReason = STOP) -> CompletionChunk:
    return CompletionChunk(
        id="cmpl-1",
        model="m-2024",
        choices=[choice(reason)],
        usage=UsageInfo(prompt_tokens=5, completion_tokens=7, total_tokens=12),
    )


def response(**fields: Any) -> ChatCompletionResponse:
    message = AssistantMessage(content_string="secret-answer")
    return ChatCompletionResponse(
        **{
            "id": "cmpl-1",
            "object": "chat.completion",
            "model": "m-2024",
            "usage": UsageInfo(prompt_tokens=5, completion_tokens=7, total_tokens=12),
            "choices": [ChatCompletionChoice(index=0, finish_reason=STOP, message=message)],
            **fields,
        }
    )


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_stream_has_a_server_span_and_below_it_one_of_the_model() -> None:
    async with serving(held(chunk(1), last_chunk(), None)) as service:
        await read(service.stub.ChatCompletionStream(STREAM_REQUEST))
        spans = (await service.ended()).spans
    rpc, model = spans[f"{METHOD}/ChatCompletionStream"], spans["chat m"]
    assert (rpc.kind, model.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert rpc.parent is None
    assert model.parent == rpc.context
    assert rpc.status.status_code is model.status.status_code is StatusCode.UNSET
    found = attributes_of(rpc)
    assert found.pop("network.peer.port") > 0
    assert found == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{METHOD}/ChatCompletionStream",
        "rpc.response.status_code": "OK",
        "network.transport": "tcp",
        "network.type": "ipv4",
        "network.peer.address": "127.0.0.1",
    }
    found = attributes_of(model)
    assert found.pop("gen_ai.response.time_to_first_chunk") > 0
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "cmpl-1",
        "gen_ai.response.model": "m-2024",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 7,
    }


async def test_the_metrics_of_a_stream_have_the_times_of_its_chunks() -> None:
    async with serving(held(chunk(1), chunk(2), last_chunk(), None)) as service:
        await read(service.stub.ChatCompletionStream(STREAM_REQUEST))
        telemetry = await service.ended()
    rpc = telemetry.point("rpc.server.call.duration")
    assert dict(rpc.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{METHOD}/ChatCompletionStream",
        "rpc.response.status_code": "OK",
    }
    span = telemetry.spans[f"{METHOD}/ChatCompletionStream"]
    assert span.end_time is not None
    assert span.start_time is not None
    assert rpc.sum == pytest.approx((span.end_time - span.start_time) / 1e9, abs=1e-6)
    labels = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m",
    }
    for name, count in (
        ("gen_ai.client.operation.duration", 1),
        ("gen_ai.client.operation.time_to_first_chunk", 1),
        ("gen_ai.client.operation.time_per_output_chunk", 2),
    ):
        point = telemetry.point(name)
        assert (point.count, dict(point.attributes)) == (count, labels)


async def test_tokens_are_counted_by_model_and_finish_reason() -> None:
    async with serving(held(chunk(1), last_chunk(LENGTH), None)) as service:
        await read(service.stub.ChatCompletionStream(STREAM_REQUEST))
        telemetry = await service.ended()
    found = {
        point.attributes["gen_ai.token.type"]: (
            point.sum,
            point.attributes["gen_ai.request.model"],
            point.attributes["mistralwire.finish_reason"],
        )
        for point in telemetry.points("gen_ai.client.token.usage")
    }
    assert found == {"input": (5, "m", "length"), "output": (7, "m", "length")}


async def test_histograms_have_the_buckets_of_the_conventions() -> None:
    async with serving(held(chunk(1), last_chunk(), None)) as service:
        await read(service.stub.ChatCompletionStream(STREAM_REQUEST))
        telemetry = await service.ended()
    assert telemetry.point("rpc.server.call.duration").explicit_bounds[:2] == (0.005, 0.01)
    assert telemetry.point("gen_ai.client.operation.duration").explicit_bounds[-1] == 81.92
    assert telemetry.point("gen_ai.client.operation.time_per_output_chunk").explicit_bounds[0] == 0.01
    for point in telemetry.points("gen_ai.client.token.usage"):
        assert (point.explicit_bounds[1], point.explicit_bounds[-1]) == (4, 67_108_864)


async def test_an_answer_in_one_piece_has_its_request_and_its_usage() -> None:
    request = ChatCompletionRequest(
        model="m",
        messages=MESSAGES,
        temperature=0.5,
        top_p=0.25,
        max_tokens=100,
        random_seed=7,
        top_k=3,
        n=2,
        presence_penalty=1.5,
        frequency_penalty=-1.0,
        stop_string="secret-stop",
        response_format=ResponseFormat(type=ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_OBJECT),
    )
    usage = UsageInfo(prompt_tokens_details=PromptTokensDetails(cached_tokens=3), completion_tokens=1)
    choices = [
        ChatCompletionChoice(index=1, finish_reason=LENGTH),
        ChatCompletionChoice(index=0, finish_reason=STOP),
    ]
    async with serving(held(response(usage=usage, choices=choices))) as service:
        await service.stub.ChatCompletion(request)
        telemetry = await service.ended()
    found = attributes_of(telemetry.spans["chat m"])
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.output.type": "json",
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.frequency_penalty": -1.0,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.model": "m",
        "gen_ai.request.presence_penalty": 1.5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_k": 3.0,
        "gen_ai.request.top_p": 0.25,
        "gen_ai.response.finish_reasons": ("stop", "length"),
        "gen_ai.response.id": "cmpl-1",
        "gen_ai.response.model": "m-2024",
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.output_tokens": 1,
    }
    point = telemetry.point("gen_ai.client.token.usage")
    assert point.attributes["mistralwire.finish_reason"] == "mixed"
    assert telemetry.points("gen_ai.client.operation.time_to_first_chunk") == []


async def test_fim_completes_text() -> None:
    answer = FIMCompletionResponse(id="1", object="chat.completion", model="codestral", created=1)
    async with serving(held(answer)) as service:
        await service.stub.FIMCompletion(FIMCompletionRequest(model="codestral", prompt="secret-prompt"))
        telemetry = await service.ended()
    assert set(telemetry.spans) == {f"{METHOD}/FIMCompletion", "text_completion codestral"}


async def test_an_agent_is_invoked() -> None:
    answer = ChatCompletionResponse(id="1", object="chat.completion", model="m", created=1)
    async with serving(held(answer)) as service:
        await service.stub.AgentsCompletion(AgentsCompletionRequest(agent_id="ag_1", messages=MESSAGES))
        telemetry = await service.ended()
    assert set(telemetry.spans) == {f"{METHOD}/AgentsCompletion", "invoke_agent ag_1"}
    span = attributes_of(telemetry.spans["invoke_agent ag_1"])
    assert (span["gen_ai.operation.name"], span["gen_ai.agent.id"]) == ("invoke_agent", "ag_1")
    assert "gen_ai.request.model" not in span
    labels = telemetry.point("gen_ai.client.operation.duration").attributes
    assert (labels["gen_ai.agent.id"], labels["gen_ai.response.model"]) == ("ag_1", "m")
    assert "gen_ai.request.model" not in labels


async def test_the_callers_span_is_the_parent() -> None:
    metadata = (("traceparent", TRACEPARENT), ("key-bin", b"\x00\xff"), ("authorization", "secret-value"))
    async with serving(held(response())) as service:
        await service.stub.ChatCompletion(REQUEST, metadata=metadata)
        telemetry = await service.ended()
    rpc = telemetry.spans[f"{METHOD}/ChatCompletion"]
    assert rpc.parent is not None
    assert rpc.parent.is_remote
    assert trace.format_span_id(rpc.parent.span_id) == "b7ad6b7169203331"
    assert {trace.format_trace_id(span.context.trace_id) for span in telemetry.spans.values()} == {
        "0af7651916cd43dd8448eb211c80319c"
    }
    assert "secret-value" not in telemetry.everything()


@pytest.mark.parametrize(
    "traceparent", ["", "00-0-0-0", "x" * 4096, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
async def test_a_traceparent_that_is_none_is_ignored(traceparent: str) -> None:
    async with serving(held(response())) as service:
        await service.stub.ChatCompletion(REQUEST, metadata=(("traceparent", traceparent),))
        telemetry = await service.ended()
    assert telemetry.spans[f"{METHOD}/ChatCompletion"].parent is None


async def test_a_span_that_was_current_when_the_server_started_is_no_parent() -> None:
    tracer = Telemetry().tracers.get_tracer("test")
    with tracer.start_as_current_span("start of the program"):
        async with serving(held(response())) as service:
            await service.stub.ChatCompletion(REQUEST)
            telemetry = await service.ended()
    assert telemetry.spans[f"{METHOD}/ChatCompletion"].parent is None


class CurrentSpan(EagerUpstream):
    """Records the current span while it works."""

    def __init__(self) -> None:
        super().__init__(2)
        self.found: list[int] = []

    def _note(self) -> None:
        self.found.append(trace.get_current_span().get_span_context().span_id)

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        self._note()
        return response()

    async def stream(self, request: Any, context: CallContext) -> AsyncIterator[CompletionChunk]:
        async for item in super().stream(request, context):
            self._note()
            yield item


@pytest.mark.parametrize("method", ["ChatCompletion", "ChatCompletionStream"])
async def test_the_models_span_is_current_while_the_upstream_works(method: str) -> None:
    upstream = CurrentSpan()
    async with serving(upstream) as service:
        if method == "ChatCompletion":
            await service.stub.ChatCompletion(REQUEST)
        else:
            await read(service.stub.ChatCompletionStream(STREAM_REQUEST))
        telemetry = await service.ended()
    assert set(upstream.found) == {telemetry.spans["chat m"].context.span_id}


def test_metrics_alone_do_not_hide_the_current_span_of_another_observer() -> None:
    telemetry, metrics_alone = Telemetry(), CallTelemetry(NoOpTracerProvider(), MeterProvider())
    call, context = call_of(), contextvars.copy_context()
    context.run(telemetry.observer.started, call)
    context.run(metrics_alone.started, call)
    current = context.run(trace.get_current_span).get_span_context()
    for observer in (telemetry.observer, metrics_alone):
        context.run(observer.ended, end(call))
    assert current == telemetry.spans["chat m"].context


async def test_a_request_that_breaks_the_contract_is_no_error_of_the_service() -> None:
    async with serving(held()) as service:
        with pytest.raises(grpc.aio.AioRpcError):
            await service.stub.ChatCompletion(ChatCompletionRequest())
        telemetry = await service.ended()
    (span,) = telemetry.spans.values()
    found = attributes_of(span)
    assert span.status.status_code is StatusCode.UNSET
    assert found["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert found["mistralwire.error.reason"] == "CONTRACT_VIOLATION"
    assert "error.type" not in found
    assert telemetry.point("rpc.server.call.duration").attributes["rpc.response.status_code"] == (
        "INVALID_ARGUMENT"
    )
    assert telemetry.points("gen_ai.client.operation.duration") == []


async def test_an_upstream_that_breaks_after_chunks_is_an_error_of_both() -> None:
    error = UpstreamError("secret-error", reason="UPSTREAM_CUT")
    async with serving(held(chunk(1), chunk(2), error)) as service:
        with pytest.raises(grpc.aio.AioRpcError):
            await read(service.stub.ChatCompletionStream(STREAM_REQUEST))
        telemetry = await service.ended()
    rpc, model = telemetry.spans[f"{METHOD}/ChatCompletionStream"], telemetry.spans["chat m"]
    for span in (rpc, model):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert not span.events
    assert attributes_of(rpc)["error.type"] == "UNAVAILABLE"
    assert attributes_of(rpc)["mistralwire.error.reason"] == "UPSTREAM_CUT"
    assert attributes_of(model)["error.type"] == "UPSTREAM_CUT"
    assert telemetry.point("rpc.server.call.duration").attributes["error.type"] == "UNAVAILABLE"
    assert telemetry.point("gen_ai.client.operation.duration").attributes["error.type"] == "UPSTREAM_CUT"
    assert telemetry.point("gen_ai.client.operation.time_per_output_chunk").count == 1
    assert telemetry.points("gen_ai.client.token.usage") == []


async def test_a_models_error_that_is_the_callers_fault_is_one_of_the_model_alone() -> None:
    error = UpstreamError("secret-error", code="NOT_FOUND", reason="NO_SUCH_MODEL")
    async with serving(held(error)) as service:
        with pytest.raises(grpc.aio.AioRpcError):
            await service.stub.ChatCompletion(REQUEST)
        telemetry = await service.ended()
    assert telemetry.spans[f"{METHOD}/ChatCompletion"].status.status_code is StatusCode.UNSET
    assert telemetry.spans["chat m"].status.status_code is StatusCode.ERROR


async def test_a_cancelled_call_ends_without_an_error() -> None:
    upstream = held(chunk(1))
    async with serving(upstream) as service:
        call = service.stub.ChatCompletionStream(STREAM_REQUEST)
        await call.read()
        call.cancel()
        telemetry = await service.ended()
    rpc, model = telemetry.spans[f"{METHOD}/ChatCompletionStream"], telemetry.spans["chat m"]
    assert attributes_of(rpc)["rpc.response.status_code"] == "CANCELLED"
    assert rpc.status.status_code is model.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes_of(model)
    assert telemetry.point("gen_ai.client.operation.duration").count == 1
    assert telemetry.observer._running == {}


async def test_no_text_of_a_call_is_reported() -> None:
    message = UserMessage(role="user", content_string="secret-prompt")
    request = ChatCompletionStreamRequest(
        model="secret-prompt as a model",
        messages=[ChatMessage(user=message)],
        stop_string="secret-stop",
        metadata='{"a": "secret-value"}',
    )
    last = CompletionChunk(
        id="secret-answer as an id", model="secret-answer, a model", choices=[choice(STOP)]
    )
    metadata = (("x-request-id", "secret-value"), ("baggage", "a=secret-value"))
    async with serving(held(chunk(1), last, RuntimeError("secret-error"))) as service:
        with pytest.raises(grpc.aio.AioRpcError):
            await read(service.stub.ChatCompletionStream(request, metadata=metadata))
        telemetry = await service.ended()
    everything = telemetry.everything()
    assert not [secret for secret in SECRETS if secret in everything]
    found = attributes_of(telemetry.spans["chat"])
    assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == "_OTHER"
    assert found["error.type"] == "INTERNAL"


async def test_names_of_any_length_are_cut() -> None:
    request = ChatCompletionStreamRequest(model="m" * 1_000_000, messages=STREAM_REQUEST.messages)
    last = CompletionChunk(id="i" * 1_000_000, model="r" * 1_000_000, choices=[choice(STOP)])
    async with serving(held(chunk(1), last, None)) as service:
        await read(service.stub.ChatCompletionStream(request))
        telemetry = await service.ended()
    found = attributes_of(telemetry.spans[f"chat {'m' * 128}"])
    assert found["gen_ai.request.model"] == "m" * 128
    assert found["gen_ai.response.model"] == "r" * 128
    assert len(telemetry.everything()) < 100_000


def call_of(method: str = "ChatCompletionStream", **fields: Any) -> CallRecord:
    return CallRecord(**{"method": method, "request_id": "1", "request": STREAM_REQUEST, **fields})


def end(call: CallRecord, code: str = "OK", error: BaseException | None = None) -> CallRecord:
    call.code, call.error, call.ended_s = code, error, call.started_s + 1
    return call


def chunks_of(item: CompletionChunk) -> Chunks:
    return Chunks(encode_chunk(item), 1, *observed_in(item))


def drive(telemetry: Telemetry, chunks: Sequence[CompletionChunk], **fields: Any) -> None:
    """Make a streaming call from its start to its end."""
    call = call_of(**fields)
    contextvars.copy_context().run(telemetry.observer.started, call)
    for item in chunks:
        telemetry.observer.chunks(call, chunks_of(item))
    telemetry.observer.ended(end(call))


def test_a_caller_whose_time_is_over_is_an_error() -> None:
    telemetry = Telemetry()
    call = call_of()
    contextvars.copy_context().run(telemetry.observer.started, call)
    telemetry.observer.ended(end(call, "DEADLINE_EXCEEDED"))
    rpc, model = telemetry.spans[f"{METHOD}/ChatCompletionStream"], telemetry.spans["chat m"]
    assert attributes_of(rpc)["error.type"] == attributes_of(model)["error.type"] == "DEADLINE_EXCEEDED"


async def test_a_call_leaves_no_current_span_behind() -> None:
    telemetry = Telemetry()
    channel = LocalChannel(EagerUpstream(3), observers=[telemetry.observer])
    async with Client.on(channel) as client:
        assert len([item async for item in client.stream(STREAM_REQUEST)]) == 3
    assert "chat m" in telemetry.spans
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_slow_caller_does_not_make_a_slow_model() -> None:
    telemetry = Telemetry()
    call = call_of()
    contextvars.copy_context().run(telemetry.observer.started, call)
    telemetry.observer.chunks(call, chunks_of(last_chunk()))
    end(call).ended_s = call.started_s + 1000
    telemetry.observer.ended(call)
    assert telemetry.point("rpc.server.call.duration").sum == pytest.approx(1000)
    assert telemetry.point("gen_ai.client.operation.duration").sum < 500


def test_usage_may_come_after_the_finish_reason() -> None:
    telemetry = Telemetry()
    usage = CompletionChunk(id="1", model="m", usage=UsageInfo(prompt_tokens=1, completion_tokens=2))
    finish = CompletionChunk(id="1", model="m", choices=[choice(STOP)])
    drive(telemetry, [*map(chunk, range(10)), finish, usage])
    found = attributes_of(telemetry.spans["chat m"])
    assert found["gen_ai.usage.output_tokens"] == 2
    assert found["gen_ai.response.finish_reasons"] == ("stop",)


def test_several_choices_end_at_any_chunk() -> None:
    telemetry = Telemetry()
    request = ChatCompletionStreamRequest(model="m", messages=MESSAGES, n=2)
    first = CompletionChunk(id="1", model="m", choices=[choice(LENGTH, index=1)])
    last = CompletionChunk(id="1", model="m", choices=[choice(STOP, index=0)])
    call = CallRecord(method="ChatCompletionStream", request_id="1", request=request)
    contextvars.copy_context().run(telemetry.observer.started, call)
    for item in (first, *map(chunk, range(10)), last):
        telemetry.observer.chunks(call, chunks_of(item))
    telemetry.observer.ended(end(call))
    found = attributes_of(telemetry.spans["chat m"])
    assert found["gen_ai.response.finish_reasons"] == ("stop", "length")


def test_one_choice_is_not_mentioned() -> None:
    telemetry = Telemetry()
    drive(telemetry, [last_chunk()], request=ChatCompletionStreamRequest(model="m", messages=MESSAGES, n=1))
    assert "gen_ai.request.choice.count" not in attributes_of(telemetry.spans["chat m"])


def test_negative_token_counts_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    usage = UsageInfo(prompt_tokens=-1, completion_tokens=-(2**31))
    drive(telemetry, [CompletionChunk(id="1", model="m", usage=usage)])
    assert telemetry.points("gen_ai.client.token.usage") == []
    assert not caplog.records


def test_metrics_keep_no_model_that_nobody_answers_to() -> None:
    telemetry = Telemetry()
    for number in range(300):
        call = CallRecord(
            method="ChatCompletion",
            request_id="1",
            request=ChatCompletionRequest(model=f"made-up-{number}", messages=MESSAGES),
        )
        contextvars.copy_context().run(telemetry.observer.started, call)
        telemetry.observer.ended(end(call, "NOT_FOUND", UpstreamError("x", reason="NO_SUCH_MODEL")))
    drive(telemetry, [last_chunk()])
    found = {
        point.attributes["gen_ai.request.model"]
        for point in telemetry.points("gen_ai.client.operation.duration")
    }
    assert found == {"_OTHER", "m"}


def test_metrics_keep_a_bounded_number_of_models() -> None:
    telemetry = Telemetry()
    for number in range(300):
        drive(telemetry, [CompletionChunk(id="1", model=f"model-{number}")])
    points = telemetry.points("gen_ai.client.operation.duration")
    assert len(points) <= 101
    assert sum(point.count for point in points) == 300


def test_metrics_keep_a_bounded_number_of_reasons() -> None:
    telemetry = Telemetry()
    for number in range(300):
        call = call_of()
        error = UpstreamError("x", reason=f"REASON_{number}" if number % 2 else "no reason at all")
        if not number:
            error.reason = None  # type: ignore[assignment]
        contextvars.copy_context().run(telemetry.observer.started, call)
        telemetry.observer.ended(end(call, "UNAVAILABLE", error))
    points = telemetry.points("gen_ai.client.operation.duration")
    assert len(points) <= 101
    assert {"_OTHER"} < {point.attributes["error.type"] for point in points}


def test_beyond_a_number_of_chunks_in_a_second_only_some_times_are_measured() -> None:
    telemetry = Telemetry()
    telemetry.observer._gaps_left, telemetry.observer._gaps_until_s = GAPS_MAX, math.inf
    drive(telemetry, [chunk(1)] * (1 + GAPS_MAX + 10 * GAPS_EVERY))
    point = telemetry.point("gen_ai.client.operation.time_per_output_chunk")
    assert point.count == GAPS_MAX + 10


def test_the_times_are_all_measured_again_in_the_next_second() -> None:
    telemetry = Telemetry()
    telemetry.observer._gaps_left, telemetry.observer._gaps_until_s = -1, 0.0
    drive(telemetry, [chunk(1)] * 11)
    assert telemetry.point("gen_ai.client.operation.time_per_output_chunk").count == 10


@pytest.mark.parametrize("number", set(FinishReason.values()) - {0, FinishReason.FINISH_REASON_UNLISTED})
def test_finish_reasons_are_called_what_they_are_in_json(number: int) -> None:
    found: Any = ChatCompletionChoice(finish_reason=number)  # type: ignore[arg-type]
    response: Any = ChatCompletionResponse(choices=[found])
    found_reasons = semconv.known_finish_reasons(finish_reasons_of(response))
    assert found_reasons == {0: to_dict(found)["finish_reason"]}


@pytest.mark.parametrize("number", [99, FinishReason.FINISH_REASON_UNLISTED])
def test_a_finish_reason_that_the_contract_does_not_list_has_no_name(number: int) -> None:
    choice_: Any = ChatCompletionChoice(finish_reason=number)  # type: ignore[arg-type]
    response: Any = ChatCompletionResponse(choices=[choice_])
    assert semconv.known_finish_reasons(finish_reasons_of(response)) == {0: "_OTHER"}


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:1.2.3.4:5", "1.2.3.4"),
        ("ipv6:%5B::1%5D:5", "::1"),
        ("unix:/tmp/x", None),
        ("", None),
        ("?", None),
    ],
)
def test_peers_are_what_grpc_calls_them(peer: str, address: str | None) -> None:
    assert semconv.peer_attributes(peer).get("network.peer.address") == address


@pytest.mark.parametrize(
    ("providers", "is_on"),
    [
        (lambda: (TracerProvider(), NoOpMeterProvider()), True),
        (lambda: (NoOpTracerProvider(), MeterProvider()), True),
        (lambda: (NoOpTracerProvider(), NoOpMeterProvider()), False),
    ],
)
def test_one_of_traces_and_metrics_is_enough(providers: Callable[[], Any], is_on: bool) -> None:
    telemetry = CallTelemetry(*providers())
    assert telemetry.is_on is is_on
    call = call_of()
    contextvars.copy_context().run(telemetry.started, call)
    telemetry.chunks(call, chunks_of(last_chunk()))
    telemetry.chunks(call, chunks_of(last_chunk()))
    telemetry.ended(end(call))


FIND = "from mistralwire.service._observers._telemetry import with_telemetry; print(bool(with_telemetry([])))"
SET_TRACES = (
    "from opentelemetry import trace; from opentelemetry.sdk.trace import TracerProvider;"
    "trace.set_tracer_provider(TracerProvider());"
)
SET_METRICS = (
    "from opentelemetry import metrics; from opentelemetry.sdk.metrics import MeterProvider;"
    "metrics.set_meter_provider(MeterProvider());"
)


def python(program: str, **environment: str) -> str:
    """Run a program in a process of its own: providers can be set only once in each."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=pathlib.Path(__file__).parents[3],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "environment", "found"),
    [
        (FIND, {}, "False"),
        (SET_TRACES + FIND, {}, "True"),
        (SET_METRICS + FIND, {}, "True"),
        (SET_TRACES + SET_METRICS + FIND, {"OTEL_SDK_DISABLED": "true"}, "False"),
    ],
    ids=["nothing set up", "traces", "metrics", "disabled"],
)
def test_telemetry_is_on_when_a_provider_is_set(
    program: str, environment: dict[str, str], found: str
) -> None:
    assert python(program, **environment) == found


WITHOUT = """
import asyncio, json, sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Forbidden())
import grpc
from mistralwire.service import ServerConfig, create_server
from mistralwire.service._observers._telemetry import with_telemetry
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc
from tests.service.upstreams import STREAM_REQUEST, EagerUpstream

async def main():
    async with create_server(EagerUpstream(3), ServerConfig(port=0)) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = service_grpc.ChatCompletionServiceStub(channel).ChatCompletionStream(STREAM_REQUEST)
            count = sum([len(message.chunks) async for message in call])
    print(json.dumps([count, with_telemetry([]), "opentelemetry" in sys.modules]))

asyncio.run(main())
"""


@pytest.mark.process
def test_the_service_runs_where_opentelemetry_is_not_installed() -> None:
    assert json.loads(python(WITHOUT)) == [3, [], False]


@pytest.mark.process
def test_the_service_alone_does_not_import_opentelemetry() -> None:
    program = "import sys, mistralwire.service; print('opentelemetry' in sys.modules)"
    assert python(program) == "False"
