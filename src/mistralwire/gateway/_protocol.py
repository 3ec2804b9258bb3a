"""HTTP/1.1 for callers who may be slow, silent or too many, with a short cut for completions."""

import asyncio
import contextlib
import email.utils
import functools
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from mistralwire._response_stream import EventWriter
from mistralwire.errors import MistralwireError, Reason
from mistralwire.gateway._completion import Completion
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._edge import Edge
from mistralwire.gateway._edge_request import BREAK_OFF_S, EdgeRequest
from mistralwire.gateway._errors import EdgeError, Headers, answer_of
from mistralwire.gateway._heads import foreign_name, is_by_foreign_name, problem_of_keys
from mistralwire.gateway._passthrough import METHODS, Passthrough, PassthroughRoute, find_passthrough
from mistralwire.gateway._routes import find_route

# How long a peer has to take the end of a connection that nothing more is said on.
_CLOSE_S = 1.0

_WITHOUT_BODY = (204, 304)
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
# RFC 3986, section 3.2.2: a name or an address, and a port; empty where the target has no authority.
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)


class HttpProtocol(HttpToolsProtocol):
    """A connection: uvicorn's, with bounds; completions are answered here and never see ASGI.

    A head that is too large is refused, and one that could be read in two ways; one that does not come in
    time ends the connection, and so does a body that is not read any more, a reader who takes nothing, and a
    request that does not wait for the answer to the one before: who has hung up could not be told otherwise.
    It is the Responder of its completions.

    Args:
        edge: What answers completions; None to leave them to ASGI.
        bounds: The settings of the gateway.
        config: The settings of uvicorn.
        server_state: What all connections share.
    """

    def __init__(
        self, edge: Edge | None, bounds: GatewayConfig, config: uvicorn.Config, server_state: ServerState
    ) -> None:
        super().__init__(config, server_state, {})
        self._edge = edge
        self._bounds = bounds
        # What is answered here.
        self._completion: EdgeRequest | None = None
        # Whether the request that is being read, or was the last, is that of a completion.
        self._is_direct = False
        self._is_chunked = self._keeps_alive = False
        self._head = b""
        # Of the last request whose head was in order.
        self._host: bytes | None = None
        self._is_body_paused = False
        self._cors_headers: Headers = []
        self._is_in_head = True
        self._has_head_begun = self._has_ended_request = self._is_idle = self._is_refused = False
        self._head_bytes = 0
        # Bytes of a request without any of its body among them: trailers, or what poses as a chunk.
        self._idle_bytes = 0
        # Of what has just come.
        self._piece_bytes = 0
        self._taken_bytes = self._written_bytes = 0
        # Of the last stream; what it has written counts, too.
        self._writer: EventWriter | None = None
        # What is done unless bytes come in time, and the time by which they must, in that of the event loop.
        self._read_action: Callable[[], None] | None = None
        self._read_due_s = 0.0
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        is_one_too_many = len(self.connections) >= self._bounds.connections_max
        super().connection_made(transport)  # type: ignore[arg-type] # as the base class has it
        if is_one_too_many:
            self._say(_refusal(self._bounds.connections_max))
        else:
            self._start_read_timer(self._bounds.request_s, self._abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        if self._completion is not None:
            self._completion.gone()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a head that is not complete are counted."""
        if self._is_refused or self.transport.is_closing():
            return
        # Only where the whole head is here: in a body the same bytes are something else.
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
                # Of a callback: nothing that the caller did.
                raise cause from None
            if self._is_in_head and self._is_answering():
                self._abort()
            elif not self._is_refused and not self.transport.is_closing():
                self._refuse(HTTPStatus.BAD_REQUEST, _problem_of(error))
        if self._is_refused or self.transport.is_closing():
            return
        if not self._is_in_head:
            if self._idle_bytes > self._bounds.header_bytes_max:
                self._abort()
            elif self._completion is not None and self._read_action is None and not self._is_body_paused:
                self._start_read_timer(self._bounds.request_s, self._completion.late)
        elif not self._is_answering():
            # Behind an answer that runs, a newline is no head: its time begins with the end of the answer.
            self._head_bytes += 0 if self._has_ended_request else len(data)
            if self._head_bytes > self._bounds.header_bytes_max:
                self._refuse_head()
            elif self._read_action is None:
                self._start_read_timer(self._bounds.request_s, self._abort)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._has_head_begun = True
        self._is_direct = False
        if self._is_answering():
            self._abort()
        if self._is_idle:
            self._leave_idle()
        self._idle_bytes = self._piece_bytes
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Take the head, unless it is too large, or could be read in two ways."""
        self._is_in_head = self._has_head_begun = False
        # What came bounds the head, and is seldom above the bound.
        is_large = self._idle_bytes > self._bounds.header_bytes_max
        if is_large:
            size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
            is_large = size > self._bounds.header_bytes_max
        self._head_bytes = self._idle_bytes = 0
        self._stop_read_timer()
        if self._is_refused or self.transport.is_closing():
            return
        self.server_state.default_headers = _date_header(int(time.time()))
        headers, version = dict(self.headers), self.parser.get_http_version()
        if is_large:
            self._refuse_head()
        elif problem := self._problem_of_head(version, headers):
            self._refuse(HTTPStatus.BAD_REQUEST, problem)
        elif (method := self.parser.get_method()) in (b"GET", b"HEAD") and is_by_foreign_name(
            self._bounds, self.url, self.headers
        ):
            self._say(_foreign_name())
        elif self._edge is not None and method == b"POST" and (found := find_route(self.url)):
            self._is_chunked = version == "1.1"
            self._begin_direct(self._edge, Completion(self._edge, *found, headers, self), headers)
        elif self._edge is not None and (route := find_passthrough(self._edge.passthrough_paths, self.url)):
            self._is_chunked = version == "1.1"
            self._begin_passthrough(self._edge, route, method.decode(), headers)
        else:
            self._begin_asgi()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, unless its request was refused."""
        self._idle_bytes = 0
        if self._is_direct:
            if self._completion is not None:
                self._completion.receive(body)
        elif not self._is_refused and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the next one begins with its head."""
        self._is_in_head = self._has_ended_request = True
        if self._is_refused or self.transport.is_closing():
            return
        if self._completion is not None:
            self._stop_read_timer()
            self._completion.receive_end()
            return
        if not self._is_direct:
            super().on_message_complete()
        if not self._is_answering():
            # Its answer was there before the end of its body.
            self._wait_for_request()

    def on_response_complete(self) -> None:
        """End an answer, of ASGI or of a completion."""
        if self.transport.get_write_buffer_size():
            self._watch_writing()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._is_in_head:
            self._wait_for_request()
        else:
            self._start_read_timer(self._bounds.request_s, self._abort)

    def pause_writing(self) -> None:
        """Begin to wait for a reader who is slower than the answer."""
        super().pause_writing()
        self._watch_writing()
        if self._completion is not None:
            self._completion.pause()

    def resume_writing(self) -> None:
        """Go on: the caller has taken enough."""
        # They have taken something: what is left then is watched anew.
        self._taken_bytes = self._count_taken() - 1
        super().resume_writing()
        if self._completion is not None:
            self._completion.resume()

    def shutdown(self) -> None:
        """Close the connection, or let it end with its answer."""
        if self._completion is not None:
            self._keeps_alive = False
            return
        super().shutdown()
        if self.transport.is_closing():
            # Over TLS the peer's consent would be waited for.
            self._start_read_timer(_CLOSE_S, self._abort)

    def stop_answer(self) -> None:
        """Ask a completion that runs to come to an end."""
        if self._completion is not None:
            self._completion.stop()

    def begin(self, status: int, headers: Headers, length: int | None) -> None:
        """Take status and headers of a completion's answer; they are sent with the first part of its body."""
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        elif self._is_chunked and status not in _WITHOUT_BODY:
            headers.append((b"transfer-encoding", b"chunked"))
        if not self._keeps_alive:
            headers.append((b"connection", b"close"))
        self._is_chunked &= length is None and status not in _WITHOUT_BODY
        headers += self._cors_headers
        self._head = _head_of(status, [*self.server_state.default_headers, *headers])

    def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Write a part of a completion's answer."""
        if self._is_chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if is_last:
                body += b"0\r\n\r\n"
        if self._head:
            body, self._head = self._head + body, b""
        self._written_bytes += len(body)
        self.transport.write(body)
        if is_last:
            self._completion = None
            if not self._keeps_alive and self._is_in_head:
                self.transport.close()
            elif not self._keeps_alive:
                self._take_no_more()
                return
            self.on_response_complete()

    def event_writer(self) -> EventWriter:
        """Return what writes events of a completion's answer, once its head was sent."""
        self._written_bytes = self._count_written()
        self._writer = EventWriter(self.transport.write, is_chunked=self._is_chunked)
        return self._writer

    def break_off(self, body: bytes) -> None:
        """Write the last part of an answer, and no last chunk of HTTP: the caller sees a broken transfer."""
        self.write(body)
        self._completion = None
        self._is_refused = True
        self._start_read_timer(BREAK_OFF_S, self._close)

    @property
    def address(self) -> str:
        """The caller's address; empty on a Unix socket."""
        return "" if self.client is None else self.client[0]

    def _begin_asgi(self) -> None:
        """Leave a request to the application, which alone needs what uvicorn makes at its beginning."""
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers += headers
        super().on_headers_complete()
        # Trailers are no headers: these are the application's now.
        self.headers = []
        if not self.parser.should_keep_alive():
            # Earlier versions of uvicorn know fewer spellings of it.
            self.cycle.keep_alive = False

    def pause_body(self) -> None:
        """Read no more of the request; what it waits for is not its caller."""
        self._is_body_paused = True
        self._stop_read_timer()
        self.flow.pause_reading()

    def resume_body(self) -> None:
        """Read more of it."""
        self._is_body_paused = False
        self.flow.resume_reading()
        if not self._is_in_head and self._completion is not None:
            self._start_read_timer(self._bounds.request_s, self._completion.late)

    def _begin_passthrough(
        self, edge: Edge, route: PassthroughRoute, method: str, headers: Mapping[bytes, bytes]
    ) -> None:
        if method in METHODS:
            request = Passthrough(edge, route, method=method, headers=headers, responder=self)
            self._begin_direct(edge, request, headers)
        else:
            self._begin_asgi()

    def _begin_direct(self, edge: Edge, request: EdgeRequest, headers: Mapping[bytes, bytes]) -> None:
        self._is_direct = True
        self._is_body_paused = False
        self._keeps_alive = self._is_chunked and self.parser.should_keep_alive()
        self._cors_headers = edge.cors_headers(headers)
        self._completion = request
        request.begin()
        if self.expect_100_continue and self._is_chunked and not request.is_over:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _is_answering(self) -> bool:
        is_in_asgi = self.cycle is not None and not self.cycle.response_complete
        return self._completion is not None or is_in_asgi

    def _problem_of_head(self, version: str, headers: Mapping[bytes, bytes]) -> str | None:
        """Find what could be read in two ways by whoever stands before the gateway, or is no HTTP/1.1.

        Source: RFC 9112, 3.2 (Host) and 6.1 (Transfer-Encoding).
        """
        if self.parser.should_upgrade():
            # Its body would be taken for another request.
            return "expected HTTP/1.1, found a request for another protocol"
        if version not in ("1.1", "1.0"):
            return "expected HTTP/1.1, found another version"
        host = headers.get(b"host")
        has_one_of_each = len(headers) == len(self.headers)
        if (
            host is not None
            and host == self._host
            and has_one_of_each
            and b"transfer-encoding" not in headers
        ):
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
        self._start_read_timer(self.timeout_keep_alive, self.transport.close)

    def _leave_idle(self) -> None:
        self._is_idle = False
        self._stop_read_timer()

    def _start_read_timer(self, delay_s: float, action: Callable[[], None]) -> None:
        """Note what to do, and when; a timer that expires before that is left to look at the new time."""
        self._read_action = action
        self._read_due_s = self.loop.time() + delay_s
        if self._read_timer is not None and self._read_timer.when() > self._read_due_s:
            self._read_timer.cancel()
            self._read_timer = None
        if self._read_timer is None:
            self._read_timer = self.loop.call_at(self._read_due_s, self._check_reading)

    def _stop_read_timer(self) -> None:
        self._read_action = None

    def _check_reading(self) -> None:
        self._read_timer = None
        action = self._read_action
        if action is None:
            return
        if self._read_due_s > self.loop.time():
            self._read_timer = self.loop.call_at(self._read_due_s, self._check_reading)
        else:
            self._read_action = None
            action()

    def _watch_writing(self) -> None:
        """Cut the connection unless something of what waits is taken in time, again and again."""
        if self._write_timer is not None:
            self._write_timer.cancel()
        self._taken_bytes = self._count_taken()
        self._write_timer = self.loop.call_later(self._bounds.caller_idle_s, self._check_writing)

    def _check_writing(self) -> None:
        if not self.transport.get_write_buffer_size():
            return
        if self._count_taken() > self._taken_bytes:
            self._watch_writing()
        else:
            self._abort()

    def _count_taken(self) -> int:
        """Count the bytes of completions that were taken; of other answers, only that the rest gets less."""
        return self._count_written() - self.transport.get_write_buffer_size()

    def _count_written(self) -> int:
        return self._written_bytes + (0 if self._writer is None else self._writer.sent_bytes)

    def _abort(self) -> None:
        self.transport.abort()

    def _close(self) -> None:
        """Close the connection, as soon as its peer has taken what was written."""
        self.transport.close()
        self.on_response_complete()

    def _refuse_head(self) -> None:
        text = (
            f"expected at most {self._bounds.header_bytes_max} bytes of request line and headers, found more"
        )
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._say(_last_answer(EdgeError(status, text)))

    def _say(self, answer: bytes) -> None:
        """Answer, and take no more."""
        if not self._is_in_head and self.parser.get_method() == b"HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.transport.write(answer)
        self._take_no_more()

    def _take_no_more(self) -> None:
        """Throw away what still comes: to a reset, the answer would be lost."""
        self._is_refused = True
        if self.transport.can_write_eof():
            # A peer who has reset the connection is about to be reported as gone.
            with contextlib.suppress(OSError):
                self.transport.write_eof()
        self._start_read_timer(_CLOSE_S, self._abort)


@functools.lru_cache(1)
def _refusal(connections_max: int) -> bytes:
    """Return the whole answer for one connection too many."""
    message = f"the gateway has {connections_max} connections, as many as it takes; try again later"
    return _last_answer(MistralwireError(message, code="UNAVAILABLE", reason=Reason.TOO_MANY_CONNECTIONS))


@functools.lru_cache(1)
def _foreign_name() -> bytes:
    """Return the whole answer for a request by a name that may be anybody's."""
    return _last_answer(foreign_name())


def _last_answer(error: MistralwireError) -> bytes:
    """Return the bytes of an answer that ends its connection."""
    status, body, more = answer_of(error)
    length = b"%d" % len(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close")]
    return _head_of(status, [*headers, *more]) + body


@functools.lru_cache(1)
def _date_header(now_s: int) -> Headers:
    return [(b"date", email.utils.formatdate(now_s, usegmt=True).encode())]


def _head_of(status: int, headers: Headers) -> bytes:
    lines = [b"HTTP/1.1 %d %b" % (status, _PHRASES.get(status, b"")), *map(b": ".join, headers), b"\r\n"]
    return b"\r\n".join(lines)


def _problem_of(error: httptools.HttpParserError) -> str:
    """Return what is wrong with a request that the parser refuses; its text has nothing of the request."""
    if "content-length" in str(error).lower():
        return "expected one content-length of digits, or transfer-encoding chunked, found something else"
    return "expected a request in HTTP/1.1, found something else"


def _without_upgrade(data: bytes) -> bytes:
    """Leave out the wish for another protocol, as HTTP allows: the parser would leave out the body."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"", head) + end + rest if end else data
