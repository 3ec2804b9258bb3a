"""Where the output goes, and what is left of it when a run fails."""

import os
import pathlib
import signal
import subprocess
import threading

import click
import pytest

from mistralwire.cli._output import is_direct, open_output

from .commands import COMMAND, DATA, TIMEOUT_S, convert, converted, run_in_shell

RESPONSE = DATA / "response.json"


@pytest.mark.process
@pytest.mark.parametrize(
    "redirection",
    [
        "-o /dev/stdout >> $2",
        "-o /dev/stderr 2>> $2",
        "-o /dev/fd/1 >> $2",
        "-o /proc/self/fd/1 >> $2",
        "-o /dev/fd/3 3>> $2",
        "-o $2 >> $2",
        "-o $2 2>> $2",
    ],
)
def test_an_output_that_is_open_already_is_written_where_it_stands(
    tmp_path: pathlib.Path, redirection: str
) -> None:
    log = tmp_path / "log.json"
    log.write_text("before\n")
    inode = log.stat().st_ino
    status, _, stderr = run_in_shell(f"$mistralwire convert $1 --to json {redirection}", RESPONSE, log)
    assert (status, stderr) == (0, "")
    assert log.stat().st_ino == inode
    assert log.read_bytes() == b"before\n" + converted(RESPONSE, "--to", "json")
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.process
def test_a_descriptor_that_is_not_open_is_an_error_of_one_line() -> None:
    status, _, stderr = run_in_shell("$mistralwire convert $1 --to json -o /dev/fd/9", RESPONSE)
    assert (status, stderr) == (1, "Error: /dev/fd/9: Bad file descriptor\n")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("-", True),
        ("/dev/null", True),
        ("/dev/../dev/stdout", True),
        pytest.param(f"/proc/{os.getpid()}/fd/2", True, id="/proc/PID/fd/2-True"),
        ("/proc/1/fd/99", True),
        ("/dev/shm/out.json", False),
        ("out.json", False),
        ("dev/stdout", False),
    ],
)
def test_what_cannot_be_replaced_is_written_directly(name: str, expected: bool) -> None:
    assert is_direct(name) is expected


@pytest.mark.process
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "out.binpb"
    run_in_shell("umask 027; $mistralwire convert $1 -o $2", RESPONSE, file)
    assert file.stat().st_mode & 0o777 == 0o640


def test_an_output_that_is_a_link_stays_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target.json", tmp_path / "link.json"
    target.write_text("before")
    link.symlink_to(target)
    converted(RESPONSE, "-o", link)
    assert link.is_symlink()
    assert target.read_bytes() == converted(RESPONSE, "--to", "json")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "link.json", "target.json"]


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_no_file(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "--from", "sse", "-o", tmp_path / "out.jsonl", "--keep-going"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"data: 1\n\n")
        process.stdin.flush()
        assert b"expected an object" in process.stderr.readline()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 128 + number
        assert process.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_the_handlers_of_signals_are_restored_afterwards(tmp_path: pathlib.Path) -> None:
    numbers = (signal.SIGTERM, signal.SIGHUP)
    former = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    try:
        with open_output(str(tmp_path / "out")):
            assert signal.SIG_DFL not in [signal.getsignal(number) for number in numbers]
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_DFL] * 2
    finally:
        for number, handler in zip(numbers, former, strict=True):
            signal.signal(number, handler)


def test_a_signal_that_is_ignored_stays_so(tmp_path: pathlib.Path) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with open_output(str(tmp_path / "out")):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def test_another_thread_may_write_too(tmp_path: pathlib.Path) -> None:
    def write() -> None:
        with open_output(str(tmp_path / "out")) as stream:
            stream.write(b"done")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert (tmp_path / "out").read_bytes() == b"done"


@pytest.mark.parametrize("name", ["out", "out.foo"])
def test_a_name_without_a_known_extension_asks_for_the_option(tmp_path: pathlib.Path, name: str) -> None:
    result = convert(RESPONSE, "-o", tmp_path / name)
    assert result.exit_code == 2
    assert "--to" in result.output
    assert list(tmp_path.iterdir()) == []
    assert convert(RESPONSE, "-o", tmp_path / name, "--to", "json").exit_code == 0


def test_a_device_needs_no_format() -> None:
    assert convert(RESPONSE, "-o", "/dev/null").exit_code == 0


def test_a_folder_that_is_missing_is_a_usage_error(tmp_path: pathlib.Path) -> None:
    with (
        pytest.raises(click.UsageError, match=r"expected a folder .+ for x, found none"),
        open_output(str(tmp_path / "no" / "x")),
    ):
        pass


@pytest.mark.alone
@pytest.mark.process
@pytest.mark.parametrize(
    ("redirection", "name"),
    [("-o $2", "$2"), ("-o /dev/full", "/dev/full"), ("> /dev/full", "standard output")],
)
def test_an_output_without_room_is_named_and_leaves_nothing(
    tmp_path: pathlib.Path, redirection: str, name: str
) -> None:
    lines = tmp_path / "responses.jsonl"
    lines.write_bytes((converted(RESPONSE, "--to", "json")) * 100)
    out = tmp_path / "out" / "responses.jsonl"
    out.parent.mkdir()
    # A file may have 1024 bytes at most: writing more fails as on a full disk.
    script = f"ulimit -f 1; $mistralwire convert $1 --to jsonl {redirection}"
    status, stdout, stderr = run_in_shell(script, lines, out)
    assert (status, stdout) == (1, "")
    assert stderr.startswith(f"Error: {out if name == '$2' else name}: ")
    assert len(stderr.splitlines()) == 1
    assert list(out.parent.iterdir()) == []
