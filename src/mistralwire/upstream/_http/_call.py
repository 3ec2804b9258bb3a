"""One call over HTTP: its attempts, its timeouts, and its response as wire bytes."""

import asyncio
import contextvars
import dataclasses
import functools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias

from mistralwire import _offload
from mistralwire._metadata import REQUEST_ID, response_headers
from mistralwire._methods import METHODS_BY_REQUEST
from mistralwire._timeouts import IdleTimer
from mistralwire.codec import SseBatch, SseBatchDecoder
from mistralwire.errors import Reason, UpstreamError
from mistralwire.upstream._coroutines import encode_chunk, observed_in
from mistralwire.upstream._error_body import (
    LACKS_DONE,
    stream_error,
    too_large_error,
    truncated_error,
    unreadable_error,
)
from mistralwire.upstream._http._conversion import (
    chunks_from_json,
    exchange_error,
    late_error,
    redirect_error,
    request_as_json,
    response_from_json,
    stalled_error,
    status_error,
)
from mistralwire.upstream._http._target import HEADERS, HttpLog, Target
from mistralwire.upstream._http1 import Exchange, HttpClient, HttpClientError, UnreadableError
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._upstream import CallContext, Receiver
from mistralwire.v1 import CompletionChunk

_ERROR_BYTES_MAX = 64 * 1024
_RETRIED = (429, 502, 503, 504)
# The pause before the first retry, doubled for each further one; drawn between half of it and all of it.
_BACKOFF_S = 0.5
_BACKOFF_S_MAX = 8.0
# A longer wait that an upstream asks for is left to the caller.
_WAIT_S_MAX = 30.0
# How long the rest of a response may take after its last event, so that the connection can be reused.
_REST_S = 1.0

# What a call waits for; "exploded" is a unary response to a request for a stream.
_Phase: TypeAlias = Literal["head", "events", "unary", "exploded", "error"]

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class CallRequest:
    """The arguments of `CallbackUpstream.start`."""

    message: Any
    wire: bytes
    context: CallContext
    contract_revision: int


