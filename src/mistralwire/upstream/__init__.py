"""Where completions come from: one file a kind.

`Upstream` is what the service asks of a source. `ReplayUpstream` plays recorded answers, `MistralUpstream`
asks the public API or a server like it, `VertexUpstream` Vertex AI; `RoutedUpstream` is several in one, and
`routed_from_tables` makes it from a configuration file. `error_from_body` says what the error of a source
means, `http_status` what a gateway answers then.

The two that speak HTTP need the extras `gateway` and `vertex`, and are imported when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mistralwire.upstream._configured import check_upstream_tables, routed_from_tables
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._key import Key
from mistralwire.upstream._models import Model, ModelCatalog
from mistralwire.upstream._program import finish_reasons_of, with_start
from mistralwire.upstream._replay import DEMONSTRATION, ReplayUpstream
from mistralwire.upstream._routing import Route, RoutedUpstream, plain_names
from mistralwire.upstream._statuses import http_status, is_hopeless
from mistralwire.upstream._upstream import (
    CallbackUpstream,
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    Receiver,
    Upstream,
    error_from_body,
)

if TYPE_CHECKING:
    from mistralwire.upstream._forward import ForwardCall, ForwardReceiver, ForwardRequest, ForwardRoutes
    from mistralwire.upstream._mistral import MistralUpstream
    from mistralwire.upstream._vertex import VertexUpstream

_LAZY = {
    "ForwardCall": "mistralwire.upstream._forward",
    "ForwardReceiver": "mistralwire.upstream._forward",
    "ForwardRequest": "mistralwire.upstream._forward",
    "ForwardRoutes": "mistralwire.upstream._forward",
    "MistralUpstream": "mistralwire.upstream._mistral",
    "VertexUpstream": "mistralwire.upstream._vertex",
}

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
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
