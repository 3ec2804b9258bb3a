"""Streams as batches of wire bytes: what the decoder of single events gives, with either engine."""

import itertools
import json
import math
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import (
    Limits,
    SseBatch,
    SseBatchDecoder,
    SseDecoder,
    SseDone,
    SseError,
    SseMessage,
    batch_to_sse,
    dropped_events,
    encode_sse,
    json_to_binary,
    to_dict,
)
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import (
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    CompletionChunk,
    CompletionEvent,
    FIMCompletionStreamResponse,
    UsageInfo,
)
from tests.codec import engines
from tests.codec.sse_streams import chunk, cuts, event_of, pieces_of, streams

ENGINES: dict[str, Any] = {"native": engines.native_sse, "python": engines.python_sse}
DONE = b"data: [DONE]\n\n"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    """Run a test with both engines."""
    with ENGINES[request.param]():
        yield


def _expected(stream: bytes, **options: Any) -> SseBatch:
    """Return what a stream holds by the decoder of single events."""
    wire = ChatCompletionStreamResponse()
    usage, reasons, is_done = None, [], False
    failure: SseError | DecodeError | None = None
    decoder = SseDecoder(CompletionChunk, **options)
    try:
        for event in itertools.chain(decoder.feed(stream), _closed(decoder)):
            if isinstance(event, SseError):
                failure = event
                break
            if isinstance(event, SseDone):
                is_done = True
                continue
            wire.chunks.append(event.message)
            usage = event.message.usage.SerializeToString() if event.message.HasField("usage") else usage
            choices = to_dict(event.message)["choices"] if event.message.choices else []
            reasons += [
                (choice.index, shown["finish_reason"])
                for choice, shown in zip(event.message.choices, choices, strict=True)
                if choice.finish_reason
            ]
    except DecodeError as error:
        failure = error
    return SseBatch(wire.SerializeToString(), len(wire.chunks), usage, tuple(reasons), is_done, failure)


def _closed(decoder: SseDecoder[Any]) -> Iterable[Any]:
    # Not before the events are taken: then the last error comes from the iterator.
    # In a chain, since Python would close the decoder again when the generator is left.
    yield from itertools.chain(decoder.close())


def _joined(batches: Iterable[SseBatch]) -> SseBatch:
    """Return the batches of one stream as one, having checked that each is consistent."""
    joined = SseBatch(b"", 0, None, (), False, None)
    for batch in batches:
        assert len(ChatCompletionStreamResponse.FromString(batch.wire).chunks) == batch.count
        assert joined.failure is None or (batch.wire, batch.failure) == (b"", joined.failure)
        assert batch.is_done or not joined.is_done
        joined = SseBatch(
            joined.wire + batch.wire,
            joined.count + batch.count,
            joined.usage if batch.usage is None else batch.usage,
            joined.finish_reasons + batch.finish_reasons,
            batch.is_done,
            batch.failure,
        )
    return joined


def _decoded(pieces: Iterable[bytes], **options: Any) -> SseBatch:
    decoder = SseBatchDecoder(CompletionChunk, **options)
    batches = [decoder.feed(piece) for piece in pieces]
    return _joined([*batches, decoder.close(), decoder.close()])


def _shown(batch: SseBatch) -> tuple[Any, ...]:
    """Return a batch in a form that compares errors by what they say."""
    failure: Any = batch.failure
    if isinstance(failure, DecodeError):
        notes = getattr(failure, "__notes__", [])
        failure = (failure.reason, failure.type_name, failure.violations, failure.truncated, notes)
    return (batch.wire, batch.count, batch.usage, batch.finish_reasons, batch.is_done, failure)


