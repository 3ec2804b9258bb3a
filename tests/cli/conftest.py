"""What all tests of the command line share."""

import contextlib
import gc
import logging
import random
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def buffered_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start programs with their default buffering, without which some failures can't happen."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def free_ports() -> Iterator[int]:
    """A port that is free, and so is the next one; no other test gets either while this one runs."""
    while True:
        # The system gives none of these to anybody who asks for any port.
        port = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as reserved:
            try:
                for number in (port, port + 1):
                    # The ports of UDP are others, so the reservation leaves those of TCP free.
                    datagrams = reserved.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                    datagrams.bind(("127.0.0.1", number))
                    socket.create_server(("127.0.0.1", number)).close()
            except OSError:
                continue
            yield port
            return


@pytest.fixture(autouse=True)
def process_of_the_tests() -> Iterator[None]:
    """Undo what a server's command that runs in this process sets for all of it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interval_s = sys.getswitchinterval()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    sys.setswitchinterval(interval_s)
    gc.unfreeze()


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
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    handlers, levels = root.handlers[:], (root.level, uvicorn.level)
    yield
    root.handlers[:] = handlers
    for logger, level in zip((root, uvicorn), levels, strict=True):
        logger.setLevel(level)
    logging.captureWarnings(capture=False)
