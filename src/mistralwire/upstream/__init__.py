"""Upstreams: where completions come from.

`Upstream` is the interface that the service calls. `MistralUpstream` calls the public API or a server like
it, `VertexUpstream` Vertex AI, and `ReplayUpstream` replays recorded responses; `RoutedUpstream` combines
several, and `routed_from_tables` makes it from a configuration file. `error_from_body` maps the error body of
an upstream to an error, and `http_status` a gRPC code to the status of a gateway's response.

The two that use HTTP need the extras `gateway` and `vertex`, and are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mistralwire.upstream._configured import check_upstream_tables, routed_from_tables
from mistralwire.upstream._coroutines import finish_reasons_of, with_start
from mistralwire.upstream._credentials import Key
from mistralwire.upstream._error_body import error_from_body
from mistralwire.upstream._error_table import http_status, is_hopeless
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._models import Model, ModelCatalog
from mistralwire.upstream._replay import DEMONSTRATION, ReplayUpstream
from mistralwire.upstream._routing import Route, RoutedUpstream, plain_names
from mistralwire.upstream._upstream import (
    CallbackUpstream,
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    Receiver,
    Upstream,
)

if TYPE_CHECKING:
    from mistralwire.upstream._http import (
        ForwardCall,
        ForwardReceiver,
        ForwardRequest,
        ForwardRoutes,
        MistralUpstream,
        VertexUpstream,
    )

__all__ = [
    "DEMONSTRATION",
    "CallContext",
    "CallbackUpstream",
    "CompletionRequest",
    "CompletionResponse",
    "CompletionStreamRequest",
    "ForwardCall",
    "ForwardReceiver",
    "ForwardRequest",
    "ForwardRoutes",
    "HttpSettings",
    "Key",
    "MistralUpstream",
    "Model",
    "ModelCatalog",
    "Receiver",
    "ReplayUpstream",
    "Route",
    "RoutedUpstream",
    "Upstream",
    "VertexUpstream",
    "check_upstream_tables",
    "error_from_body",
    "finish_reasons_of",
    "http_status",
    "is_hopeless",
    "plain_names",
    "routed_from_tables",
    "with_start",
]


def __getattr__(name: str) -> Any:
    # What `__all__` has and this module has not needs an extra.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("mistralwire.upstream._http"), name)
