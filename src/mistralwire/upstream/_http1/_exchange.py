"""A request with its response, whatever connections they need, and the errors that end it."""

import asyncio
import zlib
from collections.abc import Callable
from typing import Protocol

from mistralwire.upstream._http1._request import Origin, Sender, Upload

PIECE_BYTES_MAX = 256 * 1024
"""Bytes of an encoded body that are decoded at once: a received piece may expand a thousandfold."""

_GZIP_NAMES = ("gzip", "x-gzip")
# Input that each further member gets first: zlib copies everything that follows the end of a member.
_MEMBER_BYTES = 1024


class HttpClientError(Exception):
    """Base class of the errors that end an exchange; none quotes a server, an address or a credential."""


class UnreachableError(HttpClientError):
    """There is no connection, or it was lost before the first byte of a response."""


class TruncatedError(HttpClientError):
    """The connection ended in the middle of a response."""


class UnreadableError(HttpClientError):
    """What arrived is no HTTP/1.1 response, or one that this client does not support."""


class ResponseReceiver(Protocol):
    """Receives a response.

    Nothing is called before `HttpClient.request` has returned, nor after `end`, `failed` or
    `Exchange.cancel`. After `Exchange.pause`, only what was already read still arrives, the end included.
    """

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Receive the head: a status of 200 or more, and the headers by name in lower case."""

    def data(self, piece: bytes) -> None:
        """Receive a piece of the body, never empty: one call for everything that arrived together."""

    def end(self) -> None:
        """Receive the end of a complete response."""

    def failed(self, error: Exception) -> None:
        """Receive the error that ends the exchange: an HttpClientError, except for bugs in this program."""


class Carrier(Sender, Protocol):
    """The connection that carries an exchange."""

    def pause_reading(self) -> None:
        """Stop reading from the socket."""

    def resume_reading(self) -> None:
        """Read from the socket again."""

    def abort(self) -> None:
        """Close the connection at once."""


class Exchange:
    """A request in progress, with its response.

    `pause`, `resume`, `cancel` and `discard` are for the caller, the rest is for the connection.

    Attributes:
        head: The head of the request, as bytes.
        body: The body of the request; empty for an upload.
        upload: The body if it is sent piece by piece; otherwise None.
        is_head: Whether the method is HEAD.
        connecting: The task that opens a connection for it, if one does.
        is_over: Whether the receiver got the end, or has cancelled.
        was_repeated: Whether a reused connection was lost without a response, and the request sent again.
        data: Receives a piece of the response's body, and passes it on, decoded.
    """

    __slots__ = (
        "_carrier",
        "_decoder",
        "_receiver",
        "body",
        "connecting",
        "data",
        "head",
        "is_head",
        "is_over",
        "is_paused",
        "origin",
        "upload",
        "was_repeated",
    )

    def __init__(
        self, origin: Origin, head: bytes, body: bytes | Upload, receiver: ResponseReceiver, *, is_head: bool
    ) -> None:
        self.origin = origin
        self.head = head
        self.upload = body if isinstance(body, Upload) else None
        self.body = b"" if isinstance(body, Upload) else body
        self.is_head = is_head
        self.is_paused = False
        self.is_over = False
        self.was_repeated = False
        self._receiver = receiver
        # The receiver's own unless the body is encoded: one call less for each piece.
        self.data: Callable[[bytes], None] = receiver.data
        self._carrier: Carrier | None = None
        self.connecting: asyncio.Task[object] | None = None
        self._decoder: _ContentDecoder | None = None

    def pause(self) -> None:
        """Stop reading for now; allowed at any time, even before there is a connection."""
        self.is_paused = True
        if self._carrier is not None:
            self._carrier.pause_reading()

    def resume(self) -> None:
        """Continue after a pause."""
        if not self.is_paused:
            return
        self.is_paused = False
        if self._decoder is not None:
            self._decoder.resume()
        # The receiver may have paused again.
        if not self.is_paused and self._carrier is not None:
            self._carrier.resume_reading()

    def cancel(self) -> None:
        """Close the connection without further calls to the receiver; no effect after the end."""
        if self.is_over:
            return
        self.is_over = True
        if self.connecting is not None:
            self.connecting.cancel()
        carrier = self._carrier
        self.detach()
        if carrier is not None:
            carrier.abort()

    def discard(self, limit_s: float) -> None:
        """Discard the rest of the response to reuse its connection, or close it after `limit_s`."""
        if self.is_over:
            return
        self._receiver = _Discarder(asyncio.get_running_loop().call_later(limit_s, self.cancel))
        # The rest need not be decoded.
        self._decoder = None
        self.data = self._receiver.data
        self.resume()

    def attach(self, carrier: Carrier) -> None:
        """Note the connection that carries the exchange from now on."""
        self.connecting = None
        self._carrier = carrier
        if self.is_paused:
            carrier.pause_reading()

    def detach(self) -> None:
        """Forget the connection, which may carry another exchange from now on."""
        self.connecting = None
        self._carrier = None
        if self.upload is not None:
            self.upload.detach()

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Pass on the head; from now on the request is not sent again."""
        self.head = self.body = b""
        encoding = headers.get("content-encoding", "")
        if encoding and (encoding := encoding.strip().lower()) != "identity":
            self._decoder = _ContentDecoder(encoding, self)
            self.data = self._decoder.data
        self._receiver.head(status, headers)

    def deliver(self, piece: bytes) -> None:
        self._receiver.data(piece)

    def end(self) -> None:
        """Pass on the end, once everything before it is decoded."""
        if self._decoder is None:
            self.finish()
        else:
            self._decoder.end()

    def finish(self) -> None:
        self.is_over = True
        self._receiver.end()

    def fail(self, error: Exception) -> None:
        """End the exchange with an error, and close its connection."""
        if not self.is_over:
            self.cancel()
            self._receiver.failed(error)


