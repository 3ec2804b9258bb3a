"""Protobuf as input: checked as JSON is, and nothing of it dropped."""

import pathlib

import pytest

from mistralwire import v1
from mistralwire.codec import from_json

from .commands import CHUNK, DATA, convert, converted, run

RESPONSE = DATA / "response.json"
CHUNK_BYTES = from_json(v1.CompletionChunk, CHUNK).SerializeToString()
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
def test_fields_that_the_type_does_not_know_are_never_dropped(options: list[str], to: str) -> None:
    unknown = b"\xf8\x7f\x01"
    data = CHUNK_BYTES + unknown
    framed = bytes([len(data)]) + data if to == "jsonl" else data
    status, stdout, stderr = run(
        "--from", "binpb", "--to", to, "--type", "CompletionChunk", *options, stdin=framed
    )
    assert (status, stdout) == (1, b"")
    assert "expected the fields of a CompletionChunk, found others, which the output would lose" in stderr


@pytest.mark.parametrize("to", ["json", "txtpb"])
def test_messages_with_their_length_read_as_one_hint_at_the_right_format(
    tmp_path: pathlib.Path, to: str
) -> None:
    file = tmp_path / "chunks.binpb"
    converted(DATA / "stream.sse", "-o", file)
    hint = "; if these are messages with a length before each, choose --to jsonl"
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


def test_an_error_in_a_text_says_what_is_wrong_and_not_what_is_right_before_it() -> None:
    result = convert(
        "--from", "txtpb", "--to", "json", "--type", "CompletionChunk", stdin=b'id: "right" model 5'
    )
    assert result.exit_code == 1
    assert "found at column 19: " in result.output
    assert "right" not in result.output


def test_a_text_has_its_letters_as_they_are() -> None:
    chunk = CHUNK.replace(b'"x"', '"marée 潮"'.encode())
    text = converted("--from", "json", "--to", "txtpb", stdin=chunk)
    assert "marée 潮" in text.decode()
    assert converted("--from", "txtpb", "--to", "json", stdin=text) == chunk + b"\n"
