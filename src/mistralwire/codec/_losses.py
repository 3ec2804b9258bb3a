"""Counts of content that was lost because its writer has a newer contract than this process.

Protobuf itself keeps what it does not know, but JSON has no name for it. Each place is counted, and logged
once.
"""

import logging
from collections.abc import Mapping

from mistralwire.codec._counts import BoundedCounts

OTHER_PLACE = ("other", 0)
"""What stands for the places beyond the bound."""

_counts = BoundedCounts(OTHER_PLACE)
_logger = logging.getLogger("mistralwire.codec")


def count_loss(message_name: str, number: int) -> None:
    """Count content that could not be written.

    Args:
        message_name: Name of the message that holds it, without its package.
        number: Number of its field.
    """
    if _counts.add((message_name, number)):
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
    return _counts.copy()
