"""Documents through codecs and relays of both contracts, in all pairings."""

import itertools
import json

import pytest

from tests.documents import DOCUMENTS
from tests.fleet.documents import ANSWERS, NEWEST_ANSWER, NEWS, REQUESTS, STREAMS, told
from tests.fleet.fleet import CONTRACTS, Fleet
from tests.fleet.processes import NEW, OLD
from tests.test_readme import ROWS

pytestmark = pytest.mark.process

TYPED = [
    *(("ChatCompletionResponse", text) for text in ANSWERS),
    *(("CompletionChunk", text) for stream in STREAMS for text in stream),
    *(("ChatCompletionRequest", request.text) for request in REQUESTS),
    *((document.message_type.__name__, document.text.decode()) for document in DOCUMENTS),
    *(("ChatCompletionResponse", text) for texts in ROWS.values() for text in texts),
]


@pytest.mark.parametrize(
    ("writer", "relay", "reader"), [*itertools.product(CONTRACTS, ("", *CONTRACTS), CONTRACTS)]
)
def test_every_document_comes_back_equal(writer: str, relay: str, reader: str, fleet: Fleet) -> None:
    """From JSON, over a process that parses and serializes, to JSON."""
    # The workers live on: what the first pairings see for the first time, the later ones read fast.
    for kind, text in TYPED * 2:
        data = fleet.worker(writer).ask("to_binary", kind=kind, text=text, validate=False)
        if relay:
            data = fleet.worker(relay).ask("relay", kind=kind, data=data)
        assert told(fleet.worker(reader).ask("to_json", kind=kind, data=data)) == told(text)


@pytest.mark.parametrize("relay", CONTRACTS)
def test_what_is_written_for_the_newest_reader_is_typed_and_comes_back_equal(
    relay: str, fleet: Fleet
) -> None:
    new = fleet.worker(NEW)
    for kind, text in TYPED:
        data = new.ask("to_binary", kind=kind, text=text, validate=False, contract_revision=2)
        data = fleet.worker(relay).ask("relay", kind=kind, data=data)
        assert told(new.ask("to_json", kind=kind, data=data)) == told(text)
    data = new.ask("to_binary", kind="ChatCompletionResponse", text=NEWEST_ANSWER, contract_revision=2)
    shown = new.ask("show", kind="ChatCompletionResponse", data=data)
    assert [news for news in (*NEWS, "boolean: true") if news not in shown] == []
    assert new.ask("losses") == []


def test_what_is_written_for_an_older_reader_has_the_bytes_that_one_would_write(fleet: Fleet) -> None:
    """The older contract's own reader of JSON and the newer one's for that revision are the same."""
    for kind, text in TYPED:
        old, new = (
            fleet.worker(each).ask("to_binary", kind=kind, text=text, validate=False) for each in CONTRACTS
        )
        assert old == new


@pytest.mark.parametrize("relay", CONTRACTS)
def test_lowered_messages_are_lifted_to_what_they_were(relay: str, fleet: Fleet) -> None:
    new = fleet.worker(NEW)
    for kind, text in TYPED:
        data = new.ask("to_binary", kind=kind, text=text, validate=False, contract_revision=2)
        lowered = new.ask("lower", kind=kind, data=data, revision=1)
        passed = fleet.worker(relay).ask("relay", kind=kind, data=lowered)
        assert told(fleet.worker(OLD).ask("to_json", kind=kind, data=passed)) == told(text)
        shown = new.ask("show", kind=kind, data=data)
        assert _members_sorted(new.ask("lift", kind=kind, data=passed)) == _members_sorted(shown)


def _members_sorted(shown: str) -> str:
    """Sort what json_extra kept, whose order is that of the document or of the contract."""
    start, *rest = shown.split('members: "')
    texts = [start]
    for part in rest:
        end = next(at for at, letter in enumerate(part) if letter == '"' and not _is_escaped(part, at))
        texts.append("".join(sorted(part[:end])) + part[end:])
    return 'members: "'.join(texts)


def _is_escaped(text: str, at: int) -> bool:
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


@pytest.mark.parametrize("writer", CONTRACTS)
def test_an_answer_of_an_older_writer_is_typed_for_a_newer_program(writer: str, fleet: Fleet) -> None:
    data = fleet.worker(writer).ask(
        "to_binary", kind="ChatCompletionResponse", text=NEWEST_ANSWER, validate=False
    )
    lifted = fleet.worker(NEW).ask("lift", kind="ChatCompletionResponse", data=data)
    assert [news for news in (*NEWS, "boolean: true") if news not in lifted] == []
    unlifted = fleet.worker(NEW).ask("show", kind="ChatCompletionResponse", data=data)
    assert [news for news in (*NEWS, "boolean: true") if news in unlifted] == []


def test_what_a_newer_writer_sends_too_early_costs_itself_in_an_older_reader(fleet: Fleet) -> None:
    new, old = fleet.worker(NEW), fleet.worker(OLD)
    before = {(name, field): count for name, field, count in old.ask("losses")}
    data = new.ask("to_binary", kind="ChatCompletionResponse", text=NEWEST_ANSWER, contract_revision=2)
    found = old.answer("to_json", kind="ChatCompletionResponse", data=data)
    answer = json.loads(found["result"])
    (choice,) = answer["choices"]
    assert "generation_report" not in answer
    assert choice["finish_reason"] == "unrecognized"
    assert choice["message"]["content"] == [
        {"type": "text", "text": "t"},
        {"type": "reference", "reference_ids": [1]},
    ]
    assert choice["message"]["tool_calls"] == [{"type": "function", "function": {"name": "f"}}]
    places = {
        ("ChatCompletionResponse", 8),
        ("ChatCompletionChoice", 3),
        ("ContentChunk", 10),
        ("IntegerOrString", 3),
        ("ToolCall", 6),
        ("FunctionCall", 5),
    }
    after = {(name, field): count for name, field, count in old.ask("losses")}
    assert {place for place, count in after.items() if count > before.get(place, 0)} == places
    warned = [log for log in found["logs"] if "content of a newer contract was lost" in log]
    assert len(warned) == len(places - before.keys())
    assert old.answer("to_json", kind="ChatCompletionResponse", data=data)["logs"] == []


def test_a_number_that_is_not_known_is_written_as_the_string_beside_it(fleet: Fleet) -> None:
    new, old = fleet.worker(NEW), fleet.worker(OLD)
    choice = '{"index":0,"finish_reason":"stop","message":{}}'
    data = new.ask("to_binary", kind="ChatCompletionChoice", text=choice, contract_revision=2)
    number = data.replace("\x18\x01", "\x18\x06")
    assert (
        json.loads(old.ask("to_json", kind="ChatCompletionChoice", data=number))["finish_reason"]
        == "unrecognized"
    )
    # JsonExtra is field 1, its members field 1 in it.
    kept = '{"finish_reason":"content_filter"}'
    extra = f"\x0a{chr(len(kept) + 2)}\x0a{chr(len(kept))}{kept}"
    with_string = old.ask("to_json", kind="ChatCompletionChoice", data=extra + number)
    assert json.loads(with_string)["finish_reason"] == "content_filter"
