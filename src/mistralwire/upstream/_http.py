"""Requests to an upstream over HTTP: one session, retries before an answer, and the answers as messages."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from google.protobuf.message import Message

from mistralwire.codec import explode, from_json, is_error_body, to_json
from mistralwire.errors import CodecError, DecodeError, EncodeError, Reason, UpstreamError
from mistralwire.upstream._http1 import HttpClient, HttpClientError, UnreachableError
from mistralwire.upstream._http_answer import AwaitedResponse, ChunkReader
from mistralwire.upstream._http_errors import late, redirected, refused, unanswered, unreadable
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._proxy import proxy_of
from mistralwire.upstream._upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    error_from_body,
)
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    ErrorResponse,
    FIMCompletionRequest,
    FIMCompletionResponse,
)

_ERROR_BYTES_MAX = 64 * 1024
_RETRIED = (429, 502, 503, 504)
# The pause before the second attempt, doubled for each further one; drawn between half of it and all of it.
_BACKOFF_S = 0.5
_BACKOFF_S_MAX = 8.0
# Who is asked to wait for longer is told so instead.
_WAIT_S_MAX = 30.0
_PROBE_S = 3.0
_HEADERS = {"user-agent": "mistralwire"}

_logger = logging.getLogger(__name__)


class Target(Protocol):
    """Where a request goes."""

    async def address(self, request: Any, *, is_stream: bool) -> tuple[str, Mapping[str, str]]:
        """Give the URL, and the headers beside those of every request."""
        ...

    def body_of(self, request: Any) -> Any:
        """Give the request as its body is to say it."""
        ...

    @property
    def probe_url(self) -> str:
        """What to ask for in order to see whether anybody answers."""
        ...


class HttpUpstream:
    """What upstreams over HTTP have in common: an Upstream for a Target.

    Args:
        target: Where requests go.
        settings: Times and bounds.

    Raises:
        MistralwireError: If the environment names a proxy that is none.
    """

    relays_answers = True

    def __init__(self, target: Target, settings: HttpSettings) -> None:
        self._target = target
        self._settings = settings
        self._proxy = proxy_of(target.probe_url)
        self._client: HttpClient | None = None

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        """Ask for an answer in one piece.

        Raises:
            UpstreamError: If there is none, or one that can't be read.
        """
        if request.stream:
            request = _with_stream(request, is_stream=False)
        async with self._asking(request, context, is_stream=False) as response:
            data = await response.read_all(self._settings.answer_bytes_max)
            is_fim = isinstance(request, FIMCompletionRequest)
            return _read_response(data, response.status, is_fim=is_fim)

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        """Ask for an answer as a stream.

        Raises:
            UpstreamError: Where the stream breaks, after the chunks before.
        """
        if not request.stream:
            request = _with_stream(request, is_stream=True)
        async with self._asking(request, context, is_stream=True) as response:
            if response.content_type == "text/html":
                raise unreadable("an HTML page", response.status)
            if response.content_type == "application/json":
                # Some servers do not stream, whatever they are asked for.
                data = await response.read_all(self._settings.answer_bytes_max)
                for chunk in _exploded(data, response.status):
                    yield chunk
                return
            reader = ChunkReader()
            while not reader.is_done:
                piece = await response.read()
                for chunk in reader.chunks_of(piece):
                    yield chunk

    async def probe(self) -> str | None:
        """See whether anybody answers HTTP, within 3 seconds.

        Returns:
            None if so, whatever the answer is; else why not.
        """
        response = AwaitedResponse(_PROBE_S, is_stream=False)
        try:
            async with asyncio.timeout(_PROBE_S):
                await response.ask(self._opened(), "GET", self._target.probe_url, _HEADERS, None)
        except TimeoutError:
            return f"no answer within {_PROBE_S:g} seconds"
        except UnreachableError as error:
            return str(error)
        except HttpClientError:
            return "there is no answer"
        # Its body may be long, and says nothing that counts here.
        response.close(is_whole=False)
        return None

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def _opened(self) -> HttpClient:
        if self._client is None:
            self._client = HttpClient(connect_s=self._settings.connect_s, proxy=self._proxy)
        return self._client

    @contextlib.asynccontextmanager
    async def _asking(
        self, request: Any, context: CallContext, *, is_stream: bool
    ) -> AsyncIterator[AwaitedResponse]:
        """Send a request, again if need be; give an answer whose status is no error."""
        response = await self._answered(request, context, is_stream=is_stream)
        is_whole = False
        try:
            yield response
            is_whole = True
        finally:
            response.close(is_whole=is_whole)

    async def _answered(self, request: Any, context: CallContext, *, is_stream: bool) -> AwaitedResponse:
        try:
            data = to_json(self._target.body_of(request))
        except EncodeError as error:
            raise UpstreamError(str(error), code="INVALID_ARGUMENT", reason=error.reason) from None
        # The next upstream is a better second attempt than a pause.
        attempts_max = 1 if context.has_alternative else self._settings.attempts_max
        attempt = 1
        while True:
            try:
                return await self._sent(request, data, context, is_stream=is_stream)
            except UpstreamError as error:
                if attempt >= attempts_max or not _may_be_tried_again(error):
                    raise
                wait_s = _pause_s(attempt, error.retry_after_s)
                remaining_s = context.remaining_s()
                if wait_s > _WAIT_S_MAX or (remaining_s is not None and wait_s >= remaining_s):
                    raise
                _logger.info(
                    "attempt %d failed with %s; another in %.1f seconds",
                    *(attempt, error.reason, wait_s),
                    extra={"request_id": context.request_id},
                )
            attempt += 1
            await asyncio.sleep(wait_s)

    async def _sent(
        self, request: Any, data: bytes, context: CallContext, *, is_stream: bool
    ) -> AwaitedResponse:
        """Send a request once."""
        headers = {
            **_HEADERS,
            "content-type": "application/json",
            "accept": "text/event-stream" if is_stream else "application/json",
        }
        if context.request_id:
            headers["x-request-id"] = context.request_id
        settings = self._settings
        response = AwaitedResponse(settings.silence_s, is_stream=is_stream)
        try:
            async with asyncio.timeout(settings.first_byte_s):
                url, more = await self._target.address(request, is_stream=is_stream)
                await response.ask(self._opened(), "POST", url, {**headers, **more}, data)
        except TimeoutError:
            raise late(settings.first_byte_s) from None
        except HttpClientError as error:
            raise unanswered(error) from None
        if response.status < 300:
            return response
        if response.status < 400:
            response.close(is_whole=False)
            raise redirected(response.status)
        raise await self._refusal(response)

    async def _refusal(self, response: AwaitedResponse) -> UpstreamError:
        """Read the body of an error answer, as much of it as comes in time; the status counts without it."""
        body = b""
        is_whole = False
        with contextlib.suppress(TimeoutError, UpstreamError):
            async with asyncio.timeout(self._settings.connect_s):
                while len(body) < _ERROR_BYTES_MAX and (piece := await response.read()):
                    body += piece
                is_whole = len(body) < _ERROR_BYTES_MAX
        response.close(is_whole=is_whole)
        return refused(response.status, body, response.headers)


def _may_be_tried_again(error: UpstreamError) -> bool:
    if error.status is not None:
        return error.status in _RETRIED
    return error.reason == Reason.UPSTREAM_UNREACHABLE


def _pause_s(attempt: int, retry_after_s: float | None) -> float:
    backoff_s: float = min(_BACKOFF_S * 2.0 ** (attempt - 1), _BACKOFF_S_MAX)
    return max(retry_after_s or 0.0, backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def _with_stream(request: Any, *, is_stream: bool) -> Any:
    """Give a copy that asks for what the method promises."""
    copy = type(request)()
    copy.CopyFrom(request)
    copy.stream = is_stream
    return copy


def _read_response(data: bytes, status: int, *, is_fim: bool) -> CompletionResponse:
    kind: type[Message] = FIMCompletionResponse if is_fim else ChatCompletionResponse
    try:
        response: Any = from_json(kind, data, validate=False)
        if not response.choices and is_error_body(data):
            raise error_from_body(from_json(ErrorResponse, data, validate=False))
    except DecodeError:
        raise unreadable("what is no JSON object", status) from None
    answer: CompletionResponse = response
    return answer


def _exploded(data: bytes, status: int) -> list[CompletionChunk]:
    response = _read_response(data, status, is_fim=False)
    try:
        return list(explode(response))
    except CodecError:
        raise unreadable("an answer in one piece that is no stream", status) from None
