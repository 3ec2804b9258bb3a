"""`mistralwire demo`, as a line for each chunk and on a terminal; and its picture in the README."""

import codecs
import html
import json
import os
import pty
import re
import signal
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from mistralwire.cli import main
from mistralwire.cli.demo import _screen
from mistralwire.cli.demo._comparison import changes, outline
from tools.picture import PICTURE, screen, svg

COMMAND = [sys.executable, "-m", "mistralwire", "demo"]
COLUMNS, ROWS_MAX = 80, 48
REALISTIC = {
    'created: 1767225600 "1767225600" kept',
    "index: 0 lost kept",
    "arguments.number: 9007199254740993 9007199254740992.0 kept",
    "logprobs: null lost kept",
    "stop_reason: null lost kept",
    'p: "abcde" lost kept',
}


@pytest.fixture(scope="module")
def shown() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_screen, "_CHUNKS_PER_SECOND", 1000)
        patch.setenv("COLUMNS", str(COLUMNS))
        result = CliRunner().invoke(main, ["demo"], color=True)
    assert result.exit_code == 0, result.output
    return result.output


def words(line: str) -> str:
    return " ".join(re.sub(r"\x1b\[\d+m", "", line).split())


def test_it_marks_what_json_format_lost(shown: str) -> None:
    lines = [words(line) for line in shown.splitlines()]
    assert "the documented response 2 changed 0 changed" in lines
    assert "a realistic response 7 changed 0 changed" in lines
    assert set(lines) >= REALISTIC
    assert "\x1b[31mlost" in shown
    assert "\x1b[32mkept\x1b[0m" in shown


def test_the_stream_accumulates_to_the_response(shown: str) -> None:
    assert re.search(r"the accumulated response and the one above +\x1b\[32mequal", shown)
    assert "thinking: They ask where their" in shown
    assert re.search(r"documented +255 +100( +\d+\.\d){4}\n", shown)


def test_it_fits_a_terminal(shown: str) -> None:
    plain = re.sub(r"\x1b\[\d+m", "", shown).splitlines()
    assert [line for line in plain if len(line) > COLUMNS] == []


def test_a_long_path_of_the_program_leaves_no_room_for_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_screen, "_CHUNKS_PER_SECOND", 1000)
    # That of `make demo`, and a longer one.
    for program, has_room in ((".venv-demo/bin/mistralwire", True), ("/" + "a" * 49, False)):
        monkeypatch.setattr(_screen, "_program", lambda program=program: program)
        last = CliRunner().invoke(main, ["demo"]).output.splitlines()[-3:]
        assert [" # " in line for line in last] == [has_room] * 3
        assert all(line.startswith(f"  {program} ") and len(line) <= COLUMNS for line in last)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(_screen, "_CHUNKS_PER_SECOND", 1000)
    assert "\x1b" not in CliRunner().invoke(main, ["demo"], color=True).output


@pytest.mark.process
def test_it_draws_in_place_on_a_terminal_until_ctrl_c() -> None:
    """Two runs at once: one to its end, one that is interrupted in the middle of the stream."""
    whole, interrupted = OnTerminal(), OnTerminal()
    interrupted.read_until(" bytes  ")
    interrupted.process.send_signal(signal.SIGINT)
    assert interrupted.read_until(None).splitlines()[-1] == "interrupted"
    assert interrupted.process.wait() == 130

    output = whole.read_until(None)
    assert whole.process.wait() == 0
    rows = screen(output)
    assert len(rows) <= ROWS_MAX
    assert sum(" bytes  " in row for row in rows) == 4
    assert "\x1b[4A" in output


class OnTerminal:
    """The command on a terminal of its own."""

    def __init__(self) -> None:
        self._master, theirs = pty.openpty()
        environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm"}
        self.process = subprocess.Popen(COMMAND, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)

    def read_until(self, text: str | None) -> str:
        """Read the output until a text arrives; None for its end."""
        output, decoder = "", codecs.getincrementaldecoder("utf-8")()
        try:
            while text is None or text not in output:
                output += decoder.decode(os.read(self._master, 65_536))
        except OSError:  # the end
            os.close(self._master)
        return output


def test_the_picture_shows_what_the_command_shows(shown: str) -> None:
    texts = re.findall("<text [^>]*>(.*?)</text>", PICTURE.read_text())
    pictured = {words(html.unescape(re.sub("<.*?>", "", text))) for text in texts}
    losses = shown.partition("1  From JSON")[2].partition("* with")[0].splitlines()[1:-1]
    assert len(losses) == 25
    assert {words(line) for line in losses} - pictured == set()
    assert "http" not in PICTURE.read_text().replace("http://www.w3.org/2000/svg", "")


def test_a_picture_of_styled_lines() -> None:
    lines = screen("first\r\nold 1\r\nold 2\r\n\x1b[2Anew <1>\r\n\x1b[31mnew\x1b[0m  2\r\n")
    assert lines == ["first", "new <1>", "\x1b[31mnew\x1b[0m  2"]
    assert '<tspan class="s31">new</tspan>  2</text>' in svg(lines)
    assert "new &lt;1&gt;</text>" in svg(lines)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('{"a": 1, "b": null}', '{"a": 1}', {("b",): "lost"}),
        ('{"a": 1}', '{"a": 1.0, "c": 2}', {("a",): "1.0", ("c",): "added"}),
        ('{"a": [0, {"b": true}]}', '{"a": [0, {"b": 1}]}', {("a", 1, "b"): "1"}),
        ('{"a": [1, 2]}', '{"a": [1]}', {("a",): "[1]"}),
        ('{"b": 1, "a": {"c": []}}', '{"a": {"c": []}, "b": 1}', {}),
    ],
)
def test_changes_of_a_document(before: str, after: str, expected: dict[Any, str]) -> None:
    assert dict(changes(json.loads(before), json.loads(after))) == expected


def test_an_outline_has_a_line_for_each_change() -> None:
    document = {"a": 1, "b": 2, "c": [{"d": None, "e": {"f": 7}}, 3], "g": [1, 2], "h": {"i": 8, "j": []}}
    changed = {("c", 0, "d"): "", ("c", 0, "e", "f"): "", ("g",): "", ("h", "i"): ""}
    assert list(outline(document, changed)) == [
        ("a: 1, b: 2", ()),
        ("c[0]", ()),
        ("  d: null", ("c", 0, "d")),
        ("  e.f: 7", ("c", 0, "e", "f")),
        ("c[1]: 3", ()),
        ("g: [1, 2]", ("g",)),
        ("h", ()),
        ("  i: 8", ("h", "i")),
        ("  j: []", ("h",)),
    ]