class HttpCall:
    """A call with its retries; a Source for the receiver, and the ResponseReceiver of its exchanges.

    No task, future or timer is made for a piece of the response: one timer checks the noted times.
    """

    def __init__(
        self,
        client: HttpClient,
        target: Target,
        settings: HttpSettings,
        log: HttpLog,
        *,
        request: CallRequest,
        receiver: Receiver,
    ) -> None:
        self._client = client
        self._target = target
        self._settings = settings
        self._log = log
        self._request = request
        self._receiver = receiver
        self._request_id = request.context.request_id
        self._events = request.context.events
        self._is_stream = METHODS_BY_REQUEST[type(request.message)].is_stream
        # The next upstream is a better second attempt than a retry.
        self._attempts_left = 1 if request.context.has_alternative else settings.attempts_max
        self._attempt = 0
        self._body = b""
        self._loop = asyncio.get_running_loop()
        # The caller's, not the one in which the connection was opened.
        self._context = contextvars.copy_context()
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer = IdleTimer()
        self._phase: _Phase = "head"
        # Pieces of a stream that wait for a thread, and its end: None, or an error.
        self._waiting: list[bytes | Exception | None] = []
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self._decoder: SseBatchDecoder | None = None
        # Bytes since the last complete event.
        self._begun_bytes = 0
        # After the first chunk there are no retries: it would be sent twice.
        self._has_begun = False
        self._is_paused = self._is_over = False

    def start(self) -> None:
        # Most calls end before it expires.
        self._timer.start(self._settings.first_byte_s, self._expired, self._client.timeouts)
        self._convert(self._request.wire, self._encoded, self._attempt_with)

    # The Source.

    def pause(self) -> None:
        self._is_paused = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume(self) -> None:
        self._is_paused = False
        if self._exchange is not None:
            self._timer.due_s = self._loop.time() + self._settings.silence_s
            if self._task is None:
                self._exchange.resume()

    def cancel(self) -> None:
        if not self._is_over:
            self._finish()
            self._receiver.closed()

    # The ResponseReceiver.

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self._status, self._headers = status, headers
        self._log.answered(status, self._request_id)
        self._timer.start(self._settings.silence_s, self._expired)
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if status >= 400:
            self._phase = "error"
            # The status counts without a body.
            self._timer.start(self._settings.connect_s, self._expired)
        elif status >= 300:
            self._fail(redirect_error(status))
        elif not self._is_stream:
            self._phase = "unary"
        elif content_type == "text/html":
            self._fail(unreadable_error("an HTML page", status))
        elif content_type == "application/json":
            # Some servers do not stream, whatever the request says.
            self._phase = "exploded"
        else:
            self._phase = "events"
            self._decoder = SseBatchDecoder(
                CompletionChunk, validate=False, contract_revision=self._request.contract_revision
            )

    def data(self, piece: bytes) -> None:
        decoder = self._decoder
        if decoder is None:
            self._keep(piece)
            return
        size, writer = len(piece), self._events
        bytes_max = (
            _offload.PYTHON_EVENT_BYTES_MAX if decoder.has_handed_over else _offload.LOOP_EVENT_BYTES_MAX
        )
        if self._task is not None or self._begun_bytes + size > bytes_max:
            self._decode_in_thread(piece, decoder)
        elif writer is None or not writer.is_open:
            self._take(decoder.feed(piece), size)
        else:
            batch = decoder.feed(piece, writer.chunks, is_chunked=writer.is_chunked)
            _, count, _, _, is_done, _, events = batch
            if count and events is not None:
                self._begun_bytes = size
                # It notes the time.
                writer.send(events, count)
                if is_done:
                    self._end()
                return
            self._take(batch, size)
        self._timer.due_s = self._loop.time() + self._settings.silence_s

    def end(self) -> None:
        self._exchange = None
        if self._decoder is not None:
            if self._task is None:
                self._take(self._decoder.close(), 0)
            else:
                self._waiting.append(None)
        elif self._phase == "error":
            self._fail_with_status()
        else:
            self._convert_response()

    def failed(self, error: Exception) -> None:
        self._exchange = None
        if self._phase == "events" and self._task is not None:
            # It follows the pieces that a thread still converts.
            self._waiting.append(error)
        elif not isinstance(error, HttpClientError):
            self._fail(error)
        elif self._phase == "error":
            self._fail_with_status()
        elif self._phase == "head" or isinstance(error, UnreadableError):
            self._fail(exchange_error(error, self._status or None))
        elif self._is_stream:
            self._fail(truncated_error("a connection that broke before"))
        else:
            self._fail(unreadable_error("a part of one", self._status))

    # Attempts.

    def _encoded(self) -> bytes:
        message, wire = self._request.message, self._request.wire
        request = self._target.body_of(message)
        if request is not message:
            wire = request.SerializeToString()
        return request_as_json(request, wire, is_stream=self._is_stream)

    def _attempt_with(self, body: bytes) -> None:
        self._body = body
        self._attempt += 1
        self._attempts_left -= 1
        authorizing = self._target.authorize()
        if authorizing is None:
            self._send()
        else:
            self._run(lambda: authorizing, lambda _: self._send())

    def _send(self) -> None:
        url, more = self._target.address(self._request.message, is_stream=self._is_stream)
        headers = {
            **HEADERS,
            "content-type": "application/json",
            "accept": "text/event-stream" if self._is_stream else "application/json",
            **more,
        }
        own = {REQUEST_ID: self._request_id} if self._request_id else {}
        self._exchange = self._client.request("POST", url, headers, self._body, self, own_headers=own)
        if self._is_paused:
            self._exchange.pause()

    def _retry(self) -> None:
        self._phase = "head"
        self._headers = {}
        self._pieces.clear()
        self._status = self._size = self._begun_bytes = 0
        self._timer.start(self._settings.first_byte_s, self._expired)
        self._attempt_with(self._body)

    # Streams.

    def _decode_in_thread(self, piece: bytes, decoder: SseBatchDecoder) -> None:
        """Queue a piece of a stream for the thread that is busy with it, or start one."""
        self._waiting.append(piece)
        if self._task is None:
            if self._exchange is not None:
                self._exchange.pause()
            self._run(functools.partial(self._decode_waiting, decoder), self._read_on)

    async def _decode_waiting(self, decoder: SseBatchDecoder) -> None:
        while self._waiting and not self._is_over:
            piece = self._waiting.pop(0)
            if isinstance(piece, Exception):
                self._task = None
                self.failed(piece)
            elif piece is None:
                self._take(await _offload.in_thread(decoder.close), 0)
            else:
                self._take(await _offload.in_thread(decoder.feed, piece), len(piece))

    def _read_on(self, _: None) -> None:
        """Read from the socket again, once all that has arrived is converted."""
        if self._exchange is not None and not self._is_paused:
            self._exchange.resume()

    def _take(self, batch: SseBatch, size: int) -> None:
        """Pass on the events that a piece of so many bytes has completed."""
        if self._is_over:
            return
        wire, count, usage, finish_reasons, is_done, failure, _ = batch
        if count:
            self._begun_bytes = size
            if not self._has_begun:
                self._begin()
            self._receiver.batch(wire, count, usage, finish_reasons)
            if self._is_over:
                return
        else:
            self._begun_bytes += size
        # What follows [DONE] does not change a complete stream, whether it arrives at once or later.
        if failure is not None and not is_done:
            self._fail(stream_error(failure))
        elif is_done:
            self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        if self._decoder is not None and self._decoder.lacks_done:
            _logger.info(LACKS_DONE, extra={"request_id": self._request_id})
        if self._exchange is not None:
            self._exchange.discard(_REST_S)
            self._exchange = None
        self._finish()
        self._receiver.end()
        self._receiver.closed()

    # Unary and error responses.

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of a response that is read as a whole."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._phase == "error":
            # Its time is bounded as a whole.
            if self._size >= _ERROR_BYTES_MAX:
                self._fail_with_status()
            return
        self._timer.due_s = self._loop.time() + self._settings.silence_s
        if self._size > self._settings.answer_bytes_max:
            self._fail(too_large_error(f"{self._settings.answer_bytes_max} bytes"))

    def _convert_response(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        arguments = data, self._request.contract_revision, self._status
        if self._phase == "unary":
            response_type = METHODS_BY_REQUEST[type(self._request.message)].response_type
            self._convert(data, lambda: response_from_json(response_type, *arguments), self._answer)
        else:
            self._convert(data, lambda: chunks_from_json(*arguments), self._explode)

    def _answer(self, wire: bytes) -> None:
        self._finish()
        self._begin()
        self._receiver.answer(wire)
        self._receiver.closed()

    def _explode(self, chunks: list[CompletionChunk]) -> None:
        self._finish()
        self._begin()
        for chunk in chunks:
            self._receiver.batch(encode_chunk(chunk), 1, *observed_in(chunk))
        self._receiver.end()
        self._receiver.closed()

    def _fail_with_status(self) -> None:
        """Fail with the error status of the response, and as much of its body as has arrived."""
        body = b"".join(self._pieces)[:_ERROR_BYTES_MAX]
        # No more of it is needed while this is converted.
        self._release()
        self._convert(body, functools.partial(status_error, self._status, body, self._headers), self._fail)

    def _begin(self) -> None:
        """Forward the headers, before anything else of the response."""
        self._has_begun = True
        if headers := response_headers(self._headers, self._request_id):
            self._receiver.headers(headers)

    # Conversions, which must not hold the event loop.

    def _convert(self, data: bytes, function: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Call a function that converts a document, in a thread if that is large, and pass on its result."""
        if not _offload.is_light(data):
            self._run(functools.partial(_offload.in_thread, function), then)
            return
        try:
            then(function())
        except Exception as error:  # noqa: BLE001 - it ends the call
            self._fail(error)

    def _run(self, start: Callable[[], Awaitable[Any]], then: Callable[[Any], None]) -> None:
        async def run() -> None:
            try:
                result = await start()
                self._task = None
                then(result)
            except Exception as error:  # noqa: BLE001 - it ends the call
                self._task = None
                self._fail(error)

        self._task = self._loop.create_task(run(), context=self._context)

    # The end.

    def _fail(self, error: Exception) -> None:
        """Retry, or end the call with an error."""
        if self._is_over:
            return
        self._release()
        if isinstance(error, UpstreamError):
            is_final = self._has_begun or self._attempts_left == 0
            is_retried = not is_final and _is_retried(error)
            if is_retried and self._retry_later(error):
                return
            error.headers = response_headers(self._headers, self._request_id, is_error=True)
            # A caller who is told to retry later than this call can wait has not made that attempt yet.
            error.should_retry = error.should_retry and (is_retried or self._attempt == 1)
        self._finish()
        self._receiver.failed(error)
        self._receiver.closed()

    def _retry_later(self, error: UpstreamError) -> bool:
        """Schedule a retry; return whether there is time for it."""
        wait_s = _pause_s(self._attempt, error.retry_after_s)
        if wait_s > _WAIT_S_MAX or wait_s >= self._request.context.pause_s_max():
            return False
        self._log.retried(self._attempt, error.reason, wait_s, self._request_id)
        self._timer.start(wait_s, functools.partial(self._context.run, self._retry))
        return True

    def _finish(self) -> None:
        self._is_over = True
        self._release()

    def _release(self) -> None:
        """End everything that is in progress."""
        self._timer.close()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._exchange is not None:
            self._exchange.cancel()
            self._exchange = None

    def _expired(self) -> None:
        """Fail, unless there was activity that is noted elsewhere, or this side does not read."""
        silence_s = self._settings.silence_s
        left_s = 0.0
        if self._events is not None:
            left_s = silence_s - (time.monotonic() - self._events.sent_s)
        if (self._is_paused or self._task is not None) and self._phase != "head":
            left_s = silence_s
        if left_s > 0:
            self._timer.start(left_s, self._expired)
        elif self._phase == "head":
            self._fail(late_error(self._settings.first_byte_s))
        elif self._phase == "error":
            self._fail_with_status()
        else:
            self._fail(stalled_error(silence_s))


def _is_retried(error: UpstreamError) -> bool:
    if not error.should_retry:
        return False
    if error.status is not None:
        return error.status in _RETRIED
    return error.reason == Reason.UPSTREAM_UNREACHABLE


def _pause_s(attempt: int, retry_after_s: float | None) -> float:
    backoff_s: float = min(_BACKOFF_S * 2.0 ** (attempt - 1), _BACKOFF_S_MAX)
    return max(retry_after_s or 0.0, backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
