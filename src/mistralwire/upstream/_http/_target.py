"""What distinguishes one HTTP API from another: its URLs, its credentials, and what is logged of it."""

import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

HEADERS = {"user-agent": "mistralwire"}
"""Headers of every request."""

_logger = logging.getLogger(__name__)


class Target(Protocol):
    """Where requests go."""

    @property
    def probe_url(self) -> str:
        """A URL for checking whether the API responds."""
        ...

    def authorize(self) -> Coroutine[Any, Any, None] | None:
        """Return what to await before `address` has credentials; None if it has them already."""
        ...

    def address(self, request: Any, *, is_stream: bool) -> tuple[str, Mapping[str, str]]:
        """Return the URL of a request, and its headers besides HEADERS."""
        ...

    def body_of(self, request: Any) -> Any:
        """Return the request as the API takes it; the same object where nothing changes."""
        ...


class HttpLog:
    """Logs retries, and the rejection of the credentials.

    Args:
        name: Name of the upstream.
        refusal: Message for a 401: which credentials they are, and the remedy; never the credentials.
    """

    def __init__(self, name: str, refusal: str) -> None:
        self._name = name
        self._refusal = refusal
        self._is_refused = False

    def answered(self, status: int, request_id: str = "") -> None:
        """Note the status of a response; a 401 is logged once until a request succeeds again."""
        if status == 401 and not self._is_refused:
            self._is_refused = True
            _logger.warning("%s: %s", self._name, self._refusal, extra={"request_id": request_id})
        elif status < 300:
            self._is_refused = False

    def retried(self, attempt: int, reason: str, wait_s: float, request_id: str) -> None:
        """Log a failed attempt, and the seconds until the next one."""
        _logger.info(
            "%s: attempt %d failed with %s; retrying in %.1f seconds",
            *(self._name, attempt, reason, wait_s),
            extra={"request_id": request_id},
        )
