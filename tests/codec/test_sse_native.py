"""Streams that the native engine reads give what the Python engine gives, whatever is in them."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import DEFAULT_LIMITS, SseBatchDecoder, SseDecoder, SseMessage
from mistralwire.codec._native import Engine, NativeBatch, NativeFrame, SseReader
from mistralwire.codec._plan import plan_for
from mistralwire.codec._sse import _framer
from mistralwire.codec._sse._framer import BROKEN, stream_layout
from mistralwire.errors import DecodeError
from mistralwire.v1 import CompletionChunk, ErrorResponse, UsageInfo
from tests import corpus
from tests.codec import engines
from tests.codec.sse_streams import chunk, cuts, event_of, pieces_of, streams
from tests.corpus import Body

pytestmark = pytest.mark.skipif(not engines.has_native_engine(), reason=engines.WHY_SKIPPED)
ENGINE: Engine = engines.native_engine() if engines.has_native_engine() else None  # type: ignore[assignment]
DONE = b"data: [DONE]\n\n"


def _drained(decoder: SseDecoder[Any], events: Iterator[Any]) -> Iterator[Any]:
    """Return all events and errors, each with the state of the decoder at that point."""
    while True:
        try:
            for event in events:
                yield event, decoder.line, decoder.last_event_id, decoder.done
            return
        except DecodeError as error:
            notes = getattr(error, "__notes__", [])
            yield error.reason, str(error), notes, decoder.line, decoder.last_event_id, decoder.done


def _outcome(pieces: list[bytes], **options: Any) -> list[Any]:
    decoder = SseDecoder(CompletionChunk, **options)
    outcome: list[Any] = []
    for piece in pieces:
        outcome += _drained(decoder, decoder.feed(piece))
    with contextlib.suppress(DecodeError):
        decoder.close()
    outcome += _drained(decoder, decoder)
    return [*outcome, decoder.line, decoder.last_event_id, decoder.done, decoder.retry_ms]


@given(streams(), cuts, st.sampled_from([1, 20, 150, 10_000]), st.booleans())
def test_single_events_are_those_of_the_python_engine(
    stream: bytes, at: list[int], buffer_bytes_max: int, validate: bool
) -> None:
    options = {"buffer_bytes_max": buffer_bytes_max, "validate": validate}
    with engines.python_sse():
        expected = _outcome([stream], **options)
    with engines.native_sse():
        for pieces in ([stream], pieces_of(stream, at), [stream[i : i + 1] for i in range(len(stream))]):
            assert _outcome(pieces, **options) == expected


class _BrokenReader:
    """A reader that panics once it has taken so many bytes: only part of a piece then."""

    def __init__(self, reader: SseReader, bytes_max: int) -> None:
        self._reader = reader
        self._left = bytes_max
        self.taken = 0

    @property
    def retry_ms(self) -> int | None:
        return self._reader.retry_ms

    @property
    def choices(self) -> tuple[list[int], list[int]]:
        return self._reader.choices

    def state(self) -> tuple[Any, ...]:
        return self._reader.state()

    def frames(self, data: bytes) -> list[NativeFrame]:
        assert self._left >= 0, "asked again after a panic"
        frames = self._reader.frames(data[: self._left])
        self.taken = self._reader.taken
        if len(data) > self._left:
            frames.append((0, None, None, None, BROKEN))
        self._left -= len(data)
        return frames

    def batch(
        self, data: bytes, start: int, first_id: int | None = None, is_chunked: bool = False
    ) -> NativeBatch:
        assert self._left >= 0, "asked again after a panic"
        end = start + self._left
        batch = self._reader.batch(data[:end], start, first_id, is_chunked)
        self.taken = self._reader.taken
        self._left -= self.taken
        if batch[5] is None and end < len(data):
            self._left = -1
            return (*batch[:5], (0, None, None, None, BROKEN), None)
        return batch


@given(streams(), cuts, st.integers(0, 300), st.sampled_from([20, 150, 10_000]))
def test_the_python_engine_goes_on_from_any_place_where_the_native_one_panics(
    stream: bytes, at: list[int], bytes_max: int, buffer_bytes_max: int
) -> None:
    def sse_reader(*arguments: Any) -> Any:
        reader = ENGINE.sse_reader(*arguments)
        assert reader is not None
        return _BrokenReader(reader, bytes_max)

    def batches() -> list[Any]:
        decoder = SseBatchDecoder(CompletionChunk, validate=False, buffer_bytes_max=buffer_bytes_max)
        found = [*map(decoder.feed, pieces_of(stream, at)), decoder.close()]
        return [(b.wire, b.count, b.usage, b.finish_reasons, b.is_done, str(b.failure)) for b in found]

    options = {"buffer_bytes_max": buffer_bytes_max, "validate": False}
    with engines.native_sse():
        expected = _outcome([stream], **options), batches()
    with mock.patch.object(_framer, "engine", mock.Mock(sse_reader=sse_reader)):
        assert (_outcome(pieces_of(stream, at), **options), batches()) == expected


def _reader(engine: Engine, *, validate: bool = False, buffer_bytes_max: int = 10_000) -> SseReader:
    options = (validate, DEFAULT_LIMITS, buffer_bytes_max, 1)
    layout = stream_layout(plan_for(CompletionChunk))
    reader = engine.sse_reader(CompletionChunk, ErrorResponse, options, layout)
    assert reader is not None
    return reader


def _reasons(engine: Engine) -> dict[str, int]:
    return {reason: count for reason, count in engine.handovers().items() if count}


@pytest.mark.parametrize(
    "stream",
    [
        b": ping\n\n" + event_of(chunk()) + b":\n" + event_of(chunk()),
        b"\xef\xbb\xbf" + event_of(chunk()).replace(b"\n", b"\r\n"),
        b"id: 1\nevent: message\nretry: 10\n" + event_of(chunk()) + b"id: 2\n\n" + DONE,
        b"".join(b"data: %b\n" % line for line in json.dumps(chunk(), indent=1).encode().split(b"\n"))
        + b"\n",
        event_of({"error": "not the stream's", **chunk()}),
        event_of({"p": 10**30, "choices": [{"finish_reason": "new", "finishReason": "old"}]}),
    ],
)
def test_ordinary_streams_are_read_natively(stream: bytes) -> None:
    engine = engines.native_engine()
    reader = _reader(engine)
    batch = reader.batch(stream, 0)
    assert batch[1] == stream.count(b'"choices"')
    assert (batch[5], reader.taken, _reasons(engine)) == (None, len(stream), {})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"nonsense", "not_json"),
        (b'{"a":"\xff"}', "not_json"),
        (b'{"id":5,"model":"m","choices":[]}', "violation"),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "limit"),
    ],
)
def test_what_the_python_engine_is_to_convert_is_counted_by_reason(data: bytes, reason: str) -> None:
    engine = engines.native_engine()
    stream = event_of(chunk()) + b"data: " + data + b"\n\n" + event_of(chunk())
    reader = _reader(engine, validate=True)
    batch = reader.batch(stream, 0)
    assert (batch[1], batch[5]) == (1, (3, None, None, data, _framer.DATA))
    assert reader.batch(stream, reader.taken)[1] == 1
    assert _reasons(engine) == {reason: 1}


@pytest.mark.slow
@corpus.each_file(("chat_sse", "openrouter_sse", "openai_sse", "chat_sse_literal"))
def test_no_recorded_event_is_handed_over(bodies: list[Body]) -> None:
    engine = engines.native_engine()
    for end in (b"\n\n", b"\r\n\r\n"):
        stream = b"".join(b": ping\n\nid: 5\ndata: " + body.text + end for body in bodies) + DONE
        for size in (1, 100, len(stream)):
            reader = _reader(engine, buffer_bytes_max=1_000_000)
            batches = [reader.batch(stream[at : at + size], 0) for at in range(0, len(stream), size)]
            assert [batch[5] for batch in batches if batch[5] is not None] == []
            assert sum(batch[1] for batch in batches) == len(bodies)
    assert _reasons(engine) == {}


def test_what_is_held_of_an_endless_event_is_bounded() -> None:
    reader = _reader(ENGINE, buffer_bytes_max=10_000)
    forms = []
    for piece in (b"data: " + b"x" * 990, b"data: " + b"x" * 989 + b"\n", b": " + b"x" * 990):
        for _ in range(100):
            forms += [frame[4] for frame in reader.frames(piece)]
            state = reader.state()
            assert len(state[0]) + len(state[7] or b"") <= 10_000
    assert forms == [_framer.TOO_LONG]


def test_a_long_piece_is_read_like_short_ones() -> None:
    # So long that other threads run meanwhile.
    stream = b"".join(event_of(chunk(str(number) * 100)) for number in range(1_000)) + DONE
    whole = _reader(ENGINE).batch(stream, 0)
    assert (whole[1], whole[4], whole[5]) == (1_000, True, None)
    with engines.native_sse():
        decoder = SseDecoder(CompletionChunk)
    texts = [
        event.message.choices[0].delta.content_string
        for event in decoder.feed(stream)
        if isinstance(event, SseMessage)
    ]
    assert texts == [str(number) * 100 for number in range(1_000)]
    assert list(decoder.close()) == []
    assert decoder.done


@contextlib.contextmanager
def _without_switches() -> Iterator[None]:
    """Keep the interpreter from switching to another thread on its own."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1_000)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)


