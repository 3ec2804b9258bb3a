"""What uvicorn itself does not bound: connections, heads, the rest of a body, slow readers."""

import asyncio
import re
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ABORT = "mistralwire.abort"
"""Name of the ASGI extension that holds a function which cuts the connection at once."""

ON_STOP = "mistralwire.on_stop"
"""Name of the ASGI extension that takes a function: it is called to end the answer when the server stops."""

# How long a peer has to take the end of a connection that nothing more is said on.
_CLOSE_S = 1.0

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 of uvicorn, for callers who may be slow, silent or too many.

    A head that is too large is refused; one that does not come in time ends the connection, and so does a
    body that is not read any more, a reader who takes nothing, and a request that does not wait for the
    answer to the one before: who has hung up could not be told otherwise.

    Attributes:
        connections_max: Connections at one time; what comes beyond is answered with `refusal`.
        head_bytes_max: Bytes of the request line and the headers.
        head_s: How long they may take to arrive, in seconds, and the rest of a body behind its answer. The
            time between two requests of a connection is uvicorn's `timeout_keep_alive`.
        idle_s: How long a caller may take nothing of an answer, in seconds.
        refusal: The whole answer for one connection too many.
    """

    connections_max: int
    head_bytes_max: int
    head_s: float
    idle_s: float
    refusal: bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        self._head_bytes = 0
        self._is_in_head = True
        self._has_head_begun = False
        self._has_ended_request = False
        self._is_refused = False
        # Bytes of a request without any of its body among them: trailers, or what poses as a chunk.
        self._idle_bytes = 0
        self._unsent_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        is_one_too_many = len(self.connections) >= self.connections_max
        super().connection_made(transport)  # type: ignore[arg-type] # as the base class has it
        if is_one_too_many:
            self._say(self.refusal)
            return
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_head_timer()
        self._stop_write_timer()
        super().connection_lost(exc)
        # uvicorn leaves it to a connection that was reset, and with it all that belongs to it.
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a head that is not complete are counted."""
        if self._is_refused or self.transport.is_closing():
            return
        # Only where the whole head is here: in a body the same bytes are something else.
        if self._is_in_head and not self._has_head_begun and (b"pgrade:" in data or b"PGRADE:" in data):
            data = _without_upgrade(data)
        self._has_ended_request = False
        self._idle_bytes += len(data)
        super().data_received(data)
        if self._has_ended_request or self.transport.is_closing():
            return
        if not self._is_in_head:
            if self._idle_bytes > self.head_bytes_max:
                self._abort()
            return
        if self._is_answering():
            # A newline behind the body: the time of the next head begins with the end of the answer.
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.head_bytes_max:
            self._refuse_head()
        elif self._head_timer is None:
            self._start_head_timer()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._has_head_begun = True
        if self._is_answering():
            self._abort()
        elif self._head_timer is None:
            self._start_head_timer()
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment] # a TypedDict without extensions of ours
        scope["extensions"] = {ABORT: self._abort}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer behind the body is none."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take the head, unless it is too large."""
        self._is_in_head = self._has_head_begun = False
        self._head_bytes = self._idle_bytes = 0
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        if self._is_refused or self.transport.is_closing():
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.head_bytes_max:
            self._refuse_head()
        elif self.parser.should_upgrade():
            # Its body would be taken for another request.
            self._refuse(HTTPStatus.BAD_REQUEST, "expected HTTP/1.1, found a request for another protocol")
        else:
            super().on_headers_complete()
            if not self.parser.should_keep_alive():
                # Earlier versions of uvicorn know fewer spellings of it.
                self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, unless its request was refused."""
        self._idle_bytes = 0
        if not self._is_refused and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the next one begins with its head."""
        self._is_in_head = True
        self._has_ended_request = True
        if self._is_refused or self.transport.is_closing():
            return
        super().on_message_complete()
        if not self._is_answering():
            # Its answer was there before the end of its body.
            self._stop_head_timer()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """End an answer."""
        super().on_response_complete()
        self._stop_write_timer()
        if self.transport.get_write_buffer_size():
            self._watch_writing()
        if not self._is_in_head and not self.transport.is_closing():
            self._start_head_timer()

    def pause_writing(self) -> None:
        """Begin to wait for a reader who is slower than the answer."""
        super().pause_writing()
        self._stop_write_timer()
        self._watch_writing()

    def resume_writing(self) -> None:
        """Go on: he has taken enough."""
        self._stop_write_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that nobody uses, even if the last answer is not taken yet."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._watch_writing()

    def shutdown(self) -> None:
        """Close the connection, or let it end with its answer."""
        super().shutdown()
        if self.transport.is_closing():
            # Over TLS the peer's consent would be waited for.
            self.loop.call_later(_CLOSE_S, self._abort)

    def _unsupported_upgrade_warning(self) -> None:
        """Leave it: it was refused, and no package is missing."""

    def stop_answer(self) -> None:
        """Ask whoever is answering to come to an end."""
        if self._is_answering():
            extensions: dict[str, Any] = self.cycle.scope["extensions"]
            if stop := extensions.get(ON_STOP):
                stop()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch_writing(self) -> None:
        """Cut the connection unless something of what waits is taken in time, again and again."""
        if self._write_timer is None:
            self._unsent_bytes = self.transport.get_write_buffer_size()
            self._write_timer = self.loop.call_later(self.idle_s, self._check_writing)

    def _check_writing(self) -> None:
        self._write_timer = None
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes >= self._unsent_bytes > 0:
            self.transport.abort()
        elif unsent_bytes:
            self._watch_writing()

    def _abort(self) -> None:
        self.transport.abort()

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(self.head_s, self._abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _refuse_head(self) -> None:
        text = f"expected at most {self.head_bytes_max} bytes of request line and headers, found more"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode()
        self._say(plain_answer(status, b"text/plain; charset=utf-8", body))

    def _say(self, answer: bytes) -> None:
        """Answer, and take no more. What still comes is thrown away: to a reset the answer would be lost."""
        self._is_refused = True
        self._stop_head_timer()
        self.transport.write(answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_CLOSE_S, self._abort)


def plain_answer(status: HTTPStatus, media_type: bytes, body: bytes) -> bytes:
    """Give the bytes of an answer that ends its connection.

    Args:
        status: The status.
        media_type: The type of the body.
        body: The body.
    """
    head = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status.value, status.phrase.encode(), media_type, len(body)) + body


def _without_upgrade(data: bytes) -> bytes:
    """Leave out the wish for another protocol, as HTTP allows: the parser would leave out the body."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"", head) + end + rest if end else data
