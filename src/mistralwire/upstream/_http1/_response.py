"""Parses responses incrementally, without I/O."""

import httptools

# The beginning of most responses: version 1.1, and not interim.
_FINAL_1_1 = b"HTTP/1.1 2"

HEAD_BYTES_MAX = 64 * 1024
"""Bound on a head, with those of interim responses before it, and on what separates parts of a body."""


class ResponseReader:
    """Parses the responses of a connection, one after the other; interim ones (1xx) are skipped.

    llhttp, which httptools wraps, rejects what RFC 9112 does not allow in heads and chunks. What it accepts
    but this client does not is rejected here: versions other than 1.0 and 1.1, transfer codings other than
    chunked alone, any of them in HTTP/1.0, a status below 100, and a switch of protocols. httptools has no
    call for the end of the input, so bodies that end with the connection are recognized here.

    Attributes:
        status: The status; 0 until the head is complete and accepted.
        headers: Headers by name in lower case; the values of a repeated header are joined by commas.
        has_begun: Whether any byte has arrived.
        is_ended: Whether the response is complete.
        is_reusable: Whether the connection can carry another request after the complete response.
        error: Why the response can't be read, as part of an error message; None as long as it can.
    """

    __slots__ = (
        "_bare_bytes",
        "_bytes",
        "_ends_with_connection",
        "_fields",
        "_head_bytes",
        "_is_1_1",
        "_is_head",
        "_kept",
        "_parser",
        "_parts",
        "error",
        "has_begun",
        "headers",
        "is_ended",
        "is_reusable",
        "on_body",
        "status",
    )

    def __init__(self, *, is_head: bool) -> None:
        self._fields: list[tuple[bytes, bytes]] = []
        # Parts of the body; `_kept` of them count once it has ended or can't be read.
        self._parts: list[bytes] = []
        # The parser's callback for a part of the body, which it looks up once: no Python code runs.
        self.on_body = self._parts.append
        self._parser = httptools.HttpResponseParser(self)
        self.begin(is_head=is_head)

    def begin(self, *, is_head: bool) -> None:
        """Prepare for the first response, or for the next one after a response that `is_reusable`.

        The response to a HEAD has no body, whatever its head says.
        """
        self._is_head = is_head
        self._kept = 0
        # Bytes since the last part of the body: of a head, of chunk framing, or of trailers.
        self._bare_bytes = 0
        # Bytes until the head was complete, perhaps with a part of the body; and bytes of heads alone.
        self._bytes = self._head_bytes = 0
        self._ends_with_connection = self._is_1_1 = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_begun = False
        self.is_ended = False
        self.is_reusable = False
        self.error: str | None = None

    def feed(self, data: bytes) -> bytes:
        """Parse the next bytes, and return their part of the body; none may follow an error or the end."""
        was_in_head = not self.status
        if was_in_head:
            if not self.has_begun:
                self.has_begun = True
                self._is_1_1 = data.startswith(_FINAL_1_1)
            self._bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("a switch to another protocol")
        except httptools.HttpParserError as error:
            # After the end of the response it affects only the connection.
            self.is_reusable = False
            self._refuse(f"a response that is not valid HTTP/1.1 ({error})")
        if (self.is_ended or self.error is not None) and len(self._parts) > self._kept:
            self.is_reusable = False
            del self._parts[self._kept :]
        parts = self._parts
        if not parts:
            self._bare_bytes += len(data)
            if was_in_head and self.status:
                self._bare_bytes = 0
            elif self._bare_bytes > HEAD_BYTES_MAX:
                self._refuse_size()
            return b""
        self._bare_bytes = 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return body

    def close(self) -> None:
        """Note the end of the connection, which ends some responses."""
        if self.status and self._ends_with_connection and self.error is None:
            self.is_ended = True

    def free(self) -> None:
        """Drop the parser, which refers to this object: without the cycle both are freed at once."""
        del self._parser

    def on_message_begin(self) -> None:
        """Note bytes after the end of the response, which no request has asked for."""
        if self.is_ended:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers are ignored.
        if not self.status and self.error is None:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Decide whether this head is that of the response, and where the response ends."""
        if self.error is not None or self.is_ended:
            return
        fields, self._fields = self._fields, []
        status = self._parser.get_status_code()
        if self._bytes > HEAD_BYTES_MAX or status < 200:
            self._head_bytes += sum([len(name) + len(value) + 4 for name, value in fields])
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse_size()
        elif status < 100:
            self._refuse("a status below 100")
        elif status == 101:
            self._refuse("a switch to another protocol")
        elif status >= 200:
            self._begin(status, fields)

    def on_message_complete(self) -> None:
        if self.status and not self.is_ended:
            self.is_ended = True
            self._kept = len(self._parts)
            self.is_reusable = self._is_1_1 and self._parser.should_keep_alive()

    def _begin(self, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        headers: dict[str, str] = {}
        repeated: dict[str, list[str]] = {}
        for name_bytes, value_bytes in fields:
            name, value = name_bytes.decode("latin-1").lower(), value_bytes.decode("latin-1").strip(" \t")
            if name in headers:
                repeated.setdefault(name, [headers[name]]).append(value)
            else:
                headers[name] = value
        for name, values in repeated.items():
            headers[name] = ", ".join(values)
        # The parser would build a string each time.
        version = "1.1" if self._is_1_1 else self._parser.get_http_version()
        self._is_1_1 = version == "1.1"
        coding = headers.get("transfer-encoding")
        if version not in ("1.1", "1.0"):
            self._refuse("a version of HTTP other than 1.1 and 1.0")
        elif coding is not None and (coding.lower() != "chunked" or version == "1.0"):
            self._refuse("a transfer coding other than chunked")
        else:
            self.status = status
            self.headers = headers
            self._ends_with_connection = coding is None and "content-length" not in headers
            # Its connection is not reused: a body that follows nevertheless would be noticed too late.
            self.is_ended = self._is_head

    def _refuse_size(self) -> None:
        self._refuse(f"more than {HEAD_BYTES_MAX} bytes of headers")

    def _refuse(self, found: str) -> None:
        if self.error is None and not self.is_ended:
            self.error = found
            self._kept = len(self._parts)
