"""The standard health checking protocol, for services that serve from the start until they drain."""

import asyncio
import collections
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import SERVICE_NAME

from mistralwire._protobuf import parsed
from mistralwire.errors import DecodeError, MistralwireError, OverloadError, Reason, Violation
from mistralwire.service._request import receive
from mistralwire.service._status import refuse

WATCHES_MAX = 256
"""Limit for concurrent watches. They need no token, so they must not displace other calls."""

CONNECTION_WATCHES_MAX = 16
"""Limit for concurrent watches of one connection."""

REQUEST_S_MAX = 5.0
"""Limit in seconds for the request of a check to arrive."""

_Response = health_pb2.HealthCheckResponse


class Health:
    """Implements grpc.health.v1.Health.

    The standard package has a servicer, which holds a lock of all watchers while it writes to one: a watcher
    who does not read keeps the server from reporting that it drains, and from stopping.

    The empty name stands for all services; a request must arrive within `request_s` seconds, at most 5.

    Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
    """

    def __init__(self, names: Iterable[str], request_s: float) -> None:
        self._names = frozenset(("", *names))
        self._request_s = min(request_s, REQUEST_S_MAX)
        self._draining = asyncio.Event()
        self._watches: collections.Counter[str] = collections.Counter()

    def drain(self) -> None:
        """Report NOT_SERVING from now on."""
        self._draining.set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service with a server that was not started yet.

        The handlers are client-streaming, to bound the time in which the request must arrive; see `receive`.
        """
        handlers = {
            "Check": grpc.stream_unary_rpc_method_handler(
                self._guarded(self._check), response_serializer=_Response.SerializeToString
            ),
            "Watch": grpc.stream_stream_rpc_method_handler(
                self._guarded(self._watch), response_serializer=_Response.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    def _guarded(
        self, answer: Callable[[str, grpc.aio.ServicerContext], Awaitable[object]]
    ) -> Callable[[object, grpc.aio.ServicerContext], Awaitable[object]]:
        async def handle(_: object, context: grpc.aio.ServicerContext) -> object:
            try:
                return await answer(await self._read(context), context)
            except MistralwireError as error:
                await refuse(context, error)

        return handle

    async def _read(self, context: grpc.aio.ServicerContext) -> str:
        data = await receive(context, self._request_s)
        if data is None:
            raise _no_request("the end of the call")
        request = parsed(health_pb2.HealthCheckRequest, data)
        if request is None:
            raise _no_request(f"{len(data)} bytes that can't be parsed")
        return str(request.service)

    async def _check(self, name: str, _: object) -> Any:
        if name not in self._names:
            message = "expected the name of a service of this server, found another"
            raise MistralwireError(message, code="NOT_FOUND", reason=Reason.UNKNOWN_SERVICE)
        return _Response(status=_Response.NOT_SERVING if self._draining.is_set() else _Response.SERVING)

    async def _watch(self, name: str, context: grpc.aio.ServicerContext) -> None:
        peer = context.peer()
        if self._watches.total() >= WATCHES_MAX or self._watches[peer] >= CONNECTION_WATCHES_MAX:
            message = (
                f"expected at most {WATCHES_MAX} watches, and {CONNECTION_WATCHES_MAX} of one connection, "
                "found more; use an existing one, or Check"
            )
            raise OverloadError(message, reason=Reason.TOO_MANY_CALLS)
        self._watches[peer] += 1
        try:
            await self._report(name, context)
        finally:
            self._watches -= collections.Counter((peer,))

    async def _report(self, name: str, context: grpc.aio.ServicerContext) -> None:
        is_served = name in self._names
        if not self._draining.is_set():
            await context.write(
                _Response(status=_Response.SERVING if is_served else _Response.SERVICE_UNKNOWN)
            )
            await self._draining.wait()
        if is_served:
            await context.write(_Response(status=_Response.NOT_SERVING))
        # An open watch would prolong the drain to its limit.
        message = "the server drains; watch another one"
        raise MistralwireError(message, code="UNAVAILABLE", reason=Reason.DRAINING)


def _no_request(found: str) -> DecodeError:
    return DecodeError([Violation("", "a HealthCheckRequest", found)], reason=Reason.NOT_PROTOBUF)
