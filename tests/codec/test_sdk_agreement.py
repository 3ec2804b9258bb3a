"""Mistral's own SDK takes what the codec writes for what the codec read."""

import importlib
import json
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.message import Message

from mistralwire.codec import from_json, to_json
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse
from tests import corpus
from tests.corpus import Body
from tests.documents import DOCUMENTS

pytest.importorskip("mistralai.gcp.client.models", reason="needs mistralai with its extra gcp")

MODULES = {"api": "mistralai.client.models", "vertex": "mistralai.gcp.client.models"}
RESPONSES = (ChatCompletionResponse, CompletionChunk, FIMCompletionResponse)
OWN = [
    Body(document.name, document.message_type, document.text)
    for document in DOCUMENTS
    if document.message_type in RESPONSES
]


@pytest.fixture(params=MODULES, scope="module")
def models(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(MODULES[request.param])


def _outcome(models: ModuleType, message_type: type[Message], text: bytes) -> Any:
    """Give the SDK's model of a body, or where and why it refuses the body."""
    from pydantic import ValidationError

    model_type = getattr(models, message_type.DESCRIPTOR.name)
    try:
        return model_type.model_validate_json(text)
    except ValidationError as error:
        return {(tuple(each["loc"]), each["type"]) for each in error.errors()}


def _assert_agreement(models: ModuleType, body: Body) -> None:
    message = from_json(body.message_type, body.text, validate=False)
    for indent in (None, 2):
        written = to_json(message, indent=indent)
        found = _outcome(models, body.message_type, written)
        assert found == _outcome(models, body.message_type, body.text), body.name
        if not isinstance(found, set):
            dumped = found.model_dump(mode="json", by_alias=True)
            assert dumped == _outcome(models, body.message_type, body.text).model_dump(
                mode="json", by_alias=True
            )


@pytest.mark.parametrize("body", OWN, ids=lambda body: body.name)
def test_the_sdk_reads_our_documents_the_same(models: ModuleType, body: Body) -> None:
    _assert_agreement(models, body)


@pytest.mark.parametrize("bodies", corpus.all_files())
def test_the_sdk_reads_recorded_bodies_the_same(models: ModuleType, bodies: list[Body]) -> None:
    for body in bodies:
        if body.message_type in RESPONSES:
            _assert_agreement(models, body)


@pytest.mark.parametrize(
    "name",
    ["ChatCompletionResponse.text", "ChatCompletionResponse.tool_calls", "ChatCompletionResponse.logprobs"],
)
def test_the_sdk_accepts_what_the_codec_writes(models: ModuleType, name: str) -> None:
    """Agreement alone would hold for two refusals."""
    (body,) = (body for body in OWN if body.name == name)
    written = to_json(from_json(body.message_type, body.text))
    model = _outcome(models, body.message_type, written)
    original = json.loads(body.text)
    assert model.id == original["id"]
    assert model.choices[0].finish_reason == original["choices"][0]["finish_reason"]


@pytest.mark.parametrize("bodies", corpus.mistral_files())
def test_the_sdk_reads_what_it_wrote_itself_the_same(models: ModuleType, bodies: list[Body]) -> None:
    for body in bodies:
        model = _outcome(models, body.message_type, body.text) if body.message_type in RESPONSES else set()
        if not isinstance(model, set):
            _assert_agreement(models, body._replace(text=model.model_dump_json(by_alias=True).encode()))
