"""The text of an error body goes out without keys and without what the request said."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mistralwire.upstream._error_body import error_text_of
from tests.cases import each_case
from tests.strategies import wild_values

LETTERS_AND_DIGITS = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF"
KEYS = [
    "sk-abcdef",
    "sk-proj-ab_CD-12",
    "sk-abc***xyz",
    "AIzaSyA-1_b",
    "ya29.a0Af_B-c",
    "eyJhbGciOi.eyJzdWIiOi.c2ln-",
    LETTERS_AND_DIGITS,
    LETTERS_AND_DIGITS.lower(),
    LETTERS_AND_DIGITS[:16],
    "gsk_" + LETTERS_AND_DIGITS,
    "hf_" + LETTERS_AND_DIGITS,
    "0123456789abcdef0123456789abcdef",
    "AKIA" + LETTERS_AND_DIGITS[:16].upper(),
    "dXNlcjpwYXNzd29yZDEyMzQ1Njc4OTA=",
]
ONLY_AFTER_A_WORD = [
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "abc12345",
    "ab****yz",
    "a-plain-long-passphrase",
]


@each_case("key", KEYS)
@each_case(
    "text",
    [
        "{}",
        "refused {}.",
        "'{}' is unknown",
        '{{"auth":"{}"}}',
        "https://host/v1?x={}&y=1",
        "\u200b{}\u200b",
        "({})",
    ],
)
def test_what_looks_like_a_key_does_not_get_through(text: str, key: str) -> None:
    found = error_text_of({"message": text.format(key)})

    assert key.strip("=-") not in found
    assert "[redacted]" in found


@each_case("key", [*KEYS, *ONLY_AFTER_A_WORD])
@each_case(
    "text",
    [
        "Bearer {}",
        "authorization: bearer {}",
        "Authorization: Basic {}",
        "api_key={}",
        "X-Api-Key: {}",
        "MISTRAL_API_KEY={}",
        "the key '{}'",
        "Incorrect API key provided: {}",
        "your token is {}",
        "access_token={}&x=1",
        "password: {}",
        'apikey "{}"',
    ],
)
def test_what_follows_a_word_for_credentials_does_not_get_through(text: str, key: str) -> None:
    found = error_text_of({"error": {"message": text.format(key)}})

    assert key.strip("=-") not in found
    assert "[redacted]" in found


@pytest.mark.parametrize(
    "text",
    [
        "The model `mistral-small-3.2-24b-instruct-2506` does not exist",
        "open-mixtral-8x22b and codestral-2405, ministral-3b-2410",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "Tool call id was call_0fypS1hVX but must be a-z, A-Z, 0-9, with a length of 9.",
        "Rate limit exceeded: free-models-per-min. Try again at 1759845420000",
        "unexpected token '}' at line 3; missing key: messages",
        "see request 0f8fad5b-d9cb-469f-a165-70867728950e of 2025-01-01T00:00:00Z",
        "ChatCompletionStreamRequest: Input should be less than or equal to 1.5 (less_than_equal)",
        "模型不存在",
    ],
)
def test_what_people_need_gets_through(text: str) -> None:
    assert error_text_of({"message": text}) == text


def test_the_place_of_a_violation_is_told_and_the_value_there_is_not() -> None:
    body = {
        "detail": [
            {"type": "t", "loc": ["body", "messages", 1, "name"], "msg": "no", "input": "PRIVATE"},
            {
                "type": "t",
                "loc": ["query", "PRIVATE text", None, -3],
                "msg": "bad",
                "ctx": {"error": "PRIVATE"},
            },
            {"type": "t", "loc": ["body"], "input": {"message": "PRIVATE"}},
            {"type": "t", "loc": "PRIVATE", "msg": "odd", "url": "PRIVATE"},
        ]
    }

    for document in (body, {"message": body}, {"error": {"message": body}}):
        text = error_text_of(document)
        assert text.startswith("messages[1].name: no; query.?.?[")
        assert text.endswith(": bad; odd")
        assert "PRIVATE" not in text


def test_a_text_is_one_line_of_printable_characters() -> None:
    text = "a\r\nb\tc\x00d\x1b[31me\u2028f\u202eg\ud800h  i\u0085j"

    assert error_text_of({"message": text}) == "a b c d [31me f g h i j"


def test_a_long_text_is_cut_and_no_key_is_cut_to_what_looks_like_none() -> None:
    assert error_text_of({"message": "word " * 5_000}) == ("word " * 200)[:997] + "..."
    for length in range(3_950, 4_020):
        redacted = "sk-abcdef " * ((length - 10) // 10)
        text = redacted + "x" * (length - 1 - len(redacted)) + " " + LETTERS_AND_DIGITS
        assert not any(error_text_of({"message": text}).count(LETTERS_AND_DIGITS[:n]) for n in (4, 8, 15))
    assert error_text_of({"message": "x" * 5_000}) == ""


def test_many_texts_are_cut_to_the_first() -> None:
    assert error_text_of({"detail": [{"msg": str(number)} for number in range(100_000)]}) == "; ".join(
        map(str, range(32))
    )


def test_a_text_that_is_too_deep_is_not_looked_for() -> None:
    document: dict[str, object] = {"message": "here"}
    for _ in range(5):
        document = {"error": document}
    assert error_text_of(document) == "here"
    for _ in range(100):
        document = {"error": [document]}
    assert error_text_of(document) == ""


@given(st.dictionaries(st.sampled_from(["message", "msg", "detail", "error", "loc", "code"]), wild_values))
@example({"message": ["\ud800", {"msg": {}}], "loc": [True, 10**100, 1.5, {}]})
def test_the_text_of_anything_is_short_and_printable(document: dict[str, object]) -> None:
    text = error_text_of(document)

    assert len(text) <= 1_000
    assert text.isprintable()
    text.encode()
