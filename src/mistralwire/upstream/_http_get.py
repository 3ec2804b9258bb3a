"""A GET whose answer is waited for as a whole, within a bound."""

import asyncio
from collections.abc import Mapping

from mistralwire.upstream._http1 import Exchange, HttpClient, HttpClientError
from mistralwire.upstream._http_errors import redirected, refused, too_large, unanswered


async def get(client: HttpClient, url: str, headers: Mapping[str, str], *, answer_bytes_max: int) -> bytes:
    """Ask, and wait for the body of the answer.

    Args:
        client: Sends the request.
        url: What to ask for.
        headers: The headers of the request.
        answer_bytes_max: Bytes of the body; 1 or more.

    Raises:
        UpstreamError: If there is no answer, a larger one, a redirect, or an error status.
    """
    body = _Body(answer_bytes_max)
    exchange = body.exchange = client.request("GET", url, headers, None, body)
    try:
        await body.came
    except HttpClientError as error:
        raise unanswered(error) from None
    finally:
        exchange.cancel()
    data = b"".join(body.pieces)
    if body.status >= 400:
        raise refused(body.status, data, body.headers)
    if body.status >= 300:
        raise redirected(body.status)
    return data


class _Body:
    """Takes a response."""

    def __init__(self, bytes_max: int) -> None:
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.exchange: Exchange | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.pieces: list[bytes] = []
        self._bytes_max = bytes_max
        self._size = 0

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers

    def data(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._bytes_max:
            self.pieces.append(piece)
        else:
            self.failed(too_large(f"{self._bytes_max} bytes"))
            if self.exchange is not None:
                # At once: of an encoded body a thousand times as much may be left.
                self.exchange.cancel()

    def end(self) -> None:
        if not self.came.done():
            self.came.set_result(None)

    def failed(self, error: Exception) -> None:
        if not self.came.done():
            self.came.set_exception(error)
