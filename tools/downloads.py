"""Run a command that downloads packages: `python -m tools.downloads WHAT COMMAND...`.

A registry that does not answer is asked once more. If it does not answer again, the exit code is 75
(EX_TEMPFAIL), and build/not-run.txt gets a line that says what was tried and what is not run therefore;
`make check` prints that file at its end. A command that fails in another way fails at once, with its output.

It runs before any environment exists, so it needs the standard library alone.
"""

import fcntl
import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence

NOT_RUN = pathlib.Path(__file__).parents[1] / "build" / "not-run.txt"
NO_ANSWER = 75
_ATTEMPTS = 2
_TIMEOUT_S = 600
# How npm, pip, Go, Maven and Cargo say that they could not reach a registry, or that it failed.
_UNANSWERED = re.compile(
    r"ETIMEDOUT|ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT"
    r"|FETCH_ERROR|NewConnectionError|MaxRetryError|RemoteDisconnected|IncompleteRead"
    r"|connection (?:refused|reset|broken|aborted|timed out)|connect timed out"
    r"|could(?:n't| not) connect|no such host"
    r"|could not resolve|name or service not known|temporary failure|network (?:error|is unreachable|timeout)"
    r"|socket hang up|i/o timeout|handshake timeout|read timed out|operation (?:timed out|too slow)"
    r"|unexpected EOF|(?:http|status|code|error)[^\n]{0,20}\b(?:408|429|50[0234])\b"
    r"|\b(?:429 Too Many Requests|500 Internal Server Error|502 Bad Gateway|503 Service Unavailable"
    r"|504 Gateway Timeout)",
    re.IGNORECASE,
)


class RegistryError(Exception):
    """A registry did not answer; the message says in one line what was tried."""


class CommandError(Exception):
    """A command failed for another reason; the message has its output."""


def download(
    command: Sequence[str],
    *,
    cwd: pathlib.Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> str:
    """Run a command that downloads, once more if the registry does not answer.

    Args:
        command: The command.
        cwd: The folder to run it in; None for the present one.
        env: Its environment; None for that of this process.
        timeout_s: Seconds after which the command is ended, and counts as not answered.

    Returns:
        What the command wrote to standard output.

    Raises:
        RegistryError: If the registry did not answer twice.
        CommandError: If the command failed in another way.
    """
    reason = ""
    for _ in range(_ATTEMPTS):
        try:
            result = subprocess.run(
                command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            reason = f"no end after {timeout_s:g} seconds"
            continue
        if result.returncode == 0:
            return result.stdout
        output = f"{result.stdout[-10_000:]}\n{result.stderr[-10_000:]}"
        unanswered = [line.strip() for line in output.splitlines() if _UNANSWERED.search(line)]
        if not unanswered:
            raise CommandError(f"{shlex.join(command)} failed with exit code {result.returncode}\n{output}")
        reason = unanswered[-1]
    tried = " ".join(shlex.join(command).split())
    raise RegistryError(f"the registry did not answer {_ATTEMPTS} times: {tried[:200]}: {reason[:200]}")


def note_not_run(line: str) -> None:
    """Append a line to the list of what was not run, once."""
    NOT_RUN.parent.mkdir(exist_ok=True)
    with NOT_RUN.open("a+") as file:
        # Tests run in several processes.
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if line not in file.read().splitlines():
            file.write(f"{line}\n")


def main(arguments: Sequence[str]) -> int:
    """Run the command of the arguments; return the exit code."""
    what, *command = arguments
    print(f"{what}: {shlex.join(command)}", flush=True)
    try:
        download(command, env=os.environ)
    except RegistryError as error:
        note_not_run(f"{what}: {error}")
        print(f"{what}: not run: {error}", file=sys.stderr)
        return NO_ANSWER
    except CommandError as error:
        print(f"{what}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
