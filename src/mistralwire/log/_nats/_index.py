"""The responses of the log as one node knows them, without their events."""

from collections.abc import Iterator

from mistralwire.log._local import ResponseIndex, position
from mistralwire.log._response_log import StoredResponse


class Index(ResponseIndex):
    """Responses in memory; news of them may arrive late, and in another order."""

    def __init__(self) -> None:
        super().__init__()
        self._upstream_ids: dict[tuple[str, str], set[str]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._responses)

    def running_elsewhere(self, node: str) -> list[StoredResponse]:
        """Return the responses that other nodes append to: their sizes change unseen."""
        return [each for each in self._responses.values() if each.end is None and each.node != node]

    def put(self, response: StoredResponse) -> None:
        """Add a response, or replace it unless a newer state is known."""
        found = self.get(response.id)
        if found is not None and found.revision >= response.revision:
            return
        super().put(response)
        if response.upstream_id and (found is None or not found.upstream_id):
            self._upstream_ids.setdefault((response.owner, response.upstream_id), set()).add(response.id)

    def remove(self, id: str) -> StoredResponse | None:
        """Forget a response."""
        response = super().remove(id)
        if response is not None and response.upstream_id:
            ids = self._upstream_ids.get((response.owner, response.upstream_id), set())
            ids.discard(id)
            if not ids:
                self._upstream_ids.pop((response.owner, response.upstream_id), None)
        return response

    def find(self, owner: str, upstream_id: str) -> str | None:
        """Return the id of an owner's newest response with an upstream's id."""
        ids = self._upstream_ids.get((owner, upstream_id), ())
        found = [response for id in ids if (response := self.get(id)) is not None]
        return max(found, key=position).id if found else None
