"""The models that can be asked for: those of the routes, and those that their upstreams list."""

import asyncio
import logging
import math
import operator
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from mistralwire._unexpected import log_unexpected
from mistralwire.errors import Reason, UpstreamError
from mistralwire.upstream._routing import Route, plain_names

Model: TypeAlias = Mapping[str, Any]
"""A model as `GET /v1/models` lists it: `id`, `object`, `created`, `owned_by`, and whatever else is known."""

FRESH_S = 60.0
"""Seconds for which the list of an upstream is not asked for again."""

STALE_S = 3600.0
"""Seconds for which a list is still used where a new one can't be had."""

LIST_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of the list of one upstream."""

MODELS_MAX = 10_000
"""Models of one upstream; those behind them are left out."""

# An upstream that has just failed is not asked by each request.
_PAUSE_S = 5.0
_ANSWER_S = 10.0
# What the SDKs require. Capabilities are not known, and neither is the time.
_UNKNOWN = {"object": "model", "created": 0, "owned_by": "mistralai", "type": "base", "capabilities": {}}
# Of an upstream without such a list: its models are those that its route names.
_NOT_LISTED = (404, 405, 501)

_logger = logging.getLogger(__name__)


def named_models(names: Iterable[str]) -> list[Model]:
    """Return models of which no more than their names is known."""
    return [{"id": name, **_UNKNOWN} for name in names]


def read_model_list(data: bytes) -> list[Model]:
    """Read what an API answers to `GET /v1/models`.

    Args:
        data: JSON text: an object with the list as `data`, or the list itself.

    Returns:
        The models, what the SDKs require filled in. Items without an id are left out, and so are those that
        are nested too deeply to be written as JSON again.

    Raises:
        UpstreamError: If it is neither.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _unreadable("something that is not JSON") from None
    items = document.get("data") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise _unreadable("something else")
    return [
        {
            **_UNKNOWN,
            **{name: value for name, value in item.items() if value is not None or name not in _UNKNOWN},
        }
        for item in items[:MODELS_MAX]
        if isinstance(item, dict) and isinstance(item.get("id"), str) and item["id"] and _is_writable(item)
    ]


class ModelCatalog:
    """The models of several routes, each id once, in the order of their ids; the first route counts.

    A route without wildcards has the models that it names. One with a wildcard has, beside those, the models
    of its upstream's list that match. Such lists are kept for FRESH_S; where a new one can't be had, the one
    from before is used for up to STALE_S. A catalog belongs to one event loop.

    Args:
        routes: The routes. An upstream with a method `list_models`, a coroutine function that returns models,
            is asked; one with an attribute `models`, a tuple of names, has those.
        names: Further models, of which no more than their names is known; they come before the routes.
    """

    def __init__(self, routes: Sequence[Route] = (), names: Iterable[str] = ()) -> None:
        self._named = named_models(names)
        self._parts = [(route, named_models(_names_of(route)), _list_of(route)) for route in routes]
        # What was merged last, and of which lists: thousands of models are not merged for each request.
        self._models: dict[str, Model] = {}
        self._aliased: dict[str, Model] = {}
        self._merged: list[Sequence[Model]] | None = None
        self._json: bytes | None = None

    async def models(self) -> list[Model]:
        """Return all models. Where an upstream has no list to give, the others' are returned.

        Raises:
            UpstreamError: If there is none, since an upstream failed.
        """
        error = await self._refresh()
        if error is not None and not self._models:
            raise error.with_traceback(None)
        return [*self._models.values()]

    async def models_json(self) -> bytes:
        """Return all models as the answer to `GET /v1/models`; written once for each change of a list.

        Raises:
            UpstreamError: As `models` does.
        """
        models = await self.models()
        if self._json is None:
            self._json = orjson.dumps({"object": "list", "data": models})
        return self._json

    async def find(self, name: str) -> Model:
        """Return a model.

        Args:
            name: Its id, or one of its `aliases`.

        Raises:
            UpstreamError: If there is none, with the reason MODEL_NOT_FOUND; or if an upstream failed that
                may have it.
        """
        error = await self._refresh()
        model = self._models.get(name) or self._aliased.get(name)
        if model is not None:
            return model
        if error is not None:
            raise error.with_traceback(None)
        message = "no such model; GET /v1/models lists those that there are"
        raise UpstreamError(message, code="NOT_FOUND", reason=Reason.MODEL_NOT_FOUND)

    async def _refresh(self) -> UpstreamError | None:
        """Merge the lists if one is new; return the error of an upstream whose list is not among them."""
        lists = [part for _, _, part in self._parts if part is not None]
        await asyncio.gather(*(part.refresh() for part in lists))
        merged = [part.models for part in lists]
        # By identity: lists are replaced, never changed.
        if self._merged is None or not all(map(operator.is_, merged, self._merged)):
            self._merge()
            self._merged = merged
        return next((part.error for part in lists if part.error is not None), None)

    def _merge(self) -> None:
        """Put all models into the order of their ids."""
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


