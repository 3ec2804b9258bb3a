"""Messages of processes whose contracts have different revisions."""

import os
import pathlib
import subprocess
import sys

import pytest

import mistralwire
from mistralwire.codec import json_to_binary, lift, lower, read_request
from mistralwire.errors import DecodeError
from mistralwire.v1 import ChatCompletionRequest, CompletionChunk, TextChunk, UsageInfo

PROPERTIES = pathlib.Path(__file__).with_name("next_year_properties.py")
ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.process
def test_it_holds_for_every_document_of_next_year_s_contract(next_year: pathlib.Path) -> None:
    """In a process of its own, since a process has one contract."""
    environment = {
        # Each document goes to the other process and back.
        "HYPOTHESIS_PROFILE": "short",
        **os.environ,
        "PYTHONPATH": str(next_year),
        "PYTHON": sys.executable,
        "THIS_YEAR": str(pathlib.Path(mistralwire.__file__).parents[1]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PROPERTIES)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_message_without_anything_newer_is_not_rewritten() -> None:
    message = CompletionChunk(id="c")
    assert lower(message, 1) is message
    assert lower(message, 2) is message
    assert lift(message) is message


@pytest.mark.parametrize("revision", [0, -1, 1.5, "1", None])
def test_a_revision_is_a_whole_number_from_1(revision: int) -> None:
    message = "contract_revision must be a whole number of 1 or more"
    with pytest.raises(ValueError, match=message):
        lower(UsageInfo(), revision)
    with pytest.raises(ValueError, match=message):
        json_to_binary(UsageInfo, "{}", contract_revision=revision)


def test_what_is_written_for_a_revision_that_is_yet_to_come_is_the_newest() -> None:
    assert json_to_binary(TextChunk, '{"text":"t"}', contract_revision=9) == json_to_binary(
        TextChunk, '{"text":"t"}'
    )


def test_a_request_that_no_contract_accepts_is_refused_as_the_newest_one_says() -> None:
    with pytest.raises(DecodeError) as caught:
        read_request(ChatCompletionRequest, '{"model":1}', oldest_revision=1)
    assert [violation.path for violation in caught.value.violations] == ["model", "messages"]
