"""Requests to an upstream over HTTP: one session, retries before an answer, and the answers as messages."""

import asyncio
import contextlib
import io
import logging
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import aiohttp
from google.protobuf.message import Message

from mistralwire import _offload
from mistralwire.codec import binary_to_json, explode, from_json, is_error_body
from mistralwire.errors import CodecError, DecodeError, EncodeError, UpstreamError
from mistralwire.upstream._http_answer import Body, ChunkReader
from mistralwire.upstream._http_errors import (
    late,
    redirected,
    refused,
    truncated,
    unconnected,
    unreachable,
    unreadable,
)
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
_READ_BYTES = 256 * 1024
_RETRIED = (429, 502, 503, 504)
# The pause before the second attempt, doubled for each further one; drawn between half of it and all of it.
_BACKOFF_S = 0.5
_BACKOFF_S_MAX = 8.0
# Who is asked to wait for longer is told so instead.
_WAIT_S_MAX = 30.0
_PROBE_S = 3.0
# How long the end of an answer may take behind its last event, so that the connection can be used again.
_REST_S = 1.0

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
        self._session: aiohttp.ClientSession | None = None
        self._resting: set[asyncio.Task[None]] = set()

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        """Ask for an answer in one piece.

        Raises:
            UpstreamError: If there is none, or one that can't be read.
        """
        if request.stream:
            request = _with_stream(request, is_stream=False)
        async with self._asking(request, context, is_stream=False) as (response, body):
            data = await body.read_all(self._settings.answer_bytes_max)
            is_fim = isinstance(request, FIMCompletionRequest)
            kind = FIMCompletionResponse if is_fim else ChatCompletionResponse
            return await _offload.convert(data, _read_response, kind, data, response.status)

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        """Ask for an answer as a stream.

        Raises:
            UpstreamError: Where the stream breaks, after the chunks before.
        """
        if not request.stream:
            request = _with_stream(request, is_stream=True)
        async with self._asking(request, context, is_stream=True) as (response, body):
            if response.content_type == "text/html":
                raise unreadable("an HTML page", response.status)
            if response.content_type == "application/json":
                # Some servers do not stream, whatever they are asked for.
                data = await body.read_all(self._settings.answer_bytes_max)
                for chunk in await _offload.convert(data, _exploded, data, response.status):
                    yield chunk
                return
            reader = ChunkReader()
            while not reader.is_done:
                for part in reader.parts_of(await body.read()):
                    for chunk in await reader.chunks_of(part):
                        yield chunk

    async def probe(self) -> str | None:
        """See whether anybody answers HTTP, within 3 seconds.

        Returns:
            None if so, whatever the answer is; else why not.
        """
        timeout = aiohttp.ClientTimeout(total=_PROBE_S)
        try:
            async with self._opened().get(
                self._target.probe_url, proxy=self._proxy, timeout=timeout, allow_redirects=False
            ) as answer:
                return None if answer.status else "no status"
        except TimeoutError:
            return f"no answer within {_PROBE_S:g} seconds"
        except (aiohttp.ClientError, OSError) as error:
            return unreachable(error).message.rpartition(": ")[2]

    async def close(self) -> None:
        """Close all connections."""
        resting = list(self._resting)
        for task in resting:
            task.cancel()
        await asyncio.gather(*resting, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                # The service bounds the calls.
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._settings.connect_s),
                read_bufsize=_READ_BYTES,
                headers={"user-agent": "mistralwire"},
            )
        return self._session

    @contextlib.asynccontextmanager
    async def _asking(
        self, request: Any, context: CallContext, *, is_stream: bool
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, Body]]:
        """Send a request, again if need be; give an answer whose status is no error."""
        response = await self._answered(request, context, is_stream=is_stream)

        def cut() -> UpstreamError:
            found = "a connection that broke before"
            return truncated(found) if is_stream else unreadable("a part of one", response.status)

        body = Body(response, self._settings.silence_s, cut)
        is_whole = False
        try:
            yield response, body
            is_whole = True
        finally:
            body.close()
            if is_whole:
                self._let_rest(response)
            else:
                response.close()

    async def _answered(
        self, request: Any, context: CallContext, *, is_stream: bool
    ) -> aiohttp.ClientResponse:
        body = self._target.body_of(request)
        wire = body.SerializeToString()
        try:
            data = await _offload.convert(wire, binary_to_json, type(body), wire)
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
    ) -> aiohttp.ClientResponse:
        """Send a request once."""
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if is_stream else "application/json",
        }
        if context.request_id:
            headers["x-request-id"] = context.request_id
        settings = self._settings
        try:
            async with asyncio.timeout(settings.first_byte_s):
                url, more = await self._target.address(request, is_stream=is_stream)
                headers.update(more)
                # aiohttp writes a file in pieces, and bytes at once, which would stall all other calls.
                body = data if len(data) <= _READ_BYTES else io.BytesIO(data)
                response = await self._opened().post(
                    url, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
                )
        except aiohttp.ConnectionTimeoutError:
            raise unconnected(settings.connect_s) from None
        except TimeoutError:
            raise late(settings.first_byte_s) from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error) from None
        if response.status < 300:
            return response
        if response.status < 400:
            response.close()
            raise redirected(response.status)
        raise await self._refusal(response)

    async def _refusal(self, response: aiohttp.ClientResponse) -> UpstreamError:
        """Read the body of an error answer, as much of it as comes in time; the status counts without it."""
        body = b""
        try:
            async with asyncio.timeout(self._settings.connect_s):
                while len(body) < _ERROR_BYTES_MAX and (piece := await response.content.readany()):
                    body += piece
        except (TimeoutError, aiohttp.ClientError, OSError):
            response.close()
        if response.content.at_eof():
            response.release()
        else:
            response.close()
        return await _offload.convert(body, refused, response.status, body, response.headers)

    def _let_rest(self, response: aiohttp.ClientResponse) -> None:
        """Give a connection back once its answer is at its end, without anybody waiting for that."""
        if response.content.at_eof():
            response.release()
            return
        task = asyncio.create_task(_rest(response))

        def rested(_: "asyncio.Task[None]") -> None:
            # Without effect on one that is released. Not in the task: it may be cancelled before it starts.
            response.close()
            self._resting.discard(task)

        self._resting.add(task)
        task.add_done_callback(rested)


