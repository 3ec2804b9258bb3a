"""Bearer tokens: who may call."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from mistralwire._tokens import TokenFile
from mistralwire.errors import MistralwireError


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Ends calls without a token before their request is read.

    Args:
        tokens: The tokens.
        is_open: Says of a method, as `/service/method`, whether it needs none.
        refuse: Ends a call with an error: takes the method, the context and the error.
    """

    def __init__(
        self,
        tokens: TokenFile,
        is_open: Callable[[str], bool],
        refuse: Callable[[str, grpc.aio.ServicerContext, MistralwireError], Awaitable[None]],
    ) -> None:
        self._tokens = tokens
        self._is_open = is_open
        self._refuse = refuse

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Give the handler of the method, or one that refuses."""
        method = handler_call_details.method
        if not self._is_open(method):
            try:
                self._tokens.check(handler_call_details.invocation_metadata)
            except MistralwireError as error:
                return self._refusing(method, error)
        return await continuation(handler_call_details)

    def _refusing(self, method: str, error: MistralwireError) -> grpc.RpcMethodHandler:
        async def refuse(_: object, context: grpc.aio.ServicerContext) -> Any:
            await self._refuse(method, context, error)

        # Of all kinds, whatever the method's own is: grpc reads no request for this one.
        return grpc.stream_unary_rpc_method_handler(refuse)
