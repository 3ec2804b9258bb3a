"""A request of a passthrough route: bytes both ways between the caller and an upstream."""

import asyncio
import functools
import logging
from collections.abc import Mapping
from typing import Any

from mistralwire._metadata import REQUEST_ID, response_headers
from mistralwire.codec import from_json, to_json
from mistralwire.errors import DecodeError, MistralwireError, Reason, UpstreamError
from mistralwire.gateway._errors import Headers, HttpAnswer, HttpError, error_body
from mistralwire.gateway._exchanges._http_exchange import UNBUFFERED, HttpExchange, Responder
from mistralwire.gateway._routes import PassthroughRoute
from mistralwire.gateway._state import GatewayState
from mistralwire.upstream import ForwardCall, ForwardRequest, error_from_body
from mistralwire.v1 import ErrorResponse, FIMCompletionRequest

# A larger body is forwarded as it arrives, on a connection of its own.
_WHOLE_BYTES_MAX = 64 * 1024
# What an upstream needs; neither credentials, nor headers for the connection or this gateway alone.
_REQUEST_HEADERS = (
    *("accept", "accept-language", "content-encoding", "content-language", "content-type"),
    *("idempotency-key", "traceparent", "tracestate"),
)
# Headers that describe the body, without `content-encoding`, since the body was decoded.
_RESPONSE_HEADERS = (
    *("cache-control", "content-disposition", "content-language", "content-type", "etag", "expires"),
    *("last-modified", "retry-after", "retry-after-ms", "x-should-retry"),
)
# With these an upstream rejects the gateway's key, and its text may quote it.
_CREDENTIALS_REJECTED = (401, 402, 403, 407)
_LENGTH_DIGITS_MAX = 18

_logger = logging.getLogger(__name__)


