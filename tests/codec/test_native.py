"""The native engine gives the bytes of the Python engine, or hands over for a listed reason."""

import concurrent.futures
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import DEFAULT_LIMITS, Limits
from mistralwire.codec._native import Engine
from mistralwire.errors import DecodeError
from mistralwire.v1 import (
    CONTRACT_REVISION,
    ChatCompletionRequest,
    ChatCompletionResponse,
    FunctionCall,
    JsonExtra,
    ModerationLlmv2CategoryThresholds,
    ReferenceChunk,
    TextChunk,
    UsageInfo,
)
from tests import corpus, families, strategies
from tests.built_messages import careful, careless
from tests.codec import engines
from tests.codec.engines import python_from_json, python_to_json
from tests.corpus import Body
from tests.documents import DOCUMENTS, Document
from tests.strategies import MESSAGE_TYPES, to_json_text

pytestmark = [
    pytest.mark.skipif(not engines.has_native_engine(), reason=engines.WHY_SKIPPED),
    pytest.mark.usefixtures("no_losses"),
]
ENGINE: Engine = engines.native_engine() if engines.has_native_engine() else None  # type: ignore[assignment]

message_types = st.sampled_from(MESSAGE_TYPES)


def _read(message_type: type[Message], text: bytes, *, validate: bool) -> bytes | None:
    """Read a document natively, and check that the Python engine agrees."""
    found = ENGINE.json_to_binary(message_type, text, validate, DEFAULT_LIMITS, CONTRACT_REVISION)
    expected = python_from_json(message_type, text, validate=validate)
    if found is None:
        # Only what is refused is handed over, and NaN and the infinities, which are read without validation.
        has_constants = not validate and (b"NaN" in text or b"Infinity" in text)
        assert isinstance(expected, DecodeError) or has_constants
        return None
    assert found == expected
    return found


def _write(
    message_type: type[Message], wire: bytes, *, camel: bool, indent: int | None = None
) -> bytes | None:
    """Write a message natively, and check that the Python engine agrees."""
    found = ENGINE.binary_to_json(message_type, wire, "camel" if camel else "snake", indent)
    if found is not None:
        assert found == python_to_json(message_type, wire, camel=camel, indent=indent)
    return found


def _check(message_type: type[Message], text: bytes) -> None:
    """Check that a document is converted as the Python engine does, there and back, in every mode."""
    wires = {wire for validate in (True, False) if (wire := _read(message_type, text, validate=validate))}
    for wire in wires:
        for camel in (False, True):
            _write(message_type, wire, camel=camel)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_documents_are_converted_natively_there_and_back(document: Document) -> None:
    for validate in (True, False):
        wire = _read(document.message_type, document.text, validate=validate)
        assert wire is not None
        for camel in (False, True):
            assert _write(document.message_type, wire, camel=camel) is not None


@pytest.mark.parametrize("size", [60, 3_000])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_documents_that_may_be_expensive_are_converted_alike_or_handed_over(family: str, size: int) -> None:
    for seed, place in enumerate(families.PLACES):
        case = families.make_case(family, place, size, seed)
        for text in case.texts:
            json.loads(text)
            _check(case.message_type, text)


@pytest.mark.parametrize(
    "size",
    [
        65_535,
        70_000,
        # The JSON of the innermost message has 2 MiB, its wire bytes have less: its length takes a byte less.
        2_097_140,
    ],
)
def test_long_strings_are_in_their_places(size: int) -> None:
    text, other = "a" * size, "é" * 40_000
    message = {"content": text, "x": text}
    chunks = [{"type": "text", "text": part} for part in ("b" * size, "short", other, "\n" + other)]
    choices = [{"index": 0, "message": message}, {"index": 1, "message": {"content": chunks}}]
    document = to_json_text({"id": other, "choices": choices, "y": [other]}).encode()
    for data in (document, b"\xef\xbb\xbf" + document):
        wire = _read(ChatCompletionResponse, data, validate=False)
        assert wire is not None
        assert _write(ChatCompletionResponse, wire, camel=False) is not None


