"""Requests that have not fully arrived, bounded in all and on each connection."""

from collections.abc import Callable

from mistralwire.errors import OverloadError, Reason

_NO_REQUEST: tuple[None, None] = (None, None)


class IncompleteRequests:
    """Bounds how many requests arrive at one time by refusing the one that has taken longest.

    So senders who never finish lose to those who do, and never take the place of a complete request. A
    connection has a quarter of the requests at most, or one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._connection_most = max(1, most // 4)
        # The oldest is at the front.
        self._all: dict[object, tuple[str | None, Callable[[OverloadError], None]]] = {}
        self._by_connection: dict[str, dict[object, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def begin(
        self, request: object, refuse: Callable[[OverloadError], None], connection: str | None = None
    ) -> None:
        """Add a request that begins to arrive; refuse the oldest if that is one too many.

        `refuse` ends it with an error. Without a connection, it has one of its own.
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
        """Remove a request that has arrived, or never will; no effect if it was removed before."""
        connection, _ = self._all.pop(request, _NO_REQUEST)
        if connection is not None:
            peers = self._by_connection[connection]
            del peers[request]
            if not peers:
                del self._by_connection[connection]

    def _refuse(self, request: object) -> None:
        _, refuse = self._all[request]
        self.end(request)
        message = "too many requests are still arriving, and this one has taken longest; retry"
        refuse(OverloadError(message, reason=Reason.TOO_MANY_ARRIVING))