class PassthroughExchange(HttpExchange):
    """Forwards a request to an upstream, and the response back; a ForwardReceiver."""

    _accepts_encoded = True

    def __init__(
        self,
        state: GatewayState,
        route: PassthroughRoute,
        *,
        method: str,
        headers: Mapping[bytes, bytes],
        responder: Responder,
    ) -> None:
        super().__init__(state, route.path, method, headers, responder)
        self._route = route
        self._has_body = b"content-length" in headers or b"transfer-encoding" in headers
        self._asks_model = state.forward.asks_model and self._is_json()
        self._is_streamed = False
        self._call: ForwardCall | None = None
        self._model = ""
        self._response_bytes = 0

    def receive(self, part: bytes) -> None:
        if self.is_over:
            return
        if self._call is not None:
            # Forwarded at once rather than kept.
            self._size += len(part)
            if self._size > self._state.config.body_bytes_max:
                self._refuse_size()
            elif not self._call.write(part):
                self._responder.pause_body()
        elif self._hold(part) and self._size > _WHOLE_BYTES_MAX and not self._asks_model:
            self._is_streamed = True
            self._start(self._joined())

    def receive_end(self) -> None:
        if self.is_over:
            return
        if self._call is not None:
            # The upstream has most of it.
            self._arrive()
            self._call.write_end()
        elif not self._arrive_if_room():
            return
        elif self._asks_model:
            self._take_body(self._choose)
        else:
            self._start(self._joined() if self._has_body else None)

    # From the upstream.

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        if self._is_streamed:
            # All of it may have arrived before there was a connection; it has been sent by now.
            self._release()
        if status in _CREDENTIALS_REJECTED:
            self._answer_rejected(status)
            return
        # A 204 has no length, whatever the upstream sends (RFC 9110, section 8.6).
        is_known = status != 204 and "content-encoding" not in headers
        length = _length_of(headers.get("content-length", "")) if is_known else None
        self._begin(status, self._forwarded_headers(headers), length)
        self._responder.write(b"")

    def data(self, piece: bytes) -> None:
        self._response_bytes += len(piece)
        self._responder.write(piece)

    def end(self) -> None:
        self._source = None
        self._responder.write(b"", is_last=True)
        self._finish(None)

    def failed(self, error: UpstreamError) -> None:
        self._source = None
        self._fail(error)

    def drained(self) -> None:
        """Continue reading the body: the upstream has taken what was written."""
        self._release()
        if not self.is_over:
            self._responder.resume_body()

    def _is_json(self) -> bool:
        media_type = self._headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        return media_type == b"application/json" and not self._is_encoded()

    def _choose(self, body: bytes) -> None:
        """Find the model in the body, which decides on the upstream."""
        self._convert(_model_of, body, functools.partial(self._start, body))

    def _start(self, body: bytes | None, model: str = "") -> None:
        self._model = model
        # A transfer coding overrides a length (RFC 9112, section 6.3); this package's server refuses both.
        is_chunked = b"transfer-encoding" in self._headers
        length = b"" if is_chunked else self._headers.get(b"content-length", b"")
        request = ForwardRequest(
            method=self._method,
            target=self._route.path + self._route.query,
            headers=self._request_headers(),
            body=body,
            is_streamed=self._is_streamed,
            length=_length_of(length.decode("latin-1")),
        )
        try:
            self._call = self._state.forward.choose(model or None).forward(request, self)
        except ValueError:
            self._fail(HttpError(400, "expected headers that can be forwarded, found others"))
            return
        except UpstreamError as error:
            self._fail(error)
            return
        self._source = self._call
        self._regulate()
        deadline_s = self._state.config.deadline_s
        self._timer = asyncio.get_running_loop().call_later(deadline_s, self._expire)

    def _expire(self) -> None:
        message = f"the answer took longer than {self._state.config.deadline_s:g} s"
        self._fail(MistralwireError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_TIMEOUT))

    def _answer_rejected(self, status: int) -> None:
        """Answer that the upstream rejects the gateway's key: its status, but a text of ours."""
        error = error_from_body(ErrorResponse(), status=status)
        _logger.warning("the upstream of %s refuses the key of the gateway (%d)", self._route_name, status)
        self._answer(HttpAnswer(status, to_json(error_body(error)), []))
        self._finish(error)

    def _request_headers(self) -> dict[str, str]:
        named = {name: self._headers.get(name.encode()) for name in _REQUEST_HEADERS}
        headers = {name: value.decode("latin-1") for name, value in named.items() if value is not None}
        return {**headers, REQUEST_ID: self._request_id}

    def _forwarded_headers(self, headers: Mapping[str, str]) -> Headers:
        self._upstream_headers = response_headers(headers, self._request_id)
        named = {
            name.encode(): headers[name].encode("latin-1") for name in _RESPONSE_HEADERS if name in headers
        }
        if named.get(b"content-type", b"").startswith(b"text/event-stream"):
            named.update([UNBUFFERED])
        return [*{**dict(self._visible_headers()), **named}.items()]

    def _log_names(self) -> list[tuple[str, str]]:
        return [("model", self._model)]

    def _log_fields(self, seconds: float, error: MistralwireError | None) -> dict[str, Any]:
        sizes = {"request_bytes": self._size, "response_bytes": self._response_bytes}
        return {**super()._log_fields(seconds, error), **sizes}


def _length_of(text: str) -> int | None:
    """Parse a Content-Length; None if it is invalid, or has very many digits."""
    return int(text) if text.isdecimal() and len(text) <= _LENGTH_DIGITS_MAX else None


def _model_of(body: bytes) -> str:
    """Return the model that a JSON body names; empty if it names none.

    Raises:
        DecodeError: If the body exceeds a limit.
    """
    try:
        # All requests have the same member; the other members of this one are few.
        return from_json(FIMCompletionRequest, body, validate=False).model
    except DecodeError as error:
        if error.reason == Reason.LIMIT_EXCEEDED:
            raise
        # The upstream answers with an error of its own.
        return ""
