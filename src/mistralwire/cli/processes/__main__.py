"""A worker: one of several processes of a command.

Standard input brings its job, then nothing more. When it ends, the worker drains and ends: the parent closed
it, or died. Standard output takes one line: `ready`, or why the worker could not start.
"""

import asyncio
import os
import pickle
import signal
import sys

from mistralwire.cli.processes import SIGNALS, Job, Prepared, log_drain, serve_job
from mistralwire.cli.processes._logging import configure_logging, log_loop_error
from mistralwire.cli.processes.workers import READY
from mistralwire.errors import MistralwireError


def run_worker() -> None:
    """Run a worker."""
    # In a process group of its own it is in the background, where a terminal may stop processes that write.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        index, job = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the parent
    except EOFError:
        # The parent died before it could write the job.
        sys.exit(1)
    configure_logging(job.logs)
    try:
        with asyncio.Runner(loop_factory=job.new_loop) as runner:
            runner.run(_serve(index, job))
    except MistralwireError as error:
        _report(f"{error.message}\n".encode())
        sys.exit(1)


async def _serve(index: int, job: Job) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    # A second signal changes nothing: service managers send theirs to all processes of a service.
    for number in SIGNALS:
        loop.add_signal_handler(number, stopping.set)

    def end() -> None:
        loop.remove_reader(0)
        log_drain("the parent process ends")
        stopping.set()

    async def ready(_: Prepared) -> None:
        loop.add_reader(0, end)
        _report(READY)

    await serve_job(job, index, stopping, ready)


def _report(line: bytes) -> None:
    """Write the one line; from then on, whatever else is printed goes to the log."""
    os.write(1, line)
    os.dup2(2, 1)


if __name__ == "__main__":
    run_worker()
