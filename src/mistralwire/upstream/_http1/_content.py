"""Decodes bodies that are encoded although the request asked for `identity`, in bounded pieces."""

import zlib
from typing import Protocol

from mistralwire.upstream._http1._errors import UnreadableError

PIECE_BYTES_MAX = 256 * 1024
"""Bytes that are decoded at once: a received piece may expand a thousandfold."""

_GZIP_NAMES = ("gzip", "x-gzip")
# Input that each further member gets first: zlib copies everything that follows the end of a member.
_MEMBER_BYTES = 1024


class _Flow(Protocol):
    """The exchange whose body is decoded."""

    @property
    def is_paused(self) -> bool: ...

    @property
    def is_over(self) -> bool: ...

    def deliver(self, piece: bytes) -> None: ...

    def finish(self) -> None: ...

    def fail(self, error: Exception) -> None: ...


class Inflater:
    """Decodes gzip, with any number of members, and deflate, with and without zlib's header.

    Args:
        is_gzip: Whether the encoding is gzip.
    """

    __slots__ = ("_has_begun", "_inflate", "_input", "_input_max", "_is_gzip")

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._input = memoryview(b"")
        # Bytes of the input that are decoded at once; None for all.
        self._input_max: int | None = None
        self._has_begun = False
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS)

    def feed(self, data: bytes) -> None:
        """Add encoded bytes."""
        if not data:
            return
        if not self._has_begun:
            self._has_begun = True
            self._start(data[0])
        self._input = memoryview(bytes(self._input) + data)

    def read(self) -> bytes:
        """Decode at most PIECE_BYTES_MAX bytes; none if more input is needed.

        Raises:
            UnreadableError: If the input is invalid.
        """
        while True:
            if self._inflate.eof:
                # RFC 1952, section 2.2: a file is a series of members.
                if not self._input or not self._is_gzip:
                    return self._at_end()
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
        """Check that the input is complete.

        Raises:
            UnreadableError: If it is not.
        """
        if self._has_begun and not self._inflate.eof:
            raise UnreadableError("an encoded body that is cut short")

    def _start(self, first: int) -> None:
        # Some servers omit zlib's header, whose first byte has the method 8 in its lower half.
        has_header = self._is_gzip or first & 0x0F == zlib.DEFLATED
        wbits = zlib.MAX_WBITS | 16 if self._is_gzip else zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
        self._inflate = zlib.decompressobj(wbits=wbits)

    def _at_end(self) -> bytes:
        if self._input:
            raise UnreadableError("bytes after the end of an encoded body")
        return b""


class ContentDecoder:
    """Decodes the body of an exchange for its receiver.

    While the receiver is paused, the rest of the input is kept encoded.

    Args:
        encoding: Value of the header Content-Encoding, other than identity. One that is neither gzip nor
            deflate ends the exchange with an UnreadableError when the body begins.
        flow: The exchange.
    """

    __slots__ = ("_flow", "_inflater", "_is_end_due", "_is_running")

    def __init__(self, encoding: str, flow: _Flow) -> None:
        is_known = encoding in _GZIP_NAMES or encoding == "deflate"
        self._inflater = Inflater(is_gzip=encoding in _GZIP_NAMES) if is_known else None
        self._flow = flow
        self._is_end_due = False
        self._is_running = False

    def data(self, piece: bytes) -> None:
        """Receive a piece of the encoded body."""
        if self._inflater is None:
            self._flow.fail(UnreadableError("a content encoding other than gzip and deflate"))
            return
        self._inflater.feed(piece)
        self.resume()

    def end(self) -> None:
        """Receive the end of the encoded body."""
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
            self._flow.fail(error)
        finally:
            self._is_running = False

    def _run(self) -> None:
        flow, inflater = self._flow, self._inflater
        while not flow.is_paused and not flow.is_over:
            if inflater is not None and (piece := inflater.read()):
                flow.deliver(piece)
                continue
            if self._is_end_due:
                if inflater is not None:
                    inflater.close()
                flow.finish()
            return
