"""Framing of server-sent events: what it finds, however the bytes are cut, and what it refuses."""

import json
import math
import os
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire import (
    DecodeError,
    SseDecoder,
    SseDone,
    SseError,
    SseMessage,
    encode_sse,
    from_dict,
    to_dict,
    to_json,
)
from mistralwire.codec import Limits, dropped_events
from mistralwire.codec._counts import KINDS_MAX
from mistralwire.v1.completion_pb2 import CompletionChunk
from mistralwire.v1.error_pb2 import ErrorResponse
from mistralwire.v1.tools_pb2 import Function
from tests.codec import engines

# What a decoder returned: events, and for each error its reason, its line and its message.
Outcome: TypeAlias = list[Any]


def chunk(text: str = "hi", **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c1", "model": "mistral-small-latest", "choices": [choice], **members}


def line_of(document: object) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def message_of(document: dict[str, Any], **fields: str | None) -> SseMessage[CompletionChunk]:
    return SseMessage(from_dict(CompletionChunk, document, validate=False), **fields)


def error_of(document: dict[str, Any], **fields: str | None) -> SseError:
    return SseError(from_dict(ErrorResponse, document, validate=False), **fields)


DONE = b"data: [DONE]\n\n"
FIRST, SECOND = line_of(chunk("one")), line_of(chunk("zwö"))


def drain(decoder: SseDecoder[Any], outcome: Outcome) -> None:
    """Take all events, going on after each error."""
    while True:
        try:
            outcome.extend((event, decoder.line, decoder.last_event_id) for event in decoder)
            return
        except DecodeError as error:
            outcome.append((error.reason, decoder.line, decoder.last_event_id, str(error)))


def decode(pieces: Iterable[bytes], **options: Any) -> Outcome:
    decoder = SseDecoder(CompletionChunk, **options)
    outcome: Outcome = []
    for piece in pieces:
        decoder.feed(piece)
        drain(decoder, outcome)
    try:
        decoder.close()
    except DecodeError as error:
        outcome.append((error.reason, decoder.line, decoder.last_event_id, str(error)))
    drain(decoder, outcome)
    return [*outcome, decoder.done, decoder.retry_ms]


def decode_anyhow(stream: bytes, **options: Any) -> Outcome:
    """Decode a stream whole, byte by byte, in halves and at chance cuts, which must all give the same."""
    whole = decode([stream], **options)
    assert decode([stream[i : i + 1] for i in range(len(stream))], **options) == whole
    chance = random.Random(len(stream))
    for _ in range(20):
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(1, 6)))
        assert decode(pieces_of(stream, cuts), **options) == whole
    return whole


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def events_of(stream: bytes, **options: Any) -> list[Any]:
    """Return the events of a stream that has no error."""
    outcome = decode_anyhow(stream, **options)
    assert all(not isinstance(entry[0], str) for entry in outcome[:-2]), outcome
    return [entry[0] for entry in outcome[:-2]]


def reasons_of(stream: bytes, **options: Any) -> list[str]:
    """Return the class name of each event, and the reason of each error."""
    outcome = decode_anyhow(stream, **options)[:-2]
    return [entry[0] if isinstance(entry[0], str) else type(entry[0]).__name__ for entry in outcome]


def test_gives_each_message_and_the_end() -> None:
    expected = [message_of(chunk("one")), message_of(chunk("zwö")), SseDone()]
    assert events_of(FIRST + SECOND + DONE) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_line_ends_at_lf_cr_and_crlf(end: bytes) -> None:
    stream = (b": hello\nid: 7\nevent: delta\n" + FIRST + DONE).replace(b"\n", end)
    assert events_of(stream) == [message_of(chunk("one"), id="7", event="delta"), SseDone()]


def test_line_ends_may_be_mixed() -> None:
    stream = FIRST.replace(b"\n\n", b"\r\n\r") + SECOND.replace(b"\n\n", b"\r\n\n") + DONE
    assert len(events_of(stream)) == 3


def test_a_carriage_return_ends_the_event_without_waiting_for_a_line_feed() -> None:
    decoder = SseDecoder(CompletionChunk)
    assert list(decoder.feed(FIRST.replace(b"\n", b"\r"))) == [message_of(chunk("one"))]
    assert list(decoder.feed(b"\n")) == []


def test_no_other_character_ends_a_line() -> None:
    text = "a\u2028b\u2029c\x85d\x7fe"
    assert events_of(line_of(chunk(text)) + DONE)[0] == message_of(chunk(text))
    # Raw vertical tabs and form feeds are no JSON, but they end no line either.
    assert reasons_of(b"data: 1\x0b2\n\ndata: 1\x0c2\n\n" + DONE) == ["NOT_JSON", "NOT_JSON", "SseDone"]


def test_comments_and_unknown_fields_are_ignored() -> None:
    stream = b": keep-alive\n\n:\nfoo: bar\nDATA: 1\n data: 2\nfoo\n" + FIRST + b":x\n\n" + DONE
    assert events_of(stream) == [message_of(chunk("one")), SseDone()]


def test_a_comment_may_stand_inside_an_event() -> None:
    head, body = b"data: {\n: comment\n", json.dumps(chunk()).encode()[1:]
    assert events_of(head + b"data: " + body + b"\n\n" + DONE)[0] == message_of(chunk())


