"""The routes of stored responses: to list, read, follow, cancel and delete them, and for read tokens."""

from mistralwire.gateway._responses._response_exchange import READ_TOKEN
from mistralwire.gateway._responses._response_json import REASON_HEADER, SEQUENCE_HEADER, STATE_HEADER
from mistralwire.gateway._responses._response_routes import (
    EVENTS_PATH,
    RESPONSE_ROUTES,
    RESPONSES_PATH,
    MakeResponseExchange,
    ResponseTarget,
    find_response_target,
)

__all__ = [
    "EVENTS_PATH",
    "READ_TOKEN",
    "REASON_HEADER",
    "RESPONSES_PATH",
    "RESPONSE_ROUTES",
    "SEQUENCE_HEADER",
    "STATE_HEADER",
    "MakeResponseExchange",
    "ResponseTarget",
    "find_response_target",
]
