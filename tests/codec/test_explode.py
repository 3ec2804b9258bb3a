"""Responses taken apart into the chunks of a stream."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import (
    Accumulator,
    accumulate,
    clear_member,
    explode,
    from_dict,
    from_json,
    to_dict,
    to_json,
)
from mistralwire.codec._plan import plan_for
from mistralwire.errors import EncodeError
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionResponse,
    CompletionChunk,
    DeltaMessage,
    FIMCompletionResponse,
)
from tests import corpus
from tests.corpus import Body
from tests.documents import DOCUMENTS
from tests.strategies import Document, json_objects, loose_documents, to_json_text, valid_documents

Json = dict[str, Any]
Response = ChatCompletionResponse | FIMCompletionResponse

RESPONSE_TYPES: tuple[type[Response], ...] = (ChatCompletionResponse, FIMCompletionResponse)
RESPONSE_DOCUMENTS = [document for document in DOCUMENTS if document.message_type in RESPONSE_TYPES]

response_types = st.sampled_from(RESPONSE_TYPES)


def _typed(documents: Any) -> Any:
    return response_types.flatmap(
        lambda response_type: st.tuples(st.just(response_type), documents(response_type))
    )


@st.composite
def _complete_documents(draw: st.DrawFn) -> tuple[type[Response], Document]:
    """Generate valid responses whose choices all have a message, as those of real servers do."""
    response_type = draw(response_types)
    document = draw(valid_documents(response_type))
    choices = draw(st.lists(valid_documents(ChatCompletionChoice), min_size=1, max_size=3))
    document["choices"] = [
        {name: value for name, value in choice.items() if name != "message"}
        | {"message": draw(valid_documents(AssistantMessage))}
        for choice in choices
    ]
    return response_type, document


valid = _typed(valid_documents) | _complete_documents()
loose = _typed(loose_documents) | _typed(lambda _: json_objects())

TypedDocument = tuple[type[Response], Document]


def _accumulated(response_type: type[Response], chunks: list[CompletionChunk]) -> Response:
    accumulator: Accumulator[Any] = Accumulator(response_type)
    for chunk in chunks:
        accumulator.add(chunk)
    response: Response = accumulator.result()
    return response


def _response(**members: Any) -> Json:
    return {
        "id": "cmpl-7",
        "object": "chat.completion",
        "model": "m-1",
        "usage": {"total_tokens": 3},
    } | members


def _choice(message: Json, **members: Any) -> Json:
    return {"index": 0, "finish_reason": "stop", "message": message} | members


def _call(**members: Any) -> Json:
    return members | {"function": {"name": "f", "arguments": "{}"}}


def _completed(response: Response) -> Response:
    """Fill in the `object` and the `usage` of a response, as accumulating its chunks does."""
    document = to_dict(response)
    if not document:
        return response
    filled = copy.deepcopy(response)
    if document.get("object") is None:
        clear_member(filled, "object")
        filled.object = "chat.completion"
    if document.get("usage") is None:
        clear_member(filled, "usage")
        filled.usage.SetInParent()
    return filled


def _exploded(response: Response) -> list[CompletionChunk] | None:
    """Take a response apart; None if it has what its chunks would merge."""
    try:
        return explode(response)
    except EncodeError:
        assert _has_what_is_merged(to_dict(response))
        return None


def _has_what_is_merged(document: Json) -> bool:
    """Check for choices with the same index, calls that are not numbered in order, and empty roles."""
    choices = [choice for choice in document.get("choices") or [] if isinstance(choice, dict)]
    indexes = [choice["index"] for choice in choices if choice.get("index") is not None]
    if len({repr(index) for index in indexes}) < len(indexes):
        return True
    messages = [choice["message"] for choice in choices if isinstance(choice.get("message"), dict)]
    if any(message.get("role") == "" for message in messages):
        return True
    calls = [message.get("tool_calls") for message in messages]
    return any(isinstance(each, list) and not _are_apart(each) for each in calls)


def _are_apart(calls: list[Any]) -> bool:
    """Check that calls have names, different ids, and indexes in order or none at all."""
    if not all(isinstance(call, dict) for call in calls):
        return len(calls) < 2
    indexes = [call["index"] for call in calls if call.get("index") is not None]
    ids = [call["id"] for call in calls if call.get("id") not in (None, "", "null")]
    functions = [call["function"] if isinstance(call.get("function"), dict) else {} for call in calls]
    names = [function.get("name") not in (None, "", "null") for function in functions]
    if len({repr(id_) for id_ in ids}) < len(ids) or not all(names[1:]):
        return False
    if len(calls) > 1 and not names[0] and len(ids) < 2:
        return False
    if not indexes:
        return True
    ordered = all(type(index) is int for index in indexes) and sorted(set(indexes)) == indexes
    return ordered and len(indexes) == len(calls)


@given(valid)
def test_valid_responses_come_back_the_same(typed: TypedDocument) -> None:
    response = from_json(typed[0], to_json_text(typed[1]))
    chunks = _exploded(response)
    assert chunks is None or _accumulated(typed[0], chunks) == response


@given(_complete_documents())
def test_responses_with_messages_give_valid_chunks(typed: TypedDocument) -> None:
    for chunk in explode(from_json(typed[0], to_json_text(typed[1])), exact=False):
        assert from_json(CompletionChunk, to_json(chunk)) == chunk


@pytest.mark.parametrize(
    "text",
    [
        '{"usage":[],"odd":null,"choices":[{}]}',
        '{"odd":1,"usage":5,"even":2,"choices":[{}],"model":7}',
        '{"choices":[{"odd":1,"finish_reason":"tired","even":2}]}',
        '{"choices":[{"odd":1,"message":[],"even":2}]}',
        '{"choices":[{"odd":1,"finish_reason":5,"index":"x"}]}',
        '{"usage":null,"odd":1,"choices":[{"finish_reason":null}]}',
    ],
)
def test_members_without_a_field_keep_their_order(text: str) -> None:
    response = from_json(ChatCompletionResponse, text, validate=False)
    assert accumulate(explode(response)) == _completed(response)


@pytest.mark.parametrize("reason", ["stop", "brand_new"])
def test_only_the_last_chunk_has_a_finish_reason(reason: str) -> None:
    text = f'{{"choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"{reason}","odd":1}}]}}'
    chunks = explode(from_json(ChatCompletionResponse, text, validate=False))
    assert [to_dict(chunk)["choices"][0]["finish_reason"] for chunk in chunks] == [None, reason]


@given(loose)
def test_every_object_comes_back_the_same(typed: TypedDocument) -> None:
    response = from_json(typed[0], to_json_text(typed[1]), validate=False)
    chunks = _exploded(response)
    assert chunks is None or _accumulated(typed[0], chunks) == _completed(response)


@given(valid)
def test_the_response_stays_as_it_is(typed: TypedDocument) -> None:
    response = from_json(typed[0], to_json_text(typed[1]))
    before = copy.deepcopy(response)
    explode(response, exact=False)
    assert response == before


@pytest.mark.parametrize("document", RESPONSE_DOCUMENTS, ids=lambda document: document.name)
def test_documents_come_back_the_same(document: Any) -> None:
    response = from_json(document.message_type, document.text)
    assert _accumulated(document.message_type, explode(response)) == response


def test_messages_come_first_then_finish_reasons_and_usage() -> None:
    message = {"role": "assistant", "content": "It rains."}
    response = _response(created=5, p="x", choices=[_choice(message, grade=1), _choice({}, index=1)])
    constant = {"id": "cmpl-7", "model": "m-1", "object": "chat.completion.chunk", "created": 5}
    first, last = map(to_dict, explode(from_dict(ChatCompletionResponse, response)))
    assert first == constant | {
        "choices": [
            {"index": 0, "delta": message, "finish_reason": None, "grade": 1},
            {"index": 1, "delta": {}, "finish_reason": None},
        ],
        "p": "x",
    }
    assert last == constant | {
        "choices": [{"index": index, "delta": {}, "finish_reason": "stop"} for index in (0, 1)],
        "usage": {"total_tokens": 3},
    }


@pytest.mark.parametrize("members", [{}, {"choices": []}, {"choices": None}])
def test_a_response_without_choices_is_one_chunk(members: Json) -> None:
    response = from_dict(ChatCompletionResponse, _response(**members))
    (chunk,) = explode(response)
    assert to_dict(chunk) == _response(**members) | {"object": "chat.completion.chunk"}
    assert accumulate([chunk]) == response


def test_choices_keep_their_order() -> None:
    indexes = (2, 0, 10, 1)
    choices = [_choice({"content": f"{at}"}, index=index) for at, index in enumerate(indexes)]
    response = from_dict(ChatCompletionResponse, _response(choices=choices))
    assert accumulate(explode(response)) == response


def test_content_and_tool_calls_stay_in_their_pieces() -> None:
    text = {"type": "text", "text": "a"}
    thinking = {"type": "thinking", "thinking": [text, text, {"type": "text", "text": ""}]}
    call = {"id": "null", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": [text, text, thinking, thinking, text], "tool_calls": [call, call]}
    response = from_dict(ChatCompletionResponse, _response(choices=[_choice(message)]))
    assert accumulate(explode(response)) == response


def test_built_in_tools_messages_come_back() -> None:
    messages = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b", "tool_call_id": "c"}]
    choices = [{"index": 0, "finish_reason": "stop", "messages": messages}]
    choices.append(_choice({}, index=1, messages=messages))
    response = from_dict(ChatCompletionResponse, _response(choices=choices))
    assert accumulate(explode(response)) == response


def test_numbers_of_any_size_come_back() -> None:
    choices = b'[{"message":{"x":18446744073709551617},"y":0.10000000000000001}]'
    text = b'{"object":"","usage":{},"choices":%b,"z":1e400}' % choices
    response = from_json(ChatCompletionResponse, text, validate=False)
    assert to_json(accumulate(explode(response))) == text


@pytest.mark.parametrize(
    "members",
    [
        {"object": "chat.completion.chunk"},
        {"choices": [_choice({}, delta={"content": "a"})]},
        {"choices": [_choice({}, delta=None)]},
        {"choices": [{"index": 0, "finish_reason": "stop", "delta": {}}]},
        {"choices": [_choice({"toolCallId": "a"})]},
        {"choices": [_choice({"content": "a"}), _choice({"content": "b"})]},
        {"choices": [_choice({"tool_calls": [_call(index=0), _call(index=0)]})]},
        {"choices": [_choice({"tool_calls": [_call(id="a"), _call(id="a")]})]},
        {"choices": [_choice({"tool_calls": [_call(index=1), _call(index=0)]})]},
        {"choices": [_choice({"details": [{"index": 0, "text": "a"}, {"index": 0, "text": "b"}]})]},
    ],
    ids=[
        *("object", "delta", "null delta", "delta alone", "camel case", "same choice", "same index"),
        *("same id", "order", "same entry"),
    ],
)
def test_a_response_that_no_stream_can_carry_is_an_error(members: Json) -> None:
    with pytest.raises(EncodeError, match="stream can carry"):
        explode(from_dict(ChatCompletionResponse, _response(**members)))


def test_a_response_that_no_stream_can_carry_is_taken_apart_all_the_same_if_asked() -> None:
    calls = [_call(index=0, id="null"), _call(index=0, id="null")]
    choices = [_choice({"tool_calls": calls}, delta={"content": "x"}), _choice({"content": "b"})]
    response = from_dict(ChatCompletionResponse, _response(choices=choices))
    first, last = map(to_dict, explode(response, exact=False))
    assert [choice["delta"] for choice in first["choices"]] == [{"tool_calls": calls}, {"content": "b"}]
    assert [choice["finish_reason"] for choice in last["choices"]] == ["stop", "stop"]


def test_a_response_without_a_json_form_is_an_error() -> None:
    response = from_dict(ChatCompletionResponse, _response())
    response.json_extra.members = "["
    with pytest.raises(EncodeError):
        explode(response)


def test_names_that_only_chunks_know_are_those_of_the_errors() -> None:
    delta, message = plan_for(DeltaMessage).by_name, plan_for(AssistantMessage).by_name
    assert set(delta) - set(message) == {"tool_call_id", "toolCallId", "index", "metadata"}
    names = [plan_for(response_type).by_name for response_type in RESPONSE_TYPES]
    assert set(plan_for(CompletionChunk).by_name) == set(names[0]) == set(names[1])


@pytest.mark.parametrize(
    "members", [{"tool_call_id": "a"}, {"tool_call_id": 5}, {"index": 1}, {"metadata": "a"}]
)
def test_names_that_deltas_know_come_back_from_messages(members: Json) -> None:
    response = from_dict(ChatCompletionResponse, _response(choices=[_choice(members)]))
    assert accumulate(explode(response)) == response


@corpus.each_file(("chat_json",))
def test_recorded_responses_come_back_the_same(bodies: list[Body]) -> None:
    for body in bodies:
        response = from_json(ChatCompletionResponse, body.text)
        chunks = explode(response)
        assert accumulate(chunks) == response, body.name
        for chunk in chunks:
            assert from_json(CompletionChunk, to_json(chunk)) == chunk, body.name


@corpus.each_file(("chat_sse",))
def test_responses_from_recorded_streams_come_back_the_same(bodies: list[Body]) -> None:
    response = accumulate(from_json(CompletionChunk, body.text) for body in bodies)
    assert accumulate(explode(response)) == response