class _List:
    """The list of one upstream, kept for a while.

    Args:
        name: What the route is called, for the log.
        ask: Asks the upstream.

    Attributes:
        models: The list; empty while there is none.
        error: Why there is none; None if there is one.
    """

    def __init__(self, name: str, ask: Callable[[], Awaitable[Sequence[Model]]]) -> None:
        self.models: Sequence[Model] = ()
        self.error: UpstreamError | None = None
        self._name = name
        self._ask = ask
        self._read_s = self._failed_s = -math.inf
        self._asking: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Ask for the list unless it is fresh, or has just failed to come; once for all who wait for it."""
        now_s = time.monotonic()
        if now_s < self._read_s + FRESH_S or now_s < self._failed_s + _PAUSE_S:
            return
        if self._asking is None:
            self._asking = asyncio.create_task(self._read())
        # A caller who leaves takes it from nobody else.
        await asyncio.shield(self._asking)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                models = await self._ask()
        except TimeoutError:
            self._fail(_unreadable(f"none within {_ANSWER_S:g} s"))
        except UpstreamError as error:
            if error.status in _NOT_LISTED:
                self._keep(())
            else:
                self._fail(error)
        except Exception as error:  # noqa: BLE001 - of a program's own upstream; the others have their lists
            log_unexpected(_logger, f"asking upstream {self._name} for its models ended with", error)
            self._fail(_unreadable("an error of this program"))
        else:
            self._keep(models)
        finally:
            self._asking = None

    def _keep(self, models: Sequence[Model]) -> None:
        # A program may change its own.
        self.models, self.error = (*models,), None
        self._read_s = time.monotonic()

    def _fail(self, error: UpstreamError) -> None:
        self._failed_s = time.monotonic()
        _logger.warning(
            "%s: the upstream gave no list of models: %s, %s", self._name, error.code, error.reason
        )
        if self._failed_s >= self._read_s + STALE_S:
            self.models, self.error = (), error


def _is_writable(item: dict[str, Any]) -> bool:
    """Check whether an item of a list has a JSON form; orjson reads deeper nesting than it writes."""
    try:
        orjson.dumps({"data": [item]})
    except orjson.JSONEncodeError:
        return False
    return True


def _names_of(route: Route) -> Iterable[str]:
    """Return the names of models that are known without asking."""
    names = getattr(route.upstream, "models", ())
    known = filter(route.matches, names) if isinstance(names, tuple) else ()
    return (*plain_names(route.models), *known)


def _list_of(route: Route) -> _List | None:
    """Return the list of a route's upstream; None if there is none, or the route names all of its models."""
    has_wildcard = len(plain_names(route.models)) < len(set(route.models))
    ask = getattr(route.upstream, "list_models", None) if has_wildcard else None
    return None if ask is None else _List(route.name, ask)


def _unreadable(found: str) -> UpstreamError:
    message = f"expected a list of models from the upstream, found {found}"
    return UpstreamError(message, reason=Reason.UPSTREAM_UNREADABLE)
