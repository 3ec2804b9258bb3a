"""Whether a service takes calls, and if not, the cause in a few words for operators."""

import re

from grpc_health.v1 import health_pb2

from mistralwire._methods import SERVICE_NAME
from mistralwire._protobuf import parsed
from mistralwire.client._response import is_refusing_caller
from mistralwire.client._stub import Stub
from mistralwire.errors import CallError, Reason

TOKEN_REFUSED = "it refuses the token of its caller"  # noqa: S105 - a cause
"""The cause if the service, or a proxy in front of it, rejects the client's credentials."""

_CHECK = "/grpc.health.v1.Health/Check"
# A service that checks tokens rejects a call before it looks for the method; any other says UNIMPLEMENTED.
_NO_METHOD = f"/{SERVICE_NAME}/CheckToken"

# What gRPC's core says of a failed connection, the more specific first. Seen with grpcio 1.80 and 1.85.
_CAUSES = (
    (r"Hostname Verification Check failed", "bad certificate: it is for another name"),
    (r"CERTIFICATE_VERIFY_FAILED(: [A-Za-z -]+)?", "bad certificate{}"),
    (r"WRONG_VERSION_NUMBER", "it does not speak TLS"),
    (r"handshake failed", "the TLS handshake failed"),
    (r"Failed parsing HTTP/2|http1\.x server", "it does not speak gRPC, or only over TLS"),
    (r"errors resolving|DNS resolution failed", "its name can't be resolved"),
    (r"[Cc]onnection refused", "connection refused"),
    (r"Socket closed|[Cc]onnection reset", "connection closed: it may require TLS or a client certificate"),
    (r"No such file or directory", "no such socket"),
    (r"unreachable|No route to host", "its network can't be reached"),
    (r"[Tt]imed? ?out", "timed out"),
)


async def why_not_serving(stub: Stub, deadline_s: float | None, service: str) -> str | None:
    """Return why the service takes no calls; None if it takes calls. See `Client.why_not_serving`.

    Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
    """
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        data = await _unary(stub, _CHECK, request.SerializeToString(), deadline_s)
    except CallError as error:
        if error.code != "UNIMPLEMENTED":
            return _connection_cause(error)
    else:
        response = parsed(health_pb2.HealthCheckResponse, data or b"")
        if response is None or response.status != health_pb2.HealthCheckResponse.SERVING:
            return "its health check does not say SERVING"
    return TOKEN_REFUSED if await _is_refused(stub, deadline_s) else None


async def _is_refused(stub: Stub, deadline_s: float | None) -> bool:
    """Check whether the service rejects the token, unless it is known to accept it."""
    if not stub.is_admitted and not stub.is_local:
        try:
            await _unary(stub, _NO_METHOD, b"", deadline_s)
        except CallError as error:
            stub.is_admitted = error.code == "UNIMPLEMENTED"
            return is_refusing_caller(error)
    return False


async def _unary(stub: Stub, path: str, wire: bytes, deadline_s: float | None) -> bytes | None:
    with stub.calling(path, wire, stub.arguments(deadline_s, None, {})) as call:
        data: bytes | None = await call
        return data


def _connection_cause(error: CallError) -> str:
    """Return why a call could not be made, without the addresses in gRPC's own text."""
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
