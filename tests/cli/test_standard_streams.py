"""Standard streams that are closed, or full."""

import os
import pathlib
import subprocess

import pytest

from .commands import DATA, PROGRAM, TIMEOUT_S, run_in_shell

pytestmark = pytest.mark.process

RESPONSE = DATA / "response.json"
BROKEN = DATA / "broken.jsonl"


@pytest.mark.parametrize("arguments", ["", "-"])
def test_a_closed_standard_input_is_a_usage_error(arguments: str) -> None:
    status, stdout, stderr = run_in_shell(f"$mistralwire convert {arguments} --to json <&-")
    assert (status, stdout) == (2, "")
    assert stderr.endswith("Error: standard input is closed; name a FILE to read\n")


def test_a_closed_standard_output_is_an_error_of_one_line() -> None:
    status, _, stderr = run_in_shell("$mistralwire convert $1 --to json >&-", RESPONSE)
    assert (status, stderr) == (1, "Error: standard output is closed; name a file to write with -o\n")


@pytest.mark.parametrize("arguments", ["follow r", "responses", "responses show r"])
def test_a_stored_response_is_not_asked_for_without_a_place_to_print_it_to(arguments: str) -> None:
    status, _, stderr = run_in_shell(f"$mistralwire {arguments} >&-")
    assert (status, stderr.count("\n")) == (1, 1)
    assert stderr.startswith("Error: standard output is closed; there is nowhere to print the response")


def test_a_closed_standard_error_leaves_the_output_as_it_is() -> None:
    expected = run_in_shell("$mistralwire convert $1 --to json", RESPONSE)
    assert expected[0] == 0
    assert run_in_shell("$mistralwire convert $1 --to json 2>&-", RESPONSE) == expected
    status, stdout, _ = run_in_shell("$mistralwire convert $1 --to jsonl --keep-going 2>&-", BROKEN)
    assert (status, stdout.count("\n")) == (1, 2)


def test_errors_do_not_go_to_the_output_when_standard_error_is_closed() -> None:
    assert run_in_shell("$mistralwire convert nowhere.json --to json 2>&-") == (2, "", "")


def test_files_are_converted_with_all_streams_closed(tmp_path: pathlib.Path) -> None:
    line = (
        "$mistralwire convert $1 -o $2/out.json <&- >&- 2>&-; echo $? > $2/status; cat $2/out.json $2/status"
    )
    expected = run_in_shell("$mistralwire convert $1 --to json; echo $?", RESPONSE)
    assert run_in_shell(line, RESPONSE, tmp_path) == expected


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path: pathlib.Path) -> None:
    # Otherwise the input gets the descriptor of standard output, and is taken for its file.
    file = tmp_path / "response.json"
    file.write_bytes(RESPONSE.read_bytes())
    line = "$mistralwire convert $1 -o $1 --names camel >&-"
    assert run_in_shell(line, file) == (0, "", "")
    assert b'"finishReason"' in file.read_bytes()


@pytest.mark.parametrize(
    "arguments", ["--help", "--version", "convert --help", "convert $1 --to json", "convert $1"]
)
def test_a_full_disk_is_an_error_of_one_line(arguments: str) -> None:
    status, _, stderr = run_in_shell(f"$mistralwire {arguments} > /dev/full", RESPONSE)
    assert (status, stderr) == (1, "Error: standard output: No space left on device\n")


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"]])
def test_help_for_a_closed_pipe_ends_quietly(arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [*PROGRAM, *arguments], stdout=write_end, stderr=subprocess.PIPE, check=False, timeout=TIMEOUT_S
    )
    os.close(write_end)
    assert (result.returncode, result.stderr) == (141, b"")