def test_data_of_several_lines_is_joined() -> None:
    text = json.dumps(chunk(), indent=2)
    stream = "".join(f"data: {line}\n" for line in text.splitlines()).encode() + b"\n" + DONE
    assert events_of(stream) == [message_of(chunk()), SseDone()]


def test_lines_of_data_are_joined_with_a_line_feed() -> None:
    # In a string a raw line feed is no JSON: joined with nothing, or with a space, this would be.
    assert reasons_of(b'data: {"id": "a\ndata: b"}\n\n' + DONE, validate=False) == ["NOT_JSON", "SseDone"]


def test_one_space_after_the_colon_is_no_part_of_the_value() -> None:
    data = json.dumps(chunk()).encode()
    stream = b"id:  a \ndata:" + data + b"\n\nid:b\ndata:   " + data + b"\n\n" + DONE
    assert events_of(stream)[:2] == [message_of(chunk(), id=" a "), message_of(chunk(), id="b")]


def test_a_byte_order_mark_at_the_start_is_ignored() -> None:
    mark = b"\xef\xbb\xbf"
    assert events_of(mark + FIRST + DONE) == [message_of(chunk("one")), SseDone()]
    assert events_of(mark + b"\n" + FIRST + DONE) == [message_of(chunk("one")), SseDone()]
    assert events_of(mark + b"data: [DONE]") == [SseDone()]


def test_a_second_byte_order_mark_is_part_of_the_line() -> None:
    mark = b"\xef\xbb\xbf"
    assert events_of(mark + mark + FIRST + mark + SECOND + DONE) == [SseDone()]
    assert reasons_of(b"\n" + mark + b"data: [DONE]") == ["STREAM_TRUNCATED"]


def test_the_last_id_stays_until_another_one() -> None:
    outcome = decode_anyhow(b"id: 1\n" + FIRST + SECOND + b"id: 2\n\nid\n" + FIRST + DONE)
    assert [entry[2] for entry in outcome[:-2]] == ["1", "1", "", ""]
    assert [entry[0].id for entry in outcome[:3]] == ["1", None, ""]


def test_an_id_without_data_counts() -> None:
    decoder = SseDecoder(CompletionChunk)
    assert list(decoder.feed(b"id: 41\n\n")) == []
    assert (decoder.last_event_id, decoder.line) == ("41", 0)


def test_an_id_counts_when_its_event_is_given_and_not_before() -> None:
    decoder = SseDecoder(CompletionChunk)
    decoder.feed(b"id: 1\n" + FIRST + b"id: 2\n" + SECOND)
    assert decoder.last_event_id == ""
    next(iter(decoder))
    assert decoder.last_event_id == "1"


def test_an_id_with_nul_is_ignored() -> None:
    assert events_of(b"id: 1\nid: 2\0\n" + FIRST + DONE)[0].id == "1"


def test_an_id_that_is_no_utf8_is_read_with_replacements() -> None:
    assert events_of(b"id: \xff\n" + FIRST + DONE)[0].id == "\ufffd"


def test_the_last_name_of_an_event_counts_and_an_empty_one_is_none() -> None:
    stream = b"event: a\nevent: b\n" + FIRST + b"event: c\nevent\n" + FIRST + b"event: d\n\n" + FIRST + DONE
    assert [event.event for event in events_of(stream)[:3]] == ["b", None, None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"1500", 1500),
        (b"0", 0),
        (b"-1", None),
        (b"1.5", None),
        (b"12a", None),
        (b"", None),
        ("\u0661".encode(), None),
        (b"9" * 5000, None),
    ],
)
def test_retry_is_digits_only(value: bytes, expected: int | None) -> None:
    assert decode_anyhow(b"retry: " + value + b"\n" + DONE)[-1] == expected


def test_data_of_whitespace_is_ignored() -> None:
    assert events_of(b"data\n\ndata:\n\ndata: \ndata\n\n" + FIRST + DONE) == [
        message_of(chunk("one")),
        SseDone(),
    ]


@pytest.mark.parametrize("data", ["", "upstream overloaded", "[]", "12", '{"a": nan}', "{oops", "[DONE"])
def test_an_error_event_without_a_json_object_is_its_message(data: str) -> None:
    stream = f"event: error\ndata: {data}\n\n".encode() + DONE
    assert events_of(stream) == [SseError(ErrorResponse(message_string=data), None, "error"), SseDone()]


@pytest.mark.parametrize("validate", [True, False])
def test_what_is_no_json_number_is_read_in_messages_and_errors(validate: bool) -> None:
    document = chunk("one")
    text = json.dumps({**document, "x": [math.nan, -math.inf]})
    kept = {**document, "x": [None, -sys.float_info.max]}
    error = {"error": {"message": "boom", "logit": math.nan}}
    found = events_of(
        f"data: {text}\n\n".encode() + line_of(error) + b"event: error\n" + line_of(error) + DONE,
        validate=validate,
    )
    expected = from_dict(ErrorResponse, {"error": {"message": "boom", "logit": None}}, validate=False)
    assert found == [message_of(kept), SseError(expected), SseError(expected, None, "error"), SseDone()]


def test_an_error_event_beyond_a_limit_is_an_error() -> None:
    data = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"
    assert reasons_of(b"event: error\ndata: " + data + b"\n\n" + DONE) == ["LIMIT_EXCEEDED", "SseDone"]


def test_done_may_have_whitespace_around_it_and_fields_beside_it() -> None:
    assert events_of(b"id: 9\nevent: done\ndata:  [DONE] \n\n") == [SseDone()]


