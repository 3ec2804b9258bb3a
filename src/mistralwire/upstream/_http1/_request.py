"""The head of a request: where it goes, and its bytes."""

import base64
import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

# RFC 9110, section 5: a token, and a value of Latin-1 without control characters other than tabs.
_FIELD = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*")
_METHOD = re.compile("[A-Z]+")
# A caller's query is sent as it came, so that nothing of it is quoted but what no head can have.
_QUERY_SAFE = "".join(map(chr, range(ord("!"), ord("~") + 1)))
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Whom a connection reaches.

    Attributes:
        is_tls: Whether the scheme is https.
        host: Name or address, ASCII; without the brackets of IPv6 addresses.
        port: The port, explicit or the default of the scheme.
    """

    is_tls: bool
    host: str
    port: int


class Address(NamedTuple):
    """A URL, taken apart.

    Attributes:
        origin: Whom to connect to.
        host: Value of the Host header: the port only where it is not the default of the scheme.
        path: Path and query, ASCII.
        absolute: The whole URL, as proxies are asked for it.
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
        """Read the URL of a proxy, such as `http://user:password@proxy:3128`.

        Raises:
            ValueError: If it is no http URL with a host; without its text, which may have a password.
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
    """Take a URL apart.

    Args:
        url: An http or https URL; a fragment is dropped.

    Raises:
        ValueError: If it is none, has no host, or has credentials.
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
    # What is escaped stays so.
    path = urllib.parse.quote(parts.path or "/", safe="%/:@!$&'()*+,;=~")
    if parts.query:
        path += "?" + urllib.parse.quote(parts.query, safe=_QUERY_SAFE)
    origin = Origin(parts.scheme == "https", name, port)
    return Address(origin, host, path, f"{parts.scheme}://{host}{path}")


class Head(NamedTuple):
    """What the heads of many requests have in common.

    Attributes:
        headers: Its headers, as they were given.
        origin: Whom to connect to.
        lines: Request line and headers, as bytes; without a length and the blank line.
    """

    headers: Mapping[str, str]
    origin: Origin
    lines: bytes


def encode_head(method: str, target: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Return the request line and the headers of a request as bytes; `end_of_head` is the rest of its head.

    Args:
        method: Such as `POST`.
        target: A path, the whole URL for a proxy, or host and port for a tunnel.
        host: Value of the Host header.
        headers: Further headers; neither Host nor Content-Length.

    Raises:
        ValueError: If the method is none, a name is no token, or a value has a control character (a line
            break would begin a header of its own) or one beyond Latin-1. The value is not quoted.
    """
    if not _METHOD.fullmatch(method):
        raise ValueError("expected a method of capital letters")
    fields = _fields(headers)
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"host: {host}", *fields, ""]).encode("latin-1")


def end_of_head(headers: Mapping[str, str], body_bytes: int | None, *, is_chunked: bool = False) -> bytes:
    """Return the end of a head: what is this request's own.

    Args:
        headers: Further headers; as for `encode_head`.
        body_bytes: Length of the body; None for a request without one, or if it is not known.
        is_chunked: Whether the body comes in chunks, since its length is not known.

    Raises:
        ValueError: As for `encode_head`.
    """
    lines = "".join([f"{field}\r\n" for field in _fields(headers)]) if headers else ""
    length = "transfer-encoding: chunked\r\n" if is_chunked else ""
    if body_bytes is not None:
        length = f"content-length: {body_bytes}\r\n"
    return f"{lines}{length}\r\n".encode("latin-1")


def _fields(headers: Mapping[str, str]) -> list[str]:
    fields = [f"{name}: {value}" for name, value in headers.items()]
    if not all(map(_FIELD.fullmatch, fields)):
        name = next(name for name, field in zip(headers, fields, strict=True) if not _FIELD.fullmatch(field))
        raise ValueError(f"expected a header of printable characters, found others in {name[:64]!r}")
    return fields
