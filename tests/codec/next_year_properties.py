"""What holds for every document of a contract with two revisions; `test_revision` runs it with next year's.

Beside this process, whose contract has revision 2, there is one with this year's.
"""

import os
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire import v1
from mistralwire.codec import (
    DEFAULT_LIMITS,
    SseBatchDecoder,
    check_request,
    from_json,
    json_to_binary,
    lift,
    losses,
    lower,
    read_request,
    to_json,
)
from mistralwire.errors import DecodeError
from tests.codec import engines
from tests.fleet.processes import PROGRAMS, Process
from tests.json_equality import meaning, parse_exactly
from tests.strategies import Document, loose_documents, to_json_text, valid_documents

assert v1.CONTRACT_REVISION == 2

M = TypeVar("M", bound=Message)

# The messages with additions, and some around them.
ANSWERS: list[type[Message]] = [v1.ChatCompletionResponse, v1.CompletionChunk]
REQUESTS: list[type[Message]] = [v1.ChatCompletionRequest, v1.AgentsCompletionStreamRequest]
PARTS: list[type[Message]] = [
    *(v1.AssistantMessage, v1.DeltaMessage, v1.UserMessage, v1.ToolCall, v1.FunctionCall),
    *(v1.ReferenceChunk, v1.ChatCompletionChoice, v1.CompletionResponseStreamChoice),
]
TypedDocument = tuple[type[Message], Document]


def _typed(types: list[type[Message]]) -> st.SearchStrategy[TypedDocument]:
    return st.sampled_from(types).flatmap(
        lambda kind: st.tuples(st.just(kind), valid_documents(kind) | loose_documents(kind))
    )


NATIVE: Any = engines.native_engine() if engines.has_native_engine() else None

documents = _typed([*ANSWERS, *REQUESTS, *PARTS])
requests = _typed(REQUESTS)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    environment = {**os.environ, "PYTHONPATH": os.environ["THIS_YEAR"]}
    log = tmp_path_factory.mktemp("old") / "log"
    with Process([os.environ["PYTHON"], str(PROGRAMS / "worker.py")], environment, log) as worker:
        assert worker.ask("revision") == 1
        yield worker


def settled(message: M) -> M:
    """Return a message with the members that json_extra kept in one order."""
    copy = type(message).FromString(message.SerializeToString())
    for part in _parts(copy):
        extra = getattr(part, "json_extra", None)
        if extra is not None and extra.members:
            extra.members = repr(sorted(parse_exactly(extra.members).items()))
    return copy


def _parts(message: Message) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in (value,) if isinstance(value, Message) else value:
                yield from _parts(item)


def without_extra(message: M) -> M:
    """Return a message as a program may have made it, which knows nothing of json_extra."""
    copy = type(message).FromString(message.SerializeToString())
    for part in [*_parts(copy)]:
        if "json_extra" in part.DESCRIPTOR.fields_by_name:
            part.ClearField("json_extra")
    return copy


def reading(message: M) -> M:
    """Return what a reader makes of a message's JSON."""
    return from_json(type(message), to_json(message), validate=False)


@given(documents)
def test_a_lowered_message_says_the_same_and_lifts_to_what_it_was(typed: TypedDocument) -> None:
    kind, text = typed[0], to_json_text(typed[1])
    message = from_json(kind, text, validate=False)
    lowered = lower(message, 1)
    assert meaning(kind, to_json(lowered)) == meaning(kind, text)
    assert settled(lift(lowered)) == settled(message)
    assert lower(lowered, 1) is lowered
    assert lift(message) is message or settled(lift(message)) == settled(message)


@given(documents)
def test_a_lowered_message_has_nothing_that_its_reader_does_not_know(
    old: Process, typed: TypedDocument
) -> None:
    kind, text = typed[0], to_json_text(typed[1])
    before = losses()
    lowered = lower(from_json(kind, text, validate=False), 1)
    data = lowered.SerializeToString().decode("latin-1")
    answer = old.answer("to_json", kind=kind.__name__, data=data)
    assert meaning(kind, answer["result"]) == meaning(kind, text)
    assert answer["logs"] == []
    assert old.ask("losses") == []
    assert losses() == before


@given(documents)
def test_a_program_s_own_message_says_the_same_lowered_and_lifted(typed: TypedDocument) -> None:
    """Lifting normalises: it is what a reader makes of the message's JSON, with its tags in their fields."""
    kind, text = typed[0], to_json_text(typed[1])
    message = without_extra(from_json(kind, text, validate=False))
    lowered = lower(message, 1)
    assert meaning(kind, to_json(lowered)) == meaning(kind, to_json(message))
    if lowered is not message:
        assert settled(lift(lowered)) == settled(reading(message))