def test_after_done_only_other_data_is_an_error() -> None:
    tail = (
        b": bye\n\nid: 3\n\nevent: error\n\nevent: error\ndata\n\n" + DONE + b"event: x\ndata: {}\n\n{}\n\n"
    )
    assert events_of(DONE + tail) == [SseDone()]
    assert reasons_of(DONE + tail + FIRST + DONE + tail) == ["SseDone", "DATA_AFTER_DONE"]
    named = b"event: message\n" + FIRST + b"event: error\n" + FIRST
    assert reasons_of(DONE + named) == ["SseDone", "DATA_AFTER_DONE", "DATA_AFTER_DONE"]
    decoder = SseDecoder(CompletionChunk)
    assert list(decoder.feed(DONE + b"id: 4\n" + DONE)) == [SseDone()]
    assert decoder.last_event_id == "4"


ERROR_BODIES: list[dict[str, Any]] = [
    {
        "object": "error",
        "message": "too long",
        "type": "invalid_request_error",
        "param": None,
        "code": "3051",
    },
    {
        "object": "error",
        "message": {"detail": [{"loc": ["body", 1], "msg": "no", "type": "extra", "ctx": {}}]},
    },
    {"object": "error"},
    {"object": "error", "code": 1300, "id": "x", "choices": None},
    {"detail": "no such key"},
    {"detail": []},
    {"detail": [{"type": "missing", "loc": ["body", "model"], "msg": "field required", "input": {"a": 1}}]},
    {"message": "slow down", "request_id": "f00"},
    {"error": {"message": "overloaded", "code": 529, "metadata": {"raw": 12345678901234567890123}}},
    {"error": "broken", "id": "c1", "model": "m"},
    {"type": "error", "error": {"type": "overloaded_error"}},
    # vLLM, the last one as it was before 0.10; Bedrock; Azure; OpenRouter; SGLang.
    {"object": "Error", "message": "bad", "type": "BadRequestError", "param": None, "code": 400},
    {"object": "Error", "choices": [], "message": "bad"},
    {"object": "chat.completion", "error": {"error": "Too many tokens", "error_code": 4001}},
    {"choices": [], "prompt_filter_results": [], "error": {"code": "content_filter", "innererror": {}}},
    {"id": "c1", "choices": [], "model": "m", "usage": None, "error": "boom"},
    {"choices": [], "error": {"message": "boom", "code": 502}},
    {"choices": None, "error": {"object": "error", "message": "boom", "code": 400}},
]


# Those that are errors whatever the name of their event is.
SURE_ERROR_BODIES = [
    body for body in ERROR_BODIES if body.get("error") or str(body.get("object")).lower() == "error"
]


@pytest.mark.parametrize("body", ERROR_BODIES, ids=json.dumps)
def test_an_error_body_is_an_error_and_nothing_of_it_is_lost(body: dict[str, Any]) -> None:
    events = events_of(FIRST + b"id: 5\n" + line_of(body) + DONE)
    assert events == [message_of(chunk("one")), error_of(body, id="5"), SseDone()]
    assert to_dict(events[1].error) == body


@pytest.mark.parametrize("body", [*ERROR_BODIES, {}, {"status": 500}, chunk()], ids=json.dumps)
def test_what_the_event_error_carries_is_an_error(body: dict[str, Any]) -> None:
    events = events_of(b"event: error\n" + line_of(body) + DONE)
    assert events == [error_of(body, event="error"), SseDone()]
    assert to_dict(events[0].error) == body


@pytest.mark.parametrize(
    "document",
    [
        chunk(error={"code": 502, "message": "upstream"}),
        chunk(message="m", detail="d", object="error"),
        chunk('{"error": "no", "detail": "é"}'),
        {**chunk(), "choices": [], "error": None},
        {**chunk(), "choices": [], "error": ""},
        {**chunk(), "choices": [], "error": {}},
        {**chunk(), "choices": [], "message": "m", "detail": []},
        {**chunk(), "object": "ERROR"},
    ],
    ids=json.dumps,
)
def test_what_has_choices_is_a_message_and_keeps_its_unknown_members(document: dict[str, Any]) -> None:
    event = events_of(line_of(document) + DONE)[0]
    assert event == message_of(document)
    assert to_dict(event.message) == document


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"id": "a"},
        {"error": None},
        {"error": 5},
        {"detail": {"a": 1}},
        {"message": []},
        {"usage": {"error": "x"}},
    ],
    ids=json.dumps,
)
def test_an_object_without_a_sign_of_an_error_is_a_message(document: dict[str, Any]) -> None:
    assert events_of(line_of(document) + DONE, validate=False)[0] == message_of(document)
    assert reasons_of(line_of(document) + DONE) == ["CONTRACT_VIOLATION", "SseDone"]


def test_an_error_body_is_known_by_its_members_however_they_are_escaped() -> None:
    stream = b'data: {"\\u0065rror": "broken"}\n\ndata: {"object": "\\u0065\\u0072ror"}\n\n' + DONE
    assert events_of(stream)[:2] == [error_of({"error": "broken"}), error_of({"object": "error"})]


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}, None),
        ({"error": {"message": "busy", "logit": -math.inf}}, {"logit": -sys.float_info.max}),
        ({"object": "error", "message": "busy", "choices": []}, None),
    ],
    ids=["google", "infinite", "beside no choices"],
)
def test_an_error_body_may_be_the_only_element_of_an_array(
    body: dict[str, Any], kept: dict[str, Any] | None
) -> None:
    expected = body if kept is None else {"error": body["error"] | kept}
    array = line_of([body])
    named = b"event: error\n" + array + b"event: exception\n" + array
    events = events_of(FIRST + array + named + DONE)
    assert events == [
        message_of(chunk("one")),
        *(error_of(expected, event=name) for name in (None, "error", "exception")),
        SseDone(),
    ]


