"""Several upstreams behind one: by model or agent, by weight, and on to the next where one fails."""

import asyncio
import dataclasses
import fnmatch
import functools
import logging
import math
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, TypeGuard

from mistralwire._flow import Source
from mistralwire.errors import Reason, UpstreamError
from mistralwire.upstream import _awaited
from mistralwire.upstream._program import with_start
from mistralwire.upstream._upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    Receiver,
    Upstream,
)
from mistralwire.v1 import AgentsCompletionRequest, AgentsCompletionStreamRequest, CompletionChunk

# What another upstream may do better. A request that one refuses as invalid is invalid elsewhere too.
_FAILED_OVER = (
    *("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION"),
    # Not all have agents, or fill in the middle.
    "UNIMPLEMENTED",
)

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """An upstream with the models that go there.

    Attributes:
        name: What it is called in logs and messages.
        upstream: The upstream.
        models: Patterns of the models' names, and of the ids of agents, with `*`, `?` and `[...]`.
        weight: Its share among the routes that match; 0 to be asked only when the others have failed.

    Raises:
        ValueError: If the weight is negative or not finite, or there is no pattern.
    """

    name: str
    upstream: Upstream
    models: tuple[str, ...] = ("*",)
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or more and finite, not {self.weight!r}")
        if not self.models:
            raise ValueError("models must have a pattern, such as *")

    def matches(self, name: str) -> bool:
        """Check whether requests for a model, or for an agent, go here."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.models)


class RoutedUpstream:
    """Asks one of several upstreams, drawn by weight; the next where one fails before its first chunk.

    Args:
        routes: The upstreams.

    Raises:
        ValueError: If there is no route, or two have one name.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        if not routes or len({route.name for route in routes}) < len(routes):
            raise ValueError("expected at least one route, and a name of its own for each")
        self.routes = tuple(routes)
        self._upstreams = {route.name: with_start(route.upstream) for route in routes}
        self.judges_requests = all(upstream.judges_requests for upstream in self._upstreams.values())

    @property
    def models(self) -> tuple[str, ...]:
        """The names of models that the routes have without a wildcard, in order."""
        return plain_names(pattern for route in self.routes for pattern in route.models)

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Source:
        """Ask for an answer by callbacks."""
        try:
            routes = self._drawn(_name_of(request))
        except UpstreamError as error:
            receiver.failed(error)
            receiver.closed()
            return _NoSource()
        hurried = dataclasses.replace(context, has_alternative=True)
        asked = [
            (
                route,
                functools.partial(
                    self._upstreams[route.name].start,
                    request,
                    wire,
                    context if route is routes[-1] else hurried,
                    contract_revision=contract_revision,
                ),
            )
            for route in routes
        ]
        return _RoutedCall(asked, receiver, context.request_id)

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        """Ask for an answer in one piece.

        Raises:
            UpstreamError: The last one, if all routes failed; MODEL_NOT_FOUND if none has the model
                or the agent.
        """
        return await _awaited.complete(self, request, context)

    def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        """Ask for an answer as a stream.

        Raises:
            UpstreamError: As for `complete`; and where the stream breaks, after the chunks before.
        """
        return _awaited.stream(self, request, context)

    async def probe(self) -> str | None:
        """See whether any upstream answers; one that can't be asked counts as one that does.

        Returns:
            None if so; else why the first one does not.
        """
        probes = [getattr(route.upstream, "probe", None) for route in self.routes]
        if None in probes:
            return None
        reasons: list[str | None] = await asyncio.gather(*(ask() for ask in probes if ask is not None))
        return None if None in reasons else reasons[0]

    async def close(self) -> None:
        """Close the upstreams that can be closed."""
        for route in self.routes:
            if close := getattr(route.upstream, "close", None):
                await close()

    def _drawn(self, name: str) -> list[Route]:
        """Return the routes of a model or an agent in the order in which they are to be asked."""
        routes = [route for route in self.routes if route.matches(name)]
        if not routes:
            message = (
                "no upstream has this model or agent; /v1/models, or the configuration, says which there are"
            )
            raise UpstreamError(message, code="NOT_FOUND", reason=Reason.MODEL_NOT_FOUND)
        # With these keys, the greatest first, each order is as likely as by drawing one after the other
        # without putting any back (Efraimidis and Spirakis, 2006).
        keys = {
            route.name: math.log(1.0 - random.random()) / route.weight if route.weight else -math.inf  # noqa: S311
            for route in routes
        }
        return sorted(routes, key=lambda route: keys[route.name], reverse=True)


