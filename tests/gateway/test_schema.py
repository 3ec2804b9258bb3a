"""The schemas accept what the codec accepts, and refuse what it refuses, wherever a schema can tell."""

import functools
import json
import pathlib
import re
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import assume, given, note
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import mistralwire.v1
from mistralwire.codec import from_json
from mistralwire.codec._plan import FieldPlan, Form, MemberPlan, MessagePlan, plan_for
from mistralwire.errors import DecodeError, Violation
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    ErrorResponse,
    FIMCompletionRequest,
    HTTPValidationError,
    UsageInfo,
)
from tests import corpus
from tests.corpus import Body
from tests.documents import DOCUMENTS, Document
from tests.strategies import MESSAGE_TYPES, ROOT_TYPES, loose_documents, to_json_text, valid_documents
from tools.generate.contract import read_contract
from tools.openapi.schema import message_schemas, reference

PACKAGE = pathlib.Path(mistralwire.v1.__file__).parent
CONTRACT = read_contract(PACKAGE / "descriptor_set.binpb", PACKAGE / "json_options_pb2.py")
types = st.sampled_from(MESSAGE_TYPES) | st.sampled_from(ROOT_TYPES)
# What the codec says of values that are fine by their JSON type: ranges, digits, text that is not Unicode.
_BEYOND_SCHEMAS = {
    "Unicode text",
    "an integer from -2^31 to 2^31-1",
    "an integer from -2^63 to 2^63-1",
    "a number that a double holds exactly",
    "a number within the range of a double",
}


def _validator(message_type: type[Message]) -> Draft202012Validator:
    return _cached_validator(message_type.DESCRIPTOR.name)


@functools.cache
def _cached_validator(name: str) -> Draft202012Validator:
    message_type = getattr(mistralwire.v1, name)
    schemas = message_schemas(CONTRACT, [message_type])
    root = {**reference(name), "components": {"schemas": schemas}}
    Draft202012Validator.check_schema(root)
    return Draft202012Validator(root)


def _violations(message_type: type[Message], text: bytes | str) -> list[Violation]:
    try:
        from_json(message_type, text)
    except DecodeError as error:
        return list(error.violations)
    return []


def _documented(plan: MessagePlan, document: dict[str, Any]) -> dict[str, Any]:
    """Spell the names of a document as they are documented; a schema knows no other spelling."""
    spelled: dict[str, Any] = {}
    for name, value in document.items():
        member = plan.by_name.get(name)
        assume(member is None or member.name not in spelled)
        spelled[name if member is None else member.name] = (
            value if member is None else _documented_member(member, value)
        )
    return spelled


def _documented_member(member: MemberPlan, value: Any) -> Any:
    for field in member.fields:
        if field.message is not None:
            value = _documented_value(field, value)
    return value


def _documented_value(field: FieldPlan, value: Any) -> Any:
    plan = field.message
    if isinstance(value, list):
        within = field if field.repeated or plan is None else plan.item
        return value if within is None else [_documented_value(within, each) for each in value]
    if plan is None or not isinstance(value, dict):
        return value
    if plan.form is Form.OBJECT:
        return _documented(plan, value)
    tag = value.get(plan.discriminator or "")
    alternative = plan.untagged if tag is None else plan.tags.get(tag) if isinstance(tag, str) else None
    return value if alternative is None else _documented_value(alternative, value)


@given(types.flatmap(lambda each: st.tuples(st.just(each), valid_documents(each))))
def test_what_the_contract_accepts_fits(case: tuple[type[Message], dict[str, Any]]) -> None:
    message_type, document = case
    text = to_json_text(document)
    assert not _violations(message_type, text)
    spelled = _documented(plan_for(message_type), json.loads(text))
    _validator(message_type).validate(spelled)


def _is_beyond_schemas(violation: Violation) -> bool:
    # The codec names the range of an integer up to 64 bits, and only the type of a larger one.
    is_large = re.fullmatch(r"the number -?[0-9]{20,}", violation.found) is not None
    return violation.expected in _BEYOND_SCHEMAS or (violation.expected.endswith("-bit integer") and is_large)


@given(types.flatmap(lambda each: st.tuples(st.just(each), loose_documents(each))))
def test_codec_and_schema_judge_alike(case: tuple[type[Message], dict[str, Any]]) -> None:
    message_type, document = case
    text = to_json_text(document)
    spelled = _documented(plan_for(message_type), json.loads(text))
    violations = _violations(message_type, text)
    note(str(violations))
    if violations:
        assume(not all(map(_is_beyond_schemas, violations)))
    assert _validator(message_type).is_valid(spelled) is not bool(violations)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_documents_fit(document: Document) -> None:
    from_json(document.message_type, document.text)
    _validator(document.message_type).validate(json.loads(document.text))


@pytest.mark.slow
@corpus.each_file(corpus.ALL)
def test_recorded_bodies_are_judged_alike(bodies: list[Body]) -> None:
    for body in bodies:
        violations = [
            each for each in _violations(body.message_type, body.text) if each.expected not in _BEYOND_SCHEMAS
        ]
        is_valid = _validator(body.message_type).is_valid(json.loads(body.text))
        assert is_valid is not bool(violations), (body.name, violations)


_QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
_TOOL: dict[str, Any] = {"function": {"name": "f", "parameters": {}}}
_CHUNK_CHOICE: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": None}


def _chunk(choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": "1", "model": "m", "choices": [choice]}


@pytest.mark.parametrize(
    ("message_type", "document"),
    [
        (ChatCompletionRequest, _QUESTION),
        (ChatCompletionRequest, {**_QUESTION, "new": {"a": [1]}, "temperature": None, "stop": ["a"]}),
        (ChatCompletionRequest, {**_QUESTION, "service_tier": "new", "tool_choice": "new", "tools": []}),
        (ChatCompletionRequest, {**_QUESTION, "messages": [{"role": "new", "x": 1}, {}, {"role": None}]}),
        (ChatCompletionRequest, {**_QUESTION, "tools": [{"type": "new"}, {"type": "function", **_TOOL}]}),
        (ChatCompletionRequest, {**_QUESTION, "tools": [_TOOL, {"type": None, **_TOOL}]}),
        (ChatCompletionRequest, {**_QUESTION, "max_tokens": 1.0}),
        (CompletionChunk, _chunk(_CHUNK_CHOICE)),
        (ErrorResponse, {"message": {"detail": []}, "code": 7, "param": None}),
        (HTTPValidationError, {"detail": [{"loc": ["a", 0], "msg": "m", "type": "t", "input": None}]}),
        (UsageInfo, {}),
    ],
)
def test_what_fits(message_type: type[Message], document: dict[str, Any]) -> None:
    assert not _violations(message_type, json.dumps(document))
    _validator(message_type).validate(document)


@pytest.mark.parametrize(
    ("message_type", "document"),
    [
        (ChatCompletionRequest, {"messages": []}),
        (ChatCompletionRequest, {**_QUESTION, "model": None}),
        (ChatCompletionRequest, {**_QUESTION, "messages": {}}),
        (ChatCompletionRequest, {**_QUESTION, "temperature": "hot"}),
        (ChatCompletionRequest, {**_QUESTION, "max_tokens": 1.5}),
        (ChatCompletionRequest, {**_QUESTION, "stream": 1}),
        (ChatCompletionRequest, {**_QUESTION, "stop": [1]}),
        (ChatCompletionRequest, {**_QUESTION, "metadata": []}),
        (ChatCompletionRequest, {**_QUESTION, "service_tier": 1}),
        (ChatCompletionRequest, {**_QUESTION, "messages": [{"role": "user"}]}),
        (ChatCompletionRequest, {**_QUESTION, "messages": [{"role": 1}]}),
        (ChatCompletionRequest, {**_QUESTION, "messages": [{"role": "system", "content": None}]}),
        (ChatCompletionRequest, {**_QUESTION, "messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        (ChatCompletionRequest, {**_QUESTION, "tools": [{}]}),
        (ChatCompletionRequest, {**_QUESTION, "tools": [{"type": None}]}),
        (ChatCompletionRequest, {**_QUESTION, "prediction": {"type": "other"}}),
        (FIMCompletionRequest, {"model": "m", "prompt": None}),
        (ChatCompletionResponse, {"id": "1", "object": "o", "model": "m", "usage": {}, "choices": [{}]}),
        (CompletionChunk, _chunk({"index": 0, "delta": {}})),
        (CompletionChunk, _chunk({**_CHUNK_CHOICE, "delta": None})),
        (HTTPValidationError, {"detail": [{"loc": [1.5], "msg": "m", "type": "t"}]}),
    ],
)
def test_what_does_not_fit(message_type: type[Message], document: dict[str, Any]) -> None:
    assert _violations(message_type, json.dumps(document))
    assert not _validator(message_type).is_valid(document)


def test_what_is_no_message_has_no_schema() -> None:
    with pytest.raises(TypeError):
        message_schemas(CONTRACT, [Message])


def test_members_and_types_say_what_the_contract_says() -> None:
    schemas = message_schemas(CONTRACT, [ChatCompletionRequest])
    request = schemas["ChatCompletionRequest"]
    assert request["description"] == "A request for a chat completion, answered in one piece."
    assert request["properties"]["model"]["description"] == "Model to use, by identifier or alias."
    stop = "Strings at which generation stops: one string, or a list of them. Absent: none."
    assert request["properties"]["stop"]["description"] == stop
    effort = schemas["ReasoningEffort"]["anyOf"]
    assert effort[0] == {"description": "Not at all.", "type": "string", "const": "none"}
    assert effort[-1]["type"] == "string"
    assert "const" not in effort[-1]


def test_every_type_and_member_is_explained_and_none_in_terms_of_protobuf() -> None:
    schemas = message_schemas(CONTRACT, MESSAGE_TYPES)
    assert len(schemas) > len(MESSAGE_TYPES)
    described = [schema["description"] for schema in schemas.values()]
    for schema in schemas.values():
        described += [member["description"] for member in schema.get("properties", {}).values()]
    for text in described:
        assert text
        assert "json_extra" not in text
        assert "JSON text" not in text
    assert "json_extra" not in json.dumps(schemas)
