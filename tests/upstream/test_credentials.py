"""Keys: where they come from, when they are read again, and that nothing shows them."""

import os
import pathlib

import pytest

from mistralwire.errors import MistralwireError
from mistralwire.upstream import Key

SECRET = "Wq7rT2mZx9LbC4vN8sKd1fGh5jPy0aEu"


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "key"


def _refused(raised: "pytest.ExceptionInfo[MistralwireError]") -> str:
    error = raised.value
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "UPSTREAM_KEY")
    assert SECRET not in f"{error!r}{error}{error.__cause__}"
    return str(error)


@pytest.mark.parametrize("text", [SECRET, f" {SECRET}\t", f"\n\r\n{SECRET}\r\n"])
def test_blanks_around_a_key_do_not_belong_to_it(
    text: str, file: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", text)
    file.write_bytes(text.encode())
    assert Key.from_environment("SOME_KEY").read() == SECRET
    assert Key.from_file(file).read() == Key.from_file(str(file)).read() == SECRET


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_an_environment_variable_without_a_key_is_named(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(MistralwireError) as raised:
        Key.from_environment("SOME_KEY")
    assert _refused(raised) == "expected a key in the environment variable SOME_KEY, found none"


@pytest.mark.parametrize(
    "text",
    [f"{SECRET}\n{SECRET}", f"Bearer {SECRET}", f"{SECRET}\0", f"{SECRET}é", f"\ufeff{SECRET}", SECRET * 200],
    ids=["lines", "words", "nul", "umlaut", "bom", "long"],
)
def test_what_is_no_key_is_refused_unquoted(text: str, file: pathlib.Path) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(MistralwireError) as raised:
        Key.from_file(file)
    assert _refused(raised).startswith(f"expected a key in {file}: up to 4096 printable ASCII characters")


def test_the_environment_is_as_strict_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f"{SECRET} {SECRET}")
    with pytest.raises(MistralwireError) as raised:
        Key.from_environment("SOME_KEY")
    assert "in the environment variable SOME_KEY: up to 4096" in _refused(raised)


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_file_holds_no_key(text: str, file: pathlib.Path) -> None:
    file.write_text(text)
    with pytest.raises(MistralwireError) as raised:
        Key.from_file(file)
    assert _refused(raised) == f"expected a key in {file}, found none"


def test_a_file_that_cannot_be_read_is_named_with_the_cause(file: pathlib.Path) -> None:
    with pytest.raises(MistralwireError) as raised:
        Key.from_file(file)
    assert _refused(raised) == f"expected a file with a key at {file}, found: no such file or directory"
    with pytest.raises(MistralwireError) as raised:
        Key.from_file(file.parent)
    assert _refused(raised).endswith(", found: is a directory")


def test_a_file_is_read_again_when_it_has_changed(file: pathlib.Path) -> None:
    file.write_text("first")
    key = Key.from_file(file)
    file.write_text("the-second")
    assert key.read() == "the-second"
    # As secrets are exchanged: another file takes the place, of the same size and with the same times.
    other = file.with_name("other")
    other.write_text("a-third-on")
    status = file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert key.read() == "a-third-on"


def test_the_key_from_before_counts_until_there_is_another(
    file: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("first")
    key = Key.from_file(file)
    for text in ("", "half a key"):
        file.write_text(text)
        assert key.read() == "first"
        assert key.read() == "first"
    file.unlink()
    assert key.read() == "first"
    file.write_text("second")
    assert key.read() == "second"
    # Each reason once, and nothing of what is in the file.
    assert len(caplog.messages) == 3
    assert all(": the previous content stays in use: expected a " in text for text in caplog.messages)
    assert "half" not in caplog.text


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "first")
    key = Key.from_environment("SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "second")
    assert key.read() == "first"


def test_a_key_shows_where_it_is_from_and_nothing_else(
    file: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET)
    file.write_text(SECRET)
    for key, source in ((Key.from_environment("SOME_KEY"), "SOME_KEY"), (Key.from_file(file), str(file))):
        for shown in (repr(key), str(key), f"{key}", f"{[key]}"):
            assert f"Key(from {source})" in shown
            assert SECRET not in shown


def test_a_key_that_stands_where_its_name_should_is_not_quoted(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MistralwireError) as raised:
        Key.from_environment(SECRET)
    assert "environment variable [redacted]" in _refused(raised)
    with pytest.raises(MistralwireError) as raised:
        Key.from_file(tmp_path / SECRET)
    assert f"{tmp_path}/[redacted]" in _refused(raised)
