"""Counts of content that was lost because its writer has a newer contract than this process.

Protobuf itself keeps what it does not know, but JSON has no name for it. Each place is counted, and logged
once.
"""

import logging
import threading
from collections.abc import Mapping

PLACES_MAX = 100
"""Places that are counted, the last of which stands for all others."""

OTHER_PLACE = ("other", 0)
"""What stands for the places beyond the bound."""

_lock = threading.Lock()
_counts: dict[tuple[str, int], int] = {}
_logger = logging.getLogger("mistralwire.codec")


def count_loss(message_name: str, number: int) -> None:
    """Count content that could not be written.

    Args:
        message_name: Name of the message that holds it, without its package.
        number: Number of its field.
    """
    place = (message_name, number)
    with _lock:
        is_new = place not in _counts
        if is_new and len(_counts) >= PLACES_MAX - 1:
            place, is_new = OTHER_PLACE, OTHER_PLACE not in _counts
        _counts[place] = _counts.get(place, 0) + 1
    if is_new:
        _logger.warning(
            "content of a newer contract was lost: field %d of %s; upgrade this process", number, message_name
        )


def losses() -> Mapping[tuple[str, int], int]:
    """Return how often content of a newer contract was lost in this process, by its place.

    Returns:
        A copy of the counts. Each key is the name of a message and the number of its field: one that the
        contract of this process does not have, or one with an enum value that it does not have. There are
        100 at most: `("other", 0)` stands for the rest.
    """
    with _lock:
        return dict(_counts)
