"""Mistral's own SDK takes what the codec writes for what the codec read."""

import copy
import importlib
import json
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import check, from_json, to_json
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatMessage,
    ChatTool,
    CodeInterpreterTool,
    CompletionChunk,
    CompletionEvent,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
    Function,
    Tool,
    UserMessage,
    WebSearchPremiumTool,
    WebSearchTool,
)
from tests import built_messages, corpus
from tests.corpus import Body
from tests.documents import DOCUMENTS

pytestmark = pytest.mark.sdk

pytest.importorskip("mistralai.gcp.client.models", reason="needs mistralai with its extra gcp")

MODULES = {"api": "mistralai.client.models", "vertex": "mistralai.gcp.client.models"}
RESPONSES = (ChatCompletionResponse, CompletionChunk, FIMCompletionResponse)
REQUESTS: tuple[type[Message], ...] = (
    ChatCompletionRequest,
    ChatCompletionStreamRequest,
    FIMCompletionRequest,
    FIMCompletionStreamRequest,
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
)
OWN = [
    Body(document.name, document.message_type, document.text)
    for document in DOCUMENTS
    if document.message_type in RESPONSES
]


@pytest.fixture(params=MODULES, scope="module")
def models(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(MODULES[request.param])


def _outcome(models: ModuleType, message_type: type[Message], text: bytes) -> Any:
    """Return the SDK's model of a body, or where and why it refuses the body."""
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


@corpus.each_file(corpus.ALL)
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


@corpus.each_file(corpus.MISTRAL)
def test_the_sdk_reads_what_it_wrote_itself_the_same(models: ModuleType, bodies: list[Body]) -> None:
    for body in bodies:
        model = _outcome(models, body.message_type, body.text) if body.message_type in RESPONSES else set()
        if not isinstance(model, set):
            _assert_agreement(models, body._replace(text=model.model_dump_json(by_alias=True).encode()))


# What the documentation allows and the models refuse, with the reason why it is no violation.
KNOWN_REFUSALS = {
    "code_interpreter": ChatTool(code_interpreter=CodeInterpreterTool()),  # the API takes it all the same
    "web_search": ChatTool(web_search=WebSearchTool()),  # the same
    "web_search_premium": ChatTool(web_search_premium=WebSearchPremiumTool()),  # the same
    # Documented as open: the models have a type for other strings, and refuse them in this union.
    "a function of another type": ChatTool(
        function=Tool(type="custom", function=Function(name="f", parameters="{}"))
    ),
}


def _is_known_refusal(tool: ChatTool) -> bool:
    kind = tool.WhichOneof("kind")
    is_other = tool.function.HasField("type") and tool.function.type != "function"
    return kind in KNOWN_REFUSALS or (kind == "function" and is_other)


def _without_known_refusals(message: Any) -> Message:
    """Return a message without the single tools that the models are known to refuse."""
    rest = copy.deepcopy(message)
    tools = rest.tools if "tools" in message.DESCRIPTOR.fields_by_name else []
    kept = [copy.deepcopy(tool) for tool in tools if not _is_known_refusal(tool)]
    if len(kept) < len(tools):
        rest.ClearField("tools")
        rest.tools.extend(kept)
    assert isinstance(rest, Message)
    return rest


def _types_of(models: ModuleType, types: tuple[type[Message], ...]) -> st.SearchStrategy[type[Message]]:
    """Return the types that the SDK has: that of Vertex AI has no agents."""
    return st.sampled_from([each for each in types if hasattr(models, each.DESCRIPTOR.name)])


@given(st.data())
def test_the_sdk_accepts_what_careful_programs_build(models: ModuleType, data: st.DataObject) -> None:
    types = _types_of(models, (*RESPONSES, CompletionEvent, *REQUESTS))
    message = data.draw(types.flatmap(built_messages.careful))
    assert check(message) == []
    written = to_json(_without_known_refusals(message))
    assert not isinstance(_outcome(models, type(message), written), set), written


@given(st.data())
def test_the_sdk_accepts_what_programs_build_or_violations_are_named(
    models: ModuleType, data: st.DataObject
) -> None:
    types = _types_of(models, (*RESPONSES, CompletionChunk, CompletionChunk, *REQUESTS))
    message = data.draw(types.flatmap(built_messages.careless))
    if not check(message):
        written = to_json(_without_known_refusals(message))
        assert not isinstance(_outcome(models, type(message), written), set), written


@pytest.mark.parametrize("name", KNOWN_REFUSALS)
def test_the_sdk_still_refuses_what_it_is_known_to_refuse(models: ModuleType, name: str) -> None:
    """Otherwise the refusal is to be known no longer."""
    hello = ChatMessage(user=UserMessage(content_string="hello"))
    request = ChatCompletionRequest(model="m", messages=[hello], tools=[KNOWN_REFUSALS[name]])
    assert check(request) == []
    assert isinstance(_outcome(models, ChatCompletionRequest, to_json(request)), set)
    rest = to_json(_without_known_refusals(request))
    assert not isinstance(_outcome(models, ChatCompletionRequest, rest), set)
