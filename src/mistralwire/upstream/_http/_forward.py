"""Forwards requests of other routes to an upstream: bytes both ways, without retries."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from mistralwire._timeouts import IdleTimer
from mistralwire.errors import UpstreamError
from mistralwire.upstream._http._conversion import exchange_error, late_error, redirect_error, stalled_error
from mistralwire.upstream._http._target import HttpLog
from mistralwire.upstream._http1 import Exchange, HttpClient, Upload
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._routing import Route


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRequest:
    """A request to forward.

    Attributes:
        method: The method, such as `POST`.
        target: Path and query, exactly as they are sent.
        headers: The headers to forward, without those that are meant for the gateway alone.
        body: The whole body; None for none. With `is_streamed`, its beginning.
        is_streamed: Whether more of the body follows by `ForwardCall.write`.
        length: Length of a streamed body in bytes; None if it is unknown.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None
    is_streamed: bool = False
    length: int | None = None


class ForwardReceiver(Protocol):
    """Receives the response. Nothing is called before the call was returned, nor after `end` or `failed`."""

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Receive the head of the response; names of headers are in lower case."""

    def data(self, piece: bytes) -> None:
        """Receive a piece of the body, decoded if it was encoded."""

    def end(self) -> None:
        """Receive the end of a complete response."""

    def failed(self, error: UpstreamError) -> None:
        """Receive the error that replaces the response, or that broke it after the pieces before."""

    def drained(self) -> None:
        """Learn that more of the request's body may be written, after a `write` that returned False."""


class Forwarder(Protocol):
    """An upstream that takes requests of other routes."""

    def forward(self, request: ForwardRequest, receiver: ForwardReceiver) -> "ForwardCall":
        """Send a request with the upstream's own credentials; see `MistralUpstream.forward`."""
        ...


class ForwardRoutes:
    """The upstreams that can take requests of other routes: those of the kind `mistral`, in their order.

    Args:
        routes: The routes; those whose upstream has no method `forward` are ignored.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [route for route in routes if hasattr(route.upstream, "forward")]

    @property
    def is_empty(self) -> bool:
        """Whether there is no upstream."""
        return not self._routes

    @property
    def asks_model(self) -> bool:
        """Whether the model of a request decides where it goes."""
        return len(self._routes) > 1

    def choose(self, model: str | None) -> Forwarder:
        """Return the first upstream whose patterns match the model; the first of all if there is none.

        Args:
            model: The model that the request names; None if it names none, or that is unknown.
        """
        routes = [] if model is None else [route for route in self._routes if route.matches(model)]
        upstream: Forwarder = [*routes, *self._routes][0].upstream  # type: ignore[assignment] # has `forward`
        return upstream


class ForwardCall:
    """A forwarded request, within the timeouts of its upstream; a ResponseReceiver.

    The response must begin `first_byte_s` after the last piece of the request.

    Args:
        client: Sends the request.
        settings: Timeouts.
        log: Logs the status.
        url: Where the request goes.
        request: The request.
        headers: Further headers, the same for many requests.
        receiver: Receives the response.

    Raises:
        ValueError: If a header can't be sent.
    """

    def __init__(
        self,
        client: HttpClient,
        settings: HttpSettings,
        log: HttpLog,
        url: str,
        *,
        request: ForwardRequest,
        headers: Mapping[str, str],
        receiver: ForwardReceiver,
    ) -> None:
        self._settings = settings
        self._log = log
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._upload = Upload(request.length, receiver.drained) if request.is_streamed else None
        self._has_head = self._is_paused = False
        self._exchange: Exchange = client.request(
            request.method,
            url,
            headers,
            request.body if self._upload is None else self._upload,
            self,
            own_headers=request.headers,
        )
        self._timer = IdleTimer()
        self._timer.start(settings.first_byte_s, self._expired)
        if self._upload is not None and request.body:
            self._upload.write(request.body)

    # For the owner of the call.

    def write(self, piece: bytes) -> bool:
        """Send a piece of the body; return whether more may be written before `drained` is called."""
        assert self._upload is not None  # noqa: S101 - a mistake of the caller
        self._extend(self._settings.first_byte_s)
        return self._upload.write(piece)

    def write_end(self) -> None:
        assert self._upload is not None  # noqa: S101 - as above
        self._extend(self._settings.first_byte_s)
        self._upload.end()

    def pause(self) -> None:
        self._is_paused = True
        self._exchange.pause()

    def resume(self) -> None:
        self._is_paused = False
        if self._has_head:
            self._extend(self._settings.silence_s)
        self._exchange.resume()

    def cancel(self) -> None:
        """Close the connection; the receiver gets no more calls."""
        self._timer.close()
        self._exchange.cancel()

    # The ResponseReceiver.

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self._has_head = True
        self._log.answered(status)
        self._timer.start(self._settings.silence_s, self._expired)
        if 300 <= status < 400:
            self._fail(redirect_error(status))
        else:
            self._receiver.head(status, headers)

    def data(self, piece: bytes) -> None:
        self._extend(self._settings.silence_s)
        self._receiver.data(piece)

    def end(self) -> None:
        self._timer.close()
        self._receiver.end()

    def failed(self, error: Exception) -> None:
        self._timer.close()
        self._receiver.failed(exchange_error(error, expected="a response"))

    def _extend(self, limit_s: float) -> None:
        self._timer.due_s = self._loop.time() + limit_s

    def _expired(self) -> None:
        silence_s = self._settings.silence_s
        if self._is_paused and self._has_head:
            # The caller is slow, not the upstream.
            self._timer.start(silence_s, self._expired)
        elif self._has_head:
            self._fail(stalled_error(silence_s))
        else:
            self._fail(late_error(self._settings.first_byte_s))

    def _fail(self, error: UpstreamError) -> None:
        self.cancel()
        self._receiver.failed(error)
