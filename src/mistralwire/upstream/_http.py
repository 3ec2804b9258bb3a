"""Requests to an upstream over HTTP: one client, and each call by callbacks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from mistralwire._flow import Source
from mistralwire.errors import Reason, UpstreamError
from mistralwire.upstream import _awaited
from mistralwire.upstream._http1 import HttpClient, HttpClientError, UnreachableError
from mistralwire.upstream._http_call import HEADERS, Asked, HttpCall, Target
from mistralwire.upstream._http_log import HttpLog
from mistralwire.upstream._http_probe import Head
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._proxy import proxy_of
from mistralwire.upstream._upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    Receiver,
)
from mistralwire.v1 import CompletionChunk

_PROBE_S = 3.0


class HttpUpstream:
    """What upstreams over HTTP have in common: a CallbackUpstream for a Target.

    Args:
        target: Where requests go.
        settings: Times and bounds.
        log: What its calls are logged by.

    Raises:
        MistralwireError: If the environment names a proxy that is none.
    """

    relays_answers = True
    judges_requests = True

    def __init__(self, target: Target, settings: HttpSettings, log: HttpLog) -> None:
        self._target = target
        self._settings = settings
        self._log = log
        self._proxy = proxy_of(target.probe_url)
        self._client: HttpClient | None = None
        self._is_closed = False

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Source:
        """Ask for an answer by callbacks.

        Raises:
            UpstreamError: If this upstream is closed, with the reason CLIENT_CLOSED.
        """
        asked = Asked(request, wire, context, contract_revision)
        client = self._client or self._opened()
        call = HttpCall(client, self._target, self._settings, self._log, asked=asked, receiver=receiver)
        call.start()
        return call

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        """Ask for an answer in one piece.

        Raises:
            UpstreamError: If there is none, or one that can't be read.
        """
        return await _awaited.complete(self, request, context)

    def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        """Ask for an answer as a stream.

        Raises:
            UpstreamError: Where the stream breaks, after the chunks before.
        """
        return _awaited.stream(self, request, context)

    async def probe(self) -> str | None:
        """See whether anybody answers HTTP, within 3 seconds.

        Returns:
            None if so, whatever the answer is; else why not.
        """
        head = Head()
        try:
            async with asyncio.timeout(_PROBE_S):
                await head.of(self._opened(), self._target.probe_url, HEADERS)
        except TimeoutError:
            return f"no answer within {_PROBE_S:g} seconds"
        except (UnreachableError, UpstreamError) as error:
            return str(error)
        except HttpClientError:
            return "there is no answer"
        return None

    async def close(self) -> None:
        """Close all connections. Later requests are refused: nobody would close theirs."""
        self._is_closed = True
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def _opened(self) -> HttpClient:
        if self._is_closed:
            message = "the upstream is closed; make another for more requests"
            raise UpstreamError(message, code="CANCELLED", reason=Reason.CLIENT_CLOSED)
        if self._client is None:
            self._client = HttpClient(connect_s=self._settings.connect_s, proxy=self._proxy)
        return self._client
