"""A request, whose body may be an upload, and its response, whatever connections they need."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from mistralwire.upstream._http1._content import ContentDecoder
from mistralwire.upstream._http1._request import Origin


class ResponseReceiver(Protocol):
    """Receives a response.

    Nothing is called before `HttpClient.request` has returned, nor after `end`, `failed` or
    `Exchange.cancel`. After `Exchange.pause`, only what was already read still arrives, the end included.
    """

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Receive the head of the response.

        Args:
            status: The status, 200 or more; redirects are statuses like others.
            headers: By name in lower case; the values of a repeated header are joined by commas.
        """
        ...

    def data(self, piece: bytes) -> None:
        """Receive a piece of the body, never empty: one call for everything that arrived together."""
        ...

    def end(self) -> None:
        """Receive the end of a complete response."""
        ...

    def failed(self, error: Exception) -> None:
        """Receive the error that ends the exchange: an HttpClientError, except for bugs in this program."""
        ...


class Sender(Protocol):
    """The connection that sends an upload."""

    def send_body(self, data: bytes) -> bool:
        """Send bytes of a body; return whether more may be sent at once."""
        ...

    def fail(self, error: Exception) -> None:
        """Close the connection at once, and end the exchange with an error."""
        ...


class Carrier(Sender, Protocol):
    """The connection that carries an exchange."""

    def pause_reading(self) -> None:
        """Stop reading from the socket."""
        ...

    def resume_reading(self) -> None:
        """Read from the socket again."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...


class Upload:
    """A request body that is sent piece by piece, in chunks unless its length is known.

    If its size differs from its length, the exchange fails with a ValueError: the server would take what
    follows for another request, or wait for the rest.

    Args:
        length: Length in bytes; None if it is unknown.
        drained: Called when more may be written, after a `write` that returned False.

    Attributes:
        length: Length in bytes, or None.
        is_ended: Whether all of it was sent.
    """

    __slots__ = (
        "_drained",
        "_error",
        "_has_ended",
        "_is_over",
        "_sender",
        "_size",
        "_waiting",
        "is_ended",
        "length",
    )

    def __init__(self, length: int | None, drained: Callable[[], None]) -> None:
        self.length = length
        self.is_ended = False
        self._drained = drained
        self._sender: Sender | None = None
        # Pieces from before there was a connection.
        self._waiting: list[bytes] = []
        self._size = 0
        self._error: ValueError | None = None
        self._has_ended = self._is_over = False

    def write(self, piece: bytes) -> bool:
        """Send a piece; after the end of the exchange it is discarded.

        Returns:
            Whether more may be written now; otherwise `drained` is called when it may.
        """
        self._size += len(piece)
        if self.length is not None and self._size > self.length:
            return self._fail()
        if self.length is None and piece:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        return self._send(piece)

    def end(self) -> None:
        """Send the end of the body."""
        self._has_ended = True
        if self.length is not None and self._size != self.length:
            self._fail()
            return
        self._send(b"" if self.length is not None else b"0\r\n\r\n")

    def attach(self, sender: Sender) -> None:
        """Send on a connection from now on, beginning with what has been written so far."""
        if self._error is not None:
            sender.fail(self._error)
            return
        self._sender = sender
        waiting, self._waiting = b"".join(self._waiting), []
        may_write = self._send(waiting)
        if waiting and may_write and not self._has_ended:
            self._drained()

    def detach(self) -> None:
        """Discard further pieces, since the exchange is over."""
        self._sender = None
        self._is_over = True
        self._waiting.clear()

    def resume(self) -> None:
        """Ask for more, since the connection takes it."""
        if not self._has_ended:
            self._drained()

    def _fail(self) -> bool:
        """End the exchange as soon as it has a connection; nothing more of the body is sent."""
        if not self._is_over:
            self._error = ValueError(f"expected a body of {self.length} bytes, found {self._size}")
            sender = self._sender
            self.detach()
            if sender is not None:
                sender.fail(self._error)
        return True

    def _send(self, data: bytes) -> bool:
        if self._is_over:
            return True
        if self._sender is None:
            self._waiting.append(data)
            return False
        self.is_ended = self._has_ended
        return self._sender.send_body(data) if data else True


class Exchange:
    """A request in progress, with its response.

    `pause`, `resume`, `cancel` and `discard` are for the caller, the rest is for the connection.

    Attributes:
        origin: The peer.
        head: The head of the request, as bytes.
        body: The body of the request.
        upload: The body if it is sent piece by piece; otherwise None.
        is_head: Whether the method is HEAD.
        is_paused: Whether the receiver has paused.
        is_over: Whether the receiver got the end, or has cancelled.
        was_repeated: Whether the request was sent a second time, because a reused connection was lost without
            a response.
        data: Receives a piece of the body after the head, and passes it on, decoded.
    """

    __slots__ = (
        "_carrier",
        "_connecting",
        "_decoder",
        "_receiver",
        "body",
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
        self._connecting: asyncio.Task[object] | None = None
        self._decoder: ContentDecoder | None = None

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
        if self._connecting is not None:
            self._connecting.cancel()
        carrier = self._carrier
        self.detach()
        if carrier is not None:
            carrier.abort()

    def discard(self, limit_s: float) -> None:
        """Read and discard the rest of the response, so that its connection can be reused.

        Args:
            limit_s: Seconds until the connection is closed instead.
        """
        if self.is_over:
            return
        self._receiver = _Discarder(asyncio.get_running_loop().call_later(limit_s, self.cancel))
        # The rest need not be decoded.
        self._decoder = None
        self.data = self._receiver.data
        self.resume()

    def wait_for(self, connecting: "asyncio.Task[object]") -> None:
        """Note the task that opens a connection."""
        self._connecting = connecting

    def attach(self, carrier: Carrier) -> None:
        """Note the connection that carries the exchange from now on."""
        self._connecting = None
        self._carrier = carrier
        if self.is_paused:
            carrier.pause_reading()

    def detach(self) -> None:
        """Forget the connection, which may carry another exchange from now on."""
        self._connecting = None
        self._carrier = None
        if self.upload is not None:
            self.upload.detach()

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Pass on the head; from now on the request is not sent again."""
        self.head = self.body = b""
        encoding = headers.get("content-encoding", "")
        if encoding and (encoding := encoding.strip().lower()) != "identity":
            self._decoder = ContentDecoder(encoding, self)
            self.data = self._decoder.data
        self._receiver.head(status, headers)

    def deliver(self, piece: bytes) -> None:
        """Pass on a decoded piece of the body."""
        self._receiver.data(piece)

    def end(self) -> None:
        """Pass on the end, once everything before it is decoded."""
        if self._decoder is None:
            self.finish()
        else:
            self._decoder.end()

    def finish(self) -> None:
        """Pass on the end."""
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
        self._timer = timer

    def head(self, status: int, headers: dict[str, str]) -> None:
        pass

    def data(self, piece: bytes) -> None:
        pass

    def end(self) -> None:
        self._timer.cancel()

    def failed(self, error: Exception) -> None:  # noqa: ARG002 - a ResponseReceiver
        self._timer.cancel()
