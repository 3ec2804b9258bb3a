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
        CallOptions,
        Client,
        ClientOptions,
        StreamRequest,
    )
    from mistralwire.client._health import TOKEN_REFUSED
    from mistralwire.client._response import ChunkBatch, is_refusing_caller
    from mistralwire.client._sync import SyncClient

__all__ = [
    "ATTEMPTS_MAX",
    "DEADLINE_S",
    "DEADLINE_S_MAX",
    "KEEPALIVE_S",
    "KEEPALIVE_TIMEOUT_S",
    "MESSAGE_BYTES_MAX",
    "TOKEN_REFUSED",
    "CallOptions",
    "ChunkBatch",
    "Client",
    "ClientOptions",
    "StreamRequest",
    "SyncClient",
    "is_refusing_caller",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of the module
    __getattr__, __dir__ = lazy_names(__name__, "_client", "_response", "_health", "_sync")
