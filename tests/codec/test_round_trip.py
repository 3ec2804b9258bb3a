"""JSON -> message -> JSON says what the JSON said, for every document that is accepted."""

import contextlib
import copy
import decimal
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import binary_to_json, from_dict, from_json, json_to_binary, to_dict, to_json
from mistralwire.codec._plan import plan_for
from mistralwire.errors import DecodeError
from mistralwire.v1 import ChatCompletionRequest, JsonExtra
from tests.cases import each_case
from tests.codec import engines
from tests.json_equality import meaning, parse_exactly
from tests.strategies import (
    MESSAGE_TYPES,
    ROOT_TYPES,
    Document,
    json_objects,
    loose_documents,
    to_json_text,
    valid_documents,
)

types = st.sampled_from(MESSAGE_TYPES + ROOT_TYPES * 4)


def _typed(documents: Any) -> Any:
    return types.flatmap(lambda message_type: st.tuples(st.just(message_type), documents(message_type)))


valid = _typed(valid_documents)
loose = _typed(loose_documents)
arbitrary = st.tuples(types, json_objects())

TypedDocument = tuple[type[Message], Document]


@given(valid)
def test_valid_documents_come_back_the_same(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = engines.read(message_type, text)
    assert meaning(message_type, engines.write(message)) == meaning(message_type, text)


@given(loose | arbitrary)
def test_every_object_comes_back_the_same_without_validation(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = engines.read(message_type, text, validate=False)
    assert meaning(message_type, engines.write(message)) == meaning(message_type, text)


@given(valid)
def test_valid_documents_give_the_same_message_without_validation(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    assert engines.read(message_type, text, validate=False) == engines.read(message_type, text)


@given(loose | arbitrary)
def test_what_validation_accepts_comes_back_the_same(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    try:
        message = from_json(message_type, text)
    except DecodeError:
        return
    assert meaning(message_type, to_json(message)) == meaning(message_type, text)


@given(loose)
def test_messages_survive_the_wire(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = from_json(message_type, text, validate=False)
    arrived = message_type.FromString(message.SerializeToString())
    assert arrived == message
    assert engines.write(arrived) == to_json(message)


@given(loose)
def test_binary_functions_agree_with_those_of_messages(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = from_json(message_type, text, validate=False)
    binary = json_to_binary(message_type, text, validate=False)
    assert message_type.FromString(binary) == message
    assert binary_to_json(message_type, binary) == to_json(message)
    assert binary_to_json(message_type, binary, names="camel", indent=2) == to_json(
        message, names="camel", indent=2
    )


@given(loose)
def test_python_values_give_the_message_back(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = from_json(message_type, text, validate=False)
    values = to_dict(message)
    again = from_dict(message_type, values, validate=False)
    if not _has_decimal(values):
        assert again == from_json(message_type, to_json(message), validate=False)
    assert meaning(message_type, to_json(again)) == meaning(message_type, text)


def _has_decimal(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_decimal, value.values() if isinstance(value, dict) else value))
    return isinstance(value, decimal.Decimal)


@given(loose)
def test_python_values_are_read_like_their_text_and_not_changed(typed: TypedDocument) -> None:
    message_type, document = typed
    before = copy.deepcopy(document)
    message = from_dict(message_type, document, validate=False)
    assert document == before
    assert meaning(message_type, to_json(message)) == meaning(message_type, to_json_text(document))


@given(valid)
def test_camel_case_names_are_read_back(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = from_json(message_type, text)
    camel = engines.write(message, camel=True)
    assert engines.read(message_type, camel) == from_json(message_type, to_json(message))


@given(loose)
def test_camel_case_names_lose_nothing_without_validation(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = from_json(message_type, text, validate=False)
    camel = engines.write(message, camel=True)
    again = engines.read(message_type, camel, validate=False)
    assert meaning(message_type, to_json(again)) == meaning(message_type, text)


@given(loose, st.sampled_from([1, 2, 4]))
def test_indented_text_says_the_same(typed: TypedDocument, indent: int) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = from_json(message_type, text, validate=False)
    indented = to_json(message, indent=indent)
    assert meaning(message_type, indented) == meaning(message_type, text)


@given(loose)
def test_members_come_in_contract_order_and_the_unknown_ones_last_in_theirs(typed: TypedDocument) -> None:
    message_type, document = typed
    message = from_json(message_type, to_json_text(document), validate=False)
    plan = plan_for(message_type)
    written = list(to_dict(message))
    unknown = [name for name in document if name not in plan.by_name]
    assert [name for name in written if name not in plan.by_name] == unknown
    held = from_dict(message_type, to_dict(message), validate=False)
    held.ClearField("json_extra")
    numbers = [plan.by_name[name].number for name in to_dict(held)]
    assert numbers == sorted(numbers)


@st.composite
def _almost_valid(draw: st.DrawFn) -> TypedDocument:
    message_type = draw(types)
    document = draw(valid_documents(message_type))
    _replace_one(draw, document)
    return message_type, document


def _replace_one(draw: st.DrawFn, container: Any) -> None:
    """Replace, drop or add one value somewhere in the container."""
    steps = list(container) if isinstance(container, dict) else list(range(len(container)))
    if not steps:
        return
    step = draw(st.sampled_from(steps))
    child = container[step]
    if isinstance(child, dict | list) and child and draw(st.booleans()):
        _replace_one(draw, child)
        return
    action = draw(st.sampled_from(("replace", "drop", "twin")))
    if action == "drop":
        del container[step]
    elif action == "twin" and isinstance(container, dict):
        container[f"{step}_"] = child
    else:
        container[step] = draw(
            st.sampled_from([None, True, 0, 1.5, 2**70, "", "\ud800", [], {}, [{}], [None], {"type": "text"}])
        )


@given(_almost_valid())
def test_a_document_with_one_thing_wrong_comes_back(typed: TypedDocument) -> None:
    message_type, text = typed[0], to_json_text(typed[1])
    message = engines.read(message_type, text, validate=False)
    assert meaning(message_type, engines.write(message)) == meaning(message_type, text)
    with contextlib.suppress(DecodeError):
        engines.read(message_type, text)


@pytest.mark.parametrize("size", range(2_030, 2_060, 7))
def test_documents_that_grow_on_the_wire_are_read(size: int) -> None:
    prefix = '{"model":"m","messages":[{"role":"user","content":[{"type":"reference","reference_ids":['
    text = prefix + ",".join(["-1"] * ((size - len(prefix)) // 3)) + "]}]}]}"
    message = engines.read(ChatCompletionRequest, text)
    assert parse_exactly(engines.write(message)) == parse_exactly(text.encode())


@each_case("message_type", MESSAGE_TYPES, ids=lambda message_type: message_type.__name__)
def test_the_empty_object_is_the_empty_message(message_type: type[Message]) -> None:
    message = engines.read(message_type, "{}", validate=False)
    filled = [member.number for member in plan_for(message_type).members if member.fill is not None]
    assert message == message_type(json_extra=JsonExtra(absent_fields=filled) if filled else None)
    assert engines.write(message) == b"{}"
