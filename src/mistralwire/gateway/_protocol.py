"""HTTP/1.1 with limits on slow, silent and numerous callers, and a fast path for completions."""

import asyncio
import contextlib
import email.utils
import functools
import re
import time
from collections.abc import Mapping
from http import HTTPStatus

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from mistralwire._response_stream import EventWriter
from mistralwire._timeouts import IdleTimer
from mistralwire.errors import MistralwireError, Reason
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._errors import JSON_TYPE, Headers, HttpError, answer_of
from mistralwire.gateway._exchanges import BREAK_OFF_S, HttpExchange, PassthroughExchange, StreamExchange
from mistralwire.gateway._openai import exchange_class
from mistralwire.gateway._responses import find_response_target
from mistralwire.gateway._routes import PASSTHROUGH_METHODS, find_passthrough, find_route
from mistralwire.gateway._state import GatewayState, foreign_host_error, problem_of_keys
from mistralwire.gateway._streams import STREAM_METHODS, find_stream

# Seconds that a peer has to read the last answer of a connection.
_CLOSE_S = 1.0

_WITHOUT_BODY = (204, 304)
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
# RFC 3986, section 3.2.2: a name or an address, and a port; empty where the target has no authority.
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)


class HttpProtocol(HttpToolsProtocol):
    """A connection: uvicorn's with limits; completions and passthrough bypass ASGI.

    A request head that is too large or ambiguous is refused. A head or body that does not arrive in time ends
    the connection, and so do a caller who reads nothing, and pipelining: while it reads ahead, the server
    could not notice that the caller hangs up. The protocol is the Responder of its exchanges.

    Args:
        state: None to leave all requests to ASGI.
        limits: The settings of the gateway.
        config: The settings of uvicorn.
        server_state: Of uvicorn, for all connections.
    """

    def __init__(
        self,
        state: GatewayState | None,
        limits: GatewayConfig,
        config: uvicorn.Config,
        server_state: ServerState,
    ) -> None:
        super().__init__(config, server_state, {})
        # The gateway has its own. uvicorn's setting would end that of all servers in the process.
        self.access_log = False
        self._state = state
        self._limits = limits
        # The exchange whose answer has not ended.
        self._exchange: HttpExchange | None = None
        # Whether the request that is being read, or was read last, bypasses ASGI.
        self._is_direct = False
        self._is_chunked = self._keeps_alive = False
        # Of the answer; sent with its first part.
        self._answer_head = b""
        # Of the last request with a valid head.
        self._host: bytes | None = None
        self._is_body_paused = False
        self._cors_headers: Headers = []
        self._is_in_head = True
        self._has_head_begun = self._has_ended_request = self._is_idle = self._is_refused = False
        self._head_bytes = 0
        # Bytes received since the last part of a body: trailers, or chunk framing without content.
        self._idle_bytes = 0
        # Of the data that is being parsed.
        self._piece_bytes = 0
        self._taken_bytes = self._written_bytes = 0
        # Of the last stream; it counts the bytes that it has written.
        self._writer: EventWriter | None = None
        self._read_timer, self._write_timer = IdleTimer(), IdleTimer()

    # From asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request, or refuse the connection."""
        is_one_too_many = len(self.connections) >= self._limits.connections_max
        super().connection_made(transport)  # type: ignore[arg-type] # as the base class has it
        if is_one_too_many:
            self._write_last(_too_many_connections(self._limits.connections_max))
        else:
            self._read_timer.start(self._limits.request_s, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._read_timer.close()
        self._write_timer.close()
        if self._exchange is not None:
            self._exchange.gone()

    def data_received(self, data: bytes) -> None:
        """Parse bytes; those of an incomplete head are counted."""
        if self._is_refused or self.transport.is_closing():
            return
        # Only before a head: in a body the same bytes are content.
        if self._is_in_head and not self._has_head_begun and (b"pgrade:" in data or b"PGRADE:" in data):
            data = _without_upgrade(data)
        if self._is_idle:
            self._leave_idle()
        self._has_ended_request = False
        self._piece_bytes = len(data)
        self._idle_bytes += self._piece_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Refused with its head.
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, httptools.HttpParserError):
                # Raised by a callback: not the caller's fault.
                raise cause from None
            if self._is_in_head and self._is_answering():
                self.transport.abort()
            elif not self._is_refused and not self.transport.is_closing():
                self._refuse(HttpError(HTTPStatus.BAD_REQUEST, _problem_of(error)))
        if not self._is_refused and not self.transport.is_closing():
            self._limit_reading(len(data))

    def _limit_reading(self, size: int) -> None:
        """Limit size and time of the rest of a head or body, of which `size` bytes were received last."""
        if not self._is_in_head:
            if self._idle_bytes > self._limits.header_bytes_max:
                self.transport.abort()
            elif self._exchange is not None and not self._read_timer.is_running and not self._is_body_paused:
                self._read_timer.start(self._limits.request_s, self._exchange.late)
        elif not self._is_answering():
            # After a request whose answer has not ended, a newline is no head yet.
            self._head_bytes += 0 if self._has_ended_request else size
            if self._head_bytes > self._limits.header_bytes_max:
                self._refuse_head()
            elif not self._read_timer.is_running:
                self._read_timer.start(self._limits.request_s, self.transport.abort)

    def pause_writing(self) -> None:
        """Pause the answer: the caller reads too slowly."""
        super().pause_writing()
        self._watch_writing()
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        # The caller has read something, so the time for the rest starts anew.
        self._taken_bytes = self._count_taken() - 1
        super().resume_writing()
        if self._exchange is not None:
            self._exchange.resume()

    # From the parser.

    def on_message_begin(self) -> None:
        self._has_head_begun = True
        self._is_direct = False
        if self._is_answering():
            self.transport.abort()
        if self._is_idle:
            self._leave_idle()
        self._idle_bytes = self._piece_bytes
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Check the head, and route the request."""
        self._is_in_head = self._has_head_begun = False
        is_large = self._is_head_large()
        self._head_bytes = self._idle_bytes = 0
        self._read_timer.stop()
        if self._is_refused or self.transport.is_closing():
            return
        self.server_state.default_headers = _date_header(int(time.time()))
        headers, version = dict(self.headers), self.parser.get_http_version()
        method = self.parser.get_method().decode()
        if is_large:
            self._refuse_head()
        elif problem := self._problem_of_head(version, headers):
            self._refuse(HttpError(HTTPStatus.BAD_REQUEST, problem))
        elif error := foreign_host_error(self._limits, method, self.url, self.headers):
            self._refuse(error)
        elif self._state is None or (exchange := self._route(self._state, method, headers)) is None:
            self._begin_asgi()
        else:
            self._is_chunked = version == "1.1"
            self._begin_exchange(self._state, exchange, headers)

    def _is_head_large(self) -> bool:
        # The bytes received bound the head, and rarely exceed the limit.
        if self._idle_bytes <= self._limits.header_bytes_max:
            return False
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
        return size > self._limits.header_bytes_max

    def _route(self, state: GatewayState, method: str, headers: Mapping[bytes, bytes]) -> HttpExchange | None:
        """Return the exchange of a request; None for those that ASGI answers."""
        if method == "POST" and (found := find_route(self.url, has_openai=state.config.openai)):
            return exchange_class(found[0])(state, *found, headers, self)
        if stored := find_response_target(method, self.url):
            return stored.exchange(
                state,
                stored.path,
                method,
                headers,
                self,
                response_id=stored.response_id,
                query=stored.query,
            )
        if method in STREAM_METHODS:
            is_tls = self._limits.tls_certificate is not None
            if (stream := find_stream(self.url, is_tls=is_tls)) is not None:
                return StreamExchange(state, stream, method, headers, self)
        route = find_passthrough(state.passthrough_paths, self.url)
        if route is None or method not in PASSTHROUGH_METHODS:
            return None
        return PassthroughExchange(state, route, method=method, headers=headers, responder=self)

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        if self._is_direct:
            if self._exchange is not None:
                self._exchange.receive(body)
        elif not self._is_refused and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the next one begins with its head."""
        self._is_in_head = self._has_ended_request = True
        if self._is_refused or self.transport.is_closing():
            return
        if self._exchange is not None:
            self._read_timer.stop()
            self._exchange.receive_end()
            return
        if not self._is_direct:
            super().on_message_complete()
        if not self._is_answering():
            # It was answered before the end of its body.
            self._wait_for_request()

    # From the server and the application.

    def on_response_complete(self) -> None:
        """End an answer, of ASGI or of an exchange."""
        if self.transport.get_write_buffer_size():
            self._watch_writing()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._is_in_head:
            self._wait_for_request()
        else:
            self._read_timer.start(self._limits.request_s, self.transport.abort)

    def shutdown(self) -> None:
        """Close the connection, or let it end with its answer."""
        if self._exchange is not None:
            self._keeps_alive = False
            self._exchange.drain()
            return
        super().shutdown()
        if self.transport.is_closing():
            # Over TLS, closing would wait for the peer.
            self._read_timer.start(_CLOSE_S, self.transport.abort)

    def stop_answer(self) -> None:
        """End the exchange, since the server stops."""
        if self._exchange is not None:
            self._exchange.stop()

    # From the exchange; see Responder.

    @property
    def address(self) -> str:
        return "" if self.client is None else self.client[0]

    def begin(self, status: int, headers: Headers, length: int | None) -> None:
        has_body = status not in _WITHOUT_BODY and self.parser.get_method() != b"HEAD"
        self._is_chunked &= length is None and has_body
        if self._is_chunked:
            headers.append((b"transfer-encoding", b"chunked"))
        if not self._keeps_alive:
            headers.append((b"connection", b"close"))
        headers += self._cors_headers
        self._answer_head = _head_of(status, [*self.server_state.default_headers, *headers])

    def write(self, body: bytes, *, is_last: bool = False) -> None:
        if self._is_chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if is_last:
                body += b"0\r\n\r\n"
        if self._answer_head:
            body, self._answer_head = self._answer_head + body, b""
        self._written_bytes += len(body)
        self.transport.write(body)
        if is_last:
            self._exchange = None
            if not self._keeps_alive and self._is_in_head:
                self.transport.close()
            elif not self._keeps_alive:
                self._discard_input()
                return
            self.on_response_complete()

    def event_writer(self) -> EventWriter:
        self._written_bytes = self._count_written()
        self._writer = EventWriter(self.transport.write, is_chunked=self._is_chunked)
        return self._writer

    def break_off(self, body: bytes) -> None:
        """Write the last part of a body without its last HTTP chunk: the caller sees a broken transfer."""
        self.write(body)
        self._exchange = None
        self._is_refused = True
        self._read_timer.start(BREAK_OFF_S, self._close)

    def pause_body(self) -> None:
        """Stop reading the request, and its timer: the upstream is slow, not the caller."""
        self._is_body_paused = True
        self._read_timer.stop()
        self.flow.pause_reading()

    def resume_body(self) -> None:
        self._is_body_paused = False
        self.flow.resume_reading()
        if not self._is_in_head and self._exchange is not None:
            self._read_timer.start(self._limits.request_s, self._exchange.late)

    def _begin_asgi(self) -> None:
        """Leave a request to the application, with the attributes that uvicorn sets at its beginning."""
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers += headers
        super().on_headers_complete()
        # These are the application's now; trailers must not be added to them.
        self.headers = []
        if not self.parser.should_keep_alive():
            # Earlier versions of uvicorn know fewer spellings of it.
            self.cycle.keep_alive = False

    def _begin_exchange(
        self, state: GatewayState, exchange: HttpExchange, headers: Mapping[bytes, bytes]
    ) -> None:
        self._is_direct = True
        self._is_body_paused = False
        self._keeps_alive = self._is_chunked and self.parser.should_keep_alive()
        self._cors_headers = state.cors_headers(headers)
        self._exchange = exchange
        exchange.begin()
        if self.expect_100_continue and self._is_chunked and not exchange.is_over:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _is_answering(self) -> bool:
        is_in_asgi = self.cycle is not None and not self.cycle.response_complete
        return self._exchange is not None or is_in_asgi

    def _problem_of_head(self, version: str, headers: Mapping[bytes, bytes]) -> str | None:
        """Check that a head is valid HTTP/1.1, and that no proxy could read it in another way.

        Source: RFC 9112, 3.2 (Host) and 6.1 (Transfer-Encoding).
        """
        if self.parser.should_upgrade():
            # Its body would be parsed as another request.
            return "expected HTTP/1.1, found a request for another protocol"
        if version not in ("1.1", "1.0"):
            return "expected HTTP/1.1, found another version"
        host = headers.get(b"host")
        has_one_of_each = len(headers) == len(self.headers)
        if host and host == self._host and has_one_of_each and b"transfer-encoding" not in headers:
            return None
        encodings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if encodings and (version == "1.0" or encodings != [b"chunked"]):
            return "expected HTTP/1.1 with the transfer-encoding chunked or none, found another"
        hosts = [value.strip() for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            return f"expected one host, found {len(hosts) or 'none'}"
        if hosts and not _HOST.fullmatch(hosts[0]):
            return "expected a name or an address as the host, found something else"
        if problem := problem_of_keys(self.headers):
            return problem
        self._host = host
        return None

    def _wait_for_request(self) -> None:
        self._is_idle = True
        self._read_timer.start(self.timeout_keep_alive, self.transport.close)

    def _leave_idle(self) -> None:
        self._is_idle = False
        self._read_timer.stop()

    def _watch_writing(self) -> None:
        """Close the connection unless the caller reads something in time, again and again."""
        self._taken_bytes = self._count_taken()
        self._write_timer.start(self._limits.caller_idle_s, self._check_writing)

    def _check_writing(self) -> None:
        if not self.transport.get_write_buffer_size():
            return
        if self._count_taken() > self._taken_bytes:
            self._watch_writing()
        else:
            self.transport.abort()

    def _count_taken(self) -> int:
        """Count the bytes that the caller has read; of ASGI's answers, only the rest that shrinks."""
        return self._count_written() - self.transport.get_write_buffer_size()

    def _count_written(self) -> int:
        return self._written_bytes + (0 if self._writer is None else self._writer.sent_bytes)

    def _close(self) -> None:
        """Close the connection once its peer has read what was written."""
        self.transport.close()
        self.on_response_complete()

    def _refuse_head(self) -> None:
        text = (
            f"expected at most {self._limits.header_bytes_max} bytes of request line and headers, found more"
        )
        self._refuse(HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text))

    def _refuse(self, error: HttpError) -> None:
        self._write_last(_last_answer(error))

    def _write_last(self, answer: bytes) -> None:
        if not self._is_in_head and self.parser.get_method() == b"HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.transport.write(answer)
        self._discard_input()

    def _discard_input(self) -> None:
        """Half-close the connection and discard what still arrives: a reset would lose the answer."""
        self._is_refused = True
        if self.transport.can_write_eof():
            # If the peer has reset the connection, it is about to be reported as lost.
            with contextlib.suppress(OSError):
                self.transport.write_eof()
        self._read_timer.start(_CLOSE_S, self.transport.abort)


