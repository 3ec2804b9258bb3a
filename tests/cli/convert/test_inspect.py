"""`mistralwire inspect`: what documents hold, and what json_format would lose of them."""

import contextlib
import io
import json
import os
import pathlib
import pty
import subprocess
import tracemalloc
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mistralwire import from_json, v1
from mistralwire.cli import main
from mistralwire.cli.convert import _report

from ..commands import CHUNK, DATA, PROGRAM, TIMEOUT_S, converted

STREAM, RESPONSE, REQUESTS = DATA / "stream.sse", DATA / "response.json", DATA / "requests.jsonl"


def inspect(*arguments: str | pathlib.Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)], input=stdin)


def found_in(*arguments: str | pathlib.Path, stdin: bytes = b"") -> dict[str, Any]:
    result = inspect(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_document_is_described_with_what_is_not_documented_and_what_json_format_loses() -> None:
    response = from_json(v1.ChatCompletionResponse, RESPONSE.read_bytes())
    assert found_in(RESPONSE) == {
        "format": "json",
        "type": "ChatCompletionResponse",
        "documents": 1,
        "json_bytes": len(converted(RESPONSE, "--to", "json")) - 1,
        "protobuf_bytes": response.ByteSize(),
        "undocumented": {"server_note": 1},
        "lost_by_json_format": {
            "null dropped": {"server_note": 1},
            # json_format writes int64 as strings, and a Struct holds doubles.
            "number changed": {"created": 1, "choices[].message.tool_calls[].function.arguments.days": 1},
        },
    }


@pytest.mark.parametrize("form", ["sse", "jsonl", "binpb"])
def test_a_recorded_stream_is_the_same_in_each_form(form: str, tmp_path: pathlib.Path) -> None:
    options = ["--type", "CompletionChunk", "--delimited"] if form == "binpb" else []
    file = STREAM
    if form != "sse":
        file = tmp_path / f"stream.{form}"
        converted(STREAM, "-o", file)
    found = found_in(file, *options)
    assert found == found_in("-", stdin=STREAM.read_bytes()) | {"format": form}
    assert (found["documents"], found["type"]) == (2, "CompletionChunk")


PARTS = [
    {"type": "text", "text": "a", "cache": 1},
    {"type": "new", "x": 1},
    {"type": "thinking", "thinking": [{"type": "text", "text": "b", "note": "c"}]},
]
ODD: dict[str, Any] = {
    "model": "m",
    "stop": [],
    "metadata": {"n": 9007199254740993},
    "tool_choice": "later",
    "messages": [{"role": "user", "content": PARTS, "extra": {"a": 1}}, {"role": "user", "content": "x"}],
}


def test_undocumented_members_tags_and_enum_strings_are_counted_by_path() -> None:
    line = json.dumps(ODD).encode() + b"\n"
    found = found_in("--from", "jsonl", "--type", "ChatCompletionRequest", "--no-validate", stdin=line * 3)
    assert found["documents"] == 3
    assert found["undocumented"] == {
        "messages[].content[]": 3,
        "messages[].content[].cache": 3,
        "messages[].content[].thinking[].note": 3,
        "messages[].extra": 3,
        "tool_choice": 3,
    }
    lost = found["lost_by_json_format"]
    assert lost["number changed"].keys() == {
        "messages[].content[].cache",
        "messages[].content[].x",
        "messages[].extra.a",
        "metadata.n",
    }


def test_members_that_the_schema_lacks_are_dropped_and_wrong_types_refused() -> None:
    usage = b'{"prompt_tokens": 1, "new": 2, "num_cached_tokens": null}\n{"prompt_tokens": "x"}\n'
    found = found_in("--from", "jsonl", "--type", "UsageInfo", "--no-validate", stdin=usage)
    assert found["undocumented"] == {"new": 1}
    assert found["lost_by_json_format"] == {
        "member dropped": {"new": 1},
        "null dropped": {"num_cached_tokens": 1},
        "refused": {"": 1},
    }


def test_an_integer_of_any_length_is_undocumented_and_refused_by_json_format() -> None:
    found = found_in("--from", "json", "--type", "UsageInfo", stdin=b'{"new": 1%s}' % (b"0" * 5_000))
    assert found["undocumented"] == {"new": 1}
    assert found["lost_by_json_format"] == {"refused": {"": 1}}


def test_the_table_is_aligned_and_without_color_in_a_pipe() -> None:
    result = inspect(RESPONSE)
    lines = result.stdout.splitlines()
    assert lines[0] == f"{RESPONSE}: ChatCompletionResponse"
    assert "  documents    1" in lines
    assert "\x1b" not in result.stdout
    lost = lines[lines.index("lost by json_format") + 1 :]
    assert len({len(line) for line in lost}) == 1


@pytest.mark.process
@pytest.mark.parametrize(("variables", "is_bold"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_shows_headings_in_bold_unless_no_color_is_set(
    variables: dict[str, str], is_bold: bool
) -> None:
    terminal, other_side = pty.openpty()
    try:
        subprocess.run(
            [*PROGRAM, "inspect", str(STREAM)],
            stdout=other_side,
            check=True,
            timeout=TIMEOUT_S,
            env={**{name: value for name, value in os.environ.items() if name != "NO_COLOR"}, **variables},
        )
        output = os.read(terminal, 65_536)
    finally:
        os.close(terminal)
        os.close(other_side)
    assert (b"\x1b[1m" in output) == is_bold


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_called_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_report, "_PROGRESS_FROM_BYTES", 0)
    with contextlib.redirect_stderr(Terminal()) as shown, contextlib.redirect_stdout(io.StringIO()):
        main(["inspect", str(STREAM)], standalone_mode=False)
    assert "inspecting" in shown.getvalue()


def test_what_can_not_be_read_has_the_errors_of_convert() -> None:
    result = inspect("--from", "jsonl", "--keep-going", stdin=CHUNK + b'\n{"a": tru}\n' + CHUNK + b"\n")
    assert result.exit_code == 1
    assert "  documents    2" in result.stdout
    assert "<stdin>:2: expected JSON, found " in result.stderr
    assert result.stderr.endswith("<stdin>: 1 failure\n")
    assert inspect("--from", "jsonl").stderr == "<stdin>: expected a message, found none\n"
    assert inspect(stdin=b"?").exit_code == 2


def test_messages_that_need_an_option_are_told_its_name() -> None:
    two = converted(STREAM, "--to", "binpb")
    result = inspect("--from", "binpb", "--type", "CompletionChunk", stdin=two)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0].endswith("; if these are length-delimited messages, use --delimited")


def test_names_from_the_input_are_bounded() -> None:
    lines = b"".join(b'{"n%d": 1}\n' % number for number in range(1_500))
    found = found_in("--from", "jsonl", "--type", "UsageInfo", stdin=lines)
    assert len(found["undocumented"]) == 1_001
    assert found["undocumented"]["(other paths)"] == 500
    assert sum(found["undocumented"].values()) == 1_500


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(tmp_path: pathlib.Path) -> None:
    def peak(count: int) -> int:
        file = tmp_path / f"{count}.jsonl"
        file.write_bytes((CHUNK + b"\n") * count)
        tracemalloc.start()
        try:
            found_in(file)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    # A kept message takes more than 600 bytes.
    assert peak(1_500) < peak(150) + 300_000
