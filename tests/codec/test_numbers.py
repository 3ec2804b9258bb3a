"""Every number of a document keeps its exact value."""

import decimal
import enum
import json
import math
import sys
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.codec import from_dict, from_json, to_dict, to_json
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionResponseTokenLogprobs,
    CompletionChunk,
    FunctionCall,
    FunctionName,
    ModerationLlmv2CategoryThresholds,
    ReferenceChunk,
    UsageInfo,
)
from tests.cases import each_case
from tests.codec import engines
from tests.json_equality import parse_exactly

NUMBERS = [
    *("0", "-0", "0.0", "-0.0", "1", "-1", "1.0", "1.10", "100", "1e2", "1E+2", "1e-2", "0.1"),
    *("0.10000000000000001", "0.1000000000000000055511151231257827", "1.7976931348623157e308"),
    *("1.7976931348623159e308", "1e308", "1e309", "-1e400", "1e-323", "5e-324", "4.9e-324", "1e-324"),
    *("1e-400", "1e0000000005", "1e99999999", "0e999", "0e99999999999", "9007199254740991"),
    *("9007199254740992", "9007199254740993", "-9007199254740993", "9007199254740993.0"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("18446744073709551615", "18446744073709551616", "123456789012345678901234567890"),
    *("1" + "0" * 400, "3." + "14" * 300, "0." + "0" * 400 + "1", "1" + "0" * 5_000),
    *("123456789.123456789", "2.5e-5", "33333333333333333", "0.3333333333333333"),
]
LEXICAL = st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,4})?\Z")


def _assert_exact(text: str, number: str) -> None:
    for written in (
        engines.write(engines.read(UsageInfo, text, validate=False)),
        engines.write(engines.read(FunctionCall, f'{{"name":"","arguments":{text}}}')),
        engines.write(engines.read(FunctionCall, f'{{"name":"","arguments":"","x":[{text}]}}')),
    ):
        found = parse_exactly(written)
        found = found.get("arguments") or found
        found = found["x"][0] if "x" in found else found
        assert found == parse_exactly(text), number


@each_case("number", NUMBERS, ids=lambda number: number[:30])
def test_a_number_in_free_form_json_keeps_its_value(number: str) -> None:
    _assert_exact(f'{{"n":{number},"m":[{number}]}}', number)


@given(LEXICAL)
def test_any_number_in_free_form_json_keeps_its_value(number: str) -> None:
    _assert_exact(f'{{"n":{number},"m":[{number}]}}', number)


@each_case("number", NUMBERS, ids=lambda number: number[:30])
@each_case("member", ["prompt_tokens", "pii", "reference_ids"])
def test_a_number_in_a_member_keeps_its_value_without_validation(member: str, number: str) -> None:
    types: dict[str, Any] = {
        "prompt_tokens": UsageInfo,
        "pii": ModerationLlmv2CategoryThresholds,
        "reference_ids": ReferenceChunk,
    }
    text = f'{{"{member}":{f"[{number}]" if member == "reference_ids" else number}}}'
    message = engines.read(types[member], text, validate=False)
    assert parse_exactly(engines.write(message)) == parse_exactly(text)
    assert parse_exactly(to_json(message, indent=4)) == parse_exactly(text)


@given(LEXICAL)
def test_any_number_in_a_member_keeps_its_value_without_validation(number: str) -> None:
    for message_type, text in (
        (UsageInfo, f'{{"prompt_tokens":{number}}}'),
        (ModerationLlmv2CategoryThresholds, f'{{"pii":{number},"law":{number}}}'),
        (ReferenceChunk, f'{{"reference_ids":[{number},"",{number}]}}'),
    ):
        message = engines.read(message_type, text, validate=False)
        assert parse_exactly(engines.write(message)) == parse_exactly(text)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        *(("0", 0), ("1.0", 1), ("1e2", 100), ("-0", 0), ("-0.0", 0), ("2147483647", 2**31 - 1)),
        *(
            ("1.0E2", 100),
            ("1e0000000003", 1000),
            ("2147483647.000", 2**31 - 1),
            ("-2.147483648e+9", -(2**31)),
        ),
        *(("10000000000000000000e-19", 1), ("-0e99999999999999", 0), ("0.0000000000000000000010E22", 10)),
        pytest.param("1." + "0" * 100_000, 1, id="many-zeros"),
    ],
)
def test_an_integer_is_a_number_without_a_fraction(number: str, value: int) -> None:
    assert engines.read(UsageInfo, f'{{"prompt_tokens":{number}}}').prompt_tokens == value


