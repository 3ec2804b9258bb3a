"""Requests of the durable-streams protocol: their paths, headers, queries and messages."""

import contextlib
import dataclasses
import datetime
import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Literal, NamedTuple

from mistralwire.errors import Reason
from mistralwire.gateway._streams._stream import (
    JSON,
    Appending,
    Producer,
    StreamError,
    media_type_of,
    parse_offset,
)

STREAM_PATH = "/v1/stream"
"""The start of the paths of durable streams."""

STREAM_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "DELETE"))
"""The methods of the protocol."""

RESPONSES = "responses"
"""First segment of the paths of the responses of the service."""

_RESERVED = "__ds"
_STREAM_NAME_CHARS_MAX = 400
_TEXT_CHARS_MAX = 256
_REQUEST_MESSAGES_MAX = 100_000
# A log may take no large messages; bytes may be parted anywhere.
_PART_BYTES = 256 * 1024
_PREFIX = f"{STREAM_PATH}/".encode()
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\/\ud800-\udfff]")
_MEDIA_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CONTENT_TYPE = re.compile(rf"{_MEDIA_NAME}/{_MEDIA_NAME}(?:[ \t]*;[ -~]*)?")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,15}")
_DIGITS = re.compile(r"[0-9]{1,32}")
# For programs in JavaScript.
_INTEGER_MAX = 2**53 - 1
# https://www.rfc-editor.org/rfc/rfc3339#section-5.6
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_JSON_SPACE = re.compile(r"[ \t\n\r]*")

HeaderMap = Mapping[bytes, bytes]


class StreamRoute(NamedTuple):
    """The target of a request for a stream.

    Attributes:
        path: The raw path behind `/v1/stream/`.
        query: The raw query.
        root: Where an application is mounted, if it is.
        scheme: `http` or `https`.
    """

    path: bytes
    query: bytes
    root: str
    scheme: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """A request to create a stream.

    Attributes:
        content_type: Empty if it names none.
        ttl_s: Seconds without use after which the stream expires.
        expires_at: When it expires, as its creator wrote it.
        deadline_s: The same, in seconds since 1970.
        is_closed: Whether the first messages are the only ones.
        source: Name of the stream to fork.
        offset: Where to fork it; None for its tail.
        sub_offset: What the fork inherits behind the offset: messages of JSON, or bytes.
    """

    content_type: str
    ttl_s: int | None
    expires_at: str | None
    deadline_s: float | None
    is_closed: bool
    source: str | None
    offset: int | None
    sub_offset: int


class Reading(NamedTuple):
    """A request to read a stream.

    Attributes:
        position: Number of the message behind which it begins; None for the tail.
        live: How it waits for further messages.
        cursor: The last cursor that the caller saw, or an empty string.
    """

    position: int | None
    live: Literal["", "long-poll", "sse"]
    cursor: str


def find_stream(target: bytes, *, root: str = "", is_tls: bool = False) -> StreamRoute | None:
    """Find the route of a stream by a request target, without the `root`; None if it is no stream's."""
    path, _, query = target.partition(b"#")[0].partition(b"?")
    if not path.startswith(_PREFIX) or path == _PREFIX:
        return None
    return StreamRoute(path.removeprefix(_PREFIX), query, root, "https" if is_tls else "http")


def stream_name(path: bytes | str) -> str:
    """Return the name of a stream by its raw path; a slash at the end does not count.

    Raises:
        StreamError: If its segments are empty, dots, or have characters that proxies treat differently (400);
            if it is reserved (404).
    """
    try:
        raw = path.decode() if isinstance(path, bytes) else path
        raw_segments = raw.removesuffix("/").split("/")
        segments = [urllib.parse.unquote(each, errors="strict") for each in raw_segments]
    except UnicodeDecodeError:
        raise StreamError(400, "expected UTF-8 as the path of a stream, found something else") from None
    if any(each in ("", ".", "..") or _UNSAFE.search(each) for each in segments):
        message = "expected segments that are not empty and not dots, without control characters and escaped "
        raise StreamError(400, f"{message}slashes, as the path of a stream, found others")
    name = "/".join(segments)
    if len(name) > _STREAM_NAME_CHARS_MAX:
        message = (
            f"expected at most {_STREAM_NAME_CHARS_MAX} characters as the path of a stream, found {len(name)}"
        )
        raise StreamError(400, message)
    if segments[0] == _RESERVED:
        message = f"expected a path that does not begin with {_RESERVED}: this gateway has no subscriptions"
        raise StreamError(404, message, reason=Reason.NO_SUCH_ROUTE)
    return name


