"""The Python client of the service: `Client` for asyncio, `SyncClient` for the rest."""

from mistralwire.client._batch import ChunkBatch
from mistralwire.client._causes import TOKEN_REFUSED, is_refusing_caller
from mistralwire.client._client import (
    ATTEMPTS_MAX,
    DEADLINE_S,
    DEADLINE_S_MAX,
    KEEPALIVE_S,
    KEEPALIVE_TIMEOUT_S,
    MESSAGE_BYTES_MAX,
    CallOptions,
    Client,
    ClientOptions,
)
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
    "SyncClient",
    "is_refusing_caller",
]
