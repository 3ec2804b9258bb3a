"""Settings whose files are pipes: of a shell's process substitution, and pipes without a writer."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from .serving import serving

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system"),
]

TOKEN = "a-token-of-twenty-characters"
SERVICE = ("gateway", "--service", "127.0.0.1:1")


@pytest.fixture
def pipe(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("serve", "--token-file"), "expected a token a line in {pipe}, found none"),
        (("gateway", "--token-file"), "expected a token a line in {pipe}, found none"),
        (("serve", "--tls-key", __file__, "--tls-certificate"), "expected a PEM certificate in {pipe}"),
        ((*SERVICE, "--service-token-file"), "{pipe}: expected a bearer token on the first line"),
        ((*SERVICE, "--service-tls-ca"), "found no -----BEGIN line in {pipe}"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_pipe_that_nobody_writes_to_is_an_empty_file(
    command: tuple[str, ...], said: str, pipe: pathlib.Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mistralwire", *command, str(pipe), "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert run.returncode in (1, 2)
    assert said.format(pipe=pipe) in " ".join(run.stderr.split())


def test_an_upstreams_key_in_such_a_pipe_is_none(pipe: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(f'[[upstreams]]\nkind = "mistral"\nkey_file = "{pipe}"\n')
    run = subprocess.run(
        [sys.executable, "-m", "mistralwire", "serve", "--port", "0", "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (run.returncode, f"expected a key in {pipe}, found none" in run.stderr) == (1, True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
async def test_what_a_shell_substitutes_is_read_to_its_end() -> None:
    line = f"exec {sys.executable} -m mistralwire serve \"$@\" --token-file <(echo '{TOKEN}')"
    async with serving(command=("bash", "-c", line, "bash")) as (_, _, listening):
        assert "with bearer tokens" in listening