async def _rest(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_REST_S):
            while not response.content.at_eof():
                await response.content.readany()
        response.release()


def _may_be_tried_again(error: UpstreamError) -> bool:
    if error.status is not None:
        return error.status in _RETRIED
    return error.code == "UNAVAILABLE"


def _pause_s(attempt: int, retry_after_s: float | None) -> float:
    backoff_s: float = min(_BACKOFF_S * 2.0 ** (attempt - 1), _BACKOFF_S_MAX)
    return max(retry_after_s or 0.0, backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def _with_stream(request: Any, *, is_stream: bool) -> Any:
    """Give a copy that asks for what the method promises."""
    copy = type(request)()
    copy.CopyFrom(request)
    copy.stream = is_stream
    return copy


def _read_response(kind: type[Message], data: bytes, status: int) -> CompletionResponse:
    try:
        response: Any = from_json(kind, data, validate=False)
        if not response.choices and is_error_body(data):
            raise error_from_body(from_json(ErrorResponse, data, validate=False))
    except DecodeError:
        raise unreadable("what is no JSON object", status) from None
    answer: CompletionResponse = response
    return answer


def _exploded(data: bytes, status: int) -> list[CompletionChunk]:
    response = _read_response(ChatCompletionResponse, data, status)
    try:
        return list(explode(response))
    except CodecError:
        raise unreadable("an answer in one piece that is no stream", status) from None
