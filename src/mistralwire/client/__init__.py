"""The Python client of the service, for asyncio."""

from mistralwire.client._client import DEADLINE_S, DEADLINE_S_MAX, MESSAGE_BYTES_MAX, Client

__all__ = ["DEADLINE_S", "DEADLINE_S_MAX", "MESSAGE_BYTES_MAX", "Client"]
