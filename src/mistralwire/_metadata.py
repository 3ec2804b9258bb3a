"""Names of the metadata that calls and answers have beside their messages.

Source: proto/mistralwire/v1/chat_completion_service.proto.
"""

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
