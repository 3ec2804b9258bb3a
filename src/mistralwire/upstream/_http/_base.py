"""What upstreams over HTTP have in common: a client, calls by callbacks, and plain GET requests."""

import asyncio
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Self

from mistralwire._response_stream import Source
from mistralwire.errors import MistralwireError, Reason, UpstreamError
from mistralwire.upstream._error_body import too_large_error
from mistralwire.upstream._http._call import CallRequest, HttpCall
from mistralwire.upstream._http._conversion import exchange_error, redirect_error, status_error
from mistralwire.upstream._http._target import HEADERS, HttpLog, Target
from mistralwire.upstream._http1 import Exchange, HttpClient, HttpClientError, Proxy, UnreachableError
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._upstream import BaseCallbackUpstream, CallContext, Receiver

_PROBE_TIMEOUT_S = 3.0


class HttpUpstream(BaseCallbackUpstream):
    """A CallbackUpstream that sends requests to a Target.

    Raises:
        MistralwireError: If the environment names an invalid proxy, with the reason PROXY.
    """

    relays_answers = True
    judges_requests = True

    def __init__(self, target: Target, settings: HttpSettings, log: HttpLog) -> None:
        self._target = target
        self._settings = settings
        self._log = log
        self._proxy = _proxy_of(target.probe_url)
        self._client: HttpClient | None = None
        self._is_closed = False

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Source:
        call = HttpCall(
            self._client or self._opened(),
            self._target,
            self._settings,
            self._log,
            request=CallRequest(request, wire, context, contract_revision),
            receiver=receiver,
        )
        call.start()
        return call

    async def probe(self) -> str | None:
        """Return None if a server responds over HTTP within 3 seconds, in whatever way; else why not."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await _Fetch(None).run(self._opened(), self._target.probe_url, HEADERS)
        except TimeoutError:
            return f"no answer within {_PROBE_TIMEOUT_S:g} seconds"
        except (UnreachableError, UpstreamError) as error:
            return str(error)
        except HttpClientError:
            return "there is no HTTP response"
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Later requests are refused, since nothing would close their connections."""
        self._is_closed = True
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def _get(self, url: str, headers: Mapping[str, str], body_bytes_max: int) -> bytes:
        """Return the body of the response to a GET; any other outcome is an UpstreamError."""
        response = _Fetch(body_bytes_max)
        try:
            await response.run(self._opened(), url, {**HEADERS, **headers})
        except HttpClientError as error:
            raise exchange_error(error, expected="a response") from None
        body = b"".join(response.pieces)
        if response.status >= 400:
            raise status_error(response.status, body, response.headers)
        if response.status >= 300:
            raise redirect_error(response.status)
        return body

    def _opened(self) -> HttpClient:
        if self._is_closed:
            message = "the upstream is closed; make another for more requests"
            raise UpstreamError(message, code="CANCELLED", reason=Reason.CLIENT_CLOSED)
        if self._client is None:
            self._client = HttpClient(connect_s=self._settings.connect_s, proxy=self._proxy)
        return self._client


def _proxy_of(url: str) -> Proxy | None:
    """Find the proxy for an upstream: in HTTP_PROXY or HTTPS_PROXY, unless NO_PROXY has its host.

    It is read once, and never from the user's `.netrc`, whose credentials would replace the key.

    Raises:
        MistralwireError: If the proxy is not an http URL with a host. The URL is not quoted.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    # Other programs also take `proxy:3128` for an http URL.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        return Proxy.from_url(proxy)
    except ValueError:
        found = "something else"
        if proxy.lower().startswith("https://"):
            found = "an https one: TLS to the proxy itself is not supported"
        message = (
            f"expected an http URL in {parts.scheme.upper()}_PROXY, found {found}; "
            "correct it, or put the host of the upstream into NO_PROXY"
        )
    raise MistralwireError(message, code="FAILED_PRECONDITION", reason=Reason.PROXY)


class _Fetch:
    """A GET whose response a coroutine waits for; a ResponseReceiver.

    Args:
        body_bytes_max: Bound on the body in bytes; None to wait for the head alone.
    """

    _exchange: Exchange

    def __init__(self, body_bytes_max: int | None) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.pieces: list[bytes] = []
        self._body_bytes_max = body_bytes_max
        self._size = 0
        self._arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, client: HttpClient, url: str, headers: Mapping[str, str]) -> None:
        """Wait for the response; raise an HttpClientError without one, an UpstreamError for a larger body."""
        self._exchange = client.request("GET", url, headers, None, self)
        try:
            await self._arrived
        finally:
            self._exchange.cancel()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        if self._body_bytes_max is None:
            self.end()

    def data(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._body_bytes_max is not None and self._size > self._body_bytes_max:
            self.failed(too_large_error(f"{self._body_bytes_max} bytes"))
            # At once: the rest of an encoded body may be a thousand times as large.
            self._exchange.cancel()
        else:
            self.pieces.append(piece)

    def end(self) -> None:
        if not self._arrived.done():
            self._arrived.set_result(None)

    def failed(self, error: Exception) -> None:
        if not self._arrived.done():
            self._arrived.set_exception(error)
