"""A call over gRPC whose answer goes to a sink: a task between grpc, which is awaited, and callbacks."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

from mistralwire._response_stream import Sink
from mistralwire.client._batch import ChunkBatch
from mistralwire.errors import MistralwireError, log_unexpected

_logger = logging.getLogger(__name__)


class CallTask:
    """Feeds a sink with what a call gives; a Source.

    Args:
        messages: Yields the wire bytes of the messages of the answer, and makes the call.
        sink: What takes them.
        request_id: Id of the call.
        is_stream: Whether the messages are those of a stream, and not one answer.
    """

    def __init__(
        self, messages: AsyncGenerator[bytes, None], sink: Sink, request_id: str, *, is_stream: bool
    ) -> None:
        self._messages = messages
        self._sink = sink
        self._request_id = request_id
        self._is_stream = is_stream
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def pause(self) -> None:
        """Read no more messages."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """Go on."""
        self._may_go_on.set()

    def cancel(self) -> None:
        """Cancel the call."""
        self._task.cancel()

    async def _run(self) -> None:
        sink = self._sink
        try:
            # A call that is cancelled while it is paused is left at once.
            async with contextlib.aclosing(self._messages) as messages:
                async for data in messages:
                    if self._is_stream:
                        count = len(ChunkBatch(data, self._request_id))
                        if count:
                            sink.batch(data, count)
                        await self._may_go_on.wait()
                    else:
                        answer = data
        except MistralwireError as error:
            sink.failed(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task
            log_unexpected(_logger, f"call {self._request_id} ended with", error)
            sink.failed(MistralwireError("internal error of the client"))
        else:
            if self._is_stream:
                sink.end()
            else:
                sink.answer(answer)
