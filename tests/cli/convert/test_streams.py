"""`convert --accumulate` and `--explode`: the chunks of a stream, and one response."""

import json
import pathlib

import pytest

from mistralwire import explode, from_json, to_json, v1

from ..commands import CHUNK, DATA, convert, converted

STREAM, RESPONSE, REQUESTS = DATA / "stream.sse", DATA / "response.json", DATA / "requests.jsonl"


@pytest.mark.parametrize("form", ["sse", "jsonl", "binpb"])
def test_a_stream_in_each_form_becomes_one_response(form: str, tmp_path: pathlib.Path) -> None:
    stream = tmp_path / f"stream.{form}"
    if form == "sse":
        stream = STREAM
    else:
        converted(STREAM, "-o", stream)
    answer = json.loads(converted(stream, "--accumulate"))
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "At 17:42 — roughly."},
        }
    ]
    assert answer["usage"]["total_tokens"] == 18


def test_a_response_becomes_the_chunks_of_a_stream_and_comes_back(tmp_path: pathlib.Path) -> None:
    response = from_json(v1.ChatCompletionResponse, RESPONSE.read_bytes())
    lines = converted(RESPONSE, "--explode", "--to", "jsonl").splitlines()
    assert lines == [to_json(chunk) for chunk in explode(response)]
    events = converted(RESPONSE, "--explode")
    assert events.endswith(b"data: [DONE]\n\n")
    assert converted("--accumulate", stdin=events) == to_json(response) + b"\n"
    file = tmp_path / "response.binpb"
    converted(RESPONSE, "-o", file)
    assert converted(file, "--type", "ChatCompletionResponse", "--explode") == events
    # Each output form but those of the other side.
    converted(RESPONSE, "--explode", "-o", file)
    assert converted(file, "--accumulate", "--to", "json") == to_json(response) + b"\n"
    assert converted(file, "--accumulate", "--to", "jsonl") == to_json(response) + b"\n"
    wire = converted(file, "--accumulate", "--to", "binpb")
    assert v1.ChatCompletionResponse.FromString(wire) == response


def test_the_type_names_what_a_stream_is_merged_into() -> None:
    text = converted(STREAM, "--accumulate", "--type", "FIMCompletionResponse", "--to", "txtpb")
    assert b"# proto-message: mistralwire.v1.FIMCompletionResponse\n" in text
    assert b"ChatCompletionResponse" in converted(STREAM, "--accumulate", "--to", "txtpb")


def test_a_stream_that_breaks_off_becomes_a_response_only_unchecked() -> None:
    result = convert("--accumulate", stdin=CHUNK + b"\n")
    assert result.exit_code == 1
    assert "<stdin>: the response: choices[0].finish_reason: expected a string, found " in result.stderr
    answer = json.loads(converted("--accumulate", "--no-validate", stdin=CHUNK + b"\n"))
    assert answer["choices"][0]["message"] == {"content": "x"}


def test_a_chunk_that_can_not_be_read_is_left_out_and_the_rest_is_merged() -> None:
    lines = converted(STREAM, "--to", "jsonl") + b"{}\n"
    result = convert("--accumulate", "--keep-going", stdin=lines)
    assert result.exit_code == 1
    assert "<stdin>:3: " in result.stderr
    assert json.loads(result.stdout)["choices"][0]["message"]["content"] == "At 17:42 — roughly."


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([STREAM, "--to", "json"], "choose jsonl or sse, or --accumulate for one response"),
        (
            [STREAM, "--type", "ChatCompletionResponse", "--to", "jsonl"],
            "which --accumulate merges",
        ),
        ([RESPONSE, "--type", "CompletionChunk"], "this is a whole response, which --explode splits"),
        ([RESPONSE, "--accumulate"], "this is a whole response, which --explode splits"),
        ([STREAM, "--explode"], "expected a response to split into chunks, found a CompletionChunk"),
        ([REQUESTS, "--explode"], "expected a response to split into chunks, found a ChatCompletionRequest"),
    ],
)
def test_a_stream_taken_for_a_response_and_the_reverse_name_the_option(
    arguments: list[str | pathlib.Path], expected: str
) -> None:
    result = convert(*arguments)
    assert result.exit_code == 1
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([STREAM, "--accumulate", "--explode"], "--accumulate undoes --explode; leave one of them out"),
        (
            [STREAM, "--accumulate", "--to", "sse"],
            "--accumulate writes one response, but sse is for",
        ),
        (
            [RESPONSE, "--explode", "--to", "json"],
            "--explode writes several chunks, but json",
        ),
        ([RESPONSE, "--explode", "--to", "txtpb"], "but txtpb holds one message"),
        ([STREAM, "--accumulate", "--type", "ToolCall"], "--accumulate expects one of the types"),
        ([RESPONSE, "--explode", "--type", "CompletionChunk"], "--explode expects one of the types"),
    ],
)
def test_combinations_without_a_meaning_are_usage_errors(
    arguments: list[str | pathlib.Path], expected: str
) -> None:
    result = convert(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("option", "missing"), [("--accumulate", "the chunks of a stream"), ("--explode", "a response")]
)
def test_an_empty_input_is_neither(option: str, missing: str) -> None:
    result = convert(option, "--from", "jsonl", stdin=b"\n")
    assert result.exit_code == 1
    assert f"<stdin>: expected {missing}, found none" in result.stderr


def test_two_responses_are_no_stream() -> None:
    line = to_json(from_json(v1.ChatCompletionResponse, RESPONSE.read_bytes())) + b"\n"
    result = convert("--explode", "--from", "jsonl", stdin=line + line)
    assert result.exit_code == 1
    assert (
        "<stdin>:2: expected the end, as --explode splits one response, found another message"
        in result.stderr
    )


def test_a_response_that_no_stream_can_carry_is_refused() -> None:
    response = json.loads(RESPONSE.read_bytes())
    response["choices"] *= 2
    result = convert("--explode", stdin=json.dumps(response).encode())
    assert result.exit_code == 1
    assert "expected a response that a stream can carry" in result.stderr