@corpus.each_file(corpus.ALL)
def test_no_recorded_body_is_handed_over_unless_it_is_refused(bodies: list[Body]) -> None:
    for body in bodies:
        wire = _read(body.message_type, body.text, validate=False)
        assert wire is not None, body.name
        for camel in (False, True):
            assert _write(body.message_type, wire, camel=camel) is not None, body.name
        _read(body.message_type, body.text, validate=True)


@given(st.data(), message_types)
def test_valid_documents_are_converted_natively(data: st.DataObject, message_type: type[Message]) -> None:
    text = to_json_text(data.draw(strategies.valid_documents(message_type))).encode()
    for validate in (True, False):
        wire = _read(message_type, text, validate=validate)
        assert wire is not None
        assert _write(message_type, wire, camel=False) is not None
        _write(message_type, wire, camel=True)


@given(st.data(), message_types)
def test_documents_that_break_any_rule_are_converted_alike_or_handed_over(
    data: st.DataObject, message_type: type[Message]
) -> None:
    _check(message_type, to_json_text(data.draw(strategies.loose_documents(message_type))).encode())


@given(strategies.json_objects(), message_types)
def test_any_object_is_converted_alike_or_handed_over(
    document: dict[str, Any], message_type: type[Message]
) -> None:
    _check(message_type, to_json_text(document).encode())


_ODD_WORDS = [
    *(b"NaN", b"Infinity", b"-Infinity", b"-NaN", b"\xef\xbb\xbf", b"1.0", b"1e3", b"9007199254740993.0"),
    *(b"0.00e99999999999", b"1e-0000000000", b"92233720368547758070e-1", b",", b"'"),
]


@st.composite
def _edited(draw: st.DrawFn, data: bytes) -> bytes:
    edited = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(edited)))
        edited[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from(_ODD_WORDS))
    return bytes(edited)


@given(st.data(), st.sampled_from(DOCUMENTS))
def test_text_that_was_tampered_with_is_converted_alike_or_handed_over(
    data: st.DataObject, document: Document
) -> None:
    text = json.dumps(json.loads(document.text), ensure_ascii=False).encode()[:2_000]
    _check(document.message_type, data.draw(_edited(text)))


@given(st.data(), st.sampled_from(DOCUMENTS), st.booleans())
def test_wire_bytes_that_were_tampered_with_are_converted_alike_or_handed_over(
    data: st.DataObject, document: Document, camel: bool
) -> None:
    wire = ENGINE.json_to_binary(
        document.message_type, document.text, False, DEFAULT_LIMITS, CONTRACT_REVISION
    )
    assert wire is not None
    _write(document.message_type, data.draw(_edited(wire)), camel=camel)


@given(st.data(), message_types)
def test_messages_of_careful_programs_are_written_natively(
    data: st.DataObject, message_type: type[Message]
) -> None:
    wire = data.draw(careful(message_type)).SerializeToString()
    for camel in (False, True):
        assert _write(message_type, wire, camel=camel) is not None


@given(st.data(), message_types)
def test_messages_of_careless_programs_are_written_alike_or_handed_over(
    data: st.DataObject, message_type: type[Message]
) -> None:
    wire = data.draw(careless(message_type)).SerializeToString()
    for camel in (False, True):
        _write(message_type, wire, camel=camel)


@given(
    st.sampled_from(["prompt_tokens", "promptTokens", "total_tokens", "p"]),
    st.sampled_from(["1", "1.0", "2e3", "null", '"x"', "[]", "2147483648", "1e400", "9007199254740993"]),
    st.lists(st.sampled_from(range(1, 9)), max_size=3),
    st.lists(st.sampled_from(range(1, 9)), max_size=3),
    st.booleans(),
)
def test_notes_of_any_content_are_written_alike_or_handed_over(
    name: str, value: str, nulls: list[int], absents: list[int], camel: bool
) -> None:
    members = f'{{"{name}":{value},"prompt_tokens":7,"promptTokens":8}}'
    extra = JsonExtra(members=members, null_fields=nulls, absent_fields=absents, empty_fields=nulls[:1])
    message = UsageInfo(json_extra=extra)
    _write(UsageInfo, message.SerializeToString(), camel=camel)
    message.prompt_tokens, message.total_tokens = 1, 2
    _write(UsageInfo, message.SerializeToString(), camel=camel)


