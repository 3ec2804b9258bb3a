"""Requests of routes that the contract does not have: bytes both ways, between the caller and an upstream."""

import asyncio
import contextvars
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from mistralwire import _offload
from mistralwire._metadata import REQUEST_ID, response_headers
from mistralwire.codec import to_json
from mistralwire.errors import MistralwireError, Reason, UpstreamError
from mistralwire.gateway._edge import Edge
from mistralwire.gateway._edge_request import EdgeRequest, Responder
from mistralwire.gateway._errors import Answer, EdgeError, Headers, error_body
from mistralwire.upstream import ForwardCall, ForwardRequest, error_from_body
from mistralwire.v1 import ErrorResponse

METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE"))
"""The methods that are passed on."""

# A larger body is sent on as it comes, on a connection of its own.
_WHOLE_BYTES_MAX = 64 * 1024
# What an upstream has to know: neither credentials, nor what is for the connection or for this gateway alone.
_REQUEST_HEADERS = (
    *("accept", "accept-language", "content-encoding", "content-language", "content-type"),
    *("idempotency-key", "traceparent", "tracestate"),
)
# What describes the body; `content-encoding` is none, since the body was decoded.
_RESPONSE_HEADERS = (
    *("cache-control", "content-disposition", "content-language", "content-type", "etag", "expires"),
    *("last-modified", "retry-after", "retry-after-ms", "x-should-retry"),
)
# What the upstream refuses with these is the gateway, and its text may quote the key.
_CREDENTIALS_REFUSED = (401, 402, 403, 407)
_LENGTH_DIGITS_MAX = 18

_logger = logging.getLogger(__name__)


class PassthroughRoute(NamedTuple):
    """A route whose requests are passed on.

    Attributes:
        path: Its path.
        query: What follows it in the request's target, with the question mark; empty if nothing does.
    """

    path: str
    query: str


def find_passthrough(paths: Mapping[bytes, str], target: bytes) -> PassthroughRoute | None:
    """Find the route of a request by the very bytes of its path.

    Dot segments, escapes, backslashes and double slashes match nothing: what an upstream makes of them is not
    known here.

    Args:
        paths: The paths of the routes, as bytes and as text.
        target: Path and query as they stand in the request line; one slash at the end of the path does not
            count.

    Returns:
        The route; None if it is none of these.
    """
    path, mark, query = target.partition(b"#")[0].partition(b"?")
    found = paths.get(path) or paths.get(path.removesuffix(b"/"))
    return None if found is None else PassthroughRoute(found, (mark + query).decode("latin-1"))