@pytest.mark.parametrize(
    "data", [[], [BODY := {"error": "x"}] * 2, [[BODY]], ["x"], [chunk()]], ids=json.dumps
)
def test_other_arrays_are_no_error_bodies(data: Any) -> None:
    assert reasons_of(line_of(data) + DONE, validate=False) == ["CONTRACT_VIOLATION", "SseDone"]
    text = json.dumps(data)
    if data != [chunk()]:
        expected = SseError(ErrorResponse(message_string=text), None, "error")
        assert events_of(f"event: error\ndata: {text}\n\n".encode() + DONE) == [expected, SseDone()]


def test_members_of_the_message_type_are_no_signs() -> None:
    decoder = SseDecoder(ErrorResponse)
    assert list(decoder.feed(line_of({"detail": "x"}))) == [error_message({"detail": "x"})]
    assert list(decoder.feed(line_of({"error": "x"}))) == [error_of({"error": "x"})]


def error_message(document: dict[str, Any]) -> SseMessage[ErrorResponse]:
    return SseMessage(from_dict(ErrorResponse, document))


def test_any_message_type_of_the_contract_can_be_decoded() -> None:
    decoder = SseDecoder(Function)
    events = list(decoder.feed(line_of({"name": "f", "parameters": {}})))
    assert [event.message.name for event in events if isinstance(event, SseMessage)] == ["f"]


def test_decoding_goes_on_after_a_bad_event() -> None:
    bad = line_of({**chunk(), "choices": [{"index": "zero"}]})
    decoder = SseDecoder(CompletionChunk)
    events = decoder.feed(b"id: 1\n" + FIRST + b"id: 2\n: comment\n" + bad + SECOND + DONE)
    assert next(events) == message_of(chunk("one"), id="1")
    with pytest.raises(DecodeError) as caught:
        next(events)
    paths = [violation.path for violation in caught.value.violations]
    assert paths == ["choices[0].index", "choices[0].delta", "choices[0].finish_reason"]
    assert caught.value.__notes__ == ["in the server-sent event at line 6"]
    assert (decoder.line, decoder.last_event_id) == (6, "2")
    assert list(events) == [message_of(chunk("zwö")), SseDone()]
    assert decoder.done


def test_events_after_a_bad_one_come_with_the_next_feed_too() -> None:
    decoder = SseDecoder(CompletionChunk)
    with pytest.raises(DecodeError):
        list(decoder.feed(b"data: nonsense\n\n" + FIRST))
    assert list(decoder.feed(DONE)) == [message_of(chunk("one")), SseDone()]


def test_bytes_are_taken_when_they_are_fed() -> None:
    decoder = SseDecoder(CompletionChunk)
    decoder.feed(FIRST)
    decoder.feed(SECOND[:10])
    assert list(decoder.feed(SECOND[10:])) == [message_of(chunk("one")), message_of(chunk("zwö"))]


@pytest.mark.parametrize(
    "data", [b"nonsense", b"[]", b"12", b'"text"', b"null", b'{"id": "\xff"}', b'{"a": nan}', b"[DONE"]
)
def test_data_that_is_no_json_object_is_a_decode_error(data: bytes) -> None:
    for options in ({}, {"validate": False}):
        reasons = reasons_of(b"data: " + data + b"\n\n" + DONE, **options)
        assert reasons[0] in {"NOT_JSON", "CONTRACT_VIOLATION"}
        assert reasons[1:] == ["SseDone"]


@pytest.mark.parametrize(
    "event",
    [line_of(chunk("x" * 200)), line_of({"error": "x" * 200}), b"event: error\n" + line_of({"a": "x" * 200})],
    ids=["message", "error by shape", "error by name"],
)
def test_the_limits_of_documents_hold(event: bytes) -> None:
    limits = Limits(document_bytes_max=150)
    assert reasons_of(FIRST + event + DONE, limits=limits) == ["SseMessage", "LIMIT_EXCEEDED", "SseDone"]
    assert reasons_of(event.rstrip(), limits=limits) == ["LIMIT_EXCEEDED", "STREAM_TRUNCATED"]


def test_an_event_as_long_as_the_buffer_is_taken_and_a_longer_one_is_not() -> None:
    size = len(FIRST) - 2
    assert reasons_of(FIRST + DONE, buffer_bytes_max=size) == ["SseMessage", "SseDone"]
    assert reasons_of(FIRST + DONE, buffer_bytes_max=size - 1) == ["LIMIT_EXCEEDED", "SseDone"]
    assert reasons_of(b"\xef\xbb\xbf" + FIRST + DONE, buffer_bytes_max=size) == ["LIMIT_EXCEEDED", "SseDone"]


def test_lines_of_one_event_count_together() -> None:
    lines = b"data: 12345678\n" * 20
    assert reasons_of(lines + b"\n" + DONE, buffer_bytes_max=100) == ["LIMIT_EXCEEDED", "SseDone"]
    assert reasons_of(b"id: 12345678\nfoo\n" * 20 + b"\n" + DONE, buffer_bytes_max=100) == [
        "LIMIT_EXCEEDED",
        "SseDone",
    ]


