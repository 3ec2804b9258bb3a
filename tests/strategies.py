"""Hypothesis strategies for the JSON of any message, derived from the codec's plans.

`valid_documents` breaks no rule of the contract, and goes where rules end: members that are not documented,
strings outside enums, unknown tags, nulls, empty arrays, either spelling of names. `loose_documents` breaks
every rule, near the contract; `json_objects` does not know the contract.
"""

import decimal
import functools
import json
from typing import Any

from google.protobuf.message import Message
from hypothesis import strategies as st

import mistralwire.v1
from mistralwire.codec._plan import FieldPlan, Form, Kind, MemberPlan, MessagePlan, plan_for

Document = dict[str, Any]

# Names that protobuf, Python or the codec give a meaning to, and JSON does not.
_ODD_NAMES = (
    *("json_extra", "jsonExtra", "content_string", "contentArray", "stop_array", "oneof", "kind", "items"),
    *("members", "null_fields", "unknown_json", "class", "None", "__init__", "DESCRIPTOR", "WhichOneof"),
    *("MODEL", "Usage", "finishreason", "toolcalls", "tool_Calls", "p", "", " ", "a.b", "0"),
    *("naïve", "名前", "😀", "\u0000", '"', "\\", "\u2028"),
)


def _is_json_object(message_type: Any) -> bool:
    try:
        plan_for(message_type)
    except TypeError:
        return False
    return True


MESSAGE_TYPES: tuple[type[Message], ...] = tuple(
    message_type
    for name in mistralwire.v1.__all__
    if _is_json_object(message_type := getattr(mistralwire.v1, name))
)
"""Every message of the contract that is a JSON object."""

ROOT_TYPES: tuple[type[Message], ...] = (
    mistralwire.v1.ChatCompletionRequest,
    mistralwire.v1.ChatCompletionResponse,
    mistralwire.v1.CompletionChunk,
    mistralwire.v1.FIMCompletionRequest,
    mistralwire.v1.ErrorResponse,
)
"""The messages that travel as documents of their own: the deepest ones."""

texts = st.text(max_size=12) | st.sampled_from(
    ["", "\u0000", "😀", "é\u0301", '"\\/\b\f\n\r\t', "\u2028", "null"]
)
texts_with_surrogates = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    ["\ud800", "\udfff", "a\udc00b", "\udc00\ud800"]
)
names = st.sampled_from(_ODD_NAMES) | st.text(max_size=6)

int64s = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 2**53 + 1, 2**63 - 1, -(2**63)])
int32s = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, -1, 2**31 - 1, -(2**31)])
big_integers = st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**40 + 1, -(10**25)]) | st.integers(
    -(10**60), 10**60
)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, -0.0, 5e-324, 1e308, 1e22])
long_decimals = st.sampled_from(
    [
        decimal.Decimal(text)
        for text in (
            "0.1000000000000000055",
            "9007199254740993.0",
            "1e-400",
            "3.141592653589793238462643",
            "1E+22",
        )
    ]
)
far_decimals = st.sampled_from([decimal.Decimal(text) for text in ("1e400", "-1e999", "1e100000")])


def json_values(text: st.SearchStrategy[str] = texts) -> st.SearchStrategy[Any]:
    """Generate any JSON value, three levels deep at most, with numbers that no machine type holds."""
    scalars = st.none() | st.booleans() | int64s | big_integers | floats | long_decimals | far_decimals | text
    return st.recursive(
        scalars,
        lambda children: st.lists(children, max_size=3) | st.dictionaries(names, children, max_size=3),
        max_leaves=6,
    )


free_form_values = json_values()
free_form_objects = st.dictionaries(names, free_form_values, max_size=3)
wild_values = json_values(texts | texts_with_surrogates)


def valid_documents(message_type: type[Message]) -> st.SearchStrategy[Document]:
    """Generate documents that the contract accepts."""
    return _valid_objects(plan_for(message_type))


def loose_documents(message_type: type[Message]) -> st.SearchStrategy[Document]:
    """Generate JSON objects that look like documents of this type and break its rules anywhere."""
    return _loose_objects(plan_for(message_type))


def json_objects() -> st.SearchStrategy[Document]:
    """Generate JSON objects that know nothing of the contract."""
    return st.dictionaries(names | texts_with_surrogates, wild_values, max_size=5)


@functools.cache
def _unknown_names(plan: MessagePlan) -> st.SearchStrategy[str]:
    return names.filter(lambda name: name not in plan.by_name)


@st.composite
def _draw_valid_object(draw: st.DrawFn, plan: MessagePlan) -> Document:
    optional = [member for member in plan.members if not member.required]
    chosen = draw(st.lists(st.sampled_from(optional), unique=True, max_size=4)) if optional else []
    document = {}
    for member in draw(st.permutations([*(m for m in plan.members if m.required), *chosen])):
        name = draw(st.sampled_from((member.name, member.name, member.camel)))
        document[name] = draw(_valid_member(member))
    if draw(st.integers(0, 2)) == 0:
        document |= draw(st.dictionaries(_unknown_names(plan), free_form_values, min_size=1, max_size=2))
    return document


