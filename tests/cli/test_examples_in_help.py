"""The examples in the help texts: each command line in them is run here, or at least parsed."""

import asyncio
import contextlib
import io
import pathlib
import re
import shlex
import shutil
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from mistralwire.cli import main
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from tests.client.relays import relaying

from .commands import DATA, converted
from .test_help import COMMANDS, help_of

_SEPARATORS = ("|", "&&", ">", ";")
_CLIENTS = ("CALL", "FOLLOW", "HEALTH", "PUBLISH", "RESPONSES")
# What other programs in the examples would print.
_INPUT = {"curl": DATA / "stream.sse", "git": DATA / "response.json"}


def examples_of(*names: str) -> list[str]:
    section = help_of(*names).partition("Examples:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in section.splitlines()]


EXAMPLES = [line for names in [(), *((name,) for name in COMMANDS)] for line in examples_of(*names)]


def segments_of(line: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a line of shell, each with the separator before it."""
    separator = ""
    words: list[str] = []
    for word in shlex.split(line):
        if word in _SEPARATORS:
            yield separator, words
            separator, words = word, []
        else:
            words.append(word)
    yield separator, words


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Make the files that examples name, in the working folder."""
    for name in ("response.json", "stream.sse", "requests.jsonl"):
        shutil.copy(DATA / name, tmp_path / name)
    converted(tmp_path / "response.json", "-o", tmp_path / "response.binpb")
    converted(tmp_path / "requests.jsonl", "-o", tmp_path / "requests.binpb")
    (tmp_path / "request.json").write_bytes((DATA / "requests.jsonl").read_bytes().splitlines()[0])
    (tmp_path / "recordings").mkdir()
    for name in ("response.json", "stream.sse"):
        shutil.copy(DATA / name, tmp_path / "recordings" / name)
    for name in ("ca.pem", "cert.pem", "key.pem", "token"):
        (tmp_path / name).write_text("secret\n")
    (tmp_path / "mistralwire.toml").write_text("")
    shutil.copy(DATA / "stream.sse", tmp_path / "answer.sse")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MISTRAL_API_KEY", "secret")
    return tmp_path


def run(line: str, target: str) -> None:
    """Run the commands of a line, one after another."""
    output = b""
    for separator, words in segments_of(line):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        stdin = output if separator == "|" else b""
        if not words or separator == ">":
            continue
        if words[0] != "mistralwire":
            output = _INPUT[words[0]].read_bytes() if words[0] in _INPUT else b""
            continue
        name, *arguments = words[1:]
        if name in ("serve", "gateway"):
            arguments.append("--print-config")
        if name == "demo" or "--url" in arguments or any("example.com" in word for word in arguments):
            command = main.get_command(click.Context(main), name)
            assert command is not None
            with contextlib.redirect_stdout(io.StringIO()):
                command.make_context(name, arguments)
            continue
        env = {f"MISTRALWIRE_{command}_TARGET": target for command in _CLIENTS}
        result = CliRunner(env=env).invoke(main, [name, *arguments], input=stdin)
        assert result.exit_code == 0, result.output
        output = result.stdout_bytes


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) > 30
    assert {
        words[1] for line in EXAMPLES for _, words in segments_of(line) if words[:1] == ["mistralwire"]
    } == {*COMMANDS}


@pytest.mark.slow
async def test_every_example_runs(folder: pathlib.Path) -> None:
    async with relaying(ReplayUpstream(DEMONSTRATION)) as server:
        await asyncio.to_thread(run, "mistralwire publish answer.sse --id greeting", server.address)
        for line in dict.fromkeys(EXAMPLES):
            try:
                await asyncio.to_thread(run, line, server.address)
            except (AssertionError, click.ClickException) as error:
                raise AssertionError(f"{line}: {error}") from error
    assert (folder / "contract" / "buf.yaml").exists()
