"""A message that a program builds from documented fields is a valid document, or `check` names why not."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import check, check_request, from_json, to_json
from mistralwire.codec._plan import EXTRA_FIELD
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import AgentsCompletionRequest, CompletionEvent, FIMCompletionRequest
from tests import built_messages
from tests.codec import engines
from tests.json_equality import parse_exactly
from tests.strategies import MESSAGE_TYPES, ROOT_TYPES

E = TypeVar("E", bound=Exception)

pytestmark = pytest.mark.usefixtures("no_losses")

types = st.sampled_from(MESSAGE_TYPES + ROOT_TYPES * 4 + (AgentsCompletionRequest, CompletionEvent))
careful = types.flatmap(built_messages.careful)
careless = types.flatmap(built_messages.careless)


@given(careful)
def test_careful_programs_build_valid_documents(message: Message) -> None:
    assert check(message) == []
    written = engines.write(message)
    again = engines.read(type(message), written)
    assert parse_exactly(to_json(again)) == parse_exactly(written)


@given(careful)
def test_what_careful_programs_build_comes_back_in_camel_case(message: Message) -> None:
    camel = engines.write(message, camel=True)
    again = engines.read(type(message), camel)
    assert parse_exactly(to_json(again)) == parse_exactly(to_json(message))


@given(careless)
def test_careless_programs_build_valid_documents_or_violations_are_named(message: Message) -> None:
    named = {violation.path for violation in check(message)}
    unwritable = _error(EncodeError, to_json, message)
    if unwritable is not None:
        assert unwritable.path in named
        return
    written = engines.write(message)
    refused = _error(DecodeError, from_json, type(message), written)
    if refused is not None:
        assert {violation.path for violation in refused.violations} <= named


@given(built_messages.careless(AgentsCompletionRequest) | built_messages.careless(FIMCompletionRequest))
def test_a_request_is_refused_if_and_only_if_violations_are_named(request: Message) -> None:
    """Requests have no members that are expected without being required."""
    refused = _error(DecodeError, check_request, request)
    assert ([] if refused is None else refused.violations) == check(request)


def _error(error_type: type[E], call: Callable[..., Any], *arguments: Any) -> E | None:
    """Return the error of that type that a call raises, or None."""
    try:
        call(*arguments)
    except error_type as error:
        return error
    return None


@given(careless)
def test_checking_and_writing_leave_a_message_as_it_is(message: Message) -> None:
    before = message.SerializeToString()
    check(message)
    assert message.SerializeToString() == before
    assert not message.HasField(EXTRA_FIELD)


@given(careless, st.data())
def test_no_content_of_a_message_makes_check_raise(message: Message, data: st.DataObject) -> None:
    wire = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4)) if wire else 0):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = type(message).FromString(bytes(wire))
    except (WireError, UnicodeDecodeError):
        return
    assert isinstance(check(changed), list)