@given(documents)
def test_bytes_for_an_older_reader_are_those_that_it_would_write(old: Process, typed: TypedDocument) -> None:
    kind, text = typed[0], to_json_text(typed[1])
    data = json_to_binary(kind, text, validate=False)
    message = kind.FromString(data)
    theirs = old.ask("to_binary", kind=kind.__name__, text=text, validate=False)
    assert message == kind.FromString(theirs.encode("latin-1"))
    assert meaning(kind, old.ask("to_json", kind=kind.__name__, data=data.decode("latin-1"))) == meaning(
        kind, text
    )
    assert settled(lift(message)) == settled(from_json(kind, text, validate=False))


@given(documents)
def test_what_an_older_reader_is_sent_too_early_never_costs_more_than_itself(
    old: Process, typed: TypedDocument
) -> None:
    kind, text = typed[0], to_json_text(typed[1])
    data = json_to_binary(kind, text, validate=False, contract_revision=2)
    before = _lost(old)
    found = parse_exactly(old.ask("to_json", kind=kind.__name__, data=data.decode("latin-1")))
    whole = parse_exactly(to_json(kind.FromString(data)))
    assert _is_part(found, whole)
    if found == whole:
        assert _lost(old) == before
    # The one thing that is not counted is a note in json_extra about a field that is not known.
    elif _without_notes(found) != _without_notes(whole):
        assert _lost(old) > before


def _lost(worker: Process) -> int:
    return sum(count for *_, count in worker.ask("losses"))


def _without_notes(value: Any) -> Any:
    """Return a value without members that are null or empty."""
    if isinstance(value, dict):
        members = {name: _without_notes(item) for name, item in value.items()}
        return {name: item for name, item in members.items() if item is not None and item != []}
    return list(map(_without_notes, value)) if isinstance(value, list) else value


def _is_part(found: Any, whole: Any) -> bool:
    """Check whether a value is what another one is, without some members and elements."""
    if isinstance(found, dict) and isinstance(whole, dict):
        return all(name in whole and _is_part(value, whole[name]) for name, value in found.items())
    if isinstance(found, list) and isinstance(whole, list):
        rest = iter(whole)
        return all(any(_is_part(item, candidate) for candidate in rest) for item in found)
    return bool(found == whole) or found == "unrecognized"


@given(requests)
def test_a_request_is_accepted_if_one_of_the_contracts_accepts_it(old: Process, typed: TypedDocument) -> None:
    kind, text = typed[0], to_json_text(typed[1])
    accepted = {
        2: _accepts(kind, text),
        1: "result" in old.answer("to_binary", kind=kind.__name__, text=text),
    }
    for oldest, accepts in ((1, accepted[1] or accepted[2]), (2, accepted[2])):
        try:
            message = read_request(kind, text, oldest_revision=oldest)
        except DecodeError:
            assert not accepts
        else:
            assert accepts
            assert meaning(kind, to_json(message)) == meaning(kind, text)
            assert settled(lift(message)) == settled(from_json(kind, text, validate=False))
            check_request(lower(message, 1), oldest_revision=oldest)


def _accepts(kind: type[Message], text: str) -> bool:
    try:
        from_json(kind, text)
    except DecodeError:
        return False
    return True


@pytest.mark.skipif(not engines.has_native_engine(), reason=engines.WHY_SKIPPED)
@given(documents, st.sampled_from([1, 2]), st.booleans())
def test_the_native_engine_converts_by_every_revision_as_the_python_engine_does(
    typed: TypedDocument, revision: int, validate: bool
) -> None:
    kind, text = typed[0], to_json_text(typed[1])
    wire = NATIVE.json_to_binary(kind, text, validate, DEFAULT_LIMITS, revision)
    expected = engines.python_from_json(kind, text, validate=validate, revision=revision)
    if wire is None:
        assert isinstance(expected, DecodeError)
        return
    assert wire == expected
    for camel in (False, True):
        written = NATIVE.binary_to_json(kind, wire, "camel" if camel else "snake", None)
        assert written in (None, engines.python_to_json(kind, wire, camel=camel))


@given(
    st.lists(loose_documents(v1.CompletionChunk) | valid_documents(v1.CompletionChunk), max_size=3),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_a_batch_is_written_for_the_oldest_reader_by_both_engines(
    chunks: list[Document], revision: int, validate: bool
) -> None:
    texts = [to_json_text({"choices": [], **chunk}).encode() for chunk in chunks]
    stream = b"".join(b"data: %b\n\n" % text for text in texts)

    def batch() -> list[Any]:
        decoder = SseBatchDecoder(v1.CompletionChunk, validate=validate, contract_revision=revision)
        found = decoder.feed(stream)
        return [found.wire, found.count, found.usage, found.finish_reasons, str(found.failure)]

    with engines.python_sse():
        expected = batch()
    if expected[1] == len(texts):
        wires = [
            json_to_binary(v1.CompletionChunk, text, validate=validate, contract_revision=revision)
            for text in texts
        ]
        whole = v1.ChatCompletionStreamResponse(chunks=map(v1.CompletionChunk.FromString, wires))
        assert v1.ChatCompletionStreamResponse.FromString(expected[0]) == whole
    if engines.has_native_engine():
        with engines.native_sse():
            assert batch() == expected
