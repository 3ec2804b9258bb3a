"""Routes requests to one of several upstreams, by model and weight, with failover to the others."""

import asyncio
import dataclasses
import fnmatch
import logging
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from mistralwire._response_stream import Source
from mistralwire.errors import Reason, UpstreamError
from mistralwire.upstream._coroutines import with_start
from mistralwire.upstream._upstream import BaseCallbackUpstream, CallContext, Receiver, Upstream
from mistralwire.v1 import AgentsCompletionRequest, AgentsCompletionStreamRequest

# Codes where another upstream may succeed. A request that one rejects as invalid is invalid elsewhere too.
_FAILOVER_CODES = (
    *("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION"),
    # Not all upstreams support agents or fill-in-the-middle.
    "UNIMPLEMENTED",
)

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """An upstream, and the models that are routed to it.

    Attributes:
        name: Name for logs and messages.
        upstream: The upstream.
        models: Patterns for names of models and ids of agents, with `*`, `?` and `[...]`.
        weight: Share of the requests among the routes that match; 0 for a route that is used only after the
            others have failed.

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
        """Check whether this route takes requests for a model or an agent."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.models)


class RoutedUpstream(BaseCallbackUpstream):
    """Sends each request to one of several upstreams, drawn by weight, and fails over before the first chunk.

    Raises:
        ValueError: If there is no route, or two have the same name.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        if not routes or len({route.name for route in routes}) < len(routes):
            raise ValueError("expected at least one route, each with a unique name")
        self.routes = tuple(routes)
        self._upstreams = {route.name: with_start(route.upstream) for route in routes}
        self.judges_requests = all(upstream.judges_requests for upstream in self._upstreams.values())

    @property
    def models(self) -> tuple[str, ...]:
        """The models that routes name without a wildcard, sorted."""
        return plain_names(pattern for route in self.routes for pattern in route.models)

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Source:
        """Start a call; it fails with the error of the last route if all routes fail.

        Raises:
            UpstreamError: If no route takes the model or the agent, with the reason MODEL_NOT_FOUND.
        """
        is_for_agent = isinstance(request, AgentsCompletionRequest | AgentsCompletionStreamRequest)
        routes = self._drawn(request.agent_id if is_for_agent else request.model)
        hurried = dataclasses.replace(context, has_alternative=True)

        def start_on(route: Route, call: Receiver) -> Source:
            own = context if route is routes[-1] else hurried
            upstream = self._upstreams[route.name]
            return upstream.start(request, wire, own, call, contract_revision=contract_revision)

        return _RoutedCall(routes, start_on, receiver, context.request_id)

    async def probe(self) -> str | None:
        """Return None if any upstream can be reached, else why the first one can't.

        One without a method `probe` counts as reachable.
        """
        probes = [getattr(route.upstream, "probe", None) for route in self.routes]
        if None in probes:
            return None
        reasons: list[str | None] = await asyncio.gather(*(probe() for probe in probes if probe is not None))
        return None if None in reasons else reasons[0]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the upstreams that have a method `close`."""
        for route in self.routes:
            if close := getattr(route.upstream, "close", None):
                await close()

    def _drawn(self, name: str) -> list[Route]:
        """Return the routes for a model or an agent, in the order in which they are tried."""
        routes = [route for route in self.routes if route.matches(name)]
        if not routes:
            message = "no upstream has this model or agent; see /v1/models or the configuration"
            raise UpstreamError(message, code="NOT_FOUND", reason=Reason.MODEL_NOT_FOUND)
        # With these keys, the greatest first, each order is as likely as by drawing one after the other
        # without replacement (Efraimidis and Spirakis, 2006).
        keys = {
            route.name: math.log(1.0 - random.random()) / route.weight if route.weight else -math.inf  # noqa: S311
            for route in routes
        }
        return sorted(routes, key=lambda route: keys[route.name], reverse=True)


def plain_names(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns without a wildcard, which are names of models, sorted."""
    return tuple(sorted({pattern for pattern in patterns if not set(pattern) & set("*?[")}))


class _RoutedCall:
    """Tries one route after the other until one responds; a Source, and the Receiver of each route."""

    def __init__(
        self,
        routes: Sequence[Route],
        start_on: Callable[[Route, Receiver], Source],
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
        self._start_on = start_on
        self._source: Source | None = None
        self._is_paused = self._has_begun = self._is_failing_over = False
        # Whether an upstream that could have responded has failed before.
        self._was_retried = False
        self._start_next()

    def _start_next(self) -> None:
        self._route = self._routes.pop(0)
        left = len(self._routes)
        try:
            source = self._start_on(self._route, self)
        except Exception as error:  # noqa: BLE001 - it is the route's
            self.failed(error)
            self.closed()
            return
        # The route may have failed by now, and the next one have been started.
        if len(self._routes) == left:
            self._source = source
            if self._is_paused:
                source.pause()

    def pause(self) -> None:
        self._is_paused = True
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        self._is_paused = False
        if self._source is not None:
            self._source.resume()

    def cancel(self) -> None:
        if self._source is not None:
            self._source.cancel()

    def batch(
        self,
        wire: bytes,
        count: int,
        usage: bytes | None = None,
        finish_reasons: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Forward chunks; from now on there is no failover."""
        self._has_begun = True
        self._receiver.batch(wire, count, usage, finish_reasons)

    def failed(self, error: BaseException) -> None:
        """Fail over to the next route once this one has closed, or fail."""
        is_final = self._has_begun or not self._routes
        if is_final or not isinstance(error, UpstreamError) or error.code not in _FAILOVER_CODES:
            if self._was_retried and isinstance(error, UpstreamError) and error.retry_after_s is None:
                error.should_retry = False
            self._receiver.failed(error)
            return
        self._is_failing_over = True
        self._was_retried = self._was_retried or error.code != "UNIMPLEMENTED"
        _logger.warning(
            "upstream %s failed with %s, %s; trying the next one",
            *(self._route.name, error.code, error.reason),
            extra={"request_id": self._request_id},
        )

    def closed(self) -> None:
        if self._is_failing_over:
            self._is_failing_over = False
            self._start_next()
        else:
            self._receiver.closed()
