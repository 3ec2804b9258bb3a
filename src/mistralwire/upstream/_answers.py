"""Answers of an upstream on their way to the wire."""

import logging
import re
import time
from typing import TypeVar

from google.protobuf.message import Message

from mistralwire import codec
from mistralwire.errors import EncodeError, Violation
from mistralwire.upstream._upstream import Upstream
from mistralwire.v1 import CONTRACT_REVISION

CHECKS_PER_S = 100
"""Answers and chunks of a program's own upstream that are checked in a second, at most."""

CHECKED_BYTES_MAX = 16 * 1024
"""Bytes of an answer or a chunk up to which it is checked: some milliseconds' work in the event loop."""

CHECKED_BYTES_PER_S = 64 * 1024
"""Bytes of such answers after which no more are checked in a second."""

_PLACES_MAX = 100
_INDEX = re.compile(r"\[[0-9]+\]")

_logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)


class Answers:
    """Prepares the answers of an upstream for their readers.

    Args:
        upstream: Where they come from. What a program made is checked, and delivered whatever the check
            finds: somebody has paid for it. What an API answered is passed on as it was.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._check = None if getattr(upstream, "relays_answers", False) else _AnswerCheck()

    def are_prepared(self, contract_revision: int) -> bool:
        """Check whether there is anything to do for readers with a contract of this revision, or newer."""
        return self._check is not None or contract_revision < CONTRACT_REVISION

    def prepare(self, message: M, contract_revision: int) -> M:
        """Return an answer or a chunk as it goes out.

        One that has no JSON form can't be written for older readers, and goes out as it is.

        Args:
            message: The answer.
            contract_revision: Revision of the oldest contract among its readers.
        """
        if self._check is not None:
            self._check.check(message)
        try:
            return codec.lower(message, contract_revision)
        except EncodeError:
            return message


class _AnswerCheck:
    """Logs what is wrong with the answers of a program's own upstream, each place and fault once."""

    def __init__(self) -> None:
        self._places: set[tuple[str, str]] = set()
        self._checks_left = 0
        self._bytes_left = 0
        self._until_s = 0.0

    def check(self, message: Message) -> None:
        """Check a message, unless it is large, or enough were checked in this second."""
        if self._checks_left <= 0 or self._bytes_left <= 0:
            now_s = time.monotonic()
            if now_s < self._until_s:
                return
            self._checks_left, self._bytes_left = CHECKS_PER_S, CHECKED_BYTES_PER_S
            self._until_s = now_s + 1.0
        size = message.ByteSize()
        if size > CHECKED_BYTES_MAX:
            return
        self._checks_left -= 1
        self._bytes_left -= size
        for violation in codec.check(message):
            self._log(message.DESCRIPTOR.name, violation)

    def _log(self, name: str, violation: Violation) -> None:
        # One place of a list stands for all.
        path = f"{name}.{_INDEX.sub('[]', violation.path)}"
        place = (path, violation.expected)
        if place in self._places or len(self._places) >= _PLACES_MAX:
            return
        self._places.add(place)
        # Where a fixed string is due, a violation quotes a short one that is there: it may be anybody's text.
        found = violation.found if '"' not in violation.found else "another string"
        _logger.warning(
            "the upstream's answers break the contract at %s: expected %s, found %s; they are sent as they "
            "are, and may be refused: correct the upstream, and try its answers with mistralwire.check",
            *(path, violation.expected, found),
        )
