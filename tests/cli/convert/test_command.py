import io
import json
import pathlib
import re
import subprocess
import sys

import pytest
from google.protobuf import proto, text_format
from google.protobuf.message import Message

from mistralwire import v1
from mistralwire.codec import SseDecoder, SseMessage, from_json, to_json

from ...json_equality import meaning
from ..commands import CHUNK, COMMAND, DATA, TIMEOUT_S, convert, converted, run

RESPONSE = DATA / "response.json"
REQUESTS = DATA / "requests.jsonl"
BROKEN = DATA / "broken.jsonl"
STREAM = DATA / "stream.sse"
FAILING = DATA / "failing.sse"


def parse_delimited(message_type: type[Message], data: bytes) -> list[Message]:
    stream = io.BytesIO(data)
    return list(iter(lambda: proto.parse_length_prefixed(message_type, stream), None))


def chunks_of_stream() -> list[v1.CompletionChunk]:
    decoder = SseDecoder(v1.CompletionChunk)
    return [event.message for event in decoder.feed(STREAM.read_bytes()) if isinstance(event, SseMessage)]


def test_json_becomes_one_message_and_comes_back_the_same(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "response.binpb"
    assert converted(RESPONSE, "-o", file) == b""
    expected = from_json(v1.ChatCompletionResponse, RESPONSE.read_bytes())
    assert v1.ChatCompletionResponse.FromString(file.read_bytes()) == expected
    back = converted(file, "--type", "ChatCompletionResponse")
    assert back.count(b"\n") == 1
    assert meaning(v1.ChatCompletionResponse, back) == meaning(
        v1.ChatCompletionResponse, RESPONSE.read_bytes()
    )


def test_a_text_names_its_type_and_comes_back_the_same(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "response.txtpb"
    converted(RESPONSE, "-o", file)
    expected = from_json(v1.ChatCompletionResponse, RESPONSE.read_bytes())
    assert text_format.Parse(file.read_bytes(), v1.ChatCompletionResponse()) == expected
    assert "# proto-message: mistralwire.v1.ChatCompletionResponse\n" in file.read_text()
    assert converted(file) == to_json(expected) + b"\n"
    assert converted(stdin=file.read_bytes()) == to_json(expected) + b"\n"


def test_lines_become_delimited_messages_and_come_back_the_same(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "requests.binpb"
    converted(REQUESTS, "-o", file)
    lines = [line for line in REQUESTS.read_bytes().splitlines() if line]
    messages = [from_json(v1.ChatCompletionRequest, line) for line in lines]
    assert parse_delimited(v1.ChatCompletionRequest, file.read_bytes()) == messages
    back = converted(file, "--type", "ChatCompletionRequest", "--to", "jsonl")
    assert back.splitlines() == [to_json(message) for message in messages]


def test_a_stream_becomes_lines_and_delimited_messages(tmp_path: pathlib.Path) -> None:
    chunks = chunks_of_stream()
    assert converted(STREAM, "--to", "jsonl").splitlines() == [to_json(chunk) for chunk in chunks]
    assert parse_delimited(v1.CompletionChunk, converted(STREAM)) == chunks


def test_delimited_messages_become_a_stream_with_its_end(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "chunks.binpb"
    converted(STREAM, "-o", file)
    stream = converted(file, "--type", "CompletionChunk", "--to", "sse")
    assert stream.endswith(b"\n\ndata: [DONE]\n\n")
    events = [b"data: " + to_json(chunk) for chunk in chunks_of_stream()]
    assert stream.removesuffix(b"\n\n").split(b"\n\n") == [*events, b"data: [DONE]"]


def test_a_stream_to_a_stream_keeps_the_ids() -> None:
    stream = converted(STREAM, "--to", "sse", "--names", "camel")
    assert [line for line in stream.splitlines() if line.startswith(b"id:")] == [b"id: 1", b"id: 2"]
    assert b'"finishReason":"stop"' in stream


def test_names_and_indent_shape_the_json() -> None:
    text = converted(RESPONSE, "--to", "json", "--names", "camel", "--indent", "2")
    assert b'\n      "finishReason": "tool_calls",\n' in text
    assert b"9007199254740993" in text


def test_an_output_of_the_same_name_as_the_input_replaces_it(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "response.json"
    file.write_bytes(RESPONSE.read_bytes())
    file.chmod(0o640)
    converted(file, "-o", file, "--names", "camel")
    assert b'"finishReason"' in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.process
def test_an_output_that_is_a_pipe_is_written_directly() -> None:
    command = [*COMMAND, str(RESPONSE), "--to", "json", "-o", "/dev/stdout"]
    result = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True)
    assert (result.stdout[:16], result.stderr) == (b'{"id":"answer-7"', b"")


@pytest.mark.parametrize(
    ("stdin", "to", "expected"),
    [
        (CHUNK, "jsonl", 1),
        (b"\n \n" + CHUNK + b"\n\n", "jsonl", 1),
        (json.dumps(json.loads(CHUNK), indent=1).encode(), "jsonl", 1),
        (CHUNK + b"\n\n" + CHUNK, "jsonl", 2),
        (b"data: " + CHUNK + b"\n\ndata: [DONE]\n\n", "jsonl", 1),
        (b"\xef\xbb\xbf: hi\r\n\r\ndata: " + CHUNK + b"\r\n\r\ndata: [DONE]\r\n\r\n", "jsonl", 1),
        (b"id: 1\nevent: x\ndata: " + CHUNK + b"\n\ndata: [DONE]\n\n", "jsonl", 1),
    ],
    ids=["line", "blank lines", "indented", "lines", "data", "comment", "id"],
)
def test_the_format_of_standard_input_is_inferred(stdin: bytes, to: str, expected: int) -> None:
    assert converted("--to", to, stdin=stdin).count(b"\n") == expected
    assert converted("-", "--to", to, stdin=stdin).count(b"\n") == expected


@pytest.mark.parametrize("extension", ["jsonl", "ndjson", "NDJSON"])
def test_the_format_of_a_file_is_inferred_from_its_extension(tmp_path: pathlib.Path, extension: str) -> None:
    file = tmp_path / f"one.{extension}"
    file.write_bytes(CHUNK)
    assert parse_delimited(v1.CompletionChunk, converted(file)) == [from_json(v1.CompletionChunk, CHUNK)]


@pytest.mark.parametrize("stdin", [b"", b"\n\n", b"\x0a\x01a", b'id: "text"\n', b"hello"])
def test_an_unclear_format_asks_for_the_option(stdin: bytes) -> None:
    result = convert("--to", "json", stdin=stdin)
    assert result.exit_code == 2
    assert "--from" in result.output


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"object": "chat.completion"}, "ChatCompletionResponse"),
        ({"object": "chat.completion.chunk"}, "CompletionChunk"),
        ({"object": "error"}, "ErrorResponse"),
        ({"model": "m", "messages": []}, "ChatCompletionRequest"),
        ({"model": "m", "messages": [], "stream": False}, "ChatCompletionRequest"),
        ({"model": "m", "messages": [], "stream": True}, "ChatCompletionStreamRequest"),
        ({"agent_id": "a", "messages": []}, "AgentsCompletionRequest"),
        ({"agent_id": "a", "messages": [], "stream": True}, "AgentsCompletionStreamRequest"),
        ({"model": "m", "prompt": "p"}, "FIMCompletionRequest"),
        ({"model": "m", "prompt": "p", "stream": True}, "FIMCompletionStreamRequest"),
        ({"id": "i", "choices": [{"delta": {}}]}, "CompletionChunk"),
        ({"id": "i", "choices": [{"message": {}}]}, "ChatCompletionResponse"),
        ({"data": {"choices": []}}, "CompletionEvent"),
        ({"detail": []}, "HTTPValidationError"),
        ({"detail": "gone"}, "ErrorResponse"),
        ({"message": "gone", "code": "1"}, "ErrorResponse"),
        ({"error": {"message": "gone", "type": "t"}}, "ErrorResponse"),
    ],
)
def test_the_type_is_inferred_from_the_document(document: object, name: str) -> None:
    text = converted("--to", "txtpb", "--no-validate", stdin=json.dumps(document).encode())
    assert f"# proto-message: mistralwire.v1.{name}\n" in text.decode()


