"""A client whose responses come from the test, by callbacks."""

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from google.protobuf.message import Message

from mistralwire._response_stream import EventWriter, Sink
from mistralwire.client import Client
from mistralwire.errors import MistralwireError
from mistralwire.v1 import ChatCompletionStreamResponse
from tests.service.upstreams import chunk

_WAIT_S = 30


class DrivenClient:
    """Takes the place of a client; the test is the service.

    Attributes:
        calls: The calls that were started.
        on_start: Called with each call before `start` returns; None to do nothing.
    """

    contract_revision = 1

    def __init__(self, on_start: "Callable[[DrivenCall], None] | None" = None) -> None:
        self.calls: list[DrivenCall] = []
        self.on_start = on_start

    def start(
        self,
        request_type: type[Message],
        wire: bytes,
        sink: Sink,
        *,
        deadline_s: float,
        request_id: str,
        metadata: Mapping[str, str],
        message: Message | None = None,
        events: EventWriter | None = None,
    ) -> "DrivenCall":
        assert message is None or message.SerializeToString() == wire
        call = DrivenCall(request_type, wire, sink, dict(metadata), events)
        self.calls.append(call)
        if self.on_start is not None:
            self.on_start(call)
        return call

    def as_client(self) -> Client:
        return cast("Client", self)


class DrivenCall:
    """A call, and the source of its answer.

    Attributes:
        sink: What takes the answer.
        events: What the sink lets the service write events to.
        asked: What the sink has asked for, one word each, in order.
    """

    def __init__(
        self,
        request_type: type[Message],
        wire: bytes,
        sink: Sink,
        metadata: dict[str, str],
        events: EventWriter | None,
    ) -> None:
        self.request_type = request_type
        self.wire = wire
        self.sink = sink
        self.metadata = metadata
        self.events = events
        self.asked: list[str] = []

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def cancel(self) -> None:
        self.asked.append("cancel")

    def abort(self, error: MistralwireError) -> None:
        self.asked.append(f"abort {error.reason}")


def batch(*numbers: int, content: str = "word") -> tuple[bytes, int]:
    """Return the wire bytes and the count of a batch of chunks with these numbers as ids."""
    chunks = [chunk(number, content) for number in numbers]
    return ChatCompletionStreamResponse(chunks=chunks).SerializeToString(), len(chunks)


async def until(is_so: Callable[[], bool]) -> None:
    """Run the event loop until a condition holds."""
    async with asyncio.timeout(_WAIT_S):
        while not is_so():  # noqa: ASYNC110 - callbacks of any kind
            await asyncio.sleep(0.001)