def _runs_meanwhile(convert: Callable[[], object]) -> bool:
    """Return whether another thread runs while this one converts."""
    phase, seen = "before", set()

    def watch() -> None:
        while phase != "after":
            seen.add(phase)
            time.sleep(0)

    watcher = threading.Thread(target=watch)
    with _without_switches():
        watcher.start()
        phase = "during"
        convert()
        phase = "after"
        watcher.join()
    return "during" in seen


@pytest.mark.alone
@pytest.mark.parametrize(
    ("held", "last"), [(b'data: {"p":[%b', b"1]}\n\n"), (b'data: {"p":[\ndata: %b\n', b"data: 1]}\n\n")]
)
def test_other_threads_run_while_a_long_event_that_came_in_pieces_is_converted(
    held: bytes, last: bytes
) -> None:
    def runs_meanwhile() -> bool:
        reader = _reader(ENGINE, buffer_bytes_max=10_000_000)
        assert reader.frames(held % (b"1," * 400_000)) == []
        return _runs_meanwhile(lambda: reader.frames(last))

    # Once, the other thread may be too late.
    assert any(runs_meanwhile() for _ in range(20))


@pytest.mark.alone
@pytest.mark.slow
def test_feeding_a_decoder_from_two_threads_at_once_is_an_error() -> None:
    piece = b"".join(event_of(chunk(str(number) * 100)) for number in range(5_000))

    def errors() -> set[str]:
        found, is_over = set(), threading.Event()
        with engines.native_sse():
            decoder = SseDecoder(CompletionChunk)

        def feed_too() -> None:
            while not is_over.is_set():
                try:
                    decoder.feed(b"")
                except RuntimeError as error:
                    found.add(str(error))

        thread = threading.Thread(target=feed_too)
        thread.start()
        with contextlib.suppress(RuntimeError):
            decoder.feed(piece)
        is_over.set()
        thread.join()
        return found

    # Once, the other thread may be too late.
    assert any(
        found == {"the decoder is in use: feed it from one thread at a time"}
        for found in (errors() for _ in range(20))
    )


