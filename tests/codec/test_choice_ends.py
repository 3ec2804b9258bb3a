"""Streams that end without `[DONE]`: complete if all choices have ended, truncated otherwise."""

from typing import Any

import pytest

from mistralwire.codec import SseBatchDecoder, SseDecoder, SseDone, SseMessage
from mistralwire.errors import DecodeError
from mistralwire.v1 import CompletionChunk, CompletionEvent
from tests.codec import engines
from tests.codec.sse_streams import chunk, event_of

ENGINES: dict[str, Any] = {"native": engines.native_sse, "python": engines.python_sse}
FIRST = event_of(chunk())
END = event_of(chunk(finish_reason="stop"))
SECOND, SECOND_END = event_of(chunk(index=1)), event_of(chunk(index=1, finish_reason="length"))
USAGE = event_of({"id": "c1", "model": "m", "choices": [], "usage": {"total_tokens": 3}})
DONE = b"data: [DONE]\n\n"


def _many(count: int) -> bytes:
    choices = [{"index": index, "delta": {}, "finish_reason": "stop"} for index in range(count)]
    return event_of({"id": "c1", "model": "m", "choices": choices})


COMPLETE = {
    "one choice": FIRST + END,
    "in one chunk": END,
    "two choices": FIRST + SECOND + END + USAGE + SECOND_END,
    "usage behind": FIRST + END + USAGE,
    "chunks behind": FIRST + END + FIRST + event_of(chunk(finish_reason="")),
    "an undocumented reason": event_of(chunk(finish_reason="eos")),
    "no index": event_of({"id": "c1", "model": "m", "choices": [{"delta": {}, "finish_reason": "stop"}]}),
    "no blank line": FIRST + END.rstrip(),
    "a comment behind": FIRST + END + b": bye\n\n: and",
    "an id behind": FIRST + END + b"id: 7\n\n",
    "blank data behind": FIRST + END + b"data: \n\n",
    "a bad event": FIRST + b"data: {\n\n" + END,
    "many choices": _many(1000),
}
TRUNCATED = {
    "nothing": b"",
    "no end": FIRST,
    "an empty reason": FIRST + event_of(chunk(finish_reason="")),
    "a reason that is no string": event_of({"id": "c1", "choices": [{"index": 0, "finish_reason": 5}]}),
    "no choice": USAGE,
    "one of two": FIRST + SECOND + END,
    "one of two in a chunk": FIRST
    + event_of({"id": "c1", "model": "m", "choices": [chunk(index=1)["choices"][0], {"index": 2}]})
    + END,
    "another choice": SECOND + END,
    "a choice behind": FIRST + END + SECOND,
    "inside an event": FIRST + END + USAGE[:20],
    "inside [DONE]": FIRST + END + b"data: [DON",
    "inside a name": FIRST + END + b"event: pi",
    "too many choices to know": _many(1025),
}


def _single(stream: bytes, size: int) -> tuple[list[str], SseDecoder[CompletionChunk]]:
    """Return what the decoder of single events gives, messages left out."""
    decoder = SseDecoder(CompletionChunk, validate=False)
    found = []
    for at in range(0, len(stream), size):
        decoder.feed(stream[at : at + size])
    try:
        decoder.close()
    except DecodeError as error:
        return [error.reason], decoder
    while True:
        try:
            event = next(decoder, None)
        except DecodeError as error:
            found.append(error.reason)
            continue
        if event is None:
            return found, decoder
        if not isinstance(event, SseMessage):
            found.append(type(event).__name__)


def _batch(stream: bytes, size: int) -> tuple[bool, Any, bool]:
    decoder = SseBatchDecoder(CompletionChunk, validate=False)
    for at in range(0, len(stream), size):
        assert not decoder.feed(stream[at : at + size]).is_done
    batch = decoder.close()
    return batch.is_done, getattr(batch.failure, "reason", None), decoder.lacks_done


@pytest.fixture(params=ENGINES, autouse=True)
def engine(request: pytest.FixtureRequest) -> Any:
    """Run a test with both engines."""
    with ENGINES[request.param]():
        yield


@pytest.mark.parametrize("size", [7, 1_000_000])
@pytest.mark.parametrize("name", COMPLETE)
def test_a_stream_whose_choices_have_all_ended_needs_no_done(name: str, size: int) -> None:
    found, decoder = _single(COMPLETE[name], size)
    assert found == ["NOT_JSON"] * (name == "a bad event") + ["SseDone"]
    assert (decoder.done, decoder.lacks_done) == (True, True)
    if name != "a bad event":
        assert _batch(COMPLETE[name], size) == (True, None, True)


@pytest.mark.parametrize("size", [7, 1_000_000])
@pytest.mark.parametrize("name", TRUNCATED)
def test_any_other_end_without_done_is_truncated(name: str, size: int) -> None:
    found, decoder = _single(TRUNCATED[name], size)
    assert found == ["STREAM_TRUNCATED"]
    assert (decoder.done, decoder.lacks_done) == (False, False)
    assert _batch(TRUNCATED[name], size) == (False, "STREAM_TRUNCATED", False)


def test_a_stream_with_done_lacks_none() -> None:
    found, decoder = _single(FIRST + END + DONE, 1_000_000)
    assert (found, decoder.done, decoder.lacks_done) == (["SseDone"], True, False)
    batches = SseBatchDecoder(CompletionChunk, validate=False)
    assert batches.feed(FIRST + END + DONE).is_done
    assert (batches.close().is_done, batches.lacks_done) == (True, False)


def test_the_end_of_an_exhausted_stream_is_left_to_the_iterator() -> None:
    decoder = SseDecoder(CompletionChunk)
    assert [type(event) for event in decoder.feed(FIRST + END)] == [SseMessage, SseMessage]
    assert [*decoder.close()] == [SseDone()]
    assert [*decoder.close()] == []
    assert decoder.line == 4


def test_messages_without_choices_need_done() -> None:
    decoder = SseDecoder(CompletionEvent, validate=False)
    assert len([*decoder.feed(event_of({"data": chunk(finish_reason="stop")}))]) == 1
    with pytest.raises(DecodeError) as caught:
        decoder.close()
    assert caught.value.reason == "STREAM_TRUNCATED"
