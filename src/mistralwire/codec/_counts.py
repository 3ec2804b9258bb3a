"""Counts that a process keeps of what a peer may send any number of kinds of."""

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

PLACES_MAX = 100
"""Kinds that are counted, the last of which stands for all others."""

K = TypeVar("K", bound=Hashable)


class BoundedCounts(Generic[K]):
    """Counts by kind, for any number of threads.

    Args:
        other: What stands for the kinds beyond the bound.
    """

    def __init__(self, other: K) -> None:
        self._other = other
        self._lock = threading.Lock()
        self._counts: dict[K, int] = {}

    def add(self, kind: K) -> bool:
        """Count one; return whether it is the first of its kind, or of all that are beyond the bound."""
        with self._lock:
            is_new = kind not in self._counts
            if is_new and len(self._counts) >= PLACES_MAX - 1:
                kind, is_new = self._other, self._other not in self._counts
            self._counts[kind] = self._counts.get(kind, 0) + 1
        return is_new

    def copy(self) -> dict[K, int]:
        """Return the counts."""
        with self._lock:
            return dict(self._counts)
