"""The Python client of the service: `Client` for asyncio, `SyncClient` for everything else."""

from typing import TYPE_CHECKING

from mistralwire._lazy import lazy_names
from mistralwire._settings import DEADLINE_S, DEADLINE_S_MAX

if TYPE_CHECKING:
    from mistralwire.client._client import (
        ATTEMPTS_MAX,
        KEEPALIVE_S,
        KEEPALIVE_TIMEOUT_S,
        MESSAGE_BYTES_MAX,
        Client,
        ClientOptions,
        StreamRequest,
    )
    from mistralwire.client._health import TOKEN_REFUSED
    from mistralwire.client._publisher import Publisher, new_response_id
    from mistralwire.client._response import ChunkBatch, is_refusing_caller, response_failure
    from mistralwire.client._stub import CallOptions, CompletionOptions, StreamOptions
    from mistralwire.client._subscription import (
        RECONNECT_S,
        EventBatch,
        ResponseEvent,
        is_service_lost,
    )
    from mistralwire.client._sync import SyncClient, SyncPublisher

__all__ = [
    "ATTEMPTS_MAX",
    "DEADLINE_S",
    "DEADLINE_S_MAX",
    "KEEPALIVE_S",
    "KEEPALIVE_TIMEOUT_S",
    "MESSAGE_BYTES_MAX",
    "RECONNECT_S",
    "TOKEN_REFUSED",
    "CallOptions",
    "ChunkBatch",
    "Client",
    "ClientOptions",
    "CompletionOptions",
    "EventBatch",
    "Publisher",
    "ResponseEvent",
    "StreamOptions",
    "StreamRequest",
    "SyncClient",
    "SyncPublisher",
    "is_refusing_caller",
    "is_service_lost",
    "new_response_id",
    "response_failure",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of the module
    __getattr__, __dir__ = lazy_names(
        __name__, "_client", "_response", "_health", "_publisher", "_stub", "_subscription", "_sync"
    )
