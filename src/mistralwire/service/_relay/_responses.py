"""Stored responses: they are read, listed, cancelled and deleted."""

import asyncio
import contextlib
import dataclasses
from collections.abc import MutableMapping, Sequence

from mistralwire import _offload
from mistralwire._protobuf import write_varint
from mistralwire.codec import Accumulator, accumulate
from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.log import Query, ResponseLog, StoredResponse, not_found_error, split
from mistralwire.service._relay._messages import (
    PAGE_SIZE_MAX,
    info_of,
    page_token,
    read_list_request,
    read_page_token,
    read_response_id,
)
from mistralwire.service._relay._rules import (
    CANCELLED,
    LOG_WAIT_S_MAX,
    RESPONSE_ID_PATTERN,
    Holder,
    RelayCounts,
    end_over,
    log_id,
)
from mistralwire.v1 import (
    CancelResponseRequest,
    CancelResponseResponse,
    DeleteResponseRequest,
    DeleteResponseResponse,
    FIMCompletionResponse,
    GetResponseRequest,
    GetResponseResponse,
    ListResponsesRequest,
    ListResponsesResponse,
    ResponseEvents,
    ResponseKind,
    ResponseState,
)

CANCEL = "cancel"
"""Asks a node to cancel a response that it holds, followed by the id in the log."""

# Seconds for a holder to end its response; then the canceller does.
_HOLDER_S = 0.3
_READ_BYTES_MAX = 1024 * 1024
# Responses that are looked at for one page.
_LOOKED_AT_MAX = 1000
# Tags of whole responses among events, and those in a GetResponseResponse.
_WHOLE_TAGS = {b"\x12": b"\x0a", b"\x1a": b"\x12"}


