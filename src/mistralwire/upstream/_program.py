"""A program's own upstream as the source of an answer: the one task between coroutines and callbacks."""

import abc
import asyncio
import functools
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

from google.protobuf.message import Message

from mistralwire import _offload
from mistralwire._flow import Source
from mistralwire._varint import write_varint
from mistralwire.errors import CodecError, Reason, UpstreamError
from mistralwire.upstream._answers import Answers
from mistralwire.upstream._upstream import (
    RESPONSE_TYPES,
    CallbackUpstream,
    CallContext,
    Receiver,
    Upstream,
)
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk, FinishReason

FinishReasons: TypeAlias = Sequence[tuple[int, str]]
_Chunk: TypeAlias = tuple[bytes, bytes | None, FinishReasons]

_UNLISTED = "unlisted"
_FINISH_REASONS = {
    value.number: value.name.removeprefix("FINISH_REASON_").lower()
    for value in FinishReason.DESCRIPTOR.values
}

_NOTHING: tuple[bytes | None, FinishReasons] = (None, ())
# The tag of the field `chunks`, the same in every stream response; its wire type is 2, with a length.
_TAG = bytes([ChatCompletionStreamResponse.DESCRIPTOR.fields_by_name["chunks"].number << 3 | 2])
# The tag and the length before a chunk of so many bytes, for the lengths that nearly all chunks have.
_HEADS = tuple(_TAG + write_varint(length) for length in range(1024))
# So many chunks are taken in one turn of the event loop.
_TURN_CHUNKS = 256
# What is ready with the first chunk and goes on with it, at most.
_FIRST_CHUNKS_MAX = _TURN_CHUNKS
_FIRST_BYTES_MAX = 64 * 1024


class ProgramUpstream:
    """A program's upstream, whose coroutines answer by callbacks; a CallbackUpstream.

    What it answers is checked, and written for older readers.

    Args:
        upstream: The upstream.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.judges_requests = getattr(upstream, "judges_requests", False)
        self.complete = upstream.complete
        self.stream = upstream.stream
        self._answers = Answers(upstream)

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Source:
        del wire
        prepare = None
        if self._answers.are_prepared(contract_revision):
            prepare = functools.partial(self._answers.prepare, contract_revision=contract_revision)
        response_type = RESPONSE_TYPES.get(type(request))
        if response_type is None:
            return _StreamSource(functools.partial(self.stream, request, context), receiver, prepare)
        ask = functools.partial(self.complete, request, context)
        return _AnswerSource(ask, response_type, receiver, prepare)


def with_start(upstream: Upstream) -> CallbackUpstream:
    """Return an upstream that answers by callbacks: itself, if it can."""
    return cast("CallbackUpstream", upstream) if hasattr(upstream, "start") else ProgramUpstream(upstream)


class _ProgramSource(abc.ABC):
    """Runs a coroutine that makes an answer; a Source.

    Args:
        receiver: What takes it.
        prepare: Makes of a message what goes out; None to take it as it is.
    """

    def __init__(self, receiver: Receiver, prepare: Callable[[Any], Any] | None) -> None:
        self._receiver = receiver
        self._prepare = prepare
        self._is_left = False
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        # Whatever becomes of it: one that is cancelled at once never runs.
        self._task.add_done_callback(self._ended)

    def pause(self) -> None:
        """Ask for no more chunks."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """Go on."""
        self._may_go_on.set()

    def cancel(self) -> None:
        """Cancel the upstream; it may take its time."""
        self._is_left = True
        self._task.cancel()

    @abc.abstractmethod
    async def _answer(self) -> None:
        """Make the answer, and pass it to the receiver."""

    async def _run(self) -> None:
        receiver = self._receiver
        try:
            await self._answer()
        except BaseException as error:
            # Whatever it makes of being cancelled.
            if not self._is_left:
                receiver.failed(_of_upstream(error))
            if isinstance(error, KeyboardInterrupt | SystemExit):
                # What ends the process.
                raise

    def _ended(self, _: "asyncio.Task[None]") -> None:
        self._receiver.closed()


class _AnswerSource(_ProgramSource):
    """Makes an answer in one piece."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Message]],
        response_type: type[Message],
        receiver: Receiver,
        prepare: Callable[[Any], Any] | None,
    ) -> None:
        self._ask = ask
        self._response_type = response_type
        super().__init__(receiver, prepare)

    async def _answer(self) -> None:
        response = await self._ask()
        if type(response) is not self._response_type:
            raise TypeError(f"expected a {self._response_type.__name__}, not a {type(response).__name__}")
        wire = response.SerializeToString()
        if self._prepare is not None:
            wire = await _offload.convert(wire, self._prepared, response)
        if not self._is_left:
            self._receiver.answer(wire)

    def _prepared(self, response: Message) -> bytes:
        assert self._prepare is not None  # noqa: S101 - for mypy
        wire: bytes = self._prepare(response).SerializeToString()
        return wire


