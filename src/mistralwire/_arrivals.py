"""Requests that have not fully arrived, in all and of each connection."""

from collections.abc import Callable

from mistralwire.errors import OverloadError, Reason

_UNKNOWN: tuple[None, None] = (None, None)


class Arrivals:
    """Bounds how many requests are arriving at one time; the one that has taken longest gives way.

    So senders who never finish lose to those who do, and take no place of a request that has arrived.

    Args:
        most: Requests in all; a quarter of them, at least one, of one connection.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._connection_most = max(1, most // 4)
        # The one that began first is at the front.
        self._all: dict[object, tuple[str | None, Callable[[OverloadError], None]]] = {}
        self._by_connection: dict[str, dict[object, None]] = {}

    def __len__(self) -> int:
        """How many are arriving."""
        return len(self._all)

    def begin(
        self, request: object, refuse: Callable[[OverloadError], None], connection: str | None = None
    ) -> None:
        """Note that a request begins to arrive; where that is one too many, refuse another one.

        Args:
            request: The request.
            refuse: Ends the request with an error, if it has to give way to another one.
            connection: What it comes on; None if there is never more than one on a connection.
        """
        self._all[request] = (connection, refuse)
        if connection is not None:
            peers = self._by_connection.setdefault(connection, {})
            peers[request] = None
            if len(peers) > self._connection_most:
                self._refuse(next(iter(peers)))
        if len(self._all) > self._most:
            self._refuse(next(iter(self._all)))

    def end(self, request: object) -> None:
        """Note that a request has arrived, or never will; no effect if that is known."""
        connection, _ = self._all.pop(request, _UNKNOWN)
        if connection is not None:
            peers = self._by_connection[connection]
            del peers[request]
            if not peers:
                del self._by_connection[connection]

    def _refuse(self, request: object) -> None:
        _, refuse = self._all[request]
        self.end(request)
        message = "too many requests are still arriving, and this one has taken longest; send it again"
        refuse(OverloadError(message, reason=Reason.TOO_MANY_ARRIVING))