@pytest.mark.parametrize("name", ENGINES)
@given(streams(), cuts, st.sampled_from([1, 20, 150, 10_000]), st.booleans())
def test_a_stream_gives_what_single_events_give_however_it_is_cut(
    name: str, stream: bytes, at: list[int], buffer_bytes_max: int, validate: bool
) -> None:
    options = {"buffer_bytes_max": buffer_bytes_max, "validate": validate}
    with engines.python_sse():
        expected = _shown(_expected(stream, **options))
    with ENGINES[name]():
        for pieces in ([stream], pieces_of(stream, at), [stream[i : i + 1] for i in range(len(stream))]):
            assert _shown(_decoded(pieces, **options)) == expected


@pytest.mark.usefixtures("engine")
def test_the_chunks_of_a_piece_are_one_batch() -> None:
    first, second = chunk("one"), chunk("zwö", finish_reason="stop", index=3, usage={"prompt_tokens": 5})
    decoder = SseBatchDecoder(CompletionChunk)
    batch = decoder.feed(event_of(first) + event_of(second)[:-1])
    assert batch == SseBatch(batch.wire, 1, None, (), False, None)
    assert [to_dict(c) for c in ChatCompletionStreamResponse.FromString(batch.wire).chunks] == [first]
    assert FIMCompletionStreamResponse.FromString(batch.wire).chunks[0].id == "c1"
    batch = decoder.feed(b"\n" + DONE)
    usage = UsageInfo(prompt_tokens=5).SerializeToString()
    assert batch == SseBatch(batch.wire, 1, usage, ((3, "stop"),), True, None)
    assert decoder.close() == SseBatch(b"", 0, None, (), True, None)


@pytest.mark.usefixtures("engine")
def test_the_last_usage_and_every_finish_reason_counts() -> None:
    choices = [
        {"index": 1, "delta": {}, "finish_reason": "length"},
        {"index": 0, "delta": {}, "finish_reason": "brand \u00fcnew"},
        {"index": -1, "delta": {}, "finish_reason": None},
    ]
    documents = [
        chunk(usage={"total_tokens": 1}),
        {**chunk(), "choices": choices, "usage": {"total_tokens": 2, "new": [1]}},
        chunk(finish_reason="tool_calls", usage=None),
    ]
    batch = SseBatchDecoder(CompletionChunk).feed(b"".join(map(event_of, documents)))
    assert batch.finish_reasons == ((1, "length"), (0, "brand \u00fcnew"), (0, "tool_calls"))
    assert batch.usage == json_to_binary(UsageInfo, b'{"total_tokens":2,"new":[1]}')


@pytest.mark.usefixtures("engine")
def test_a_finish_reason_that_no_field_holds_is_none() -> None:
    text = (
        b'{"choices":[{"index":"1","finishReason":"odd","finish_reason":5},{"finish_reason":"\\u0073top"}]}'
    )
    batch = SseBatchDecoder(CompletionChunk, validate=False).feed(b"data: " + text + b"\n\n")
    assert (batch.count, batch.finish_reasons) == (1, ((0, "stop"),))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b'data: {"error":{"message":"overloaded"}}\n\n', None),
        (b"event: error\ndata: out of order\n\n", None),
        (b"data: nonsense\n\n", "NOT_JSON"),
        (b'data: {"id":5}\n\n', "CONTRACT_VIOLATION"),
        (b"data: " + b"x" * 1_000 + b"\n\n", "LIMIT_EXCEEDED"),
        (b'data: {"error":{"message":"overloaded"},"choices":[]}\n\n', None),
        (b'event: x\ndata: {"object":"Error"}\n\n', None),
        (b'error: {"message":"overloaded"}\n\n', None),
        (b'{"error":{"message":"overloaded"}}\n\n', None),
        (DONE + event_of(chunk()), "DATA_AFTER_DONE"),
    ],
)
def test_the_first_error_ends_the_stream(event: bytes, reason: str | None) -> None:
    decoder = SseBatchDecoder(CompletionChunk, buffer_bytes_max=500)
    batch = decoder.feed(event_of(chunk("one")) + event + event_of(chunk("two")))
    assert batch.count == 1
    assert isinstance(batch.failure, SseError) == (reason is None)
    assert getattr(batch.failure, "reason", None) == reason
    later = SseBatch(b"", 0, None, (), batch.is_done, batch.failure)
    assert [decoder.feed(event_of(chunk())), decoder.close(), decoder.close()] == [later] * 3