class _StreamSource(_ProgramSource):
    """Makes the chunks of a stream."""

    def __init__(
        self,
        ask: Callable[[], AsyncIterator[CompletionChunk]],
        receiver: Receiver,
        prepare: Callable[[Any], Any] | None,
    ) -> None:
        self._ask = ask
        self._is_watched = receiver.is_watched
        # What goes with the first chunk, or the first after a pause of ours; None once it has gone.
        self._first: list[_Chunk] | None = []
        self._first_bytes = 0
        super().__init__(receiver, prepare)

    async def _answer(self) -> None:
        chunks = self._ask()
        count = 0
        try:
            async for chunk in chunks:
                if self._is_left:
                    # It does not mind being cancelled.
                    return
                if type(chunk) is not CompletionChunk:
                    raise TypeError(f"expected a CompletionChunk, not a {type(chunk).__name__}")
                self._give(chunk)
                count += 1
                if not self._may_go_on.is_set():
                    await self._may_go_on.wait()
                elif count % _TURN_CHUNKS == 0:
                    # One that has all its chunks ready must not hold the event loop.
                    await asyncio.sleep(0)
                    if self._first is None:
                        self._first, self._first_bytes = [], 0
        finally:
            self._flush()
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        if not self._is_left:
            self._receiver.end()

    def _give(self, chunk: CompletionChunk) -> None:
        """Give a chunk to the receiver; the first one with those that are ready now."""
        if self._prepare is not None:
            chunk = self._prepare(chunk)
        wire = encode_chunk(chunk)
        observed = observed_in(chunk) if self._is_watched else _NOTHING
        if self._first is None:
            self._receiver.batch(wire, 1, *observed)
            return
        self._first.append((wire, *observed))
        self._first_bytes += len(wire)
        if len(self._first) == 1:
            self._loop.call_soon(self._flush)
        elif len(self._first) >= _FIRST_CHUNKS_MAX or self._first_bytes >= _FIRST_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        first, self._first = self._first, None
        if first and not self._is_left:
            wires, usages, reasons = zip(*first, strict=True)
            usage = next((usage for usage in reversed(usages) if usage is not None), None)
            self._receiver.batch(b"".join(wires), len(wires), usage, list(itertools.chain(*reasons)))


def observed_in(chunk: CompletionChunk) -> tuple[bytes | None, FinishReasons]:
    """Return the usage in a chunk, as wire bytes, and why choices have ended in it."""
    usage = chunk.usage.SerializeToString() if chunk.HasField("usage") else None
    return usage, finish_reasons_of(chunk)


def finish_reasons_of(answer: Any) -> FinishReasons:
    """Return why the model stopped, from an answer or a chunk.

    Returns:
        Index of the choice and the API's string for the reason, `unlisted` if the contract has none.
    """
    return tuple(
        (choice.index, _FINISH_REASONS.get(choice.finish_reason, _UNLISTED))
        for choice in answer.choices
        if choice.finish_reason
    )


def encode_chunk(chunk: CompletionChunk) -> bytes:
    """Give the wire bytes of a chunk as one element of a stream response: its tag, its length, itself.

    Source: https://protobuf.dev/programming-guides/encoding/#length-types
    """
    data = chunk.SerializeToString()
    length = len(data)
    head = _HEADS[length] if length < len(_HEADS) else _TAG + write_varint(length)
    return head + data


def _of_upstream(error: BaseException) -> BaseException:
    """Give what an error of an upstream is for its call.

    An answer that can't be read is the upstream's fault: as an error of the codec it would be the caller's.
    """
    if isinstance(error, CodecError):
        message = "the answer of the upstream could not be read"
        return UpstreamError(message, code="INTERNAL", reason=Reason.UPSTREAM_UNREADABLE)
    return error
