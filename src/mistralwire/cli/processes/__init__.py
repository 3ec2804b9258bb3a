"""The processes of `serve` and `gateway`: one that serves, or a parent with workers that share a port.

A `Job` is everything that a process needs to know, and `run_job` runs it. The package itself, as a program,
is a worker.
"""

from mistralwire.cli.processes._job import Job, Prepared
from mistralwire.cli.processes._workers import run_job

__all__ = ["Job", "Prepared", "run_job"]
