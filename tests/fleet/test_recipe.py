"""Next year's contract keeps the rules of the contract, and breaks no program built from this year's."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.fleet.next_year import REVISION, ROOT
from tests.fleet.processes import WAIT_S
from tests.interop.processes import find_program

pytestmark = pytest.mark.process

BUF = find_program("buf")


def succeed(*command: str | pathlib.Path, **environment: str) -> None:
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_it_has_the_next_revision(next_year: pathlib.Path) -> None:
    code = f"import mistralwire; assert mistralwire.CONTRACT_REVISION == {REVISION}"
    succeed(sys.executable, "-c", code, PYTHONPATH=str(next_year))


def test_it_keeps_the_rules_of_messages_fields_and_enums(next_year: pathlib.Path) -> None:
    rules = [ROOT / "tests" / "contract" / f"test_{name}.py" for name in ("descriptors", "frozen")]
    succeed(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *rules, PYTHONPATH=str(next_year))


@pytest.mark.skipif(BUF is None, reason="buf (the package buf-bin) is not installed")
def test_buf_takes_it_and_finds_nothing_broken(next_year: pathlib.Path) -> None:
    buf, protos = BUF or "", next_year.parent / "proto"
    succeed(buf, "lint", protos)
    succeed(buf, "format", protos, "--diff", "--exit-code")
    succeed(buf, "breaking", protos, "--against", ROOT / "proto")
