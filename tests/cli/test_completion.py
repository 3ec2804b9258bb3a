"""Completion of commands, options and values in a shell, as README describes it."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

from .commands import PROGRAM, TIMEOUT_S

pytestmark = pytest.mark.process


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
def test_bash_completes_commands_options_and_values(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "mistralwire"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    script = """
eval "$(_MISTRALWIRE_COMPLETE=bash_source mistralwire)"
complete -p mistralwire
complete_words() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _mistralwire_completion mistralwire
    echo "${COMPREPLY[@]}"
}
complete_words mistralwire con
complete_words mistralwire convert --acc
complete_words mistralwire convert --to js
complete_words mistralwire responses c
complete_words mistralwire responses list --state f
"""
    run = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert run.stdout.splitlines()[1:] == [
        "convert",
        "--accumulate",
        "json jsonl",
        "cancel",
        "finished failed",
    ], run.stderr
    assert run.stdout.startswith("complete ")
