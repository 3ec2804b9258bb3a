"""An HTTP/1.1 client by callbacks, on httptools and asyncio.

`HttpClient.request` sends a request and returns an `Exchange` at once; the response goes to a `Receiver`,
piece by piece as it arrives. No task, future or timer is made for a piece: a task opens each new connection,
and one timer a client closes idle ones. docs/design.md, 'HTTP upstreams', has the decisions.

`_request` writes heads and `_response` reads responses, without I/O; `_upload` is a body that is sent as it
comes, `_content` decodes bodies, `_connect`
opens sockets, through a proxy where there is one, `_connection` is one connection, `_exchange` one request
with its response, and `_client` keeps the connections.
"""

from mistralwire._extras import missing_import

try:
    from mistralwire.upstream._http1._client import HttpClient
    from mistralwire.upstream._http1._errors import (
        HttpClientError,
        TruncatedError,
        UnreachableError,
        UnreadableError,
    )
    from mistralwire.upstream._http1._exchange import Exchange, Receiver
    from mistralwire.upstream._http1._request import Proxy
    from mistralwire.upstream._http1._upload import Upload
except ModuleNotFoundError as error:
    raise missing_import("an upstream over HTTP", error, "gateway") from error

__all__ = [
    "Exchange",
    "HttpClient",
    "HttpClientError",
    "Proxy",
    "Receiver",
    "TruncatedError",
    "UnreachableError",
    "UnreadableError",
    "Upload",
]
