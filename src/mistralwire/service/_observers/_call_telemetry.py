"""Spans and metrics of calls; needs OpenTelemetry's API package alone."""

import collections
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider

from mistralwire._metadata import Metadata
from mistralwire._methods import METHODS, RELAY_METHODS
from mistralwire._trace_context import is_real
from mistralwire.codec import dropped_events, losses
from mistralwire.service._observers import _semconv as semconv
from mistralwire.service._observers._observer import OTHER, CallRecord, Chunks
from mistralwire.service._observers._relay_metrics import RelayMetrics
from mistralwire.service._relay import Relay
from mistralwire.upstream import finish_reasons_of
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk, UsageInfo

GAPS_MAX = 1000
"""Times between chunks that are recorded in one second, over all streams."""

GAPS_EVERY = 64
"""Beyond that, one in this many is recorded. A power of two."""

# Names that metrics keep: more models than a service offers, more reasons than exist.
_MODELS_MAX = 100
_REASONS_MAX = 100

_PATHS = {name: method.path.removeprefix("/") for name, method in (METHODS | RELAY_METHODS).items()}

_TOKEN_TYPES = (("input", "gen_ai.usage.input_tokens"), ("output", "gen_ai.usage.output_tokens"))


class _MetadataGetter(Getter[Metadata]):
    """Reads the metadata of a call for a propagator."""

    def get(self, carrier: Metadata, key: str) -> list[str] | None:
        key = key.lower()
        return [value for name, value in carrier if name == key and isinstance(value, str)] or None

    def keys(self, carrier: Metadata) -> list[str]:
        return [name for name, _ in carrier]


_GETTER = _MetadataGetter()


@dataclasses.dataclass(slots=True, eq=False)
class _RpcSpan:
    """The span of a gRPC call, its context for child spans, and its start in nanoseconds since the epoch."""

    span: Span
    context: Context
    started_ns: int


@dataclasses.dataclass(slots=True, eq=False)
class _ModelCall:
    """The state of a call to the model.

    Attributes:
        target: The attribute for the model or the agent, and its value.
        labels: Attributes of the metrics; measurements keep them, so they never change after the first one.
        asked_s: When the upstream was asked, in seconds of `time.perf_counter`.
        last_s: When the last chunk arrived; 0 before the first one.
        first_chunk_s: Seconds until the first chunk.
        last: The last chunks, as the wire bytes of a stream response.
        usage: The last usage, as wire bytes.
    """

    rpc: _RpcSpan
    span: Span
    target: tuple[str, str]
    labels: dict[str, str]
    asked_s: float = dataclasses.field(default_factory=time.perf_counter)
    last_s: float = 0.0
    first_chunk_s: float = 0.0
    first: CompletionChunk | None = None
    last: bytes = b""
    usage: bytes | None = None
    finish_reasons: dict[int, str] = dataclasses.field(default_factory=dict)