class _Discarder:
    """Discards the rest of a response, for a limited time."""

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.end = timer.cancel

    def head(self, status: int, headers: dict[str, str]) -> None:
        pass

    def data(self, piece: bytes) -> None:
        pass

    def failed(self, error: Exception) -> None:  # noqa: ARG002 - a ResponseReceiver
        self.end()


class _ContentDecoder:
    """Decodes the body of an exchange that is encoded although the request asked for `identity`.

    While the receiver is paused, the rest of the input is kept encoded. An encoding that is neither gzip nor
    deflate ends the exchange with an UnreadableError when the body begins.
    """

    __slots__ = ("_exchange", "_inflater", "_is_end_due", "_is_running")

    def __init__(self, encoding: str, exchange: Exchange) -> None:
        is_known = encoding in _GZIP_NAMES or encoding == "deflate"
        self._inflater = Inflater(is_gzip=encoding in _GZIP_NAMES) if is_known else None
        self._exchange = exchange
        self._is_end_due = False
        self._is_running = False

    def data(self, piece: bytes) -> None:
        if self._inflater is None:
            self._exchange.fail(UnreadableError("a content encoding other than gzip and deflate"))
            return
        self._inflater.feed(piece)
        self.resume()

    def end(self) -> None:
        self._is_end_due = True
        self.resume()

    def resume(self) -> None:
        """Decode until the receiver pauses or more input is needed."""
        # The receiver may pause and resume from within `deliver`.
        if self._is_running:
            return
        self._is_running = True
        try:
            self._run()
        except UnreadableError as error:
            self._exchange.fail(error)
        finally:
            self._is_running = False

    def _run(self) -> None:
        exchange, inflater = self._exchange, self._inflater
        while not exchange.is_paused and not exchange.is_over:
            if inflater is not None and (piece := inflater.read()):
                exchange.deliver(piece)
                continue
            if self._is_end_due:
                if inflater is not None:
                    inflater.close()
                exchange.finish()
            return


class Inflater:
    """Decodes gzip, with any number of members, and deflate, with and without zlib's header."""

    __slots__ = ("_has_begun", "_inflate", "_input", "_input_max", "_is_gzip")

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._input = memoryview(b"")
        # Bytes of the input that are decoded at once; None for all.
        self._input_max: int | None = None
        self._has_begun = False
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS)

    def feed(self, data: bytes) -> None:
        if not data:
            return
        if not self._has_begun:
            self._has_begun = True
            self._start(data[0])
        self._input = memoryview(bytes(self._input) + data)

    def read(self) -> bytes:
        """Decode at most PIECE_BYTES_MAX bytes, none if more input is needed; or raise an UnreadableError."""
        while True:
            if self._inflate.eof:
                if not self._input:
                    return b""
                # RFC 1952, section 2.2: a file is a series of members.
                if not self._is_gzip:
                    raise UnreadableError("bytes after the end of an encoded body")
                self._start(self._input[0])
                self._input_max = _MEMBER_BYTES
            data = self._input[: self._input_max]
            try:
                piece = self._inflate.decompress(data, PIECE_BYTES_MAX)
            except zlib.error:
                raise UnreadableError("a body that is not encoded as its headers say") from None
            self._input_max = None
            rest = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            self._input = self._input[len(data) - len(rest) :]
            if piece or not (self._inflate.eof or self._input):
                return piece

    def close(self) -> None:
        """Raise an UnreadableError if the input is incomplete."""
        if self._has_begun and not self._inflate.eof:
            raise UnreadableError("an encoded body that is cut short")

    def _start(self, first: int) -> None:
        # Some servers omit zlib's header, whose first byte has the method 8 in its lower half.
        has_header = self._is_gzip or first & 0x0F == zlib.DEFLATED
        wbits = zlib.MAX_WBITS | 16 if self._is_gzip else zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
        self._inflate = zlib.decompressobj(wbits=wbits)
