"""An upstream that replays recorded responses."""

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
from mistralwire.upstream._error_body import LACKS_DONE, error_from_body, stream_error
from mistralwire.upstream._upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
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
_Step: TypeAlias = tuple[float, CompletionChunk]
_Place: TypeAlias = str | os.PathLike[str] | Traversable
_Failure: TypeAlias = Callable[[], UpstreamError]
"""Makes an error, a new one for each call."""

_DELAY = re.compile(rb":[ ]?delay (\d{1,9})\s*\Z")

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Recording:
    """One recorded response, ready to be replayed as a stream or as a unary response.

    Attributes:
        steps: The chunks, each with the pause before it in seconds.
        failure: The error after the chunks; None if the stream is complete.
        answer: The unary response, or the error in its place.
    """

    is_fim: bool
    is_stream: bool
    steps: tuple[_Step, ...]
    failure: _Failure | None
    answer: CompletionResponse | _Failure


class ReplayUpstream:
    """Replays recorded responses: a JSON file holds a response body, an SSE file the bytes of a stream.

    Files whose name begins with `fim` are for FIM requests, all others for chat requests and those for
    agents; without any for the kind of the request, the other files are used. Among those, `.sse` files are
    for streaming requests and `.json` files for unary ones; without any, a response is cut into chunks, or
    chunks are merged to a response. Several candidates are used round-robin, in the order of their names or
    of the arguments.

    Streams are replayed without pauses, except that a comment line `: delay 120` in an SSE file delays the
    next event by 120 milliseconds. An error body in a stream becomes an UpstreamError after the chunks before
    it, and so does a stream that ends without `[DONE]` before each choice had a finish reason. A JSON file
    with an error body, by the rule of SseDecoder, becomes one for either kind of request; a response that
    can't be cut into chunks becomes one for streaming requests alone.

    The messages are shared between calls and must not be changed.

    Args:
        paths: A file or folder, or several; those of a package may be in a zip archive. Of a folder, the
            `*.json` and `*.sse` files are used.
        chunks_per_second: A pace, above 0, that replaces the pauses in the recordings; None to keep them.

    Attributes:
        files: The recordings.
        models: The models whose responses were recorded.

    Raises:
        UpstreamError: If there is no recording, or one can't be read; with the file and the line.
        ValueError: If `chunks_per_second` is not above 0.
    """

    relays_answers = True

    def __init__(self, paths: _Place | Iterable[_Place], *, chunks_per_second: float | None = None) -> None:
        if chunks_per_second is not None and not chunks_per_second > 0:
            raise ValueError(f"chunks_per_second must be above 0, or None, not {chunks_per_second!r}")
        if isinstance(paths, str | os.PathLike | Traversable):
            paths = [paths]
        places = list(paths)
        self.files = [file for place in places for file in _find_files(place)]
        if not self.files:
            where = f" in {', '.join(map(str, places))}" if places else ""
            raise _bad_recording(f"expected a .json or .sse file{where}, found none; add a recording")
        self._pace_s = None if chunks_per_second is None else 1 / chunks_per_second
        recordings = [_load_recording(file) for file in self.files]
        named = [
            [chunk.model for _, chunk in recording.steps]
            or ([] if callable(recording.answer) else [recording.answer.model])
            for recording in recordings
        ]
        self.models = tuple(dict.fromkeys(filter(None, itertools.chain.from_iterable(named))))
        self._turns = {
            (is_fim, is_stream): itertools.cycle(_candidates(recordings, is_fim, is_stream))
            for is_fim in (False, True)
            for is_stream in (False, True)
        }

    async def complete(
        self,
        request: CompletionRequest,
        context: CallContext,  # noqa: ARG002 - the protocol
    ) -> CompletionResponse:
        """Return the next recording as a unary response, at once.

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
        """Return the next recording as a stream.

        Raises:
            UpstreamError: Where the recorded stream broke; at once if the recording is an error, or can't be
                cut into chunks.
        """
        recording = next(self._turns[isinstance(request, FIMCompletionStreamRequest), True])
        loop = asyncio.get_running_loop()
        # Absolute times, so that late wake-ups do not add up.
        due_s = loop.time()
        for index, (recorded_s, chunk) in enumerate(recording.steps):
            delay_s = recorded_s if self._pace_s is None else self._pace_s if index else 0.0
            due_s += delay_s
            if delay_s and (pause_s := due_s - loop.time()) > 0:
                await asyncio.sleep(pause_s)
            yield chunk
        if recording.failure is not None:
            raise recording.failure()


def _candidates(recordings: list[_Recording], is_fim: bool, is_stream: bool) -> list[_Recording]:
    same_kind = [recording for recording in recordings if recording.is_fim == is_fim] or recordings
    return [recording for recording in same_kind if recording.is_stream == is_stream] or same_kind


def _as_kind(response: CompletionResponse, is_fim: bool) -> CompletionResponse:
    """Convert a response to the type for the kind of request; the two look alike as JSON."""
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


def _load_recording(file: Traversable) -> _Recording:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _bad_recording(f"{file}: expected a file that can be read, found: {error.strerror}") from error
    load = _load_json if file.name.endswith(".json") else _load_sse
    try:
        return load(file, data, file.name.startswith("fim"))
    except CodecError as error:
        # The parser's own message has the line of a JSON file.
        raise _bad_recording(f"{file}: {error}") from error


def _load_json(file: Traversable, data: bytes, is_fim: bool) -> _Recording:
    if is_error_body(data):
        error = functools.partial(error_from_body, read_error_body(data))
        return _Recording(is_fim, is_stream=False, steps=(), failure=error, answer=error)
    response = _read_response(data, is_fim)
    if to_dict(response).get("choices") is None:
        raise _bad_recording(f"{file}: expected choices, or an error body, found an object that has neither")
    steps: tuple[_Step, ...] = ()
    failure: _Failure | None = None
    try:
        steps = tuple((0.0, chunk) for chunk in explode(response))
    except EncodeError as error:
        failure = functools.partial(_bad_recording, f"{file}: {error}")
    return _Recording(is_fim, is_stream=False, steps=steps, failure=failure, answer=response)


def _load_sse(file: Traversable, data: bytes, is_fim: bool) -> _Recording:
    steps: list[_Step] = []
    failure: _Failure | None = None
    is_truncated = False
    for delay_s, event in _read_events(file, data):
        if isinstance(event, SseMessage):
            steps.append((delay_s, event.message))
        elif isinstance(event, SseError):
            failure = functools.partial(stream_error, event)
            break
        elif isinstance(event, DecodeError):
            is_truncated, failure = True, functools.partial(stream_error, event)
            if data.strip() and not steps:
                found = event.violations[0].found
                raise _bad_recording(f"{file}: expected the events of a stream, found {found}")
    if not steps and (failure is None or is_truncated):
        raise _bad_recording(f"{file}: expected the events of a stream, found none")
    answer = failure or _as_kind(accumulate(chunk for _, chunk in steps), is_fim)
    return _Recording(is_fim, is_stream=True, steps=tuple(steps), failure=failure, answer=answer)


def _read_events(
    file: Traversable, data: bytes
) -> Iterator[tuple[float, SseMessage[CompletionChunk] | SseError | SseDone | DecodeError]]:
    """Yield the events with the pauses before them; a DecodeError stands for a truncated stream."""
    decoder = SseDecoder(CompletionChunk, validate=False)
    delay_s = 0.0
    try:
        # Line by line, so that each pause precedes its event.
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
            _logger.info("%s:%d: %s", file, decoder.line, LACKS_DONE)
    except DecodeError as error:
        if error.reason != Reason.STREAM_TRUNCATED:
            raise _bad_recording(f"{file}:{decoder.line}: {error}") from error
        yield delay_s, error
