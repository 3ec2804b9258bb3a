"""Signals that end a process, as an exception, so that unfinished work is cleaned up."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(BaseException):
    """The process was asked to end.

    Args:
        number: Number of the signal, such as SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def raise_when_terminated() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into Terminated while the block runs.

    A signal that is ignored (SIGHUP under nohup) or handled by someone else stays so. Outside of the main
    thread, where Python has no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGTERM", "SIGHUP")  # Windows lacks the second
    candidates = [getattr(signal, name) for name in names if hasattr(signal, name)]
    numbers = [number for number in candidates if signal.getsignal(number) is signal.Handlers.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        # A second one must not interrupt the clearing away.
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number)

    try:
        for number in numbers:
            signal.signal(number, end)
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
