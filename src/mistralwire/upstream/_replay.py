"""An upstream that plays recorded answers."""

import asyncio
import dataclasses
import functools
import importlib.resources
import itertools
import logging
import os
import pathlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from importlib.resources.abc import Traversable
from typing import TypeAlias

from mistralwire.codec import (
    SseDecoder,
    SseDone,
    SseError,
    SseMessage,
    accumulate,
    explode,
    from_json,
    is_error_body,
    read_error_body,
    to_dict,
    to_json,
)
from mistralwire.errors import CodecError, DecodeError, EncodeError, Reason, UpstreamError
from mistralwire.upstream._upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    error_from_body,
)
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)

DEMONSTRATION: Traversable = importlib.resources.files("mistralwire.upstream").joinpath("_demonstration")
"""A folder with a few small recordings, for a first look at the service."""


_SUFFIXES = (".json", ".sse")
_logger = logging.getLogger(__name__)
_Place: TypeAlias = str | os.PathLike[str] | Traversable
_Failure: TypeAlias = Callable[[], UpstreamError]
"""Makes an error, a new one for each call."""

_DELAY = re.compile(rb":[ ]?delay (\d{1,9})\s*\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """One chunk of a stream, and the pause before it in seconds."""

    delay_s: float
    chunk: CompletionChunk


@dataclasses.dataclass(frozen=True, slots=True)
class _Recording:
    """One recorded answer, ready to be played either way.

    Attributes:
        is_fim: Whether it answers FIM requests rather than all others.
        is_stream: Whether it was recorded as a stream.
        steps: The chunks.
        failure: The error behind the chunks; None if the stream ends well.
        answer: The answer in one piece, or the error in its place.
    """

    is_fim: bool
    is_stream: bool
    steps: tuple[_Step, ...]
    failure: _Failure | None
    answer: CompletionResponse | _Failure


class ReplayUpstream:
    """Plays recorded answers: JSON files hold a response body, SSE files the bytes of a stream.

    A request picks its recording by kind: files whose name begins with `fim` answer FIM requests, all others
    chat requests and those for agents; if there are none for the kind that was asked for, the others answer.
    Among them, `.sse` files answer streaming requests and `.json` files the rest; if there are none, a
    response is cut into chunks, or chunks are put together to a response. Several candidates take turns, in
    the order of their names or of the arguments.

    Streams are played as fast as they are read. A comment line `: delay 120` in an SSE file asks for a pause
    of 120 milliseconds before the event behind it. An error body in a stream becomes an UpstreamError after
    the chunks before it, and so does a stream that ends without `[DONE]` before each choice had a finish
    reason. A JSON file that holds an error body, by the rule of SseDecoder, becomes one for either kind of
    request; a response that can't be cut into chunks becomes one for streaming requests alone.

    The messages are shared between calls: they are not to be changed.

    Args:
        paths: A file or folder, or several; those of a package may be in a zip archive. A folder gives its
            `*.json` and `*.sse` files.
        chunks_per_second: A pace, above 0, instead of the pauses in the recordings; None for those.

    Raises:
        UpstreamError: If there is no recording, or one can't be read; with the file and the line.
        ValueError: If `chunks_per_second` is not above 0.
    """

    relays_answers = True

    def __init__(
        self,
        paths: _Place | Iterable[_Place],
        *,
        chunks_per_second: float | None = None,
    ) -> None:
        if chunks_per_second is not None and not chunks_per_second > 0:
            raise ValueError(f"chunks_per_second must be above 0, or None, not {chunks_per_second!r}")
        if isinstance(paths, str | os.PathLike | Traversable):
            paths = [paths]
        self.files = [file for path in paths for file in _find_files(path)]
        if not self.files:
            raise _bad_recording("expected at least one recording, found none; name a .json or .sse file")
        recordings = [_read(file, chunks_per_second) for file in self.files]
        named = [
            [step.chunk.model for step in recording.steps]
            or ([] if callable(recording.answer) else [recording.answer.model])
            for recording in recordings
        ]
        self._models = tuple(dict.fromkeys(filter(None, itertools.chain.from_iterable(named))))
        self._turns = {
            (is_fim, is_stream): itertools.cycle(_candidates(recordings, is_fim, is_stream))
            for is_fim in (False, True)
            for is_stream in (False, True)
        }

    @property
    def models(self) -> tuple[str, ...]:
        """The models whose answers were recorded."""
        return self._models

    async def complete(
        self,
        request: CompletionRequest,
        context: CallContext,  # noqa: ARG002 - the protocol
    ) -> CompletionResponse:
        """Give the next recording as one response, at once.

        Raises:
            UpstreamError: If it is an error, or a stream that broke.
        """
        is_fim = isinstance(request, FIMCompletionRequest)
        answer = next(self._turns[is_fim, False]).answer
        if isinstance(answer, ChatCompletionResponse | FIMCompletionResponse):
            return _as_kind(answer, is_fim)
        raise answer()

    async def stream(
        self,
        request: CompletionStreamRequest,
        context: CallContext,  # noqa: ARG002 - the protocol
    ) -> AsyncIterator[CompletionChunk]:
        """Give the next recording as a stream.

        Raises:
            UpstreamError: Where the recorded stream broke, after the chunks before; at once if the recording
                is an error, or can't be cut into chunks.
        """
        recording = next(self._turns[isinstance(request, FIMCompletionStreamRequest), True])
        loop = asyncio.get_running_loop()
        # Against one clock, so that the pauses do not add up the time that each wake-up is late.
        due_s = loop.time()
        for step in recording.steps:
            due_s += step.delay_s
            if step.delay_s and (pause_s := due_s - loop.time()) > 0:
                await asyncio.sleep(pause_s)
            yield step.chunk
        if recording.failure is not None:
            raise recording.failure()


def _candidates(recordings: list[_Recording], is_fim: bool, is_stream: bool) -> list[_Recording]:
    same_kind = [recording for recording in recordings if recording.is_fim == is_fim] or recordings
    return [recording for recording in same_kind if recording.is_stream == is_stream] or same_kind


def _as_kind(response: CompletionResponse, is_fim: bool) -> CompletionResponse:
    """Give an answer to the other kind of request its type; the two look alike as JSON."""
    if isinstance(response, FIMCompletionResponse) == is_fim:
        return response
    return _read_response(to_json(response), is_fim)


def _read_response(data: bytes, is_fim: bool) -> CompletionResponse:
    if is_fim:
        return from_json(FIMCompletionResponse, data, validate=False)
    return from_json(ChatCompletionResponse, data, validate=False)


def _bad_recording(message: str) -> UpstreamError:
    return UpstreamError(message, code="FAILED_PRECONDITION", reason=Reason.BAD_RECORDING)


def _find_files(place: _Place) -> list[Traversable]:
    path = place if isinstance(place, Traversable) else pathlib.Path(place)
    try:
        if path.is_dir():
            found = (file for file in path.iterdir() if file.name.endswith(_SUFFIXES) and file.is_file())
            return sorted(found, key=lambda file: file.name)
    except OSError as error:
        raise _bad_recording(
            f"{path}: expected a folder that can be read, found: {error.strerror}"
        ) from error
    if not path.name.endswith(_SUFFIXES):
        raise _bad_recording(f"{path}: expected a .json file, an .sse file or a folder of them")
    return [path]


def _read(file: Traversable, chunks_per_second: float | None) -> _Recording:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _bad_recording(f"{file}: expected a file that can be read, found: {error.strerror}") from error
    is_fim = file.name.startswith("fim")
    try:
        recording = (
            _read_json(file, data, is_fim) if file.name.endswith(".json") else _read_sse(file, data, is_fim)
        )
    except CodecError as error:
        # The parser's own message says which line of a JSON file it was.
        raise _bad_recording(f"{file}: {error}") from error
    if chunks_per_second is None:
        return recording
    delays_s = itertools.chain([0.0], itertools.repeat(1 / chunks_per_second))
    steps = tuple(
        _Step(delay_s, step.chunk) for delay_s, step in zip(delays_s, recording.steps, strict=False)
    )
    return dataclasses.replace(recording, steps=steps)


def _read_json(file: Traversable, data: bytes, is_fim: bool) -> _Recording:
    if is_error_body(data):
        error = functools.partial(error_from_body, read_error_body(data))
        return _Recording(is_fim, is_stream=False, steps=(), failure=error, answer=error)
    response = _read_response(data, is_fim)
    if to_dict(response).get("choices") is None:
        raise _bad_recording(f"{file}: expected choices, or an error body, found an object that has neither")
    steps: tuple[_Step, ...] = ()
    failure: _Failure | None = None
    try:
        steps = tuple(_Step(0.0, chunk) for chunk in explode(response))
    except EncodeError as error:
        failure = functools.partial(_bad_recording, f"{file}: {error}")
    return _Recording(is_fim, is_stream=False, steps=steps, failure=failure, answer=response)


def _read_sse(file: Traversable, data: bytes, is_fim: bool) -> _Recording:
    steps: list[_Step] = []
    failure: _Failure | None = None
    for delay_s, event in _read_events(file, data):
        if isinstance(event, SseMessage):
            steps.append(_Step(delay_s, event.message))
        elif isinstance(event, SseError):
            failure = functools.partial(error_from_body, event.error)
            break
        elif isinstance(event, DecodeError):
            failure = _truncated
            if data.strip() and not steps:
                found = event.violations[0].found
                raise _bad_recording(f"{file}: expected the events of a stream, found {found}")
    if not steps and failure in (None, _truncated):
        raise _bad_recording(f"{file}: expected the events of a stream, found none")
    answer = failure or _as_kind(accumulate(step.chunk for step in steps), is_fim)
    return _Recording(is_fim, is_stream=True, steps=tuple(steps), failure=failure, answer=answer)


def _read_events(
    file: Traversable, data: bytes
) -> Iterator[tuple[float, SseMessage[CompletionChunk] | SseError | SseDone | DecodeError]]:
    """Yield the events with the pauses before them; the error is a stream that was cut."""
    decoder = SseDecoder(CompletionChunk, validate=False)
    delay_s = 0.0
    try:
        # Line by line, so that each pause finds its event.
        for line in data.splitlines(keepends=True):
            for event in decoder.feed(line):
                yield delay_s, event
                delay_s = 0.0
            if delay := _DELAY.match(line):
                delay_s += int(delay[1]) / 1000
        for event in decoder.close():
            yield delay_s, event
            delay_s = 0.0
        if decoder.lacks_done:
            _logger.info(
                "%s:%d: the stream ended without [DONE], but each choice had a finish_reason; "
                "taken as complete",
                *(file, decoder.line),
            )
    except DecodeError as error:
        if error.reason != Reason.STREAM_TRUNCATED:
            raise _bad_recording(f"{file}:{decoder.line}: {error}") from error
        yield delay_s, error


def _truncated() -> UpstreamError:
    return UpstreamError(
        "expected the stream to end with [DONE], found its end without it", reason=Reason.STREAM_TRUNCATED
    )
