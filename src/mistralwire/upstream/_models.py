"""The catalog of models: those that routes name, and those that their upstreams list."""

import asyncio
import logging
import math
import operator
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from mistralwire.errors import Reason, UpstreamError, log_unexpected
from mistralwire.upstream._routing import Route, plain_names

Model: TypeAlias = Mapping[str, Any]
"""A model as `GET /v1/models` lists it: `id`, `object`, `created`, `owned_by`, and what else is known."""

FRESH_S = 60.0
"""Seconds before the list of an upstream is requested again."""

STALE_S = 3600.0
"""Seconds for which a list stays in use while no new one can be fetched."""

LIST_BYTES_MAX = 4 * 1024 * 1024
"""Bound on the list of one upstream, in bytes."""

MODELS_MAX = 10_000
"""Bound on the models of one upstream; the rest are left out."""

# Not every request is to ask an upstream that has just failed.
_PAUSE_S = 5.0
_LIST_S = 10.0
# Members that the SDKs require. Capabilities and the time of creation are unknown.
_DEFAULTS = {"object": "model", "created": 0, "owned_by": "mistralai", "type": "base", "capabilities": {}}
# Statuses of an upstream without such a list: its models are those that its route names.
_NOT_LISTED = (404, 405, 501)

_logger = logging.getLogger(__name__)


def _named_models(names: Iterable[str]) -> list[Model]:
    """Return models of which only the names are known."""
    return [{"id": name, **_DEFAULTS} for name in names]


