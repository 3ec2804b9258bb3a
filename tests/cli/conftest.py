"""What all tests of the command line share."""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def buffered_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start programs with their default buffering, without which some failures can't happen."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture(autouse=True)
def logging_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a server's command that runs in this process sets for its log."""
    for owner, name in (
        (logging, "raiseExceptions"),
        (logging, "logThreads"),
        (logging, "logMultiprocessing"),
        (sys, "excepthook"),
        (sys, "unraisablehook"),
        (threading, "excepthook"),
        (traceback, "print_exc"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
