"""Protobuf as input: checked as JSON is, with warnings about content of a newer contract."""

import json
import pathlib

import pytest
from google.protobuf import text_format

from mistralwire import v1
from mistralwire._protobuf import write_varint
from mistralwire.codec import from_json

from ..commands import CHUNK, DATA, convert, converted, run

RESPONSE = DATA / "response.json"
CHUNK_BYTES = from_json(v1.CompletionChunk, CHUNK).SerializeToString()
UNKNOWN = b"\xf8\x7f\x01"
"""Field 2047, which no message has."""
INCOMPLETE = v1.ChatCompletionResponse(id="a").SerializeToString()


@pytest.mark.parametrize(
    ("format_", "data"),
    [("txtpb", b'id: "a"\n'), ("binpb", INCOMPLETE), ("binpb", b""), ("txtpb", b"")],
    ids=["text", "binary", "empty binary", "empty text"],
)
def test_protobuf_that_breaks_the_contract_is_an_error_with_its_paths(format_: str, data: bytes) -> None:
    arguments = ["--from", format_, "--to", "json", "--type", "ChatCompletionResponse"]
    status, stdout, stderr = run(*arguments, stdin=data)
    assert (status, stdout) == (1, b"")
    assert "<stdin>: model: expected a string, found nothing: the member is required" in stderr.splitlines()
    assert converted(*arguments, "--no-validate", stdin=data) == (b'{"id":"a"}\n' if data else b"{}\n")


def test_a_message_of_several_that_breaks_the_contract_is_named_by_its_number() -> None:
    bad = v1.CompletionChunk(id="c").SerializeToString()
    data = b"".join(bytes([len(message)]) + message for message in (CHUNK_BYTES, bad, CHUNK_BYTES))
    arguments = ["--from", "binpb", "--to", "jsonl", "--type", "CompletionChunk", "--keep-going"]
    status, stdout, stderr = run(*arguments, stdin=data)
    assert (status, stdout) == (1, (CHUNK + b"\n") * 2)
    assert "<stdin>: message 2: model: expected a string" in stderr
    assert stderr.endswith("<stdin>: 2 messages converted, 1 failure\n")


def test_a_message_that_json_cannot_hold_is_an_error_for_protobuf_too() -> None:
    text = b'model: "m" messages {user {content_string: "a"}} metadata: "{"'
    arguments = ["--from", "txtpb", "--to", "binpb", "--type", "ChatCompletionRequest"]
    result = convert(*arguments, stdin=text)
    assert result.exit_code == 1
    assert "<stdin>: metadata: expected JSON in the field" in result.output


@pytest.mark.parametrize("options", [[], ["--no-validate"]])
@pytest.mark.parametrize("to", ["json", "txtpb", "jsonl"])
def test_an_answer_of_a_newer_contract_is_converted_with_a_warning(options: list[str], to: str) -> None:
    data = CHUNK_BYTES + UNKNOWN
    if to == "jsonl":
        data = (bytes([len(data)]) + data) * 3
    arguments = ["--from", "binpb", "--to", to, "--type", "CompletionChunk", *options]
    status, stdout, stderr = run(*arguments, stdin=data)
    place = ": message 1" if to == "jsonl" else ""
    assert status == 0
    assert stderr.startswith(
        f"<stdin>{place}: warning: document: expected content of revision {v1.CONTRACT_REVISION} of the "
        "contract, found the field 2047 of CompletionChunk, which it does not have; upgrade mistralwire"
    )
    assert stderr.count("\n") == 1
    if to == "txtpb":
        assert text_format.Parse(stdout, v1.CompletionChunk()) == from_json(v1.CompletionChunk, CHUNK)
    else:
        assert stdout == (CHUNK + b"\n") * (3 if to == "jsonl" else 1)


def test_each_kind_of_newer_content_is_reported_once_up_to_a_bound() -> None:
    many = b"".join(bytes([number << 3 & 0x7F | 0x80, number >> 4]) + b"\x01" for number in range(16, 216))
    data = b"".join(write_varint(len(message)) + message for message in (CHUNK_BYTES + many,) * 2)
    arguments = ["--from", "binpb", "--to", "jsonl", "--type", "CompletionChunk", "--no-validate"]
    status, stdout, stderr = run(*arguments, stdin=data)
    lines = stderr.splitlines()
    assert (status, stdout) == (0, (CHUNK + b"\n") * 2)
    assert 0 < len(lines) <= 100
    assert len(set(lines)) == len(lines)


def test_an_alternative_of_a_newer_contract_is_lost_in_an_answer() -> None:
    choice = b'{"index":0,"finish_reason":"stop","message":{"content":[{"type":"text","text":"t"}]}}'
    message = from_json(v1.ChatCompletionChoice, choice)
    assert message.message.content_array.items.add().MergeFromString(UNKNOWN) > 0
    arguments = ["--from", "binpb", "--type", "ChatCompletionChoice"]
    status, stdout, stderr = run(*arguments, stdin=message.SerializeToString())
    assert (status, json.loads(stdout)) == (0, json.loads(choice))
    assert "<stdin>: warning: message.content[1]: expected content of revision" in stderr