def read_model_list(data: bytes) -> list[Model]:
    """Parse the response of an API to `GET /v1/models`: an object with the list as `data`, or the list.

    The members that the SDKs require are filled in. Items without an id are left out, and so are those nested
    too deeply to be serialized again.

    Raises:
        UpstreamError: If it is neither.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _list_error("something that is not JSON") from None
    items = document.get("data") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise _list_error("something else")
    return [
        _DEFAULTS
        | {name: value for name, value in item.items() if value is not None or name not in _DEFAULTS}
        for item in items[:MODELS_MAX]
        if isinstance(item, dict) and isinstance(item.get("id"), str) and item["id"] and _is_writable(item)
    ]


class ModelCatalog:
    """The models of several routes, each id once, sorted by id; the first route that has a model counts.

    A route without wildcards has the models that it names. One with a wildcard also has the matching models
    of its upstream's list. Lists are cached for FRESH_S; while no new one can be fetched, the previous one is
    used for up to STALE_S. A catalog belongs to one event loop.

    Args:
        routes: The routes. The list of an upstream comes from its coroutine method `list_models`, or from its
            attribute `models`, a tuple of names.
        names: Names of further models, which take precedence over those of the routes.
    """

    def __init__(self, routes: Sequence[Route] = (), names: Iterable[str] = ()) -> None:
        self._named = _named_models(names)
        self._parts = [(route, _named_models(_names_of(route)), _list_of(route)) for route in routes]
        # The last merge and the lists it was made of: thousands of models are not merged for each request.
        self._models: dict[str, Model] = {}
        self._aliased: dict[str, Model] = {}
        self._merged: list[Sequence[Model]] | None = None
        self._json: bytes | None = None

    async def models(self) -> list[Model]:
        """Return all models, without those of upstreams that failed.

        Raises:
            UpstreamError: If there are none because an upstream failed.
        """
        error = await self._refresh()
        if error is not None and not self._models:
            raise error.with_traceback(None)
        return [*self._models.values()]

    async def models_json(self) -> bytes:
        """Return all models as the response to `GET /v1/models`, serialized once for each change of a list.

        Raises:
            UpstreamError: See `models`.
        """
        models = await self.models()
        if self._json is None:
            self._json = orjson.dumps({"object": "list", "data": models})
        return self._json

    async def find(self, name: str) -> Model:
        """Return the model with an id, or with one of its `aliases`.

        Raises:
            UpstreamError: If it does not exist, with the reason MODEL_NOT_FOUND; or if an upstream that may
                have it failed.
        """
        error = await self._refresh()
        model = self._models.get(name) or self._aliased.get(name)
        if model is not None:
            return model
        if error is not None:
            raise error.with_traceback(None)
        message = "no such model; GET /v1/models lists the available ones"
        raise UpstreamError(message, code="NOT_FOUND", reason=Reason.MODEL_NOT_FOUND)

    async def _refresh(self) -> UpstreamError | None:
        """Merge the lists if one has changed; return the error of an upstream whose list is missing."""
        lists = [part for _, _, part in self._parts if part is not None]
        await asyncio.gather(*(part.refresh() for part in lists))
        merged = [part.models for part in lists]
        # By identity: lists are replaced, never changed.
        if self._merged is None or not all(map(operator.is_, merged, self._merged)):
            self._merge()
            self._merged = merged
        return next((part.error for part in lists if part.error is not None), None)

    def _merge(self) -> None:
        models: dict[str, Model] = {}
        for model in self._named:
            models.setdefault(model["id"], model)
        for route, named, part in self._parts:
            listed = [] if part is None else [model for model in part.models if route.matches(model["id"])]
            for model in (*listed, *named):
                models.setdefault(model["id"], model)
        self._models = {name: models[name] for name in sorted(models)}
        self._json = None
        self._aliased = {}
        for model in models.values():
            aliases = model.get("aliases")
            for alias in aliases if isinstance(aliases, list) else ():
                if isinstance(alias, str):
                    self._aliased.setdefault(alias, model)


class _CachedList:
    """The cached list of one upstream.

    Attributes:
        models: The list; empty while there is none.
        error: Why there is none; None if there is one.
    """

    def __init__(self, name: str, fetch: Callable[[], Awaitable[Sequence[Model]]]) -> None:
        self.models: Sequence[Model] = ()
        self.error: UpstreamError | None = None
        self._name = name
        self._fetch = fetch
        self._read_s = self._failed_s = -math.inf
        self._fetching: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Fetch the list, once for all callers, unless it is fresh or has just failed to arrive."""
        now_s = time.monotonic()
        if now_s < self._read_s + FRESH_S or now_s < self._failed_s + _PAUSE_S:
            return
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._update())
        # A caller that is cancelled does not cancel it for the others.
        await asyncio.shield(self._fetching)

    async def _update(self) -> None:
        try:
            async with asyncio.timeout(_LIST_S):
                models = await self._fetch()
        except TimeoutError:
            self._fail(_list_error(f"none within {_LIST_S:g} s"))
        except UpstreamError as error:
            if error.status in _NOT_LISTED:
                self._keep(())
            else:
                self._fail(error)
        except Exception as error:  # noqa: BLE001 - of a custom upstream; the others have their lists
            log_unexpected(_logger, f"listing the models of upstream {self._name} ended with", error)
            self._fail(_list_error("an error of this program"))
        else:
            self._keep(models)
        finally:
            self._fetching = None

    def _keep(self, models: Sequence[Model]) -> None:
        # A copy: a custom upstream may change its list.
        self.models, self.error = (*models,), None
        self._read_s = time.monotonic()

    def _fail(self, error: UpstreamError) -> None:
        self._failed_s = time.monotonic()
        _logger.warning(
            "%s: could not list the models of the upstream: %s, %s", self._name, error.code, error.reason
        )
        if self._failed_s >= self._read_s + STALE_S:
            self.models, self.error = (), error


def _is_writable(item: dict[str, Any]) -> bool:
    """Check whether an item can be serialized again: orjson parses deeper nesting than it serializes."""
    try:
        orjson.dumps({"data": [item]})
    except orjson.JSONEncodeError:
        return False
    return True


def _names_of(route: Route) -> Iterable[str]:
    names = getattr(route.upstream, "models", ())
    known = filter(route.matches, names) if isinstance(names, tuple) else ()
    return (*plain_names(route.models), *known)


def _list_of(route: Route) -> _CachedList | None:
    """Return the list of a route's upstream; None if it has none, or the route names all of its models."""
    has_wildcard = len(plain_names(route.models)) < len(set(route.models))
    fetch = getattr(route.upstream, "list_models", None) if has_wildcard else None
    return None if fetch is None else _CachedList(route.name, fetch)


def _list_error(found: str) -> UpstreamError:
    message = f"expected a list of models from the upstream, found {found}"
    return UpstreamError(message, reason=Reason.UPSTREAM_UNREADABLE)
