"""What the fast reader learns, and what it does not let itself be talked into."""

import json
import string

import pytest

from mistralwire import from_dict, from_json, to_json
from mistralwire.codec import DEFAULT_LIMITS, Limits, _convert, _read_fast
from mistralwire.codec._plan import plan_for
from mistralwire.codec._read_fast import FastReader, Library
from mistralwire.errors import DecodeError
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionResponse, UsageInfo
from tests.codec import repeatedly
from tests.documents import DOCUMENTS, Document
from tests.json_equality import parse_exactly

USAGE = plan_for(UsageInfo)


@pytest.fixture(autouse=True)
def _without_the_native_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_convert, "_native_from_json", lambda *_: None)


def _library() -> Library:
    return Library(validate=True, sizes=_read_fast._SIZES)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_what_is_read_fast_is_what_the_complete_engine_reads(document: Document) -> None:
    reader = FastReader(validate=False)
    plan = plan_for(document.message_type)
    assert reader.read(plan_for(document.message_type), document.text, DEFAULT_LIMITS) is None
    for _ in range(_read_fast.SIGHTINGS):
        reader.learn(plan, json.loads(document.text), len(document.text))
    wire = reader.read(plan_for(document.message_type), document.text, DEFAULT_LIMITS)
    if wire is not None:
        message = from_json(document.message_type, document.text, validate=False)
        assert document.message_type.FromString(wire) == message


@pytest.mark.parametrize("name", ["CompletionChunk.text", "ChatCompletionResponse.tool_calls"])
def test_ordinary_traffic_is_read_fast(name: str) -> None:
    (document,) = (document for document in DOCUMENTS if document.name == name)
    for _ in range(_read_fast.SIGHTINGS + 1):
        from_json(document.message_type, document.text)
    assert _read_fast.STRICT.read(plan_for(document.message_type), document.text, DEFAULT_LIMITS) is not None


@pytest.mark.parametrize(
    "content", ["-" * 2_000_000, "1-" * 1_000_000, "1" * 2_000_000, "0e000" * 400_000, ",1-1" * 500_000]
)
def test_text_that_looks_like_numbers_is_looked_at_once(content: str) -> None:
    """Looking at each run of digits again and again would take hours here."""
    text = '{"choices":[{"message":{"content":"' + content + '"},"logprobs":{"content":[]}}]}'
    message = from_json(ChatCompletionResponse, text, validate=False)
    assert message.choices[0].message.content_string == content


