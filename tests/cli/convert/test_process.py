"""What the command does as a process: pipes, signals, terminals, memory."""

import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import threading
from typing import IO

import pytest

from ..commands import CHUNK, COMMAND, TIMEOUT_S

pytestmark = pytest.mark.process

# A process inherits the peak of its parent, so a small process in between does the measuring.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def chunk_of(content: str) -> bytes:
    document = json.loads(CHUNK)
    document["choices"][0]["delta"]["content"] = content
    return json.dumps(document).encode()


def peak_bytes(*arguments: str | pathlib.Path, status: int = 0) -> int:
    command = [sys.executable, "-c", MEASURE, *COMMAND, *map(str, arguments)]
    output = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=TIMEOUT_S
    ).stdout
    found, peak_kib = map(int, output.split())
    assert found == status
    return peak_kib * 1024


def test_the_output_is_there_before_the_input_ends() -> None:
    with subprocess.Popen(
        [*COMMAND, "--from", "jsonl", "--to", "jsonl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(CHUNK + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == CHUNK + b"\n"
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize(
    "event",
    [b"data: " + CHUNK + b"\n\n", b"\n: hello\nid: 1\ndata: " + CHUNK + b"\n\n", CHUNK + b"\n"],
    ids=["sse", "sse with a comment", "jsonl"],
)
def test_the_first_event_is_converted_before_the_second_comes(event: bytes) -> None:
    with subprocess.Popen(
        [*COMMAND, "--to", "jsonl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(event)
        process.stdin.flush()
        # Nothing more is written before this: a program that waits for more is killed.
        killer = threading.Timer(TIMEOUT_S, process.kill)
        killer.start()
        assert process.stdout.readline() == CHUNK + b"\n"
        killer.cancel()
        process.stdin.close()
        process.wait(TIMEOUT_S)


def test_an_interrupt_ends_with_130_and_leaves_no_file(tmp_path: pathlib.Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--from", "sse", "--to", "jsonl", "-o", tmp_path / "out.jsonl", "--keep-going"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"data: 1\n\n")
        process.stdin.flush()
        assert b"expected an object" in process.stderr.readline()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
        assert process.stderr.read() == b"interrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lines", [1_000, 100_000])
def test_a_closed_output_ends_it_quietly(tmp_path: pathlib.Path, lines: int) -> None:
    file = tmp_path / "chunks.jsonl"
    file.write_bytes((CHUNK + b"\n") * lines)
    with subprocess.Popen(
        [*COMMAND, file, "--to", "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if lines == 100_000:
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT_S) == 141


@pytest.mark.parametrize("to", ["jsonl", "sse", "binpb"])
def test_memory_does_not_grow_with_the_file(tmp_path: pathlib.Path, to: str) -> None:
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    line = chunk_of("tide " * 4_000) + b"\n"
    small.write_bytes(line * 100)
    large.write_bytes(line * 3_000)
    assert large.stat().st_size > 60_000_000
    type_option = ["--type", "CompletionChunk"]
    for file in (small, large):
        peak_bytes(file, "-o", file.with_suffix(f".{to}"), *type_option)
    sizes = [
        peak_bytes(file.with_suffix(f".{to}"), "--to", "jsonl", "-o", file.with_suffix(".out"), *type_option)
        for file in (small, large)
    ]
    assert large.with_suffix(".out").read_bytes().count(b"\n") == 3_000
    assert sizes[1] < sizes[0] + 16_000_000


def test_a_line_beyond_the_bound_is_discarded_without_being_held(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "long.jsonl"
    with file.open("wb") as stream:
        stream.write(CHUNK + b"\n")
        for _ in range(400):
            stream.write(b"x" * 1_000_000)
        stream.write(b"\n" + CHUNK + b"\n")
    out = tmp_path / "out.jsonl"
    assert peak_bytes(file, "-o", out, "--keep-going", status=1) < 300_000_000
    assert out.read_bytes() == (CHUNK + b"\n") * 2


def read_terminal(descriptor: int) -> bytes:
    output = b""
    while True:
        try:
            block = os.read(descriptor, 4096)
        except OSError:  # Linux reports a terminal that nobody has open any more as an error.
            return output
        if not block:
            return output
        output += block


def feed(stream: IO[bytes], data: bytes) -> None:
    with stream:
        stream.write(data)


def on_terminal(*arguments: str | pathlib.Path, stdout: bool, stdin: bytes = b"") -> tuple[int, str]:
    """Run with standard error, or both outputs, on a terminal; return the status and what it shows."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=theirs if stdout else subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        feeder = threading.Thread(target=feed, args=(process.stdin, stdin))
        feeder.start()
        shown = read_terminal(ours)
        os.close(ours)
        feeder.join()
        return process.wait(TIMEOUT_S), shown.decode()


def test_binary_is_not_written_to_a_terminal(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "chunk.json"
    file.write_bytes(CHUNK)
    status, shown = on_terminal(file, stdout=True)
    assert status == 2
    assert "-o" in shown
    assert on_terminal(file, "--to", "json", stdout=True) == (0, CHUNK.decode() + "\r\n")
    assert on_terminal(file, "-o", tmp_path / "chunk.binpb", stdout=True) == (0, "")


def test_a_long_input_shows_its_progress_on_a_terminal_and_a_short_one_does_not(
    tmp_path: pathlib.Path,
) -> None:
    short, long = tmp_path / "short.jsonl", tmp_path / "long.jsonl"
    line = chunk_of("tide " * 20_000) + b"\n"
    short.write_bytes(line)
    long.write_bytes(line * 100 + b"{}\n" + line * 100)
    assert on_terminal(short, stdout=False) == (0, "")
    status, shown = on_terminal(long, "--keep-going", stdout=False)
    assert status == 1
    assert "converting" in shown
    assert "100%" in shown
    assert f"\r\x1b[K{long}:101: id: expected" in shown


def test_progress_is_not_mixed_with_an_output_on_the_same_terminal(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_bytes(chunk_of("tide " * 1_000_000) + b"\n" + b"{}\n" * 6_000_000)
    status, shown = on_terminal(file, "--to", "jsonl", stdout=True)
    assert status == 1
    assert "converting" not in shown
    assert "\x1b" not in shown


def test_a_long_input_from_a_pipe_shows_the_bytes_read(tmp_path: pathlib.Path) -> None:
    line = chunk_of("tide " * 20_000) + b"\n"

    def shown_for(data: bytes) -> tuple[int, str]:
        return on_terminal("--from", "jsonl", "--to", "jsonl", "--keep-going", stdout=False, stdin=data)

    assert shown_for(line) == (0, "")
    data = line * 200 + b"{}\n" + line * 200
    status, shown = shown_for(data)
    assert status == 1
    assert "\r\x1b[Kconverting  16 MiB read\r" in shown
    assert f"\r\x1b[Kconverting  {len(data) // 2**20} MiB read\r\n" in shown
    assert "\r\x1b[K<stdin>:201: id: expected" in shown


def test_a_forgotten_file_does_not_wait_for_a_terminal() -> None:
    ours, theirs = pty.openpty()
    result = subprocess.run(COMMAND, stdin=theirs, capture_output=True, check=False, timeout=TIMEOUT_S)
    os.close(theirs)
    os.close(ours)
    assert result.returncode == 2
    assert b"FILE" in result.stderr