@pytest.mark.parametrize(
    "document",
    [b"{}", b'{"id": "i", "choices": []}', b'{"role": "user"}', b'{"object": 1}', b'{"object":[]}'],
)
def test_an_unclear_type_asks_for_the_option(document: bytes, tmp_path: pathlib.Path) -> None:
    result = convert("--to", "json", "-o", tmp_path / "out.json", stdin=document)
    assert result.exit_code == 2
    assert "--type" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_binary_file_asks_for_its_type(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "response.binpb"
    converted(RESPONSE, "-o", file)
    result = convert(file)
    assert result.exit_code == 2
    assert "--type" in result.output


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ChatCompletionRespons", "did you mean ChatCompletionResponse"),
        ("toolcall", "did you mean ToolCall?"),
        ("COMPLETIONCHUNK", "did you mean CompletionChunk?"),
        ("ChatMessage", "ChatMessage is a part of documents"),
        ("mistralwire.v1.contentchunklist", "ContentChunkList is a part of documents"),
        ("JsonField", "JSON object"),
        ("Qqqqqqq", "UsageInfo"),
    ],
)
def test_an_unknown_type_names_the_nearest_one(name: str, hint: str) -> None:
    result = convert(RESPONSE, "--to", "json", "--type", name)
    assert result.exit_code == 2
    assert hint in " ".join(result.output.split())


