"""An HTTP/1.1 client with callbacks, on httptools and asyncio.

`HttpClient.request` sends a request and returns an `Exchange` at once; a `ResponseReceiver` gets the response
piece by piece. No task, future or timer is made for a piece: a task opens each new connection, and one timer
for all connections closes idle ones. docs/design.md, 'HTTP upstreams', has the decisions.

`_request` encodes heads and `_response` parses responses, without I/O; `_content` decodes bodies. `_connect`
opens sockets, `_connection` is a connection, `_exchange` a request with its response, and `_client` the pool.
"""

from mistralwire.errors import missing_import

try:
    from mistralwire.upstream._http1._client import HttpClient
    from mistralwire.upstream._http1._errors import (
        HttpClientError,
        TruncatedError,
        UnreachableError,
        UnreadableError,
    )
    from mistralwire.upstream._http1._exchange import Exchange, ResponseReceiver, Upload
    from mistralwire.upstream._http1._request import Proxy
except ModuleNotFoundError as error:
    raise missing_import("an upstream over HTTP", error, "gateway") from error

__all__ = [
    "Exchange",
    "HttpClient",
    "HttpClientError",
    "Proxy",
    "ResponseReceiver",
    "TruncatedError",
    "UnreachableError",
    "UnreadableError",
    "Upload",
]
