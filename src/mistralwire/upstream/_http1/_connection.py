"""A connection: sends requests and reads responses, one after the other."""

import asyncio
import ssl
from typing import Protocol, cast

from mistralwire.upstream._http1._exchange import (
    Exchange,
    TruncatedError,
    UnreachableError,
    UnreadableError,
)
from mistralwire.upstream._http1._request import Origin
from mistralwire.upstream._http1._response import ResponseReader

# A body up to this size is written together with its head, a larger one in pieces of this size.
_PIECE_BYTES = 64 * 1024
# Pieces that are written before other connections get a turn, even if the socket takes more.
_PIECES_AT_ONCE = 8
_REFUSED = 400


class Owner(Protocol):
    """The owner of a connection."""

    def release(self, connection: "Connection") -> None:
        """Keep a connection that can carry another exchange."""

    def lost(self, connection: "Connection") -> None:
        """Forget a connection that is closed."""

    def repeat(self, exchange: Exchange) -> None:
        """Send a request again on a new connection."""


class Connection(asyncio.Protocol):
    """An open connection to an origin or its proxy.

    Attributes:
        was_idle: Whether it has ever been idle: the peer may have closed it meanwhile.
        idle_since_s: When it last became idle, in the event loop's time.
        is_lost: Whether it is closed and the owner knows.
    """

    __slots__ = (
        "_exchange",
        "_has_dropped",
        "_is_head_due",
        "_is_writing_paused",
        "_owner",
        "_reader",
        "_transport",
        "_unsent",
        "idle_since_s",
        "is_lost",
        "origin",
        "was_idle",
    )

    _transport: asyncio.Transport

    def __init__(self, owner: Owner, origin: Origin) -> None:
        self.origin = origin
        self._owner = owner
        self._exchange: Exchange | None = None
        self._reader = ResponseReader(is_head=False)
        # Whether a part of an upload was discarded.
        self._has_dropped = False
        self._is_head_due = False
        self._is_writing_paused = False
        self._unsent = memoryview(b"")
        self.was_idle = False
        self.idle_since_s = 0.0
        self.is_lost = False

    @property
    def is_open(self) -> bool:
        """Whether it can carry an exchange; False as soon as either side begins to close it."""
        return not self._transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._reader.begin(is_head=exchange.is_head)
        self._has_dropped = False
        self._is_head_due = True
        exchange.attach(self)
        if len(exchange.body) <= _PIECE_BYTES:
            self._transport.write(exchange.head + exchange.body)
        else:
            self._transport.write(exchange.head)
            self._unsent = memoryview(exchange.body)
            self._send_more()
        if exchange.upload is not None:
            exchange.upload.attach(self)

    def send_body(self, data: bytes) -> bool:
        # As in `_send_more`.
        if self.is_open and self._reader.status < _REFUSED:
            self._transport.write(data)
        else:
            self._has_dropped = True
        return not self._is_writing_paused

    def pause_reading(self) -> None:
        if self.is_open:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.is_open:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close the connection at once, without an error for its exchange."""
        self._exchange = None
        self._unsent = memoryview(b"")
        self._transport.abort()

    def fail(self, error: Exception) -> None:
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange is not None:
            exchange.detach()
            exchange.fail(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The TLS transports of asyncio and uvloop are no subclasses of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            # No request has asked for it.
            self.abort()
            return
        reader = self._reader
        piece = reader.feed(data)
        if self._is_head_due and reader.status:
            self._is_head_due = False
            exchange.begin(reader.status, reader.headers)
            if self._exchange is not exchange:
                return
        if piece:
            exchange.data(piece)
            if self._exchange is not exchange:
                return
        if reader.is_ended:
            self._finish(exchange)
        elif reader.error is not None:
            self.fail(UnreadableError(reader.error))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange, with an error unless the response is complete; or have it repeated."""
        self.is_lost = True
        self._owner.lost(self)
        exchange, self._exchange = self._exchange, None
        self._unsent = memoryview(b"")
        reader = self._reader
        reader.free()
        if exchange is None:
            return
        exchange.detach()
        if exc is None:
            reader.close()
        if reader.is_ended:
            exchange.end()
        elif reader.has_begun:
            exchange.fail(TruncatedError("a part of one"))
        elif self.was_idle and not exchange.was_repeated:
            # The peer closed it before the request arrived: servers close idle connections at any time.
            exchange.was_repeated = True
            self._owner.repeat(exchange)
        else:
            exchange.fail(_lost_error(exc))

    def pause_writing(self) -> None:
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        self._send_more()
        if self._exchange is not None and self._exchange.upload is not None:
            self._exchange.upload.resume()

    def _send_more(self) -> None:
        for _ in range(_PIECES_AT_ONCE):
            # RFC 9112, section 9.5: a server that rejects the request needs no more of it.
            if not self._unsent or self._is_writing_paused or self._reader.status >= _REFUSED:
                return
            piece, self._unsent = self._unsent[:_PIECE_BYTES], self._unsent[_PIECE_BYTES:]
            self._transport.write(piece)
        if self._unsent:
            asyncio.get_running_loop().call_soon(self._send_more)

    def _finish(self, exchange: Exchange) -> None:
        """Release the connection before the exchange ends, so that a request from `end` can use it."""
        self._exchange = None
        exchange.detach()
        # The peer would read the rest of this request as the beginning of the next one.
        is_sent = not self._unsent and (exchange.upload is None or exchange.upload.is_ended)
        if not is_sent or self._has_dropped or not self._reader.is_reusable:
            self.abort()
        else:
            if exchange.is_paused:
                self.resume_reading()
            self._owner.release(self)
        exchange.end()


def _lost_error(error: Exception | None) -> UnreachableError:
    """Return the error for a connection that was lost before the first byte of a response."""
    if isinstance(error, ssl.SSLError):
        # Such as a server's that requires a client certificate, which it sends after the TLS 1.3 handshake.
        return UnreachableError("TLS failed")
    if error is None or isinstance(error, ConnectionResetError | BrokenPipeError):
        return UnreachableError("it closed the connection instead of answering")
    return UnreachableError("the connection broke")