_COUNTS = ["1", "null", "[]", '"x"', "2147483648", "1.0"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["prompt_tokens", "promptTokens", "totalTokens", "p"]), st.sampled_from(_COUNTS)
        )
    )
)
def test_both_spellings_of_a_name_are_written_natively(members: list[tuple[str, str]]) -> None:
    text = ",".join(f'"{name}":{value}' for name, value in members)
    wire = _read(UsageInfo, f"{{{text}}}".encode(), validate=False)
    assert wire is not None
    for camel in (False, True):
        assert _write(UsageInfo, wire, camel=camel) is not None


@pytest.mark.parametrize(
    ("message_type", "text"),
    [
        (ChatCompletionResponse, '{"choices":[{"finishReason":"x","finish_reason":"stop","index":1,"p":2}]}'),
        (ChatCompletionResponse, '{"choices":[{"finish_reason":"new","p":[],"finishReason":"x"}]}'),
        (ChatCompletionResponse, '{"choices":[{"finishReason":null,"finish_reason":"new"}]}'),
        (ChatCompletionRequest, '{"topP":1,"top_p":9007199254740993}'),
        (ChatCompletionRequest, '{"top_p":9007199254740993,"p":1,"topP":[]}'),
        (
            ChatCompletionResponse,
            '{"choices":[{"message":{"toolCalls":1,"tool_calls":[{"id":"1"},{"a":{"b":1,"b":2}}],"p":1}}]}',
        ),
        (
            ChatCompletionRequest,
            '{"responseFormat":{},"response_format":{"type":"json_schema","jsonSchema":1,'
            '"json_schema":{"name":"n","schemaDefinition":1,"schema":{}}}}',
        ),
    ],
)
def test_both_spellings_of_any_member_are_written_natively(message_type: type[Message], text: str) -> None:
    wire = _read(message_type, text.encode(), validate=False)
    assert wire is not None
    for camel in (False, True):
        assert _write(message_type, wire, camel=camel) is not None


@pytest.mark.parametrize("member", ["1", "2", "1.0", "1e400", "9007199254740993", '"x"', "null"])
def test_a_double_beside_a_member_of_its_name_is_written_alike(member: str) -> None:
    for value in (1.0, 2.0, 9007199254740992.0):
        extra = JsonExtra(members=f'{{"pii":{member}}}')
        message = ModerationLlmv2CategoryThresholds(pii=value, json_extra=extra)
        assert _write(type(message), message.SerializeToString(), camel=False) is not None


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt_tokens":1,"prompt_tokens":2}',
        '{"p":1,"prompt_tokens":1,"p":2}',
        '{"prompt\\u005ftokens":1,"\\u0070":"\\u00e9"}',
        '{"promptTokens":1,"prompt_tokens":2,"promptTokens":[]}',
        '{"prompt_tokens":1.0,"total_tokens":2e3,"completion_tokens":-0}',
        '{"prompt_tokens":2147483648,"a":1e400,"b":[18446744073709551616,{"c":1,"c":2}]}',
        " \t\r\n{}\n",
        '{"p":"\\ud800é\\u007f😀\\n","\\udc00":[1.0,1e-5,1e20],"\\uDC00":2,"q":{"\\ud83d\\ude00\\ud83d":"é"}}',
        '{"prompt_tokens":"\\ud800"}',
        '{"a\\n":1,"a\\u000a":2,"b\\"":3,"b\\u0022":4,"c\\n":5}',
        "{" + ",".join(f'"name\\\\{n % 30}":{n}' for n in range(40)) + "}",
    ],
)
def test_odd_documents_are_converted_natively_there_and_back(text: str) -> None:
    wire = _read(UsageInfo, text.encode(), validate=False)
    assert wire is not None
    assert ENGINE.json_to_binary(UsageInfo, text, False, DEFAULT_LIMITS, 1) == wire
    for indent in (None, 2, 5):
        assert _write(UsageInfo, wire, camel=False, indent=indent) is not None
        assert _write(UsageInfo, wire, camel=True, indent=indent) is not None


