"""Runs an upstream that is written as coroutines as the source of a call that works by callbacks."""

import asyncio
import functools
import itertools
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeAlias, cast

from google.protobuf.message import Message

from mistralwire import _offload, codec
from mistralwire._methods import METHODS_BY_REQUEST
from mistralwire._protobuf import write_varint
from mistralwire._response_stream import Source
from mistralwire.errors import CodecError, EncodeError, Reason, UpstreamError
from mistralwire.upstream._upstream import CallbackUpstream, CallContext, Receiver, Upstream
from mistralwire.v1 import CONTRACT_REVISION, ChatCompletionStreamResponse, CompletionChunk, FinishReason

CHECKS_PER_S = 100
"""Responses and chunks that are checked in a second, at most."""

CHECKED_BYTES_MAX = 16 * 1024
"""Size in bytes up to which a response or a chunk is checked: some milliseconds of work in the event loop."""

CHECKED_BYTES_PER_S = 64 * 1024
"""Bytes after which no more is checked in a second."""

_PLACES_MAX = 100
_INDEX = re.compile(r"\[[0-9]+\]")

# The tag of the field `chunks`, the same in every stream response; its wire type is 2, with a length.
_CHUNKS_TAG = bytes([ChatCompletionStreamResponse.DESCRIPTOR.fields_by_name["chunks"].number << 3 | 2])
# The tag and the length in front of a chunk, for the lengths of nearly all chunks.
_CHUNK_HEADS = tuple(_CHUNKS_TAG + write_varint(length) for length in range(1024))
# Chunks that are taken in one turn of the event loop, and bounds on those that go with the first one.
_TURN_CHUNKS = 256
_FIRST_BYTES_MAX = 64 * 1024

FinishReasons: TypeAlias = Sequence[tuple[int, str]]
_Chunk: TypeAlias = tuple[bytes, bytes | None, FinishReasons]

_FINISH_REASON_NAMES = {
    value.number: value.name.removeprefix("FINISH_REASON_").lower()
    for value in FinishReason.DESCRIPTOR.values
}
_UNLISTED_FINISH_REASON = "unlisted"
_UNOBSERVED: tuple[bytes | None, FinishReasons] = (None, ())

_logger = logging.getLogger(__name__)


class CoroutineUpstream:
    """Wraps an upstream of coroutines as a CallbackUpstream.

    Unless the upstream forwards what an API returned, its responses are checked. All of them are lowered to
    the contract revision of their readers.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.judges_requests = getattr(upstream, "judges_requests", False)
        self.complete = upstream.complete
        self.stream = upstream.stream
        self._check = None if getattr(upstream, "relays_answers", False) else ResponseCheck()

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Source:
        del wire
        prepare = None
        if self._check is not None or contract_revision < CONTRACT_REVISION:
            prepare = functools.partial(_prepared, self._check, contract_revision)
        method = METHODS_BY_REQUEST[type(request)]
        call = functools.partial(self.stream if method.is_stream else self.complete, request, context)
        response_type = None if method.is_stream else method.response_type
        return _CoroutineSource(call, response_type, receiver, prepare)


def with_start(upstream: Upstream) -> CallbackUpstream:
    """Return an upstream that responds by callbacks: itself if it can, otherwise a wrapper."""
    return cast("CallbackUpstream", upstream) if hasattr(upstream, "start") else CoroutineUpstream(upstream)


class ResponseCheck:
    """Logs where the responses of an upstream break the contract, each place and violation once."""

    def __init__(self) -> None:
        self._places: set[tuple[str, str]] = set()
        self._checks_left = 0
        self._bytes_left = 0
        self._until_s = 0.0

    def check(self, message: Message) -> None:
        """Check a message, unless it is large or this second's checks are used up."""
        if self._checks_left <= 0 or self._bytes_left <= 0:
            now_s = time.monotonic()
            if now_s < self._until_s:
                return
            self._checks_left, self._bytes_left = CHECKS_PER_S, CHECKED_BYTES_PER_S
            self._until_s = now_s + 1.0
        size = message.ByteSize()
        if size > CHECKED_BYTES_MAX:
            return
        self._checks_left -= 1
        self._bytes_left -= size
        for violation in codec.check(message):
            # One element stands for all elements of a list.
            path = f"{message.DESCRIPTOR.name}.{_INDEX.sub('[]', violation.path)}"
            place = (path, violation.expected)
            if place in self._places or len(self._places) >= _PLACES_MAX:
                continue
            self._places.add(place)
            # A violation quotes a short string where a fixed one is expected: that may be anybody's text.
            found = violation.found if '"' not in violation.found else "another string"
            _logger.warning(
                "the upstream's answers break the contract at %s: expected %s, found %s; they are sent "
                "unchanged, and clients may reject them: correct the upstream, and test its answers with "
                "mistralwire.check",
                *(path, violation.expected, found),
            )


def _prepared(check: ResponseCheck | None, contract_revision: int, message: Any) -> Any:
    """Check a response or a chunk, and lower it to a contract revision.

    It is delivered whatever the check finds, since it has been paid for. One without a JSON form can't be
    lowered, and is delivered unchanged.
    """
    if check is not None:
        check.check(message)
    try:
        return codec.lower(message, contract_revision)
    except EncodeError:
        return message