@pytest.mark.parametrize(
    ("number", "value"),
    [
        *(("9007199254740993.0", 2**53 + 1), ("-9007199254740993.00", -(2**53) - 1)),
        *(("9223372036854775807.0", 2**63 - 1), ("-9223372036854775808.0", -(2**63)), ("47e17", 47 * 10**17)),
        *(("922337203685477580.7e1", 2**63 - 1), ("9223372036854775807000E-00000000003", 2**63 - 1)),
        ("0.9007199254740993e+16", 2**53 + 1),
    ],
)
def test_an_integer_beyond_the_doubles_is_exact_in_any_spelling(number: str, value: int) -> None:
    text = f'{{"id":"","model":"","choices":[],"created":{number}}}'
    for validate in (True, False):
        assert engines.read(CompletionChunk, text, validate=validate).created == value


@pytest.mark.parametrize(
    "number",
    [
        *("1.5", "1e-1", "9007199254740992.5", "9007199254740993.0000000000000000001", "1e-400", "4.9e-324"),
        *("9223372036854775808.0", "-9223372036854775809.0", "1e19", "1e400", "1e99999999", "-1e-99999999"),
        *("1e99999999999999999999", "1e-99999999999999999999", "9" * 400 + ".0"),
    ],
    ids=lambda number: number[:40],
)
def test_a_fraction_or_an_integer_beyond_64_bits_is_none(number: str) -> None:
    text = f'{{"id":"","model":"","choices":[],"created":{number}}}'
    with pytest.raises(DecodeError, match=r"created: expected an? (64-bit )?integer"):
        engines.read(CompletionChunk, text)
    message = engines.read(CompletionChunk, text, validate=False)
    assert not message.HasField("created")
    assert parse_exactly(engines.write(message)) == parse_exactly(text)


@given(LEXICAL)
def test_any_number_is_an_integer_if_its_value_is_one(number: str) -> None:
    exact = decimal.Decimal(number)
    fits = exact == exact.to_integral_value() and -(2**63) <= exact < 2**63
    message = engines.read(CompletionChunk, f'{{"created":{number}}}', validate=False)
    assert message.HasField("created") is fits
    assert not fits or message.created == exact


_MAX = sys.float_info.max


@pytest.mark.parametrize(
    ("message_type", "text", "written"),
    [
        (ModerationLlmv2CategoryThresholds, '{"pii":-Infinity,"law":Infinity}', {"pii": -_MAX, "law": _MAX}),
        (ModerationLlmv2CategoryThresholds, '{"pii":NaN}', {"pii": None}),
        (UsageInfo, '{"x":[NaN,{"y":-Infinity}],"z":Infinity}', {"x": [None, {"y": -_MAX}], "z": _MAX}),
        (
            UsageInfo,
            '{"prompt_tokens":Infinity,"total_tokens":NaN}',
            {"prompt_tokens": _MAX, "total_tokens": None},
        ),
        (
            FunctionCall,
            '{"name":-Infinity,"arguments":{"a":[Infinity,1e400]}}',
            {"name": -_MAX, "arguments": {"a": [_MAX, decimal.Decimal("1e400")]}},
        ),
        (ReferenceChunk, '{"reference_ids":[1,NaN,Infinity]}', {"reference_ids": [1, None, _MAX]}),
        (
            UsageInfo,
            '\ufeff{"a":NaN,"b":"\\ud800","c":9007199254740993.0}',
            {"a": None, "b": "\ud800", "c": decimal.Decimal("9007199254740993.0")},
        ),
        (
            CompletionChunk,
            '{"choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":"a","logprob":-Infinity}]}}]}',
            {
                "choices": [
                    {"index": 0, "delta": {}, "logprobs": {"content": [{"token": "a", "logprob": -_MAX}]}}
                ]
            },
        ),
    ],
)
def test_words_that_are_no_json_numbers_are_read_without_validation(
    message_type: type[Message], text: str, written: dict[str, Any]
) -> None:
    message = engines.read(message_type, text, validate=False)
    found = engines.write(message)
    # JSON with nothing that only some parsers read.
    assert parse_exactly(found) == parse_exactly(to_json(from_json(message_type, found, validate=False)))
    assert {name: item for name, item in to_dict(message).items() if name in written} == written
    with pytest.raises(DecodeError) as caught:
        engines.read(message_type, text)
    assert caught.value.reason == "NOT_JSON"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("member", ["temperature", "x"])
