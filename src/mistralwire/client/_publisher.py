"""Publishing a response over lost connections, from the last event that the service has stored."""

import asyncio
import collections
import contextlib
import logging
import secrets
import time
import types
from collections.abc import AsyncGenerator, Iterable
from typing import NamedTuple, Self, TypeAlias

from mistralwire._methods import RELAY_METHODS
from mistralwire._protobuf import write_varint
from mistralwire._status import to_status
from mistralwire.client._response import parse_response
from mistralwire.client._stub import Stub
from mistralwire.client._subscription import STATUS_S, StreamCalls
from mistralwire.errors import CallError, MistralwireError, Reason, log_unexpected
from mistralwire.log import framed
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionResponse,
    PublishOpen,
    PublishRequest,
    PublishResponse,
    ResponseEnd,
    ResponseEvents,
    ResponseState,
)

Events: TypeAlias = (
    CompletionChunk | Iterable[CompletionChunk] | ChatCompletionResponse | FIMCompletionResponse
)
"""What a producer publishes: chunks, or one whole response."""

_KEPT_BYTES_MAX = 1024 * 1024
# Seconds after which a producer that waits for nothing lets go out what it has sent.
_TURN_S = 0.005
# Seconds for the end of a response whose block an exception has left.
_LEAVE_S = 5.0
_PUBLISH = RELAY_METHODS["Publish"]
# Tags of the batch in a PublishRequest, and of its fields.
_BATCH, _FIRST_SEQUENCE, _EVENTS = b"\x12", b"\x08", b"\x12"

_logger = logging.getLogger(__name__)


def new_response_id() -> str:
    """Return a new id for a response: `resp_` and 128 random bits."""
    return f"resp_{secrets.token_hex(16)}"


class _Batch(NamedTuple):
    """Events that are not acknowledged: the numbers of the first and the last, and their wire bytes."""

    first: int
    last: int
    data: bytes