class CallTelemetry:
    """Reports calls to OpenTelemetry by the rpc and GenAI semantic conventions; a CallObserver.

    Each call has a server span, whose parent is the caller's span if its context was sent, and a client span
    below it for the call to the model. The latter is the current span while the upstream works, and so the
    parent of the span of an HTTP request to it. docs/telemetry.md lists everything that is reported: nothing
    of a prompt, a completion, the metadata or an exception's text.

    Attributes:
        is_on: Whether either of them exports anything.
    """

    def __init__(self, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
        self._tracer = tracer_provider.get_tracer("mistralwire", schema_url=semconv.SCHEMA_URL)
        meter = meter_provider.get_meter("mistralwire", schema_url=semconv.SCHEMA_URL)
        self._has_tracer = is_real(self._tracer)
        self._has_meter = is_real(meter)
        self.is_on = self._has_tracer or self._has_meter
        self._instruments = _Instruments(meter)
        self._relay_metrics = RelayMetrics(meter)
        self._running: dict[int, _ModelCall] = {}
        self._models = semconv.KnownNames(_MODELS_MAX)
        self._reasons = semconv.KnownNames(_REASONS_MAX)
        self._gaps_left = 0
        self._gaps_until_s = 0.0

    def watch_relay(self, relay: Relay) -> None:
        """Report the metrics of a relay, too."""
        if self._has_meter:
            self._relay_metrics.watch(relay)

    def started(self, call: CallRecord) -> None:
        """Start both spans, and make the lower one the current span."""
        rpc = self._start_rpc(call)
        attributes = semconv.request_attributes(call.request, call.method)
        operation = attributes[semconv.OPERATION]
        target, asked = semconv.target_of(call.request)
        name = operation if asked == OTHER else f"{operation} {asked}"
        span = self._tracer.start_span(name, rpc.context, SpanKind.CLIENT, attributes)
        # A span that is not recorded must not replace the current span of another observer.
        context = trace.set_span_in_context(span, rpc.context)
        if self._has_tracer:
            # Never detached: the context belongs to the call, and ends with it.
            contexts.attach(context)
        self._running[id(call)] = _ModelCall(
            rpc=rpc,
            span=span,
            target=(target, asked),
            labels={
                semconv.OPERATION: operation,
                semconv.PROVIDER: attributes[semconv.PROVIDER],
                target: self._models.known(asked),
            },
        )

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        """Measure when chunks arrived. All else waits for the end, if it can: this is the hot path."""
        running = self._running[id(call)]
        now_s = time.perf_counter()
        running.usage = chunks.usage or running.usage
        if chunks.finish_reasons:
            running.finish_reasons |= semconv.known_finish_reasons(chunks.finish_reasons)
        running.last = chunks.wire
        count = chunks.count
        if not running.last_s:
            running.first = _chunks_in(chunks.wire)[0]
            self._answered(running, running.first)
            running.first_chunk_s = now_s - running.asked_s
            self._instruments.time_to_first_chunk.record(running.first_chunk_s, running.labels)
            count -= 1
            running.last_s = now_s
        if self._has_meter:
            # Of chunks that arrived together, only the first has a gap.
            gap_s = now_s - running.last_s
            for _ in range(count):
                self._record_gap(gap_s, now_s, running.labels)
                gap_s = 0.0
        running.last_s = now_s

    def _record_gap(self, gap_s: float, now_s: float, labels: dict[str, str]) -> None:
        """Record a time between chunks, or a sample: recording costs more than all else for a chunk."""
        if now_s >= self._gaps_until_s:
            self._gaps_until_s = now_s + 1.0
            self._gaps_left = GAPS_MAX
        self._gaps_left -= 1
        if self._gaps_left >= 0 or not self._gaps_left % GAPS_EVERY:
            self._instruments.time_per_output_chunk.record(gap_s, labels)

    def ended(self, call: CallRecord) -> None:
        """End the spans, with everything that is known now."""
        running = self._running.pop(id(call), None)
        ended_s = call.ended_s or time.perf_counter()
        if running is None:
            rpc = self._start_rpc(call)
        else:
            rpc = running.rpc
            self._end_model(call, running, ended_s)
        self._end_rpc(call, rpc, ended_s)

    def _start_rpc(self, call: CallRecord) -> _RpcSpan:
        """Start the span of a call, at the time when the call began, below the span that its caller sent."""
        # Not below the current span: that may be left over from when the server was started.
        parent = propagate.extract(call.metadata, Context(), _GETTER)
        attributes = {**_rpc_labels(call), **semconv.peer_attributes(call.peer)}
        started_ns = time.time_ns() - int((time.perf_counter() - call.started_s) * 1e9)
        name = attributes[semconv.METHOD]
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=started_ns)
        return _RpcSpan(span, trace.set_span_in_context(span, parent), started_ns)

    def _end_rpc(self, call: CallRecord, rpc: _RpcSpan, ended_s: float) -> None:
        labels = {**_rpc_labels(call), semconv.STATUS_CODE: call.code}
        if call.code in semconv.SERVER_FAULTS:
            labels[semconv.ERROR_TYPE] = call.code
            rpc.span.set_status(StatusCode.ERROR)
        if call.reason:
            labels[semconv.ERROR_REASON] = self._reasons.admit(call.reason)
        rpc.span.set_attributes(labels)
        if call.response_id:
            rpc.span.set_attribute(semconv.STORED_RESPONSE_ID, call.response_id)
        self._instruments.rpc_duration.record(ended_s - call.started_s, labels)
        rpc.span.end(_in_ns(call, rpc, ended_s))

    def _answered(self, running: _ModelCall, answer: Any) -> None:
        """Admit the names of model and agent to the metrics, now that they have answered."""
        target, name = running.target
        running.labels[target] = self._models.admit(name)
        if answer.model:
            running.labels[semconv.RESPONSE_MODEL] = self._models.admit(semconv.name_of(answer.model))

    def _end_model(self, call: CallRecord, running: _ModelCall, ended_s: float) -> None:
        answers: Sequence[Any] = (
            () if running.first is None else (running.first, _chunks_in(running.last)[-1])
        )
        finish_reasons = running.finish_reasons
        usage = None if running.usage is None else UsageInfo.FromString(running.usage)
        response: Any = call.response
        if response is not None:
            answers = (response,)
            self._answered(running, response)
            finish_reasons = semconv.known_finish_reasons(finish_reasons_of(response))
            usage = response.usage if response.HasField("usage") else None
        attributes = semconv.answer_attributes(answers, usage, finish_reasons)
        if running.last_s:
            attributes[semconv.TIME_TO_FIRST_CHUNK] = running.first_chunk_s
            if call.code == "OK":
                # The time that the caller took for the rest of the stream is not the model's.
                ended_s = running.last_s
        self._record_usage(running, attributes, semconv.common_finish_reason(finish_reasons))
        labels = running.labels
        if call.reason:
            labels = {**labels, semconv.ERROR_TYPE: self._reasons.admit(call.reason)}
            attributes[semconv.ERROR_TYPE] = call.reason
            running.span.set_status(StatusCode.ERROR)
        self._instruments.operation_duration.record(ended_s - running.asked_s, labels)
        running.span.set_attributes(attributes)
        running.span.end(_in_ns(call, running.rpc, ended_s))

    def _record_usage(
        self, running: _ModelCall, attributes: Mapping[str, Any], finish_reason: str | None
    ) -> None:
        labels = running.labels
        if finish_reason is not None:
            labels = {**labels, semconv.FINISH_REASON: finish_reason}
        for token_type, name in _TOKEN_TYPES:
            tokens = attributes.get(name, -1)
            # An upstream may report anything.
            if tokens >= 0:
                self._instruments.token_usage.record(tokens, {**labels, semconv.TOKEN_TYPE: token_type})


