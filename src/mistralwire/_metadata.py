"""Metadata of calls: its keys, request ids, and the headers of an upstream's response that reach the caller.

Those headers are the upstream's ids and rate limits. They have the same names in HTTP and in gRPC: in the
metadata of the call, and in the ErrorInfo of a failed one.

Source: proto/mistralwire/v1/chat_completion_service.proto.
"""

import functools
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from mistralwire.errors import REQUEST_ID_PATTERN
from mistralwire.v1 import CONTRACT_REVISION

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

REQUEST_ID = "x-request-id"
"""Id of the call, in both directions."""

CONTRACT_REVISION_NAME = "x-contract-revision"
"""Revision of the sender's contract, in both directions: a decimal number."""

OWN_REVISION = (CONTRACT_REVISION_NAME, str(CONTRACT_REVISION))
"""The entry with the revision of this package's contract."""

AUTHORIZATION = "authorization"
"""The bearer token of a request."""

CALLER = "x-mistralwire-caller"
"""Whom a call is made for: it divides the responses of one token. A gateway names its own caller."""

RESPONSE_ID = "x-mistralwire-response-id"
"""Id of the response in the log: a caller may choose it, and gets it with the headers of the answer."""

ON_DISCONNECT = "x-mistralwire-on-disconnect"
"""What happens to a response whose caller disconnects; its value is one of the setting `on_disconnect`."""

IDEMPOTENCY_KEY = "idempotency-key"
"""Unique for each request of a caller; who sends it again joins the response."""

ACCEPT_ENCODING = "x-accept-encoding"
"""The compression that a caller asks for; its value is `gzip`.

gRPC's own `grpc-accept-encoding` lists what a client can decode, not what it wants: every client sends it,
and grpc does not expose it.
"""

RETRY_TIME_LEFT = "x-retry-time-left-ms"
"""Milliseconds of its deadline that a call must have left when its upstream is retried.

So the caller learns of an error in time to answer with a status of its own. Relative to the deadline, it
stays true however long the call took to arrive, and in a retry by the caller's gRPC library.
"""

STATUS_DETAILS = "grpc-status-details-bin"
"""The google.rpc.Status of a failed call, in its trailing metadata."""

RETRY_PUSHBACK = "grpc-retry-pushback-ms"
"""Milliseconds before the client's gRPC library may retry a failed call; negative if it must not.

Source: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
"""

UPSTREAM_REQUEST_ID = "x-upstream-request-id"
"""Replaces an upstream's own `x-request-id`, since that is the id of the call."""

HEADERS_BYTES_MAX = 1536
"""Bytes of an upstream's names and values, with the 32 more that HTTP/2 counts for each pair."""

_COUNT_MAX = 24
_HEADER_NAME_CHARS_MAX = 64
_HEADER_VALUE = re.compile("[!-~](?:[ -~]{0,254}[!-~])?")
_PAIR_BYTES = 32

_ID_HEADER = re.compile("(?:[a-z0-9-]+-)?(?:request|correlation|invocation|trace)-?id|cf-ray")
_LIMIT_HEADER = re.compile("(?:x-)?rate-?limit[a-z0-9_.-]*|[a-z]+-ratelimit-[a-z0-9_.-]+|retry-after(?:-ms)?")
# gRPC takes values of names with this ending as bytes alone, and fails to end a call that has another one.
_BINARY = "-bin"
_RETRY_AFTER = ("retry-after", "retry-after-ms")
_FIRST_IDS = ("mistral-correlation-id", UPSTREAM_REQUEST_ID)

_HeaderKind: TypeAlias = Literal["id", "limit"]


def is_request_id(text: str) -> bool:
    """Check whether a text is a valid request id: one that can go into a log unchanged."""
    return REQUEST_ID_PATTERN.fullmatch(text) is not None


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the valid request id among the metadata of a call, or a new one."""
    for name, value in metadata:
        if name == REQUEST_ID and isinstance(value, str) and is_request_id(value):
            return value
    return uuid.uuid4().hex


def checked_request_id(request_id: str | None) -> str:
    """Return the caller's own request id, or a new one for None.

    Raises:
        TypeError: If it is no string.
        ValueError: If it can't go into a log unchanged: 1 to 128 characters of printable ASCII, no spaces.
    """
    if request_id is None:
        return uuid.uuid4().hex
    if not isinstance(request_id, str):
        raise TypeError(f"request_id must be a string, not a {type(request_id).__name__}")
    if not is_request_id(request_id):
        raise ValueError(
            "request_id must be 1 to 128 characters of printable ASCII without spaces, "
            f"not {request_id[:128]!r}"
        )
    return request_id


def response_headers(
    headers: Mapping[str, str], request_id: str = "", *, is_error: bool = False
) -> dict[str, str]:
    """Return the headers of an upstream's response that reach the caller: the ids, then the rate limits.

    These are at most 24 headers in 1.5 KiB, each with a value of up to 256 printable ASCII characters.
    Headers beyond these bounds, or with other characters, are dropped. The upstream may have echoed
    `request_id`. An error's Retry-After travels as a number instead.
    """
    if REQUEST_ID in headers:
        headers = dict(headers)
        own_id = headers.pop(REQUEST_ID)
        if own_id != request_id:
            headers.setdefault(UPSTREAM_REQUEST_ID, own_id)
    kept = headers_in(headers.items())
    if is_error:
        for name in _RETRY_AFTER:
            kept.pop(name, None)
    return kept


def headers_in(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Return the headers of an upstream's response among metadata, such as a call's, within the same bounds.

    Names are in lower case; values that are not text are dropped.
    """
    ids: list[tuple[str, str | bytes]] = []
    limits: list[tuple[str, str | bytes]] = []
    for pair in metadata:
        name = pair[0]
        # A program's own upstream may put anything there.
        if isinstance(name, str) and len(name) <= _HEADER_NAME_CHARS_MAX and (kind := _header_kind(name)):
            (ids if kind == "id" else limits).append(pair)
    headers: dict[str, str] = {}
    room = HEADERS_BYTES_MAX
    for name, value in (*ids, *limits):
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            continue
        if name == REQUEST_ID or name in headers:
            continue
        room -= len(name) + len(value) + _PAIR_BYTES
        if room < 0 or len(headers) == _COUNT_MAX:
            break
        headers[name] = value
    return headers


def without_limits(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if _header_kind(name) == "id"}


def upstream_id(headers: Mapping[str, str]) -> str | None:
    """Return the upstream's own id of a call, for a log; None if its response has none."""
    for name in (*_FIRST_IDS, *headers):
        if name in headers and _header_kind(name) == "id":
            return headers[name]
    return None


# The names that an upstream sends are the same each time.
@functools.lru_cache(maxsize=1024)
def _header_kind(name: str) -> _HeaderKind | None:
    if name.endswith(_BINARY):
        return None
    if _LIMIT_HEADER.fullmatch(name):
        return "limit"
    return "id" if _ID_HEADER.fullmatch(name) else None
