"""One of several processes of a command, as the process that started it runs it: `python -m` this module.

Its standard input brings its settings, then nothing more. When the input ends, the worker ends too: it was
closed, or the process at its other end died. Its standard output takes one line: `ready`, or why it could not
start.
"""

import asyncio
import os
import pickle
import signal
import sys

from mistralwire.cli._logging import configure_logging, log_loop_error
from mistralwire.cli._serving import SIGNALS, Job, Prepared, log_end, serve
from mistralwire.errors import MistralwireError

READY = b"ready\n"
"""What a worker says when it listens."""


def pack_job(index: int, job: Job) -> bytes:
    """Give what a worker has to know, for its standard input."""
    return pickle.dumps((index, job))


def main() -> None:
    """Run a worker."""
    # In a process group of its own it is in the background, where a terminal may stop whoever writes to it.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        index, job = pickle.load(sys.stdin.buffer)  # noqa: S301 - what started this one
    except EOFError:
        # It died before it could say what there is to do.
        sys.exit(1)
    configure_logging(job.logs.log_level, job.logs.log_format)
    try:
        with asyncio.Runner(loop_factory=job.new_loop) as runner:
            runner.run(_run(index, job))
    except MistralwireError as error:
        _say(f"{error.message}\n".encode())
        sys.exit(1)


async def _run(index: int, job: Job) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    # One signal is as good as two: service managers send theirs to all processes, the parent's among them.
    for number in SIGNALS:
        loop.add_signal_handler(number, stopping.set)

    def end() -> None:
        loop.remove_reader(0)
        log_end("the parent process ends")
        stopping.set()

    async def ready(_: Prepared) -> None:
        loop.add_reader(0, end)
        _say(READY)

    await serve(job, index, stopping, ready)


def _say(line: bytes) -> None:
    """Write the one line. What else is printed is no part of that, and goes to the log."""
    os.write(1, line)
    os.dup2(2, 1)


if __name__ == "__main__":
    main()
