"""A request for a completion and its answer: between an HTTP server and the client of the service."""

import asyncio
import contextlib
import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError as WireError

from mistralwire import _offload, _trace_context
from mistralwire._metadata import CALLER, IDEMPOTENCY_KEY, ON_DISCONNECT, RESPONSE_ID, RETRY_TIME_LEFT
from mistralwire._response_stream import CallSource, EventWriter
from mistralwire._settings import SECONDS_MAX
from mistralwire.codec import SseDone, batch_to_sse, binary_to_json, encode_sse
from mistralwire.errors import CallError, CodecError, DecodeError, EncodeError, MistralwireError
from mistralwire.gateway._errors import Headers, HttpAnswer, HttpError, error_body, unencodable_answer
from mistralwire.gateway._exchanges._http_exchange import (
    EVENT_STREAM_HEADERS,
    HEARTBEAT,
    HttpExchange,
    Responder,
    stopped_error,
)
from mistralwire.gateway._routes import CompletionCall, CompletionKind, CompletionRoute, check_body, read_call
from mistralwire.gateway._state import GatewayState
from mistralwire.v1 import ChatCompletionStreamResponse

_DONE = encode_sse(SseDone())
# Headers about the response, which the service may store.
_OPTIONS: Mapping[str, tuple[re.Pattern[str], str]] = {
    RESPONSE_ID: (re.compile("[A-Za-z0-9_-]{1,128}"), "1 to 128 letters, digits, - and _"),
    IDEMPOTENCY_KEY: (re.compile("[!-~](?:[ -~]{0,253}[!-~])?"), "1 to 255 printable ASCII characters"),
    ON_DISCONNECT: (re.compile("cancel|finish|keep [0-9]{1,6}"), "cancel, finish, or keep and seconds"),
}