@pytest.mark.parametrize("name", ["UsageInfo", "mistralwire.v1.UsageInfo"])
def test_a_type_may_be_given_with_its_package(name: str) -> None:
    assert converted("--to", "json", "--type", name, stdin=b'{"prompt_tokens":1}') == b'{"prompt_tokens":1}\n'


def test_a_bad_line_is_named_with_its_path_and_ends_the_run() -> None:
    status, stdout, stderr = run(BROKEN, "--to", "jsonl")
    assert status == 1
    assert stdout.count(b"\n") == 1
    assert stderr == (
        f"{BROKEN}:2: messages[0].content: expected a string, an array or null, found the number 2\n"
    )


def test_keeping_going_reports_every_bad_line_and_converts_the_others() -> None:
    status, stdout, stderr = run(BROKEN, "--to", "jsonl", "--keep-going")
    assert status == 1
    assert [json.loads(line)["messages"][0]["content"] for line in stdout.splitlines()] == ["one", "three"]
    second, fourth, summary = stderr.splitlines()
    assert second.startswith(f"{BROKEN}:2: messages[0].content: ")
    assert fourth.startswith(f"{BROKEN}:4: expected JSON, found ")
    assert summary == f"{BROKEN}: 2 messages converted, 2 failures"


def test_after_a_bad_first_line_the_next_one_shows_the_type() -> None:
    status, stdout, stderr = run("--to", "jsonl", "--keep-going", stdin=b"{\n" + CHUNK + b"\n")
    assert (status, stdout) == (1, CHUNK + b"\n")
    assert stderr.startswith("<stdin>:1: expected JSON, ")


def test_without_validation_a_document_that_breaks_the_contract_is_kept() -> None:
    document = b'{"object":"chat.completion","id":7,"choices":"none"}'
    assert convert("--to", "json", stdin=document).exit_code == 1
    text = converted("--to", "json", "--no-validate", stdin=document)
    assert json.loads(text) == json.loads(document)


@pytest.mark.parametrize(
    "stdin",
    [
        CHUNK,
        json.dumps(json.loads(CHUNK), indent=1).encode(),
        CHUNK + b"\n" + CHUNK + b"\n",
        b"data: " + CHUNK + b"\n\ndata: [DONE]\n\n",
    ],
    ids=["json", "indented", "jsonl", "sse"],
)
@pytest.mark.parametrize("to", ["jsonl", "binpb"])
def test_one_byte_order_mark_is_dropped(stdin: bytes, to: str) -> None:
    # Windows' editors and shells write one.
    for options in ([], ["--no-validate"]):
        expected = converted(*options, "--to", to, stdin=stdin)
        assert converted(*options, "--to", to, stdin=b"\xef\xbb\xbf" + stdin) == expected


def test_numbers_that_json_lacks_are_read_without_validation_and_in_streams() -> None:
    document = CHUNK[:-1] + b',"x":[NaN,-Infinity]}'
    written = {"x": [None, -sys.float_info.max]}
    line = converted("--no-validate", "--to", "jsonl", stdin=document)
    assert json.loads(line) == {**json.loads(CHUNK), **written}
    stream = b"data: " + document + b"\n\ndata: [DONE]\n\n"
    assert converted("--to", "jsonl", stdin=stream) == line
    status, _, stderr = run("--to", "jsonl", stdin=document)
    assert (status, "NaN, which JSON does not have, in x[0]" in stderr) == (1, True)