@functools.lru_cache(1)
def _too_many_connections(connections_max: int) -> bytes:
    message = f"the gateway is at its limit of {connections_max} connections; retry later"
    return _last_answer(MistralwireError(message, code="UNAVAILABLE", reason=Reason.TOO_MANY_CONNECTIONS))


def _last_answer(error: MistralwireError) -> bytes:
    status, body, more = answer_of(error)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    return _head_of(status, [*headers, *more]) + body


@functools.lru_cache(1)
def _date_header(now_s: int) -> Headers:
    return [(b"date", email.utils.formatdate(now_s, usegmt=True).encode())]


def _head_of(status: int, headers: Headers) -> bytes:
    lines = [b"HTTP/1.1 %d %b" % (status, _PHRASES.get(status, b"")), *map(b": ".join, headers), b"\r\n"]
    return b"\r\n".join(lines)


def _problem_of(error: httptools.HttpParserError) -> str:
    """Describe why the parser rejects a request, without quoting it."""
    if "content-length" in str(error).lower():
        return "expected one content-length of digits, or transfer-encoding chunked, found something else"
    return "expected a request in HTTP/1.1, found something else"


def _without_upgrade(data: bytes) -> bytes:
    """Remove the Upgrade header, which a server may ignore; the parser would drop the body."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"", head) + end + rest if end else data