class Responses:
    """The stored responses of a log, for their owners.

    Args:
        log: The log.
        holders: What produces the running responses of this process.
        counts: Learns of responses that are ended in the place of their holder.
    """

    def __init__(self, log: ResponseLog, holders: MutableMapping[str, Holder], counts: RelayCounts) -> None:
        self._log = log
        self._holders = holders
        self._counts = counts

    async def get(self, owner: str, wire: bytes) -> bytes:
        """Answer GetResponse; what takes long to accumulate does so in a thread."""
        stored = await self._find_ended(owner, read_response_id(GetResponseRequest, wire))
        info = GetResponseResponse(info=info_of(stored)).SerializeToString()
        if GetResponseRequest.FromString(wire).info_only:
            return info
        parts = []
        after = 0
        # Without what is appended meanwhile: a reader goes on behind the last event of the answer.
        while after < stored.last and (batches := await self._log.read(stored.id, after, _READ_BYTES_MAX)):
            parts += [batch.data for batch in batches if batch.last <= stored.last]
            after = batches[-1].last
        data = b"".join(parts)
        if data[:1] in _WHOLE_TAGS:
            content = split(data)[0]
            return b"".join((_WHOLE_TAGS[data[:1]], write_varint(len(content)), content, info))
        whole = await _offload.in_thread_if_heavy(
            data, _whole_of, data, stored.kind, weight_max=_offload.PYTHON_WEIGHT_MAX
        )
        return whole + info

    async def list(self, owner: str, wire: bytes) -> bytes:
        """Answer ListResponses."""
        request = read_list_request(wire)
        found, token = await self._page(request, owner, await self._position(owner, request))
        return ListResponsesResponse(responses=map(info_of, found), next_page_token=token).SerializeToString()

    async def _page(
        self, request: ListResponsesRequest, owner: str, after: tuple[float, str] | None
    ) -> tuple[Sequence[StoredResponse], str | None]:
        """Return the responses of a page, and the token of the next one.

        A log has few that run, and finds these. Those in another state, or of a model, may be rare among
        many: then the page ends behind so many others, and the next one goes on there.
        """
        is_running = request.state == ResponseState.RESPONSE_STATE_RUNNING
        is_filtered = bool(request.model) or (bool(request.state) and not is_running)
        query = Query(
            owner=owner,
            is_running=is_running or None,
            oldest_first=request.oldest_first,
            after=after,
            # One more shows whether there is another page.
            limit=PAGE_SIZE_MAX + 1 if is_filtered else request.page_size + 1,
        )
        found: list[StoredResponse] = []
        looked_at = 0
        while True:
            stored = await self._log.list(query)
            for each in stored:
                if request.model not in ("", each.model) or request.state not in (0, each.response_state):
                    continue
                if len(found) == request.page_size:
                    return found, page_token(found[-1])
                found.append(each)
            if len(stored) < query.limit:
                return found, None
            looked_at += len(stored)
            if looked_at >= _LOOKED_AT_MAX:
                return found, page_token(stored[-1])
            query = dataclasses.replace(query, after=(stored[-1].created_s, stored[-1].id))

    async def _position(self, owner: str, request: ListResponsesRequest) -> tuple[float, str] | None:
        """Return the position behind which a page begins: behind a response, or where its token says."""
        if RESPONSE_ID_PATTERN.fullmatch(request.page_token):
            stored = await self._log.describe(log_id(owner, request.page_token))
            if stored is not None:
                return stored.created_s, stored.id
        return read_page_token(request, owner)

    async def cancel(self, owner: str, wire: bytes) -> bytes:
        """Answer CancelResponse: ask the holder, or end the response in its place if it does not answer."""
        stored = await self._find(owner, read_response_id(CancelResponseRequest, wire))
        if stored.end is None:
            await self._ask_holder(stored)
            found = await self._log.describe(stored.id)
            if found is None:
                raise not_found_error()
            stored = await end_over(self._log, found, CANCELLED)
            if found.end is None:
                self._counts.end(stored.id)
        return CancelResponseResponse(info=info_of(stored)).SerializeToString()

    async def _ask_holder(self, stored: StoredResponse) -> None:
        """Ask the holder of a response to end it, and wait for that, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HOLDER_S):
                if stored.node == self._log.node:
                    is_held = self.cancel_held(stored.id)
                else:
                    request = f"{CANCEL} {stored.id}".encode()
                    is_held = await self._log.ask(stored.node, request, _HOLDER_S) == b"1"
                if is_held:
                    async with contextlib.aclosing(self._log.follow(stored.id, stored.last)) as deliveries:
                        async for _ in deliveries:
                            pass

    def cancel_held(self, id_: str) -> bool:
        """Cancel a response of this process; return whether it is one."""
        holder = self._holders.get(id_)
        if holder is not None:
            holder.cancel_response()
        return holder is not None

    async def delete(self, owner: str, wire: bytes) -> bytes:
        """Answer DeleteResponse."""
        stored = await self._find_ended(owner, read_response_id(DeleteResponseRequest, wire))
        if stored.end is None:
            raise ResponseError(
                "the response still runs; cancel it first, or wait for its end",
                code="FAILED_PRECONDITION",
                reason=Reason.RESPONSE_RUNNING,
            )
        await self._log.delete(stored.id)
        return DeleteResponseResponse(info=info_of(stored)).SerializeToString()

    async def _find(self, owner: str, id_: str) -> StoredResponse:
        """Return a response by its id, or by the one that its upstream gave it."""
        stored = None
        if RESPONSE_ID_PATTERN.fullmatch(id_):
            stored = await self._log.describe(log_id(owner, id_))
        if stored is None:
            # Its caller may have the first event, which has this id, before the log has it.
            held = self._held_by_upstream_id(owner, id_)
            found = await self._log.find(owner, id_)
            if found is None and held is not None:
                await self._wait_for_log(held, 0, is_for_end=False)
                found = held
            stored = None if found is None else await self._log.describe(found)
        if stored is None:
            raise not_found_error()
        return stored

    async def _find_ended(self, owner: str, id_: str) -> StoredResponse:
        """Return a response, with the end that its caller may have before the log has it."""
        found = await self._find(owner, id_)
        holder = self._holders.get(found.id)
        if found.end is not None or holder is None or not holder.is_ending:
            return found
        await self._wait_for_log(found.id, found.last, is_for_end=True)
        stored = await self._log.describe(found.id)
        if stored is None:
            raise not_found_error()
        return stored

    def _held_by_upstream_id(self, owner: str, upstream_id: str) -> str | None:
        """Return the id in the log of a response that runs in this process."""
        prefix = log_id(owner, "")
        for id_, holder in self._holders.items():
            if holder.upstream_id == upstream_id and id_.startswith(prefix):
                return id_
        return None

    async def _wait_for_log(self, id_: str, after: int, *, is_for_end: bool) -> None:
        """Wait until the log has the next event of a response, or its end, but not for long."""
        with contextlib.suppress(TimeoutError, MistralwireError):
            async with (
                asyncio.timeout(LOG_WAIT_S_MAX),
                contextlib.aclosing(self._log.follow(id_, after)) as deliveries,
            ):
                async for _ in deliveries:
                    if not is_for_end:
                        return


def _whole_of(data: bytes, kind: ResponseKind) -> bytes:
    """Return the wire bytes of a GetResponseResponse with what some chunks make."""
    chunks = ResponseEvents.FromString(data).chunks
    if not chunks:
        return b""
    if kind == ResponseKind.RESPONSE_KIND_FIM:
        fim = Accumulator(FIMCompletionResponse)
        for chunk in chunks:
            fim.add(chunk)
        return GetResponseResponse(fim_response=fim.result()).SerializeToString()
    return GetResponseResponse(response=accumulate(chunks)).SerializeToString()
