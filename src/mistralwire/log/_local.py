"""What logs have in common: an index of responses, and the only node of a log that one process uses."""

import asyncio
import bisect
import operator
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

from mistralwire.log._response_log import Query, Space, StoredResponse, Usage
from mistralwire.log._rules import new_node


class IndexedLog:
    """A log that knows its responses, or those that run, and what each owner has of all."""

    _index: "ResponseIndex"

    async def usage(self, owner: str, space: Space = "response") -> Usage:
        """Return what an owner has of a space, with what is reserved."""
        return self._index.usage(owner, space)

    def reserve(self, id: str, owner: str, space: Space = "response") -> None:
        """Count a response before it is opened; see `ResponseLog`."""
        self._index.reserve(id, owner, space)

    def unreserve(self, id: str, owner: str, space: Space = "response") -> None:
        """Undo a `reserve`; see `ResponseLog`."""
        self._index.unreserve(id, owner, space)


class LocalNode(IndexedLog):
    """The one node of a log that no other process uses."""

    def __init__(self) -> None:
        self._index = ResponseIndex()
        self.node = new_node()
        self._handler: Callable[[bytes], Awaitable[bytes]] | None = None

    async def is_alive(self, node: str) -> bool:
        """Check whether this process is meant: no other one uses this log."""
        return node == self.node

    def serve(self, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer what this node is asked."""
        self._handler = handler

    async def ask(self, node: str, request: bytes, timeout_s: float) -> bytes | None:
        """Ask this node; None for any other."""
        if node != self.node or self._handler is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                return await self._handler(request)
        except TimeoutError:
            return None


class _Positions:
    """Positions of responses in lists: those of each owner, and everybody's under the owner None."""

    def __init__(self) -> None:
        self._sorted: dict[tuple[str | None, Space], list[tuple[float, str]]] = {}

    def of(self, owner: str | None, space: Space) -> Sequence[tuple[float, str]]:
        return self._sorted.get((owner, space), ())

    def add(self, response: StoredResponse) -> None:
        for owner in (None, response.owner):
            bisect.insort(self._sorted.setdefault((owner, response.space), []), position(response))

    def remove(self, response: StoredResponse) -> None:
        for owner in (None, response.owner):
            positions = self._sorted[owner, response.space]
            del positions[bisect.bisect_left(positions, position(response))]
            if not positions:
                del self._sorted[owner, response.space]


class ResponseIndex:
    """Responses in memory, in the order of lists, with what each owner has of a space."""

    def __init__(self) -> None:
        self._responses: dict[str, StoredResponse] = {}
        # Few run, and they are looked for often.
        self._all, self._running = _Positions(), _Positions()
        # Of each owner and space: how many run, bytes of all, how many there are.
        self._usage: dict[tuple[str, Space], list[int]] = {}
        # What is being opened: how often each is reserved.
        self._reserved: Counter[tuple[str, str, Space]] = Counter()

    def __contains__(self, id: object) -> bool:
        return id in self._responses

    def get(self, id: str) -> StoredResponse | None:
        return self._responses.get(id)

    def put(self, response: StoredResponse) -> None:
        """Add a response, or replace what it was before."""
        found = self._responses.get(response.id)
        if found is None or found.created_s != response.created_s:
            self.remove(response.id)
            self._add(response)
            return
        self._responses[response.id] = response
        is_running_less = found.end is None and response.end is not None
        if response.size != found.size or is_running_less:
            usage = self._usage[response.owner, response.space]
            usage[0] -= is_running_less
            usage[1] += response.size - found.size
        if is_running_less:
            self._running.remove(response)

    def _add(self, response: StoredResponse) -> None:
        self._responses[response.id] = response
        self._all.add(response)
        if response.end is None:
            self._running.add(response)
        self.charge(response.owner, response.space, (response.end is None, response.size, 1))
        if self._reserved.pop((response.id, response.owner, response.space), 0):
            self.charge(response.owner, response.space, (-1, 0, -1))

    def remove(self, id: str) -> StoredResponse | None:
        response = self._responses.pop(id, None)
        if response is None:
            return None
        self._all.remove(response)
        if response.end is None:
            self._running.remove(response)
        self.charge(response.owner, response.space, (-(response.end is None), -response.size, -1))
        return response

    def charge(self, owner: str, space: Space, change: Sequence[int]) -> None:
        """Change what an owner has, by responses that are not in the index, too."""
        usage = self._usage.setdefault((owner, space), [0, 0, 0])
        usage[:] = map(operator.add, usage, change)
        if not any(usage):
            del self._usage[owner, space]

    def reserve(self, id: str, owner: str, space: Space) -> None:
        """Count a response that does not run yet, until it is added."""
        found = self._responses.get(id)
        if found is None or found.end is not None:
            if not self._reserved[id, owner, space]:
                self.charge(owner, space, (1, 0, 1))
            self._reserved[id, owner, space] += 1

    def unreserve(self, id: str, owner: str, space: Space) -> None:
        """Undo a `reserve`, unless the response was added since."""
        count = self._reserved.pop((id, owner, space), 0)
        if count > 1:
            self._reserved[id, owner, space] = count - 1
        elif count:
            self.charge(owner, space, (-1, 0, -1))

    def usage(self, owner: str, space: Space) -> Usage:
        return Usage(*self._usage.get((owner, space), (0, 0, 0)))

    def list(self, query: Query) -> list[StoredResponse]:
        found: list[StoredResponse] = []
        for response in self._from(query):
            if len(found) == query.limit:
                break
            if matches(query, response):
                found.append(response)
        return found

    def _from(self, query: Query) -> Iterator[StoredResponse]:
        positions = (self._running if query.is_running else self._all).of(query.owner, query.space)
        if query.oldest_first:
            first = 0 if query.after is None else bisect.bisect_right(positions, query.after)
            order = range(first, len(positions))
        else:
            behind = len(positions) if query.after is None else bisect.bisect_left(positions, query.after)
            order = range(behind - 1, -1, -1)
        for at in order:
            created_s, response = positions[at]
            # None ended before it was created.
            if query.oldest_first and query.ended_before_s is not None and created_s >= query.ended_before_s:
                return
            yield self._responses[response]


def position(response: StoredResponse) -> tuple[float, str]:
    """Return where a response is in the order of lists."""
    return response.created_s, response.id


def matches(query: Query, response: StoredResponse) -> bool:
    """Check a response against the conditions of a query that the order of the index does not meet."""
    return query.is_running in (None, response.end is None) and (
        query.ended_before_s is None
        or (response.ended_s is not None and response.ended_s < query.ended_before_s)
    )
