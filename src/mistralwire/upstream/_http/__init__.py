"""Upstreams over HTTP, on the client in `_http1`; they need the extras `gateway` and `vertex`.

`_base` is what they have in common, `_call` one call of theirs with its `_conversion`, `_forward` a request
that is forwarded unchanged. `_mistral` and `_vertex` are the APIs, each with its `_target`.
"""

from mistralwire.upstream._http._forward import ForwardCall, ForwardReceiver, ForwardRequest, ForwardRoutes
from mistralwire.upstream._http._mistral import MistralUpstream
from mistralwire.upstream._http._vertex import VertexUpstream

__all__ = [
    "ForwardCall",
    "ForwardReceiver",
    "ForwardRequest",
    "ForwardRoutes",
    "MistralUpstream",
    "VertexUpstream",
]
