"""A request: its address, the bytes of its head, and a body that is sent piece by piece."""

import base64
import dataclasses
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

# RFC 9110, section 5: a token, and a value of Latin-1 without control characters other than tabs.
_HEADER_LINE = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*")
_METHOD = re.compile("[A-Z]+")
# A caller's query is sent unchanged, except for characters that a request line can't contain.
_QUERY_SAFE = "".join(map(chr, range(ord("!"), ord("~") + 1)))
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """The peer of a connection: host name or address in ASCII, without the brackets of IPv6 addresses."""

    is_tls: bool
    host: str
    port: int


class Address(NamedTuple):
    """A parsed URL: `host` is for the Host header, `path` includes the query, `absolute` is for a proxy."""

    origin: Origin
    host: str
    path: str
    absolute: str


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, with the value of the header Proxy-Authorization, which is never shown."""

    host: str
    port: int
    authorization: str | None = dataclasses.field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the requests that the proxy reads."""
        return {} if self.authorization is None else {"proxy-authorization": self.authorization}

    @classmethod
    def from_url(cls, url: str) -> "Proxy":
        """Parse the URL of a proxy, such as `http://user:password@proxy:3128`.

        Raises:
            ValueError: If it is not an http URL with a host; without its text, which may contain a password.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme != "http" or port == 0:
            raise ValueError("expected an http URL with a host, found something else")
        authorization = None
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return cls(host, port or _DEFAULT_PORTS["http"], authorization)


def split_url(url: str) -> Address:
    """Parse an http or https URL; a fragment is dropped.

    Raises:
        ValueError: If it is invalid, has no host, or has credentials.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("expected an http or https URL with a host and without credentials")
    name = parts.hostname.encode("idna").decode()
    default_port = _DEFAULT_PORTS[parts.scheme]
    port = parts.port or default_port
    host = f"[{name}]" if ":" in name else name
    if port != default_port:
        host = f"{host}:{port}"
    # Escapes stay as they are.
    path = urllib.parse.quote(parts.path or "/", safe="%/:@!$&'()*+,;=~")
    if parts.query:
        path += "?" + urllib.parse.quote(parts.query, safe=_QUERY_SAFE)
    origin = Origin(parts.scheme == "https", name, port)
    return Address(origin, host, path, f"{parts.scheme}://{host}{path}")


class SharedHead(NamedTuple):
    """What the heads of many requests have in common: `headers` as passed, and the lines they become."""

    headers: Mapping[str, str]
    origin: Origin
    lines: bytes


def encode_head(method: str, target: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Encode the request line and the headers of a request; `end_of_head` encodes the rest of its head.

    The target is a path; for a proxy the whole URL; for a tunnel host and port.

    Raises:
        ValueError: If the method is invalid, a name is no token, or a value contains a control character (a
            line break would begin another header) or one beyond Latin-1. The value is not quoted.
    """
    if not _METHOD.fullmatch(method):
        raise ValueError("expected a method of capital letters, found something else")
    fields = _header_lines(headers)
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"host: {host}", *fields, ""]).encode("latin-1")


def end_of_head(headers: Mapping[str, str], body_bytes: int | None, *, is_chunked: bool = False) -> bytes:
    """Encode the end of a head, which is different for each request.

    `body_bytes` is None for a request without a body, or one whose length is unknown.

    Raises:
        ValueError: See `encode_head`.
    """
    lines = "".join([f"{field}\r\n" for field in _header_lines(headers)]) if headers else ""
    length = "transfer-encoding: chunked\r\n" if is_chunked else ""
    if body_bytes is not None:
        length = f"content-length: {body_bytes}\r\n"
    return f"{lines}{length}\r\n".encode("latin-1")


def _header_lines(headers: Mapping[str, str]) -> list[str]:
    lines = []
    for name, value in headers.items():
        line = f"{name}: {value}"
        if not _HEADER_LINE.fullmatch(line):
            raise ValueError(f"expected a header of printable characters, found others in {name[:64]!r}")
        lines.append(line)
    return lines


class Sender(Protocol):
    """The connection that sends an upload."""

    def send_body(self, data: bytes) -> bool:
        """Send bytes of a body; return whether more may be sent at once."""
        ...

    def fail(self, error: Exception) -> None:
        """Close the connection at once, and end the exchange with an error."""


class Upload:
    """A request body that is sent piece by piece, in chunks unless its length is known.

    If its size differs from its length, the exchange fails with a ValueError: the server would take what
    follows for another request, or wait for the rest.

    Args:
        length: Length in bytes; None if it is unknown.
        drained: Called when more may be written, after a `write` that returned False.

    Attributes:
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
        """Send a piece, or discard it after the end; return whether more may be written before `drained`."""
        self._size += len(piece)
        if self.length is not None and self._size > self.length:
            return self._fail()
        if self.length is None and piece:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        return self._send(piece)

    def end(self) -> None:
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
