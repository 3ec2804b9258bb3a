"""A response log in memory: it promises nothing beyond the life of its process."""

import asyncio
import bisect
import time
from collections.abc import AsyncGenerator, Sequence

from mistralwire.errors import MistralwireError, ResponseError
from mistralwire.log._feeds import Feeds
from mistralwire.log._local import LocalNode, position
from mistralwire.log._response_log import (
    Append,
    Batch,
    Delivery,
    KeyClaim,
    Opening,
    Query,
    StoredResponse,
)
from mistralwire.log._rules import appended, check_revision, folded, not_found_error, opened, unavailable


class MemoryLog(LocalNode):
    """Keeps responses in the memory of this process; see `ResponseLog`."""

    def __init__(self) -> None:
        super().__init__()
        self._batches: dict[str, list[Batch]] = {}
        self._keys: dict[tuple[str, str], KeyClaim] = {}
        self._keys_of: dict[str, set[tuple[str, str]]] = {}
        self._upstream_ids: dict[tuple[str, str], set[str]] = {}
        self._feeds = Feeds(self.describe, self.read)

    async def start(self) -> None:
        """Do nothing: it is open."""

    async def close(self) -> None:
        """End the followers."""
        self._feeds.fail_all(unavailable("it is closed"))

    async def open(self, opening: Opening) -> StoredResponse:
        """Create a response, or take it over; see `ResponseLog`."""
        response = opened(opening, self._index.get(opening.id), self.node, time.time())
        self._index.put(response)
        self._batches.setdefault(opening.id, [])
        return response

    def append(self, appends: Sequence[Append]) -> None:
        """Append to responses; see `ResponseLog`."""
        loop = asyncio.get_running_loop()
        for append in appends:
            loop.call_soon(append.on_done, *self._append(append))

    def _append(self, append: Append) -> tuple[int, MistralwireError | None]:
        response = self._index.get(append.id)
        if response is None:
            return 0, not_found_error()
        try:
            changed, batch = appended(append, response, time.time())
        except ResponseError as error:
            return response.last, error
        self._index.put(changed)
        if changed.upstream_id != response.upstream_id:
            self._upstream_ids.setdefault((changed.owner, changed.upstream_id), set()).add(append.id)
        batches = () if batch is None else (batch,)
        self._batches[append.id] += batches
        self._feeds.add(append.id, batches, changed.end)
        return changed.last, None

    async def read(self, id: str, after: int = 0, bytes_max: int = 1024 * 1024) -> list[Batch]:
        """Return batches behind a position; see `ResponseLog`."""
        if id not in self._batches:
            raise not_found_error()
        batches = self._batches[id]
        found: list[Batch] = []
        size = 0
        for at in range(bisect.bisect_right(batches, after, key=lambda batch: batch.last), len(batches)):
            size += len(batches[at].data)
            if found and size > bytes_max:
                break
            found.append(batches[at])
        return found

    def follow(self, id: str, after: int = 0) -> AsyncGenerator[Delivery, None]:
        """Yield events as they are stored; see `ResponseLog`."""
        return self._feeds.follow(id, after)

    def fail_followers(self, id: str, error: MistralwireError) -> None:
        """End the followers of a response in this process; see `ResponseLog`."""
        self._feeds.fail(id, error)

    async def describe(self, id: str) -> StoredResponse | None:
        """Return a response; None if it does not exist."""
        return self._index.get(id)

    async def list(self, query: Query) -> Sequence[StoredResponse]:
        """Return responses in their order."""
        return self._index.list(query)

    async def find(self, owner: str, upstream_id: str) -> str | None:
        """Return the id of an owner's newest response with an upstream's id."""
        ids = self._upstream_ids.get((owner, upstream_id), ())
        responses = [response for id in ids if (response := self._index.get(id)) is not None]
        return max(responses, key=position).id if responses else None

    async def delete(self, id: str, *, revision: int | None = None) -> None:
        """Delete a response; see `ResponseLog`."""
        response = self._index.get(id)
        if response is None:
            raise not_found_error()
        check_revision(response, revision)
        self._index.remove(id)
        del self._batches[id]
        for key in self._keys_of.pop(id, ()):
            del self._keys[key]
        upstream_id = (response.owner, response.upstream_id)
        if upstream_id in self._upstream_ids:
            self._upstream_ids[upstream_id].discard(id)
            if not self._upstream_ids[upstream_id]:
                del self._upstream_ids[upstream_id]
        self._feeds.fail(id, not_found_error())

    async def claim_key(self, owner: str, key: str, digest: bytes, id: str) -> KeyClaim:
        """Claim a key; see `ResponseLog`."""
        held = self._keys.get((owner, key))
        if held is not None:
            return held
        self._keys[owner, key] = KeyClaim(id, digest, is_new=False)
        self._keys_of.setdefault(id, set()).add((owner, key))
        return KeyClaim(id, digest, is_new=True)

    async def release_key(self, owner: str, key: str, id: str) -> None:
        """Release a key; see `ResponseLog`."""
        held = self._keys.get((owner, key))
        if held is not None and held.id == id:
            del self._keys[owner, key]
            self._keys_of[id].discard((owner, key))
            if not self._keys_of[id]:
                del self._keys_of[id]

    async def fold(self, id: str, batches: Sequence[Batch], *, revision: int | None = None) -> None:
        """Replace the batches of a response that has ended; see `ResponseLog`."""
        response = self._index.get(id)
        if response is None:
            raise not_found_error()
        changed = folded(response, batches, revision)
        self._batches[id] = list(batches)
        self._index.put(changed)