@pytest.mark.parametrize("size", range(2_030, 2_060, 7))
def test_short_documents_that_grow_on_the_wire_are_read(size: int) -> None:
    prefix = '{"model":"m","messages":[{"role":"user","content":[{"type":"reference","reference_ids":['
    text = prefix + ",".join(["-1"] * ((size - len(prefix)) // 3)) + "]}]}]}"
    message = repeatedly.read(ChatCompletionRequest, text)
    assert parse_exactly(to_json(message)) == parse_exactly(text.encode())


def test_text_and_bytes_of_other_lengths_are_learnt_alike() -> None:
    text = '{"service_tier":"' + "é" * 1_500 + '"}'
    assert len(text) < _read_fast._SHORT_BYTES < len(text.encode())
    for _ in range(_read_fast.SIGHTINGS + 1):
        from_json(UsageInfo, text)
    assert _read_fast.STRICT.read(plan_for(UsageInfo), text, DEFAULT_LIMITS) is not None


def test_shapes_with_endless_names_are_not_kept() -> None:
    shapes = _library().shapes(USAGE)
    for _ in range(200):
        shapes.note(("prompt_tokens", "x" * 5_000))
    assert not shapes
    assert not shapes._sightings


def test_a_shape_with_an_endless_name_does_not_hinder_the_others() -> None:
    shapes = _library().shapes(USAGE)
    for _ in range(_read_fast.SIGHTINGS):
        shapes.note(("prompt_tokens",))
        shapes.note(("y" * 5_000,))
    assert ("prompt_tokens",) in shapes


def test_ever_new_shapes_are_bounded_and_soon_take_more_to_convince() -> None:
    library = _library()
    shapes = library.shapes(USAGE)
    letters = string.ascii_lowercase
    names = [a + b + c for a in letters for b in letters for c in letters[:2]]
    for start in range(len(names) - 40):
        shape = tuple(names[start : start + 40])
        for _ in range(_read_fast.SIGHTINGS):
            shapes.note(shape)
    assert sum(map(len, shapes)) <= _read_fast.LIBRARY_MEMBERS_MAX
    assert len(shapes._sightings) <= _read_fast.SHAPES_SEEN_MAX
    assert library.sightings == _read_fast.SIGHTINGS_ONCE_FULL


@pytest.mark.parametrize("reading", range(12))
def test_limits_are_looked_at_at_every_reading(reading: int) -> None:
    with pytest.raises(DecodeError, match="at most 2 levels"):
        from_json(UsageInfo, '{"prompt_tokens_details":{"x":[]}}', limits=Limits(depth_max=2))


def test_a_limit_found_by_the_fast_reader_names_the_type() -> None:
    text = '{"a":' + "[" * 600 + "]" * 600 + "}"
    with pytest.raises(DecodeError) as caught:
        from_json(UsageInfo, text)
    assert caught.value.type_name == "UsageInfo"


def test_a_long_document_teaches_its_own_shapes() -> None:
    """Otherwise a first document of a million messages would be read slowly from end to end."""
    calls = ",".join(['{"function":{"name":"f","arguments":"{}"},"odd_one":1}'] * 20)
    text = f'{{"choices":[{{"message":{{"tool_calls":[{calls}]}}}}]}}'.encode()
    reader = FastReader(validate=False)
    plan = plan_for(ChatCompletionResponse)
    for _ in range(_read_fast.SIGHTINGS - 1):
        reader.learn(plan, json.loads(text), 10_000)
    assert reader.learn(plan, json.loads(text), 10_000)
    assert not reader.learn(plan, json.loads(text), 10_000)


@pytest.mark.parametrize("text", ['{"a":[1,2,3]}', '{"a":[[],[]],"b":1}', '{"a":{"b":{},"c":{},"d":1}}'])
def test_the_values_of_a_document_are_bounded(text: str) -> None:
    assert from_json(UsageInfo, text, limits=Limits(values_max=4))
    with pytest.raises(DecodeError, match="at most 3 values in all, found 4 values") as caught:
        from_json(UsageInfo, text, limits=Limits(values_max=3))
    assert caught.value.reason == "LIMIT_EXCEEDED"


def test_the_values_of_a_dict_are_bounded() -> None:
    value = {"a": [1, 2, 3]}
    assert from_dict(UsageInfo, value, limits=Limits(values_max=4))
    with pytest.raises(DecodeError, match="at most 3 values in all"):
        from_dict(UsageInfo, value, limits=Limits(values_max=3))


def test_a_document_of_too_many_values_is_refused() -> None:
    text = '{"choices":[' + "{}," * 1_000_000 + "{}]}"
    with pytest.raises(DecodeError, match="at most 1000000 values"):
        from_json(ChatCompletionResponse, text, validate=False)


def test_commas_in_text_are_no_values() -> None:
    text = '{"service_tier":"' + "," * 1_000_001 + '"}'
    assert from_json(UsageInfo, text).service_tier == "," * 1_000_001


def test_a_long_document_is_read_fast_at_once() -> None:
    messages = ",".join(['{"role":"user","content":"hi"}'] * 5_000)
    text = f'{{"model":"m","messages":[{messages}],"n":1,"an_odd_one":1}}'.encode()
    reader = FastReader(validate=True)
    plan = plan_for(ChatCompletionRequest)
    assert reader.read(plan_for(ChatCompletionRequest), text, DEFAULT_LIMITS) is None
    value = json.loads(text)
    reader.learn(plan, value, len(text))
    assert reader.read_parsed(plan_for(ChatCompletionRequest), value, text) is not None


def test_an_integer_of_endless_bits_is_refused() -> None:
    with pytest.raises(DecodeError, match="x: expected an integer of at most 100000 bits"):
        from_dict(UsageInfo, {"x": 1 << 200_000}, validate=False)
