"""A producer of a stored response, in the log itself."""

import asyncio
from typing import Any

from google.rpc import error_details_pb2, status_pb2

from mistralwire.errors import ERROR_DOMAIN, Reason
from mistralwire.log import Append, End, Opening, ResponseLog
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionResponse,
    ResponseEvents,
    ResponseKind,
    ResponseState,
)


class Producer:
    """Appends the events of a response to a log.

    Args:
        log: The log.
        response_id: Its id for its owner.
        owner: Whose it is.
    """

    def __init__(self, log: ResponseLog, response_id: str = "r1", owner: str = "") -> None:
        self._log = log
        self._id = f"{owner}/{response_id}"
        self._owner = owner
        self._last = 0

    async def open(
        self, *, model: str = "m", kind: ResponseKind = ResponseKind.RESPONSE_KIND_CHAT
    ) -> "Producer":
        await self._log.open(
            Opening(id=self._id, owner=self._owner, model=model, kind=kind, is_published=True)
        )
        return self

    async def add(self, *chunks: CompletionChunk) -> None:
        """Append chunks, and wait until they are stored."""
        await self._add(ResponseEvents(chunks=chunks), len(chunks), chunks[0].id)

    async def add_whole(self, whole: ChatCompletionResponse | FIMCompletionResponse) -> None:
        """Append a whole response, and wait until it is stored."""
        if isinstance(whole, FIMCompletionResponse):
            await self._add(ResponseEvents(fim_response=whole), 1, whole.id)
        else:
            await self._add(ResponseEvents(response=whole), 1, whole.id)

    async def _add(self, events: ResponseEvents, count: int, upstream_id: str) -> None:
        first_id = "" if self._last else upstream_id
        await self._append(data=events.SerializeToString(), count=count, upstream_id=first_id)

    async def finish(self) -> None:
        await self._append(end=End(ResponseState.RESPONSE_STATE_FINISHED))

    async def cancel(self) -> None:
        await self._append(end=End(ResponseState.RESPONSE_STATE_CANCELLED))

    async def fail(self, reason: str = Reason.PRODUCER_LOST) -> None:
        status = status_pb2.Status(code=14, message="its producer is gone")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN))
        await self._append(end=End(ResponseState.RESPONSE_STATE_FAILED, status.SerializeToString()))

    async def _append(self, **changes: Any) -> None:
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def done(last: int, error: Exception | None) -> None:
            stored.set_result(last) if error is None else stored.set_exception(error)

        self._log.append([Append(id=self._id, epoch=0, first=self._last + 1, on_done=done, **changes)])
        self._last = await stored