@pytest.mark.parametrize(
    ("message_type", "text"),
    [
        (ModerationLlmv2CategoryThresholds, '{"pii":-0,"law":-0.0,"selfharm":9007199254740993}'),
        (ReferenceChunk, '{"type":"reference","reference_ids":[1,2147483648]}'),
        (ReferenceChunk, '{"type":"reference","reference_ids":[1,"a",[]]}'),
        (FunctionCall, '{"name":"f","arguments":{"a":1.50,"b":"\\u0041\\/"}}'),
        (FunctionCall, '{"name":"\\udfff","arguments":{"a":"\\ud800 é"}}'),
        (
            ChatCompletionRequest,
            '{"stop":["a","\\ud800"],"tool_choice":"\\ud800","metadata":{"\\ud800":"\\ud800"}}',
        ),
        (
            ChatCompletionRequest,
            '{"messages":[{"role":"\\ud800"},{"role":5},{"role":"user","role":null},{"r\\u006fle":"tool"}]}',
        ),
    ],
)
def test_values_that_need_a_note_are_read_natively(message_type: type[Message], text: str) -> None:
    wire = _read(message_type, text.encode(), validate=False)
    assert wire is not None
    for camel in (False, True):
        assert _write(message_type, wire, camel=camel) is not None


@pytest.mark.parametrize(
    ("message_type", "text"),
    [
        (UsageInfo, '{"prompt_tokens":"1","prompt_tokens":1}'),
        (UsageInfo, '{"promptTokens":"1","promptTokens":1}'),
        (UsageInfo, '{"prompt_tokens":1,"prompt_tokens":2147483648,"prompt\\u005ftokens":2}'),
        (
            ChatCompletionRequest,
            '{"model":null,"model":"m","messages":[{"role":5,"role":"user","content":{},"content":"x"}]}',
        ),
    ],
)
def test_the_last_value_of_a_name_decides_whether_a_document_is_valid(
    message_type: type[Message], text: str
) -> None:
    assert _read(message_type, text.encode(), validate=True) is not None


# In a process of its own without measurement of coverage: whatever asks for memory then may find none.
_WITHOUT_MEMORY = """
import _testcapi
from mistralwire.codec import DEFAULT_LIMITS
from mistralwire.v1 import UsageInfo
from tests.codec.engines import native_engine

engine = native_engine()
text = b'{"p":"' + b"x" * 2_000 + b'"}'
wire = engine.json_to_binary(UsageInfo, text, False, DEFAULT_LIMITS, 1)
conversions = (
    lambda: engine.json_to_binary(UsageInfo, text, False, DEFAULT_LIMITS, 1),
    lambda: engine.binary_to_json(UsageInfo, wire, "snake", None),
)
raised = [0, 0]
for index, convert in enumerate(conversions):
    # The first of Python's allocations, or a later one, is that of the result.
    for allocation in range(1, 4):
        _testcapi.set_nomemory(allocation, allocation + 1)
        try:
            convert()
        except MemoryError:
            raised[index] += 1
        finally:
            _testcapi.remove_mem_hooks()
print(*raised, engine.handovers()["panic"])
"""


