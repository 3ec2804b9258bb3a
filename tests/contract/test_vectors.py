"""The conformance vectors of proto/vectors: the codec gives what they say, by the rules of their README."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

from mistralwire.codec import (
    Accumulator,
    SseDecoder,
    SseDone,
    SseError,
    binary_to_json,
    check,
    encode_sse,
    from_json,
    json_to_binary,
    losses,
    to_json,
)
from mistralwire.codec._plan import EXTRA_FIELD, Form, plan_for
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import CONTRACT_REVISION
from tests.cases import each_case
from tests.codec import engines
from tests.json_equality import meaning, parse_exactly
from tests.strategies import MESSAGE_TYPES
from tools import vectors
from tools.vectors import Case, message_type

pytestmark = pytest.mark.usefixtures("no_losses")

TEXTS = ("snake", "camel", "written")


def _cases(name: str, condition: Callable[[Case], bool] = lambda _: True) -> Callable[..., Any]:
    cases = [case for case in vectors.load(name) if condition(case)]
    return each_case("case", cases, ids=lambda case: case["name"])


def _wire(case: Case) -> bytes:
    return base64.b64decode(case["wire"], validate=True)


def _message(case: Case) -> Any:
    return message_type(case).FromString(_wire(case))


def _binary(case: Case, *, validate: bool) -> bytes:
    """Convert a document by the newest contract, which is what the vectors show."""
    return json_to_binary(
        message_type(case), case["json"], validate=validate, contract_revision=CONTRACT_REVISION
    )


def _in_order(text: str) -> Any:
    """Parse JSON so that equal texts with their members in one order compare equal, and others do not."""

    def pairs(members: list[tuple[str, Any]]) -> Any:
        return ("object", *members)

    return json.loads(text, object_pairs_hook=pairs, parse_int=_number, parse_float=_number)


def _number(text: str) -> Any:
    return parse_exactly(text)


@pytest.mark.parametrize("name", vectors.FILLERS)
def test_the_files_are_current(name: str) -> None:
    """JSON texts may differ in the notation of numbers, which depends on the version of orjson."""
    for made, kept in zip(json.loads(vectors.filled(name))["cases"], vectors.load(name), strict=True):
        assert list(made) == list(kept), "run `make vectors`"
        assert _comparable(made) == _comparable(kept), "run `make vectors`"


def _comparable(case: Case) -> Case:
    texts = {key: case[key] for key in TEXTS if case.get(key) is not None}
    return case | {key: text if key == "written" else _in_order(text) for key, text in texts.items()}


@pytest.mark.parametrize("name", vectors.FILLERS)
def test_names_are_unique(name: str) -> None:
    names = [case["name"] for case in vectors.load(name)]
    assert len(names) == len(set(names))


@_cases("documents")
def test_documents_are_read_without_validation(case: Case) -> None:
    message = engines.read(message_type(case), case["json"], validate=False)
    assert message == _message(case)
    assert _binary(case, validate=False) == _wire(case)


@_cases("documents")
def test_documents_are_read_with_validation_or_refused(case: Case) -> None:
    if case["validate"]:
        assert engines.read(message_type(case), case["json"]) == _message(case)
        assert _binary(case, validate=True) == _wire(case)
        assert case["violations"] == []
        return
    with pytest.raises(DecodeError) as caught:
        from_json(message_type(case), case["json"])
    assert caught.value.reason == "CONTRACT_VIOLATION"
    assert vectors.violations_of(caught.value.violations) == case["violations"] != []


@_cases("documents")
def test_documents_are_written_in_both_spellings(case: Case) -> None:
    message = _message(case)
    for names, camel in (("snake", False), ("camel", True)):
        expected = _in_order(case[names])
        assert _in_order(engines.write(message, camel=camel).decode()) == expected
        spelling: Any = names
        assert _in_order(binary_to_json(message_type(case), _wire(case), names=spelling).decode()) == expected


@_cases("documents")
def test_documents_come_back_the_same(case: Case) -> None:
    meant = meaning(message_type(case), case["json"])
    assert meaning(message_type(case), case["snake"]) == meant
    assert meaning(message_type(case), case["camel"]) == meant
    assert _message(case).SerializeToString() == _wire(case)


@_cases("documents", lambda case: case["type"].endswith("CompletionRequest"))
def test_requests_have_the_bytes_of_their_stream_forms(case: Case) -> None:
    stream = case | {"type": case["type"].replace("CompletionRequest", "CompletionStreamRequest")}
    assert _binary(stream, validate=case["validate"]) == _wire(case)
    assert _in_order(to_json(_message(stream)).decode()) == _in_order(case["snake"])


@_cases("refused")
def test_documents_are_refused(case: Case) -> None:
    text = base64.b64decode(case["json_base64"]) if "json_base64" in case else case["json"]
    modes = (True,) if case["validate"] else (True, False)
    for validate in modes:
        with pytest.raises(DecodeError) as caught:
            json_to_binary(message_type(case), text, validate=validate)
        assert caught.value.reason == case["reason"]
        assert vectors.violations_of(caught.value.violations) == case["violations"]
    if case["validate"]:
        from_json(message_type(case), text, validate=False)


@_cases("programs")
def test_messages_of_programs_are_written(case: Case) -> None:
    for names in ("snake", "camel"):
        spelling: Any = names
        if case["error"] is None:
            written = binary_to_json(message_type(case), _wire(case), names=spelling)
            assert _in_order(written.decode()) == _in_order(case[names])
            assert _in_order(engines.write(_message(case), camel=names == "camel").decode()) == _in_order(
                case[names]
            )
            continue
        assert case[names] is None
        with pytest.raises(EncodeError) as caught:
            binary_to_json(message_type(case), _wire(case), names=spelling)
        assert {"path": caught.value.path, "reason": caught.value.reason} == case["error"]


def _lost(action: Callable[[], object]) -> dict[tuple[str, str | int], int]:
    """Return what an action adds to the counts of losses."""
    before = dict(losses())
    action()
    return {
        place: count - before.get(place, 0) for place, count in losses().items() if count != before.get(place)
    }


@_cases("programs")
def test_what_newer_writers_said_is_counted_where_it_is_lost(case: Case) -> None:
    lost = _lost(lambda: to_json(_message(case)) if case["error"] is None else None)
    assert lost == {(lost["message"], lost["field"]): 1 for lost in case["lost"]}


@_cases("programs")
def test_messages_of_programs_are_checked(case: Case) -> None:
    violations: list[Any] = []
    assert _lost(lambda: violations.extend(check(_message(case)))) == {}, "a check writes nothing"
    assert vectors.violations_of(violations) == case["violations"]


@_cases("programs", lambda case: case["violations"] == [])
def test_messages_without_violations_are_documents_that_validation_accepts(case: Case) -> None:
    again = from_json(message_type(case), case["snake"])
    assert from_json(message_type(case), case["camel"]) == again
    assert parse_exactly(to_json(again)) == parse_exactly(case["snake"])


@_cases("streams")
@pytest.mark.parametrize("size", [1, 7, 2**20])
def test_streams_are_decoded_however_they_are_cut(case: Case, size: int) -> None:
    data = case["sse"].encode()
    decoder = SseDecoder(message_type(case), validate=case["validate"])
    found = []
    for at in range(0, len(data), size):
        decoder.feed(data[at : at + size])
        found += list(_events_of(decoder))
    try:
        decoder.close()
    except DecodeError as error:
        found.append(_event(decoder, error))
    found += list(_events_of(decoder))
    assert found == [_expected(event, case["type"]) for event in case["events"]]
    assert decoder.last_event_id == case["last_event_id"]
    assert decoder.retry_ms == case["retry_ms"]
    assert decoder.done == any(event["kind"] == "done" for event in case["events"])


def _events_of(decoder: SseDecoder[Any]) -> Iterator[Any]:
    while True:
        try:
            yield _event(decoder, next(decoder))
        except DecodeError as error:
            yield _event(decoder, error)
        except StopIteration:
            return


def _event(decoder: SseDecoder[Any], item: Any) -> Any:
    if isinstance(item, DecodeError):
        return decoder.line, "refused", str(item.reason), vectors.violations_of(item.violations)
    if isinstance(item, SseDone):
        return decoder.line, "done"
    kind, message = ("error", item.error) if isinstance(item, SseError) else ("message", item.message)
    return decoder.line, kind, item.id, item.event, message, _in_order(to_json(message).decode())


def _expected(event: Case, type_name: str) -> Any:
    match event["kind"]:
        case "refused":
            return event["line"], "refused", event["reason"], event["violations"]
        case "done":
            return event["line"], "done"
        case kind:
            message = _stream_message(event, type_name)
            return event["line"], kind, event["id"], event["event"], message, _in_order(event["snake"])


def _stream_message(event: Case, type_name: str) -> Any:
    return _message(event | {"type": "ErrorResponse" if event["kind"] == "error" else type_name})


@_cases("streams")
def test_streams_are_written_and_decoded_the_same(case: Case) -> None:
    decoder = SseDecoder(message_type(case), validate=case["validate"])
    data = case["written"].encode()
    again = list(decoder.feed(data))
    kept = [event for event in case["events"] if event["kind"] != "refused"]
    assert len(again) == len(kept)
    assert b"".join(encode_sse(item) for item in again) == data


@_cases("streams")
def test_streams_add_up_to_a_response(case: Case) -> None:
    response_type = message_type(case, "accumulated_type")
    accumulator: Accumulator[Any] = Accumulator(response_type)
    for event in case["events"]:
        if event["kind"] == "message":
            accumulator.add(_stream_message(event, case["type"]))
    response = response_type.FromString(base64.b64decode(case["accumulated"]["wire"], validate=True))
    assert accumulator.result() == response
    assert _in_order(to_json(response).decode()) == _in_order(case["accumulated"]["snake"])


def _all_messages() -> Iterator[Message]:
    for name in ("documents", "programs"):
        for case in vectors.load(name):
            yield _message(case)
            if case["type"].endswith("Request"):
                kind = case["type"].removesuffix("Request").removesuffix("Stream")
                yield _message(case | {"type": f"{kind}Request"})
                yield _message(case | {"type": f"{kind}StreamRequest"})


def _occurring(message: Message) -> Iterator[str]:
    """Yield the names of the fields that are set in a message, and of its enum values."""
    for field, value in message.ListFields():
        yield field.full_name
        items: list[Any] = [value] if isinstance(value, Message | str | int | float) else list(value)
        for item in items:
            if field.enum_type is not None and item in field.enum_type.values_by_number:
                yield field.enum_type.values_by_number[item].name
            elif isinstance(item, Message):
                yield from _occurring(item)


def _described(descriptor: Any, seen: set[str]) -> Iterator[str]:
    """Yield the names of the fields and enum values that a message and those inside it may have."""
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field.full_name
        if field.enum_type is not None:
            yield from (value.name for value in field.enum_type.values)
        if field.message_type is not None:
            yield from _described(field.message_type, seen)


def test_every_field_alternative_and_enum_value_occurs() -> None:
    """What is new needs a vector."""
    occurring = {name for message in _all_messages() for name in _occurring(message)}
    seen: set[str] = set()
    described = {name for each in MESSAGE_TYPES for name in _described(each.DESCRIPTOR, seen)}
    missing = {
        name for name in described - occurring if not name.endswith((f".{EXTRA_FIELD}", "_UNSPECIFIED"))
    }
    assert missing == set()


def test_every_reason_and_kind_occurs() -> None:
    refused = {case["reason"] for case in vectors.load("refused")}
    assert refused == {"CONTRACT_VIOLATION", "NOT_JSON", "LIMIT_EXCEEDED"}
    reasons = {case["request_reason"] for case in vectors.load("programs")}
    assert reasons == {None, "CONTRACT_VIOLATION", "NO_JSON_FORM", "CONTRACT_NEWER"}
    events = [event for case in vectors.load("streams") for event in case["events"]]
    assert {event["kind"] for event in events} == {"message", "error", "done", "refused"}
    forms = {plan_for(message_type(case)).form for case in vectors.load("documents")}
    assert forms == {Form.OBJECT}