def test_comments_count_each_for_itself() -> None:
    assert events_of(b": 12345678\n" * 20 + DONE, buffer_bytes_max=30) == [SseDone()]
    stream = b": " + b"-" * 100 + b"\n\n" + DONE
    assert reasons_of(stream, buffer_bytes_max=30) == ["LIMIT_EXCEEDED", "SseDone"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_too_long_event_is_dropped_up_to_the_next_blank_line(end: bytes) -> None:
    long = b"id: 7\ndata: {\ndata: " + b"x" * 1000 + b"\nid: 8\ndata: y\n: z\n\n"
    stream = (b"id: 1\n" + FIRST + long + SECOND + DONE).replace(b"\n", end)
    outcome = decode_anyhow(stream, buffer_bytes_max=200)
    assert [entry[1] for entry in outcome[:-2]] == [2, 5, 11, 13]
    assert outcome[1][0] == "LIMIT_EXCEEDED"
    assert outcome[1][3] == "document: expected an event of at most 200 bytes, found a longer one"
    assert [entry[2] for entry in outcome[:-2]] == ["1"] * 4


def held_bytes(decoder: SseDecoder[Any]) -> int:
    framer = decoder._framer
    return len(framer._partial) + len(framer._data or b"") + sum(len(str(frame)) for frame in framer.frames)


def test_what_is_held_of_an_endless_event_is_bounded() -> None:
    for piece in (b"data: " + b"x" * 990, b"data: " + b"x" * 989 + b"\n"):
        decoder = SseDecoder(CompletionChunk, buffer_bytes_max=10_000)
        errors = 0
        for _ in range(1000):
            try:
                assert list(decoder.feed(piece)) == []
            except DecodeError as error:
                errors += error.reason == "LIMIT_EXCEEDED"
            assert held_bytes(decoder) <= 10_000
        assert errors == 1
        assert list(decoder.feed(b"\n\n" + FIRST)) == [message_of(chunk("one"))]


@pytest.mark.parametrize("value", [0, -1])
def test_a_buffer_without_room_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="buffer_bytes_max must be 1 or more"):
        SseDecoder(CompletionChunk, buffer_bytes_max=value)


def test_a_large_event_in_pieces_is_decoded() -> None:
    document = chunk("x" * 10_000_000)
    stream = line_of(document) + DONE
    pieces = [stream[start : start + 65536] for start in range(0, len(stream), 65536)]
    assert [entry[0] for entry in decode(pieces)[:-2]] == [message_of(document), SseDone()]


def close_error(decoder: SseDecoder[CompletionChunk]) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decoder.close()
    return caught.value


@pytest.mark.parametrize(
    ("stream", "place"),
    [
        (b"", "after line 1"),
        (b": x\n", "after line 1"),
        (b": x\n\n: unfinished", "after line 2"),
        (FIRST, "after line 2"),
        (FIRST + b"\n\n\n", "after line 5"),
        (FIRST + b'data: {"id": "c', "inside the event at line 3"),
        (FIRST + b'\ndata: {"id":\ndata: "c1"\n', "inside the event at line 4"),
        (FIRST + b"da", "inside the event at line 3"),
        (FIRST + b"id: 12", "inside the event at line 3"),
        (FIRST + b"id: 12\n", "inside the event at line 3"),
        (FIRST + b"data: [DONE", "inside the event at line 3"),
        (FIRST + b"data: 1", "inside the event at line 3"),
        (FIRST + b'data: {"id": "c1", "model": "m", "choices": []}\nid: 1', "inside the event at line 3"),
    ],
)
def test_a_stream_without_done_is_truncated(stream: bytes, place: str) -> None:
    decoder = SseDecoder(CompletionChunk)
    assert len(list(decoder.feed(stream))) == stream.startswith(FIRST)
    error = close_error(decoder)
    assert (error.reason, error.path, error.type_name) == ("STREAM_TRUNCATED", "", "CompletionChunk")
    assert str(error) == f"document: expected data: [DONE] at the end of the stream, found its end {place}"
    assert not decoder.done
    assert list(decoder.close()) == []
    assert decode_anyhow(stream)[-3][0] == "STREAM_TRUNCATED"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n", b"\n: unfinished comment"])
def test_what_came_whole_before_the_end_is_given(end: bytes) -> None:
    assert events_of(FIRST + b"data: [DONE]" + end) == [message_of(chunk("one")), SseDone()]
    assert reasons_of(FIRST + SECOND.rstrip() + end) == ["SseMessage", "SseMessage", "STREAM_TRUNCATED"]
    assert reasons_of(b'data: {"detail": "x"}' + end) == ["SseError", "STREAM_TRUNCATED"]
    assert reasons_of(b'data: {"id": 5}' + end) == ["CONTRACT_VIOLATION", "STREAM_TRUNCATED"]
    assert reasons_of(DONE + FIRST.rstrip() + end) == ["SseDone", "DATA_AFTER_DONE"]


def test_an_event_cut_after_done_is_ignored() -> None:
    assert events_of(DONE + FIRST[:20]) == [SseDone()]


