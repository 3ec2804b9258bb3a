"""Which requests are about stored responses, and what answers them."""

import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import NamedTuple

import httptools

from mistralwire.gateway._responses._answer_exchanges import (
    CancelExchange,
    DeleteExchange,
    GetExchange,
    ListExchange,
    TokenExchange,
)
from mistralwire.gateway._responses._events_exchange import EventsExchange
from mistralwire.gateway._responses._response_exchange import ResponseExchange

MakeResponseExchange = Callable[..., ResponseExchange]
"""Makes an exchange, with the arguments of ResponseExchange."""

RESPONSES_PATH = "/v1/chat/completions"
"""Path of the list; the others begin with it."""

_ONE = f"{RESPONSES_PATH}/{{response_id}}"

EVENTS_PATH = f"{_ONE}/events"
"""Path of the streams, in Starlette's syntax."""

_START = RESPONSES_PATH.encode()
_PATH = re.compile(f"{RESPONSES_PATH}(?:/([^/]+)(/[a-z]+)?)?/?")

RESPONSE_ROUTES: Mapping[str, Mapping[str, MakeResponseExchange]] = {
    RESPONSES_PATH: {"GET": ListExchange},
    _ONE: {"GET": GetExchange, "DELETE": DeleteExchange},
    f"{_ONE}/cancel": {"POST": CancelExchange},
    EVENTS_PATH: {"GET": EventsExchange},
    f"{_ONE}/token": {"POST": TokenExchange},
}
"""What answers each method of each path, in Starlette's syntax."""


class ResponseTarget(NamedTuple):
    """A request about responses.

    Attributes:
        path: The path of its route.
        exchange: What answers it.
        response_id: The id in its path, or an empty string.
        query: Its query, without a question mark.
    """

    path: str
    exchange: MakeResponseExchange
    response_id: str
    query: str


def find_response_target(method: str, target: bytes) -> ResponseTarget | None:
    """Find what answers a request target by its method; a slash at the end of the path does not count."""
    if _START not in target:
        return None
    try:
        url = httptools.parse_url(target)
        path, query = (url.path or b"").decode("ascii"), (url.query or b"").decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        return None
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    # An escaped slash belongs to the id.
    response_id, action = urllib.parse.unquote(match[1] or ""), match[2] or ""
    route = f"{_ONE}{action}" if response_id else RESPONSES_PATH
    exchange = RESPONSE_ROUTES.get(route, {}).get(method)
    return None if exchange is None else ResponseTarget(route, exchange, response_id, query)