def read_creation(headers: HeaderMap, root: str) -> Creation:
    """Read the headers of a PUT request.

    Raises:
        StreamError: If one is invalid, or they contradict each other (400).
    """
    ttl, expires_at = _header_text(headers, "stream-ttl"), _header_text(headers, "stream-expires-at")
    if ttl is not None and expires_at is not None:
        raise StreamError(400, "expected Stream-TTL or Stream-Expires-At, found both")
    source, offset = _header_text(headers, "stream-forked-from"), _header_text(headers, "stream-fork-offset")
    sub_offset = _header_text(headers, "stream-fork-sub-offset")
    if source is None and (offset is not None or sub_offset is not None):
        raise StreamError(400, "expected Stream-Forked-From with the position of a fork, found none")
    return Creation(
        content_type=_content_type(headers),
        ttl_s=None if ttl is None else _integer(ttl, "Stream-TTL"),
        expires_at=expires_at,
        deadline_s=None if expires_at is None else _seconds_since_1970(expires_at),
        is_closed=_is_closing(headers),
        source=None if source is None else _source_name(source, root),
        offset=None if offset is None else parse_offset(offset, "Stream-Fork-Offset"),
        sub_offset=0 if sub_offset is None else _integer(sub_offset, "Stream-Fork-Sub-Offset"),
    )


def read_appending(headers: HeaderMap, body: bytes) -> Appending:
    """Read a POST request.

    Raises:
        StreamError: If it has neither messages nor an end, or something invalid (400).
    """
    is_closing, content_type = _is_closing(headers), _content_type(headers)
    if not body and not is_closing:
        raise StreamError(400, "expected a body to append, or Stream-Closed: true, found neither")
    if body and not content_type:
        raise StreamError(400, "expected a Content-Type with the body, found none")
    contents = split_messages(content_type, body)
    if body and not contents:
        raise StreamError(400, "expected at least one message in the array, found none")
    return Appending(
        media_type=media_type_of(content_type) if contents else "",
        contents=contents,
        is_closing=is_closing,
        writer_seq=_header_text(headers, "stream-seq"),
        producer=_producer(headers),
    )


def read_reading(query: bytes) -> Reading:
    """Read the query of a GET request.

    Raises:
        StreamError: If a parameter is invalid, or repeated (400).
    """
    try:
        parameters = urllib.parse.parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        raise StreamError(400, "expected at most 64 parameters in the query, found more") from None
    for name in ("offset", "live", "cursor"):
        if len(parameters.get(name, ())) > 1:
            raise StreamError(400, f"expected one {name} in the query, found {len(parameters[name])}")
    offset, live, cursor = (parameters.get(name, [None])[0] for name in ("offset", "live", "cursor"))
    if live not in (None, "long-poll", "sse"):
        raise StreamError(400, "expected long-poll or sse as live, found something else")
    if live and offset is None:
        raise StreamError(400, "expected an offset with live, found none")
    position = None if offset == "now" else parse_offset(offset or "-1", "offset")
    if offset == "":
        raise StreamError(400, "expected an offset, found an empty one")
    return Reading(position, live or "", cursor or "")  # type: ignore[arg-type] # it is one of them


def split_messages(content_type: str, body: bytes) -> list[bytes]:
    """Split a body into messages: those of a JSON array, each with its text unchanged; or parts of the body.

    Raises:
        StreamError: If it is not JSON though the type says so, or has too many messages (400).
    """
    if not body:
        return []
    if media_type_of(content_type) != JSON:
        return [body[at : at + _PART_BYTES] for at in range(0, len(body), _PART_BYTES)]
    try:
        return [text.encode() for text in _split_json(body.decode())]
    except ValueError:
        raise StreamError(
            400, "expected JSON in UTF-8, found something else", reason=Reason.NOT_JSON
        ) from None
    except RecursionError:
        raise StreamError(400, "expected JSON with fewer levels", reason=Reason.LIMIT_EXCEEDED) from None


