"""Several upstreams behind one: by model or agent, by weight, and on to the next where one fails."""

import contextlib
import dataclasses
import fnmatch
import logging
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence

from mistralwire.errors import Reason, UpstreamError
from mistralwire.upstream._upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
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

    @property
    def relays_answers(self) -> bool:
        """Whether all of the upstreams pass on what an API answered."""
        return all(getattr(route.upstream, "relays_answers", False) for route in self.routes)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of models that the routes have without a wildcard, in order."""
        return plain_names(pattern for route in self.routes for pattern in route.models)

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        """Ask for an answer in one piece.

        Raises:
            UpstreamError: The last one, if all routes failed; MODEL_NOT_FOUND if none has the model
                or the agent.
        """
        *others, last = self._drawn(_name_of(request))
        hurried = dataclasses.replace(context, has_alternative=True) if others else context
        for route in others:
            try:
                return await route.upstream.complete(request, hurried)
            except UpstreamError as error:
                _pass_over(route, error, context)
        return await last.upstream.complete(request, context)

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        """Ask for an answer as a stream.

        Raises:
            UpstreamError: As for `complete`; and where the stream breaks, after the chunks before.
        """
        routes = self._drawn(_name_of(request))
        for route in routes:
            is_last = route is routes[-1]
            its = context if is_last else dataclasses.replace(context, has_alternative=True)
            chunks = route.upstream.stream(request, its)
            async with _closing(chunks):
                try:
                    chunk = await anext(chunks, None)
                except UpstreamError as error:
                    if is_last:
                        raise
                    _pass_over(route, error, context)
                    continue
                if chunk is not None:
                    yield chunk
                    async for chunk in chunks:
                        yield chunk
                return

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


def _pass_over(route: Route, error: UpstreamError, context: CallContext) -> None:
    """Log that a route failed, or raise where another would not do better."""
    if error.code not in _FAILED_OVER:
        raise error
    _logger.warning(
        "upstream %s failed with %s, %s; the next is asked",
        *(route.name, error.code, error.reason),
        extra={"request_id": context.request_id},
    )


def _closing(chunks: AsyncIterator[CompletionChunk]) -> contextlib.AbstractAsyncContextManager[object]:
    if isinstance(chunks, AsyncGenerator):
        return contextlib.aclosing(chunks)
    return contextlib.nullcontext()