@pytest.mark.process
def test_a_result_without_memory_for_it_is_a_memory_error() -> None:
    pytest.importorskip("_testcapi")
    environment = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    run = subprocess.run(
        [sys.executable, "-c", _WITHOUT_MEMORY], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
    reading, writing, panics = map(int, run.stdout.split())
    assert reading >= 1
    assert writing >= 1
    assert panics == 0


def _reasons(engine: Engine) -> dict[str, int]:
    return {reason: count for reason, count in engine.handovers().items() if count}


_REFUSED: tuple[tuple[str, Any, bool], ...] = (
    ("not_json", b"", False),
    ("not_json", b'{"a":\xff}', False),
    ("not_json", b"[]", False),
    ("not_json", b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}', False),
    ("not_json", b'{"a":NaN}', False),
    ("violation", b'{"prompt_tokens":"1"}', True),
    ("violation", b'{"prompt_tokens":1,"promptTokens":1}', True),
    ("limit", b"[" * 201 + b"]" * 201, False),
    ("arguments", bytearray(b"{}"), False),
    ("arguments", "\ud800", False),
    ("arguments", 5, False),
)


@pytest.mark.parametrize(("reason", "data", "validate"), _REFUSED)
def test_what_is_read_by_the_python_engine_is_counted_by_reason(
    reason: str, data: Any, validate: bool
) -> None:
    engine = engines.native_engine()
    assert engine.json_to_binary(UsageInfo, data, validate, DEFAULT_LIMITS, 1) is None
    assert _reasons(engine) == {reason: 1}


@pytest.mark.parametrize("validate", [True, False])
def test_a_document_behind_a_byte_order_mark_is_read_natively(validate: bool) -> None:
    engine = engines.native_engine()
    for data in (b'\xef\xbb\xbf {"prompt_tokens":1}', '\ufeff{"prompt_tokens":1}'):
        assert engine.json_to_binary(UsageInfo, data, validate, DEFAULT_LIMITS, 1) == b"\x10\x01"
    assert _reasons(engine) == {}


@pytest.mark.parametrize(
    ("reason", "message_type", "wire"),
    [
        ("wire", UsageInfo, b"\xff"),
        ("wire", UsageInfo, b"\x18\x01\x10\x01"),
        ("wire", UsageInfo, b"\x10\x01\x10\x01"),
        ("wire", UsageInfo, b"\x10\x80\x80\x80\x80\x08"),
        ("wire", TextChunk, b"\x12\x01\xff"),
        ("newer", UsageInfo, b"\xf8\x07\x01"),
        ("newer", UsageInfo, b"\x0a\x03\x12\x01\x7e"),
        ("extra", UsageInfo, b"\x0a\x04\x0a\x02[]"),
        ("not_json", UsageInfo, b"\x0a\x03\x0a\x01{"),
        ("arguments", UsageInfo, "text"),
        ("arguments", JsonExtra, b""),
    ],
)
def test_what_is_written_by_the_python_engine_is_counted_by_reason(
    reason: str, message_type: type[Message], wire: Any
) -> None:
    engine = engines.native_engine()
    assert engine.binary_to_json(message_type, wire, "snake", None) is None
    assert _reasons(engine) == {reason: 1}


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(document_bytes_max=10), b'{"a":1234}'),
        (Limits(depth_max=3), b'{"a":[[1]]}'),
        (Limits(members_max=2), b'{"a":1,"b":2}'),
        (Limits(members_max=2), b'{"a":1,"a":2,"\\u0061":3,"b":2}'),
        (Limits(values_max=4), b'{"a":[1,2,3]}'),
    ],
)
def test_a_limit_is_where_the_python_engine_has_it(limits: Limits, text: bytes) -> None:
    beyond = {b"1234": b"12345", b"[[1]]": b"[[[1]]]", b'"b":2': b'"b":2,"c":3', b"[1,2,3]": b"[1,2,3,4]"}
    longer = next(text.replace(old, new) for old, new in beyond.items() if old in text)
    assert ENGINE.json_to_binary(UsageInfo, text, False, limits, 1) == python_from_json(
        UsageInfo, text, validate=False, limits=limits
    )
    assert ENGINE.json_to_binary(UsageInfo, longer, False, limits, 1) is None
    assert isinstance(python_from_json(UsageInfo, longer, validate=False, limits=limits), DecodeError)


