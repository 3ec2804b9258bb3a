"""Counts of the server-sent events that are no part of an answer, such as pings. Each name is logged once."""

import logging
from collections.abc import Mapping

from mistralwire.codec._counts import BoundedCounts

OTHER_EVENT = "other"
"""What stands for the names beyond the bound."""

_NAME_CHARACTERS_MAX = 128

_counts = BoundedCounts(OTHER_EVENT)
_logger = logging.getLogger("mistralwire.codec")


def count_dropped_event(name: str) -> None:
    """Count an event that is dropped.

    Args:
        name: Its name.
    """
    name = name[:_NAME_CHARACTERS_MAX]
    if _counts.add(name):
        _logger.warning(
            "server-sent events named %r hold neither chunks nor errors, and are dropped; this is said once",
            name,
        )


def dropped_events() -> Mapping[str, int]:
    """Return how many server-sent events were dropped in this process, by name.

    Returns:
        A copy of the counts. Names are cut to 128 characters, and there are 100 at most: `other` stands for
        the rest.
    """
    return _counts.copy()
