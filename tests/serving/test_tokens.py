"""The token file: how it is read, when it is reloaded, and that nothing reveals it."""

import os
import pathlib
import resource
import threading

import pytest

from mistralwire._serving import tokens as token_module
from mistralwire._serving.tokens import TokenFile, parse_tokens
from mistralwire.errors import MistralwireError

TOKEN = "a-token.of_more~than+16/bytes=="
OTHER = "another-token-of-more-than-16-bytes"
NEW = "a-new-token-of-more-than-16-bytes"


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "tokens"
    path.write_text(f"# of the gateway\n{TOKEN}\n\n  {OTHER}  # of the batch jobs\n")
    path.chmod(0o600)
    return path


def write(file: pathlib.Path, text: str | None) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


def test_a_file_is_looked_at_once_in_a_while(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_module, "CHECK_S", 3600.0)
    tokens = TokenFile(file)
    write(file, f"{NEW}\n")
    tokens.check([("authorization", f"Bearer {TOKEN}")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
def test_a_pipe_in_its_place_is_not_waited_for(
    file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(token_module, "CHECK_S", 0.0)
    tokens = TokenFile(file)
    file.unlink()
    os.mkfifo(file)
    # A writer who says nothing. What waits for them ends with them, so that the test fails.
    writer = os.open(file, os.O_RDWR)
    timer = threading.Timer(5.0, os.close, [writer])
    timer.start()
    tokens.check([("authorization", f"Bearer {TOKEN}")])
    is_early = timer.is_alive()
    timer.cancel()
    timer.join()
    assert is_early
    os.close(writer)
    assert "stays in use: a pipe or a device, which is read at the start alone" in caplog.text


def test_a_changed_file_that_could_not_be_read_at_once_is_read_later(
    file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(token_module, "CHECK_S", 0.0)
    tokens = TokenFile(file)
    write(file, f"{NEW}\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        tokens.check([("authorization", f"Bearer {TOKEN}")])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "too many open files" in caplog.text

    with pytest.raises(MistralwireError):
        tokens.check([("authorization", f"Bearer {TOKEN}")])
    tokens.check([("authorization", f"Bearer {NEW}")])


@pytest.mark.parametrize("text", ["", "# none\n", "two words\n", "\0\n", None], ids=repr)
def test_a_file_that_can_not_be_used_leaves_the_old_tokens_and_is_logged_once(
    text: str | None,
    file: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(token_module, "CHECK_S", 0.0)
    tokens = TokenFile(file)
    write(file, text)
    for _ in range(3):
        tokens.check([("authorization", f"Bearer {TOKEN}")])
    (record,) = caplog.records
    assert ": the previous content stays in use: token_file: expected " in record.getMessage()
    assert "two words" not in caplog.text

    file.write_text(f"{NEW}")
    with pytest.raises(MistralwireError):
        tokens.check([("authorization", f"Bearer {TOKEN}")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected a token a line in FILE, found none"),
        (b"\n  \n# x\n", "expected a token a line in FILE, found none"),
        (b"good\nnot good\n", "in line 2 of FILE, found something else"),
        ("geheim\u00e9".encode(), "in line 1 of FILE, found something else"),
        (bytes(range(256)), "in line 1 of FILE, found something else"),
        (b"a\n" * 1001, "expected at most 1000 tokens in FILE, found 1001"),
    ],
)
def test_what_is_no_list_of_tokens_is_an_error_that_quotes_nothing(text: bytes, message: str) -> None:
    with pytest.raises(MistralwireError, match=message) as caught:
        parse_tokens(pathlib.Path("FILE"), text)
    assert caught.value.code == "FAILED_PRECONDITION"
    assert caught.value.reason == "TOKEN_FILE"
    assert "geheim" not in str(caught.value)
    assert "good" not in str(caught.value)


def test_every_way_to_write_lines_is_taken() -> None:
    data = f"\ufeff{TOKEN}\r\n#x\r\n\r\n{OTHER}".encode()
    assert parse_tokens(pathlib.Path("FILE"), data) == [TOKEN, OTHER]


def test_what_makes_tokens_weak_is_warned_of(file: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("short\n")
    file.chmod(0o644)
    TokenFile(file)
    assert "token_file: 1 in" in caplog.text
    assert f"every user of this machine may read {file}" in caplog.text
    assert "short\n" not in caplog.text


def test_nothing_shows_a_token(file: pathlib.Path) -> None:
    tokens = TokenFile(file)
    assert TOKEN not in repr(tokens) + repr(vars(tokens))