class _CoroutineSource:
    """Runs the task that produces a response; a Source.

    Args:
        call: Calls the upstream, for a coroutine or an async iterator.
        response_type: Type of the response; None for a stream.
        receiver: Receives the response.
        prepare: Converts a message to the one to send; None to send it unchanged.
    """

    def __init__(
        self,
        call: Callable[[], Any],
        response_type: type[Message] | None,
        receiver: Receiver,
        prepare: Callable[[Any], Any] | None,
    ) -> None:
        self._call = call
        self._receiver = receiver
        self._prepare = prepare
        self._is_watched = receiver.is_watched
        self._is_cancelled = False
        # Chunks that go out with the first one, or with the first after our own pause; None afterwards.
        self._first: list[_Chunk] | None = []
        self._first_bytes = 0
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self.pause = self._may_go_on.clear
        self.resume = self._may_go_on.set
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(response_type))
        # In every case: a task that is cancelled at once never runs.
        self._task.add_done_callback(lambda _: receiver.closed())

    def cancel(self) -> None:
        self._is_cancelled = True
        self._task.cancel()

    async def _run(self, response_type: type[Message] | None) -> None:
        try:
            await (self._send_chunks() if response_type is None else self._send_response(response_type))
        except BaseException as error:
            # After a cancellation, whatever the upstream raises is of no interest.
            if not self._is_cancelled:
                self._receiver.failed(_upstream_error(error))
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise

    async def _send_response(self, response_type: type[Message]) -> None:
        response = await self._call()
        if type(response) is not response_type:
            raise TypeError(f"expected a {response_type.__name__}, not a {type(response).__name__}")
        wire = response.SerializeToString()
        if (prepare := self._prepare) is not None:
            wire = await _offload.in_thread_if_heavy(wire, lambda: prepare(response).SerializeToString())
        if not self._is_cancelled:
            self._receiver.answer(wire)

    async def _send_chunks(self) -> None:
        chunks = self._call()
        count = 0
        try:
            async for chunk in chunks:
                if self._is_cancelled:
                    # The upstream has ignored it.
                    return
                if type(chunk) is not CompletionChunk:
                    raise TypeError(f"expected a CompletionChunk, not a {type(chunk).__name__}")
                self._send(chunk)
                count += 1
                if not self._may_go_on.is_set():
                    await self._may_go_on.wait()
                elif count % _TURN_CHUNKS == 0:
                    # An upstream that has all of its chunks ready must not hold the event loop.
                    await asyncio.sleep(0)
                    if self._first is None:
                        self._first, self._first_bytes = [], 0
        finally:
            self._flush()
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        if not self._is_cancelled:
            self._receiver.end()

    def _send(self, chunk: CompletionChunk) -> None:
        """Pass a chunk to the receiver; the first one together with those that are ready by now."""
        if self._prepare is not None:
            chunk = self._prepare(chunk)
        wire = encode_chunk(chunk)
        observed = observed_in(chunk) if self._is_watched else _UNOBSERVED
        if self._first is None:
            self._receiver.batch(wire, 1, *observed)
            return
        self._first.append((wire, *observed))
        self._first_bytes += len(wire)
        if len(self._first) == 1:
            self._loop.call_soon(self._flush)
        elif len(self._first) >= _TURN_CHUNKS or self._first_bytes >= _FIRST_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        first, self._first = self._first, None
        if first and not self._is_cancelled:
            wires, usages, reasons = zip(*first, strict=True)
            usage = next((usage for usage in reversed(usages) if usage is not None), None)
            self._receiver.batch(b"".join(wires), len(wires), usage, list(itertools.chain(*reasons)))


def observed_in(chunk: CompletionChunk) -> tuple[bytes | None, FinishReasons]:
    """Return the usage in a chunk, as wire bytes, and its finish reasons."""
    usage = chunk.usage.SerializeToString() if chunk.HasField("usage") else None
    return usage, finish_reasons_of(chunk)


def finish_reasons_of(answer: Any) -> FinishReasons:
    """Return the finish reasons in a response or a chunk.

    Each is the index of the choice and the API's string, `unlisted` if the contract has none.
    """
    return tuple(
        (choice.index, _FINISH_REASON_NAMES.get(choice.finish_reason, _UNLISTED_FINISH_REASON))
        for choice in answer.choices
        if choice.finish_reason
    )


def encode_chunk(chunk: CompletionChunk) -> bytes:
    """Encode a chunk as an element of a stream response: its tag, its length and its wire bytes.

    Source: https://protobuf.dev/programming-guides/encoding/#length-types
    """
    data = chunk.SerializeToString()
    length = len(data)
    head = _CHUNK_HEADS[length] if length < len(_CHUNK_HEADS) else _CHUNKS_TAG + write_varint(length)
    return head + data


def _upstream_error(error: BaseException) -> BaseException:
    """Map an upstream's exception to the error that ends the call.

    An unreadable response is the upstream's fault; an error of the codec would blame the caller.
    """
    if isinstance(error, CodecError):
        message = "the answer of the upstream could not be read"
        return UpstreamError(message, code="INTERNAL", reason=Reason.UPSTREAM_UNREADABLE)
    return error
