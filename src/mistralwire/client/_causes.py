"""Why a service takes no calls: gRPC's errors in a few words for operators."""

import re

from mistralwire.errors import CallError, Reason

TOKEN_REFUSED = "it refuses the token of its caller"  # noqa: S105 - a cause
"""The cause of a service, or of what stands before it, that does not accept the client's credentials."""

# What gRPC's core says of a connection that failed, the more exact first. Seen with grpcio 1.80 and 1.85.
_CAUSES = (
    (r"Hostname Verification Check failed", "bad certificate: it is for another name"),
    (r"CERTIFICATE_VERIFY_FAILED(: [A-Za-z -]+)?", "bad certificate{}"),
    (r"WRONG_VERSION_NUMBER", "it does not speak TLS"),
    (r"handshake failed", "the TLS handshake failed"),
    (r"Failed parsing HTTP/2|http1\.x server", "it does not speak gRPC, or only over TLS"),
    (r"errors resolving|DNS resolution failed", "its name is not resolved"),
    (r"[Cc]onnection refused", "connection refused"),
    (r"Socket closed|[Cc]onnection reset", "connection closed: it may speak TLS, or ask for a certificate"),
    (r"No such file or directory", "no such socket"),
    (r"unreachable|No route to host", "its network can't be reached"),
    (r"[Tt]imed? ?out", "timed out"),
)


def is_refusing_caller(error: CallError) -> bool:
    """Check whether a service, or what stands before it, refuses the credentials of its client.

    What an upstream of the service refuses is another matter: then the status has the upstream's own, or a
    reason that begins with `UPSTREAM_`. PERMISSION_DENIED with a reason is the service's word on the request.

    Args:
        error: What ended the call.
    """
    if error.upstream_status is not None or error.reason.startswith("UPSTREAM_"):
        return False
    if error.code == "PERMISSION_DENIED":
        return error.reason == error.code
    return error.code == "UNAUTHENTICATED"


def cause_of(error: CallError) -> str:
    """Return why a call could not be made, without the addresses that gRPC's own text has.

    Args:
        error: What ended the call.
    """
    if is_refusing_caller(error):
        return TOKEN_REFUSED
    if error.reason in (Reason.UPSTREAM_UNREACHABLE, Reason.CLIENT_CLOSED):
        return error.message
    if error.code == "DEADLINE_EXCEEDED":
        return "timed out"
    if error.code == "UNAVAILABLE":
        for pattern, cause in _CAUSES:
            if found := re.search(pattern, error.message):
                return cause.format(*(group or "" for group in found.groups()))
    return f"its health check ended with {error.code}"
