"""What an upstream over HTTP logs, by its name."""

import logging

_logger = logging.getLogger(__name__)


class HttpLog:
    """Logs attempts that failed, and that the upstream refuses its credentials.

    Args:
        name: What the upstream is called.
        refusal: What to log where it answers 401: which credentials they are, and what to do. Never the
            credentials themselves.
    """

    def __init__(self, name: str, refusal: str) -> None:
        self._name = name
        self._refusal = refusal
        self._is_refused = False

    def answered(self, status: int, request_id: str = "") -> None:
        """Take the status of an answer; a 401 is logged once until a request succeeds again."""
        if status == 401 and not self._is_refused:
            self._is_refused = True
            _logger.warning("%s: %s", self._name, self._refusal, extra={"request_id": request_id})
        elif status < 300:
            self._is_refused = False

    def retried(self, attempt: int, reason: str, wait_s: float, request_id: str) -> None:
        """Log that an attempt failed, and when the next one is made, in seconds from now."""
        _logger.info(
            "%s: attempt %d failed with %s; another in %.1f seconds",
            *(self._name, attempt, reason, wait_s),
            extra={"request_id": request_id},
        )
