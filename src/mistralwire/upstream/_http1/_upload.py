"""A body of a request that comes piece by piece."""

from collections.abc import Callable
from typing import Protocol


class Sender(Protocol):
    """The connection that sends it."""

    def send_body(self, data: bytes) -> bool:
        """Send bytes of a body; return whether more may be sent at once."""
        ...

    def fail(self, error: Exception) -> None:
        """Close it at once, and end the exchange with an error."""
        ...


class Upload:
    """A body that is sent as it comes, in chunks unless its length is known.

    If its bytes are not as many as its length, the exchange fails with a ValueError, since the server would
    read what follows as another request, or wait for the rest.

    Args:
        length: Its bytes, all of which have to come; None if that is not known.
        drained: Is called when more may be written, after a `write` that returned False.

    Attributes:
        length: Its bytes, or None.
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
        # What came before there was a connection.
        self._waiting: list[bytes] = []
        self._size = 0
        self._error: ValueError | None = None
        self._has_ended = self._is_over = False

    def write(self, piece: bytes) -> bool:
        """Send a piece.

        Returns:
            Whether more may be written now; otherwise `drained` is called when it may. After the end of the
            exchange pieces are dropped.
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
        """Send what has come so far, and from now on what comes."""
        if self._error is not None:
            sender.fail(self._error)
            return
        self._sender = sender
        waiting, self._waiting = b"".join(self._waiting), []
        may_write = self._send(waiting)
        if waiting and may_write and not self._has_ended:
            self._drained()

    def detach(self) -> None:
        """Drop what still comes: the exchange is over."""
        self._sender = None
        self._is_over = True
        self._waiting.clear()

    def resume(self) -> None:
        """Go on, since the connection takes more."""
        if not self._has_ended:
            self._drained()

    def _fail(self) -> bool:
        """End the exchange, at the latest when it has a connection; nothing more of the body is sent."""
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
