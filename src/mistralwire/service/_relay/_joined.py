"""Calls that join a stored response: they are answered with what it has, and never ask the model."""

import asyncio
import contextlib

from mistralwire._status import error_of_status
from mistralwire.errors import MistralwireError
from mistralwire.log import Delivery, End, split
from mistralwire.service._relay._recording import Recorder
from mistralwire.service._relay._rules import cancelled_error
from mistralwire.upstream import Receiver
from mistralwire.v1 import ResponseState


class JoinedResponse:
    """Feeds a call with a response of the log, from its first event to its end; a Source.

    Args:
        recorder: Follows it.
        id: The response in the log.
        receiver: The call.
        is_stream: Whether its events are chunks; otherwise the only one is the whole response.
    """

    def __init__(
        self,
        recorder: Recorder,
        id: str,
        receiver: Receiver,
        *,
        is_stream: bool,
    ) -> None:
        self._recorder = recorder
        self._id = id
        self._receiver = receiver
        self._is_stream = is_stream
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self.pause = self._may_go_on.clear
        self.resume = self._may_go_on.set
        self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        try:
            async with contextlib.aclosing(self._recorder.follow(self._id)) as deliveries:
                async for delivery in deliveries:
                    self._pass_on(delivery)
                    await self._may_go_on.wait()
        except MistralwireError as error:
            self._receiver.failed(error)

    def _pass_on(self, delivery: Delivery) -> None:
        for batch in delivery.batches:
            if self._is_stream:
                self._receiver.batch(batch.data, batch.last - batch.first + 1)
            else:
                self._receiver.answer(split(batch.data)[0])
        if delivery.end is not None:
            self._end(delivery.end)

    def _end(self, end: End) -> None:
        if end.state == ResponseState.RESPONSE_STATE_FAILED:
            self._receiver.failed(error_of_status(end.status))
        elif end.state == ResponseState.RESPONSE_STATE_CANCELLED:
            self._receiver.failed(cancelled_error())
        elif self._is_stream:
            self._receiver.end()
