"""An HTTP/1.1 client with callbacks, on httptools and asyncio.

`HttpClient.request` sends a request and returns an `Exchange` at once; a `ResponseReceiver` gets the response
piece by piece. No task, future or timer is made for a piece: a task opens each new connection, and one timer
for all connections closes idle ones. docs/design.md, 'HTTP upstreams', has the decisions.

`_request` encodes requests and `_response` parses responses, without I/O. `_exchange` is a request with its
response, `_connection` a connection, and `_client` the pool.
"""

from mistralwire.errors import missing_import

try:
    from mistralwire.upstream._http1._client import HttpClient
    from mistralwire.upstream._http1._exchange import (
        Exchange,
        HttpClientError,
        ResponseReceiver,
        TruncatedError,
        UnreachableError,
        UnreadableError,
    )
    from mistralwire.upstream._http1._request import Proxy, Upload
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
