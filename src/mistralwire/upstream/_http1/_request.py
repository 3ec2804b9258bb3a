"""The head of a request: its address and its bytes."""

import base64
import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

# RFC 9110, section 5: a token, and a value of Latin-1 without control characters other than tabs.
_HEADER_LINE = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*")
_METHOD = re.compile("[A-Z]+")
# A caller's query is sent unchanged, except for characters that a request line can't contain.
_QUERY_SAFE = "".join(map(chr, range(ord("!"), ord("~") + 1)))
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """The peer of a connection.

    Attributes:
        is_tls: Whether the scheme is https.
        host: Name or address, ASCII; without the brackets of IPv6 addresses.
        port: The port, by default that of the scheme.
    """

    is_tls: bool
    host: str
    port: int


class Address(NamedTuple):
    """A parsed URL.

    Attributes:
        origin: The peer.
        host: Value of the Host header, with the port only if it is not the default of the scheme.
        path: Path and query, ASCII.
        absolute: The whole URL, for requests to a proxy.
    """

    origin: Origin
    host: str
    path: str
    absolute: str


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        host: Name or address.
        port: The port.
        authorization: Value of the header Proxy-Authorization; never shown.
    """

    host: str
    port: int
    authorization: str | None = dataclasses.field(default=None, repr=False)

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
    """Parse a URL.

    Args:
        url: An http or https URL; a fragment is dropped.

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
    """What the heads of many requests have in common.

    Attributes:
        headers: The headers, as the caller passed them.
        origin: The peer.
        lines: Request line and headers as bytes, without a length and the blank line.
    """

    headers: Mapping[str, str]
    origin: Origin
    lines: bytes


def encode_head(method: str, target: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Encode the request line and the headers of a request; `end_of_head` encodes the rest of its head.

    Args:
        method: Such as `POST`.
        target: A path; the whole URL for a proxy; or host and port for a tunnel.
        host: Value of the Host header.
        headers: Further headers, without Host and Content-Length.

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

    Args:
        headers: Further headers; see `encode_head`.
        body_bytes: Length of the body; None for a request without one, or if it is unknown.
        is_chunked: Whether the body is chunked, since its length is unknown.

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
