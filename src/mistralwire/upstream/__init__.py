"""Where completions come from: one file a kind.

`Upstream` is what the service asks of a source; `ReplayUpstream` plays recorded answers. `error_from_body`
says what the error of a source means, `http_status` what a gateway answers then.
"""

from mistralwire.upstream._replay import DEMONSTRATION, ReplayUpstream
from mistralwire.upstream._statuses import http_status
from mistralwire.upstream._upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    Upstream,
    error_from_body,
)

__all__ = [
    "DEMONSTRATION",
    "CallContext",
    "CompletionRequest",
    "CompletionResponse",
    "CompletionStreamRequest",
    "ReplayUpstream",
    "Upstream",
    "error_from_body",
    "http_status",
]