@functools.cache
def _valid_objects(plan: MessagePlan) -> st.SearchStrategy[Document]:
    return _draw_valid_object(plan)


@functools.cache
def _valid_member(member: MemberPlan) -> st.SearchStrategy[Any]:
    values = st.one_of([_valid_field(field) for field in member.fields])
    return values if member.required and not member.nullable else values | st.none()


@functools.cache
def _valid_field(field: FieldPlan) -> st.SearchStrategy[Any]:
    if not field.repeated:
        return _valid_value(field, element=False)
    return st.lists(_valid_value(field, element=True), max_size=2)


def _valid_value(field: FieldPlan, *, element: bool) -> st.SearchStrategy[Any]:
    match field.kind:
        case Kind.STRING:
            return texts if field.constant is None else st.just(field.constant)
        case Kind.INTEGER:
            if field.bits == 32:
                return int32s | st.integers(-(2**31), 2**31 - 1).map(float)
            return int64s | st.integers(-(2**53), 2**53).map(float)
        case Kind.NUMBER:
            exact = floats | st.integers(-(2**53), 2**53)
            return exact if element else exact | long_decimals | st.just(2**53 + 1)
        case Kind.BOOLEAN:
            return st.booleans()
        case Kind.ENUM:
            return st.sampled_from(sorted(field.enum_numbers)) | texts
        case Kind.TEXT_ANY:
            return free_form_values
        case Kind.TEXT_OBJECT:
            return free_form_objects
        case Kind.MESSAGE:
            assert field.message is not None
            return _valid_message(field.message)


@functools.cache
def _valid_message(plan: MessagePlan) -> st.SearchStrategy[Any]:
    if plan.form is Form.OBJECT:
        return _valid_objects(plan)
    if plan.form is Form.ARRAY:
        assert plan.item is not None
        return _valid_field(plan.item)
    if plan.discriminator is None:
        return st.one_of([_valid_field(field) for field in plan.alternatives])
    known = [_tagged(plan.discriminator, tag, field) for tag, field in plan.tags.items()]
    return st.one_of([*known, _unknown_tagged(plan)])


def _tagged(discriminator: str, tag: str, field: FieldPlan) -> st.SearchStrategy[Document]:
    def with_tag(document: Document, first: bool) -> Document:
        untagged = {key: value for key, value in document.items() if key != discriminator}
        return {discriminator: tag, **untagged} if first else {**untagged, discriminator: tag}

    assert field.message is not None
    return st.builds(with_tag, _valid_objects(field.message), st.booleans())


def _unknown_tagged(plan: MessagePlan) -> st.SearchStrategy[Document]:
    unknown_tags = texts.filter(lambda tag: tag not in plan.tags)
    objects = st.builds(
        lambda document, tag: {**document, plan.discriminator: tag}, free_form_objects, unknown_tags
    )
    if plan.untagged is not None:
        return objects
    without = free_form_objects.map(
        lambda document: {key: value for key, value in document.items() if key != plan.discriminator}
    )
    return objects | without | without.map(lambda document: {**document, plan.discriminator: None})


@st.composite
def _draw_loose_object(draw: st.DrawFn, plan: MessagePlan) -> Document:
    spelled = st.sampled_from(sorted(plan.by_name) or ["x"])
    document = {}
    for name in draw(st.lists(spelled | spelled | names, unique=True, max_size=5)):
        member = plan.by_name.get(name)
        document[name] = draw(wild_values if member is None else _loose_member(member))
    return document


@functools.cache
def _loose_objects(plan: MessagePlan) -> st.SearchStrategy[Document]:
    return _draw_loose_object(plan) | _valid_objects(plan)


@functools.cache
def _loose_member(member: MemberPlan) -> st.SearchStrategy[Any]:
    near = [_loose_field(field) for field in member.fields]
    return st.one_of([*near, *near, wild_values])


@functools.cache
def _loose_field(field: FieldPlan) -> st.SearchStrategy[Any]:
    plan = field.message
    if plan is None:
        value = _valid_value(field, element=field.repeated)
    elif plan.form is Form.OBJECT:
        value = _loose_objects(plan)
    elif plan.form is Form.ARRAY:
        assert plan.item is not None
        value = _loose_field(plan.item)
    else:
        value = st.one_of([_loose_alternative(plan, alternative) for alternative in plan.alternatives])
    return st.lists(value | value | wild_values, max_size=3) if field.repeated else value


def _loose_alternative(plan: MessagePlan, field: FieldPlan) -> st.SearchStrategy[Any]:
    if plan.discriminator is None or field.message is None:
        return _loose_field(field)
    tags = st.sampled_from([*plan.tags, None, 5]) | texts
    return st.builds(
        lambda document, tag: {plan.discriminator: tag, **document}, _loose_objects(field.message), tags
    )


def to_json_text(value: Any) -> str:
    """Write a generated value as JSON text, its numbers digit by digit."""
    match value:
        case dict():
            return "{" + ",".join(f"{_string(key)}:{to_json_text(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(to_json_text, value)) + "]"
        case str():
            return _string(value)
        case decimal.Decimal():
            return str(value)
        case _:
            return json.dumps(value)


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)