@pytest.mark.usefixtures("engine", "no_dropped_events")
def test_what_is_no_part_of_the_answer_does_not_end_the_stream() -> None:
    ping = b'event: ping\ndata: {"type":"ping"}\n\nevent: ping\ndata: alive\n\n{"a":1}\n\n'
    named = b"event: completion\n" + event_of(chunk("two"))
    decoder = SseBatchDecoder(CompletionChunk)
    batch = decoder.feed(ping + event_of(chunk("one")) + ping + named + ping + DONE + DONE + ping)
    assert (batch.count, batch.is_done, batch.failure) == (2, True, None)
    expected = [json_to_binary(CompletionChunk, json.dumps(chunk(text))) for text in ("one", "two")]
    assert (
        batch.wire
        == ChatCompletionStreamResponse(chunks=map(CompletionChunk.FromString, expected)).SerializeToString()
    )
    assert decoder.close().failure is None
    # Behind [DONE], what is dropped is not looked at.
    assert dropped_events() == {"ping": 6}


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("validate", [True, False])
def test_what_is_no_json_number_is_read(validate: bool) -> None:
    text = json.dumps({**chunk(), "x": -math.inf}).encode()
    batch = SseBatchDecoder(CompletionChunk, validate=validate).feed(b"data: " + text + b"\n\n")
    assert (batch.count, batch.failure) == (1, None)
    assert json.loads(batch_to_sse(batch.wire)[6:])["x"] == -sys.float_info.max


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("size", [1, 1000])
def test_heartbeats_without_a_blank_line_belong_to_the_next_event(size: int) -> None:
    beat = b": keep-alive\n"
    one, two = (b"id: %d\n%b" % (number, event_of(chunk(str(number)))) for number in range(2))
    stream = beat + beat + one + beat + beat + two + beat + DONE
    decoder, wire, count = SseBatchDecoder(CompletionChunk), b"", 0
    for start in range(0, len(stream), size):
        batch = decoder.feed(stream[start : start + size])
        assert batch.failure is None
        wire, count = wire + batch.wire, count + batch.count
    assert decoder.close().failure is None
    assert (wire, count) == (SseBatchDecoder(CompletionChunk).feed(one + two + DONE).wire, 2)
    events = [*SseDecoder(CompletionChunk).feed(stream)]
    assert events == [*SseDecoder(CompletionChunk).feed(one + two + DONE)]


@pytest.mark.usefixtures("engine")
def test_an_error_names_its_line_and_holds_no_frames() -> None:
    batch = SseBatchDecoder(CompletionChunk).feed(event_of(chunk()) + b": hi\ndata: {\n\n")
    assert isinstance(batch.failure, DecodeError)
    assert batch.failure.__notes__ == ["in the server-sent event at line 4"]
    assert batch.failure.__traceback__ is None


@pytest.mark.usefixtures("engine")
def test_what_is_whole_at_the_end_counts_and_a_missing_end_is_a_failure() -> None:
    decoder = SseBatchDecoder(CompletionChunk)
    assert decoder.feed(event_of(chunk())[:-2]).count == 0
    batch = decoder.close()
    assert batch.count == 1
    assert isinstance(batch.failure, DecodeError)
    assert batch.failure.reason == "STREAM_TRUNCATED"
    assert decoder.close() == SseBatch(b"", 0, None, (), False, batch.failure)
    decoder = SseBatchDecoder(CompletionChunk)
    decoder.feed(event_of(chunk()) + b"data: [DONE]")
    assert decoder.close() == SseBatch(b"", 0, None, (), True, None)


