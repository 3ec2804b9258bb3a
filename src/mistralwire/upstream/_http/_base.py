"""What upstreams over HTTP have in common: a client, calls by callbacks, and plain GET requests."""

import asyncio
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from mistralwire._response_stream import Source
from mistralwire.errors import MistralwireError, Reason, UpstreamError
from mistralwire.upstream._conversion import too_large_error
from mistralwire.upstream._http._call import CallRequest, HttpCall
from mistralwire.upstream._http._errors import exchange_error, redirect_error, status_error
from mistralwire.upstream._http._target import HEADERS, HttpLog, Target
from mistralwire.upstream._http1 import Exchange, HttpClient, HttpClientError, Proxy, UnreachableError
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._upstream import BaseCallbackUpstream, CallContext, Receiver

_PROBE_TIMEOUT_S = 3.0


class HttpUpstream(BaseCallbackUpstream):
    """A CallbackUpstream that sends requests to a Target.

    Args:
        target: Where requests go.
        settings: Timeouts and bounds.
        log: Logs its calls.

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
        """Start a call.

        Raises:
            UpstreamError: If this upstream is closed, with the reason CLIENT_CLOSED.
        """
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
        """Check whether a server responds over HTTP within 3 seconds.

        Returns:
            None if so, whatever the response is; else why not.
        """
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await _fetch(self._opened(), self._target.probe_url, HEADERS, body_bytes_max=None)
        except TimeoutError:
            return f"no answer within {_PROBE_TIMEOUT_S:g} seconds"
        except (UnreachableError, UpstreamError) as error:
            return str(error)
        except HttpClientError:
            return "there is no HTTP response"
        return None

    async def close(self) -> None:
        """Close all connections. Later requests are refused, since nothing would close their connections."""
        self._is_closed = True
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def _get(self, url: str, headers: Mapping[str, str], body_bytes_max: int) -> bytes:
        """Return the body of the response to a GET.

        Raises:
            UpstreamError: If there is no response, or a larger one, a redirect or an error status.
        """
        try:
            status, response_headers, body = await _fetch(
                self._opened(), url, {**HEADERS, **headers}, body_bytes_max=body_bytes_max
            )
        except HttpClientError as error:
            raise exchange_error(error, expected="a response") from None
        if status >= 400:
            raise status_error(status, body, response_headers)
        if status >= 300:
            raise redirect_error(status)
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

    Args:
        url: A URL of the upstream.

    Raises:
        MistralwireError: If the proxy is not an http URL with a host; with the code FAILED_PRECONDITION. The
            URL is not quoted.
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


async def _fetch(
    client: HttpClient, url: str, headers: Mapping[str, str], *, body_bytes_max: int | None
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a GET, and wait for the response.

    Args:
        client: Sends the request.
        url: The URL.
        headers: The headers of the request.
        body_bytes_max: Bound on the body in bytes; None to wait for the head alone.

    Returns:
        The status, the headers by name in lower case, and the body.

    Raises:
        HttpClientError: If there is no response.
        UpstreamError: If the body is larger.
    """
    response = _FetchReceiver(body_bytes_max)
    exchange = response.exchange = client.request("GET", url, headers, None, response)
    try:
        await response.arrived
    finally:
        exchange.cancel()
    return response.status, response.headers, b"".join(response.pieces)


class _FetchReceiver:
    """Keeps a response for a coroutine; a ResponseReceiver."""

    def __init__(self, body_bytes_max: int | None) -> None:
        self.arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.exchange: Exchange | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.pieces: list[bytes] = []
        self._body_bytes_max = body_bytes_max
        self._size = 0

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        if self._body_bytes_max is None:
            self.end()

    def data(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._body_bytes_max is not None and self._size > self._body_bytes_max:
            self.failed(too_large_error(f"{self._body_bytes_max} bytes"))
            if self.exchange is not None:
                # At once: the rest of an encoded body may be a thousand times as large.
                self.exchange.cancel()
        else:
            self.pieces.append(piece)

    def end(self) -> None:
        if not self.arrived.done():
            self.arrived.set_result(None)

    def failed(self, error: Exception) -> None:
        if not self.arrived.done():
            self.arrived.set_exception(error)