def test_an_enum_value_of_a_newer_contract_has_no_string_in_an_answer() -> None:
    data = from_json(v1.ChatCompletionChoice, b'{"index":0,"finish_reason":"stop"}').SerializeToString()
    status, stdout, stderr = run(
        *("--from", "binpb", "--type", "ChatCompletionChoice"), stdin=data.replace(b"\x18\x01", b"\x18\x06")
    )
    assert (status, stdout) == (0, b'{"index":0,"finish_reason":"unrecognized"}\n')
    assert "<stdin>: warning: finish_reason: expected content of revision" in stderr
    assert "found the value 6 of FinishReason" in stderr


def test_what_else_is_wrong_with_a_newer_answer_is_still_an_error() -> None:
    data = v1.CompletionChunk(id="c").SerializeToString() + UNKNOWN
    status, stdout, stderr = run("--from", "binpb", "--to", "json", "--type", "CompletionChunk", stdin=data)
    assert (status, stdout) == (1, b"")
    assert "model: expected a string, found nothing" in stderr


@pytest.mark.parametrize("options", [[], ["--no-validate"]])
@pytest.mark.parametrize("format_", ["binpb", "txtpb"])
def test_a_request_of_a_newer_contract_is_refused(format_: str, options: list[str]) -> None:
    request = from_json(
        v1.ChatCompletionRequest, b'{"model":"m","messages":[],"reasoning_effort":"high"}'
    ).SerializeToString()
    data = request.replace(b"\xe0\x01\x05", b"\xe0\x01\x0a")
    assert data != request
    if format_ == "txtpb":
        data = text_format.MessageToBytes(v1.ChatCompletionRequest.FromString(data))
    status, stdout, stderr = run(
        *("--from", format_, "--to", "json", "--type", "ChatCompletionRequest", *options), stdin=data
    )
    assert (status, stdout) == (1, b"")
    assert "found the value 10 of ReasoningEffort, which it does not have; upgrade mistralwire" in stderr
    assert "<stdin>: reasoning_effort: " in stderr


def test_bytes_of_another_message_are_not_a_newer_contract() -> None:
    data = v1.ToolMessage(role="tool").SerializeToString()
    for options in ([], ["--no-validate"]):
        status, stdout, stderr = run("--from", "binpb", "--type", "UsageInfo", *options, stdin=data)
        assert (status, stdout) == (1, b"")
        assert "expected the fields of a UsageInfo, found others, which the output would lose" in stderr


@pytest.mark.parametrize("to", ["json", "txtpb"])
def test_delimited_messages_read_as_one_hint_at_the_right_format(tmp_path: pathlib.Path, to: str) -> None:
    file = tmp_path / "chunks.binpb"
    converted(DATA / "stream.sse", "-o", file)
    hint = "; if these are length-delimited messages, use --to jsonl, or --accumulate for a stream"
    status, _, stderr = run(file, "--to", to, "--type", "CompletionChunk")
    assert status == 1
    assert stderr.endswith(f"{hint}\n")
    assert run(file, "--to", "jsonl", "--type", "UsageInfo")[2].count(hint) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            b'id: "\x1b[31m" nope: 2',
            ":1: expected the protobuf text of a CompletionChunk, found at column 13: ",
        ),
        (b'\nid: "a\x1b[31m', ":2: expected the protobuf text of a CompletionChunk, found at column 5: "),
        (b"id: \x9b", ": expected UTF-8 text, found byte 0x9b"),
    ],
)
def test_an_error_in_a_text_has_one_position_and_no_control_characters(text: bytes, expected: str) -> None:
    status, _, stderr = run("--from", "txtpb", "--to", "json", "--type", "CompletionChunk", stdin=text)
    assert status == 1
    assert stderr.startswith(f"<stdin>{expected}")
    assert stderr.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    "text",
    [b"a {" * 100_000, b'prompt_tokens: "' + b"x" * 100_000 + b'"', b"prompt_tokens: 1 " + b"y" * 100_000],
)
def test_an_error_in_a_long_text_does_not_repeat_it(text: bytes) -> None:
    result = convert("--from", "txtpb", "--to", "json", "--type", "UsageInfo", stdin=text)
    assert result.exit_code == 1
    assert len(result.output) < 1_000


def test_an_error_in_a_text_quotes_nothing_that_is_right_before_it() -> None:
    result = convert(
        "--from", "txtpb", "--to", "json", "--type", "CompletionChunk", stdin=b'id: "right" model 5'
    )
    assert result.exit_code == 1
    assert "found at column 19: " in result.output
    assert "right" not in result.output


def test_a_text_has_unescaped_letters() -> None:
    chunk = CHUNK.replace(b'"x"', '"marée 潮"'.encode())
    text = converted("--from", "json", "--to", "txtpb", stdin=chunk)
    assert "marée 潮" in text.decode()
    assert converted("--from", "txtpb", "--to", "json", stdin=text) == chunk + b"\n"