def test_a_too_long_event_at_the_end_is_one_error_and_the_end_another() -> None:
    outcome = decode_anyhow(FIRST + b"data: " + b"x" * 500 + b"\n", buffer_bytes_max=200)
    assert [entry[0] for entry in outcome[1:3]] == ["LIMIT_EXCEEDED", "STREAM_TRUNCATED"]
    assert "inside the event" in outcome[2][3]


def test_close_gives_the_events_that_nobody_took_before_it_complains() -> None:
    decoder = SseDecoder(CompletionChunk)
    decoder.feed(FIRST + SECOND)
    events = decoder.close()
    assert [next(events), next(events)] == [message_of(chunk("one")), message_of(chunk("zwö"))]
    with pytest.raises(DecodeError, match="found its end after line 4"):
        next(events)
    assert list(events) == []


def test_a_closed_decoder_takes_nothing() -> None:
    decoder = SseDecoder(CompletionChunk)
    list(decoder.feed(DONE))
    assert list(decoder.close()) == []
    assert list(decoder.close()) == []
    with pytest.raises(ValueError, match="the decoder is closed"):
        decoder.feed(FIRST)


def test_text_and_unknown_types_are_refused() -> None:
    with pytest.raises(TypeError):
        SseDecoder(CompletionChunk).feed("data: {}\n\n")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        SseDecoder(str)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="expected a message or an event, not dict"):
        encode_sse({})  # type: ignore[arg-type]


def test_other_kinds_of_bytes_are_taken() -> None:
    decoder = SseDecoder(CompletionChunk)
    buffer = bytearray(FIRST)
    events = decoder.feed(memoryview(buffer))  # type: ignore[arg-type]
    buffer[:] = bytes(len(buffer))
    assert list(events) == [message_of(chunk("one"))]


def test_encodes_each_kind_of_event() -> None:
    message = from_dict(CompletionChunk, chunk())
    data = to_json(message)
    assert encode_sse(message) == b"data: " + data + b"\n\n"
    assert encode_sse(message, id=12) == b"id: 12\ndata: " + data + b"\n\n"
    assert encode_sse(SseMessage(message, "a", "delta")) == b"id: a\nevent: delta\ndata: " + data + b"\n\n"
    assert encode_sse(SseMessage(message, "a"), id="") == b"id: \ndata: " + data + b"\n\n"
    assert encode_sse(SseMessage(message, event="")) == encode_sse(message)
    assert encode_sse(SseDone()) == DONE
    assert encode_sse(SseDone(), id=0) == b"id: 0\n" + DONE
    assert encode_sse(error_of({"detail": "x"}, id="4")) == b'id: 4\ndata: {"detail":"x"}\n\n'


def test_names_may_be_camel_case() -> None:
    document = chunk(usage={"prompt_tokens": 1})
    assert b'"promptTokens":1' in encode_sse(message_of(document), names="camel")
    assert events_of(encode_sse(message_of(document), names="camel") + DONE)[0] == message_of(document)


def test_an_error_that_its_shape_does_not_tell_is_told_by_its_name() -> None:
    error = from_dict(ErrorResponse, {"status": 500})
    for item in (error, SseError(error), SseError(error, event="oops")):
        assert encode_sse(item) == b'event: error\ndata: {"status":500}\n\n'
    assert encode_sse(from_dict(ErrorResponse, {"message": "x"})) == b'data: {"message":"x"}\n\n'


def test_an_error_too_deep_to_be_read_is_told_by_its_name() -> None:
    deep = '{"a":' * 200 + "1" + "}" * 200
    error = ErrorResponse()
    error.message_object.json_extra.members = deep
    assert encode_sse(error).startswith(b"event: error\n")


def test_white_space_in_json_text_breaks_no_line() -> None:
    message = Function(name="f", parameters='{\n"a":\r\n1,\r"b": "c"}')
    encoded = encode_sse(message)
    assert encoded.splitlines() == [encoded[:-2], b""]
    assert b"\r" not in encoded


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\r\n", "a\0", "\udc00"])
def test_an_id_that_is_no_line_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"expected an id|surrogates"):
        encode_sse(SseDone(), id=value)
    with pytest.raises(ValueError, match=r"expected an id|surrogates"):
        encode_sse(message_of(chunk(), id=value))


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\udc00", "error"])
def test_a_name_that_is_no_line_or_not_a_message_s_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"expected an event|surrogates|is for an SseError"):
        encode_sse(message_of(chunk(), event=value))


OTHER_EVENTS = (
    b"event: ping\ndata: {}\n\n",
    b'event: ping\ndata: {"type": "ping", "cost": "0"}\n\n',
    b"event: ping\ndata: 2026-11-26 12:00:00.000\n\n",
    b'event: cost\ndata: {"cost": 0.1, "usage": {"total_tokens": 3}, "error": null}\n\n',
    b"event: keepalive\ndata: keep-alive-text\n\n",
    b"event: keepalive\ndata\n\n",
    b'event: status\ndata: {"message": "loading the model", "detail": "80 %"}\n\n',
    b'event: heartbeat\ndata: {"error": ""}\n\n',
    b"event: heartbeat\ndata: {NaN\n\n",
    b'event: Message\ndata: [{"choices": []}]\n\n',
    b"event: done\ndata: null\n\n",
)


