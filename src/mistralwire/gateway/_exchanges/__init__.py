"""The exchanges: a request and its answer, between an HTTP server and whatever answers it."""

from mistralwire.gateway._exchanges._completion_exchange import CompletionExchange
from mistralwire.gateway._exchanges._http_exchange import (
    BREAK_OFF_S,
    EVENT_STREAM_HEADERS,
    HEARTBEAT,
    HttpExchange,
    Responder,
    access_logger,
)
from mistralwire.gateway._exchanges._passthrough_exchange import PassthroughExchange
from mistralwire.gateway._exchanges._service_wait import FIRST_SIGN_S, when_reachable
from mistralwire.gateway._exchanges._stream_exchange import StreamExchange

__all__ = [
    "BREAK_OFF_S",
    "EVENT_STREAM_HEADERS",
    "FIRST_SIGN_S",
    "HEARTBEAT",
    "CompletionExchange",
    "HttpExchange",
    "PassthroughExchange",
    "Responder",
    "StreamExchange",
    "access_logger",
    "when_reachable",
]