def test_a_request_with_what_is_no_json_number_is_refused_in_both_modes(member: str, number: str) -> None:
    text = f'{{"model":"m","messages":[],"{member}":{number}}}'
    for validate in (True, False):
        with pytest.raises(DecodeError, match="which JSON does not have") as caught:
            engines.read(ChatCompletionRequest, text, validate=validate)
        assert caught.value.reason == "NOT_JSON"


def test_an_infinity_is_one_in_the_message() -> None:
    text = '{"pii":-Infinity,"law":Infinity,"financial":1e400,"selfharm":NaN}'
    thresholds = engines.read(ModerationLlmv2CategoryThresholds, text, validate=False)
    assert (thresholds.pii, thresholds.law) == (-math.inf, math.inf)
    assert not thresholds.HasField("financial")
    assert not thresholds.HasField("selfharm")


@pytest.mark.parametrize(
    ("message_type", "template", "bits"),
    [
        (UsageInfo, '{{"prompt_tokens":{}}}', 32),
        (CompletionChunk, '{{"id":"","model":"","choices":[],"created":{}}}', 64),
    ],
)
def test_an_integer_that_its_field_does_not_hold_is_kept_beside_it(
    message_type: type[Message], template: str, bits: int
) -> None:
    name = "prompt_tokens" if bits == 32 else "created"
    for fits in (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1):
        assert getattr(engines.read(message_type, template.format(fits)), name) == fits
    for beyond in (-(2 ** (bits - 1)) - 1, 2 ** (bits - 1)):
        text = template.format(beyond)
        with pytest.raises(DecodeError, match=name):
            from_json(message_type, text)
        message = engines.read(message_type, text, validate=False)
        assert not message.HasField(name)
        assert message.json_extra.members == f'{{"{name}":{beyond}}}'  # type: ignore[attr-defined]
        assert parse_exactly(engines.write(message)) == parse_exactly(text)


@pytest.mark.parametrize("byte", [2**31, -(2**31) - 1])
def test_a_list_with_an_integer_that_its_field_does_not_hold_is_kept_whole(byte: int) -> None:
    text = f'{{"token":"","logprob":0,"bytes":[1,{byte}],"token_id":1}}'
    message = engines.read(ChatCompletionResponseTokenLogprobs, text, validate=False)
    assert not message.bytes
    assert parse_exactly(engines.write(message)) == parse_exactly(text)


@pytest.mark.parametrize(
    "number", ["1", "0.1", "1e22", "9007199254740993", "0.1000000000000000055", "1e-400"]
)
def test_a_number_member_holds_the_nearest_double(number: str) -> None:
    thresholds = engines.read(ModerationLlmv2CategoryThresholds, f'{{"pii":{number}}}')
    assert thresholds.pii == float(number)


def test_digits_in_strings_are_left_alone() -> None:
    text = b'{"name":"12345678901234567890123e0999","arguments":"{\\"n\\": 1.0000000000000000000001}"}'
    assert engines.write(engines.read(FunctionCall, text)) == text


def test_python_values_keep_numbers_that_a_float_would_change() -> None:
    text = '{"a":18446744073709551616,"b":0.1000000000000000055,"c":1e400,"d":1.5,"e":9007199254740993}'
    values = to_dict(from_json(UsageInfo, text))
    assert values == {
        "a": 2**64,
        "b": decimal.Decimal("0.1000000000000000055"),
        "c": decimal.Decimal("1e400"),
        "d": 1.5,
        "e": 2**53 + 1,
    }
    assert [type(value) for value in values.values()] == [int, decimal.Decimal, decimal.Decimal, float, int]
    assert parse_exactly(to_json(from_dict(UsageInfo, values))) == parse_exactly(text)


