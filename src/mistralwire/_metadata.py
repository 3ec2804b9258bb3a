"""Metadata that calls and answers have beside their messages: names, and the id of a call.

Source: proto/mistralwire/v1/chat_completion_service.proto.
"""

import uuid

from mistralwire.errors import REQUEST_ID_PATTERN

REQUEST_ID = "x-request-id"
"""Id of the call, in both directions."""

CONTRACT_REVISION_NAME = "x-contract-revision"
"""Revision of the sender's contract, in both directions: a decimal number."""

AUTHORIZATION = "authorization"
"""The bearer token of a request."""

ACCEPT_ENCODING = "x-accept-encoding"
"""What a caller asks for compressed answers with; its value is `gzip`.

gRPC's own `grpc-accept-encoding` says what a client can read, not what it wants: every client sends it, and
grpc shows it to nobody.
"""

RETRY_TIME_LEFT = "x-retry-time-left-ms"
"""How much of its deadline a call must have left when its upstream is asked again, in milliseconds.

So the caller learns of an error in time to answer with a status of its own. As a part of the deadline it
stays true however long the call took to arrive, and in a retry of the caller's gRPC library.
"""


def is_request_id(text: str) -> bool:
    """Say whether a text can be the id of a call: one that can go into a log as it is."""
    return REQUEST_ID_PATTERN.fullmatch(text) is not None


def checked_request_id(request_id: str | None) -> str:
    """Give the id of a call: the caller's own, or a new one.

    Args:
        request_id: The caller's own; None for a new one.

    Returns:
        The id.

    Raises:
        TypeError: If it is no string.
        ValueError: If it can't go into a log as it is: 1 to 128 characters of printable ASCII, no spaces.
    """
    if request_id is None:
        return uuid.uuid4().hex
    if not isinstance(request_id, str):
        raise TypeError(f"request_id must be a string, not a {type(request_id).__name__}")
    if not is_request_id(request_id):
        raise ValueError(
            "request_id must be 1 to 128 characters of printable ASCII without spaces, "
            f"not {request_id[:128]!r}"
        )
    return request_id
