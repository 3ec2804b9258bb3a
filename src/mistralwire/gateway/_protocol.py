"""What uvicorn itself does not bound: the head of a request, in bytes and in time."""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ABORT = "mistralwire.abort"
"""Name of the ASGI extension that holds a function which cuts the connection at once."""


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 of uvicorn, which refuses a head that is too large, and hangs up where one does not come.

    Attributes:
        head_bytes_max: Bytes of the request line and the headers.
        head_s: How long they may take to arrive, in seconds; the time between two requests of a connection is
            uvicorn's `timeout_keep_alive`.
    """

    head_bytes_max: int
    head_s: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        self._head_bytes = 0
        self._is_in_head = True
        self._has_ended_request = False
        super().connection_made(transport)  # type: ignore[arg-type] # as the base class has it
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(self.head_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a head that is not complete are counted."""
        self._has_ended_request = False
        super().data_received(data)
        if not self._is_in_head or self._has_ended_request or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.head_bytes_max:
            self._refuse()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_s, self._give_up)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment] # a TypedDict without extensions of ours
        scope["extensions"] = {ABORT: self._abort}

    def on_headers_complete(self) -> None:
        """Take the head, unless it is too large."""
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_timer()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.head_bytes_max:
            self._refuse()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, unless its request was refused."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the next one begins with its head."""
        self._is_in_head = True
        self._has_ended_request = True
        if not self.transport.is_closing():
            super().on_message_complete()

    def _abort(self) -> None:
        self.transport.abort()

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self) -> None:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        text = f"expected at most {self.head_bytes_max} bytes of request line and headers, found more\n"
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(text)}\r\nconnection: close\r\n\r\n{text}".encode()
        )
        self.transport.close()