def _refuse_nan(name: str) -> None:
    raise ValueError(name)


# Numbers are not converted: only the extent of a value counts.
_DECODER = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_refuse_nan)


def _split_json(text: str) -> list[str]:
    """Return the texts of an array's elements, or that of another value; ValueError if it is not JSON."""
    at = _skip_space(text, 0)
    if not text.startswith("[", at):
        _, end = _DECODER.raw_decode(text, at)
        _expect_end(text, end)
        return [text[at:end]]
    messages: list[str] = []
    at = _skip_space(text, at + 1)
    if text.startswith("]", at):
        _expect_end(text, at + 1)
        return messages
    while True:
        _, end = _DECODER.raw_decode(text, at)
        messages.append(text[at:end])
        if len(messages) > _REQUEST_MESSAGES_MAX:
            message = f"expected at most {_REQUEST_MESSAGES_MAX} messages in a request, found more"
            raise StreamError(400, message, reason=Reason.LIMIT_EXCEEDED)
        at = _skip_space(text, end)
        if text.startswith("]", at):
            _expect_end(text, at + 1)
            return messages
        if not text.startswith(",", at):
            raise ValueError(text[at : at + 1])
        at = _skip_space(text, at + 1)


def _skip_space(text: str, at: int) -> int:
    match = _JSON_SPACE.match(text, at)
    return match.end() if match else at


def _expect_end(text: str, at: int) -> None:
    if _skip_space(text, at) != len(text):
        raise ValueError("more")


def _header_text(headers: HeaderMap, name: str) -> str | None:
    value = headers.get(name.encode())
    if value is None:
        return None
    if len(value) > _TEXT_CHARS_MAX and name != "stream-forked-from":
        raise StreamError(400, f"expected at most {_TEXT_CHARS_MAX} characters as {name}, found {len(value)}")
    return value.decode("latin-1").strip()


def _content_type(headers: HeaderMap) -> str:
    text = _header_text(headers, "content-type")
    if text and not _CONTENT_TYPE.fullmatch(text):
        raise StreamError(
            400, "expected a media type such as application/json as Content-Type, found another"
        )
    return text or ""


def _is_closing(headers: HeaderMap) -> bool:
    return (_header_text(headers, "stream-closed") or "").lower() == "true"


def _integer(text: str, name: str) -> int:
    if not _INTEGER.fullmatch(text) or int(text) > _INTEGER_MAX:
        raise StreamError(400, f"expected an integer of 0 to {_INTEGER_MAX} as {name}, found something else")
    return int(text)


def _producer(headers: HeaderMap) -> Producer | None:
    id_, *numbers = (_header_text(headers, f"producer-{name}") for name in ("id", "epoch", "seq"))
    if id_ is None and numbers == [None, None]:
        return None
    if not id_ or None in numbers:
        raise StreamError(400, "expected Producer-Id, Producer-Epoch and Producer-Seq together, found some")
    epoch, seq = (number or "" for number in numbers)
    for text, name in ((epoch, "Producer-Epoch"), (seq, "Producer-Seq")):
        if not _DIGITS.fullmatch(text) or int(text) > _INTEGER_MAX:
            raise StreamError(
                400, f"expected an integer of 0 to {_INTEGER_MAX} as {name}, found another value"
            )
    return Producer(id_, int(epoch), int(seq))


def _seconds_since_1970(text: str) -> float:
    if _TIMESTAMP.fullmatch(text):
        # A date may not exist, as the 30th of February.
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.datetime.fromisoformat(text.upper()).timestamp()
    message = "expected a time of RFC 3339, such as 2026-01-31T12:00:00Z, as Stream-Expires-At"
    raise StreamError(400, f"{message}, found something else")


def _source_name(path: str, root: str) -> str:
    """Return the name of a source by the path of its URL."""
    own = path.removeprefix(root)
    if not own.startswith(f"{STREAM_PATH}/"):
        raise StreamError(404, f"expected a path below {STREAM_PATH} as Stream-Forked-From, found another")
    return stream_name(own.removeprefix(f"{STREAM_PATH}/"))
