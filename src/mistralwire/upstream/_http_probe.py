"""Seeing whether anybody answers HTTP."""

import asyncio
from collections.abc import Mapping

from mistralwire.upstream._http1 import HttpClient


class Head:
    """Waits for the head of a response, and for nothing of its body: that may be long, and says nothing."""

    def __init__(self) -> None:
        self._came: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def of(self, client: HttpClient, url: str, headers: Mapping[str, str]) -> None:
        """Ask, and wait until a response has begun.

        Raises:
            HttpClientError: If there is none.
        """
        exchange = client.request("GET", url, headers, None, self)
        try:
            await self._came
        finally:
            exchange.cancel()

    def head(self, status: int, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - a Receiver
        """Take the head."""
        if not self._came.done():
            self._came.set_result(None)

    def data(self, piece: bytes) -> None:
        """Leave it."""

    def end(self) -> None:
        """Leave it."""

    def failed(self, error: Exception) -> None:
        """Take the error."""
        if not self._came.done():
            self._came.set_exception(error)
