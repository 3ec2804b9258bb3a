"""The ASGI application: its routes."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mistralwire._addresses import is_loopback
from mistralwire.client import Client
from mistralwire.errors import MistralwireError, Reason
from mistralwire.gateway._asgi import (
    WHOLE_QUERY,
    MethodApp,
    completion_app,
    passthrough_app,
    response_app,
    stream_app,
)
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._docs import HAD_SLASH, docs_routes
from mistralwire.gateway._errors import HttpError, answer_of, response_of
from mistralwire.gateway._exchanges import access_logger
from mistralwire.gateway._metrics import CONTENT_TYPE, PrometheusMetrics
from mistralwire.gateway._openai import to_openai_error
from mistralwire.gateway._responses import EVENTS_PATH, READ_TOKEN, RESPONSE_ROUTES, RESPONSES_PATH
from mistralwire.gateway._routes import (
    OPENAI_PATH,
    OPENAI_ROUTE,
    PASSTHROUGH_METHODS,
    ROUTES,
    CompletionRoute,
    is_openai_path,
)
from mistralwire.gateway._state import EXPOSED_HEADERS, GatewayState, foreign_host_error, problem_of_keys
from mistralwire.gateway._streams import RESPONSES, STREAM_METHODS, STREAM_PATH, StreamStore
from mistralwire.log import ResponseLog
from mistralwire.upstream import ForwardRoutes, ModelCatalog

_JSON = "application/json"
_METRICS_PATH = "/metrics"
_OWN_METHODS = ("GET", "HEAD", "POST", "DELETE")
_HEALTH_S = 3.0
# Of the request line, as shown in errors and logs.
_METHOD_CHARS_MAX, _PATH_CHARS_MAX = 16, 128
# Where a token is, or where somebody may try one.
_TOKEN_PATHS = (RESPONSES_PATH, f"{STREAM_PATH}/{RESPONSES}/")
_NOT_PRINTABLE = re.compile("[^!-~]")


class Gateway(Starlette):
    """The gateway's application, which GatewayServer may bypass."""

    def __init__(self, state: GatewayState, **options: Any) -> None:
        super().__init__(**options)
        self.router.redirect_slashes = False
        self._state = state
        # Not `user_middleware`, to which an instrumented Starlette has added its own by now.
        self._own_middleware = [*options.get("middleware", ())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a slash at the end of its path does not count."""
        if scope["type"] == "http":
            _hide_token(scope)
        if scope["type"] == "http" and (error := self._error_of_head(scope)):
            await _response(error)(scope, receive, send)
        else:
            await super().__call__(_without_last_slash(scope), receive, send)

    @property
    def direct_state(self) -> GatewayState | None:
        """The state for exchanges that bypass ASGI; None if added middleware must see all requests."""
        return self._state if self.user_middleware == self._own_middleware else None

    def _error_of_head(self, scope: Scope) -> HttpError | None:
        """Return the error of a head that GatewayServer refuses and other servers accept; None for others."""
        headers, server = scope["headers"], scope.get("server")
        if problem := problem_of_keys(headers):
            return HttpError(400, problem)
        # The address of another server may differ from that of the settings, and it may not report one.
        if server is None or not is_loopback(server[0]):
            return None
        path = scope["path"].removeprefix(scope.get("root_path", "")).encode()
        return foreign_host_error(self._state.config, scope["method"], path, headers)


def create_app(
    client: Client,
    config: GatewayConfig | None = None,
    *,
    models: Sequence[str] | ModelCatalog = (),
    registry: Any = None,
    forward: ForwardRoutes | None = None,
    log: ResponseLog | None = None,
    caller_bytes_max: int | None = None,
    relay_figures: Callable[[], Mapping[str, int]] | None = None,
) -> Gateway:
    """Make the gateway: an ASGI application to be served alone, or mounted in another one.

    Args:
        client: Calls the service. It belongs to the event loop that serves the application, and the caller
            closes it. With `attempts_max=1` the gateway's callers are told at once when to retry; otherwise
            the client retries first. Requests are written for its `contract_revision`.
        config: The settings. Those of addresses, TLS and connections are for the server.
        models: The models for `GET /v1/models`: their names, or a catalog.
        registry: A CollectorRegistry of prometheus_client for the metrics of requests, shown on a page of the
            program; None to show them only at `/metrics`, if the settings enable that.
        forward: The upstreams of `passthrough_paths`; None for no such routes.
        log: Stores the streams that callers name; it is open while there are requests. None for no such
            streams.
        caller_bytes_max: Bytes of the streams of one caller; None for no bound.
        relay_figures: `Relay.figures` of a relay in this process, for the metrics; None without one.

    Returns:
        The application.

    Raises:
        MistralwireError: If the token file is invalid, or the package for metrics is missing.
        ValueError: If `passthrough_paths` is invalid.
    """
    config = config or GatewayConfig()
    has_metrics = config.metrics or registry is not None
    metrics = PrometheusMetrics(registry, relay_figures) if has_metrics else None
    streams = None if log is None else StreamStore(log, caller_bytes_max)
    state = GatewayState(client, config, metrics, forward or ForwardRoutes(()), streams)
    completion_routes = (*ROUTES, OPENAI_ROUTE) if config.openai else ROUTES
    catalog = models if isinstance(models, ModelCatalog) else ModelCatalog(names=models)
    routes = [
        *_completions(state, completion_routes),
        *_models(state, catalog),
        *_passthrough(state),
        *_health(state),
    ]
    routes.append(Route(f"{STREAM_PATH}/{{path:path}}", stream_app(state), methods=STREAM_METHODS))
    routes += docs_routes(state)
    if metrics is not None and config.metrics:
        routes.append(_metrics_route(metrics))
    middleware = []
    has_all_methods = bool(state.passthrough_paths) or streams is not None
    if config.allowed_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=config.allowed_origins,
            allow_methods=sorted({*_OWN_METHODS, *(PASSTHROUGH_METHODS if has_all_methods else ())}),
            allow_headers=("*",),
            expose_headers=EXPOSED_HEADERS,
        )
        middleware.append(cors)
    handlers = {HTTPException: functools.partial(_answer_unrouted, state), Exception: _answer_bug}
    return Gateway(state, routes=routes, middleware=middleware, exception_handlers=handlers)


def _hide_token(scope: Scope) -> None:
    """Remove a token from the query of a request, which the server may log."""
    query: bytes = scope["query_string"]
    if not query or not any(path in scope["path"] for path in _TOKEN_PATHS):
        return
    scope[WHOLE_QUERY] = query
    parameters = [each for each in query.split(b"&") if unquote(each.partition(b"=")[0]) != READ_TOKEN]
    scope["query_string"] = b"&".join(parameters)


def _without_last_slash(scope: Scope) -> Scope:
    path, root = scope.get("path", ""), scope.get("root_path", "")
    raw_path = scope.get("raw_path", b"/")
    # An escaped one belongs to a name.
    if not path.endswith("/") or path == f"{root}/" or not raw_path.endswith(b"/"):
        return scope
    return {**scope, "path": path[:-1], "raw_path": raw_path[:-1], HAD_SLASH: True}


def _completions(state: GatewayState, completion_routes: Iterable[CompletionRoute]) -> list[Route]:
    """Return the routes of completions, and of those that are stored."""
    apps: dict[str, dict[str, ASGIApp]] = {
        route.path: {"POST": completion_app(state, route)} for route in completion_routes
    }
    for path, exchanges in RESPONSE_ROUTES.items():
        stored = {method: response_app(state, path, each) for method, each in exchanges.items()}
        apps.setdefault(path, {}).update(stored)
    routes = [Route(path, MethodApp(by_method), methods=[*by_method]) for path, by_method in apps.items()]
    for route in routes:
        if route.path == EVENTS_PATH:
            # Added by Starlette; the answer would not end.
            (route.methods or set()).discard("HEAD")
    return routes


def _models(state: GatewayState, catalog: ModelCatalog) -> list[Route]:
    async def answer(request: Request) -> Response:
        name = request.path_params.get("model")
        try:
            state.admit(dict(request.scope["headers"]))
            body = await catalog.models_json() if name is None else orjson.dumps(await catalog.find(name))
        except MistralwireError as error:
            return _response(error, is_openai=is_openai_path(_own_path(request)))
        return Response(body, media_type=_JSON)

    # Names of models may contain slashes, escaped or not.
    prefixes = ("/v1", OPENAI_PATH) if state.config.openai else ("/v1",)
    paths = ("/models", "/models/{model:path}")
    return [Route(prefix + path, answer) for prefix in prefixes for path in paths]


def _passthrough(state: GatewayState) -> list[Route]:
    app, methods = passthrough_app(state), sorted(PASSTHROUGH_METHODS)
    routes = [Route(path, app, methods=methods) for path in state.passthrough_paths.values()]
    for route in routes:
        # Added by Starlette; no caller needs an upstream's answer to it.
        (route.methods or set()).discard("HEAD")
    return routes


def _health(state: GatewayState) -> list[Route]:
    async def is_ready(_: Request) -> Response:
        cause = await state.why_not_ready(_HEALTH_S)
        status = 200 if cause is None else 503
        return Response(orjson.dumps({"status": cause or "ready"}), status, media_type=_JSON)

    async def is_alive(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type=_JSON)

    return [Route("/healthz", is_alive), Route("/readyz", is_ready)]


def _metrics_route(metrics: PrometheusMetrics) -> Route:
    async def send_metrics(_: Request) -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)

    return Route(_METRICS_PATH, send_metrics)


async def _answer_unrouted(state: GatewayState, request: Request, raised: Exception) -> Response:
    """Answer a request without a route, or of another method; redirect browsers from the root to `/docs`."""
    refused = cast("HTTPException", raised)
    if _is_browser_at_root(request):
        root = request.scope.get("root_path", "")
        return RedirectResponse(f"{root}/docs", headers={"vary": "accept"})
    method, path = request.method[:_METHOD_CHARS_MAX], request.scope["path"][:_PATH_CHARS_MAX]
    found = f"{method} {path}"
    reason = Reason.NO_SUCH_ROUTE
    message = f"expected a route of this gateway, which /docs lists, found {found}"
    own_path = _own_path(request)
    is_openai = state.config.openai and is_openai_path(own_path)
    if is_openai:
        message = f"expected {OPENAI_PATH}/chat/completions or {OPENAI_PATH}/models, found {found}"
    elif is_openai_path(own_path):
        message += ": that needs --openai"
    if state.forward.is_empty and own_path in state.config.passed_through:
        message += ": that needs an upstream of the kind mistral, or --passthrough-url"
    elif own_path == _METRICS_PATH:
        message += ": that needs --metrics"
    headers = dict(refused.headers or {})
    if refused.status_code == 405:
        if "Allow" in headers:
            # Starlette joins a set, whose order differs between processes.
            headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        allowed = headers.get("Allow", "another method")
        reason = Reason.METHOD_NOT_ALLOWED
        message = f"expected {allowed} for this route, found {found}"
    # Operators need to see which routes callers miss; queries may be private.
    access_logger.info(
        "%s %s",
        *(_NOT_PRINTABLE.sub("?", text) for text in (method, path)),
        extra={"http_status": refused.status_code, "reason": reason},
    )
    error = HttpError(refused.status_code, message, reason=reason)
    return _response(error, headers, is_openai=is_openai)


def _own_path(request: Request) -> str:
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))


def _is_browser_at_root(request: Request) -> bool:
    is_at_root = request.scope["path"] in ("/", f"{request.scope.get('root_path', '')}/")
    is_page = "text/html" in request.headers.get("accept", "").lower()
    return is_at_root and is_page and request.method in ("GET", "HEAD")


async def _answer_bug(_: Request, __: Exception) -> Response:
    """Answer an unexpected exception, without its text."""
    return _response(MistralwireError("internal error of the gateway"))


def _response(
    error: MistralwireError, headers: Mapping[str, str] | None = None, *, is_openai: bool = False
) -> Response:
    answer = answer_of(error)
    return response_of(to_openai_error(answer) if is_openai else answer, headers)