class Passthrough(EdgeRequest):
    """Passes a request on, and the response back; a ForwardReceiver.

    Args:
        edge: What it shares with the others, among them where it goes.
        route: Its route.
        method: One of METHODS.
        headers: The headers of the request; of several with one name the last.
        responder: Takes the answer.
    """

    _takes_encoded = True

    def __init__(
        self,
        edge: Edge,
        route: PassthroughRoute,
        *,
        method: str,
        headers: Mapping[bytes, bytes],
        responder: Responder,
    ) -> None:
        super().__init__(edge, route.path, method, headers, responder)
        self._forward = edge.forward
        self._route = route
        self._has_body = b"content-length" in headers or b"transfer-encoding" in headers
        self._asks_model = self._forward.asks_model and self._is_json()
        self._is_streamed = False
        self._parts: list[bytes] = []
        self._call: ForwardCall | None = None
        self._model = ""
        self._response_bytes = 0

    def receive(self, part: bytes) -> None:
        """Take a part of the body."""
        if self.is_over:
            return
        if self._call is not None:
            # What goes on at once is not kept.
            self._size += len(part)
            if self._size > self._edge.config.body_bytes_max:
                self._refuse_size()
            elif not self._call.write(part):
                self._responder.pause_body()
            return
        if not self._hold(part):
            return
        self._parts.append(part)
        if self._size > _WHOLE_BYTES_MAX and not self._asks_model:
            self._is_streamed = True
            self._start(self._joined())

    def receive_end(self) -> None:
        """Take the end of the body."""
        if self.is_over:
            return
        if self._call is not None:
            # The upstream has most of it.
            self._arrive()
            self._call.write_end()
        elif not self._arrive_if_room():
            return
        elif self._asks_model:
            context = contextvars.copy_context()
            context.run(self._edge.set_caller, self._responder.address, self._headers)
            self._work = asyncio.get_running_loop().create_task(self._choose(), context=context)
        else:
            self._start(self._joined() if self._has_body else None)

    # From the upstream.

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of the response."""
        if self._is_streamed:
            # All of it may have come before there was a connection; then it has left by now.
            self._release()
        if status in _CREDENTIALS_REFUSED:
            self._refuse(status)
            return
        # A 204 has no length, whatever the upstream says (RFC 9110, section 8.6).
        is_known = status != 204 and "content-encoding" not in headers
        length = _length_of(headers.get("content-length", "")) if is_known else None
        self._begin(status, self._headers_of(headers), length)
        self._responder.write(b"")

    def data(self, piece: bytes) -> None:
        """Take a piece of the response."""
        self._response_bytes += len(piece)
        self._responder.write(piece)

    def end(self) -> None:
        """Take the end of the response."""
        self._source = None
        self._responder.write(b"", is_last=True)
        self._finish(None)

    def failed(self, error: UpstreamError) -> None:
        """Answer with the error, or break off."""
        self._source = None
        self._fail(error)

    def drained(self) -> None:
        """Take more of the body."""
        self._release()
        if not self.is_over:
            self._responder.resume_body()

    def _is_json(self) -> bool:
        media_type = self._headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        return media_type == b"application/json" and not self._is_encoded()

    def _joined(self) -> bytes:
        body = b"".join(self._parts)
        self._parts.clear()
        return body

    async def _choose(self) -> None:
        """Find out the model, which decides where the request goes."""
        if self._size <= _offload.JOIN_BYTES_MAX:
            body = self._joined()
        else:
            body = await _offload.in_thread(b"".join, self._parts)
            self._parts.clear()
        self._model = await _offload.convert(body, _model_of, body)
        self._work = None
        self._start(body)

    def _start(self, body: bytes | None) -> None:
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
            self._call = self._forward.choose(self._model or None).forward(request, self)
        except ValueError:
            self._fail(EdgeError(400, "expected headers that can be passed on, found others"))
            return
        except UpstreamError as error:
            self._fail(error)
            return
        self._source = self._call
        self._regulate()
        deadline_s = self._edge.config.deadline_s
        self._timer = asyncio.get_running_loop().call_later(deadline_s, self._expire)

    def _expire(self) -> None:
        message = f"the answer took longer than {self._edge.config.deadline_s:g} s"
        self._fail(MistralwireError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_TIMEOUT))

    def _refuse(self, status: int) -> None:
        """Answer that the upstream refuses the gateway: its status, but a text of ours."""
        error = error_from_body(ErrorResponse(), status=status)
        _logger.warning("the upstream of %s refuses the key of the gateway (%d)", self._route_name, status)
        self._answer(Answer(status, to_json(error_body(error)), []))
        self._finish(error)

    def _request_headers(self) -> dict[str, str]:
        named = {name: self._headers.get(name.encode()) for name in _REQUEST_HEADERS}
        headers = {name: value.decode("latin-1") for name, value in named.items() if value is not None}
        return {**headers, REQUEST_ID: self._request_id}

    def _headers_of(self, headers: Mapping[str, str]) -> Headers:
        """Return the headers of a response that the caller gets."""
        self._upstream_headers = response_headers(headers, self._request_id)
        named = {
            name.encode(): headers[name].encode("latin-1") for name in _RESPONSE_HEADERS if name in headers
        }
        if named.get(b"content-type", b"").startswith(b"text/event-stream"):
            # For nginx, and those who took it over: what comes is passed on at once.
            named[b"x-accel-buffering"] = b"no"
        return [*{**dict(self._passed_on()), **named}.items()]

    def _names(self) -> list[tuple[str, str]]:
        return [("model", self._model)]

    def _log_fields(self, seconds: float, error: MistralwireError | None) -> dict[str, Any]:
        sizes = {"request_bytes": self._size, "response_bytes": self._response_bytes}
        return {**super()._log_fields(seconds, error), **sizes}


def _length_of(text: str) -> int | None:
    """Return the value of a header Content-Length; None if it is none, or one of a great many digits."""
    return int(text) if text.isdecimal() and len(text) <= _LENGTH_DIGITS_MAX else None


def _model_of(body: bytes) -> str:
    """Return the model that a JSON body names; empty if it names none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        # It is for the upstream to say so.
        return ""
    model = document.get("model") if isinstance(document, dict) else None
    return model if isinstance(model, str) else ""
