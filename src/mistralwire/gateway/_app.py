"""The application: the routes put together."""

import functools
import html
import importlib.resources
import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mistralwire._addresses import is_loopback
from mistralwire.client import Client
from mistralwire.errors import MistralwireError, Reason
from mistralwire.gateway._asgi import CompletionApp, PassthroughApp
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._edge import EXPOSED_HEADERS, Edge
from mistralwire.gateway._errors import EdgeError, answer_of
from mistralwire.gateway._heads import foreign_name, is_by_foreign_name, problem_of_keys
from mistralwire.gateway._metrics import CONTENT_TYPE, PrometheusMetrics
from mistralwire.gateway._passthrough import METHODS
from mistralwire.gateway._routes import ROUTES
from mistralwire.upstream import ForwardRoutes, ModelCatalog

_JSON = "application/json"
_HEALTH_S = 3.0
# Of the request line, in errors and logs.
_METHOD_CHARS_MAX, _PATH_CHARS_MAX = 16, 128
# The page may load nothing, and nothing may frame it.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_HAD_SLASH = "mistralwire.had_slash"
_NOT_PRINTABLE = re.compile("[^!-~]")

_access_logger = logging.getLogger("mistralwire.gateway.access")


class Gateway(Starlette):
    """The gateway's application, with a short cut for the server of this package.

    Args:
        edge: What answers completions.
        options: The arguments of Starlette.
    """

    def __init__(self, edge: Edge, **options: Any) -> None:
        super().__init__(**options)
        self.router.redirect_slashes = False
        self._edge = edge
        # Not what `user_middleware` has by now: what instruments Starlette adds to it in the line above.
        self._own_middleware = [*options.get("middleware", ())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a slash at the end of its path does not count."""
        if scope["type"] == "http" and (error := self._refused(scope)):
            await _response(error)(scope, receive, send)
        else:
            await super().__call__(_without_last_slash(scope), receive, send)

    @property
    def edge(self) -> Edge | None:
        """What answers completions without ASGI; None where middleware was added, which has to see them."""
        return self._edge if self.user_middleware == self._own_middleware else None

    def _refused(self, scope: Scope) -> EdgeError | None:
        """Return the error of a head that GatewayServer refuses and other servers accept, if it is one."""
        headers, server = scope["headers"], scope.get("server")
        if problem := problem_of_keys(headers):
            return EdgeError(400, problem)
        # The settings need not have the address of another server, which need not tell it either.
        if scope["method"] not in ("GET", "HEAD") or server is None or not is_loopback(server[0]):
            return None
        path = scope["path"].removeprefix(scope.get("root_path", "")).encode()
        return foreign_name() if is_by_foreign_name(self._edge.config, path, headers) else None


def create_app(
    client: Client,
    config: GatewayConfig | None = None,
    *,
    models: Sequence[str] | ModelCatalog = (),
    registry: Any = None,
    forward: ForwardRoutes | None = None,
) -> Gateway:
    """Make the gateway: an ASGI application that anyone can serve, or mount in an application of their own.

    Args:
        client: Calls the service; it belongs to the event loop that serves the application, and is closed by
            whoever made it. With `attempts_max=1` callers are told at once when to try again; otherwise the
            client's own retries come first. Requests are written for its `contract_revision`.
        config: The settings. Those of addresses, TLS and connections are for whoever serves it.
        models: The models for `GET /v1/models`: their names, or a catalog.
        registry: A CollectorRegistry of prometheus_client for the metrics of requests, to be shown on a page
            elsewhere; None for those of `/metrics` alone, if the settings ask for it.
        forward: The upstreams for the requests of `passthrough_paths`; None for no such routes.

    Returns:
        The application.

    Raises:
        MistralwireError: If the file with the keys can't be used, or the package for metrics is missing.
        ValueError: If `passthrough_paths` has something else in it.
    """
    config = config or GatewayConfig()
    metrics = PrometheusMetrics(registry) if config.metrics or registry is not None else None
    edge = Edge(client, config, metrics, forward or ForwardRoutes(()))
    completions = [Route(route.path, CompletionApp(edge, route), methods=["POST"]) for route in ROUTES]
    catalog = models if isinstance(models, ModelCatalog) else ModelCatalog(names=models)
    routes = [*completions, *_models(edge, catalog), *_passthrough(edge), *_health(edge), *_documentation()]
    if metrics is not None and config.metrics:
        routes.append(_metrics_route(metrics))
    middleware = []
    if config.allowed_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=config.allowed_origins,
            allow_methods=sorted(METHODS) if edge.passthrough_paths else ("GET", "POST"),
            allow_headers=("*",),
            expose_headers=EXPOSED_HEADERS,
        )
        middleware.append(cors)
    handlers = {HTTPException: functools.partial(_refuse, edge), Exception: _fail}
    return Gateway(edge, routes=routes, middleware=middleware, exception_handlers=handlers)


def _without_last_slash(scope: Scope) -> Scope:
    """Return the scope of a request as if its path had no slash at its end."""
    path, root = scope.get("path", ""), scope.get("root_path", "")
    raw_path = scope.get("raw_path", b"/")
    # One that is escaped belongs to a name.
    if not path.endswith("/") or path == f"{root}/" or not raw_path.endswith(b"/"):
        return scope
    return {**scope, "path": path[:-1], "raw_path": raw_path[:-1], _HAD_SLASH: True}


def _models(edge: Edge, catalog: ModelCatalog) -> list[Route]:
    """Return the routes of the models."""

    async def list_models(request: Request) -> Response:
        try:
            edge.admit(dict(request.scope["headers"]))
            body = await catalog.models_json()
        except MistralwireError as error:
            return _response(error)
        return Response(body, media_type=_JSON)

    async def find_model(request: Request) -> Response:
        try:
            edge.admit(dict(request.scope["headers"]))
            model = await catalog.find(request.path_params["model"])
        except MistralwireError as error:
            return _response(error)
        return Response(orjson.dumps(model), media_type=_JSON)

    # Names of models may have slashes in them, escaped or not.
    return [Route("/v1/models", list_models), Route("/v1/models/{model:path}", find_model)]


def _passthrough(edge: Edge) -> list[Route]:
    """Return the routes whose requests are passed on."""
    app = PassthroughApp(edge)
    routes = [Route(path, app, methods=sorted(METHODS)) for path in edge.passthrough_paths.values()]
    for route in routes:
        # Starlette adds it; what an upstream answers to it says nothing that a caller needs.
        (route.methods or set()).discard("HEAD")
    return routes


def _health(edge: Edge) -> list[Route]:
    """Return the routes that tell how the gateway is."""

    async def is_ready(_: Request) -> Response:
        cause = await edge.why_not_ready(_HEALTH_S)
        status = 200 if cause is None else 503
        return Response(orjson.dumps({"status": cause or "ready"}), status, media_type=_JSON)

    async def is_alive(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type=_JSON)

    return [Route("/healthz", is_alive), Route("/readyz", is_ready)]


def _documentation() -> list[Route]:
    """Return the routes of the OpenAPI document and of its page, the files that `make generate` writes."""

    async def send_document(request: Request) -> Response:
        # Where the application is mounted in another one, its paths begin there.
        root = request.scope.get("root_path", "")
        servers = {"servers": [{"url": root}]} if root else {}
        return Response(orjson.dumps({**orjson.loads(_file("openapi.json")), **servers}), media_type=_JSON)

    async def send_page(request: Request) -> Response:
        # Relative, for whatever stands before the gateway.
        document_url = b"../openapi.json" if request.scope.get(_HAD_SLASH) else b"openapi.json"
        # `base_url` ends where the outermost application begins.
        address = str(request.base_url.replace(path=request.scope.get("root_path", ""))).rstrip("/")
        quoted = html.escape(shlex.quote(address)).encode()
        page = _file("docs.html").replace(b"{{document}}", document_url).replace(b"{{address}}", quoted)
        return Response(page, headers=_PAGE_HEADERS, media_type="text/html")

    return [Route("/openapi.json", send_document), Route("/docs", send_page)]


@functools.cache
def _file(name: str) -> bytes:
    """Read a file of this package."""
    return (importlib.resources.files(__package__) / name).read_bytes()


def _metrics_route(metrics: PrometheusMetrics) -> Route:
    async def give_metrics(_: Request) -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)

    return Route("/metrics", give_metrics)


async def _refuse(edge: Edge, request: Request, error: Exception) -> Response:
    """Answer where there is no such route, or not by this method; lead a browser to the page."""
    refused = cast("HTTPException", error)
    if _is_browser_at_root(request):
        root = request.scope.get("root_path", "")
        return RedirectResponse(f"{root}/docs", headers={"vary": "accept"})
    method, path = request.method[:_METHOD_CHARS_MAX], request.scope["path"][:_PATH_CHARS_MAX]
    found = f"{method} {path}"
    reason = Reason.NO_SUCH_ROUTE
    message = f"expected a route of this gateway, which /docs lists, found {found}"
    own_path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if edge.forward.is_empty and own_path in edge.config.passed_through:
        message += ": that needs an upstream of the kind mistral, or --passthrough-url"
    headers = dict(refused.headers or {})
    if refused.status_code == 405:
        if "Allow" in headers:
            # Starlette joins a set, whose order differs from process to process.
            headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        allowed = headers.get("Allow", "another method")
        reason = Reason.METHOD_NOT_ALLOWED
        message = f"expected {allowed} for this route, found {found}"
    # What is called, though nobody answers it, is what an operator wants to know; queries may be private.
    _access_logger.info(
        "%s %s",
        *(_loggable(method), _loggable(path)),
        extra={"http_status": refused.status_code, "reason": reason},
    )
    return _response(EdgeError(refused.status_code, message, reason=reason), headers)


def _is_browser_at_root(request: Request) -> bool:
    is_at_root = request.scope["path"] in ("/", f"{request.scope.get('root_path', '')}/")
    is_page = "text/html" in request.headers.get("accept", "").lower()
    return is_at_root and is_page and request.method in ("GET", "HEAD")


def _loggable(text: str) -> str:
    """Return a caller's text as a log line may have it."""
    return _NOT_PRINTABLE.sub("?", text)


async def _fail(_: Request, __: Exception) -> Response:
    """Answer where the gateway itself is at fault; the text of the error stays inside."""
    return _response(MistralwireError("internal error of the gateway"))


def _response(error: MistralwireError, headers: Mapping[str, str] | None = None) -> Response:
    status, body, more = answer_of(error)
    named = {name.decode(): value.decode() for name, value in more}
    return Response(body, status, {**named, **(headers or {})}, _JSON)