def test_a_stream_without_done_is_complete_if_all_choices_have_ended() -> None:
    event = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    status, stdout, stderr = run("--from", "sse", "--to", "sse", stdin=event + event)
    assert (status, stdout.count(b"data: "), stdout.endswith(b"data: [DONE]\n\n")) == (0, 3, True)
    assert stderr == (
        "<stdin>:4: warning: the stream ended without [DONE], but each choice had a finish_reason; "
        "treated as complete\n"
    )


def test_a_failing_stream_is_reported_by_line() -> None:
    status, stdout, stderr = run(FAILING, "--to", "sse", "--keep-going")
    assert status == 1
    assert stdout.count(b"data: ") == 1
    assert b"[DONE]" not in stdout
    model, upstream, end, summary = stderr.splitlines()
    assert model == f"{FAILING}:3: model: expected a string, found the number 3"
    assert upstream == f"{FAILING}:5: the upstream sent an error: the harbour is closed"
    assert "expected data: [DONE] at the end of the stream" in end
    assert summary == f"{FAILING}: 1 message converted, 3 failures"


def test_the_error_of_an_upstream_reaches_the_terminal_without_its_control_characters() -> None:
    stream = b'data: {"object":"error","message":"a\\u001b[31m\\nb"}\n\ndata: [DONE]\n\n'
    status, _, stderr = run("--to", "jsonl", stdin=stream)
    assert (status, stderr) == (1, "<stdin>:1: the upstream sent an error: a\\x1b[31m\\nb\n")


@pytest.mark.parametrize("to", ["json", "txtpb"])
def test_several_messages_do_not_fit_into_one_document(to: str) -> None:
    status, stdout, stderr = run(REQUESTS, "--to", to)
    assert (status, stdout) == (1, b"")
    problem = f"expected the end, as {to} holds one message, found another; choose jsonl or sse"
    assert stderr == f"{REQUESTS}:3: {problem}\n"


def test_keeping_going_writes_the_first_of_several_messages() -> None:
    status, stdout, _ = run(REQUESTS, "--to", "json", "--keep-going")
    assert (status, stdout) == (1, converted(REQUESTS, "--to", "jsonl").splitlines(keepends=True)[0])


@pytest.mark.parametrize(
    ("stdin", "arguments"),
    [
        (b"data: " + CHUNK + b"\n\ndata: {}\n\ndata: [DONE]\n\n", ["--from", "sse"]),
        (CHUNK + b"\n{}\n", ["--from", "jsonl", "--type", "CompletionChunk"]),
    ],
    ids=["sse", "jsonl"],
)
def test_a_stream_that_lacks_an_event_has_no_done(stdin: bytes, arguments: list[str]) -> None:
    status, stdout, _ = run(*arguments, "--to", "sse", "--keep-going", stdin=stdin)
    assert (status, stdout) == (1, b"data: " + CHUNK + b"\n\n")


@pytest.mark.parametrize(
    ("format_", "stdin", "expected"),
    [
        ("jsonl", CHUNK + b'\n {"a": tru}', ":2: expected JSON, found X at column 8\n"),
        ("json", b'{"a":\n tru}', ":2: expected JSON, found X at column 2\n"),
        ("sse", b'\ndata: {"a": tru}\n\n', ":2: expected JSON, found X at column 7 of the data\n"),
        (
            "json",
            b'{"object":"chat.completion.chunk","id":1}',
            ": id: expected a string, found the number 1\n",
        ),
    ],
)
def test_a_problem_has_one_position(format_: str, stdin: bytes, expected: str) -> None:
    status, _, stderr = run("--from", format_, "--to", "jsonl", stdin=stdin)
    assert status == 1
    first = stderr.splitlines(keepends=True)[0]
    assert re.sub("found [^0-9]* at column", "found X at column", first) == f"<stdin>{expected}"


def test_one_failure_is_counted_in_the_singular() -> None:
    _, _, stderr = run("--from", "jsonl", "--to", "jsonl", "--keep-going", stdin=CHUNK + b"\n[]\n")
    assert stderr.endswith("<stdin>: 1 message converted, 1 failure\n")