@pytest.mark.parametrize("event", OTHER_EVENTS)
@pytest.mark.usefixtures("no_dropped_events")
def test_an_event_with_another_name_that_is_no_part_is_dropped_and_counted(
    event: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = SseDecoder(CompletionChunk)
    given = list(decoder.feed(FIRST + b"id: 5\n" + event + event))
    assert (given, decoder.line, decoder.last_event_id) == ([message_of(chunk("one"))], 1, "5")
    assert list(decoder.feed(SECOND + event + DONE + event)) == [message_of(chunk("zwö")), SseDone()]
    assert list(decoder.close()) == []
    name = event.split()[1].decode()
    if event.endswith(b"data\n\n"):
        assert dropped_events() == {}
    else:
        assert dropped_events() == {name: 3}
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("mistralwire.codec", "WARNING")
        assert record.message.startswith(f"dropped a server-sent event named {name!r}, which holds neither")
    for validate in (True, False):
        assert reasons_of(event + FIRST + DONE, validate=validate) == ["SseMessage", "SseDone"]


@pytest.mark.usefixtures("no_dropped_events")
def test_names_of_dropped_events_are_cut_and_bounded() -> None:
    decoder = SseDecoder(CompletionChunk)
    for number in range(200):
        assert list(decoder.feed(b"event: %03d%b\ndata: x\n\n" % (number, b"x" * 1_000))) == []
    counts = dropped_events()
    assert (len(counts), sum(counts.values()), counts["other"]) == (KINDS_MAX, 200, 101)
    assert max(map(len, counts)) == 128


@pytest.mark.parametrize("name", ["completion", "chunk", "message", "delta", "ping"])
@pytest.mark.parametrize("choices", [chunk()["choices"], [], None])
def test_a_chunk_is_read_whatever_its_name(name: str, choices: Any) -> None:
    document = {**chunk("one"), "choices": choices}
    stream = f"event: {name}\n".encode() + line_of(document) + DONE
    assert events_of(stream, validate=False) == [message_of(document, event=name), SseDone()]


def test_a_chunk_with_another_name_that_is_bad_is_an_error() -> None:
    deep = b'{"choices":' + b"[" * 300 + b"]" * 300 + b"}"
    stream = b"event: chunk\n" + line_of({"choices": [5]}) + b"event: chunk\ndata: " + deep + b"\n\n" + DONE
    assert reasons_of(stream) == ["CONTRACT_VIOLATION", "LIMIT_EXCEEDED", "SseDone"]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "boom"}},
        {"error": "boom", "choices": []},
        {"object": "error", "message": "boom"},
        {"object": "Error", "code": 400},
    ],
    ids=json.dumps,
)
def test_an_error_is_one_whatever_its_name(body: dict[str, Any]) -> None:
    stream = b"event: exception\n" + line_of(body) + DONE
    assert events_of(FIRST + stream) == [
        message_of(chunk("one")),
        error_of(body, event="exception"),
        SseDone(),
    ]


BOOM = {"error": {"message": "boom", "type": "server_error", "code": 500}}


