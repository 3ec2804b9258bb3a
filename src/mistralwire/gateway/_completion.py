"""One request for a completion and its answer, by callbacks: between a server of HTTP and the client."""

import asyncio
import contextlib
import contextvars
import functools
import logging
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire import _offload, _trace_context
from mistralwire._metadata import REQUEST_ID, RETRY_TIME_LEFT
from mistralwire._response_stream import EventWriter
from mistralwire.codec import SseDone, batch_to_sse, binary_to_json, encode_sse
from mistralwire.errors import (
    CallError,
    CodecError,
    DecodeError,
    EncodeError,
    MistralwireError,
    log_unexpected,
)
from mistralwire.gateway._edge import Edge
from mistralwire.gateway._edge_request import EdgeRequest, Responder
from mistralwire.gateway._errors import (
    error_body,
    unwritable,
)
from mistralwire.gateway._routes import Call, Route, check_body, read_call
from mistralwire.v1 import ChatCompletionStreamResponse

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    # For nginx, and those who took it over: what comes is passed on at once.
    (b"x-accel-buffering", b"no"),
)
_JSON_TYPE = (b"content-type", b"application/json")
# Without a blank line, for which some clients dispatch an empty event: one that has an id, but no data.
_HEARTBEAT = b": keep-alive\n"
_DONE = encode_sse(SseDone())
_REQUEST_ID = REQUEST_ID.encode()

_logger = logging.getLogger(__name__)
_access_logger = logging.getLogger("mistralwire.gateway.access")

T = TypeVar("T")


