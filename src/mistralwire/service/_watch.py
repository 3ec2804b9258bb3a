"""Telling those who watch a call, whatever they do."""

import logging
from collections.abc import Sequence

from mistralwire.errors import log_unexpected
from mistralwire.service._record import CallObserver, CallRecord, Chunks

_logger = logging.getLogger(__name__)


class Watch:
    """Tells the observers of one call.

    An observer that raises does no harm: the call and the other observers go on. It is logged, and hears of
    the end of this call alone.

    Args:
        call: The call.
        observers: Who watches it.
    """

    __slots__ = ("_call", "_listening", "_observers")

    def __init__(self, call: CallRecord, observers: Sequence[CallObserver]) -> None:
        self._call = call
        self._observers = observers
        self._listening = observers

    def started(self) -> None:
        """Tell of the start."""
        for observer in self._listening:
            try:
                observer.started(self._call)
            except Exception as error:  # noqa: BLE001 - it is not the call's
                self._drop(observer, error)

    def chunks(self, chunks: Chunks) -> None:
        """Tell of chunks."""
        for observer in self._listening:
            try:
                observer.chunks(self._call, chunks)
            except Exception as error:  # noqa: BLE001 - it is not the call's
                self._drop(observer, error)

    def ended(self) -> None:
        """Tell of the end."""
        for observer in self._observers:
            try:
                observer.ended(self._call)
            except Exception as error:  # noqa: BLE001 - it is not the call's
                self._drop(observer, error)

    def _drop(self, observer: CallObserver, error: Exception) -> None:
        # A new sequence: the one before is being gone through.
        self._listening = [other for other in self._listening if other is not observer]
        name = type(observer).__name__
        log_unexpected(_logger, f"call {self._call.request_id}: the observer {name} raised", error)