@pytest.mark.parametrize("to", ["json", "txtpb"])
def test_no_message_at_all_is_not_a_document(tmp_path: pathlib.Path, to: str) -> None:
    result = convert("--from", "jsonl", "--to", to, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "expected a message, found none" in result.output
    assert list(tmp_path.iterdir()) == []


def test_no_lines_become_no_messages() -> None:
    assert converted("--from", "jsonl", "--to", "binpb") == b""
    assert converted("--from", "jsonl", "--to", "sse") == b"data: [DONE]\n\n"


def test_a_failure_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text("before")
    assert convert(BROKEN, "-o", file).exit_code == 1
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_keeping_going_leaves_a_file_with_what_could_be_converted(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "out.jsonl"
    assert convert(BROKEN, "-o", file, "--keep-going").exit_code == 1
    assert file.read_bytes().count(b"\n") == 2
    assert list(tmp_path.iterdir()) == [file]


def test_a_document_that_fails_leaves_no_file_even_when_keeping_going(tmp_path: pathlib.Path) -> None:
    arguments = ["--type", "UsageInfo", "--keep-going", "--from", "json", "-o"]
    assert convert(*arguments, tmp_path / "out.binpb", stdin=b"[]").exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["nowhere.json"], "nowhere.json"),
        (
            [RESPONSE, "-o", "no/such/folder/x.json"],
            "no/such/folder for x.json, found none",
        ),
        ([RESPONSE, "--to", "yaml"], "yaml"),
        ([RESPONSE, "--names", "camel"], "--names is for JSON"),
        ([RESPONSE, "--to", "jsonl", "--indent", "2"], "--indent is for json"),
        ([RESPONSE, "--from", "binpb", "--to", "binpb"], "changes nothing"),
    ],
)
def test_an_invalid_command_line_is_explained(arguments: list[str | pathlib.Path], hint: str) -> None:
    result = convert(*arguments)
    assert result.exit_code == 2
    assert hint in result.output


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line() -> None:
    status, _, stderr = run(RESPONSE, "-o", "/proc/out.json")
    assert status == 1
    assert stderr.startswith("Error: /proc/")
    assert stderr.count("\n") == 1


def delimited(*payloads: bytes) -> bytes:
    return b"".join(bytes([len(payload)]) + payload for payload in payloads)


GOOD = v1.UsageInfo(prompt_tokens=1).SerializeToString()


@pytest.mark.parametrize(
    ("data", "expected", "problem"),
    [
        (
            delimited(GOOD, b"\xff", GOOD),
            2,
            "message 2: expected the wire bytes of a UsageInfo, found 1 byte of something else",
        ),
        (delimited(GOOD) + b"\x05a", 1, "message 2: expected 5 bytes, found the end of the file after 1"),
        (delimited(GOOD) + b"\x80", 1, "message 2: expected its length as a varint"),
        (b"\xff" * 11, 0, "message 1: expected its length as a varint"),
        (
            delimited(GOOD) + b"\xff\xff\xff\x7f" + GOOD,
            1,
            "message 2: expected a message of at most 67108864",
        ),
        (delimited(GOOD, b"\x12\x01x", GOOD), 2, "message 2: expected the fields of a UsageInfo"),
    ],
    ids=["no message", "cut", "cut length", "no length", "too long", "other fields"],
)
def test_a_bad_binary_message_is_named_by_its_number(data: bytes, expected: int, problem: str) -> None:
    arguments = ["--from", "binpb", "--to", "jsonl", "--type", "UsageInfo", "--keep-going"]
    status, stdout, stderr = run(*arguments, stdin=data)
    assert (status, stdout) == (1, b'{"prompt_tokens":1}\n' * expected)
    assert stderr.startswith(f"<stdin>: {problem}")


def test_a_binary_file_of_another_type_is_an_error() -> None:
    data = v1.ToolMessage(role="tool").SerializeToString()
    result = convert("--from", "binpb", "--type", "UsageInfo", stdin=data)
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"prompt_tokens: 1\nnope: 2\n", "<stdin>:2: "),
        (b'prompt_tokens: "x"\n', "<stdin>:1: "),
        (b"\xff", "<stdin>: expected UTF-8 text, found byte 0xff"),
        (b"a {" * 100_000, "<stdin>:1: "),
    ],
)
def test_a_bad_text_is_named_by_its_line(data: bytes, problem: str) -> None:
    result = convert("--from", "txtpb", "--to", "json", "--type", "UsageInfo", stdin=data)
    assert result.exit_code == 1
    assert problem in result.output


def test_a_message_without_a_json_form_is_an_error() -> None:
    data = v1.ChatCompletionRequest(temperature=float("nan")).SerializeToString()
    result = convert("--from", "binpb", "--type", "ChatCompletionRequest", stdin=data)
    assert result.exit_code == 1
    assert "<stdin>: temperature: expected a value that has a JSON form, found nan" in result.output
