"""Hypothesis strategies for messages as programs build them, derived from the codec's plans.

Only documented fields are set, never `json_extra` and never `unknown_json`. `careful` programs read the
comments of the contract; `careless` ones leave out what is required and set what has no JSON form.
"""

import functools
import math
from typing import Any, TypeVar

from google.protobuf.message import Message
from hypothesis import strategies as st

from mistralwire.codec._plan import UNLISTED, FieldPlan, Form, Kind, MemberPlan, MessagePlan, plan_for
from tests.strategies import free_form_objects, free_form_values, int32s, int64s, texts, to_json_text

M = TypeVar("M", bound=Message)
Arguments = dict[str, Any]

_OPTIONAL_MEMBERS_MAX = 5
# A careless program forgets one needed member, or makes one mistake, of so many and one.
_FORGOTTEN_OF = 30
_MISTAKES_OF = 15
_BAD_TEXTS = ("", "{", "[1]", "nul", '{"a":NaN}')
_BAD_NUMBERS = (math.nan, math.inf, -math.inf)


def careful(message_type: type[M]) -> st.SearchStrategy[M]:
    """Return messages of programs that set every required field, and every field to a value that it has."""
    return _objects(plan_for(message_type), True).map(lambda arguments: message_type(**arguments))


def careless(message_type: type[M]) -> st.SearchStrategy[M]:
    """Return messages of programs that forget things, and set fields to what is no value of theirs."""
    return _objects(plan_for(message_type), False).map(lambda arguments: message_type(**arguments))


@functools.cache
def _objects(plan: MessagePlan, is_careful: bool) -> st.SearchStrategy[Arguments]:
    return _draw_object(plan, is_careful)


@st.composite
def _draw_object(draw: st.DrawFn, plan: MessagePlan, is_careful: bool) -> Arguments:
    arguments: Arguments = {}
    for member in draw(_members(plan)):
        if is_careful or not _is_needed(member) or draw(st.integers(0, _FORGOTTEN_OF)):
            field = draw(st.sampled_from(member.fields))
            arguments[field.name] = draw(_field(field, is_careful, _is_needed(member)))
    return arguments


@functools.cache
def _members(plan: MessagePlan) -> st.SearchStrategy[list[MemberPlan]]:
    """Return the members that a program sets: those that are needed, and some others."""
    needed = [member for member in plan.members if _is_needed(member)]
    others = [member for member in plan.members if not _is_needed(member)]
    if not others:
        return st.just(needed)
    chosen = st.lists(st.sampled_from(others), unique=True, max_size=_OPTIONAL_MEMBERS_MAX)
    return chosen.map(lambda some: needed + some)


def _is_needed(member: MemberPlan) -> bool:
    return (member.required or member.expected) and member.fill is None


@functools.cache
def _field(field: FieldPlan, is_careful: bool, is_needed: bool) -> st.SearchStrategy[Any]:
    value = _value(field, is_careful)
    if not field.repeated:
        return value
    # A repeated field without elements is an absent member.
    return st.lists(value, min_size=1 if is_needed and is_careful else 0, max_size=2)


def _value(field: FieldPlan, is_careful: bool) -> st.SearchStrategy[Any]:
    match field.kind:
        case Kind.MESSAGE:
            assert field.message is not None
            return _message(field.message, is_careful)
        case Kind.STRING:
            if field.constant is None:
                return texts
            return st.just(field.constant) if is_careful else _mostly(st.just(field.constant), texts)
        case Kind.INTEGER:
            return int32s if field.bits == 32 else int64s
        case Kind.NUMBER:
            finite = st.floats(allow_nan=False, allow_infinity=False)
            return finite if is_careful else _mostly(finite, st.sampled_from(_BAD_NUMBERS))
        case Kind.BOOLEAN:
            return st.booleans()
        case Kind.ENUM:
            listed = st.sampled_from(sorted(field.enum_strings))
            return listed if is_careful else _mostly(listed, st.sampled_from((0, UNLISTED)))
        case Kind.TEXT_ANY | Kind.TEXT_OBJECT:
            free = free_form_objects if field.kind is Kind.TEXT_OBJECT else free_form_values
            valid = free.map(to_json_text)
            return valid if is_careful else _mostly(valid, st.sampled_from(_BAD_TEXTS))


def _mostly(usual: st.SearchStrategy[Any], unusual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, _MISTAKES_OF).flatmap(lambda number: usual if number else unusual)


@functools.cache
def _message(plan: MessagePlan, is_careful: bool) -> st.SearchStrategy[Arguments]:
    if plan.form is Form.OBJECT:
        return st.deferred(lambda: _objects(plan, is_careful))
    if plan.form is Form.ARRAY:
        assert plan.item is not None
        item = plan.item
        return _field(item, is_careful, False).map(lambda items: {item.name: items})
    known = [field for field in plan.alternatives if field is not plan.unknown]
    alternatives = [_alternative(field, is_careful) for field in known]
    return st.one_of(alternatives) if is_careful else _mostly(st.one_of(alternatives), st.just({}))


def _alternative(field: FieldPlan, is_careful: bool) -> st.SearchStrategy[Arguments]:
    return _value(field, is_careful).map(lambda value: {field.name: value})