def test_integers_of_any_size_are_python_values() -> None:
    for value in (10**4_299, -(10**4_300), 10**20_000 + 1):
        message = from_dict(UsageInfo, {"a": value})
        assert to_dict(message)["a"] == value


def test_a_number_beyond_decimal_is_kept_as_text_and_has_no_python_value() -> None:
    text = b'{"a":1e9999999999999999999999}'
    usage = from_json(UsageInfo, text)
    assert to_json(usage) == text
    with pytest.raises(EncodeError, match="beyond Python's Decimal"):
        to_dict(usage)


class _Name(str, enum.Enum):  # noqa: UP042 - StrEnum's str() is another one
    SMALL = "mistral-small"


class _Count(enum.IntEnum):
    TWO = 2


class _Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


def test_subclasses_of_json_types_are_what_they_are() -> None:
    assert from_dict(FunctionName, {"name": _Name.SMALL}).name == "mistral-small"
    assert from_dict(FunctionName, {"name": _Text("a"), _Text("b"): _Text("c")}) == from_json(
        FunctionName, '{"name":"a","b":"c"}'
    )
    assert from_dict(UsageInfo, {"prompt_tokens": _Count.TWO}).prompt_tokens == 2
    assert from_dict(UsageInfo, {"a": (1, [2.0], decimal.Decimal("1.50"))}) == from_json(
        UsageInfo, '{"a":[1,[2.0],1.5]}'
    )


@pytest.mark.parametrize(
    "value", [decimal.Decimal("NaN"), decimal.Decimal("sNaN"), decimal.Decimal("-Infinity")]
)
def test_decimals_that_are_no_numbers_are_refused(value: decimal.Decimal) -> None:
    with pytest.raises(DecodeError, match="which JSON does not have"):
        from_dict(UsageInfo, {"a": value})


def test_a_quadratic_number_costs_no_quadratic_time() -> None:
    """A million digits are read and written as text, never made into a Python integer."""
    digits = "1" * 1_000_000
    text = f'{{"a":{digits},"prompt_tokens":{digits}}}'
    usage = from_json(UsageInfo, text, validate=False)
    assert len(to_json(usage)) == len(text)
    with pytest.raises(DecodeError, match="a 32-bit integer"):
        from_json(UsageInfo, text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_survive(value: float) -> None:
    text = json.dumps({"pii": value, "x": value})
    message = engines.read(ModerationLlmv2CategoryThresholds, text)
    assert message.pii == value
    assert parse_exactly(engines.write(message)) == parse_exactly(text)


@pytest.mark.parametrize(
    "content",
    [
        *("-" * 2_000_000, "1-" * 1_000_000, "1" * 2_000_000, "0e000" * 400_000, ",1-1" * 500_000),
        *("1e100 " * 300_000, ",1234567890123456789" * 100_000),
    ],
    ids=lambda content: content[:20],
)
def test_text_that_looks_like_numbers_is_looked_at_once(content: str) -> None:
    """Looking at each run of digits again and again would take hours here."""
    text = '{"choices":[{"message":{"content":"' + content + '"},"logprobs":{"content":[]}}]}'
    message = engines.read(ChatCompletionResponse, text, validate=False)
    assert message.choices[0].message.content_string == content


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 30])
def test_an_inexact_number_is_found_among_words_that_look_like_one(count: int) -> None:
    words = '"' + " 1e100" * count + '"'
    number = "0.12345678901234567890"
    text = f'{{"a":{words},"b":[{number}]}}'
    assert engines.write(engines.read(UsageInfo, text)).decode() == text


@pytest.mark.parametrize("number", [-(2**63), -(2**31), -129, -1, 0, 127, 128, 16_383, 16_384, 2**63 - 1])
def test_integers_of_every_length_on_the_wire_come_back(number: int) -> None:
    text = f'{{"reference_ids":[{number},{number},"{number}",0]}}'.encode()
    assert engines.write(engines.read(ReferenceChunk, text)) == text