@pytest.mark.usefixtures("engine")
def test_a_closed_decoder_takes_nothing() -> None:
    decoder = SseBatchDecoder(CompletionChunk)
    decoder.feed(DONE)
    decoder.close()
    with pytest.raises(ValueError, match="the decoder is closed"):
        decoder.feed(b"")


@pytest.mark.usefixtures("engine")
def test_wrong_arguments_are_refused_and_other_kinds_of_bytes_taken() -> None:
    with pytest.raises(TypeError):
        SseBatchDecoder(str)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="buffer_bytes_max must be 1 or more"):
        SseBatchDecoder(CompletionChunk, buffer_bytes_max=0)
    for revision in (0, True, 1.5):
        with pytest.raises(ValueError, match="contract_revision must be"):
            SseBatchDecoder(CompletionChunk, contract_revision=revision)  # type: ignore[arg-type]
    decoder = SseBatchDecoder(CompletionChunk)
    with pytest.raises(TypeError):
        decoder.feed("data: {}\n\n")  # type: ignore[arg-type]
    assert decoder.feed(memoryview(event_of(chunk()))).count == 1  # type: ignore[arg-type]


@pytest.mark.usefixtures("engine")
def test_a_buffer_and_limits_without_end_are_taken() -> None:
    limits = Limits(document_bytes_max=10**30, members_max=10**30, values_max=10**30)
    decoder = SseBatchDecoder(CompletionChunk, buffer_bytes_max=10**30, limits=limits)
    assert decoder.feed(event_of(chunk())).count == 1


@pytest.mark.usefixtures("engine")
def test_limits_hold() -> None:
    decoder = SseBatchDecoder(CompletionChunk, limits=Limits(document_bytes_max=150))
    batch = decoder.feed(event_of(chunk()) + event_of(chunk("x" * 200)))
    assert batch.count == 1
    assert getattr(batch.failure, "reason", None) == "LIMIT_EXCEEDED"


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("message_type", [ChatCompletionResponse, CompletionEvent])
def test_other_messages_than_chunks_are_taken(message_type: Any) -> None:
    document = b'{"id":"c1","data":{"id":"c2"},"choices":[{"index":2,"finish_reason":"stop"}]}'
    batch = SseBatchDecoder(message_type, validate=False).feed(b"data: " + document + b"\n\n")
    wire = json_to_binary(message_type, document, validate=False)
    assert batch.wire == b"\x0a" + bytes([len(wire)]) + wire
    assert batch.finish_reasons == (((2, "stop"),) if message_type is ChatCompletionResponse else ())


def _batch(documents: list[dict[str, Any]]) -> bytes:
    stream = b"".join(map(event_of, documents))
    batch = SseBatchDecoder(CompletionChunk, validate=False).feed(stream)
    assert batch.count == len(documents)
    return batch.wire


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("names", ["snake", "camel"])
def test_a_batch_becomes_the_events_that_its_chunks_become(names: Any) -> None:
    documents = [chunk("one"), chunk("zw\u00f6", usage={"prompt_tokens": 1}), chunk(p="\u2028")]
    wire = _batch(documents)
    chunks = ChatCompletionStreamResponse.FromString(wire).chunks
    plain = b"".join(encode_sse(chunk, names=names) for chunk in chunks)
    assert batch_to_sse(wire, names=names) == plain
    for first in (0, 7, 10**30):
        numbered = [encode_sse(chunk, id=first + at, names=names) for at, chunk in enumerate(chunks)]
        assert batch_to_sse(wire, first, names) == b"".join(numbered)
        prefixed = [
            encode_sse(chunk, id=f"r\u00e9.{first + at}", names=names) for at, chunk in enumerate(chunks)
        ]
        assert batch_to_sse(wire, first, names, id_prefix="r\u00e9.") == b"".join(prefixed)
    assert batch_to_sse(b"", 5) == b""


