"""Headers of an upstream's response that reach the caller: its ids, and what it says of rate limits.

The same names are metadata in gRPC: of the call, and of a failed call's ErrorInfo.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from mistralwire._metadata import REQUEST_ID

UPSTREAM_REQUEST_ID = "x-upstream-request-id"
"""What an upstream's own `x-request-id` becomes: that name has the id of the call already."""

HEADERS_BYTES_MAX = 1536
"""Bound on names and values in bytes, with the 32 more that HTTP/2 counts for each pair."""

_COUNT_MAX = 24
_NAME_CHARS_MAX = 64
_VALUE = re.compile("[!-~](?:[ -~]{0,254}[!-~])?")
_PAIR_BYTES = 32

_ID = re.compile("(?:[a-z0-9-]+-)?(?:request|correlation|invocation|trace)-?id|cf-ray")
_LIMIT = re.compile("(?:x-)?rate-?limit[a-z0-9_.-]*|[a-z]+-ratelimit-[a-z0-9_.-]+|retry-after(?:-ms)?")
# gRPC takes values of names with this ending as bytes alone, and fails to end a call that has another one.
_BINARY = "-bin"
_RETRY_AFTER = ("retry-after", "retry-after-ms")
_FIRST_IDS = ("mistral-correlation-id", UPSTREAM_REQUEST_ID)

_Kind: TypeAlias = Literal["id", "limit"]


def response_headers(
    headers: Mapping[str, str], request_id: str = "", *, is_error: bool = False
) -> dict[str, str]:
    """Return the headers of a response that its caller gets to see.

    Args:
        headers: The headers, by names in lower case.
        request_id: Id of the call, which an upstream may have echoed.
        is_error: Whether the response is an error, which has its Retry-After as a number.

    Returns:
        The ids, then the rate limits: at most 24 headers in 1.5 KiB, each with a value of up to 256 printable
        ASCII characters. What is beyond that, or has other characters, is left out.
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
    """Return the headers of an upstream's response that are among metadata, within the same bounds.

    Args:
        metadata: Names in lower case and values, such as the trailing metadata of a call. What is no text is
            left out.
    """
    ids: list[tuple[str, str | bytes]] = []
    limits: list[tuple[str, str | bytes]] = []
    for pair in metadata:
        name = pair[0]
        # A program's own upstream may put anything there.
        if isinstance(name, str) and len(name) <= _NAME_CHARS_MAX and (kind := _kind_of(name)) is not None:
            (ids if kind == "id" else limits).append(pair)
    headers: dict[str, str] = {}
    room = HEADERS_BYTES_MAX
    for name, value in (*ids, *limits):
        if not isinstance(value, str) or not _VALUE.fullmatch(value) or name == REQUEST_ID or name in headers:
            continue
        room -= len(name) + len(value) + _PAIR_BYTES
        if room < 0 or len(headers) == _COUNT_MAX:
            break
        headers[name] = value
    return headers


def without_limits(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers without those that say what is left of a rate limit."""
    return {name: value for name, value in headers.items() if _kind_of(name) == "id"}


def upstream_id(headers: Mapping[str, str]) -> str | None:
    """Return the upstream's own id of a call, for a log; None if its response has none."""
    for name in (*_FIRST_IDS, *headers):
        if name in headers and _kind_of(name) == "id":
            return headers[name]
    return None


# The names that an upstream sends are the same each time.
@functools.lru_cache(maxsize=1024)
def _kind_of(name: str) -> _Kind | None:
    if name.endswith(_BINARY):
        return None
    if _LIMIT.fullmatch(name):
        return "limit"
    return "id" if _ID.fullmatch(name) else None
