"""Errors that end an exchange without a complete response.

HttpClientError
├── UnreachableError
├── TruncatedError
└── UnreadableError

No message quotes a server, an address or a credential.
"""


class HttpClientError(Exception):
    """Base class of the errors that end an exchange."""


class UnreachableError(HttpClientError):
    """There is no connection, or it was lost before the first byte of a response."""


class TruncatedError(HttpClientError):
    """The connection ended in the middle of a response."""


class UnreadableError(HttpClientError):
    """What arrived is no HTTP/1.1 response, or one that this client does not support."""
