"""The processes of a fleet: each has this year's contract or next year's."""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import mistralwire

PROGRAMS = pathlib.Path(__file__).parent / "programs"
OLD, NEW = "old", "new"
WAIT_S = 120
"""How long an answer may take, on a machine that does much else."""


class Packages:
    """Where the packages of both contracts are.

    Args:
        next_year: Folder of next year's package.
    """

    def __init__(self, next_year: pathlib.Path) -> None:
        self._folders = {OLD: pathlib.Path(mistralwire.__file__).parents[1], NEW: next_year}

    def environment(self, contract: str) -> Mapping[str, str]:
        """Return the environment of a process with a contract, without settings of whoever runs the tests."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MISTRALWIRE_")}
        return {**kept, "PYTHONPATH": str(self._folders[contract]), "PYTHONUNBUFFERED": "1"}

    def start(self, contract: str, *arguments: str | pathlib.Path, log: pathlib.Path) -> "Process":
        """Start Python with the package of a contract."""
        return Process([sys.executable, *map(str, arguments)], self.environment(contract), log)

    def run(self, contract: str, *arguments: str, stdin: bytes) -> tuple[int, bytes, str]:
        """Run `mistralwire` with a contract; return the exit code, the output and the errors."""
        command = [sys.executable, "-m", "mistralwire", *arguments]
        environment = self.environment(contract)
        run = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, timeout=WAIT_S, check=False
        )
        return run.returncode, run.stdout, run.stderr.decode()


class Process:
    """A running process.

    Args:
        command: What to run.
        environment: Its environment.
        log: File that its standard error is appended to.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: pathlib.Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
            )
        self._lines: list[str] = []

    def line(self, index: int = 0) -> str:
        """Return a line of its output, of which it need not be at the end."""
        assert self._process.stdout is not None
        while len(self._lines) <= index:
            line = self._process.stdout.readline()
            assert line, self.log()
            self._lines.append(line.decode())
        return self._lines[index]

    @property
    def address(self) -> str:
        """Where it listens, as `mistralwire serve` and `gateway` print it."""
        line = self.line()
        assert line.startswith("listening on "), line
        return line.split()[2].rstrip(",").removeprefix("http://")

    def log(self) -> str:
        """Return what it has written to standard error."""
        return self._log.read_text()

    def ask(self, name: str, **arguments: Any) -> Any:
        """Have a worker do something; return the result."""
        return self.answer(name, **arguments)["result"]

    def answer(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Have a worker do something; return its result or error, and what it has logged meanwhile."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, arguments]).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.log()
        answer: dict[str, Any] = json.loads(line)
        assert "failure" not in answer, answer["failure"]
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=WAIT_S)


class Gateway:
    """Asks a gateway over HTTP.

    Args:
        address: Where it listens.
    """

    _ids = itertools.count()

    def __init__(self, address: str) -> None:
        self._address = address

    def post(self, body: str, path: str = "/v1/chat/completions") -> tuple[int, bytes, str]:
        """Ask for an answer; return the status, the body, and the id of the request."""
        request_id = f"fleet-{next(self._ids)}"
        headers = {"content-type": "application/json", "x-request-id": request_id}
        with contextlib.closing(http.client.HTTPConnection(self._address, timeout=WAIT_S)) as connection:
            connection.request("POST", path, body.encode(), headers)
            response = connection.getresponse()
            return response.status, response.read(), request_id

    def get(self, path: str) -> str:
        """Return a page."""
        with contextlib.closing(http.client.HTTPConnection(self._address, timeout=WAIT_S)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == http.HTTPStatus.OK
            return response.read().decode()


def events(body: bytes) -> Iterator[str]:
    """Yield the data of the events of a stream, up to its [DONE]."""
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", body.decode()
    yield from lines[:-1]
