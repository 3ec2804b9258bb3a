"""One connection: it sends requests and reads responses, one after the other."""

import asyncio
import ssl
from typing import Protocol, cast

from mistralwire.upstream._http1._errors import TruncatedError, UnreachableError, UnreadableError
from mistralwire.upstream._http1._exchange import Exchange
from mistralwire.upstream._http1._request import Origin
from mistralwire.upstream._http1._response import ResponseReader

# A request up to this size is written at once with its head, a larger one in pieces of it.
_PIECE_BYTES = 64 * 1024
# How many pieces are written before other connections have their turn, even if the socket takes more.
_PIECES_AT_ONCE = 8
_REFUSED = 400


class Owner(Protocol):
    """Who keeps connections."""

    def release(self, connection: "Connection") -> None:
        """Take a connection that can carry another exchange."""
        ...

    def lost(self, connection: "Connection") -> None:
        """Take note of a connection that is closed."""
        ...

    def repeat(self, exchange: Exchange) -> None:
        """Send a request again, on a new connection."""
        ...


class Connection(asyncio.Protocol):
    """An open connection to an origin or its proxy.

    Args:
        owner: Who keeps it.
        origin: Whom it reaches.

    Attributes:
        origin: Whom it reaches.
        was_idle: Whether it has ever been idle; it may have been closed by the origin then.
        idle_since_s: Time of the event loop at which it last became idle.
        is_lost: Whether it is closed, and its owner knows.
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
        # Whether not all of a body that comes in pieces was sent.
        self._has_dropped = False
        self._is_head_due = False
        self._is_writing_paused = False
        self._unsent = memoryview(b"")
        self.was_idle = False
        self.idle_since_s = 0.0
        self.is_lost = False

    @property
    def is_open(self) -> bool:
        """Whether an exchange can use it: False as soon as either side begins to close it."""
        return not self._transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        """Send the request of an exchange, and pass the response on to it."""
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
        """Send bytes of a body; return whether more may be sent at once."""
        # As in _send_more.
        if self.is_open and self._reader.status < _REFUSED:
            self._transport.write(data)
        else:
            self._has_dropped = True
        return not self._is_writing_paused

    def pause_reading(self) -> None:
        """Read no more from the socket."""
        if self.is_open:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the socket again."""
        if self.is_open:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close it at once; an exchange that uses it hears nothing of that."""
        self._exchange = None
        self._unsent = memoryview(b"")
        self._transport.abort()

    def fail(self, error: Exception) -> None:
        """Close it at once, and end the exchange that uses it with an error."""
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange is not None:
            exchange.detach()
            exchange.fail(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # asyncio's and uvloop's transports of TLS are no subclasses of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read a part of a response, and pass it on in one call."""
        exchange = self._exchange
        if exchange is None:
            # Nobody has asked for it: whose it would be can't be told.
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
            exchange.fail(TruncatedError("a connection that ended in the middle of the response"))
        elif self.was_idle and not exchange.was_repeated:
            # It was closed before the request came: servers close idle connections at any time.
            exchange.was_repeated = True
            self._owner.repeat(exchange)
        else:
            exchange.fail(_lost(exc))

    def pause_writing(self) -> None:
        """Send no more of a request for now."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """Send more of a request."""
        self._is_writing_paused = False
        self._send_more()
        if self._exchange is not None and self._exchange.upload is not None:
            self._exchange.upload.resume()

    def _send_more(self) -> None:
        for _ in range(_PIECES_AT_ONCE):
            # RFC 9112, section 9.5: who refuses the request needs no more of it.
            if not self._unsent or self._is_writing_paused or self._reader.status >= _REFUSED:
                return
            piece, self._unsent = self._unsent[:_PIECE_BYTES], self._unsent[_PIECE_BYTES:]
            self._transport.write(piece)
        if self._unsent:
            asyncio.get_running_loop().call_soon(self._send_more)

    def _finish(self, exchange: Exchange) -> None:
        """Give the connection back before the exchange hears the end, so that its next request can use it."""
        self._exchange = None
        exchange.detach()
        # What is left of a request would be read as the beginning of the next.
        is_sent = not self._unsent and (exchange.upload is None or exchange.upload.is_ended)
        if not is_sent or self._has_dropped or not self._reader.is_reusable:
            self.abort()
        else:
            if exchange.is_paused:
                self.resume_reading()
            self._owner.release(self)
        exchange.end()


def _lost(error: Exception | None) -> UnreachableError:
    """Return the error for a connection that is lost before the first byte of a response."""
    if isinstance(error, ssl.SSLError):
        # Such as a server's that wants a certificate of the client, said behind the handshake of TLS 1.3.
        return UnreachableError("TLS failed")
    if error is None or isinstance(error, ConnectionResetError | BrokenPipeError):
        return UnreachableError("it closed the connection instead of answering")
    return UnreachableError("the connection broke")
