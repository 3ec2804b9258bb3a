"""Answers cut as all kinds of servers cut them add up to themselves."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from mistralwire.codec import accumulate, check, from_dict, from_json, to_dict, to_json
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk
from tests import corpus
from tests.cases import each_case
from tests.codec.chunks import Json, make_call, read_chunk
from tests.codec.rechunking import MODES, Mode, rechunk
from tests.corpus import Body
from tests.documents import DOCUMENTS

_ROUNDS = 3
# In how many modes the calls of a recorded answer are cut: there are many answers.
_RECORDED_MODES = 20


def _response(*messages: Json) -> Json:
    choices = [
        {"index": at, "message": {"role": "assistant"} | message, "finish_reason": "stop"}
        for at, message in enumerate(messages)
    ]
    head = {"id": "cmpl-7", "object": "chat.completion", "model": "m-1", "created": 1_700_000_000}
    return head | {
        "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
        "choices": choices,
    }


def _calls(*names: str) -> list[Json]:
    return [
        make_call(f'{{"place": "Bern {at}"}}', name, id=f"call{at}", type="function")
        for at, name in enumerate(names)
    ]


WRITTEN = [
    _response({"content": "It rains in Bern, and it won't stop."}),
    _response({"content": "", "tool_calls": _calls("get_weather")}),
    _response({"content": None, "tool_calls": _calls("get_weather", "get_time", "get_weather", "a")}),
    _response(
        {"content": "One.", "refusal": None}, {"content": "Two.", "tool_calls": _calls("f", "get_weather")}
    ),
    _response(
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True},
                {"type": "text", "text": "It rains."},
            ],
            "tool_calls": [make_call({"n": [1, {"index": 0}]}, "f", id="a"), *_calls("g", "h")],
        }
    ),
]


def _is_usable(response: Json) -> bool:
    """Check that a response can be cut: it has messages, and its calls have ids that tell them apart."""
    choices = response.get("choices") or []
    for choice in choices:
        if not isinstance(choice.get("message"), dict) or not choice.get("finish_reason"):
            return False
        calls = choice["message"].get("tool_calls") or []
        ids = {call.get("id") for call in calls} - {None, "", "null"}
        if len(ids) < len(calls):
            return False
    indexes = [choice["index"] for choice in choices]
    return indexes != [] and indexes == list(range(len(indexes)))


def _normal(response: Json) -> Json:
    return to_dict(from_dict(ChatCompletionResponse, response, validate=False))


def _check_cut(response: Json, mode: Mode, seed: int) -> None:
    stream = rechunk(response, mode, random.Random(seed))
    chunks = [read_chunk(chunk) for chunk in stream.chunks]
    result = accumulate(chunks)
    assert to_dict(result) == _normal(stream.response), (mode, seed, stream.chunks)
    if not any(check(chunk) for chunk in chunks):
        from_json(ChatCompletionResponse, to_json(result))


def _check_cuts(response: Json, modes: Sequence[Mode], rounds: int) -> None:
    for mode in modes if '"tool_calls": [{' in json.dumps(response) else modes[:1]:
        for seed in range(rounds):
            _check_cut(response, mode, seed)


def _check_some_cuts(response: Json, name: str) -> None:
    """Cut a response in some modes, which differ from one name to the next."""
    if _is_usable(response):
        _check_cuts(response, random.Random(name).sample(MODES, _RECORDED_MODES), 1)


@pytest.mark.slow
@pytest.mark.parametrize("response", WRITTEN, ids=range(len(WRITTEN)))
def test_written_answers_add_up_however_they_are_cut(response: Json) -> None:
    assert _is_usable(response)
    _check_cuts(response, MODES, _ROUNDS)


@each_case(
    "document",
    [document for document in DOCUMENTS if document.message_type is ChatCompletionResponse],
    ids=lambda document: document.name,
)
def test_documents_add_up_however_they_are_cut(document: Any) -> None:
    response = to_dict(from_json(document.message_type, document.text))
    if _is_usable(response):
        _check_cuts(response, MODES, _ROUNDS)


@pytest.mark.slow
@corpus.each_file(("chat_json", "openai_json", "openrouter_json"))
def test_recorded_answers_add_up_however_they_are_cut(bodies: list[Body]) -> None:
    for body in bodies:
        response = to_dict(from_json(ChatCompletionResponse, body.text, validate=False))
        _check_some_cuts(response, body.name)


@pytest.mark.slow
@corpus.each_file(("chat_sse", "openai_sse", "openrouter_sse"))
def test_recorded_streams_add_up_however_they_are_cut_again(bodies: list[Body]) -> None:
    response = to_dict(accumulate(from_json(CompletionChunk, body.text, validate=False) for body in bodies))
    _check_some_cuts(response, bodies[0].name)