class _Instruments:
    """The instruments, with the buckets that the conventions recommend."""

    def __init__(self, meter: Meter) -> None:
        def seconds(name: str, description: str, buckets: Sequence[float]) -> Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=list(buckets)
            )

        self.rpc_duration = seconds(
            "rpc.server.call.duration", "Duration of an incoming call.", semconv.RPC_BUCKETS_S
        )
        self.operation_duration = seconds(
            "gen_ai.client.operation.duration",
            "Time from asking the model to the end of its answer.",
            semconv.MODEL_BUCKETS_S,
        )
        self.time_to_first_chunk = seconds(
            "gen_ai.client.operation.time_to_first_chunk",
            "Time from asking the model to the first chunk.",
            semconv.MODEL_BUCKETS_S,
        )
        self.time_per_output_chunk = seconds(
            "gen_ai.client.operation.time_per_output_chunk",
            "Time between a chunk and the one before it.",
            semconv.MODEL_BUCKETS_S,
        )
        meter.create_observable_counter(
            "mistralwire.contract.losses",
            [_observe_losses],
            "{loss}",
            "Content of a newer contract that could not be written as JSON.",
        )
        meter.create_observable_counter(
            "mistralwire.events.dropped",
            [_observe_dropped_events],
            "{event}",
            "Server-sent events of upstreams that hold neither chunks nor errors.",
        )
        self.token_usage = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens that one call used.",
            explicit_bucket_boundaries_advisory=list(semconv.TOKEN_BUCKETS),
        )


def _chunks_in(wire: bytes) -> Sequence[CompletionChunk]:
    return ChatCompletionStreamResponse.FromString(wire).chunks


def _observe_losses(_: CallbackOptions) -> Iterable[Observation]:
    for (message, field), count in losses().items():
        yield Observation(count, {semconv.MESSAGE: message, semconv.FIELD: field})


def _observe_dropped_events(_: CallbackOptions) -> Iterable[Observation]:
    counts: collections.Counter[str] = collections.Counter()
    for event, count in dropped_events().items():
        counts[semconv.name_of(event)] += count
    for event, count in counts.items():
        yield Observation(count, {semconv.EVENT: event})


def _rpc_labels(call: CallRecord) -> dict[str, Any]:
    return {semconv.SYSTEM: "grpc", semconv.METHOD: _PATHS[call.method]}


def _in_ns(call: CallRecord, rpc: _RpcSpan, at_s: float) -> int:
    """Convert a time of `time.perf_counter` to the spans' clock, so that durations match the metrics."""
    return rpc.started_ns + int((at_s - call.started_s) * 1e9)
