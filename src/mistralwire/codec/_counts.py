"""Process-wide counts of what the codec could not pass on: content of a newer contract, and dropped events.

A peer may send any number of kinds of either, so the kinds are bounded. Each is logged once.
"""

import logging
import threading
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

KINDS_MAX = 100
"""Kinds that are counted separately; the last one stands for all others."""

OTHER_EVENT = "other"
"""Stands for the event names beyond the bound."""

OTHER_PLACE = ("other", 0)
"""Stands for the places beyond the bound."""

_EVENT_NAME_CHARS_MAX = 128
_logger = logging.getLogger("mistralwire.codec")

K = TypeVar("K", bound=Hashable)


class BoundedCounts(Generic[K]):
    """Counts by kind, for any number of threads; `other` stands for the kinds beyond the bound."""

    def __init__(self, other: K) -> None:
        self._other = other
        self._lock = threading.Lock()
        self._counts: dict[K, int] = {}

    def add(self, kind: K) -> bool:
        """Count one; return whether it is the first of its kind, or the first beyond the bound."""
        with self._lock:
            is_new = kind not in self._counts
            if is_new and len(self._counts) >= KINDS_MAX - 1:
                kind, is_new = self._other, self._other not in self._counts
            self._counts[kind] = self._counts.get(kind, 0) + 1
        return is_new

    def copy(self) -> dict[K, int]:
        with self._lock:
            return dict(self._counts)


_losses = BoundedCounts(OTHER_PLACE)
_dropped_events = BoundedCounts(OTHER_EVENT)


def count_loss(message_name: str, number: int) -> None:
    """Count content of a newer contract that was lost: protobuf keeps it, but JSON has no name for it."""
    if _losses.add((message_name, number)):
        _logger.warning(
            "content of a newer contract was lost: field %d of %s; upgrade this process", number, message_name
        )


def losses() -> Mapping[tuple[str, int], int]:
    """Return how often content of a newer contract was lost in this process, by its place.

    Each key is the name of a message and the number of its field: one that the contract of this process does
    not have, or one with an enum value that it does not have. There are 100 at most: `("other", 0)` stands
    for the rest.
    """
    return _losses.copy()


def count_dropped_event(name: str) -> None:
    """Count a server-sent event that is not part of an answer, such as a ping."""
    name = name[:_EVENT_NAME_CHARS_MAX]
    if _dropped_events.add(name):
        _logger.warning(
            "dropped a server-sent event named %r, which holds neither a chunk nor an error; "
            "further ones are only counted",
            name,
        )


def dropped_events() -> Mapping[str, int]:
    """Return how many server-sent events were dropped in this process, by name.

    Names are cut to 128 characters, and there are 100 at most: `other` stands for the rest.
    """
    return _dropped_events.copy()