def plain_names(patterns: Iterable[str]) -> tuple[str, ...]:
    """Give the patterns that are names of models, without a wildcard, in order."""
    return tuple(sorted({pattern for pattern in patterns if not set(pattern) & set("*?[")}))


def _name_of(request: CompletionRequest | CompletionStreamRequest) -> str:
    """Return the name of the model that is asked for, or the id of the agent."""
    if isinstance(request, AgentsCompletionRequest | AgentsCompletionStreamRequest):
        return request.agent_id
    return request.model


class _NoSource:
    """The source of an answer that has failed already."""

    def pause(self) -> None:
        """Leave it."""

    def resume(self) -> None:
        """Leave it."""

    def cancel(self) -> None:
        """Leave it."""


class _RoutedCall:
    """Asks one route after the other until one answers; a Source, and the receiver of each that is asked.

    Args:
        routes: The routes, each with what asks its upstream for a receiver.
        receiver: What takes the answer.
        request_id: Id of the call, for the log.
    """

    def __init__(
        self,
        routes: Sequence[tuple[Route, Callable[[Receiver], Source]]],
        receiver: Receiver,
        request_id: str,
    ) -> None:
        self.is_watched = receiver.is_watched
        self.headers = receiver.headers
        self.answer = receiver.answer
        self.end = receiver.end
        self._receiver = receiver
        self._request_id = request_id
        self._routes = list(routes)
        self._source: Source | None = None
        self._is_paused = self._has_begun = self._is_passed_over = False
        # Whether an upstream that could have answered has failed before.
        self._was_retried = False
        self._ask_next()

    def _ask_next(self) -> None:
        self._route, start = self._routes.pop(0)
        left = len(self._routes)
        try:
            source = start(self)
        except Exception as error:  # noqa: BLE001 - it is the route's
            self.failed(error)
            self.closed()
            return
        # It may have failed by now, and another may have been asked.
        if len(self._routes) == left:
            self._source = source
            if self._is_paused:
                source.pause()

    def pause(self) -> None:
        """Read no more."""
        self._is_paused = True
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        """Go on."""
        self._is_paused = False
        if self._source is not None:
            self._source.resume()

    def cancel(self) -> None:
        """Leave the upstream."""
        if self._source is not None:
            self._source.cancel()

    def batch(
        self,
        wire: bytes,
        count: int,
        usage: bytes | None = None,
        finish_reasons: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Pass chunks on: from now on, no other route can be asked."""
        self._has_begun = True
        self._receiver.batch(wire, count, usage, finish_reasons)

    def failed(self, error: BaseException) -> None:
        """Go on to the next route, once this one has closed, or fail."""
        if not self._routes or self._has_begun or not _is_failed_over(error):
            if self._was_retried and isinstance(error, UpstreamError) and error.retry_after_s is None:
                error.should_retry = False
            self._receiver.failed(error)
            return
        self._is_passed_over = True
        self._was_retried = self._was_retried or error.code != "UNIMPLEMENTED"
        _logger.warning(
            "upstream %s failed with %s, %s; the next is asked",
            *(self._route.name, error.code, error.reason),
            extra={"request_id": self._request_id},
        )

    def closed(self) -> None:
        """Ask the next route, if this one has failed."""
        if self._is_passed_over:
            self._is_passed_over = False
            self._ask_next()
        else:
            self._receiver.closed()


def _is_failed_over(error: BaseException) -> TypeGuard[UpstreamError]:
    return isinstance(error, UpstreamError) and error.code in _FAILED_OVER
