"""The calls of ResponseRelayService: stored responses, from anywhere."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Unpack

from google.protobuf.message import Message

from mistralwire._methods import RELAY_METHODS
from mistralwire.client._publisher import Publisher, new_response_id
from mistralwire.client._response import lifted
from mistralwire.client._stub import CallOptions, Stub
from mistralwire.client._subscription import (
    RECONNECT_S,
    EventBatch,
    ResponseEvent,
    StreamCalls,
    event_batches,
    events_in,
)
from mistralwire.v1 import (
    CancelResponseRequest,
    CancelResponseResponse,
    DeleteResponseRequest,
    DeleteResponseResponse,
    GetResponseRequest,
    GetResponseResponse,
    ListResponsesRequest,
    ListResponsesResponse,
    PublishOpen,
    ResponseKind,
    ResponseState,
)


class ResponseCalls:
    """What a client does with stored responses; for `options` and the errors of all calls see `complete`.

    A service that stores no responses ends each call with UNIMPLEMENTED and the reason NO_RESPONSE_LOG. A
    response that does not exist, or belongs to another caller, is NOT_FOUND with RESPONSE_NOT_FOUND.
    """

    _stub: Stub

    async def get_response(
        self, response_id: str, *, info_only: bool = False, **options: Unpack[CallOptions]
    ) -> GetResponseResponse:
        """Return a response as far as it is, accumulated, and what is known about it.

        Args:
            response_id: Id of the response, or the id that its upstream gave it.
            info_only: Whether to leave out the content, which takes long for a long response.
            **options: Deadline, request id and metadata; see `complete`.
        """
        request = GetResponseRequest(response_id=response_id, info_only=info_only or None)
        found: GetResponseResponse = await self._call("GetResponse", request, options)
        if found.HasField("response"):
            found.response.CopyFrom(lifted(found.response))
        elif found.HasField("fim_response"):
            found.fim_response.CopyFrom(lifted(found.fim_response))
        return found

    async def list_responses(
        self,
        *,
        page_size: int | None = None,
        page_token: str | None = None,
        oldest_first: bool = False,
        state: ResponseState | None = None,
        model: str | None = None,
        **options: Unpack[CallOptions],
    ) -> ListResponsesResponse:
        """Return a page of the caller's responses.

        With a state or a model it may have fewer than `page_size`, or none, and still a `next_page_token`.

        Args:
            page_size: How many a page has at most, 1 to 100; None for the service's default, 20.
            page_token: The `next_page_token` of the page before, or the id of the response before the page;
                None for the first page.
            oldest_first: Whether the oldest come first, instead of the newest.
            state: Only those in this state; None for all.
            model: Only those whose request named this model; None for all.
            **options: See `get_response`.
        """
        request = ListResponsesRequest(
            page_size=page_size,
            page_token=page_token,
            oldest_first=oldest_first or None,
            state=state,
            model=model,
        )
        page: ListResponsesResponse = await self._call("ListResponses", request, options)
        return page

    async def cancel_response(
        self, response_id: str, **options: Unpack[CallOptions]
    ) -> CancelResponseResponse:
        """Cancel a running response: its producer and its upstream stop. No effect on one that has ended.

        Args:
            response_id: See `get_response`, for `options` too.
            **options: See `get_response`.

        Returns:
            The response with the state that it ended with.
        """
        request = CancelResponseRequest(response_id=response_id)
        cancelled: CancelResponseResponse = await self._call("CancelResponse", request, options)
        return cancelled

    async def delete_response(
        self, response_id: str, **options: Unpack[CallOptions]
    ) -> DeleteResponseResponse:
        """Delete a response that has ended; FAILED_PRECONDITION with RESPONSE_RUNNING if it still runs.

        Args:
            response_id: See `get_response`.
            **options: See `get_response`.

        Returns:
            The response as it was.
        """
        request = DeleteResponseRequest(response_id=response_id)
        deleted: DeleteResponseResponse = await self._call("DeleteResponse", request, options)
        return deleted

    def subscribe_batches(
        self,
        response_id: str,
        *,
        after: int = 0,
        reconnect_s: float = RECONNECT_S,
        **options: Unpack[CallOptions],
    ) -> AsyncGenerator[EventBatch, None]:
        """Follow a response, and yield its events as they are stored, in batches: to forward them.

        Nothing is decoded. Each event comes once and in order, also over lost connections: the call is made
        again after the last event, on any server of the target. The last batch has the end, whatever that
        is; see `response_failure`.

        Args:
            response_id: Id of the response.
            after: Number of the last event that the caller has, 0 for none.
            reconnect_s: Seconds, 0 to 86400, after the loss of a connection or of a server for which the
                call is made again, with growing pauses; then the error is raised. Before a service has
                answered it is 3 seconds, or none with `attempts_max=1`.
            **options: See `get_response`. The deadline is that of all calls together; without `deadline_s`
                there is none, since the service fails a response that nobody ends.

        Raises:
            CallError: DATA_LOSS with RESPONSE_TRUNCATED if the response has ended before `after`; UNAVAILABLE
                with NOT_STORED if it is stored no further.
        """
        return event_batches(self._stub, response_id, after, StreamCalls(self._stub, reconnect_s, options))

    async def subscribe(
        self,
        response_id: str,
        *,
        after: int = 0,
        reconnect_s: float = RECONNECT_S,
        **options: Unpack[CallOptions],
    ) -> AsyncGenerator[ResponseEvent, None]:
        """Follow a response, and yield its events with their numbers as they are stored.

        The iteration ends normally once the response is finished. For arguments see `subscribe_batches`.

        Examples:
            >>> async for sequence, chunk in client.subscribe(response_id, after=41):
            ...     ...

        Raises:
            CallError: After the last event, the error that the response failed with; CANCELLED with
                RESPONSE_CANCELLED if somebody has cancelled it. See `subscribe_batches`, too.
        """
        calls = StreamCalls(self._stub, reconnect_s, options)
        async with contextlib.aclosing(event_batches(self._stub, response_id, after, calls)) as batches:
            async for batch in batches:
                for event in events_in(batch, calls.request_id):
                    yield event

    def publish(
        self,
        response_id: str | None = None,
        *,
        epoch: int = 0,
        kind: ResponseKind = ResponseKind.RESPONSE_KIND_CHAT,
        reconnect_s: float = RECONNECT_S,
        **options: Unpack[CallOptions],
    ) -> Publisher:
        """Publish a response: an asynchronous context manager, whose block sends the events.

        Leaving the block finishes the response. An exception in it fails the response with that error, and
        the cancellation of its task, or Ctrl-C, cancels the response; one of these is the end even if the
        exception is handled outside. The block may end it otherwise: `finish`, `cancel`, `fail`. A process
        that dies leaves the response to its lease: if no producer comes back in time, it fails with
        PRODUCER_LOST.

        Lost connections are opened again, on any server of the target, and what was not acknowledged is
        sent again; the service stores it once.

        Examples:
            >>> async with client.publish(response_id) as publisher:
            ...     async for chunk in upstream:
            ...         await publisher.send(chunk)

        Args:
            response_id: Id of the response, 1 to 128 letters, digits, `-` and `_`; None for a new one. If it
                exists, this producer goes on behind its last event, `publisher.acknowledged_sequence`.
            epoch: Epoch of the producer, 0 to 2,000,000,000. A higher one than that of a response takes it
                over: its producer's next `send` is ABORTED with STALE_EPOCH.
            kind: Kind of the completion.
            reconnect_s: See `subscribe_batches`. The service waits for a producer that is gone as long as its
                `lease_s` says.
            **options: See `subscribe_batches`.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If an argument is out of its range.
        """
        if response_id is None:
            response_id = new_response_id()
        opening = PublishOpen(response_id=response_id, epoch=epoch, kind=kind)
        return Publisher(self._stub, opening, StreamCalls(self._stub, reconnect_s, options))

    async def _call(self, name: str, request: Message, options: CallOptions) -> Any:
        arguments = self._stub.call_arguments(options)
        return await self._stub.unary(RELAY_METHODS[name], request.SerializeToString(), arguments)