@pytest.mark.parametrize("revision", [CONTRACT_REVISION, CONTRACT_REVISION + 1, 10**6])
def test_every_newer_revision_is_the_newest(revision: int) -> None:
    assert (
        ENGINE.json_to_binary(UsageInfo, b'{"prompt_tokens":1}', True, DEFAULT_LIMITS, revision)
        == b"\x10\x01"
    )


@pytest.mark.parametrize("revision", [0, -1, 1.5, "1", None, 2**70])
def test_what_is_no_revision_is_left_to_the_python_engine(revision: Any) -> None:
    assert ENGINE.json_to_binary(UsageInfo, b"{}", True, DEFAULT_LIMITS, revision) is None


@given(st.data(), message_types, st.integers(1, 16), st.booleans())
def test_indented_text_is_written_natively(
    data: st.DataObject, message_type: type[Message], indent: int, camel: bool
) -> None:
    text = to_json_text(data.draw(strategies.loose_documents(message_type))).encode()
    wire = ENGINE.json_to_binary(message_type, text, False, DEFAULT_LIMITS, CONTRACT_REVISION)
    assert wire is not None
    _write(message_type, wire, camel=camel, indent=indent)


@pytest.mark.parametrize("indent", [0, -1, 17, 2**70, 1.0, "2"])
def test_other_indents_are_left_to_the_python_engine(indent: Any) -> None:
    engine = engines.native_engine()
    assert engine.binary_to_json(UsageInfo, b"", "snake", indent) is None
    assert engine.to_json(UsageInfo(), "snake", indent) is None
    assert _reasons(engine) == {"arguments": 2}


@pytest.mark.parametrize("names", ["snake", "camel"])
def test_names_are_known_by_their_text(names: str) -> None:
    made = "".join(list(names))
    assert made is not names
    message = UsageInfo(prompt_tokens=1)
    assert ENGINE.to_json(message, made, None) == ENGINE.to_json(message, names, None) is not None


@pytest.mark.parametrize("names", ["Snake", "", b"snake", None, 5, "\ud800"])
def test_what_is_no_spelling_is_left_to_the_python_engine(names: Any) -> None:
    assert ENGINE.to_json(UsageInfo(), names, None) is None


def test_messages_are_converted_without_wire_bytes_in_between() -> None:
    message = ENGINE.from_json(UsageInfo, '{"prompt_tokens":1,"p":2}', True, DEFAULT_LIMITS, 1)
    assert message == UsageInfo(prompt_tokens=1, json_extra=JsonExtra(members='{"p":2}'))
    assert ENGINE.to_json(message, "camel", None) == b'{"promptTokens":1,"p":2}'
    for other in (JsonExtra(), UsageInfo, 5):
        assert ENGINE.to_json(other, "snake", None) is None


def _long_document(number: int) -> bytes:
    choices = [{"index": index, "message": {"content": f"{number} " * 50}} for index in range(500)]
    return json.dumps({"id": str(number), "choices": choices, "p": [number] * 100}).encode()


def test_long_documents_are_converted_in_many_threads_at_once() -> None:
    texts = [_long_document(number) for number in range(8)]
    expected = [python_from_json(ChatCompletionResponse, text, validate=False) for text in texts]

    def convert(at: int) -> tuple[bytes | None, bytes | None]:
        wire = ENGINE.json_to_binary(ChatCompletionResponse, texts[at], False, DEFAULT_LIMITS, 1)
        return wire, ENGINE.binary_to_json(ChatCompletionResponse, wire or b"", "snake", None)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(convert, [*range(8)] * 5))
    for at, (wire, text) in zip([*range(8)] * 5, results, strict=True):
        assert wire == expected[at]
        assert text is not None
        assert json.loads(text) == json.loads(texts[at])
