"""A request and its response, whatever connections they need."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from mistralwire.upstream._http1._content import ContentDecoder
from mistralwire.upstream._http1._request import Origin
from mistralwire.upstream._http1._upload import Upload


class Receiver(Protocol):
    """Takes a response.

    Nothing is called before `HttpClient.request` has returned, nor after `end`, `failed` or
    `Exchange.cancel`. After `Exchange.pause`, at most what was read already still comes, the end included.
    """

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Take the head of the response.

        Args:
            status: The status, 200 or more; redirects are statuses like others.
            headers: By name in lower case; the values of a repeated header are joined by commas.
        """
        ...

    def data(self, piece: bytes) -> None:
        """Take a piece of the body, never empty: one call for all that arrived together."""
        ...

    def end(self) -> None:
        """Take the end of a complete response."""
        ...

    def failed(self, error: Exception) -> None:
        """Take the error that ends the exchange, an HttpClientError unless this program is wrong."""
        ...


class Carrier(Protocol):
    """The connection that an exchange uses."""

    def pause_reading(self) -> None:
        """Read no more from the socket."""
        ...

    def resume_reading(self) -> None:
        """Read from the socket again."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...

    def send_body(self, data: bytes) -> bool:
        """Send bytes of a body; return whether more may be sent at once."""
        ...


class Exchange:
    """A request that is under way, with its response.

    `pause`, `resume`, `cancel` and `discard` are for who made the request, the rest is for its connection.

    Attributes:
        origin: Whom the request is for.
        head: The request's head, as bytes.
        body: The request's body.
        upload: The body in its place that is sent as it comes; None if there is none.
        is_head: Whether the method is HEAD.
        is_paused: Whether the receiver wants no more for now.
        is_over: Whether the receiver has heard the end, or cancelled.
        was_repeated: Whether the request was sent a second time, because a connection that had been used
            before was lost without a response.
        data: Takes a piece of the body, and passes it on, decoded; once the head has come.
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
        self, origin: Origin, head: bytes, body: bytes | Upload, receiver: Receiver, *, is_head: bool
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
        # The receiver's own where nothing is decoded: a call less for each piece.
        self.data: Callable[[bytes], None] = receiver.data
        self._carrier: Carrier | None = None
        self._connecting: asyncio.Task[object] | None = None
        self._decoder: ContentDecoder | None = None

    def pause(self) -> None:
        """Read no more for now; at any time, before there is a connection too."""
        self.is_paused = True
        if self._carrier is not None:
            self._carrier.pause_reading()

    def resume(self) -> None:
        """Go on after a pause."""
        if not self.is_paused:
            return
        self.is_paused = False
        if self._decoder is not None:
            self._decoder.resume()
        # The receiver may have paused again.
        if not self.is_paused and self._carrier is not None:
            self._carrier.resume_reading()

    def cancel(self) -> None:
        """End the exchange and close its connection; the receiver hears no more. No effect at its end."""
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
        """Read the rest of the response for nobody, so that its connection can be used again.

        Args:
            limit_s: Seconds until the connection is closed instead.
        """
        if self.is_over:
            return
        self._receiver = _Rest(asyncio.get_running_loop().call_later(limit_s, self.cancel))
        # The encoded rest needs no decoding.
        self._decoder = None
        self.data = self._receiver.data
        self.resume()

    def wait_for(self, connecting: "asyncio.Task[object]") -> None:
        """Note the task that opens a connection for it."""
        self._connecting = connecting

    def attach(self, carrier: Carrier) -> None:
        """Note the connection that carries it from now on."""
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
        """Pass on the head; the request is not sent again from here on."""
        self.head = self.body = b""
        encoding = headers.get("content-encoding", "")
        if encoding and (encoding := encoding.strip().lower()) != "identity":
            self._decoder = ContentDecoder(encoding, self)
            self.data = self._decoder.data
        self._receiver.head(status, headers)

    def deliver(self, piece: bytes) -> None:
        """Pass on a piece of the body that is decoded already."""
        self._receiver.data(piece)

    def end(self) -> None:
        """Pass on the end, once all before it is decoded."""
        if self._decoder is None:
            self.is_over = True
            self._receiver.end()
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


class _Rest:
    """Receives what nobody wants."""

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self._timer = timer

    def head(self, status: int, headers: dict[str, str]) -> None:
        pass

    def data(self, piece: bytes) -> None:
        pass

    def end(self) -> None:
        self._timer.cancel()

    def failed(self, error: Exception) -> None:  # noqa: ARG002 - a Receiver
        self._timer.cancel()