def test_only_the_engine_s_own_messages_and_layouts_that_fit_are_taken() -> None:
    engine = engines.native_engine()
    options = (False, DEFAULT_LIMITS, 100, 1)
    for message_type, error_type in ((str, ErrorResponse), (CompletionChunk, str)):
        assert engine.sse_reader(message_type, error_type, options, (1, 0, 0, 0, 0)) is None
    assert (
        engine.sse_reader(CompletionChunk, ErrorResponse, (False, DEFAULT_LIMITS, 100, 0), (1, 0, 0, 0, 0))
        is None
    )
    assert _reasons(engine) == {"arguments": 3}
    good = stream_layout(plan_for(CompletionChunk))
    for at, number in ((0, 0), (0, 2**31), (1, 99), (1, 3), (2, 3), (3, 3), (4, 2)):
        layout = (*good[:at], number, *good[at + 1 :])
        with pytest.raises(ValueError, match="a layout that does not fit"):
            engine.sse_reader(CompletionChunk, ErrorResponse, options, layout)
    with pytest.raises(IndexError):
        _reader(engine).batch(b"", 1)


@pytest.mark.parametrize(
    ("message_type", "element", "wire", "first_id", "reason"),
    [
        (str, 1, b"", None, "arguments"),
        (UsageInfo, 1, "", None, "arguments"),
        (UsageInfo, 1, b"", ("", 2**63), "arguments"),
        (UsageInfo, 1, b"\x0a\x00\x0a\x00", ("", 2**63 - 1), "arguments"),
        (UsageInfo, 1, b"", (b"", 1), "arguments"),
        (UsageInfo, 1, b"", ("a\n", 1), "arguments"),
        (UsageInfo, 1, b"", ("\ud800", 1), "arguments"),
        (UsageInfo, 1, b"\x08\x01", None, "wire"),
        (UsageInfo, 1, b"\x0a\x05", None, "wire"),
        (UsageInfo, 1, b"\x1b\x1c", None, "wire"),
        (UsageInfo, 1, b"\x0a\x02\x10", None, "wire"),
        (UsageInfo, 1, b"\x0a\x03\xf8\x07\x01", None, "newer"),
    ],
)
def test_batches_that_the_python_engine_is_to_write_are_counted(
    message_type: Any, element: int, wire: Any, first_id: Any, reason: str
) -> None:
    engine = engines.native_engine()
    assert engine.sse_events(message_type, element, wire, first_id, False) is None
    assert _reasons(engine) == {reason: 1}