class Completion(EdgeRequest):
    """Answers a request for a completion: a Sink of the client's call.

    Args:
        edge: What it shares with the others.
        route: Its route.
        path_model: The model that the path names, or empty.
        headers: The headers of the request; of several with one name the last.
        responder: Takes the answer.
    """

    def __init__(
        self, edge: Edge, route: Route, path_model: str, headers: Mapping[bytes, bytes], responder: Responder
    ) -> None:
        super().__init__(edge, route.name, "POST", headers, responder)
        self._route = route
        self._path_model = path_model
        self._first_chunk_s = 0.0
        self._parts: list[bytes] = []
        self._body = b""
        self._context: contextvars.Context | None = None
        self._call: Call | None = None
        # What came while a thread converted chunks before.
        self._waiting: list[Callable[[], None]] = []
        # It counts the chunks of a stream.
        self._writer: EventWriter | None = None
        self._chunks_seen = 0

    def receive(self, part: bytes) -> None:
        """Take a part of the body."""
        if not self.is_over and self._hold(part):
            self._parts.append(part)

    def receive_end(self) -> None:
        """Take the end of the body, and call the service."""
        if self.is_over or not self._arrive_if_room():
            return
        # Of its own, so that threads know whose documents they convert, and the connection does not.
        self._context = contextvars.copy_context()
        self._context.run(self._join)

    def _join(self) -> None:
        if self._edge.is_traced:
            _trace_context.enter(self._headers)
        self._edge.set_caller(self._responder.address, self._headers)
        if self._size <= _offload.JOIN_BYTES_MAX:
            self._read(b"".join(self._parts))
        else:
            self._run(_offload.in_thread(b"".join, self._parts), self._read)

    def headers(self, headers: Mapping[str, str]) -> None:
        """Take the upstream's headers; they go out with the status, unless a comment has gone out before."""
        self._upstream_headers = headers

    @property
    def _chunks(self) -> int:
        """How many chunks were sent."""
        return 0 if self._writer is None else self._writer.chunks

    def batch(self, wire: bytes, count: int) -> None:
        """Send chunks as events, each with its number as its id; those of a batch in one piece."""
        writer = self._writer
        if self._work is not None:
            self._waiting.append(functools.partial(self.batch, wire, count))
        elif not self.is_over and writer is not None:
            first_id = writer.chunks
            if not first_id:
                self._first_chunk_s = self._elapsed_s()
                self._body = b""
            if len(wire) <= _offload.LOOP_EVENT_BYTES_MAX:
                try:
                    events = batch_to_sse(wire, first_id)
                except CodecError:
                    self._break(writer, wire)
                    return
                writer.chunks = first_id + count
                if self.status:
                    self._responder.write(events)
                else:
                    self._write(events)
            else:
                events_of = functools.partial(_events_of, first_id)
                self._convert(events_of, wire, functools.partial(self._send, writer, wire, count))
                self._regulate()

    def _send(self, writer: EventWriter, wire: bytes, count: int, events: bytes | None) -> None:
        if events is None:
            self._break(writer, wire)
            return
        writer.chunks += count
        self._write(events)
        while self._waiting and self._work is None:
            self._waiting.pop(0)()
        if self._is_paused:
            self._regulate()

    def answer(self, wire: bytes) -> None:
        """Send an answer in one piece."""
        if not self.is_over and self._call is not None:
            self._convert(functools.partial(_json_of, self._call.kind.response), wire, self._answer_json)

    def end(self) -> None:
        """Send the end of the stream."""
        if self._work is not None:
            self._waiting.append(self.end)
        elif not self.is_over:
            self._source = None
            self._write(_DONE, is_last=True)
            self._finish(None)

    def failed(self, error: MistralwireError) -> None:
        """Send an error: with its status, or behind chunks as an event."""
        self._source = None
        error = self._edge.answered(error)
        if self._work is not None:
            self._waiting.append(functools.partial(self.failed, error))
        elif self._call is not None and isinstance(error, DecodeError | CallError) and error.violations:
            check = functools.partial(check_body, self._call.kind, self._edge.config.contract_revision)
            # What it finds is for the Python engine to say.
            weight_max = _offload.PYTHON_WEIGHT_MAX
            self._convert(check, self._body, lambda _: self._fail(error), weight_max)
        else:
            self._fail(error)

    def _convert(
        self,
        function: Callable[[bytes], T],
        data: bytes,
        then: Callable[[T], None],
        weight_max: int = _offload.LOOP_WEIGHT_MAX,
    ) -> None:
        """Convert a document and go on with the result; a large one in a thread, so that others go on."""
        if _offload.is_light(data, weight_max):
            self._go_on(then, function, data)
        else:
            self._run(_offload.in_thread(function, data), then)

    def _run(self, work: Coroutine[Any, Any, T], then: Callable[[T], None]) -> None:
        """Go on with what a task returns."""

        def done(task: asyncio.Task[T]) -> None:
            self._work = None
            if not task.cancelled():
                self._go_on(then, task.result)

        task = asyncio.get_running_loop().create_task(work, context=self._context)
        task.add_done_callback(done, context=self._context)
        self._work = task

    def _go_on(self, then: Callable[[T], None], function: Callable[..., T], *arguments: Any) -> None:
        """Go on with the result of a function; whatever is raised instead is answered."""
        try:
            result = function(*arguments)
            if not self.is_over:
                then(result)
        except MistralwireError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - no server of HTTP has an answer to it
            log_unexpected(_logger, f"request {self._request_id} ended with", error)
            self._fail(MistralwireError("internal error of the gateway"))

    def _read(self, body: bytes) -> None:
        """Read the request."""
        self._parts.clear()
        self._body = body
        revision = self._edge.client.contract_revision
        read = functools.partial(read_call, self._route, self._path_model, revision)
        self._convert(read, body, self._start)

    def _start(self, call: Call) -> None:
        """Call the service."""
        config = self._edge.config
        self._call = call
        if call.is_stream:
            self._writer = self._responder.event_writer()
            self._timer = asyncio.get_running_loop().call_later(config.heartbeat_s, self._beat)
        # The client sends the context of a current span by itself.
        metadata = {} if _trace_context.has_span() else _trace_context.w3c(self._headers)
        if call.is_stream and config.heartbeat_s < config.deadline_s:
            # Later the status has been sent.
            metadata[RETRY_TIME_LEFT] = str(math.ceil((config.deadline_s - config.heartbeat_s) * 1000))
        source = self._edge.client.start(
            call.kind.stream_request if call.is_stream else call.kind.request,
            call.wire,
            self,
            deadline_s=config.deadline_s,
            request_id=self._request_id,
            metadata=metadata,
            message=None if call.is_stream else call.request,
            events=self._writer,
        )
        # It may have called already.
        if self.is_over:
            source.cancel()
            return
        self._source = source
        self._regulate()

    def _beat(self) -> None:
        """Send a comment if no chunk came for some time, so that nobody takes the stream for dead."""
        if self._chunks == self._chunks_seen and not self._is_caller_behind:
            self._write(_HEARTBEAT)
        self._chunks_seen = self._chunks
        self._timer = asyncio.get_running_loop().call_later(self._edge.config.heartbeat_s, self._beat)

    def _write(self, events: bytes, *, is_last: bool = False) -> None:
        """Write events. Status and headers wait for the first, so that an error before has its status."""
        if not self.status:
            self._begin(200, [*_STREAM_HEADERS, *self._passed_on()], None)
        self._responder.write(events, is_last=is_last)

    def _break(self, writer: EventWriter, wire: bytes) -> None:
        """End with an error, behind the events of the chunks before the first one that has no JSON form."""
        with contextlib.suppress(EncodeError, WireError, UnicodeDecodeError):
            for chunk in ChatCompletionStreamResponse.FromString(wire).chunks:
                self._write(encode_sse(chunk, id=writer.chunks))
                writer.chunks += 1
        self._fail(unwritable())

    def _answer_json(self, text: bytes) -> None:
        self._source = None
        headers = [_JSON_TYPE]
        if self._upstream_headers:
            headers += self._passed_on()
        self._begin(200, headers, len(text))
        self._responder.write(text, is_last=True)
        self._finish(None)

    def _break_off(self, error: MistralwireError) -> None:
        self._responder.break_off(encode_sse(error_body(error)))

    def _finish(self, error: MistralwireError | None, *, is_broken: bool = False) -> None:
        super()._finish(error, is_broken=is_broken)
        self._waiting.clear()

    def _log_fields(self, seconds: float, error: MistralwireError | None) -> dict[str, Any]:
        fields = super()._log_fields(seconds, error)
        if self._chunks:
            fields["chunks"] = self._chunks
            fields["first_chunk_ms"] = round(self._first_chunk_s * 1000, 1)
        return fields

    def _names(self) -> list[tuple[str, str]]:
        call = self._call
        return [] if call is None else [("model", call.model), ("agent_id", call.agent_id)]


def _events_of(first_id: int, wire: bytes) -> bytes | None:
    """Return the events of a batch; None if not all of it has a JSON form."""
    try:
        return batch_to_sse(wire, first_id)
    except CodecError:
        return None


def _json_of(response_type: type[Message], wire: bytes) -> bytes:
    try:
        return binary_to_json(response_type, wire)
    except CodecError:
        raise unwritable() from None