@pytest.mark.usefixtures("engine")
def test_only_the_chunks_of_a_batch_message_are_its_events() -> None:
    wire = _batch([chunk("one"), chunk("two")])
    response = ChatCompletionStreamResponse.FromString(wire)
    response.first_sequence = 300
    assert batch_to_sse(response.SerializeToString()) == batch_to_sse(wire)
    assert batch_to_sse(b"\x10\x05" + wire + b"\x10\x05\xba\x06\x02xy") == batch_to_sse(wire)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("wire", [b"\xff", b"\x0a", b"\x0a\x05abc", b"\x0a\x02\x12\x05", b"\x00"])
def test_bytes_that_are_no_batch_are_refused(wire: bytes) -> None:
    with pytest.raises(
        DecodeError, match="expected the wire bytes of a ChatCompletionStreamResponse"
    ) as caught:
        batch_to_sse(wire)
    assert caught.value.reason == "NOT_PROTOBUF"


@pytest.mark.usefixtures("engine")
def test_what_has_no_json_form_and_unknown_names_are_refused() -> None:
    response = ChatCompletionStreamResponse(chunks=[CompletionChunk(id="a"), CompletionChunk(id="b")])
    response.chunks[1].json_extra.members = "{"
    with pytest.raises(EncodeError):
        batch_to_sse(response.SerializeToString(), 1)
    for wire in (b"", b"\x0a\x00"):
        with pytest.raises(ValueError, match='names must be "snake" or "camel"'):
            batch_to_sse(wire, names="other")  # type: ignore[arg-type]
    for prefix in ("a\n", "a\r", "\0", "\ud800"):
        with pytest.raises(ValueError, match=r"expected an id without any of|surrogates not allowed"):
            batch_to_sse(b"\x0a\x00", 1, id_prefix=prefix)


@given(st.lists(st.builds(chunk, st.text(max_size=8), p=st.integers() | st.text()), max_size=4), st.data())
def test_events_of_a_batch_decode_to_the_same_batch_with_either_engine(
    documents: list[dict[str, Any]], data: st.DataObject
) -> None:
    wire = _batch(documents)
    first: int | None = data.draw(st.none() | st.integers(0, 2**64))
    names: Any = data.draw(st.sampled_from(["snake", "camel"]))
    prefix = data.draw(st.sampled_from(["", "resp_1.", "\u00e9"]))
    with engines.python_sse():
        events = batch_to_sse(wire, first, names, id_prefix=prefix)
    with engines.native_sse():
        assert batch_to_sse(wire, first, names, id_prefix=prefix) == events
    assert _decoded([events], validate=False).wire == wire
    ids = [event.id for event in SseDecoder(CompletionChunk).feed(events) if isinstance(event, SseMessage)]
    assert ids == [None if first is None else f"{prefix}{first + at}" for at in range(len(documents))]


@given(streams(), cuts, st.integers(0, 10**20), st.booleans())
def test_events_asked_for_are_those_of_the_chunks(
    stream: bytes, at: list[int], first_id: int, is_chunked: bool
) -> None:
    with engines.native_sse():
        asked, other = (SseBatchDecoder(CompletionChunk, validate=False) for _ in range(2))
        for piece in pieces_of(stream, at):
            batch = other.feed(piece)
            found = asked.feed(piece, first_id, is_chunked=is_chunked)
            if found.events is None:
                assert _shown(found) == _shown(batch)
                continue
            assert (found.wire, *_shown(found)[1:]) == (b"", *_shown(batch)[1:])
            events = batch_to_sse(batch.wire, first_id) if batch.count else b""
            assert found.events == (
                b"%x\r\n%b\r\n" % (len(events), events) if is_chunked and events else events
            )
            first_id += batch.count


def test_chunks_are_given_as_events_by_the_native_engine_alone() -> None:
    for run in ENGINES.values():
        with run():
            batch = SseBatchDecoder(CompletionChunk).feed(event_of(chunk()), 5)
        assert (batch.events is None) is (run is engines.python_sse)
        assert (batch.wire == b"") is (run is engines.native_sse)
