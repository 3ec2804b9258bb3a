"""Writes the response of a call to grpc, compressed if the caller asks for that."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import grpc

from mistralwire._metadata import ACCEPT_ENCODING, OWN_REVISION, REQUEST_ID
from mistralwire.errors import MistralwireError
from mistralwire.service._call import Call
from mistralwire.service._coalesce import EagerCall

# A client's clock may end a call this much before ours: then it was the deadline.
_CLOCK_TOLERANCE_S = 0.1


class GrpcSink:
    """Takes the response of a call for grpc; each message is written from where it arrived.

    Attributes:
        call: The call.
        task: The task of the call.
        done: Done when the response is complete, has failed, or can't be delivered.
        wire: The unary response.
        error: The error that ended the call.
        is_lost: Whether the caller has gone.
        is_reading: Whether the request is being received.
    """

    call: Call

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wire = b""
        self.error: MistralwireError | None = None
        self.is_lost = self.is_reading = False
        self._context = context
        self._writing: EagerCall | None = None
        # Headers of the upstream's response, for the caller.
        self._headers: tuple[tuple[str, str], ...] = ()
        # Whether initial metadata must be sent before the first message; None until that arrives.
        self._has_preface: bool | None = None

    def headers(self, headers: Mapping[str, str]) -> None:
        """Send the headers as initial metadata of a stream, and as trailing metadata of any call."""
        self._headers = tuple(headers.items())
        self._context.set_trailing_metadata(
            ((REQUEST_ID, self.call.record.request_id), OWN_REVISION, *self._headers)
        )

    def batch(self, wire: bytes, count: int) -> None:  # noqa: ARG002 - the protocol
        """Write a message; the call is paused until grpc has taken it."""
        if self._has_preface is None:
            self._has_preface = bool(self._headers) or wants_gzip(self.call.record.metadata)
        write = self._write_first(wire) if self._has_preface else self._context.write(wire)
        self._writing = EagerCall(write, self._written)
        try:
            if not self._writing.start():
                self.call.pause()
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - what grpc raises if the caller has gone
            self._lose()

    async def _write_first(self, wire: bytes) -> None:
        self._has_preface = False
        await send_initial_metadata(self._context, self.call.record.metadata, self._headers)
        await self._context.write(wire)

    def answer(self, wire: bytes) -> None:
        """Take the unary response."""
        self.wire = wire
        self._end()

    def end(self) -> None:
        """End the call."""
        self._end()

    def failed(self, error: MistralwireError) -> None:
        """End the call with an error."""
        self.error = error
        if self.done.done():
            return
        if self.is_reading:
            # The task is not waiting for `done` yet.
            self.task.cancel()
        self._end()

    def close(self) -> None:
        """Cancel a write that is in flight."""
        if self._writing is not None:
            self._writing.cancel()

    def _written(self, error: BaseException | None) -> None:
        """Continue after a write that had to wait."""
        if error is None:
            self.call.resume()
        else:
            self._lose()

    def _lose(self) -> None:
        self.is_lost = True
        self.call.cancel(code_of_cancelled(self._context))
        self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def code_of_cancelled(context: grpc.aio.ServicerContext) -> str:
    """Return the name of the code of a cancelled call: its deadline, or its caller."""
    remaining_s: float | None = context.time_remaining()
    is_late = remaining_s is not None and remaining_s < _CLOCK_TOLERANCE_S
    return "DEADLINE_EXCEEDED" if is_late else "CANCELLED"


def wants_gzip(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Check whether a caller asks for compressed responses, perhaps as one of several encodings."""
    return any(
        name == ACCEPT_ENCODING and isinstance(value, str) and "gzip" in re.split(r"[ ,]+", value.lower())
        for name, value in metadata
    )


async def send_initial_metadata(
    context: grpc.aio.ServicerContext,
    metadata: Iterable[tuple[str, str | bytes]],
    headers: Sequence[tuple[str, str]] = (),
) -> None:
    """Send the initial metadata of a call, and enable compression if the caller asks for it.

    Call it before the first message is written, or the response returned. Without `headers`, nothing is sent
    unless responses are compressed. grpc sends a message uncompressed if compression would not shrink it.
    """
    is_compressed = wants_gzip(metadata)
    if is_compressed:
        context.set_compression(grpc.Compression.Gzip)
    # For compression too: grpc ignores it if it sends the metadata along with a unary response.
    if is_compressed or headers:
        await context.send_initial_metadata(tuple(headers))