class Publisher:
    """The producer of one response, made by `Client.publish`: an asynchronous context manager.

    Events that are not acknowledged are kept, up to 1 MiB of them, and sent again over another connection.

    Attributes:
        response_id: Id of the response.
        epoch: Epoch of this producer.
    """

    def __init__(self, stub: Stub, opening: PublishOpen, calls: StreamCalls) -> None:
        self.response_id = opening.response_id
        self.epoch = opening.epoch
        self._stub = stub
        self._opening = opening
        self._calls = calls
        self._last = self._acknowledged = 0
        self._is_whole = False
        self._unsent: collections.deque[_Batch] = collections.deque()
        self._unacknowledged: collections.deque[_Batch] = collections.deque()
        self._buffered_bytes = 0
        self._end: ResponseEnd | None = None
        self._has_opened = self._has_ended = False
        self._error: CallError | None = None
        # Of the calls, one after the other: which one it is, and whether its first answer has come.
        self._call_number = 0
        self._is_call_open = False
        self._waiters: list[asyncio.Future[None]] = []
        # When the last `send` let others run, by time.monotonic.
        self._turned_s = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def acknowledged_sequence(self) -> int:
        """Number of the last event that is stored as the service promises, 0 if there is none.

        At the beginning of the block it is that of the producer before, if there was one.
        """
        return self._acknowledged

    @property
    def last_sequence(self) -> int:
        """Number of the last event that was sent or kept to be sent; the next one follows it."""
        return self._last

    async def __aenter__(self) -> Self:
        """Open the response, and return the publisher.

        Raises:
            CallError: If it can't be opened; ABORTED with STALE_EPOCH for an epoch below the response's.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            while not self._has_opened and self._error is None:
                await self._change()
            self._check()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: types.TracebackType | None
    ) -> None:
        """Finish the response, unless it has got an end; fail it with an exception, or cancel it."""
        try:
            if error is None:
                if self._end is None:
                    await self.finish()
            elif self._end is None and self._error is None:
                # The exception that is under way counts, not that its end could not be stored.
                with contextlib.suppress(CallError, TimeoutError):
                    async with asyncio.timeout(_LEAVE_S):
                        await (self.fail(error) if isinstance(error, Exception) else self.cancel())
        finally:
            await self._close()

    async def send(self, events: Events) -> int:
        """Add events to the response; they are sent at once, and together with others while that takes time.

        It waits only while 1 MiB is not acknowledged.

        Args:
            events: A chunk, chunks, or a whole response, which is the only event.

        Returns:
            The number of the last event; `acknowledged_sequence` reaches it once that is stored.

        Raises:
            CallError: If the response can't go on: ABORTED with STALE_EPOCH if another producer has taken
                over, CANCELLED with RESPONSE_CANCELLED if somebody has cancelled it, FAILED_PRECONDITION with
                RESPONSE_ENDED if it has ended, UNAVAILABLE if the service could not be reached in time.
            TypeError: If they are something else.
            ValueError: If there are none, or a whole response is not the only event.
            RuntimeError: If the response has got its end, or outside of the block.
        """
        # A loop over the tokens of a model in this thread waits for nothing else. Not below: a `send` that is
        # cancelled has sent nothing, and one at the same time must find what this one is about to send.
        if time.monotonic() - self._turned_s > _TURN_S:
            await asyncio.sleep(0)
            self._turned_s = time.monotonic()
        count, data = self._encoded(events)
        while self._buffered_bytes >= _KEPT_BYTES_MAX:
            self._check()
            await self._change()
        self._check()
        if self._end is not None:
            raise RuntimeError("the response has got its end; publish another for more events")
        self._unsent.append(_Batch(self._last + 1, self._last + count, data))
        self._last += count
        self._buffered_bytes += len(data)
        self._wake()
        return self._last

    async def flush(self) -> None:
        """Wait until all events so far are acknowledged; for errors see `send`."""
        last = self._last
        while self._acknowledged < last:
            self._check()
            await self._change()

    async def finish(self) -> None:
        """End the response as complete, and wait until all of it is stored; for errors see `send`."""
        await self._finish(ResponseState.RESPONSE_STATE_FINISHED)

    async def cancel(self) -> None:
        """End the response as cancelled; see `finish`."""
        await self._finish(ResponseState.RESPONSE_STATE_CANCELLED)

    async def fail(self, error: BaseException) -> None:
        """End the response as failed; see `finish`.

        Args:
            error: Why. Consumers get the code, the reason and the message of a MistralwireError; of any other
                exception they get INTERNAL, and nothing of its text.
        """
        if not isinstance(error, MistralwireError):
            error = MistralwireError("internal error of the producer of the response")
        await self._finish(ResponseState.RESPONSE_STATE_FAILED, to_status(error).SerializeToString())

    async def _finish(self, state: ResponseState, status: bytes | None = None) -> None:
        if self._end is not None:
            raise RuntimeError("the response has got its end already")
        self._check()
        self._end = ResponseEnd(state=state, status=status, last_sequence=self._last)
        self._wake()
        while not self._has_ended:
            self._check()
            await self._change()

    def _encoded(self, events: Events) -> tuple[int, bytes]:
        if isinstance(events, ChatCompletionResponse | FIMCompletionResponse):
            if self._last:
                raise ValueError("expected no other event beside a whole response, found some before")
            self._is_whole = True
            whole = self._stub.lowered(events)
            if isinstance(whole, ChatCompletionResponse):
                return 1, ResponseEvents(response=whole).SerializeToString()
            return 1, ResponseEvents(fim_response=whole).SerializeToString()
        if self._is_whole:
            raise ValueError("expected no other event beside a whole response, found more")
        chunks = [events] if isinstance(events, CompletionChunk) else list(events)
        if not chunks:
            raise ValueError("expected a chunk or more, found none")
        for chunk in chunks:
            if not isinstance(chunk, CompletionChunk):
                raise TypeError(f"expected chunks or a whole response, found {type(chunk).__name__}")
        return len(chunks), b"".join(
            framed(self._stub.lowered(chunk).SerializeToString()) for chunk in chunks
        )

    def _check(self) -> None:
        if self._task is None:
            raise RuntimeError("the response is not open; send its events in the publisher's block")
        if self._error is not None:
            raise self._error

    async def _change(self) -> None:
        """Wait until something has changed; callers look what."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _close(self) -> None:
        if self._task is not None:
            try:
                if self._has_ended:
                    await asyncio.wait([self._task], timeout=STATUS_S)
            finally:
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _run(self) -> None:
        """Publish, call after call, until the end is stored, or an error says that it never will be."""
        try:
            while not self._has_ended:
                try:
                    await self._call()
                except CallError as error:
                    if not self._has_ended:
                        await self._calls.wait(error)
        except CallError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - nobody awaits this task
            log_unexpected(_logger, f"publishing {self.response_id} ended with", error)
            self._error = self._call_error("internal error of the client", "INTERNAL", Reason.INTERNAL)
        finally:
            self._wake()

    async def _call(self) -> None:
        self._unsent.extendleft(reversed(self._unacknowledged))
        self._unacknowledged.clear()
        self._is_call_open = False
        arguments = self._calls.start()
        steps = self._steps(self._call_number)
        try:
            with self._stub.calling(_PUBLISH.path, steps, arguments, is_stream=True) as call:
                async for wire in call:
                    self._take(parse_response(PublishResponse, wire, arguments.request_id))
            if self._has_ended:
                return
        finally:
            # So that the steps end: grpc does not stop to ask for them.
            self._call_number += 1
            self._wake()
        raise self._call_error(
            "expected the acknowledgement of the end, found the end of the call", "UNAVAILABLE", "UNAVAILABLE"
        )

    async def _steps(self, number: int) -> AsyncGenerator[bytes, None]:
        """Yield the messages of one call."""
        yield PublishRequest(open=self._opening).SerializeToString()
        while number == self._call_number:
            if self._is_call_open:
                if self._unsent:
                    yield self._next_batch()
                    continue
                if self._end is not None:
                    yield PublishRequest(end=self._end).SerializeToString()
                    return
            await self._change()

    def _next_batch(self) -> bytes:
        """Return a message with the events that are unsent, as many as are kept at most."""
        batches = [self._unsent.popleft()]
        size = len(batches[0].data)
        # A service bounds the bytes of a message.
        while self._unsent and (size := size + len(self._unsent[0].data)) <= _KEPT_BYTES_MAX:
            batches.append(self._unsent.popleft())
        data = b"".join(batch.data for batch in batches)
        batch = _Batch(batches[0].first, batches[-1].last, data)
        self._unacknowledged.append(batch)
        # As bytes: the events need not be parsed for it.
        head = _FIRST_SEQUENCE + write_varint(batch.first) + _EVENTS + write_varint(len(data))
        return b"".join((_BATCH, write_varint(len(head) + len(data)), head, data))

    def _take(self, answer: PublishResponse) -> None:
        acknowledged = answer.acknowledged_sequence
        is_progress = acknowledged > self._acknowledged
        if not self._is_call_open:
            self._begin(acknowledged)
        self._acknowledged = max(self._acknowledged, acknowledged)
        for batches in (self._unacknowledged, self._unsent):
            while batches and batches[0].last <= acknowledged:
                self._buffered_bytes -= len(batches.popleft().data)
        if answer.ended:
            if self._end is None or acknowledged < self._last:
                message = "the response has been ended by somebody else, and takes no further events"
                raise self._call_error(message, "FAILED_PRECONDITION", Reason.RESPONSE_ENDED)
            self._has_ended = True
        # A call that only opens the response, to fail with the next batch, brings it no further.
        if is_progress or not self._buffered_bytes:
            self._calls.went_on()
        self._wake()

    def _begin(self, acknowledged: int) -> None:
        """Compare what is stored when a call begins with what was sent before."""
        if not self._has_opened:
            self._last = acknowledged
        elif acknowledged < self._acknowledged:
            raise self._call_error(
                f"the service has lost events that it had acknowledged: expected {self._acknowledged}, found "
                f"{acknowledged}",
                "DATA_LOSS",
                Reason.RESPONSE_TRUNCATED,
            )
        elif acknowledged > self._last:
            message = f"another producer publishes with the epoch {self.epoch} too; use a higher one"
            raise self._call_error(message, "ABORTED", Reason.STALE_EPOCH)
        self._has_opened = self._is_call_open = True

    def _call_error(self, message: str, code: str, reason: str) -> CallError:
        return CallError(message, code=code, reason=reason, request_id=self._calls.request_id)