class CompletionExchange(HttpExchange):
    """Answers a request for a completion; a Sink of the client's call.

    `path_model` is the model that the path names, or an empty string.
    """

    # Whether the source may write events itself.
    _is_bypassed = True
    # Up to which answers, and batches of chunks, are converted in the event loop.
    _weight_max = _offload.LOOP_WEIGHT_MAX
    _event_bytes_max = _offload.LOOP_EVENT_BYTES_MAX

    def __init__(
        self,
        state: GatewayState,
        route: CompletionRoute,
        path_model: str,
        headers: Mapping[bytes, bytes],
        responder: Responder,
    ) -> None:
        super().__init__(state, route.name, "POST", headers, responder)
        self._route = route
        self._path_model = path_model
        self._first_chunk_s = 0.0
        self._body = b""
        self._call: CompletionCall | None = None
        # Callbacks deferred while a thread converts earlier chunks.
        self._waiting: list[Callable[[], None]] = []
        # It counts the chunks of a stream.
        self._writer: EventWriter | None = None
        self._chunks_seen = 0
        # Of the response, if the service stores it.
        self._response_id = ""
        self._source: CallSource | None = None

    def receive(self, part: bytes) -> None:
        if not self.is_over:
            self._hold(part)

    def receive_end(self) -> None:
        if not self.is_over and self._arrive_if_room():
            self._take_body(self._read)

    def stop(self) -> None:
        error, source, self._source = stopped_error(), self._source, None
        self._fail(error)
        if source is not None:
            # With the same error: nobody has cancelled the call.
            source.abort(error)

    # From the service.

    def headers(self, headers: Mapping[str, str]) -> None:
        """Receive the upstream's headers; they go out with the status, unless a comment was sent before."""
        response_id = headers.get(RESPONSE_ID)
        if response_id is not None:
            self._response_id = response_id
            headers = {name: value for name, value in headers.items() if name != RESPONSE_ID}
        self._upstream_headers = headers

    def batch(self, wire: bytes, count: int) -> None:
        """Send chunks as events, those of a batch in one write; see `_event_id` for their ids."""
        writer = self._writer
        if self._work is not None:
            self._waiting.append(functools.partial(self.batch, wire, count))
        elif not self.is_over and writer is not None:
            first_id = writer.chunks
            if not first_id:
                self._first_chunk_s = self._elapsed_s()
                self._body = b""
            if len(wire) <= self._event_bytes_max:
                try:
                    events = self._to_events(wire, first_id)
                except CodecError:
                    self._break(writer, wire)
                    return
                writer.chunks = first_id + count
                if self.status:
                    self._responder.write(events)
                else:
                    self._write(events)
            else:
                convert = functools.partial(self._to_events_if_valid, first_id)
                self._convert(convert, wire, functools.partial(self._send, writer, wire, count))
                self._regulate()

    def answer(self, wire: bytes) -> None:
        if not self.is_over and self._call is not None:
            to_json = functools.partial(self._to_json_if_valid, self._call.kind)
            self._convert(to_json, wire, self._answer_json, self._weight_max)

    def end(self) -> None:
        if self._work is not None:
            self._waiting.append(self.end)
        elif not self.is_over:
            self._source = None
            self._write(self._last_events(), is_last=True)
            self._finish(None)

    def failed(self, error: MistralwireError) -> None:
        """Send an error: with its status, or as an event after chunks."""
        self._source = None
        error = self._state.error_for_caller(error)
        if self._work is not None:
            self._waiting.append(functools.partial(self.failed, error))
        elif self._call is not None and isinstance(error, DecodeError | CallError) and error.violations:
            check = functools.partial(check_body, self._call.kind, self._state.config.contract_revision)
            # It finds the violations with the Python engine.
            weight_max = _offload.PYTHON_WEIGHT_MAX
            self._convert(check, self._body, lambda _: self._fail(error), weight_max)
        else:
            self._fail(error)

    def _read(self, body: bytes) -> None:
        self._body = body
        revision = self._state.client.contract_revision
        read = functools.partial(read_call, self._route, self._path_model, revision)
        self._convert(read, body, self._start)

    def _start(self, call: CompletionCall) -> None:
        config = self._state.config
        self._call = call
        if call.is_stream:
            self._writer = self._responder.event_writer()
            self._timer = asyncio.get_running_loop().call_later(config.heartbeat_s, self._beat)
        # The client sends the context of a current span itself.
        metadata = {} if _trace_context.has_span() else _trace_context.w3c(self._headers)
        metadata |= self._response_options()
        if call.is_stream and config.heartbeat_s < config.deadline_s:
            # Later the status has been sent.
            metadata[RETRY_TIME_LEFT] = str(math.ceil((config.deadline_s - config.heartbeat_s) * 1000))
        source = self._state.client.start(
            call.kind.stream_request if call.is_stream else call.kind.request,
            call.wire,
            self,
            deadline_s=config.deadline_s,
            request_id=self._request_id,
            metadata=metadata,
            message=None if call.is_stream else call.request,
            events=self._writer if self._is_bypassed else None,
        )
        # It may have called back already.
        if self.is_over:
            source.cancel()
            return
        self._source = source
        self._regulate()

    def _response_options(self) -> dict[str, str]:
        """Return the metadata about the response, which the service may store.

        Raises:
            HttpError: If a header is invalid (400).
        """
        options = {}
        for name, (pattern, expected) in _OPTIONS.items():
            value = self._headers.get(name.encode())
            if value is not None:
                text = value.strip().decode("latin-1")
                if not pattern.fullmatch(text):
                    raise HttpError(400, f"expected {expected} as {name}, found something else")
                options[name] = text
        if float(options.get(ON_DISCONNECT, "").partition("keep ")[2] or 0) > SECONDS_MAX:
            raise HttpError(400, f"expected at most {SECONDS_MAX:g} seconds as {ON_DISCONNECT}, found more")
        if owner := self._state.owner_of(self._headers):
            options[CALLER] = owner
        return options

    def _beat(self) -> None:
        """Send a comment if no chunk was sent since the last beat, so that no timeout ends the stream."""
        if self._chunks == self._chunks_seen and not self._is_caller_behind:
            self._write(HEARTBEAT)
        self._chunks_seen = self._chunks
        self._timer = asyncio.get_running_loop().call_later(self._state.config.heartbeat_s, self._beat)

    def _send(self, writer: EventWriter, wire: bytes, count: int, events: bytes | None) -> None:
        """Send the events that a thread has encoded, then what came meanwhile."""
        if events is None:
            self._break(writer, wire)
            return
        writer.chunks += count
        self._write(events)
        while self._waiting and self._work is None:
            self._waiting.pop(0)()
        if self._is_paused:
            self._regulate()

    def _write(self, events: bytes, *, is_last: bool = False) -> None:
        """Write events. Status and headers wait for the first, so that an error before it has its status."""
        if not self.status:
            self._begin(200, [*EVENT_STREAM_HEADERS, *self._visible_headers()], None)
        self._responder.write(events, is_last=is_last)

    def _break(self, writer: EventWriter, wire: bytes) -> None:
        """End with an error, after the chunks of a batch before the first one without a JSON form."""
        with contextlib.suppress(EncodeError, WireError, UnicodeDecodeError):
            for chunk in ChatCompletionStreamResponse.FromString(wire).chunks:
                self._write(encode_sse(chunk, id=self._event_id(writer.chunks)))
                writer.chunks += 1
        self._fail(unencodable_answer())

    def _answer_json(self, text: bytes) -> None:
        self._source = None
        self._answer(HttpAnswer(200, text, self._visible_headers()))
        self._finish(None)

    def _visible_headers(self) -> Headers:
        headers = super()._visible_headers()
        if self._response_id:
            headers.append((RESPONSE_ID.encode(), self._response_id.encode()))
        return headers

    def _to_json(self, kind: CompletionKind, wire: bytes) -> bytes:
        return binary_to_json(kind.response, wire)

    def _to_json_if_valid(self, kind: CompletionKind, wire: bytes) -> bytes:
        try:
            return self._to_json(kind, wire)
        except CodecError:
            raise unencodable_answer() from None

    def _to_events(self, wire: bytes, first_id: int) -> bytes:
        if not self._response_id:
            return batch_to_sse(wire, first_id)
        return batch_to_sse(wire, first_id + 1, id_prefix=f"{self._response_id}.")

    def _event_id(self, number: int) -> str:
        """Return the id of an event: its number from 0, or the id of a stored response and one from 1."""
        return f"{self._response_id}.{number + 1}" if self._response_id else str(number)

    def _to_events_if_valid(self, first_id: int, wire: bytes) -> bytes | None:
        """Return the events of a batch; None if a chunk has no JSON form."""
        try:
            return self._to_events(wire, first_id)
        except CodecError:
            return None

    def _last_events(self) -> bytes:
        return _DONE

    def _error_answer(self, error: MistralwireError) -> HttpAnswer:
        answer = super()._error_answer(error)
        if self._response_id:
            answer.headers.append((RESPONSE_ID.encode(), self._response_id.encode()))
        return answer

    def _error_event(self, error: MistralwireError) -> bytes:
        return encode_sse(error_body(error))

    def _finish(self, error: MistralwireError | None, *, is_broken: bool = False) -> None:
        super()._finish(error, is_broken=is_broken)
        self._waiting.clear()

    @property
    def _chunks(self) -> int:
        return 0 if self._writer is None else self._writer.chunks

    def _log_fields(self, seconds: float, error: MistralwireError | None) -> dict[str, Any]:
        fields = super()._log_fields(seconds, error)
        if self._chunks:
            fields["chunks"] = self._chunks
            fields["first_chunk_ms"] = round(self._first_chunk_s * 1000, 1)
        return fields

    def _log_names(self) -> list[tuple[str, str]]:
        call = self._call
        names = [("response_id", self._response_id)]
        return names if call is None else [*names, ("model", call.model), ("agent_id", call.agent_id)]