@pytest.mark.parametrize(
    ("lines", "body", "event"),
    [
        (f"error: {json.dumps(BOOM['error'])}", BOOM["error"], "error"),
        (f"error:{json.dumps(BOOM)}", BOOM, "error"),
        ("error: the slot is gone", {"message": "the slot is gone"}, "error"),
        (json.dumps(BOOM), BOOM, None),
        (json.dumps(BOOM, indent=2), BOOM, None),
        (
            json.dumps({"detail": [{"msg": "no", "loc": []}]}, indent="\t"),
            {"detail": [{"msg": "no", "loc": []}]},
            None,
        ),
        (json.dumps({**BOOM, "choices": []}, indent=0), {**BOOM, "choices": []}, None),
        ('{"error": "oops", "x": NaN}', {"error": "oops", "x": None}, None),
        (
            '{"message": "no Route matched with those values"}',
            {"message": "no Route matched with those values"},
            None,
        ),
        (f"event: error\n{json.dumps(BOOM)}", BOOM, "error"),
        ("event: error\n{oops", {"message": "{oops"}, "error"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_error_that_is_no_event_of_the_standard_is_an_error(
    lines: str, body: dict[str, Any], event: str | None, end: str
) -> None:
    error = error_of(body, event=event)
    first = message_of(chunk("one"))
    line = lines.replace("\n", end).encode()
    ends = end.encode()
    expected = [first, error, message_of(chunk("zwö")), SseDone()]
    assert events_of(FIRST + line + ends * 2 + SECOND + DONE) == expected
    if not lines.startswith("event"):
        # Without the blank lines around it.
        assert events_of(FIRST.strip() + ends + line + ends + SECOND + DONE) == expected
    if lines.endswith("}"):
        for cut in (b"", ends, ends + b"dat", ends + b": bye", ends + b"event: err"):
            given = decode_anyhow(FIRST + line + cut)
            assert [entry[0] for entry in given[:-2]] == [first, error, "STREAM_TRUNCATED"]


@pytest.mark.parametrize(
    "lines",
    [
        "{}",
        '{"a": 1}',
        "{oops",
        "[DONE]",
        "error",
        "error:",
        "error: ",
        "Error: x",
        '[{"error": "x"}]',
        "<html>",
        "x: {}",
    ],
)
@pytest.mark.usefixtures("no_dropped_events")
def test_other_lines_without_a_field_are_ignored(lines: str) -> None:
    line = f"{lines}\n".encode()
    expected = [message_of(chunk("one")), message_of(chunk("zwö")), SseDone()]
    assert events_of(line + FIRST + line + b"\n" + SECOND.strip() + b"\n" + line + b"\n" + DONE) == expected
    assert dropped_events() == {}


def test_an_unframed_chunk_is_no_message() -> None:
    line = json.dumps(chunk()).encode() + b"\n"
    assert reasons_of(line * 3) == ["STREAM_TRUNCATED"]
    # Lines of JSON with an error at the end: the error is found.
    assert events_of(line * 3 + json.dumps(BOOM).encode() + b"\n\n" + DONE) == [error_of(BOOM), SseDone()]


def test_an_unframed_error_that_is_too_long_is_one_error() -> None:
    line = json.dumps({"error": "x" * 200}).encode() + b"\n\n"
    assert reasons_of(line + DONE, buffer_bytes_max=100) == ["LIMIT_EXCEEDED", "SseDone"]


texts = st.text(max_size=12)
ids = st.none() | st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=8)
names = st.none() | st.text(
    st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1, max_size=8
).filter("error".__ne__)
documents = st.builds(chunk, texts, error=texts, p=st.none() | st.integers() | texts)
items = st.one_of(
    st.builds(message_of, documents, id=ids, event=names),
    st.builds(
        error_of, st.sampled_from(ERROR_BODIES), id=ids, event=st.sampled_from(["error", "message", None])
    ),
    st.builds(error_of, st.sampled_from(SURE_ERROR_BODIES), id=ids, event=names),
)
separators = st.sampled_from([b"", b"\n", b": x\n", b":\r\n\r\n", b"foo\r", b"retry: 5\n"])


@given(items=st.lists(st.tuples(separators, items), max_size=5), data=st.data())
def test_what_was_encoded_decodes_to_the_same_events(
    items: list[tuple[bytes, Any]], data: st.DataObject
) -> None:
    stream = b"".join(separator + encode_sse(item) for separator, item in items) + encode_sse(SseDone())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    expected = [item for _, item in items] + [SseDone()]
    assert [entry[0] for entry in decode(pieces_of(stream, cuts))[:-2]] == expected
    assert events_of(stream) == expected


FRAGMENTS = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b":", b" ", b"\0", b"\xff", b"\xef\xbb\xbf", b"x" * 30),
    *(
        b"data",
        b"data: ",
        b"id: ",
        b"event: error",
        b"event: ping\n",
        b"error: ",
        b"retry: 1",
        b"[DONE]",
        b"data: [DONE]",
        b"\ndata: [DONE]\n",
    ),
    *(b"{", b"}", b"[]", b'{"error":"x"}', b'{"id":', b'"id"', json.dumps(chunk()).encode()),
    *(b'{"error":\n', b'{"object":"Error","choices":[]}', b'{"x":NaN}', b"Infinity"),
]


@given(
    stream=st.one_of(
        st.binary(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join)
    ),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    buffer_bytes_max=st.sampled_from([1, 5, 20, 60, 10_000]),
    validate=st.booleans(),
)
def test_any_bytes_give_the_same_however_they_are_cut_and_no_other_error(
    stream: bytes, cuts: list[int], buffer_bytes_max: int, validate: bool
) -> None:
    options = {"buffer_bytes_max": buffer_bytes_max, "validate": validate}
    whole = decode([stream], **options)
    assert decode(pieces_of(stream, sorted(min(cut, len(stream)) for cut in cuts)), **options) == whole
    assert decode([stream[i : i + 1] for i in range(len(stream))], **options) == whole
    # What follows a blank line does not change what came before it.
    before = decode([stream, b"\n\n"], **options)[:-2]
    after = decode([stream, b"\n\n", FIRST, DONE], **options)[:-2]
    given = [entry for entry in before if entry[0] != "STREAM_TRUNCATED"]
    assert after[: len(given)] == given


def corpus_streams() -> list[Any]:
    folder = os.environ.get("MISTRALWIRE_CORPUS")
    if not folder:
        skip = pytest.mark.skip(reason="MISTRALWIRE_CORPUS names no folder of recorded bodies")
        return [pytest.param(Path(), marks=skip)]
    return sorted(Path(folder, "chat_sse").glob("*.sse"))


@pytest.mark.parametrize("path", corpus_streams(), ids=lambda path: path.stem)
def test_a_recorded_stream_decodes_to_its_documents(path: Path) -> None:
    stream = path.read_bytes()
    datas = [line.removeprefix(b"data: ") for line in stream.split(b"\n") if line]
    assert datas.pop() == b"[DONE]"
    expected = [json.loads(data) for data in datas]
    for size in (1, 7, 1000, len(stream)):
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        *events, end = [entry[0] for entry in decode(pieces)[:-2]]
        assert [to_dict(event.message) for event in events] == expected
        assert end == SseDone()
        again = b"".join(map(encode_sse, [*events, end]))
        assert [entry[0] for entry in decode([again])[:-2]] == [*events, end]


def test_feeding_a_decoder_that_is_taking_a_piece_is_an_error() -> None:
    class Piece(bytes):
        """Feeds the decoder while the decoder looks at it, as another thread may."""

        def splitlines(self, keepends: bool = False) -> list[bytes]:
            decoder.feed(b"data")
            return super().splitlines(keepends)

    with engines.python_sse():
        decoder = SseDecoder(CompletionChunk)
    with pytest.raises(RuntimeError, match="in use: feed it from one thread at a time"):
        decoder.feed(Piece(FIRST))
    assert list(decoder.feed(FIRST)) == [message_of(chunk("one"))]
